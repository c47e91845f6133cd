"""The contract of an import: the options that give it, and the error that asks for them."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any, get_args

import click

from converters.foreign.file_kind import kind_of
from converters.foreign.import_settings import ImportSettings
from converters.foreign.input_scaling import INPUT_RANGES, InputScaling
from converters.foreign.refusal import Refusal
from converters.foreign.settings import SIZE_MULTIPLES, Architecture
from unet_edge.cli.given_options import given_options
from unet_edge.errors import ConfigError, ModelFileError
from unet_edge.runtime.run_folder import IMPORTED_FILE, is_imported
from unet_edge.runtime.segmenter import BUNDLE_FOLDER, KERAS_MODEL, SPEC_FILE
from unet_edge.system.counting import first_names
from unet_edge.system.files import require_writable_path

TRY_FILE = "try.png"
"""The overlay of --try, in the run's folder."""

_WEIGHTS = ".weights.h5"
_OWN = {KERAS_MODEL, SPEC_FILE, IMPORTED_FILE, BUNDLE_FOLDER, TRY_FILE}
"""What a new import may replace."""


def model_name(model: Path) -> str:
    """The name of a model's file without its suffix."""
    return model.name.removesuffix(_WEIGHTS) if model.name.endswith(_WEIGHTS) else model.stem


def command_text(*words: object) -> str:
    """A command of unet-edge as it is typed."""
    return shlex.join(["unet-edge", *map(str, words)])


def require_model(model: Path) -> None:
    """Raise ModelFileError for a file that is no Keras model, by its first bytes."""
    if not model.exists():
        raise ModelFileError(f"no such model file: {model}")
    if is_imported(model):
        command = command_text("export", model, "--data", "PICTURES")
        raise ModelFileError(f"{model} is imported already", fix=f"run: {command}")
    try:
        kind_of(model)
    except Refusal as refusal:
        raise ModelFileError(refusal.reason, fix=refusal.fix, subject=str(model)) from refusal


def require_compatible(
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


def require_size(architecture: Architecture | None, size: tuple[int, int] | None) -> None:
    """Raise ConfigError for a size that a network of the tutorial cannot have."""
    if architecture is None or size is None:
        return
    multiple = SIZE_MULTIPLES[architecture]
    if any(edge % multiple for edge in size):
        height, width = (max(1, round(edge / multiple)) * multiple for edge in size)
        raise ConfigError(
            f"--size is {size[0]}x{size[1]}",
            expected=f"{architecture} takes multiples of {multiple} px",
            fix=f"give the size that it was trained on, such as --size {height}x{width}",
        )


def missing_options(
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


def incomplete_contract(model: Path, run: Path, missing: dict[str, str]) -> ConfigError:
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
    given = given_options(without=("output",))
    return ConfigError(
        f"the contract of {model} lacks {', '.join(meanings.get(name, name) for name in missing)}",
        expected="a model file does not say it, and a wrong one gives wrong masks without an error",
        fix=f"run: {command_text('import', model, '-o', run, *given, *words)}",
    )


def require_free(run: Path, *, overwrite: bool) -> None:
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
    others = sorted({path.name for path in run.iterdir()} - _OWN)
    if others:
        raise ConfigError(
            f"{run} holds {first_names(others)} beside an imported model",
            fix="choose another --output, or move them",
        )
    if not overwrite:
        raise ConfigError(
            f"{run} already holds an imported model",
            fix="choose another --output or pass --overwrite",
        )


def import_settings(
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
        "name": model_name(model),
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
