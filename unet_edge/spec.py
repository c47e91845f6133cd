"""ModelSpec: the contract that travels inside every model file."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

from unet_edge.errors import SpecError
from unet_edge.palette import Color, default_palette
from unet_edge.system.counting import counted

SCHEMA = 1
"""Version of the contract's JSON. Readers refuse newer versions."""

IGNORE = 255
"""The label that losses and metrics skip: letterbox padding and unlabelled pixels."""

Fit = Literal["letterbox", "stretch"]
Resample = Literal["bilinear", "bicubic", "box"]
Output = Literal["logits", "labels"]
Decoding = Literal["full", "scaled"]


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation of pixels: normalised = (pixel - mean) / std.

    One pair serves all three channels. Raises SpecError for values that are not finite, or an
    std that is not above 0.
    """

    # Not MobileNet's 127.5 and 127.5: with 128, every pixel is an exact int8 (scale 1/128, zero
    # point 128 in uint8). So int8 files start without a rounding error, and floats are exact too.
    mean: float = 128.0
    std: float = 128.0

    def __post_init__(self) -> None:
        if not 0 < self.std < math.inf:
            raise SpecError(
                f"normalisation.std is {self.std}",
                expected="it must be finite and above 0",
            )
        if not math.isfinite(self.mean):
            raise SpecError(f"normalisation.mean is {self.mean}", expected="it must be finite")


@dataclass(frozen=True)
class ModelSpec:
    """The contract: how a picture becomes the model's input, and what the model's output means.

    Pictures are turned upright by their EXIF orientation, and their channels are red, green, blue.
    Sizes are in px. `palette` holds one (R, G, B) of 0..255 for each class. `output` is "logits",
    a score for each pixel and class, or "labels", the class of each pixel. `decoding` is "full", or
    "scaled": the JPEG decoder reduces large photos (see `scaled_decoding.reduction`). `bit_depth`
    is the number of bits, 8 to 16, that the values of pictures with 16 or 32 bits use. None means
    all bits (see `unet_edge.images.bit_depth`). Raises SpecError for values that contradict this.
    """

    height: int
    width: int
    classes: tuple[str, ...]
    palette: tuple[Color, ...] = ()
    name: str = "model"
    fit: Fit = "letterbox"
    resample: Resample = "bilinear"
    pad_color: Color = (128, 128, 128)
    normalisation: Normalisation = Normalisation()
    output: Output = "logits"
    decoding: Decoding = "full"
    bit_depth: int | None = None

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise SpecError(
                f"the input size is {self.height}x{self.width}",
                expected="it must be at least 1x1",
            )
        if not 2 <= len(self.classes) <= IGNORE:
            raise SpecError(
                f"{counted(len(self.classes), 'class')} given",
                expected=f"there must be 2 to {IGNORE}",
            )
        if len(set(self.classes)) != len(self.classes):
            raise SpecError(
                f"class names repeat: {', '.join(self.classes)}",
                expected="they must differ",
            )
        for name in self.classes:
            # labels.txt has one line for each name, and C programs read it.
            if not name or any(end in name for end in "\r\n\0"):
                raise SpecError(
                    f"class name {name!r} is not one line of text",
                    fix="train with another name",
                )
        if not self.palette:
            object.__setattr__(self, "palette", default_palette(self.classes))
        if len(self.palette) != len(self.classes):
            raise SpecError(
                f"{counted(len(self.palette), 'palette colour')} for {len(self.classes)} classes",
                expected="each class must have one",
            )
        for color in (*self.palette, self.pad_color):
            if len(color) != 3 or not all(0 <= value <= 255 for value in color):
                raise SpecError(
                    f"a colour is {color}",
                    expected="it must be three values of 0..255",
                )
        if self.bit_depth is not None and (
            type(self.bit_depth) is not int or not 8 <= self.bit_depth <= 16
        ):
            raise SpecError(
                f"bit_depth is {self.bit_depth!r}",
                expected="it must be a whole number from 8 to 16",
            )
        for field, choices in _CHOICES.items():
            value = getattr(self, field)
            if value not in choices:
                raise SpecError(
                    f"{field} is {value!r}",
                    expected=f"it must be one of {', '.join(choices)}",
                )

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the grid, px."""
        return self.height, self.width

    def to_dict(self) -> dict[str, Any]:
        """The contract as plain JSON values."""
        return {"schema": SCHEMA, **dataclasses.asdict(self)}

    def to_json(self) -> str:
        """The contract as JSON text, with keys in a fixed order."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False)

    @classmethod
    def from_dict(cls, data: Any) -> ModelSpec:
        """Read a contract. Raises SpecError when it is malformed or of a newer schema."""
        if not isinstance(data, dict):
            raise SpecError("the contract is not a JSON object")
        schema = data.get("schema")
        if type(schema) is not int or schema < 1:  # bool is an int
            raise SpecError("the contract has no schema version")
        if schema > SCHEMA:
            raise SpecError(
                f"the contract has schema {schema}",
                expected=f"this version reads up to {SCHEMA}",
                fix="run: pip install --upgrade unet-edge",
            )
        fields = {field.name for field in dataclasses.fields(cls)}
        unknown = set(data) - fields - {"schema"}
        if unknown:
            raise SpecError(f"the contract has unknown fields: {', '.join(sorted(unknown))}")
        try:
            values = {key: value for key, value in data.items() if key != "schema"}
            for field in ("height", "width"):
                if type(data[field]) is not int:
                    raise TypeError(f"{field} is {data[field]!r}")
            if not isinstance(data["classes"], (list, tuple)) or not isinstance(
                data.get("name", ""), str
            ):
                raise TypeError("classes is not a list, or name is not text")
            values["classes"] = tuple(str(name) for name in data["classes"])
            values["palette"] = tuple(_color(color) for color in data.get("palette", ()))
            values["pad_color"] = _color(data.get("pad_color", (128, 128, 128)))
            values["normalisation"] = Normalisation(**data.get("normalisation", {}))
            return cls(**values)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise SpecError(f"the contract is malformed: {error!r}") from error

    @classmethod
    def from_json(cls, text: str | bytes) -> ModelSpec:
        """Read a contract from JSON text. Raises SpecError."""
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise SpecError(f"the contract is not JSON: {error}") from error
        return cls.from_dict(data)


_CHOICES: dict[str, tuple[str, ...]] = {
    "fit": get_args(Fit),
    "resample": get_args(Resample),
    "output": get_args(Output),
    "decoding": get_args(Decoding),
}


def _color(value: Any) -> Color:
    red, green, blue = (int(channel) for channel in value)
    return red, green, blue
