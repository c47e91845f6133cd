"""The options of `train`: one for each setting of TrainConfig, named by its place in the TOML."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from unet_edge.cli.options import SPLIT_BY, Names, Size, data_options, path_type
from unet_edge.errors import ConfigError


def _setting(flag: str, place: str, help: str, **options: Any) -> Callable[..., Any]:
    """An option that is None when it is not given, so that a --config file can speak."""
    return click.option(flag, place.replace(".", "__"), default=None, help=help, **options)


_CHOICES = {
    "split_by": [*SPLIT_BY],
    "architecture": ["mobilenet_unet", "unet_mini"],
    "decoder": ["separable", "dense"],
    "encoder": ["mobilenet_v1", "mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large"],
    "fit": ["letterbox", "stretch"],
    "decoding": ["scaled", "full"],
    "resample": ["bilinear", "bicubic", "box"],
    "optimizer": ["adamw", "adam", "sgd"],
    "schedule": ["cosine", "exponential", "constant"],
    "precision": ["float32", "mixed_bfloat16", "mixed_float16", "auto"],
}


def _choice(flag: str, place: str, help: str) -> Callable[..., Any]:
    return _setting(flag, place, help, type=click.Choice(_CHOICES[place.rpartition(".")[2]]))


_AUGMENTATION = (
    _setting(
        "--flip/--no-flip",
        "augmentation.horizontal_flip",
        "Mirror left and right.  [default: flip]",
    ),
    _setting(
        "--any-orientation/--upright",
        "augmentation.any_orientation",
        "Turn pictures that have no up and down.  [default: upright]",
    ),
    _setting(
        "--scale",
        "augmentation.scale",
        "Random zoom, low and high.  [default: 0.5 2.0]",
        type=float,
        nargs=2,
    ),
    _setting("--aspect", "augmentation.aspect", "Random stretch.  [default: 0.3]", type=float),
    _setting("--rotation", "augmentation.rotation", "Degrees.  [default: 0]", type=float),
    _setting("--elastic", "augmentation.elastic", "Bends, px.  [default: 0]", type=float),
    _setting("--hue", "augmentation.hue", "0 for grey pictures.  [default: 0.05]", type=float),
    _setting("--saturation", "augmentation.saturation", "[default: 0.4]", type=float),
    _setting("--brightness", "augmentation.brightness", "[default: 0.3]", type=float),
    _setting("--contrast", "augmentation.contrast", "[default: 0.3]", type=float),
    _setting("--blur", "augmentation.blur", "px.  [default: 0]", type=float),
    _setting("--noise", "augmentation.noise", "Share of full scale.  [default: 0]", type=float),
)

_SETTINGS = (
    _setting("--name", "name", "What the model is called.  [default: model]"),
    _setting(
        "--classes",
        "classes",
        "Class names, class 0 first.  [default: background,object]",
        type=Names(),
    ),
    _setting(
        "--size",
        "size",
        "The model's input in px, HxW or one edge; multiples of 16.  [default: 256]",
        type=Size(),
    ),
    _setting("--crop", "crop", "Train on crops of this size.  [default: --size]", type=Size()),
    _choice("--fit", "fit", "How a picture fills the input.  [default: letterbox]"),
    _choice("--resample", "resample", "How it is scaled there.  [default: bilinear]"),
    _choice(
        "--decoding",
        "decoding",
        "scaled: the JPEG decoder itself reduces large photos, by 2, 4 or 8.  [default: scaled]",
    ),
    _choice(
        "--split-by",
        "split_by",
        "What a drawn split keeps together: pictures that look alike, or none.  [default: groups]",
    ),
    _setting(
        "--bit-depth",
        "bit_depth",
        "Bits that pictures of 16 or 32 bits or of floats use: 12 for a 12-bit camera's, 8 for "
        "0..255.  [default: all 16; floats are 0..1]",
        type=int,
    ),
    # The network.
    _choice("--architecture", "network.architecture", "[default: mobilenet_unet]"),
    _choice("--encoder", "network.encoder", "[default: mobilenet_v1]"),
    _choice(
        "--decoder",
        "network.decoder",
        "separable: a thirteenth of dense's arithmetic, or less.  [default: separable]",
    ),
    _setting("--alpha", "network.alpha", "Width of the network.  [default: 1.0]", type=float),
    _setting(
        "--encoder-weights",
        "encoder_weights",
        "Keras' download, none, or a .h5 file.  [default: imagenet; none for unet_mini]",
        metavar="imagenet|none|FILE",
    ),
    # The course of the run.
    _setting("--steps", "steps", "Batches to train on.  [default: 1500]", type=int),
    _setting("--rounds", "rounds", "How often to validate and save.  [default: 15]", type=int),
    _setting(
        "--patience",
        "patience",
        "Stop after this many rounds without a better one; 0: never.  [default: 0]",
        type=int,
    ),
    _setting("--batch-size", "batch_size", "Crops in a batch.  [default: 8]", type=int),
    _choice("--optimizer", "optimisation.optimizer", "[default: adamw]"),
    _setting("--learning-rate", "optimisation.learning_rate", "[default: 0.001]", type=float),
    _setting(
        "--weight-decay",
        "optimisation.weight_decay",
        "For adamw and sgd.  [default: 0.0001]",
        type=float,
    ),
    _choice("--schedule", "optimisation.schedule", "How the rate decays.  [default: cosine]"),
    _setting("--warmup", "optimisation.warmup", "Share of the run.  [default: 0.05]", type=float),
    _setting(
        "--final-rate",
        "optimisation.final_rate",
        "Where the decay ends, as a share of the rate.  [default: 0.01]",
        type=float,
    ),
    _setting(
        "--ema",
        "optimisation.ema",
        "Average the weights over this share of the run; 0: do not.  [default: 0]",
        type=float,
    ),
    _setting(
        "--freeze",
        "optimisation.freeze",
        "Keep the encoder as it was loaded for this share of the run.  [default: 0]",
        type=float,
    ),
    _choice(
        "--precision",
        "optimisation.precision",
        "auto times both on this machine.  [default: float32]",
    ),
    # The loss.
    _setting("--cross-entropy", "loss.cross_entropy", "Its share.  [default: 1]", type=float),
    _setting("--focal", "loss.focal", "Focal loss' share.  [default: 0]", type=float),
    _setting(
        "--focal-gamma",
        "loss.focal_gamma",
        "How much focal loss looks at hard pixels.  [default: 2]",
        type=float,
    ),
    _setting("--dice", "loss.dice", "Dice loss' share.  [default: 0]", type=float),
    _setting(
        "--class-weights",
        "loss.class_weights",
        "A number for each class, or balanced.  [default: none]",
        metavar="A,B,…|balanced|none",
        type=Names(),
    ),
    _setting("--teacher", "distillation.teacher", "A run to learn from.", type=path_type()),
    _setting(
        "--distill-weight",
        "distillation.weight",
        "The teacher's share of the loss.  [default: 0.5]",
        type=float,
    ),
    _setting(
        "--distill-temperature",
        "distillation.temperature",
        "What softens both before they are compared.  [default: 2]",
        type=float,
    ),
    # Augmentation.
    _setting(
        "--augment/--no-augment",
        "augment",
        "Random views, or whole pictures as they are.  [default: augment]",
    ),
    *_AUGMENTATION,
    _setting("--tensorboard/--no-tensorboard", "tensorboard", "Write its events too."),
    _setting(
        "--seed", "seed", "Of weights, views and order.  [default: 0]", type=click.IntRange(0)
    ),
)


def train_settings(command: Callable[..., Any]) -> Callable[..., Any]:
    """Every option that ends up in TrainConfig."""
    for option in reversed(_SETTINGS):
        command = option(command)
    return data_options(command)


def augmentation_settings(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of the random views alone."""
    for option in reversed(_AUGMENTATION):
        command = option(command)
    return command


def nested(given: dict[str, Any]) -> dict[str, Any]:
    """The given options as plain values in the TOML's nesting; what was not given is left out."""
    result: dict[str, Any] = {}
    for key, value in given.items():
        if value is None:
            continue
        *parents, name = key.split("__")
        place = result
        for parent in parents:
            place = place.setdefault(parent, {})
        place[name] = _plain(value)
    if (weights := result.get("encoder_weights")) not in (None, "imagenet", "none"):
        result["encoder_weights"] = str(Path(weights).absolute())
    loss = result.get("loss", {})
    if weights := loss.pop("class_weights", None):
        loss.update(_class_weights(weights))
    return result


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
