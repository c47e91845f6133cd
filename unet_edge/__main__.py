"""`python -m unet_edge` runs the `unet-edge` command."""

from unet_edge.command import main

if __name__ == "__main__":
    main()
