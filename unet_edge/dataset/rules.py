"""MaskRule: how the values of a mask become class indices."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal, assert_never

import numpy as np
from numpy.typing import NDArray

from unet_edge.dataset.colors import colors_to_labels, format_colors, parse_colors
from unet_edge.errors import ConfigError, DataError
from unet_edge.images.placement import Labels
from unet_edge.palette import Color
from unet_edge.spec import IGNORE

StoredMask = NDArray[np.uint8]
"""A mask as it is stored: values, uint8 (H, W), or for colour-coded masks RGB, uint8 (H, W, 3)."""


@dataclass(frozen=True)
class MaskRule:
    """How the values of a mask become class indices.

    "index": the value is the class, in palette pictures too; loss and metrics skip `ignore`.
    "binary": class 1 where value <= threshold (target "dark") or > threshold (target "light").
    "colors": entry k of `colors`, (R, G, B), is class k; loss and metrics skip `ignored_color`.
    "polygons": annotations in COCO or labelme JSON, painted as class indices.
    """

    kind: Literal["index", "binary", "colors", "polygons"] = "index"
    threshold: int = 127
    target: Literal["dark", "light"] = "light"
    ignore: int | None = IGNORE
    colors: tuple[Color, ...] = ()
    ignored_color: Color | None = None

    @classmethod
    def parse(cls, text: str, ignore: int | None = None) -> MaskRule:
        """Read "index", "binary<=127", "binary>127", "colors:#000000,#ff0000" or "polygons".

        Without `ignore`, index masks and polygons skip 255, and binary masks skip nothing.
        Raises ConfigError for any other text.
        """
        if text == "index":
            return cls("index", ignore=IGNORE if ignore is None else ignore)
        if text == "polygons":
            return cls("polygons", ignore=IGNORE if ignore is None else ignore)
        if text.startswith("colors:"):
            if ignore is not None:
                raise ConfigError(
                    f"--ignore {ignore} is a value, and the masks are colours",
                    fix="ignore a colour with --masks 'colors:…,ignore=#ffffff'",
                )
            colors, ignored = parse_colors(text.removeprefix("colors:"))
            return cls("colors", colors=colors, ignored_color=ignored)
        match = re.fullmatch(r"binary\s*(<=|>)\s*(\d{1,3})", text)
        if not match or int(match[2]) > 255:
            raise ConfigError(
                f"unknown mask rule {text!r}",
                fix=(
                    "write index, 'binary<=127' (class 1 is dark), 'binary>127' (class 1 is "
                    "light), 'colors:#000000,#ff0000' (in class order) or polygons"
                ),
            )
        target: Literal["dark", "light"] = "dark" if match[1] == "<=" else "light"
        return cls("binary", int(match[2]), target, ignore)

    def __str__(self) -> str:
        match self.kind:
            case "index" | "polygons":
                return self.kind
            case "binary":
                return f"binary{'<=' if self.target == 'dark' else '>'}{self.threshold}"
            case "colors":
                return f"colors:{format_colors(self.colors, self.ignored_color)}"
            case _:
                assert_never(self.kind)

    def apply(self, values: StoredMask, classes: int, name: str) -> Labels:
        """Turn a stored mask into class indices, uint8 (H, W), with IGNORE.

        `values` is uint8 (H, W), or (H, W, 3) for "colors"; `name` is the mask's, for errors.
        Raises DataError for a value or colour that is not a class.
        """
        match self.kind:
            case "index" | "polygons":
                return self._index(values, classes, name)
            case "binary":
                dark = values <= self.threshold
                labels = (dark if self.target == "dark" else ~dark).astype(np.uint8)
                if self.ignore is not None:
                    labels[values == self.ignore] = IGNORE
                return labels
            case "colors":
                return colors_to_labels(values, (self.colors, self.ignored_color), name)
            case _:
                assert_never(self.kind)

    def _index(self, values: NDArray[Any], classes: int, name: str) -> Labels:
        allowed = np.arange(256) < classes
        table = np.arange(256, dtype=np.uint8)
        if self.ignore is not None:
            allowed[self.ignore] = True
            table[self.ignore] = IGNORE
        if self.kind == "polygons":
            allowed[IGNORE] = True  # crowds and regions marked as ignored
        present = np.bincount(values.ravel(), minlength=256) > 0
        unknown = [int(value) for value in np.flatnonzero(present & ~allowed)]
        if unknown:
            shown = ", ".join(map(str, unknown[:8])) + (", …" if len(unknown) > 8 else "")
            raise DataError(
                f"holds {shown}, outside the {classes} classes 0..{classes - 1}",
                fix=(
                    "name every class with --classes, skip one value with --ignore VALUE, or read "
                    "the mask as black and white with --masks 'binary>127' (or 'binary<=127')"
                ),
                subject=f"mask {name}",
            )
        return np.asarray(table[values])
