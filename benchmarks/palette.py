"""Measure the distances between the default palette's colours, or choose its colours.

    python -m benchmarks.palette            # the distances of unet_edge.palette.COLORS
    python -m benchmarks.palette --choose   # choose the colours again and print them

Distances are CIEDE2000 (Sharma et al. 2005) by scikit-image. Deuteranopia is simulated as Machado
et al. 2009 do (doi:10.1109/TVCG.2009.113), severity 1, on linear sRGB.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import click
import numpy as np

from benchmarks.reporting import table
from unet_edge.palette import CLEAR, COLORS, Color

_DEUTERANOPIA = np.array(
    [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ]
)
_WHITE = (255, 255, 255)
_STEP = 17  # of the grid of candidates
_LIGHTNESS = (35, 92)  # CIE L*: darker and lighter colours are lost in photos
_CHROMA = 35  # CIE C*ab: greyer colours are lost in photos too
_CLASSES = (2, 3, 6, 8, 11, 16, 21, 41)


@click.command()
@click.option("--choose", is_flag=True, help="Choose the colours again and print them.")
def main(choose: bool) -> None:
    """Print the palette's smallest distances, or choose its colours."""
    if choose:
        print(choose_colors(len(COLORS)))
        return
    rows = []
    for classes in _CLASSES:
        normal, blind = smallest_distances((CLEAR, *COLORS[: classes - 1]))
        rows.append((classes, f"{normal:.1f}", f"{blind:.1f}"))
    print(table(rows, ["classes", "normal vision", "deuteranopia"]))


def smallest_distances(colors: Sequence[Color]) -> tuple[float, float]:
    """The smallest CIEDE2000 between two colours, with normal vision and with deuteranopia."""
    pairs = np.array(list(itertools.combinations(range(len(colors)), 2)))
    seen = _seen(np.array(colors, float))
    normal, blind = (_distance(each[pairs[:, 0]], each[pairs[:, 1]]).min() for each in seen)
    return float(normal), float(blind)


def choose_colors(count: int) -> tuple[Color, ...]:
    """Choose `count` colours: the first of COLORS, then always the candidate farthest from all.

    White and black, the colour of a background, count as colours to be far from.
    """
    steps = np.arange(0, 256, _STEP)
    candidates = np.array(list(itertools.product(steps, steps, steps)), float)
    lab = _seen(candidates)[0]
    low, high = _LIGHTNESS
    bright = (lab[:, 0] > low) & (lab[:, 0] < high)
    candidates = candidates[bright & (np.hypot(lab[:, 1], lab[:, 2]) > _CHROMA)]
    seen = _seen(candidates)
    colors: list[Color] = [COLORS[0]]
    nearest = np.full(len(candidates), np.inf)
    for color in (CLEAR, _WHITE, COLORS[0]):
        nearest = np.minimum(nearest, _to(seen, color))
    while len(colors) < count:
        red, green, blue = (int(value) for value in candidates[nearest.argmax()])
        colors.append((red, green, blue))
        nearest = np.minimum(nearest, _to(seen, colors[-1]))
    return tuple(colors)


def _seen(colors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """CIE Lab of sRGB colours (N, 3), 0..255, with normal vision and with deuteranopia."""
    from skimage.color import rgb2lab

    share = colors / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    blind = (linear @ _DEUTERANOPIA.T).clip(0, 1)
    shown = np.where(blind <= 0.0031308, 12.92 * blind, 1.055 * blind ** (1 / 2.4) - 0.055)
    return rgb2lab(share), rgb2lab(shown)


def _to(seen: tuple[np.ndarray, np.ndarray], color: Color) -> np.ndarray:
    others = _seen(np.array([color], float))
    normal, blind = (_distance(each, other) for each, other in zip(seen, others, strict=True))
    return np.asarray(np.minimum(normal, blind))


def _distance(first: np.ndarray, second: np.ndarray) -> Any:
    from skimage.color import deltaE_ciede2000

    return deltaE_ciede2000(first, second)


if __name__ == "__main__":
    main()
