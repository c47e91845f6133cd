"""The `unet-edge` command: the composition root, which loads each part only when it is needed."""

from __future__ import annotations

import os

import click

import unet_edge
from unet_edge.cli.group import Group, Listed


def _listed(module: str, line: str) -> Listed:
    return Listed(f"{__name__}.{module}", line)


SECTIONS = {
    "Get started": {
        "demo": _listed("workstation", "Run every step on generated pictures, without any data."),
        "doctor": _listed("doctor", "Check which interpreters and files work on this machine."),
    },
    "On the workstation": {
        "data": _listed("data", "Check, split and look at a data set before training."),
        "train": _listed("training", "Train a model on pictures and masks."),
        "resume": _listed("training", "Finish an interrupted training run."),
        "evaluate": _listed("evaluation", "Score a model against the true masks of a data set."),
        "export": _listed("workstation", "Export a run as TFLite and ONNX, and prove each file."),
        "diagnose": _listed("diagnosis", "Show where and why a file differs from the float model."),
    },
    "On the device": {
        "segment": _listed("device", "Segment photos, and save masks, overlays or outlines."),
        "verify": _listed("proof", "Prove on this machine that a bundle gives Keras' masks."),
        "benchmark": _listed("proof", "Measure time, memory and accuracy of a bundle's files."),
        "tune": _listed("tuning", "Find the fastest file, interpreter and number of threads."),
        "inspect": _listed("inspection", "Show what is in a bundle or in a model file."),
    },
}
"""Each command with its module of this package and its line in --help."""

_EPILOG = """\b
Start with 'unet-edge demo', which needs no data.

\b
The Tab key completes commands and options after one of these lines, which
belongs into ~/.bashrc, ~/.zshrc or ~/.config/fish/config.fish:
  bash  eval "$(_UNET_EDGE_COMPLETE=bash_source unet-edge)"
  zsh   eval "$(_UNET_EDGE_COMPLETE=zsh_source unet-edge)"
  fish  _UNET_EDGE_COMPLETE=fish_source unet-edge | source
"""


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if not wanted:
        return
    import platform

    from unet_edge.runtime.interpreters import installed_versions

    click.echo(f"unet-edge, version {unet_edge.__version__}")
    click.echo(f"Python {platform.python_version()}")
    found = installed_versions()
    for package, version in found.items():
        click.echo(f"{package} {version}")
    if not found:
        click.echo("no interpreter is installed: 'unet-edge doctor' says which fits this machine")
    ctx.exit()


@click.group(
    cls=Group,
    sections=SECTIONS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=_EPILOG,
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the versions of unet-edge, Python and the interpreters, and exit.",
)
def main() -> None:
    """Train a MobileNet-UNet, export it to TFLite and ONNX, and prove its masks on the device."""
    # TensorFlow greets on standard error before anyone can stop it, unless told so here.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
