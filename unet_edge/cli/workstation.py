"""Commands that need TensorFlow: export and demo."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from converters.settings import (
    ARTIFACTS,
    DEFAULT,
    ExportSettings,
    artifact_name,
    parse_artifact,
)
from unet_edge.cli.export_data import export_data, require_data_options
from unet_edge.cli.given_options import given_options
from unet_edge.cli.group import Failure, need
from unet_edge.cli.options import Names, json_option, path_type
from unet_edge.cli.output import print_bundle, print_note
from unet_edge.cli.settings import run_data_options
from unet_edge.errors import ConfigError
from unet_edge.system.files import require_writable_path
from unet_edge.system.printable import printable

_EXPORT_MODULES = ("tensorflow", "keras", "tf2onnx", "onnx", "onnxruntime", "ai_edge_litert")

_NOT_BY_DEFAULT = " and ".join(artifact_name(each) for each in ARTIFACTS if each not in DEFAULT)


@click.command()
@click.argument("run", type=path_type())
@click.option(
    "--output", "-o", type=path_type(), help="The bundle's folder.  [default: RUN/bundle]"
)
@click.option(
    "--data",
    type=path_type(),
    help="Pictures with masks, or a folder of photos without any, which prove agreement alone.  "
    "[default: the run's]",
)
@click.option(
    "--unlabelled",
    is_flag=True,
    help="Use every picture directly in --data without a mask, whatever else lies there. A folder "
    "of photos with no sign of masks needs no flag.",
)
@run_data_options
@click.option(
    "--formats",
    type=Names(),
    help=f"Kinds of file to write: {', '.join(map(artifact_name, ARTIFACTS))}.  "
    f"[default: all but {_NOT_BY_DEFAULT}]",
)
@click.option(
    "--calibration",
    type=click.IntRange(1),
    default=ExportSettings.calibration,
    show_default=True,
    help="Number of training pictures that set the scales of int8 files.",
)
@click.option(
    "--check",
    type=click.IntRange(1),
    default=ExportSettings.check,
    show_default=True,
    help="Largest number of validation pictures to prove each file on, and of test pictures to "
    "score it on.",
)
@click.option(
    "--golden",
    type=click.IntRange(1),
    default=ExportSettings.golden,
    show_default=True,
    help="Number of golden pictures in the bundle, for the proof on the device.",
)
@click.option(
    "--full-integer",
    is_flag=True,
    help="Round every layer of int8 files, for accelerators without float arithmetic. By default "
    ".tflite files keep the first two convolutions in float32, or with more than two classes the "
    "first eight and the last; .onnx files keep the first two and the last.",
)
@click.option(
    "--min-agreement",
    type=click.FloatRange(0, 1, min_open=True),
    metavar="SHARE",
    help="Search for the fastest .tflite file with at least this share of pixels as Keras, e.g. "
    "0.998. It tries int8, int8 with the worst layers in float, fine-tuned int8, dynamic and "
    "float, and int16x8 if no int8 or dynamic file holds.",
)
@click.option(
    "--max-miou-drop",
    type=click.FloatRange(0),
    metavar="POINTS",
    help="With --min-agreement: lose at most this many points of mIoU against Keras, e.g. 0.3.",
)
@click.option(
    "--fine-tuning",
    type=click.IntRange(0),
    default=ExportSettings.fine_tuning,
    show_default=True,
    help="With --min-agreement: steps of quantisation-aware training, if int8 misses the budget "
    "without it.",
)
@click.option("--license", metavar="TEXT", help="Licence of the model, for the model card.")
@click.option(
    "--benchmark",
    type=path_type(),
    metavar="FILE",
    help="Result of 'unet-edge benchmark' for the same files: their latency goes to the model "
    "card.",
)
@click.option(
    "--labels",
    is_flag=True,
    help="Put the arg-max into the files: their output is the class of each pixel, uint8, instead "
    "of scores. The masks are the same. For programs that run a file without unet-edge.",
)
@json_option
def export(
    run: Path,
    output: Path | None,
    data: Path | None,
    unlabelled: bool,
    formats: tuple[str, ...] | None,
    as_json: bool,
    calibration: int,
    check: int,
    golden: int,
    full_integer: bool,
    min_agreement: float | None,
    max_miou_drop: float | None,
    fine_tuning: int,
    license: str | None,
    benchmark: Path | None,
    labels: bool,
    **rules: Any,
) -> None:
    """Export a RUN as a bundle of proven TFLite and ONNX files.

    Each file's masks are compared with those of the Keras model, pixel by pixel. The exit status is
    1 if a file is below its agreement floor; the bundle is written anyway, and says so.

    The bundle's README.md is a model card. The same export gives the same bytes.

    RUN is a folder that train or import wrote. A model of other training code has no pictures of
    its own: give them with --data. Without masks the files are proven as well, half of the photos
    calibrate and the other half prove, and no mIoU against true labels is given.

    \b
    Examples:
      unet-edge export runs/cats
      unet-edge export runs/cats --formats tflite-int8 -o cats-on-the-pi
      unet-edge export runs/mine --data photos/
      unet-edge export runs/mine --data cells --masks 'binary>127'
      unet-edge export runs/cats --min-agreement 0.998 --max-miou-drop 0.1
      unet-edge export runs/cats --license 'CC BY 4.0' --benchmark benchmark.json
    """
    from unet_edge.runtime.run_folder import PROGRESS_FOLDER
    from unet_edge.runtime.segmenter import KERAS_MODEL, SPEC_FILE, read_spec

    spec = read_spec(run / SPEC_FILE)  # first, because the imports take long
    require_data_options(run, data, unlabelled=unlabelled, rules=rules)
    if (run / PROGRESS_FOLDER).is_dir():
        print_note(_unfinished(run))
    need("export", _EXPORT_MODULES)
    from converters.card.latency import read_latency
    from converters.export import export as export_bundle
    from converters.int8.search import Budget
    from unet_edge.runtime.backends.keras_model import load_keras
    from unet_edge.system.files import sha256

    if max_miou_drop is not None and min_agreement is None:
        raise ConfigError(
            "--max-miou-drop is given without --min-agreement, which starts the search",
            fix="add --min-agreement",
        )
    settings = ExportSettings(
        artifacts=DEFAULT if formats is None else tuple(map(parse_artifact, formats)),
        calibration=calibration,
        check=check,
        golden=golden,
        license=license,
        latency=read_latency(benchmark) if benchmark else None,
        full_integer=full_integer,
        budget=None if min_agreement is None else Budget(min_agreement, max_miou_drop),
        fine_tuning=fine_tuning,
    )
    if labels:
        spec = dataclasses.replace(spec, output="labels")
    pictures, trained_here = export_data(run, spec, data, unlabelled=unlabelled, rules=rules)
    bundle = export_bundle(
        load_keras(run / KERAS_MODEL),
        spec,
        pictures,
        output or run / "bundle",
        keras_sha256=sha256((run / KERAS_MODEL).read_bytes()),
        network=_network(run),
        trained_here=trained_here,
        settings=settings,
        say=print_note,
    )
    if settings.latency and not settings.latency.p50_ms.keys() & {
        entry.sha256 for entry in bundle.files
    }:
        print_note(f"WARNING: {benchmark} measured other files than these; the card has no latency")
    print_bundle(bundle, as_json)
    if below := [entry.name for entry in bundle.files if not entry.kept_floor]:
        usable = [entry.name for entry in bundle.files if entry.kept_floor]
        # A search compares scores, and chooses the layers in float32 itself.
        searched = min_agreement is not None or labels or full_integer
        given = given_options(without=("as_json",))
        raise Failure("\n".join(_next_steps(run, below, usable, given, searched=searched)))


def _network(run: Path) -> str:
    """The network in words, for the model card."""
    from unet_edge.runtime.run_folder import is_imported

    if is_imported(run):
        from unet_edge.runtime.imported import read_imported

        return read_imported(run).network
    from unet_edge.training.config import read_config

    return read_config(run).network_text


def _unfinished(run: Path) -> str:
    """A warning about an unfinished run, which says whose model is exported."""
    from unet_edge.runtime.run_folder import CHECKPOINT_FILE, PROGRESS_FOLDER

    exported = "this exports its best model so far"
    # A run that replaces another one keeps the earlier model until its first round ends.
    if not (run / PROGRESS_FOLDER / CHECKPOINT_FILE).is_file():
        exported = "no round is finished: this exports the earlier run's model"
    resume = shlex.join(["unet-edge", "resume", str(run)])
    return printable(f"WARNING: {run} is an unfinished run; {exported}; finish it with: {resume}")


def _next_steps(
    run: Path,
    below: Sequence[str],
    usable: Sequence[str],
    given: Sequence[str],
    *,
    searched: bool,
) -> list[str]:
    """Lines that name the files below their floor and say what to do.

    `given` are the options of this export, which the next one needs, too.
    """
    from unet_edge.runtime.run_folder import is_imported

    lines = [f"below the agreement floor: {', '.join(below)}; devices leave them out"]
    if usable:
        lines.append(f"usable: {', '.join(usable)}")
    better = "for a better file: train longer"
    if is_imported(run):
        better += " where the model was trained, and import it again"
    if not searched and any(name.endswith(".tflite") for name in below):
        command = shlex.join(["unet-edge", "export", str(run), *given, "--min-agreement", "0.998"])
        better += f", or search for a better .tflite file: {command}"
    lines.append(f'{better}; see "Export and int8" in the docs')
    return [printable(line) for line in lines]


@click.command()
@click.option(
    "--output",
    "-o",
    type=path_type(),
    default=Path("demo"),
    show_default=True,
    help="Folder for the results.",
)
@click.option("--overwrite", is_flag=True, help="Replace the results of an earlier demo.")
@click.pass_context
def demo(ctx: click.Context, output: Path, overwrite: bool) -> None:
    """Run every step on generated pictures, without any data.

    The demo trains, exports, verifies, segments and benchmarks in a few minutes, without a network
    connection. It prints each command before it runs it, so that you can run the same on your own
    data next.

    \b
    Examples:
      unet-edge demo
      unet-edge demo -o demo --overwrite
    """
    need("export", _EXPORT_MODULES)
    from unet_edge.demo.pipeline import make_data, save_overview, steps

    require_writable_path(output)
    if output.exists() and any(output.iterdir()) and not overwrite:
        raise ConfigError(
            f"{output} is not empty",
            fix="choose another --output or pass --overwrite",
        )
    make_data(output)
    click.echo(f"generated pictures of cells, with masks of the membranes: {output / 'data'}")
    failures: list[str] = []
    for arguments in steps(output):
        click.echo(f"\n$ unet-edge {shlex.join(arguments)}")
        try:
            ctx.find_root().command.main(arguments, prog_name="unet-edge", standalone_mode=False)
        except Failure as failure:  # such as a file below its floor; the next steps still run
            failure.show()
            failures.append(arguments[0])
    save_overview(output)
    click.echo(f"\nlook at {output / 'overview.png'} and {output / 'benchmark.html'}")
    if failures:
        raise Failure(f"these steps failed: {', '.join(failures)}")
