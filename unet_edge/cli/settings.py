"""The settings of TrainConfig as options, in the sections of `train --help-all`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from unet_edge.cli.assignments import parse_assignments
from unet_edge.cli.options import ClassNames, Names
from unet_edge.cli.setting_options import Decorator, Leaf, Setting, leaves
from unet_edge.errors import ConfigError
from unet_edge.training.settings.augmentation import Augmentation
from unet_edge.training.settings.network import Network
from unet_edge.training.settings.train_config import TrainConfig

OPTIONS = "the options"
"""The source that errors name for settings of the command line."""

LEAVES: dict[str, Leaf] = {leaf.key: leaf for leaf in leaves(TrainConfig)}
"""Every setting by its key in config.toml."""

SECTIONS: dict[str, tuple[Setting, ...]] = {
    "Data": (
        Setting("classes", "Class names, class 0 (the background) first.", type=ClassNames()),
        Setting(
            "masks",
            "How masks are read: index, 'binary>127' (white is class 1), 'binary<=127' (black is "
            "class 1), 'colors:#000000,#ff0000' (in class order), polygons, or auto.",
        ),
        Setting(
            "ignore",
            "Mask value to ignore.",
            default="255 in index masks",
            type=click.IntRange(0, 255),
        ),
        Setting(
            "mask_names",
            "How masks are named after pictures, e.g. NAME_mask or NAME_photo=NAME_mask.",
            default="NAME",
            metavar="PATTERN",
        ),
        Setting(
            "crowds",
            "COCO regions with iscrowd, which CVAT's brush writes: ignore them, or take them as "
            "objects. auto takes them if there are no other regions.",
        ),
        Setting("train_list", "File that names the training pictures, one per line."),
        Setting("validation_list", "File that names the validation pictures.", flag="--val-list"),
        Setting("test_list", "File that names the test pictures, which are never trained on."),
        Setting(
            "split_by",
            "Without lists: groups keeps pictures that look alike in one split, pictures does not.",
        ),
        Setting(
            "bit_depth",
            "Bits in use in pictures of 16 bits, 32 bits or floats: 12 for a 12-bit camera, 8 for "
            "values 0..255.",
            default="all 16; floats are 0..1",
            type=click.IntRange(8, 16),
        ),
    ),
    "Model": (
        Setting("name", "Name of the model."),
        Setting(
            "size", "Input of the model in px: HxW or one edge, multiples of 16 (unet_mini: 4)."
        ),
        Setting("fit", "How a picture fills the input."),
        Setting("resample", "How a picture is scaled to the input."),
        Setting("decoding", "scaled lets the JPEG decoder reduce large photos by 2, 4 or 8."),
        Setting(
            "network.architecture",
            "The network; unet_mini is small and has no encoder.",
            type=click.Choice(["mobilenet_unet", "unet_mini"]),
        ),
        Setting("network.encoder", "The half of the network that can be pretrained."),
        Setting("network.decoder", "separable needs at most a thirteenth of dense's arithmetic."),
        Setting("network.alpha", "Width of the network; less is faster."),
        Setting(
            "weights",
            "Run to start from, trained or imported; network, classes, size and fit are its own "
            "unless given, except that the network cannot change.",
            metavar="RUN",
        ),
        Setting(
            "encoder_weights",
            "imagenet (downloaded by Keras), none, or a .h5 file.",
            default="imagenet; none for unet_mini and with --weights",
            metavar="imagenet|none|FILE",
        ),
    ),
    "Training": (
        Setting("steps", "Batches to train on."),
        Setting("rounds", "How often to validate and save."),
        Setting("patience", "Stop after this many rounds without improvement; 0 never stops."),
        Setting("batch_size", "Crops in a batch."),
        Setting("optimisation.optimizer", "The optimiser; sgd has Nesterov momentum 0.9."),
        Setting("optimisation.learning_rate", "The highest learning rate."),
        Setting("optimisation.weight_decay", "Weight decay of adamw and sgd."),
        Setting("optimisation.schedule", "How the learning rate decays."),
        Setting("optimisation.warmup", "Share of the run in which the learning rate rises."),
        Setting(
            "optimisation.final_rate",
            "Learning rate at the end of the decay, as a share of the highest.",
        ),
        Setting(
            "optimisation.ema", "Average the weights over this share of the run; 0 switches it off."
        ),
        Setting(
            "optimisation.freeze", "Freeze the encoder for this share of the run, from the start."
        ),
        Setting("optimisation.precision", "auto times float32 and mixed_bfloat16 on this machine."),
        Setting(
            "tensorboard", "Write events for TensorBoard.", flag="--tensorboard/--no-tensorboard"
        ),
        Setting(
            "seed",
            "Seed of the weights, the augmentation and the order of pictures.",
            type=click.IntRange(0),
        ),
    ),
    "Loss": (
        Setting("loss.cross_entropy", "Weight of the cross-entropy."),
        Setting("loss.focal", "Weight of the focal loss."),
        Setting(
            "loss.focal_gamma", "Exponent of the focal loss; a larger one weighs hard pixels more."
        ),
        Setting("loss.dice", "Weight of the Dice loss."),
        Setting(
            "loss.class_weights",
            "A number for each class, balanced, or none.",
            default="none",
            type=Names(),
            metavar="A,B,…|balanced|none",
        ),
    ),
    "Distillation": (
        Setting("distillation.teacher", "Run to learn from, e.g. of a larger network."),
        Setting(
            "distillation.weight", "Share of the teacher in the loss.", flag="--distill-weight"
        ),
        Setting(
            "distillation.temperature",
            "Temperature that softens both models' scores before the comparison.",
            flag="--distill-temperature",
        ),
    ),
    "Augmentation": (
        Setting(
            "augment",
            "Train on random views, or on complete pictures as they are.",
            flag="--augment/--no-augment",
        ),
        Setting("crop", "Train on crops of this size.", default="--size"),
        Setting("augmentation.horizontal_flip", "Mirror left and right.", flag="--flip/--no-flip"),
        Setting(
            "augmentation.any_orientation",
            "Turn and mirror pictures that have no up and down.",
            flag="--any-orientation/--upright",
        ),
        Setting("augmentation.scale", "Range of the random zoom.", metavar="LOW HIGH"),
        Setting("augmentation.aspect", "Largest relative stretch of the width."),
        Setting("augmentation.rotation", "Largest rotation, degrees."),
        Setting("augmentation.elastic", "Standard deviation of elastic bends, px."),
        Setting(
            "augmentation.hue",
            "Largest shift of the hue, a share of the colour circle; 0 for grey pictures.",
        ),
        Setting("augmentation.saturation", "Largest relative change of the saturation."),
        Setting("augmentation.brightness", "Largest relative change of the brightness."),
        Setting("augmentation.contrast", "Largest relative change of the contrast."),
        Setting("augmentation.blur", "Largest standard deviation of the blur, px."),
        Setting(
            "augmentation.noise", "Largest standard deviation of the noise, a share of full scale."
        ),
    ),
}
_BY_KEY = {setting.key: setting for section in SECTIONS.values() for setting in section}
_READING = ("masks", "ignore", "mask_names", "crowds")
_LISTS = ("train_list", "validation_list", "test_list")


def options_of(*keys: str, fill: bool = False, from_run: bool = False) -> Decorator:
    """The options of these settings; see `Setting.option`."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for key in reversed(keys):
            command = _BY_KEY[key].option(LEAVES[key], fill=fill, from_run=from_run)(command)
        return command

    return decorate


