"""The command that makes a run's folder of a model that other training code made."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from converters.foreign.file_kind import kind_of
from converters.foreign.import_settings import ImportSettings
from converters.foreign.input_scaling import COLOR_ORDERS, INPUT_RANGES, InputScaling
from converters.foreign.refusal import Refusal
from converters.foreign.settings import Architecture
from unet_edge.cli.group import need
from unet_edge.cli.options import ClassNames, Size, json_option, path_type
from unet_edge.cli.output import print_json, print_line, print_note, print_spec, print_texts
from unet_edge.cli.settings import reading_options
from unet_edge.errors import ConfigError, ModelFileError, UnetEdgeError
from unet_edge.runtime.imported import imported_schema
from unet_edge.runtime.run_folder import is_imported
from unet_edge.spec import Fit, ModelSpec, Resample
from unet_edge.system.counting import counted
from unet_edge.system.files import require_writable_path
from unet_edge.system.printable import printable
from unet_edge.system.progress import progress

if TYPE_CHECKING:
    from converters.foreign.guessing import Guess
    from converters.foreign.import_model import ImportedModel, OpenedModel
    from unet_edge.dataset import Dataset, Sample

_MODULES = ("tensorflow", "keras", "h5py")
_TRY_FILE = "try.png"
_MOST_GUESS_PICTURES = 16  # pictures that ten contracts are scored on
_WEIGHTS = ".weights.h5"


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
    help=f"Draw the mask over a photo, as {_TRY_FILE} in the run's folder: a wrong range shows.",
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
    Each rewrite is proven by comparing outputs, and printed with the largest difference.

    \b
    Examples:
      unet-edge import unet.h5 -o runs/mine --classes background,cat --input-range 0..1
      unet-edge import unet.keras --classes road,car,sky --input-range imagenet --try street.jpg
      unet-edge import unet.h5 --classes background,cat --guess --data cats
      unet-edge import best.weights.h5 --architecture tutorial-mobilenet-unet --size 320 \\
          --classes background,cat --input-range -1..1
    """
    rules = {name: options.pop(name) for name in ("masks", "ignore", "mask_names", "crowds")}
    run = output or Path("runs", _stem(model))
    scaling_given = {"--input-range": input_range, "--mean": mean, "--std": std}
    _require_model(model)
    _require_compatible(guess, data, scaling_given, rules)
    missing = _missing(model, classes, scaling_given, options, guess=guess)
    if missing:
        raise _incomplete(model, run, missing)
    assert classes is not None, "_missing names it"
    ModelSpec(height=1, width=1, classes=classes)  # raises SpecError for invalid names
    _require_free(run, overwrite=overwrite)
    if photo is not None and not photo.is_file():
        raise ConfigError(f"no such photo: {photo}", fix="name a picture with --try")
    settings = _settings(model, classes, input_range, mean, std, options)
    dataset = _guess_data(data, classes, rules) if guess and data else None

    print_note(f"reading {model}")
    need("train", _MODULES)
    from converters.foreign.import_model import imported_model, open_foreign, write_run

    opened = open_foreign(model, settings)
    if not as_json:
        _print_found(opened)
    guessed = None
    if dataset is not None:
        settings, guessed = _guessed(opened, settings, dataset, input_range, as_json=as_json)
    print_note("rewriting the graph, and comparing outputs")
    imported = imported_model(model, opened, settings)
    write_run(run, imported, _tries(imported, photo))
    tried = None if photo is None else run / _TRY_FILE
    if as_json:
        print_json(
            {
                "run": str(run),
                "spec": imported.spec.to_dict(),
                "imported": imported.record.to_dict(),
                "try": None if tried is None else str(tried),
                "guess": None if guessed is None else guessed.to_dict(),
            }
        )
        return
    _print_imported(imported)
    if tried is not None:
        print_line(f"look at {tried}: if the mask is wrong, try another --input-range")
    print_line(f"written to {run}; next: {_command('export', run, '--data', 'PICTURES')}")


def _stem(model: Path) -> str:
    return model.name.removesuffix(_WEIGHTS) if model.name.endswith(_WEIGHTS) else model.stem


def _command(*words: object) -> str:
    return shlex.join(["unet-edge", *map(str, words)])


