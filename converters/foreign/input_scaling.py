"""How a model of other training code scales its input; this module imports no Keras."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Self, get_args

from unet_edge.errors import ConfigError

ColorOrder = Literal["rgb", "bgr"]
"""The order in which a model takes the three channels."""

InputRange = Literal["-1..1", "0..1", "0..255", "caffe", "imagenet"]
"""Scalings that have a name."""

COLOR_ORDERS: tuple[ColorOrder, ...] = get_args(ColorOrder)
INPUT_RANGES: tuple[InputRange, ...] = get_args(InputRange)

Channels = tuple[float, float, float]

# preprocess_input of keras.applications.imagenet_utils, modes "caffe" and "torch". It lists the
# means of "caffe" in the order blue, green, red, and those of "torch" for pixels of 0..1.
_CAFFE_MEAN = (123.68, 116.779, 103.939)
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class InputScaling:
    """The model's input is (pixel - mean) / std for each channel, then put into `color_order`.

    `mean` and `std` are in units of a pixel, 0..255, in the order red, green, blue, whatever
    `color_order` is. Raises ConfigError for values that are not finite, a std that is not above 0,
    or an unknown order.
    """

    mean: Channels
    std: Channels
    color_order: ColorOrder = "rgb"

    def __post_init__(self) -> None:
        for name, values in (("mean", self.mean), ("standard deviation", self.std)):
            if len(values) != 3 or not all(map(math.isfinite, values)):
                raise ConfigError(
                    f"the input's {name} is {_text(values)}",
                    expected="expected a finite number for red, green and blue",
                    fix="write one number for all channels, or three such as 123.7,116.8,103.9",
                )
        if min(self.std) <= 0:
            raise ConfigError(
                f"the input's standard deviation is {_text(self.std)}",
                expected="it must be above 0",
                fix="write what the pixels, 0 to 255, are divided by",
            )
        if self.color_order not in COLOR_ORDERS:
            raise ConfigError(
                f"unknown colour order {self.color_order!r}",
                expected=f"it must be one of {', '.join(COLOR_ORDERS)}",
            )

    @classmethod
    def named(cls, name: str, color_order: ColorOrder | None = None) -> Self:
        """Make the scaling called "-1..1", "0..1", "0..255", "caffe" or "imagenet".

        `color_order` None is the usual one: "bgr" for "caffe", "rgb" for the others. "caffe" and
        "imagenet" are the modes "caffe" and "torch" of keras.applications' `preprocess_input`.
        Raises ConfigError for other names.
        """
        order = color_order or ("bgr" if name == "caffe" else "rgb")
        match name:
            case "-1..1":
                return cls(_same(127.5), _same(127.5), order)
            case "0..1":
                return cls(_same(0.0), _same(255.0), order)
            case "0..255":
                return cls(_same(0.0), _same(1.0), order)
            case "caffe":
                return cls(_CAFFE_MEAN, _same(1.0), order)
            case "imagenet":
                return cls(_times_255(_IMAGENET_MEAN), _times_255(_IMAGENET_STD), order)
            case _:
                raise ConfigError(
                    f"unknown input range {name!r}",
                    expected=f"it must be one of {', '.join(INPUT_RANGES)}",
                    fix="write another scaling as --mean and --std",
                )

    @classmethod
    def parse(cls, mean: str, std: str, color_order: ColorOrder = "rgb") -> Self:
        """Make the scaling of texts such as "123.7,116.8,103.9", red first, and "1".

        Each text has one number for all channels or three divided by commas, in units of a pixel.
        Raises ConfigError for other texts.
        """
        return cls(_channels("mean", mean), _channels("standard deviation", std), color_order)

    def __str__(self) -> str:
        order = ", ".join({"r": "red", "g": "green", "b": "blue"}[c] for c in self.color_order)
        return f"(pixel - {_text(self.mean)}) / {_text(self.std)}, channels {order}"


def _same(value: float) -> Channels:
    return (value, value, value)


def _times_255(values: Channels) -> Channels:
    # Rounded: 0.406 * 255 is 103.53000000000002 in binary.
    red, green, blue = (round(255 * value, 6) for value in values)
    return (red, green, blue)


def _channels(name: str, text: str) -> Channels:
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    match values:
        case [one]:
            return _same(one)
        case [red, green, blue]:
            return (red, green, blue)
        case _:
            raise ConfigError(
                f"the input's {name} is {text!r}",
                expected="expected one number, or three divided by commas: red, green, blue",
                fix="write it such as 123.7,116.8,103.9",
            )


def _text(values: tuple[float, ...]) -> str:
    """One number if all channels have the same."""
    if len(set(values)) == 1:
        return f"{values[0]:g}"
    return "(" + ", ".join(f"{value:g}" for value in values) + ")"