train_settings = options_of(*_BY_KEY)
"""The options of every setting."""

reading_options = options_of(*_READING)
"""The options that say how masks are found and read."""

data_options = options_of(*_READING, *_LISTS)
"""The options that say how masks are found and read, and how the data set is split."""

run_data_options = options_of(*_READING, *_LISTS, from_run=True)
"""`data_options` of a command that takes their values from a training run first."""

augmentation_options = options_of(*(key for key in _BY_KEY if key.startswith("augmentation.")))
"""The options of the augmentation."""


def given_options(options: dict[str, Any]) -> dict[str, Any]:
    """The options that are not None, nested as the settings are."""
    result: dict[str, Any] = {}
    for name, value in options.items():
        if value is not None:
            _put(result, name.replace("__", "."), value)
    return result


def nested(options: dict[str, Any], assignments: Sequence[str] = ()) -> dict[str, Any]:
    """Options and --set assignments as plain values, nested as in config.toml.

    Relative paths become absolute. Raises ConfigError for an assignment of the wrong type, and for
    a setting that an option gives too.
    """
    result = given_options({name: _plain(value) for name, value in options.items()})
    loss = result.get("loss", {})
    if weights := loss.pop("class_weights", None):
        loss.update(_class_weights(weights))
    for key, value in parse_assignments(assignments, LEAVES).items():
        path = LEAVES[key].kind is Path
        _put(result, key, _plain(Path(value)) if path else value)
    if (weights := result.get("encoder_weights")) not in (None, "imagenet", "none"):
        result["encoder_weights"] = _plain(Path(weights))
    return result


def require_config(data: Path, options: dict[str, Any]) -> TrainConfig:
    """The settings that `train` makes of these options. Raises the ConfigError of `train`."""
    # Not `TrainConfig.from_dict`, which needs cattrs and so the extra `train`.
    given = given_options(options)
    tables: dict[str, Callable[..., Any]] = {"network": Network, "augmentation": Augmentation}
    source = OPTIONS
    try:
        for name, table in tables.items():
            source = f"{OPTIONS}: {name}"
            given[name] = table(**given.get(name, {}))
        source = OPTIONS
        return TrainConfig(data=data, **given)
    except ConfigError as error:
        raise ConfigError(
            error.found,
            expected=error.expected,
            fix=error.fix,
            subject=f"{source}: {error.subject}".removesuffix(" "),
        ) from error


def _put(settings: dict[str, Any], key: str, value: Any) -> None:
    """Set a value by its key. Raises ConfigError if it is set already."""
    *tables, name = key.split(".")
    for table in tables:
        settings = settings.setdefault(table, {})
    if name in settings:
        raise ConfigError(f"{key} is given by an option and by --set", fix="leave one out")
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
            f"--class-weights {','.join(weights)} is neither numbers nor balanced nor none",
            fix="give a number for each class, such as 1,2.5",
        ) from None
