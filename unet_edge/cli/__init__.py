"""The `unet-edge` command line, which imports each command when it is used."""

from __future__ import annotations

import os

import click

import unet_edge
from unet_edge.cli.group import Group, LazyCommand


def _lazy(module: str, summary: str, function: str = "") -> LazyCommand:
    return LazyCommand(f"{__name__}.{module}", summary, function)


SECTIONS = {
    "Get started": {
        "demo": _lazy("workstation", "Run every step on generated pictures, without any data."),
        "doctor": _lazy("doctor", "Check which interpreters and files work on this machine."),
    },
    "On the workstation": {
        "data": _lazy("data", "Check, split and preview a data set before training."),
        "train": _lazy("training", "Train a model on pictures and masks."),
        "resume": _lazy("training", "Finish an interrupted training run."),
        # A function cannot be called import.
        "import": _lazy(
            "importing", "Make a run of a Keras model that other code trained.", "import_model"
        ),
        "evaluate": _lazy("evaluation", "Score a model against the true masks of a data set."),
        "export": _lazy("workstation", "Export a run as TFLite and ONNX, and prove each file."),
        "diagnose": _lazy("diagnosis", "Show where and why a file differs from the float32 file."),
    },
    "On the device": {
        "segment": _lazy("device", "Segment photos, videos and cameras; save masks or overlays."),
        "verify": _lazy("verification", "Prove on this machine that a bundle gives Keras' masks."),
        "benchmark": _lazy(
            "benchmarking", "Measure time, memory and accuracy of a bundle's files."
        ),
        "compare": _lazy("comparison", "Show what became faster or slower between two benchmarks."),
        "tune": _lazy("tuning", "Find the fastest file, interpreter and number of threads."),
        "inspect": _lazy("inspection", "Show what is in a bundle or in a model file."),
        "rank": _lazy("ranking", "Choose which photos to label next, where the model is unsure."),
        "live": _lazy("live", "Show a camera's masks on a page in the browser."),
        "serve": _lazy("live", "Segment pictures that other programs send over HTTP."),
    },
}
"""The commands by the titles of --help."""

_EPILOG = """\b
Start with 'unet-edge demo', which needs no data.

\b
To complete commands and options with the Tab key, add one of these lines to
~/.bashrc, ~/.zshrc or ~/.config/fish/config.fish:
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
    versions = installed_versions()
    for package, version in versions.items():
        click.echo(f"{package} {version}")
    if not versions:
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
    # TensorFlow logs to standard error while it is imported, unless this variable is set before.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