def _require_model(model: Path) -> None:
    """Raise ModelFileError for a file that is no Keras model, by its first bytes."""
    if not model.exists():
        raise ModelFileError(f"no such model file: {model}")
    if is_imported(model):
        command = _command("export", model, "--data", "PICTURES")
        raise ModelFileError(f"{model} is imported already", fix=f"run: {command}")
    try:
        kind_of(model)
    except Refusal as refusal:
        raise ModelFileError(refusal.reason, fix=refusal.fix, subject=str(model)) from refusal


def _require_compatible(
    guess: bool, data: Path | None, scaling: dict[str, str | None], rules: dict[str, Any]
) -> None:
    """Raise ConfigError for options that exclude or need each other."""
    given = [name for name, value in scaling.items() if value is not None]
    if scaling["--input-range"] is not None and len(given) > 1:
        raise ConfigError(f"{given[0]} and {given[1]} exclude each other", fix="leave one out")
    if guess and "--input-range" not in given and given:
        raise ConfigError(f"--guess and {given[0]} exclude each other", fix="leave one out")
    if not guess:
        read = [name for name, value in {"data": data, **rules}.items() if value is not None]
        if read:
            option = "--" + read[0].replace("_", "-")
            raise ConfigError(f"{option} is given without --guess", fix="add --guess")


def _missing(
    model: Path,
    classes: tuple[str, ...] | None,
    scaling: dict[str, str | None],
    options: dict[str, Any],
    *,
    guess: bool,
) -> dict[str, str]:
    """The options that are missing, each with a placeholder, as the command would have them."""
    missing: dict[str, str] = {}
    context = click.get_current_context()
    if classes is None:
        missing["--classes"] = "background,THING"
    if guess:
        if context.params["data"] is None:
            missing["--data"] = "DIR"
    elif not any(scaling.values()):
        missing["--input-range"] = "RANGE"
    elif scaling["--input-range"] is None:
        missing |= {name: "NUMBER" for name in ("--mean", "--std") if scaling[name] is None}
    if model.name.endswith(_WEIGHTS) and options["architecture"] is None:
        missing["--architecture"] = "NETWORK"
    if options["architecture"] is not None and options["size"] is None:
        missing["--size"] = "SIZE"
    return missing


def _incomplete(model: Path, run: Path, missing: dict[str, str]) -> ConfigError:
    """The error that names every missing option, with the command."""
    meanings = {
        "--classes": "--classes (names, class 0 first)",
        "--input-range": f"--input-range (one of {', '.join(INPUT_RANGES)}; or --mean and --std; "
        "or --guess --data DIR to measure it)",
        "--data": "--data (pictures with masks)",
        "--architecture": f"--architecture (one of {', '.join(get_args(Architecture))})",
        "--size": "--size (HxW in px)",
    }
    words = [word for pair in missing.items() for word in pair]
    given = _given_words()
    return ConfigError(
        f"the contract of {model} lacks {', '.join(meanings.get(name, name) for name in missing)}",
        expected="a model file does not say it, and a wrong one gives wrong masks without an error",
        fix=f"run: {_command('import', model, '-o', run, *given, *words)}",
    )


def _given_words() -> list[str]:
    """The options that were given, as they are typed, but for the folder."""
    context = click.get_current_context()
    words: list[str] = []
    for parameter in context.command.params:
        name = parameter.name or ""
        source = context.get_parameter_source(name)
        if not isinstance(parameter, click.Option) or name == "output" or source is None:
            continue
        value = context.params.get(name)
        if source.name != "COMMANDLINE" or value is None:
            continue
        words.append(parameter.opts[0])
        if not parameter.is_flag:
            joiner = "x" if name == "size" else ","
            text = joiner.join(map(str, value)) if isinstance(value, tuple) else str(value)
            words.append(text)
    return words


def _require_free(run: Path, *, overwrite: bool) -> None:
    """Raise ConfigError if `run` holds anything but an earlier import that may be replaced."""
    require_writable_path(run)
    if not run.exists():
        return
    if not run.is_dir():
        raise ConfigError(f"{run} is a file", fix="choose another --output")
    if not any(run.iterdir()):
        return
    if not is_imported(run):
        raise ConfigError(
            f"{run} holds files that are not an import's", fix="choose another --output"
        )
    if not overwrite:
        raise ConfigError(
            f"{run} already holds an imported model",
            fix="choose another --output or pass --overwrite",
        )


