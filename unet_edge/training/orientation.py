"""The eight ways to turn and mirror a picture by whole quarters, its labels and a box in it."""

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
    """Turned by `turns` (0 to 3) quarters counter-clockwise, then `mirrored` left to right."""

    turns: int = 0
    mirrored: bool = False

    def turned(self, size: tuple[int, int]) -> tuple[int, int]:
        """The size that one of (width, height) px gets; the other way round it is the same."""
        return (size[1], size[0]) if self.turns % 2 else size

    def of_picture(self, picture: Image.Image) -> Image.Image:
        """The picture, turned and mirrored."""
        transpose = _TRANSPOSES[self.turns, self.mirrored]
        return picture if transpose is None else picture.transpose(transpose)

    def of_labels(self, labels: Labels) -> Labels:
        """A view of the labels (h, w), turned and mirrored."""
        turned = np.rot90(labels, self.turns)
        return turned[:, ::-1] if self.mirrored else turned

    def undone(self, box: _Box, size: tuple[int, int]) -> _Box:
        """Where a box of the turned picture, of `size` = (width, height) px, lay before."""
        left, top, right, bottom = box
        width, height = size
        if self.mirrored:
            left, right = width - right, width - left
        for _ in range(self.turns):  # back, clockwise
            left, top, right, bottom = height - bottom, left, height - top, right
            width, height = height, width
        return left, top, right, bottom

    def look_up(self, labels: Labels, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> Labels:
        """`of_labels(labels)` at every of `rows` and `columns`: uint8 (rows, columns).

        The indices are turned back, not the labels, of which NumPy would make a copy first.
        """
        width, height = self.turned((labels.shape[1], labels.shape[0]))
        if self.mirrored:
            columns = width - 1 - columns
        for _ in range(self.turns):
            rows, columns = columns, height - 1 - rows
            width, height = height, width
        # Two takes: three times as fast as one look-up by pairs of indices.
        found: Labels = labels.take(rows, axis=0).take(columns, axis=1)
        return found.T if self.turns % 2 else found


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
    """One of all eight with `any_turn`, all as likely; else mirrored half of the time, or never."""
    turns, mirrored, upturned = 0, False, False
    if any_turn:
        turns = int(random.integers(4))
    if mirror:
        mirrored = random.random() < 0.5
    if any_turn:
        upturned = random.random() < 0.5
    # Upside down is mirrored and turned by half.
    return Orientation((turns + 2 * upturned) % 4, mirrored != upturned)
