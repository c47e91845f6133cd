"""The command that makes a run's folder of a model that other training code made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from converters.foreign.input_scaling import COLOR_ORDERS, INPUT_RANGES
from converters.foreign.settings import Architecture
from unet_edge.cli.group import interrupted_without_output, need
from unet_edge.cli.import_contract import (
    TRY_FILE,
    command_text,
    import_settings,
    incomplete_contract,
    missing_options,
    model_name,
    require_compatible,
    require_free,
    require_model,
    require_size,
)
from unet_edge.cli.import_device import DeviceGraph, device_graph, print_device_graph
from unet_edge.cli.import_report import print_found, print_imported
from unet_edge.cli.options import ClassNames, Size, json_option, path_type
from unet_edge.cli.output import print_json, print_line, print_note
from unet_edge.cli.settings import reading_options
from unet_edge.errors import ConfigError, ConversionError
from unet_edge.runtime.imported import imported_schema
from unet_edge.spec import Fit, ModelSpec, Resample

if TYPE_CHECKING:
    from converters.foreign.guessing import Guess
    from converters.foreign.import_model import ImportedModel
    from converters.foreign.import_settings import ImportSettings
    from unet_edge.dataset import Dataset, Sample

_MODULES = ("tensorflow", "keras", "h5py", "ai_edge_litert")


def _print_schema(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        print_json(imported_schema())
        ctx.exit()


@click.command("import")
@click.argument("model", type=path_type())
@click.option(
    "--output",
    "-o",
    type=path_type(),
    metavar="RUN",
    help="The run's folder.  [default: runs/ with the file's name]",
)
@click.option("--classes", type=ClassNames(), help="Class names, class 0 (the background) first.")
@click.option(
    "--input-range",
    type=click.Choice(INPUT_RANGES),
    help="What the model takes for pixels 0..255: caffe subtracts ImageNet's mean, imagenet also "
    "divides by its deviation.",
)
@click.option(
    "--mean",
    metavar="M",
    help="Instead of --input-range: what is subtracted from pixels of 0..255, one number, or "
    "three as red,green,blue.",
)
@click.option(
    "--std", metavar="S", help="With --mean: what is divided by then, one number or three."
)
@click.option(
    "--color-order",
    type=click.Choice(COLOR_ORDERS),
    help="Order of the channels that the model takes; bgr if OpenCV read its pictures.  "
    "[default: rgb; bgr for caffe]",
)
@click.option("--size", type=Size(), help="Input in px: HxW or one edge.  [default: the model's]")
@click.option(
    "--fit",
    type=click.Choice(get_args(Fit)),
    help="How a picture fills the input, as in the training.  "
    "[default: stretch; letterbox for the tutorial's networks]",
)
@click.option(
    "--resample",
    type=click.Choice(get_args(Resample)),
    help="How a picture is scaled to the input.  [default: bilinear; bicubic for the tutorial's]",
)
@click.option(
    "--architecture",
    type=click.Choice(get_args(Architecture)),
    help="The network of a file that holds weights alone.",
)
@click.option(
    "--output-name",
    metavar="NAME",
    help="Output or layer that holds the scores, if the model has several outputs.",
)
@click.option("--name", metavar="TEXT", help="Name of the model.  [default: the file's]")
@click.option(
    "--try",
    "photo",
    type=path_type(),
    metavar="PHOTO",
    help=f"Draw the mask over a photo, as {TRY_FILE} in the run's folder: a wrong range shows.",
)
@click.option(
    "--guess",
    is_flag=True,
    help="Score every input range and colour order on the pictures of --data, print the table, and "
    "take the best if it is clearly best.",
)
@click.option(
    "--data",
    type=path_type(),
    metavar="DIR",
    help="With --guess: pictures with masks, as for train.",
)
@reading_options
@click.option("--overwrite", is_flag=True, help="Replace an earlier import, with its bundle.")
@click.option(
    "--schema",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_schema,
    help="Print the JSON Schema of imported.json and exit.",
)
@json_option
def import_model(
    model: Path,
    output: Path | None,
    photo: Path | None,
    guess: bool,
    data: Path | None,
    overwrite: bool,
    as_json: bool,
    classes: tuple[str, ...] | None,
    input_range: str | None,
    mean: str | None,
    std: str | None,
    **options: Any,
) -> None:
    """Make a run of a Keras model that other code trained, for export, evaluate and segment.

    MODEL is a .keras file, a complete model as .h5, a TensorFlow SavedModel, or weights alone of
    one of the tutorial's networks, with --architecture. Nothing in the file is executed.

    The contract is asked for, because no file says what its training did with the pixels. A wrong
    --input-range gives poor masks and no error: look at --try, or measure it with --guess. What is
    not given and has a default is printed as assumed.

    Softmax or sigmoid, normalisation and other parts that a device does not need are rewritten.
    Each rewrite is proven by comparing outputs, and printed with the largest difference. What stays
    slow on the device is printed, too: its operators, and how many partitions XNNPACK makes.

    \b
    Examples:
      unet-edge import unet.h5 -o runs/mine --classes background,cat --input-range 0..1
      unet-edge import unet.keras --classes road,car,sky --input-range imagenet --try street.jpg
      unet-edge import unet.h5 --classes background,cat --guess --data cats
      unet-edge import best.weights.h5 --architecture tutorial-mobilenet-unet --size 320 \\
          --classes background,cat --input-range -1..1
    """
    rules = {name: options.pop(name) for name in ("masks", "ignore", "mask_names", "crowds")}
    run = output or Path("runs", model_name(model))
    scaling_given = {"--input-range": input_range, "--mean": mean, "--std": std}
    require_model(model)
    require_compatible(guess, data, scaling_given, rules)
    missing = missing_options(model, classes, scaling_given, options, guess=guess)
    if missing:
        raise incomplete_contract(model, run, missing)
    assert classes is not None, "missing_options names it"
    ModelSpec(height=1, width=1, classes=classes)  # raises SpecError for invalid names
    require_size(options["architecture"], options["size"])
    require_free(run, overwrite=overwrite)
    if photo is not None:
        _require_photo(photo)
    settings = import_settings(model, classes, input_range, mean, std, options)
    pictures = None
    if guess and data is not None:
        from unet_edge.cli.import_guess import guess_data

        pictures = guess_data(data, classes, rules)
    with interrupted_without_output():
        imported, graph, guessed = _import(model, run, settings, pictures, photo, as_json=as_json)
    tried = None if photo is None else run / TRY_FILE
    if as_json:
        print_json(
            {
                "run": str(run),
                "spec": imported.spec.to_dict(),
                "imported": imported.record.to_dict(),
                "device": {"error": str(graph)}
                if isinstance(graph, ConversionError)
                else graph.to_dict(),
                "try": None if tried is None else str(tried),
                "guess": None if guessed is None else guessed.to_dict(),
            }
        )
        return
    print_imported(imported)
    print_device_graph(graph)
    if tried is not None:
        print_line(f"look at {tried}: if the mask is wrong, try another --input-range")
    print_line(f"written to {run}; next: {command_text('export', run, '--data', 'PICTURES')}")


def _require_photo(photo: Path) -> None:
    """Raise an error for a photo that is not there, or is no picture, before the model is read."""
    from unet_edge.images.picture_file import opened

    if not photo.is_file():
        raise ConfigError(f"no such photo: {photo}", fix="name a picture with --try")
    with opened(photo, load=False):
        pass


def _import(
    model: Path,
    run: Path,
    settings: ImportSettings,
    pictures: tuple[Dataset, list[Sample]] | None,
    photo: Path | None,
    *,
    as_json: bool,
) -> tuple[ImportedModel, DeviceGraph | ConversionError, Guess | None]:
    """Read, guess with `pictures`, rewrite and write.

    Returns what was imported, its graph on the device, and the guess.
    """
    print_note(f"reading {model}")
    need("export", _MODULES)
    from converters.foreign.import_model import imported_model, open_foreign, write_run

    opened = open_foreign(model, settings)
    if not as_json:
        print_found(opened)
    guessed = None
    if pictures is not None:
        from unet_edge.cli.import_guess import guessed_settings

        settings, guessed = guessed_settings(opened, settings, pictures, as_json=as_json)
    print_note("rewriting the graph, and comparing outputs")
    imported = imported_model(model, opened, settings)
    graph = device_graph(imported)
    write_run(run, imported, _tries(imported, photo))
    return imported, graph, guessed


def _tries(imported: ImportedModel, photo: Path | None) -> Callable[[Path], None]:
    """What draws the overlay of `photo` into the run's new folder."""

    def draw(folder: Path) -> None:
        from unet_edge.masks.mask import save_png

        if photo is not None:
            mask = imported.segmenter().segment(photo)
            save_png(mask.overlay(photo, legend="beside"), folder / TRY_FILE)

    return draw
