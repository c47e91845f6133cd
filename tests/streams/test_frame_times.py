from fractions import Fraction
from types import SimpleNamespace

from unet_edge.streams.frame_times import FrameTimes


def times(*frames, rate=25):
    """The times of frames given as pts, or as (pts, duration), in milliseconds."""
    clock = FrameTimes(Fraction(1, 1000), Fraction(rate))
    pairs = [frame if isinstance(frame, tuple) else (frame, 0) for frame in frames]
    return [
        clock.pts(SimpleNamespace(pts=pts, dts=None, duration=duration)) for pts, duration in pairs
    ]


def test_times_of_the_file_are_kept():
    assert times(1400, 1440, 1441, 5000) == [1400, 1440, 1441, 5000]


def test_a_frame_without_a_time_follows_after_the_duration_of_a_frame():
    assert times(None, None, None) == [0, 40, 80]
    assert times((100, 30), None, 200, (None, 10), None) == [100, 130, 200, 240, 250]


def test_a_frame_that_repeats_a_time_comes_a_tick_later():
    assert times(100, 100, 60, 140) == [100, 101, 102, 140]


def test_after_a_restart_of_the_clock_frames_follow_on():
    assert times(5000, 5040, 0, 40, 80) == [5000, 5040, 5080, 5120, 5160]
    assert times(5000, 0, 40, 4000, 0, 40) == [5000, 5040, 5080, 9040, 9080, 9120]
