"""Colour-coded masks: which colour is which class, from the command line or from CVAT."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unet_edge.errors import ConfigError, DataError
from unet_edge.images.placement import Labels, Pixels
from unet_edge.palette import Color
from unet_edge.spec import IGNORE
from unet_edge.system.counting import counted
from unet_edge.system.files import read_regular

LABELMAP = "labelmap.txt"
_MOST_LABELMAP = 2**20  # bytes; it has at most 256 lines

# What annotation tools and data sets call pixels that belong to no class.
_IGNORED_NAMES = ("ignore", "ignored", "void", "unlabeled", "unlabelled", "__ignore__")

ColorTable = tuple[tuple[Color, ...], Color | None]
"""The colour of each class, in class order, and the ignored colour."""


def parse_colors(text: str) -> ColorTable:
    """Read "#000000,#ff0000,ignore=#ffffff"; raises ConfigError."""
    colors: list[Color] = []
    ignored: Color | None = None
    for part in text.split(","):
        match = re.fullmatch(r"\s*(ignore=)?#([0-9a-fA-F]{6})\s*", part)
        if not match:
            raise ConfigError(
                f"{part.strip()!r} is not a colour",
                fix=(
                    "write 'colors:#000000,#ff0000' in class order, with ,ignore=#ffffff for an "
                    "ignored colour"
                ),
            )
        red, green, blue = bytes.fromhex(match[2])
        if match[1]:
            ignored = (red, green, blue)
        else:
            colors.append((red, green, blue))
    if len({*colors, ignored}) != len(colors) + 1:
        raise ConfigError(
            f"colors:{text} names one colour twice", fix="give each class a colour of its own"
        )
    return tuple(colors), ignored


def format_colors(colors: Sequence[Color], ignored: Color | None) -> str:
    """Write what `parse_colors` reads."""
    parts = [f"#{bytes(color).hex()}" for color in colors]
    if ignored is not None:
        parts.append(f"ignore=#{bytes(ignored).hex()}")
    return ",".join(parts)


def read_labelmap(path: Path, classes: Sequence[str]) -> ColorTable:
    """Read CVAT's labelmap.txt, lines of `name:red,green,blue:parts:actions`.

    A label named ignore, ignored, void, unlabeled, unlabelled or __ignore__ is ignored, unless it
    is a class. Raises DataError when a line is malformed or a class has no colour.
    """
    try:
        lines = read_regular(path, _MOST_LABELMAP).decode("utf-8-sig").splitlines()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"cannot read {path}: {error}", fix="save it as UTF-8") from error
    named: dict[str, Color] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = re.match(r"(.+?):\s*(\d{1,3})\s*,\s*(\d{1,3})\s*,\s*(\d{1,3})\s*(:|$)", line)
        if not match or max(int(match[i]) for i in (2, 3, 4)) > 255:
            raise DataError(
                f"line {number} is {line!r}",
                expected="expected name:red,green,blue::",
                subject=f"{path}:",
            )
        named[match[1].strip()] = (int(match[2]), int(match[3]), int(match[4]))
    absent = [name for name in classes if name not in named]
    if absent:
        raise DataError(
            f"has no colour for {', '.join(absent)}, only for {', '.join(named)}",
            fix="name the classes as it does with --classes",
            subject=str(path),
        )
    ignored = [named[name] for name in _IGNORED_NAMES if name in named and name not in classes]
    return tuple(named[name] for name in classes), ignored[0] if ignored else None


def pack(pixels: Pixels) -> NDArray[np.uint32]:
    """Return colours as numbers 0xrrggbb, shape (H, W)."""
    return pixels.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)


def common_colors(pixels: Pixels) -> list[tuple[str, int]]:
    """Return every colour as #rrggbb with its number of pixels, most common first."""
    codes, counts = np.unique(pack(pixels), return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return [(f"#{codes[i]:06x}", int(counts[i])) for i in order]


def colors_to_labels(pixels: Pixels, table: ColorTable, name: str) -> Labels:
    """Look up each pixel's class, as uint8 (H, W) with IGNORE.

    Raises DataError for a colour that is not in the table.
    """
    colors, ignored = table
    listed = [*colors, ignored] if ignored is not None else [*colors]
    codes = pack(np.array([listed], np.uint8))[0]
    order = np.argsort(codes)
    packed = pack(pixels)
    place = np.searchsorted(codes, packed, sorter=order).clip(max=len(codes) - 1)
    unknown = codes[order[place]] != packed
    if unknown.any():
        counts = common_colors(pixels[unknown][None])
        shown = ", ".join(f"{color} ({count} px)" for color, count in counts[:4])
        shown += f" and {counted(len(counts) - 4, 'more colour')}" if len(counts) > 4 else ""
        raise DataError(
            f"holds {shown}, which no class has",
            fix=(
                "give each class its colour with --masks "
                f"'colors:{format_colors(colors, ignored)},…' and --classes, or ignore one colour "
                f"with ,ignore={counts[0][0]}"
            ),
            subject=f"mask {name}",
        )
    classes = np.append(np.arange(len(colors)), IGNORE)[: len(listed)].astype(np.uint8)
    return np.asarray(classes[order[place]])
