"""The default colours of classes, which most people can tell apart.

`benchmarks/palette.py` chose them one by one. Each is the colour with the largest distance
(CIEDE2000) to the nearest of the colours before it, black and white. The distance is the smaller
one of normal colour vision and of deuteranopia, the most common colour blindness.
"""

from __future__ import annotations

import colorsys
from typing import Final

Color = tuple[int, int, int]

CLEAR: Final[Color] = (0, 0, 0)
"""The colour of a background. Overlays and legends do not show it."""

BACKGROUNDS = frozenset({"background", "_background_", "bg", "backdrop"})
"""Names, in lower case, that make class 0 of several classes a background."""

COLORS: Final[tuple[Color, ...]] = (
    (255, 64, 133), (17, 119, 221), (0, 102, 0), (238, 238, 0), (102, 204, 255), (153, 34, 102),
    (221, 51, 0), (170, 238, 170), (17, 187, 170), (204, 170, 68), (0, 136, 85), (153, 102, 153),
    (34, 34, 255), (102, 68, 136), (221, 68, 255), (85, 255, 255), (255, 153, 187), (0, 102, 68),
    (221, 17, 136), (204, 119, 204), (187, 136, 85), (187, 51, 51), (221, 221, 119),
    (255, 136, 136), (102, 255, 204), (85, 221, 204), (136, 0, 204), (68, 153, 119),
    (119, 119, 187), (255, 136, 221), (255, 68, 0), (153, 68, 153), (238, 187, 17), (68, 153, 85),
    (221, 119, 153), (204, 102, 170), (85, 204, 153), (170, 17, 68), (51, 85, 255), (153, 68, 102),
)  # fmt: skip
"""(R, G, B) of 0..255, in the order in which classes get them."""


def has_background(classes: tuple[str, ...]) -> bool:
    """Whether class 0 is a background: always for two classes, else by its name."""
    return len(classes) == 2 or classes[0].lower() in BACKGROUNDS


def default_palette(classes: tuple[str, ...]) -> tuple[Color, ...]:
    """Choose an (R, G, B) of 0..255 for each class, CLEAR for a background.

    Classes beyond the number of COLORS get hues that are hard to tell apart.
    """
    background = has_background(classes)
    needed = len(classes) - background
    colors = [*COLORS[:needed], *(_hue(index) for index in range(needed - len(COLORS)))]
    return (CLEAR, *colors) if background else tuple(colors)


def _hue(index: int) -> Color:
    golden = 0.618033988749895  # fractional part of the golden ratio: low-discrepancy hues
    shade = 0.9 - 0.4 * (index % 16) / 16
    red, green, blue = colorsys.hsv_to_rgb(index * golden % 1.0, 0.65, shade)
    return round(red * 255), round(green * 255), round(blue * 255)
