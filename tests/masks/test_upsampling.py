"""Smooth edges, compared with Pillow's resampling and with NumPy's float64."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from unet_edge.masks import upsampling
from unet_edge.masks.upsampling import probabilities, smooth_labels


def scores(height=9, width=13, classes=3, seed=0):
    return np.random.default_rng(seed).normal(0, 3, (height, width, classes)).astype(np.float32)


def enlarged(logits, height, width):
    """Enlarged by Pillow, whose bilinear filter has the same centres and weights."""
    planes = [
        np.asarray(Image.fromarray(plane).resize((width, height), Image.Resampling.BILINEAR))
        for plane in np.moveaxis(logits, -1, 0)
    ]
    return np.stack(planes, axis=-1)


@pytest.mark.parametrize("classes", [2, 3, 7])
@pytest.mark.parametrize("size", [(9, 13), (27, 39), (50, 101), (10, 200)])
def test_labels_are_the_arg_max_of_pillows_enlarged_scores(classes, size):
    logits = scores(classes=classes)
    expected = enlarged(logits, *size)
    found = smooth_labels(logits, *size)
    ordered = np.sort(expected, axis=-1)
    # Both round a few times by float32's 2**-24, on scores below 16.
    sure = ordered[..., -1] - ordered[..., -2] > 16 * 10 * 2.0**-24
    assert sure.mean() > 0.999
    assert np.array_equal(found[sure], expected.argmax(axis=-1)[sure])


def test_an_edge_runs_between_the_cells():
    # Scores cross halfway between the centres of the cells: at 2.5 of 4 px, 1/4 beyond the cell.
    logits = np.array([[[0, -1], [0, 3]]], np.float32)
    # Centres of 8 target pixels in cells: -0.375, -0.125, 0.125 … 1.375; the sign turns at 0.25.
    assert smooth_labels(logits, 1, 8).tolist() == [[0, 0, 0, 1, 1, 1, 1, 1]]


def test_at_the_grids_own_size_nothing_changes():
    logits = scores()
    assert np.array_equal(smooth_labels(logits, 9, 13), logits.argmax(axis=-1))


def test_ties_go_to_the_first_class():
    assert not smooth_labels(np.zeros((2, 2, 3), np.float32), 5, 5).any()
    assert (smooth_labels(np.tile(np.float32([0, 1, 1]), (2, 2, 1)), 5, 5) == 1).all()


def test_a_smaller_photo_is_sampled():
    ramp = np.zeros((1, 100, 2), np.float32)
    ramp[..., 1] = np.arange(100) - 49.5
    assert smooth_labels(ramp, 1, 10).tolist() == [[0] * 5 + [1] * 5]


@pytest.mark.parametrize("pixels", [1, 100, 1000])
def test_the_height_of_a_strip_changes_nothing(monkeypatch, pixels):
    logits = scores()
    whole = smooth_labels(logits, 50, 60), probabilities(logits, 50, 60, "smooth")
    monkeypatch.setattr(upsampling, "_STRIP_PIXELS", pixels)
    assert np.array_equal(smooth_labels(logits, 50, 60), whole[0])
    assert np.array_equal(probabilities(logits, 50, 60, "smooth"), whole[1])


def softmax(logits):
    powers = np.exp(logits.astype(np.float64))
    return powers / powers.sum(axis=-1, keepdims=True)


def test_smooth_probabilities_are_the_softmax_of_the_enlarged_scores():
    logits = scores()
    found = probabilities(logits, 40, 50, "smooth")
    expected = np.moveaxis(softmax(enlarged(logits, 40, 50)), -1, 0) * 255
    assert found.shape == (3, 40, 50)
    assert found.dtype == np.uint8
    # Half a step of rounding, and float32's 2**-24 times scores below 16, exp and 255.
    assert np.abs(found - expected).max() <= 0.5 + 0.01


def test_nearest_probabilities_are_those_of_the_cell():
    logits = scores()
    found = probabilities(logits, 27, 39, "nearest")
    cells = np.moveaxis(softmax(logits), -1, 0) * 255
    assert np.abs(found - np.kron(cells, np.ones((1, 3, 3)))).max() <= 0.5 + 0.01


def test_large_scores_do_not_overflow():
    logits = np.array([[[-500, 500, 0]]], np.float32)
    assert probabilities(logits, 1, 1, "smooth").ravel().tolist() == [0, 255, 0]


MEMORY = """
import sys
import numpy as np
from unet_edge.masks.upsampling import smooth_labels
from unet_edge.system.timing import peak_memory
logits = np.random.default_rng(0).normal(0, 1, (384, 384, 3)).astype(np.float32)
smooth_labels(logits, 400, 400)
before = peak_memory()
smooth_labels(logits, 3000, 4000)
print(peak_memory() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="VmHWM is Linux's")
def test_a_large_photo_takes_its_labels_and_a_few_strips():
    done = subprocess.run(
        [sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True
    )
    # 11.4 MiB of labels, and at most ten arrays of 1 MiB for a strip. All scores of three classes
    # would take 137 MiB.
    assert 11 < float(done.stdout) < 11.5 + 10
