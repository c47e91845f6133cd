"""Pictures of more than 8 bits a channel: what their values mean, and how they become 8 bits.

| file | without a bit depth in the contract | with bit depth n |
|---|---|---|
| TIFF of 9 to 15 bits, PGM and PPM with a maximum | the file's own bits | the file's own bits |
| 16 bits: PNG, TIFF, grey or colour | the upper 8 of 16 bits | value >> (n - 8) |
| 32 bits, signed 16 bits | refused: the file does not say its range | value >> (n - 8) |
| float | 0..1, refused outside | 255 value / (2^n - 1) |

Values above the range become 255, values below it 0. Nothing depends on the values of one picture.
Otherwise two pictures of one camera would be scaled differently.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unet_edge.errors import ImageError
from unet_edge.images.strips import strips

WIDE = ("I;16", "I;16L", "I;16B", "I;16N", "I", "F")
"""Pillow's modes of one channel with more than 8 bits."""

_BITS, _PHOTOMETRIC = 258, 262  # tags of TIFF 6.0
_OTHER_ENDIANNESS = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}


class UnknownRangeError(ImageError):
    """A picture's file does not say which values are black and white."""


def stored_bits(picture: Image.Image) -> int:
    """Bits per channel of a picture, 8 for fewer; pictures with colours must not be loaded yet."""
    tags = getattr(picture, "tag_v2", {})
    bits = tags.get(_BITS, 8)
    if isinstance(bits, tuple):
        bits = max(bits, default=8)
    if picture.mode in ("I", "F"):
        return 16 if picture.format in ("PNG", "PPM") else 32
    if picture.mode in WIDE:
        return bits if 8 < bits < 16 else 16
    return 16 if any(";16" in str(raw) for raw in _raw_modes(picture)) else 8


def is_deep_color(picture: Image.Image) -> bool:
    """Whether a picture that is not loaded yet has colours or alpha of 16 bits."""
    return picture.mode not in WIDE and stored_bits(picture) > 8 and picture.format != "PPM"


def load_lower_bytes(picture: Any) -> None:
    """Make Pillow load the lower bytes of 16-bit colours; by default it loads the upper ones.

    Raises ImageError for a layout whose lower bytes Pillow cannot load.
    """
    tiles = []
    for codec, extents, offset, args in picture.tile:
        raw = args if isinstance(args, str) else args[0]
        if not re.fullmatch(r"RGB[AXa]?;16[BLN]", raw):
            raise ImageError(
                f"it has 16 bits in a layout ({raw}) whose lower bits cannot be read",
                fix="save it as RGB with one plane, or with 8 bits",
            )
        raw = raw[:-1] + _OTHER_ENDIANNESS[raw[-1]]
        tiles.append((codec, extents, offset, raw if isinstance(args, str) else (raw, *args[1:])))
    picture.tile = tiles


def join_bytes(upper: Image.Image, lower: Image.Image, bit_depth: int) -> Image.Image:
    """Make a picture of 8 bits from the upper and lower bytes of 16-bit values."""
    values = np.asarray(upper).astype(np.uint16) << 8 | np.asarray(lower)
    return Image.fromarray(_shifted(values, bit_depth), upper.mode)


def grey_of_8_bits(picture: Image.Image, bit_depth: int | None, name: str) -> Image.Image:
    """Convert a picture of one of the modes WIDE to 8-bit grey, in strips.

    Raises UnknownRangeError when neither the file nor `bit_depth` says its range.
    """
    white_is_zero = getattr(picture, "tag_v2", {}).get(_PHOTOMETRIC) == 0
    if picture.mode == "F":
        _require_unit_range(picture, bit_depth, name)
        white = 1 if bit_depth is None else 2**bit_depth - 1
    else:
        file_bits = stored_bits(picture)
        if file_bits == 32 and bit_depth is None:
            low, high = extremes(picture)
            raise UnknownRangeError(
                f"holds whole numbers from {low} to {high} in 32 bits, and does not say which "
                "value is white",
                fix="train with --bit-depth (8 for 0..255), or save it as 8 or 16 bits",
                subject=name,
            )
        # A file that says how many bits its values use overrules the contract.
        file_says = file_bits < 16 or picture.format == "PPM"
        bits = file_bits if file_says or bit_depth is None else bit_depth
    result = Image.new("L", picture.size)
    for top, values in _value_strips(picture):
        grey = _of_float(values, white) if picture.mode == "F" else _shifted(values, bits)
        result.paste(Image.fromarray(255 - grey if white_is_zero else grey), (0, top))
    return result


def _value_strips(picture: Image.Image) -> Iterator[tuple[int, NDArray[Any]]]:
    return ((top, np.asarray(strip)) for top, strip in strips(picture))


def extremes(picture: Image.Image) -> tuple[Any, Any]:
    """The smallest and the largest value of a picture of one of the modes WIDE."""
    pairs = [(values.min(), values.max()) for _, values in _value_strips(picture)]
    lows, highs = zip(*pairs, strict=True)
    return min(lows), max(highs)


def _shifted(values: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    shifted: NDArray[np.uint8] = np.clip(values >> (bits - 8), 0, 255).astype(np.uint8)
    return shifted


def _require_unit_range(picture: Image.Image, bit_depth: int | None, name: str) -> None:
    if bit_depth is not None:
        return
    # The margin is for resampling, which overshoots. A NaN fails both comparisons.
    if all(values.min() >= -0.05 and values.max() <= 1.05 for _, values in _value_strips(picture)):
        return
    low, high = extremes(picture)
    raise UnknownRangeError(
        f"holds floats from {low:g} to {high:g}",
        expected="floats must be from 0 to 1",
        fix="train with --bit-depth (8 for 0..255), or save it as 8 or 16 bits",
        subject=name,
    )


def _of_float(values: NDArray[Any], white: int) -> NDArray[np.uint8]:
    scaled = np.nan_to_num(values.astype(np.float64)) * 255 / white
    rounded: NDArray[np.uint8] = np.clip(np.floor(scaled + 0.5), 0, 255).astype(np.uint8)
    return rounded


def _raw_modes(picture: Image.Image) -> list[Any]:
    tiles = getattr(picture, "tile", None) or []
    return [args if isinstance(args, str) else (args or [""])[0] for _, _, _, args in tiles]
