"""Commands for the workstation: export and the demo. They need TensorFlow."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path

import click

from converters.settings import (
    ARTIFACTS,
    DEFAULT,
    ExportSettings,
    artifact_name,
    parse_artifact,
)
from unet_edge.cli.group import Failure, need
from unet_edge.cli.options import Names, json_option, path_type
from unet_edge.cli.output import print_bundle, say
from unet_edge.errors import ConfigError
from unet_edge.system.files import require_writable_path
from unet_edge.system.progress import progress

_EXPORT_MODULES = ("tensorflow", "keras", "tf2onnx", "onnx", "onnxruntime", "ai_edge_litert")

_NOT_BY_DEFAULT = " and ".join(artifact_name(each) for each in ARTIFACTS if each not in DEFAULT)


@click.command()
@click.argument("run", type=path_type())
@click.option(
    "--output", "-o", type=path_type(), help="The bundle's folder.  [default: RUN/bundle]"
)
@click.option("--data", type=path_type(), help="Pictures with masks.  [default: those of the run]")
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
    help="Training pictures to scale int8 files by.",
)
@click.option(
    "--check",
    type=click.IntRange(1),
    default=ExportSettings.check,
    show_default=True,
    help="Validation pictures to prove each file on, and test pictures to score it on, at most.",
)
@click.option(
    "--golden",
    type=click.IntRange(1),
    default=ExportSettings.golden,
    show_default=True,
    help="Pictures to put into the bundle for proof on the device.",
)
@click.option(
    "--full-integer",
    is_flag=True,
    help="Round every layer of int8 files, for accelerators that take no float. Else .tflite files "
    "leave the first two convolutions in float32, or with more than two classes the first eight "
    "and the last; .onnx files the first two and the last.",
)
@click.option(
    "--min-agreement",
    type=click.FloatRange(0, 1, min_open=True),
    metavar="SHARE",
    help="Search for the fastest .tflite file with at least this share of pixels as Keras, e.g. "
    "0.998: int8, int8 with the worst layers in float, fine-tuned, int16x8, float.",
)
@click.option(
    "--max-miou-drop",
    type=click.FloatRange(0),
    metavar="POINTS",
    help="With --min-agreement: at most so many points of mIoU under Keras, e.g. 0.3.",
)
@click.option(
    "--fine-tuning",
    type=click.IntRange(0),
    default=ExportSettings.fine_tuning,
    show_default=True,
    help="With --min-agreement: steps of quantisation-aware training, if nothing else holds.",
)
@click.option("--license", metavar="TEXT", help="The model's licence, for its card.")
@click.option(
    "--benchmark",
    type=path_type(),
    metavar="FILE",
    help="For the card: what 'unet-edge benchmark' measured of the very same files before.",
)
@click.option(
    "--labels",
    is_flag=True,
    help="Arg-max inside the files: the class of each pixel out, uint8, instead of scores. The "
    "masks are the same and take the same time (0.94 to 1.05 times, measured on x86); for programs "
    "of your own that run the file without unet-edge.",
)
@json_option
def export(
    run: Path,
    output: Path | None,
    data: Path | None,
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
) -> None:
    """Export a training RUN as TFLite and ONNX, prove each file, and write a bundle.

    The bundle's README.md is a model card; the same export gives the same bytes.

    Exits with 1 when a file is under its agreement floor; the bundle is written all the same,
    and says so.

    \b
    Examples:
      unet-edge export runs/cats
      unet-edge export runs/cats --formats tflite-int8 -o cats-on-the-pi
      unet-edge export runs/cats --min-agreement 0.998 --max-miou-drop 0.1
      unet-edge export runs/cats --license 'CC BY 4.0' --benchmark benchmark.json
    """
    need("export", _EXPORT_MODULES)
    from converters.card.latency import read_latency
    from converters.export import export as export_bundle
    from converters.int8.search import Budget
    from unet_edge.runtime.backends.keras_model import load_keras
    from unet_edge.runtime.segmenter import KERAS_MODEL, SPEC_FILE, read_spec
    from unet_edge.system.files import sha256
    from unet_edge.training.config import read_config, run_dataset

    if max_miou_drop is not None and min_agreement is None:
        raise ConfigError("--max-miou-drop needs --min-agreement, which starts the search")
    artifacts = DEFAULT if formats is None else tuple(map(parse_artifact, formats))
    settings = ExportSettings(
        artifacts,
        calibration,
        check,
        golden,
        license=license,
        latency=read_latency(benchmark) if benchmark else None,
        full_integer=full_integer,
        budget=None if min_agreement is None else Budget(min_agreement, max_miou_drop),
        fine_tuning=fine_tuning,
    )
    spec = read_spec(run / SPEC_FILE)
    if labels:
        spec = dataclasses.replace(spec, output="labels")
    config = read_config(run)
    if data is None or data.resolve() == config.data.resolve():
        dataset = run_dataset(run)
    else:  # the lists named the run's own pictures
        config = dataclasses.replace(
            config, data=data, train_list=None, validation_list=None, test_list=None
        )
        # Whether the run saw these test pictures is not known, so the card must not quote them.
        dataset = dataclasses.replace(config.dataset(progress=progress), test=())
    bundle = export_bundle(
        load_keras(run / KERAS_MODEL),
        spec,
        dataset,
        output or run / "bundle",
        keras_sha256=sha256((run / KERAS_MODEL).read_bytes()),
        network=str(config.network),
        settings=settings,
        say=say,
    )
    if settings.latency and not settings.latency.p50_ms.keys() & {
        entry.sha256 for entry in bundle.files
    }:
        say(f"WARNING: {benchmark} measured other files than these; the card has no latency")
    print_bundle(bundle, as_json)
    if not all(entry.kept_floor for entry in bundle.files):
        raise Failure("some files are under their agreement floor; see the table")


@click.command()
@click.option("--output", "-o", type=path_type(), default=Path("demo"), show_default=True)
@click.option("--overwrite", is_flag=True, help="Replace an earlier demo.")
@click.pass_context
def demo(ctx: click.Context, output: Path, overwrite: bool) -> None:
    """Walk the whole road on generated pictures: no data, no network, a few minutes.

    Prints each command before it runs it, so that you can run it on your own data next.

    \b
    Example:
      unet-edge demo -o demo
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
    click.echo(f"generated pictures of cells with their membranes marked: {output / 'data'}")
    failures: list[str] = []
    for arguments in steps(output):
        click.echo(f"\n$ unet-edge {shlex.join(arguments)}")
        try:
            ctx.find_root().command.main(arguments, prog_name="unet-edge", standalone_mode=False)
        except Failure as failure:  # say a file under its floor: the rest is worth seeing
            failure.show()
            failures.append(arguments[0])
    save_overview(output)
    click.echo(f"\nlook at {output / 'overview.png'} and {output / 'benchmark.html'}")
    if failures:
        raise Failure(f"these steps failed: {', '.join(failures)}")
