"""The settings of TrainConfig as options, in the sections of `train --help-all`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from unet_edge.cli.assignments import assigned
from unet_edge.cli.options import Names
from unet_edge.cli.setting_options import Decorator, Leaf, Setting, leaves
from unet_edge.errors import ConfigError
from unet_edge.training.settings.augmentation import Augmentation
from unet_edge.training.settings.network import Network
from unet_edge.training.settings.train_config import TrainConfig

OPTIONS = "the options"
"""What errors call the settings of a command line."""

LEAVES: dict[str, Leaf] = {leaf.key: leaf for leaf in leaves(TrainConfig)}
"""Every single setting by its key in config.toml."""

SECTIONS: dict[str, tuple[Setting, ...]] = {
    "Data": (
        Setting("classes", "Class names, class 0 (the background) first."),
        Setting(
            "masks",
            "How masks are read: index, 'binary>127' (white is class 1), 'binary<=127' (black is "
            "class 1), 'colors:#000000,#ff0000' (in class order), polygons, or auto.",
        ),
        Setting(
            "ignore",
            "Mask value to leave out.",
            default="255 in index masks",
            type=click.IntRange(0, 255),
        ),
        Setting(
            "mask_names",
            "How masks are named after pictures: NAME_mask, or NAME_photo=NAME_mask.",
            default="NAME",
            metavar="PATTERN",
        ),
        Setting(
            "crowds",
            "COCO regions with iscrowd, which CVAT's brush writes: ignore, or take as objects; "
            "auto takes them if there are no others.",
        ),
        Setting("train_list", "File that names the training pictures, one a line."),
        Setting("validation_list", "File that names the validation pictures.", flag="--val-list"),
        Setting("test_list", "File that names the test pictures, which are never trained on."),
        Setting(
            "split_by",
            "What a drawn split keeps together: pictures that look alike, or none.",
        ),
        Setting(
            "bit_depth",
            "Bits that pictures of 16 or 32 bits or of floats use: 12 for a 12-bit camera's, 8 for "
            "0..255.",
            default="all 16; floats are 0..1",
            type=click.IntRange(8, 16),
        ),
    ),
    "Model": (
        Setting("name", "What the model is called."),
        Setting("size", "The model's input in px, HxW or one edge; multiples of 16, unet_mini: 4."),
        Setting("fit", "How a picture fills the input."),
        Setting("resample", "How it is scaled there."),
        Setting("decoding", "scaled: the JPEG decoder reduces large photos, by 2, 4 or 8."),
        Setting("network.architecture", "The network; unet_mini is small and has no encoder."),
        Setting("network.encoder", "The half of the network that can be pretrained."),
        Setting("network.decoder", "separable: a thirteenth of dense's arithmetic, or less."),
        Setting("network.alpha", "Width of the network; less is faster."),
        Setting(
            "encoder_weights",
            "Keras' download, none, or a .h5 file.",
            default="imagenet; none for unet_mini",
            metavar="imagenet|none|FILE",
        ),
    ),
    "Course of the run": (
        Setting("steps", "Batches to train on."),
        Setting("rounds", "How often to validate and save."),
        Setting("patience", "Stop after this many rounds without a better one; 0: never."),
        Setting("batch_size", "Crops in a batch."),
        Setting("optimisation.optimizer", "The optimiser; sgd has Nesterov momentum 0.9."),
        Setting("optimisation.learning_rate", "The highest rate."),
        Setting("optimisation.weight_decay", "For adamw and sgd."),
        Setting("optimisation.schedule", "How the rate decays."),
        Setting("optimisation.warmup", "Share of the run in which the rate rises."),
        Setting("optimisation.final_rate", "Where the decay ends, as a share of the rate."),
        Setting("optimisation.ema", "Average the weights over this share of the run; 0: do not."),
        Setting(
            "optimisation.freeze", "Keep the encoder as it was loaded for this share of the run."
        ),
        Setting("optimisation.precision", "auto times both on this machine."),
        Setting("tensorboard", "Write its events too.", flag="--tensorboard/--no-tensorboard"),
        Setting("seed", "Of weights, views and order.", type=click.IntRange(0)),
    ),
    "Loss": (
        Setting("loss.cross_entropy", "Its share."),
        Setting("loss.focal", "Focal loss' share."),
        Setting("loss.focal_gamma", "How much focal loss looks at hard pixels."),
        Setting("loss.dice", "Dice loss' share."),
        Setting(
            "loss.class_weights",
            "A number for each class, or balanced.",
            default="none",
            type=Names(),
            metavar="A,B,…|balanced|none",
        ),
    ),
    "Teacher": (
        Setting("distillation.teacher", "A run to learn from."),
        Setting("distillation.weight", "The teacher's share of the loss.", flag="--distill-weight"),
        Setting(
            "distillation.temperature",
            "What softens both before they are compared.",
            flag="--distill-temperature",
        ),
    ),
    "Random views": (
        Setting(
            "augment",
            "Random views, or whole pictures as they are.",
            flag="--augment/--no-augment",
        ),
        Setting("crop", "Train on crops of this size.", default="--size"),
        Setting("augmentation.horizontal_flip", "Mirror left and right.", flag="--flip/--no-flip"),
        Setting(
            "augmentation.any_orientation",
            "Turn and mirror pictures that have no up and down.",
            flag="--any-orientation/--upright",
        ),
        Setting("augmentation.scale", "Random zoom.", metavar="LOW HIGH"),
        Setting("augmentation.aspect", "Random stretch."),
        Setting("augmentation.rotation", "Largest turn, degrees."),
        Setting("augmentation.elastic", "Bends, px."),
        Setting("augmentation.hue", "Share of the colour circle; 0 for grey pictures."),
        Setting("augmentation.saturation", "Largest relative change."),
        Setting("augmentation.brightness", "Largest relative change."),
        Setting("augmentation.contrast", "Largest relative change."),
        Setting("augmentation.blur", "Largest blur, px."),
        Setting("augmentation.noise", "Share of full scale."),
    ),
}
_BY_KEY = {setting.key: setting for section in SECTIONS.values() for setting in section}
_READING = ("masks", "ignore", "mask_names", "crowds")
_LISTS = ("train_list", "validation_list", "test_list")


def options_of(*keys: str, fill: bool = False) -> Decorator:
    """The options of these settings; with `fill`, the setting's default where none is given."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for key in reversed(keys):
            command = _BY_KEY[key].option(LEAVES[key], fill)(command)
        return command

    return decorate


