"""The `unet-edge` command: the composition root, which loads each part only when it is needed."""

from __future__ import annotations

import os

import click

import unet_edge
from unet_edge.cli.data import data
from unet_edge.cli.device import segment
from unet_edge.cli.diagnosis import diagnose
from unet_edge.cli.evaluation import evaluate
from unet_edge.cli.group import Group
from unet_edge.cli.inspection import inspect
from unet_edge.cli.proof import benchmark, verify
from unet_edge.cli.training import resume, train
from unet_edge.cli.workstation import demo, export


@click.group(
    cls=Group,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Start with 'unet-edge demo', which needs no data.",
)
@click.version_option(unet_edge.__version__, prog_name="unet-edge")
def main() -> None:
    """Train a MobileNet-UNet, export it to TFLite and ONNX, and prove its masks on the device."""
    # TensorFlow greets on standard error before anyone can stop it, unless told so here.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


for command in (
    data,
    train,
    resume,
    evaluate,
    export,
    inspect,
    diagnose,
    segment,
    verify,
    benchmark,
    demo,
):
    main.add_command(command)
