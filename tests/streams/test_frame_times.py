from fractions import Fraction
from types import SimpleNamespace

from unet_edge.streams.frame_times import FrameTimes


def times(*frames, rate=25):
    """The times of frames given as pts, or as (pts, duration), in milliseconds."""
    return _read(frames, rate)[0]


def _read(frames, rate=25):
    clock = FrameTimes(Fraction(1, 1000), Fraction(rate))
    pairs = [frame if isinstance(frame, tuple) else (frame, 0) for frame in frames]
    pts = [
        clock.pts(SimpleNamespace(pts=pts, dts=None, duration=duration)) for pts, duration in pairs
    ]
    return pts, clock


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


def test_few_gaps_may_be_lost_frames_and_many_are_a_varying_rate():
    regular = range(0, 4000, 40)
    assert not _read(regular)[1].may_have_lost_frames
    clock = _read([pts for pts in regular if pts not in (400, 440, 480)])[1]
    assert clock.may_have_lost_frames
    assert (clock.gaps, clock.first_gap) == (1, (400, 520))
    assert not _read([pts for pts in regular if pts % 7])[1].may_have_lost_frames
    # A frame that lasts longer leaves no gap.
    assert not _read([*regular[:10], (400, 160), *regular[14:]])[1].may_have_lost_frames


def test_gaps_mean_nothing_where_the_frames_have_no_times_of_their_own():
    # As in an AVI file, whose times are those of decoding.
    order = [pts + offset for pts in range(0, 4000, 160) for offset in (40, 160, 120, 80)]
    clock = _read(order)[1]
    assert clock.gaps
    assert not clock.may_have_lost_frames