train_settings = options_of(*_BY_KEY)
"""The options of every setting."""

reading_options = options_of(*_READING)
"""How a data set's masks are found and read."""

data_options = options_of(*_READING, *_LISTS)
"""How a data set is split, and its masks are found and read."""

augmentation_options = options_of(*(key for key in _BY_KEY if key.startswith("augmentation.")))
"""The random views alone."""


def placed(options: dict[str, Any]) -> dict[str, Any]:
    """The options that were given, nested as the settings are."""
    result: dict[str, Any] = {}
    for name, value in options.items():
        if value is not None:
            _put(result, name.replace("__", "."), value)
    return result


def nested(options: dict[str, Any], assignments: Sequence[str] = ()) -> dict[str, Any]:
    """Options and --set assignments as plain values, nested as the TOML.

    Relative paths become those of this shell. Raises ConfigError for an assignment that does not
    fit, or that an option makes too.
    """
    result = placed({name: _plain(value) for name, value in options.items()})
    loss = result.get("loss", {})
    if weights := loss.pop("class_weights", None):
        loss.update(_class_weights(weights))
    for key, value in assigned(assignments, LEAVES).items():
        path = LEAVES[key].kind is Path
        _put(result, key, _plain(Path(value)) if path else value)
    if (weights := result.get("encoder_weights")) not in (None, "imagenet", "none"):
        result["encoder_weights"] = _plain(Path(weights))
    return result


def require_config(data: Path, options: dict[str, Any]) -> TrainConfig:
    """What `train` would make of these options. Raises ConfigError as `train` does.

    For commands that need no train extra, where cattrs is.
    """
    given = placed(options)
    tables: dict[str, Callable[..., Any]] = {"network": Network, "augmentation": Augmentation}
    place = OPTIONS
    try:
        for name, table in tables.items():
            place = f"{OPTIONS}: {name}"
            given[name] = table(**given.get(name, {}))
        place = OPTIONS
        return TrainConfig(data=data, **given)
    except ConfigError as error:
        raise ConfigError(f"{place}: {error}") from error


def _put(settings: dict[str, Any], key: str, value: Any) -> None:
    """Put a value where its key says. Raises ConfigError if there is one."""
    *tables, name = key.split(".")
    for table in tables:
        settings = settings.setdefault(table, {})
    if name in settings:
        raise ConfigError(f"{key} is given by an option and by --set: leave one out")
    settings[name] = value


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value.absolute())
    return list(value) if isinstance(value, tuple) else value


def _class_weights(weights: list[str]) -> dict[str, Any]:
    if weights == ["none"]:
        return {"balanced": False, "class_weights": []}
    if weights == ["balanced"]:
        return {"balanced": True, "class_weights": []}
    try:
        return {"class_weights": [float(weight) for weight in weights], "balanced": False}
    except ValueError:
        raise ConfigError(
            f"--class-weights {','.join(weights)} is neither numbers nor balanced nor none"
        ) from None
