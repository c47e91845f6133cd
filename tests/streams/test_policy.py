import sys
import threading
from fractions import Fraction

import numpy as np
import pytest

from unet_edge.errors import StreamError
from unet_edge.streams.frame import Frame, StreamInfo
from unet_edge.streams.pixel_layouts import PixelLayout
from unet_edge.streams.policy import LatestFrames, default_policy
from unet_edge.streams.raw_frames import RawFrames
from unet_edge.streams.test_pattern import TestPattern

PIXELS = np.zeros((4, 4, 3), np.uint8)


class Steps:
    """A source whose frames come when the test lets them."""

    name = "steps"
    is_live = True
    info = StreamInfo()

    def __init__(self, frames, error=None):
        self.count, self.error = frames, error
        self.tickets = threading.Semaphore(0)
        self.read = threading.Semaphore(0)
        self.closed = threading.Event()

    def frames(self):
        try:
            for index in range(self.count):
                self.tickets.acquire()
                yield Frame(index, index, Fraction(1, 30), 0.0, lambda: PIXELS)
                self.read.release()
            self.tickets.acquire()
            if self.error:
                raise self.error
        finally:
            self.closed.set()

    def give(self, count):
        """Let `count` frames in, and wait until they were taken."""
        for _ in range(count):
            self.tickets.release()
            self.read.acquire()


def test_a_slow_reader_gets_the_newest_frame_and_older_ones_are_counted():
    source = Steps(10)
    latest = LatestFrames(source)
    frames = iter(latest)
    source.tickets.release()
    assert next(frames).index == 0
    source.read.acquire()
    source.give(4)
    assert next(frames).index == 4
    assert latest.dropped == 3
    frames.close()


def test_the_last_frame_of_a_source_that_ends_is_given():
    source = Steps(3)
    latest = LatestFrames(source)
    frames = iter(latest)
    source.tickets.release()
    assert next(frames).index == 0
    source.read.acquire()
    source.give(2)
    source.tickets.release()  # the end
    assert [frame.index for frame in frames] == [2]
    assert latest.dropped == 1
    assert source.closed.is_set()


def test_the_error_of_a_source_is_raised_where_its_frames_are_read():
    source = Steps(0, StreamError("the cable is out"))
    source.tickets.release()
    with pytest.raises(StreamError, match="the cable is out"):
        list(LatestFrames(source))


def test_closing_ends_the_thread_and_frees_the_source():
    latest = LatestFrames(TestPattern((8, 8), rate=200))
    before = threading.active_count()
    frames = iter(latest)
    next(frames)
    assert threading.active_count() == before + 1
    frames.close()
    assert threading.active_count() == before


def test_every_frame_of_a_file_is_read_and_the_latest_of_a_camera():
    assert default_policy(TestPattern(is_live=False)) == "every"
    assert default_policy(TestPattern(is_live=True)) == "latest"


def test_a_frame_that_was_read_and_never_taken_is_dropped():
    source = Steps(3)
    source.interrupt = source.tickets.release  # lets the reading end
    latest = LatestFrames(source)
    frames = iter(latest)
    source.tickets.release()
    assert next(frames).index == 0
    source.read.acquire()
    source.give(2)
    frames.close()
    assert source.closed.is_set()
    assert latest.dropped == 2


def test_a_source_that_cannot_begin_is_an_error():
    class Broken(Steps):
        def frames(self):
            raise StreamError("no such camera")

    with pytest.raises(StreamError, match="no such camera"):
        list(LatestFrames(Broken(0)))


def test_standard_input_is_read_as_fast_as_it_is_written(tmp_path, monkeypatch):
    (tmp_path / "frames").write_bytes(bytes(3 * 12))
    with (tmp_path / "frames").open("rb") as file:
        monkeypatch.setattr(sys, "stdin", file)
        slow = RawFrames(PixelLayout("rgb24", (2, 2)), rate=Fraction(1, 1000))
        *_, last = LatestFrames(slow)
    assert last.index == 2
