"""Streams: which frames are segmented, in what order, with which masks."""

import threading
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from unet_edge.errors import BackendError, ConfigError, ImageError
from unet_edge.runtime.argmax import to_labels
from unet_edge.runtime.segmenter import Segmenter
from unet_edge.runtime.stream import SegmentedStream
from unet_edge.spec import ModelSpec
from unet_edge.streams.frame import Frame, StreamInfo
from unet_edge.streams.test_pattern import TestPattern

SPEC = ModelSpec(16, 16, ("background", "disc"), pad_color=(0, 0, 0))


class Redness:
    """Scores a pixel by how much redder than blue it is."""

    name = "redness"
    quantisation = None

    def scores(self, pixels):
        disc = pixels[..., 0].astype(np.float32) - pixels[..., 2]
        return np.stack((np.full_like(disc, 60), disc), axis=-1)

    def labels(self, pixels):
        return to_labels(self.scores(pixels))


class Pictures:
    """A source of given pictures; an exception among them is raised when it is decoded."""

    name = "pictures"
    info = StreamInfo()

    def __init__(self, pictures, *, is_live=False):
        self.pictures, self.is_live = pictures, is_live
        self.closed = False

    def frames(self):
        try:
            for index, picture in enumerate(self.pictures):

                def decode(picture=picture):
                    if isinstance(picture, Exception):
                        raise picture
                    return picture

                yield Frame(index, index, Fraction(1, 10), 0.0, decode)
        finally:
            self.closed = True


@pytest.fixture
def segmenter():
    return Segmenter(SPEC, Redness(), "redness")


def test_each_frame_of_a_file_gets_the_mask_of_the_same_picture(segmenter):
    pattern = TestPattern((40, 30), rate=5, frames=20, is_live=False)
    segmenters = [segmenter, Segmenter(SPEC, Redness(), "redness")]
    frames = 0
    with SegmentedStream(pattern, segmenters) as stream:
        for index, (frame, mask) in enumerate(stream):
            assert frame.index == index
            assert frame.time == index / 5
            expected = segmenter.segment(pattern.picture(index)).labels
            assert np.array_equal(mask.labels, expected)
            frames += 1
    assert frames == 20
    assert stream.dropped == 0


def test_stream_of_a_segmenter_takes_sources_by_name(segmenter):
    stream = segmenter.stream("pattern:32x24@50", policy="every")
    for frame, mask in stream:
        assert np.array_equal(mask.labels, segmenter.segment(frame.image).labels)
        if frame.index == 2:
            break
    stream.close()


def test_closing_early_frees_the_source_and_ends_all_threads(segmenter):
    source = Pictures([np.zeros((8, 8, 3), np.uint8)] * 100)
    threads = threading.active_count()
    stream = SegmentedStream(source, [segmenter])
    next(iter(stream))
    stream.close()
    assert source.closed
    assert threading.active_count() == threads


def test_a_damaged_frame_of_a_camera_is_left_out_and_counted(segmenter):
    fine = np.zeros((8, 8, 3), np.uint8)
    source = Pictures([ImageError("half a JPEG")], is_live=True)
    stream = SegmentedStream(source, [segmenter])
    assert list(stream) == []
    assert stream.damaged == 1
    source = Pictures([fine, ImageError("half a JPEG")])
    with pytest.raises(ImageError, match="half a JPEG"):
        list(SegmentedStream(source, [segmenter]))


def test_the_model_can_be_changed_while_the_stream_runs(segmenter):
    class Nothing(Redness):
        def scores(self, pixels):
            return np.broadcast_to(np.float32([1, 0]), (*pixels.shape[:2], 2))

    stream = segmenter.stream(TestPattern((40, 30), rate=200))
    frames = iter(stream)
    assert next(frames).mask.labels.any()
    stream.segmenter = other = Segmenter(SPEC, Nothing(), "nothing")
    result = next(frames)
    assert result.segmenter is other
    assert not result.mask.labels.any()
    stream.close()


def test_stages_and_delay_are_reported(segmenter):
    source = TestPattern((40, 30), frames=1)
    (result,) = list(SegmentedStream(source, [segmenter]))
    assert list(result.stages) == ["decode", "place", "infer", "mask"]
    assert 0 < sum(result.stages.values()) <= result.delay


def test_smoothing_averages_the_scores_of_frames(segmenter):
    red, blue = (Image.new("RGB", (8, 8), color) for color in ("#ff0000", "#0000ff"))
    pictures = [red, blue, blue, blue]
    kept = [mask.labels[0, 0] for _, mask in SegmentedStream(Pictures(pictures), [segmenter])]
    assert kept == [1, 0, 0, 0]
    # The disc's scores minus 60: 195 of red, -315 of blue. At 0.8: 195, 93, 11.4, -53.88.
    smooth = SegmentedStream(Pictures(pictures), [segmenter], smoothing=0.8)
    assert [mask.labels[0, 0] for _, mask in smooth] == [1, 1, 1, 0]


def test_smoothing_begins_anew_when_the_size_changes(segmenter):
    wide, high = Image.new("RGB", (16, 4), "#ff0000"), Image.new("RGB", (4, 16), "#0000ff")
    smooth = SegmentedStream(Pictures([wide, high]), [segmenter], smoothing=0.9)
    assert [mask.labels.max() for _, mask in smooth] == [1, 0]


def test_smoothing_needs_scores(segmenter):
    class LabelsOnly(Redness):
        def scores(self, pixels):
            raise BackendError("this file outputs labels")

    labels_only = Segmenter(SPEC, LabelsOnly(), "labels")
    source = Pictures([np.zeros((8, 8, 3), np.uint8)])
    with pytest.raises(BackendError):
        list(SegmentedStream(source, [labels_only], smoothing=0.5))


def test_settings_out_of_range_are_refused(segmenter):
    with pytest.raises(ConfigError, match="one of every, latest"):
        segmenter.stream(TestPattern(), policy="some")
    with pytest.raises(ConfigError, match="at least 0 and below 1"):
        segmenter.stream(TestPattern(), smoothing=1)


def test_smoothing_begins_anew_when_the_model_changes():
    red, blue = (Image.new("RGB", (8, 8), color) for color in ("#ff0000", "#0000ff"))
    for digests, labels in {("a", "a"): [1, 1], ("a", "b"): [1, 0]}.items():
        # The second frame is for the second segmenter, because the first one comes back behind it.
        segmenters = [Segmenter(SPEC, Redness(), "redness", digest) for digest in digests]
        smooth = SegmentedStream(Pictures([red, blue]), segmenters, smoothing=0.8)
        assert [mask.labels[0, 0] for _, mask in smooth] == labels
