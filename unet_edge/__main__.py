"""Lets `python -m unet_edge` stand for the `unet-edge` command."""

from unet_edge.cli import main

if __name__ == "__main__":
    main(prog_name="unet-edge")
