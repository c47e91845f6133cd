"""Commands for the workstation: train, export and the demo. They need Keras or TensorFlow."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path
from typing import Any

import click

from unet_edge.cli.group import Failure, need
from unet_edge.cli.options import Names, Size, data_options, json_option, path_type
from unet_edge.cli.output import print_bundle, print_json, print_table, say
from unet_edge.errors import ConfigError
from unet_edge.files import require_place

_EXPORT_MODULES = ("tensorflow", "keras", "tf2onnx", "onnx", "onnxruntime", "ai_edge_litert")


@click.command()
@click.argument("data", type=path_type())
@click.option("--output", "-o", type=path_type(), default=Path("runs/model"), show_default=True)
@click.option(
    "--classes",
    type=Names(),
    default="background,object",
    show_default=True,
    help="Class names, class 0 first.",
)
@click.option(
    "--size",
    type=Size(),
    default="256",
    show_default=True,
    help="The model's input in px, HxW or one edge; multiples of 16.",
)
@click.option("--crop", type=Size(), help="Train on crops of this size.  [default: --size]")
@data_options
@click.option(
    "--architecture",
    type=click.Choice(["mobilenet_unet", "unet_mini"]),
    default="mobilenet_unet",
    show_default=True,
)
@click.option(
    "--decoder",
    type=click.Choice(["separable", "dense"]),
    default="separable",
    show_default=True,
    help="separable: a fourteenth of dense's arithmetic.",
)
@click.option(
    "--alpha",
    type=click.Choice(["0.25", "0.5", "0.75", "1.0"]),
    default="1.0",
    show_default=True,
    help="Width of the network.",
)
@click.option(
    "--encoder",
    metavar="imagenet|none|FILE",
    help="Pretrained encoder: Keras' download, none, or a .h5 weights file.  "
    "[default: imagenet; none for unet_mini]",
)
@click.option(
    "--fit", type=click.Choice(["letterbox", "stretch"]), default="letterbox", show_default=True
)
@click.option("--steps", type=click.IntRange(1), default=1500, show_default=True)
@click.option("--batch-size", type=click.IntRange(1), default=8, show_default=True)
@click.option("--learning-rate", type=float, default=1e-3, show_default=True)
@click.option(
    "--scale",
    type=float,
    nargs=2,
    default=(0.5, 2.0),
    show_default=True,
    help="Random zoom, low and high.",
)
@click.option("--hue", type=float, default=0.05, show_default=True, help="0 for grey pictures.")
@click.option(
    "--any-orientation", is_flag=True, help="For pictures without up and down: turn them too."
)
@click.option("--no-augment", is_flag=True, help="Train on whole pictures as they are.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--name", default="model", show_default=True, help="What the model is called.")
@click.option("--overwrite", is_flag=True, help="Replace the model of an earlier run.")
@json_option
def train(
    data: Path,
    output: Path,
    architecture: str,
    decoder: str,
    alpha: str,
    encoder: str | None,
    scale: tuple[float, float],
    hue: float,
    any_orientation: bool,
    no_augment: bool,
    overwrite: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Train a model on the pictures and masks in DATA.

    DATA holds images/ and masks/ (or Images/ and Labels/, or JPEGImages/ and
    SegmentationClass/), with train.txt and val.txt if you have a split.

    \b
    Examples:
      unet-edge train cats --classes background,cat
      unet-edge train cells --size 512 --crop 256 --masks 'binary<=127' \\
          --classes cell,membrane --any-orientation -o runs/cells
    """
    need("train", ["keras", "matplotlib"])
    from unet_edge.training.augmentation import Augmentation
    from unet_edge.training.config import TrainConfig
    from unet_edge.training.models import Network
    from unet_edge.training.run import train as run_training

    for name in ("train_list", "validation_list"):
        settings[name] = settings[name] and settings[name].absolute()
    network = Network(architecture, decoder, float(alpha))  # type: ignore[arg-type]  # click chose
    augmentation = Augmentation(any_orientation=any_orientation, scale=scale, hue=hue)
    config = TrainConfig(
        data=data.absolute(),
        network=network,
        encoder=encoder or ("imagenet" if architecture == "mobilenet_unet" else "none"),
        augmentation=None if no_augment else augmentation,
        rounds=max(1, min(15, settings["steps"] // 10)),
        **settings,
    )
    result = run_training(config, output, overwrite=overwrite, say=say)
    if as_json:
        print_json(result.to_dict())
        return
    rows = list(zip(config.classes, result.validation_iou, strict=True))
    print_table([*rows, ("mean", result.validation_miou)], ["class", "validation IoU"])
    click.echo(f"best at step {result.best_step}; look at {output / 'samples'}")
    click.echo(f"next: unet-edge export {output}")


@click.command()
@click.argument("run", type=path_type())
@click.option(
    "--output", "-o", type=path_type(), help="The bundle's folder.  [default: RUN/bundle]"
)
@click.option("--data", type=path_type(), help="Pictures with masks.  [default: those of the run]")
@click.option(
    "--formats",
    type=Names(),
    help="E.g. tflite-int8,onnx-float32.  [default: all five]",
)
@click.option(
    "--calibration",
    type=click.IntRange(1),
    default=100,
    show_default=True,
    help="Training pictures to scale int8 files by.",
)
@click.option(
    "--check",
    type=click.IntRange(1),
    default=64,
    show_default=True,
    help="Validation pictures to prove each file on, at most.",
)
@click.option(
    "--golden",
    type=click.IntRange(1),
    default=8,
    show_default=True,
    help="Pictures to put into the bundle for proof on the device.",
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
) -> None:
    """Export a training RUN as TFLite and ONNX, prove each file, and write a bundle.

    Exits with 1 when a file is under its agreement floor; the bundle is written all the same,
    and says so.

    \b
    Examples:
      unet-edge export runs/cats
      unet-edge export runs/cats --formats tflite-int8 -o cats-on-the-pi
    """
    need("export", _EXPORT_MODULES)
    from converters.export import ARTIFACTS, ExportSettings, parse_artifact
    from converters.export import export as export_bundle
    from unet_edge.files import sha256
    from unet_edge.metadata import load_model_bytes
    from unet_edge.runtime.backends.keras_model import load_keras
    from unet_edge.runtime.segmenter import KERAS_MODEL, SPEC_FILE, read_spec
    from unet_edge.training.config import read_config

    artifacts = ARTIFACTS if formats is None else tuple(map(parse_artifact, formats))
    settings = ExportSettings(artifacts, calibration, check, golden)
    spec = read_spec(run / SPEC_FILE)
    config = read_config(run)
    if data is not None:
        # The lists named the run's own pictures.
        config = dataclasses.replace(config, data=data, train_list=None, validation_list=None)
    bundle = export_bundle(
        load_keras(run / KERAS_MODEL),
        spec,
        config.dataset(),
        output or run / "bundle",
        keras_sha256=sha256(load_model_bytes(run / KERAS_MODEL)),
        settings=settings,
        say=say,
    )
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
    from unet_edge.demo.road import make_data, save_overview, steps

    require_place(output)
    if output.exists() and any(output.iterdir()) and not overwrite:
        raise ConfigError(f"{output} is not empty; choose another --output or pass --overwrite")
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
