from fractions import Fraction

import numpy as np
import pytest

from unet_edge.errors import ConfigError
from unet_edge.streams.open_source import open_source
from unet_edge.streams.test_pattern import TestPattern


def test_the_disc_moves_a_quarter_of_the_width_each_second():
    pattern = TestPattern((400, 100), rate=10)
    for second in range(4):
        pixels = pattern.picture(10 * second)
        assert pixels.shape == (100, 400, 3)
        assert tuple(pixels[50, 100 * second]) == (230, 120, 60)


def test_frames_come_at_the_given_rate():
    clock, pauses = [5.0], []

    def wait(seconds):
        pauses.append(seconds)
        clock[0] += seconds

    pattern = TestPattern((8, 8), rate=4, frames=3, now=lambda: clock[0], wait=wait)
    frames = list(pattern.frames())
    assert pauses == [0.25, 0.25]
    assert [frame.captured for frame in frames] == [5.0, 5.25, 5.5]
    assert [frame.time for frame in frames] == [0, 0.25, 0.5]
    assert frames[1].time_base == Fraction(1, 4)
    assert np.array_equal(frames[2].image, pattern.picture(2))


def test_its_size_and_rate_are_part_of_its_name():
    pattern = open_source("pattern:32x16@5")
    assert pattern.info.size == (32, 16)
    assert pattern.info.rate == 5
    assert open_source("pattern").info.size == (640, 480)
    with pytest.raises(ConfigError, match="must be at least 1"):
        open_source("pattern:0x16@5")
