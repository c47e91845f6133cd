"""The default colours of classes."""

from __future__ import annotations

import pytest

from benchmarks.palette import smallest_distances
from unet_edge.palette import CLEAR, COLORS, default_palette
from unet_edge.spec import ModelSpec


def names(count: int, first: str = "background") -> tuple[str, ...]:
    return (first, *(f"class {index}" for index in range(1, count)))


@pytest.mark.parametrize("count", [2, 3, 11, len(COLORS) + 1, 100, 255])
def test_every_class_has_a_colour_of_its_own(count: int) -> None:
    palette = default_palette(names(count))
    assert palette[0] == CLEAR
    assert len(set(palette)) == len(palette) == count
    assert all(0 <= value <= 255 for color in palette for value in color)
    assert ModelSpec(4, 4, names(count)).palette == palette


@pytest.mark.parametrize("first", ["background", "Background", "_background_", "bg"])
def test_a_background_is_clear(first: str) -> None:
    assert default_palette(names(5, first)) == (CLEAR, *COLORS[:4])


def test_a_first_class_that_is_not_a_background_has_a_colour() -> None:
    assert default_palette(names(5, "sky")) == COLORS[:5]
    # The first of two classes is always a background.
    assert default_palette(("cell", "membrane")) == (CLEAR, COLORS[0])


# Distances that benchmarks/palette.py printed when it chose the colours, rounded down. People can
# tell two colours apart side by side from a distance of about 2.3 (Mahy et al. 1994). The palette
# before this one had 23 and 8 with 6 classes, 11 and 7 with 11, 7 and 1 with 16.
@pytest.mark.parametrize(
    ("count", "normal", "deuteranopia"), [(3, 43, 43), (6, 26, 24), (11, 19, 14), (16, 15, 12)]
)
def test_colours_are_far_apart(count: int, normal: float, deuteranopia: float) -> None:
    found = smallest_distances(default_palette(names(count)))
    assert found[0] >= normal
    assert found[1] >= deuteranopia


def test_colours_never_change() -> None:
    # A contract without a palette means these colours.
    assert COLORS[:4] == ((255, 64, 133), (17, 119, 221), (0, 102, 0), (238, 238, 0))
