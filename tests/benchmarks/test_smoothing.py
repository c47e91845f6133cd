"""The benchmark of smoothing: its clip, and what it counts."""

import numpy as np

from benchmarks.smoothing import CellsClip, compare
from unet_edge.demo.cells import CLASSES
from unet_edge.runtime.argmax import to_labels
from unet_edge.runtime.segmenter import Segmenter
from unet_edge.spec import ModelSpec


class Dark:
    """A membrane is what is darker than 100."""

    name = "dark"
    quantisation = None

    def scores(self, pixels):
        dark = 100 - pixels[..., 0].astype(np.float32)
        return np.stack((np.zeros_like(dark), dark), axis=-1)

    def labels(self, pixels):
        return to_labels(self.scores(pixels))


def test_only_the_window_moves():
    clip = CellsClip(4, noise=0)
    (first, labels, moving), (second, next_labels, moved) = clip.scene(0), clip.scene(1)
    assert moving[:, :64].sum() == moving.sum() == 64 * 64
    assert np.array_equal(np.roll(moving, 2, axis=1), moved)
    still = ~moving & ~moved
    assert np.array_equal(first[still], second[still])
    assert np.array_equal(labels[still], next_labels[still])
    assert np.array_equal(labels[64:128, :64], next_labels[64:128, 2:66])


def test_smoothing_reduces_flicker_and_changes_what_moves():
    spec = ModelSpec(192, 192, CLASSES, pad_color=(0, 0, 0))
    segmenter = Segmenter(spec, Dark(), "dark")
    plain, smooth = (compare(segmenter, CellsClip(14), weight) for weight in (0.0, 0.8))
    assert plain["agreement"][0] == plain["agreement"][1] == 4 * (192**2 - 64**2)
    assert plain["agreement moving"].tolist() == [4 * 64**2] * 2
    assert 0 < 2 * smooth["flicker"][0] < plain["flicker"][0]
    assert smooth["agreement moving"][0] < 0.99 * smooth["agreement moving"][1]
    assert plain["still"].sum() == plain["agreement"][1]
