"""The names of sources with settings, such as /dev/video0?size=1280x720&rate=30."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from unet_edge.errors import StreamError


@dataclass(frozen=True)
class SourceSettings:
    """What a name asks of its source; None where it asks nothing.

    `size` is (width, height) px, `rate` in frames a second, `format` a pixel format.
    """

    size: tuple[int, int] | None = None
    rate: Fraction | None = None
    format: str | None = None


def split_name(name: str, keys: Sequence[str]) -> tuple[str, SourceSettings]:
    """Split "NAME?size=WxH&rate=N&format=F" into the name and its settings.

    `keys` are those that the source has. Raises StreamError for others, and for a value that
    cannot be read.
    """
    base, mark, query = name.partition("?")
    if not mark:
        return base, SourceSettings()
    values: dict[str, str] = {}
    for part in query.split("&"):
        key, _, value = part.partition("=")
        if key not in keys or not value:
            raise StreamError(
                f"{name}: {part or 'nothing'} behind ?",
                expected=f"it takes {' and '.join(f'{key}=' for key in keys)}",
                fix=f"write {base}?{_EXAMPLES[keys[0]]}",
            )
        values[key] = value
    return base, SourceSettings(
        frame_size(values["size"]) if "size" in values else None,
        frame_rate(values["rate"]) if "rate" in values else None,
        values.get("format"),
    )


_EXAMPLES = {"size": "size=1280x720", "rate": "rate=30"}
_LARGEST_SIDE = 65535  # px, of JPEG


def frame_size(text: str) -> tuple[int, int]:
    """Read "640x480" as (width, height) px. Raises StreamError for anything else."""
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    size = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= min(size) <= max(size) <= _LARGEST_SIDE:
        raise StreamError(f"the size {text}", expected="it must be WIDTHxHEIGHT, such as 640x480")
    return size


def frame_rate(text: str) -> Fraction:
    """Read "30", "29.97" or "30000/1001" as frames a second. Raises StreamError otherwise."""
    try:
        rate = Fraction(text).limit_denominator(1001)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if not 0 < rate <= _FASTEST:
        raise StreamError(
            f"the rate {text}", expected="it must be a number of frames a second, such as 30"
        )
    return rate


_FASTEST = 10_000  # frames a second
