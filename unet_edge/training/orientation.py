"""The eight orientations of a picture, its labels and a box: quarter turns and mirroring."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unet_edge.images.placement import Labels

_Box = tuple[float, float, float, float]  # left, top, right, bottom


@dataclass(frozen=True)
class Orientation:
    """A turn by `turns` (0 to 3) quarters counter-clockwise, then maybe a left-right mirror."""

    turns: int = 0
    mirrored: bool = False

    def turned(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the size after the turn of (width, height) px; it is its own inverse."""
        return (size[1], size[0]) if self.turns % 2 else size

    def of_picture(self, picture: Image.Image) -> Image.Image:
        """Return the picture, turned and mirrored."""
        transpose = _TRANSPOSES[self.turns, self.mirrored]
        return picture if transpose is None else picture.transpose(transpose)

    def of_labels(self, labels: Labels) -> Labels:
        """Return a view of the labels (h, w), turned and mirrored."""
        turned = np.rot90(labels, self.turns)
        return turned[:, ::-1] if self.mirrored else turned

    def undone(self, box: _Box, size: tuple[int, int]) -> _Box:
        """Map a box of the turned picture, of `size` = (width, height) px, to the original."""
        left, top, right, bottom = box
        width, height = size
        if self.mirrored:
            left, right = width - right, width - left
        for _ in range(self.turns):  # back, clockwise
            left, top, right, bottom = height - bottom, left, height - top, right
            width, height = height, width
        return left, top, right, bottom

    def look_up(self, labels: Labels, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> Labels:
        """Return `of_labels(labels)` at each of `rows` and `columns`, as uint8 (rows, columns)."""
        # The indices are mapped to the original: NumPy would copy turned labels first.
        width, height = self.turned((labels.shape[1], labels.shape[0]))
        if self.mirrored:
            columns = width - 1 - columns
        for _ in range(self.turns):
            rows, columns = columns, height - 1 - rows
            width, height = height, width
        # Two takes are three times as fast as one look-up by pairs of indices.
        values: Labels = labels.take(rows, axis=0).take(columns, axis=1)
        return values.T if self.turns % 2 else values


_TRANSPOSES: Final = {
    (0, False): None,
    (1, False): Image.Transpose.ROTATE_90,
    (2, False): Image.Transpose.ROTATE_180,
    (3, False): Image.Transpose.ROTATE_270,
    (0, True): Image.Transpose.FLIP_LEFT_RIGHT,
    (1, True): Image.Transpose.TRANSVERSE,
    (2, True): Image.Transpose.FLIP_TOP_BOTTOM,
    (3, True): Image.Transpose.TRANSPOSE,
}


def draw_orientation(*, any_turn: bool, mirror: bool, random: np.random.Generator) -> Orientation:
    """Draw an orientation.

    With `any_turn`, all eight are equally likely. Otherwise the picture is mirrored in half of the
    cases, or never without `mirror`.
    """
    turns, mirrored, upside_down = 0, False, False
    if any_turn:
        turns = int(random.integers(4))
    if mirror:
        mirrored = random.random() < 0.5
    if any_turn:
        upside_down = random.random() < 0.5
    # A vertical flip is a mirror and a half turn.
    return Orientation((turns + 2 * upside_down) % 4, mirrored != upside_down)
