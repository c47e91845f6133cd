from fractions import Fraction

import numpy as np

from unet_edge.streams.frame import Frame, StreamInfo
from unet_edge.streams.pacing import Paced
from unet_edge.streams.policy import LatestFrames
from unet_edge.streams.test_pattern import TestPattern


class Clock:
    """A simulated clock; decoding a frame takes `cost` seconds."""

    def __init__(self, cost=0.0):
        self.time, self.pauses, self.cost = 100.0, [], cost

    def now(self):
        return self.time

    def wait(self, seconds):
        self.pauses.append(round(seconds, 6))
        self.time += seconds


class Recording:
    """A file with frames at given times."""

    name, is_live, info = "recording", False, StreamInfo()

    def __init__(self, times, clock):
        self.times, self.clock, self.closed = times, clock, False

    def frames(self):
        try:
            for index, seconds in enumerate(self.times):
                self.clock.time += self.clock.cost
                pixels = np.zeros((2, 2, 3), np.uint8)
                pts = round(seconds * 1000)
                yield Frame(index, pts, Fraction(1, 1000), self.clock.time, lambda p=pixels: p)
        finally:
            self.closed = True


def paced(times, clock):
    return Paced(Recording(times, clock), now=clock.now, wait=clock.wait)


def test_each_frame_comes_at_its_own_time():
    clock = Clock()
    frames = list(paced([5, 5.04, 5.2, 5.21], clock).frames())
    assert clock.pauses == [0.04, 0.16, 0.01]
    assert [round(frame.captured, 3) for frame in frames] == [100, 100.04, 100.2, 100.21]
    assert [frame.index for frame in frames] == [0, 1, 2, 3]


def test_a_late_frame_does_not_delay_those_behind_it():
    clock = Clock(cost=0.1)
    list(paced([0, 0.05, 0.5], clock).frames())
    # The first comes at 0.1 s, and is due when it comes; the second comes late at 0.2 s.
    assert clock.pauses == [0.2]
    assert round(clock.time, 3) == 100.5


def test_a_long_gap_is_cut_and_a_time_that_goes_back_is_no_pause():
    clock = Clock()
    list(paced([0, 3600, 1, 1.5], clock).frames())
    assert clock.pauses == [10, 0.5]


def test_the_latest_frames_of_a_file_come_at_its_pace():
    frames = iter(LatestFrames(TestPattern((8, 8), rate=50, frames=3, is_live=False)))
    captured = [frame.captured for frame in frames]
    # Each frame is due 20 ms after the one before, however late it is read.
    gaps = np.diff(captured)
    assert len(captured) >= 1
    assert all(gap >= 0.0199 for gap in gaps)


def test_closing_frees_the_source():
    clock = Clock()
    recording = Recording([0, 1, 2], clock)
    frames = Paced(recording, now=clock.now, wait=clock.wait).frames()
    next(frames)
    frames.close()
    assert recording.closed


def test_interrupting_ends_a_pause_at_once():
    clock = Clock()
    source = Paced(Recording([0, 9], clock), now=clock.now)
    frames = source.frames()
    assert next(frames).index == 0
    source.interrupt()
    assert list(frames) == []
