"""The `unet-edge` command: the composition root, which loads each part only when it is needed."""

from __future__ import annotations

import os

import click

import unet_edge
from unet_edge.cli.group import Group

COMMANDS = {
    "benchmark": "proof",
    "data": "data",
    "demo": "workstation",
    "diagnose": "diagnosis",
    "doctor": "doctor",
    "evaluate": "evaluation",
    "export": "workstation",
    "inspect": "inspection",
    "resume": "training",
    "segment": "device",
    "train": "training",
    "tune": "tuning",
    "verify": "proof",
}
"""Each command and the module of this package that holds it."""


@click.group(
    cls=Group,
    modules={name: f"{__name__}.{module}" for name, module in COMMANDS.items()},
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Start with 'unet-edge demo', which needs no data.",
)
@click.version_option(unet_edge.__version__, prog_name="unet-edge")
def main() -> None:
    """Train a MobileNet-UNet, export it to TFLite and ONNX, and prove its masks on the device."""
    # TensorFlow greets on standard error before anyone can stop it, unless told so here.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
