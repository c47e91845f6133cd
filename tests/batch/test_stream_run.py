"""The sinks and the names of a stream that is segmented once."""

import threading

import numpy as np
import pytest

from unet_edge.batch.stream_run import free_name, run_stream
from unet_edge.runtime.segmenter import Segmenter
from unet_edge.runtime.stream import SegmentedStream
from unet_edge.spec import ModelSpec
from unet_edge.streams.test_pattern import TestPattern


class Background:
    """Finds the background everywhere."""

    name, quantisation = "background", None

    def scores(self, pixels):
        return np.broadcast_to(np.float32([1, 0]), (*pixels.shape[:2], 2))


class Counting:
    """A sink that counts its frames, and fails when it is closed if `error` says so."""

    def __init__(self, error=None):
        self.error, self.frames, self.closed = error, 0, 0

    def write(self, result):
        self.frames += 1

    def close(self):
        self.closed += 1
        if self.error:
            raise self.error


@pytest.fixture
def stream():
    spec = ModelSpec(16, 16, ("background", "disc"), pad_color=(0, 0, 0))
    pattern = TestPattern((8, 8), rate=10, frames=5, is_live=False)
    return SegmentedStream(pattern, [Segmenter(spec, Background(), "background")])


def test_all_sinks_are_closed_although_one_fails(stream):
    sinks = [Counting(), Counting(OSError("no space")), Counting()]
    with pytest.raises(OSError, match="no space"):
        run_stream(stream, sinks, lambda: None, threading.Event())
    assert [(sink.frames, sink.closed) for sink in sinks] == [(5, 1)] * 3


def test_the_end_falls_between_two_frames(stream):
    ending, sinks = threading.Event(), [Counting(), Counting()]

    def advance():
        if sinks[0].frames == 3:
            ending.set()

    result = run_stream(stream, sinks, advance, ending)
    assert result.interrupted
    assert [result.frames, *(sink.frames for sink in sinks)] == [3, 3, 3]
    assert result.seconds == pytest.approx(0.2)
    assert result.coverage == {"background": 1, "disc": 0}


def test_files_of_another_run_keep_their_names(tmp_path):
    assert free_name("stdin", tmp_path, ("overlay", "csv")) == "stdin"
    (tmp_path / "stdin.shares.csv").touch()
    (tmp_path / "stdin-2.palette").mkdir()
    assert free_name("stdin", tmp_path, ("overlay", "csv")) == "stdin-2"
    assert free_name("stdin", tmp_path, ("csv", "palette")) == "stdin-3"
