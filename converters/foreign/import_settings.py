"""The settings of an import; this module imports neither TensorFlow nor Keras."""

from __future__ import annotations

from dataclasses import dataclass

from converters.foreign.input_scaling import InputScaling
from converters.foreign.settings import Architecture
from unet_edge.spec import Fit, Resample


@dataclass(frozen=True)
class ImportSettings:
    """The contract of a foreign model, and how it is opened.

    `scaling` says what the model takes, and `range_name` how that was given, None for numbers.
    `classes` are the names, class 0 first. `size` is (height, width) px, None for the model's own.
    `output` names one of several outputs. `assumed` lists, in words, the options that were not
    given.
    """

    classes: tuple[str, ...]
    scaling: InputScaling
    range_name: str | None
    name: str
    size: tuple[int, int] | None = None
    fit: Fit = "stretch"
    resample: Resample = "bilinear"
    architecture: Architecture | None = None
    output: str | None = None
    assumed: tuple[str, ...] = ()
