"""Lost sources are opened again, with growing pauses, one count and one clock."""

import threading
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from unet_edge.errors import StreamError
from unet_edge.streams.frame import Frame, StreamInfo
from unet_edge.streams.policy import LatestFrames
from unet_edge.streams.reconnect import Reconnecting, pause_after

PIXELS = np.zeros((4, 4, 3), np.uint8)


class Camera:
    """Gives frames that begin at index 0 and pts 1000 each time, then is lost. A tick is 0.1 s."""

    name = "camera"
    is_live = True
    info = StreamInfo((4, 4))

    def __init__(self, clock, frames, *, ends=False):
        self.clock, self.count, self.ends = clock, frames, ends
        self.closed = False

    def frames(self):
        try:
            for index in range(self.count):
                yield Frame(index, 1000 + index, Fraction(1, 10), self.clock.now, lambda: PIXELS)
                self.clock.now += 0.1
            if not self.ends:
                raise StreamError("camera is unplugged" if self.count else "no such camera")
        finally:
            self.closed = True


class Clock:
    def __init__(self):
        self.now, self.pauses = 50.0, []

    def wait(self, seconds):
        self.pauses.append(seconds)
        self.now += seconds


def reconnecting(*cameras, clock, **settings):
    """Opens the cameras, one after another; a number is a camera of so many frames."""
    opened = iter(cameras)
    states = []
    source = Reconnecting(
        lambda: next(opened),
        lambda *status: states.append(status),
        wait=clock.wait,
        **settings,
    )
    return source, states


def test_the_count_and_the_clock_go_on():
    clock = Clock()
    cameras = Camera(clock, 3), Camera(clock, 0), Camera(clock, 2, ends=True)
    source, states = reconnecting(*cameras, clock=clock)
    frames = list(source.frames())
    assert [frame.index for frame in frames] == [0, 1, 2, 3, 4]
    lost = sum(clock.pauses)
    expected = [0, 0.1, 0.2, 0.3 + lost, 0.4 + lost]
    assert [frame.time for frame in frames] == pytest.approx(expected, abs=1 / 90_000)
    assert {frame.time_base for frame in frames} == {Fraction(1, 90_000)}
    assert [state for state, _ in states] == ["reconnecting", "reconnecting", "running"]
    assert states[0][1] == f"camera is unplugged; trying again in {clock.pauses[0]:.0f} s"
    assert states[1][1].startswith("no such camera; trying again in 2 s")
    assert states[2][1] == "camera is back"
    assert all(camera.closed for camera in cameras)
    assert source.reconnections == 1


def test_frames_that_came_faster_than_they_are_shown_stay_in_order():
    clock = Clock()
    fast = Camera(clock, 30)
    clock_of_fast = fast.clock = Clock()  # its frames come without any time passing for us
    clock_of_fast.now = 50.0
    source, _ = reconnecting(fast, Camera(clock, 5, ends=True), clock=clock)
    times = [frame.pts for frame in source.frames()]
    assert len(times) == 35
    assert all(after > before for before, after in pairwise(times))


def test_pauses_grow_to_half_a_minute_and_begin_anew_after_a_frame():
    clock = Clock()
    fails = [Camera(clock, 0) for _ in range(8)]
    source, _ = reconnecting(
        Camera(clock, 1), *fails, Camera(clock, 1), Camera(clock, 1, ends=True), clock=clock
    )
    assert len(list(source.frames())) == 3
    bounds = [1, 2, 4, 8, 16, 30, 30, 30, 30, 1]
    assert len(clock.pauses) == len(bounds)
    for pause, most in zip(clock.pauses, bounds, strict=True):
        assert 0.75 * most <= pause <= most


def test_pauses_differ_by_chance():
    assert len({pause_after(3) for _ in range(20)}) > 10


def test_a_first_opening_that_fails_is_not_repeated():
    clock = Clock()
    source, states = reconnecting(Camera(clock, 0), clock=clock)
    with pytest.raises(StreamError, match="no such camera"):
        list(source.frames())
    assert states == clock.pauses == []


def test_attempts_may_be_limited():
    clock = Clock()
    source, _ = reconnecting(
        Camera(clock, 1), *(Camera(clock, 0) for _ in range(3)), clock=clock, attempts=3
    )
    frames = source.frames()
    next(frames)
    with pytest.raises(StreamError, match="no such camera"):
        next(frames)
    assert len(clock.pauses) == 3


def test_a_hundred_losses_lose_no_number():
    clock = Clock()
    cameras = [Camera(clock, 2) for _ in range(100)]
    source, _ = reconnecting(*cameras, Camera(clock, 1, ends=True), clock=clock)
    frames = list(source.frames())
    assert [frame.index for frame in frames] == list(range(201))
    assert all(after.pts > before.pts for before, after in pairwise(frames))
    assert source.reconnections == 100


def test_dropped_frames_of_a_camera_are_part_of_the_count():
    clock = Clock()

    class Skips(Camera):
        def frames(self):
            for frame in super().frames():
                frame.index *= 10
                yield frame

    source, _ = reconnecting(Skips(clock, 2), Skips(clock, 2, ends=True), clock=clock)
    assert [frame.index for frame in source.frames()] == [0, 10, 11, 21]


def test_closing_ends_a_pause_at_once():
    clock = Clock()
    opened = iter([Camera(clock, 1), Camera(clock, 0)])
    source = Reconnecting(lambda: next(opened))
    really_wait, paused = source._wait, threading.Event()

    def wait(seconds):
        paused.set()
        really_wait(600)

    source._wait = wait
    frames = iter(LatestFrames(source))
    next(frames)
    assert paused.wait(60)
    before = threading.active_count()
    frames.close()
    assert threading.active_count() == before - 1
