"""The true and the predicted mask of a picture side by side, and where they differ."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unet_edge.drawing.image_grid import image_grid
from unet_edge.images.placement import Labels, resize_labels
from unet_edge.masks.legend import draw_legend
from unet_edge.masks.mask import Mask
from unet_edge.masks.metrics import Confusion
from unet_edge.palette import Color
from unet_edge.spec import IGNORE

_PANEL = 480  # longer edge of a panel, px

# The kinds of error, in colours that colour-blind people can tell apart (after Okabe and Ito).
_MISSED: Color = (213, 94, 0)
_FALSE: Color = (0, 130, 220)
_MIXED_UP: Color = (240, 228, 66)
_IGNORED: Color = (128, 128, 128)


def compare(photo: Image.Image, truth: Labels, prediction: Mask, name: str) -> Image.Image:
    """Draw photo | true mask | prediction | differences in RGB, each 480 px along its longer edge.

    `photo` is RGB and `truth` uint8 (H, W), both of the prediction's size. Ignored pixels are grey
    and count only in their own share.
    """
    confusion = Confusion.of(truth, prediction.labels, len(prediction.classes))
    factor = _PANEL / max(photo.size)
    width, height = (max(1, round(edge * factor)) for edge in photo.size)
    # Enlarged pixels keep sharp edges.
    method = Image.Resampling.NEAREST if factor > 1 else Image.Resampling.BOX
    small = photo.resize((width, height), method)
    true, predicted = (
        resize_labels(labels, height, width) for labels in (truth, prediction.labels)
    )
    ignored = true == IGNORE
    ignored_row = _row(_IGNORED, "ignored", int((truth == IGNORE).sum()), truth.size)

    overlays = []
    for labels, pixels in ((true, confusion.counts.sum(1)), (predicted, confusion.counts.sum(0))):
        mask = Mask(labels, prediction.classes, prediction.palette)
        overlay = _painted(mask.overlay(small, legend="none"), {_IGNORED: ignored})
        rows = [
            row
            for color, label, count in zip(mask.palette, mask.classes, pixels, strict=True)
            for row in _row(color, label, int(count), confusion.pixels)
            if label != mask.classes[0]  # overlays leave class 0 clear
        ]
        draw_legend(overlay, [*rows, *ignored_row])
        overlays.append(overlay)

    wrong = (true != predicted) & ~ignored
    white = Image.new("RGB", small.size, "white")
    grey = Image.blend(small.convert("L").convert("RGB"), white, 0.4)
    differences = _painted(
        grey,
        {
            _MIXED_UP: wrong,
            _MISSED: wrong & (predicted == 0),
            _FALSE: wrong & (true == 0),
            _IGNORED: ignored,
        },
    )
    draw_legend(differences, [*_errors(confusion, prediction.classes), *ignored_row])
    titles = [
        name,
        "true mask",
        f"prediction, mIoU {confusion.miou:.3f}",
        f"where they differ: {1 - confusion.accuracy:.1%} of the pixels",
    ]
    return image_grid([[small, *overlays, differences]], titles)


def _errors(confusion: Confusion, classes: tuple[str, ...]) -> list[tuple[Color, str]]:
    """The kinds of error with their shares, seen from class 0, the background."""
    wrong = confusion.counts.copy()
    np.fill_diagonal(wrong, 0)
    # With two classes, "missed" and "false" are about the second one: its name is given.
    target = f"{classes[1]} " if len(classes) == 2 else ""
    kinds = (
        (_MISSED, f"{target}missed", wrong[:, 0]),
        (_FALSE, f"{target}false", wrong[0]),
        (_MIXED_UP, "mixed up", wrong[1:, 1:]),
    )
    return [
        row
        for color, text, counts in kinds
        for row in _row(color, text, int(counts.sum()), confusion.pixels)
    ]


def _row(color: Color, text: str, part: int, total: int) -> list[tuple[Color, str]]:
    """The row of a legend with a share, or no row for a share of 0."""
    return [(color, f"{text} {part / total:.1%}")] if part else []


def _painted(picture: Image.Image, areas: dict[Color, NDArray[np.bool_]]) -> Image.Image:
    """Paint areas, bool (H, W), in nearly opaque colours over the picture, in their order."""
    pixels = np.array(picture)
    for color, area in areas.items():
        pixels[area] = (0.2 * pixels[area] + 0.8 * np.array(color)).astype(np.uint8)
    return Image.fromarray(pixels)