def _settings(
    model: Path,
    classes: tuple[str, ...],
    input_range: str | None,
    mean: str | None,
    std: str | None,
    options: dict[str, Any],
) -> ImportSettings:
    """The settings, with a note of what was assumed. Without a range it is 0..255, for --guess."""
    tutorial = options["architecture"] is not None
    defaults = {
        "fit": "letterbox" if tutorial else "stretch",
        "resample": "bicubic" if tutorial else "bilinear",
        "name": _stem(model),
    }
    order = options["color_order"]
    if mean is not None and std is not None:
        scaling = InputScaling.parse(mean, std, order or "rgb")
    else:
        scaling = InputScaling.named(input_range or "0..255", order)
    assumed = [f"--{key} {value}" for key, value in defaults.items() if options[key] is None]
    if order is None:
        assumed.insert(0, f"--color-order {scaling.color_order}")
    given = {key: value for key, value in options.items() if value is not None}
    given.pop("color_order", None)
    output = given.pop("output_name", None)
    return ImportSettings(
        classes=classes,
        scaling=scaling,
        range_name=input_range,
        output=output,
        assumed=tuple(assumed),
        **defaults | given,
    )


def _guess_data(
    data: Path, classes: tuple[str, ...], rules: dict[str, Any]
) -> tuple[Dataset, list[Sample]]:
    """The data set of a guess, and the pictures to score, spread evenly over all of them."""
    from unet_edge.dataset import find_dataset

    dataset = find_dataset(
        data, classes=classes, progress=progress, fixed_classes=True, split_by="pictures", **rules
    )
    for note in dataset.notes:
        if not note.startswith("split:"):
            print_note(note)
    samples = [sample for part in dataset.splits.values() for sample in part]
    step = max(1, len(samples) / _MOST_GUESS_PICTURES)
    count = min(len(samples), _MOST_GUESS_PICTURES)
    return dataset, [samples[int(index * step)] for index in range(count)]


def _guessed(
    opened: OpenedModel,
    settings: ImportSettings,
    data: tuple[Dataset, list[Sample]],
    input_range: str | None,
    *,
    as_json: bool,
) -> tuple[ImportSettings, Guess]:
    """Score the candidates, print the table, and return the settings with the best one.

    Raises ConversionError if none is clearly best.
    """
    from converters.foreign.guessing import candidates, guess_contract, require_guess, with_guess

    given_order = click.get_current_context().params["color_order"]
    contracts = candidates(input_range, given_order)  # type: ignore[arg-type]  # checked by click
    dataset, samples = data
    print_note(
        f"scoring {counted(len(contracts), 'contract')} on {counted(len(samples), 'picture')}"
    )
    guess = guess_contract(opened, settings, dataset, progress(samples, "scoring"), contracts)
    if not as_json:
        _print_guess(guess)
    try:
        best = require_guess(guess)
    except UnetEdgeError:
        if as_json:
            print_json({"run": None, "guess": guess.to_dict()})
        raise
    return with_guess(settings, best), guess


def _tries(imported: ImportedModel, photo: Path | None) -> Callable[[Path], None]:
    """What draws the overlay of `photo` into the run's new folder."""

    def draw(folder: Path) -> None:
        from unet_edge.masks.mask import save_png

        if photo is not None:
            mask = imported.segmenter().segment(photo)
            save_png(mask.overlay(photo, legend="beside"), folder / _TRY_FILE)

    return draw


def _print_found(opened: OpenedModel) -> None:
    print_line(f"found, in {Path(opened.foreign.source).name} ({opened.foreign.kind}):")
    for line in opened.found.lines():
        print_line(f"  {line}")


def _print_guess(guess: Guess) -> None:
    rows = [
        (each.range, each.color_order, f"{each.miou:.4f}", "best" if each == guess.best else "")
        for each in guess.candidates
    ]
    print_texts(rows, ["input range", "color order", "mIoU", ""])
    print_line(
        f"over {counted(guess.pictures, 'picture')}; the best leads by {100 * guess.lead:.2f} "
        f"points, and in {guess.confidence:.1%} of redrawn sets of pictures"
    )


def _print_imported(imported: ImportedModel) -> None:
    record = imported.record
    print_line(f"assumed: {', '.join(record.assumed) or 'nothing'}")
    print_texts(
        [(each.what, f"{each.largest_difference:.2g}") for each in record.rewrites],
        ["rewrite", "largest difference"],
    )
    scaling = InputScaling(record.input.mean, record.input.std, record.input.color_order)
    print_line(printable(f"the model takes {scaling}"))
    print_spec(imported.spec)
