"""Which pictures of a ranking count as repeats."""

from __future__ import annotations

import numpy as np
from PIL import Image

from unet_edge.dataset.duplicates import fingerprint
from unet_edge.evaluation.ranking import first_alike


def scene(seed: int) -> np.ndarray:
    """A picture of 20 x 20 px fields with grey values of its own."""
    fields = np.random.default_rng(seed).integers(40, 200, (20, 20, 1), np.uint8)
    return np.kron(fields, np.ones((8, 8, 3), np.uint8))


def of(pixels: np.ndarray):
    return fingerprint(Image.fromarray(pixels))


def test_frames_of_one_scene_repeat_the_first_of_them():
    a, b = scene(0), scene(1)
    brighter = (a * 1.2).astype(np.uint8)
    assert first_alike([of(a), of(b), of(brighter), of(b), of(a)]) == [None, None, 0, 1, 0]


def test_a_repeat_has_no_repeats_of_its_own():
    """Each picture of a pan looks like its neighbours, but the last not like the first."""
    coarse = np.random.default_rng(2).integers(0, 256, (6, 18, 3), np.uint8)
    wide = Image.fromarray(coarse).resize((480, 160), Image.Resampling.BICUBIC)
    shift = [np.asarray(wide.crop((x, 0, x + 160, 160))) for x in range(0, 320, 4)]
    found = first_alike([of(frame) for frame in shift])
    kept = [index for index, leader in enumerate(found) if leader is None]
    assert 1 < len(kept) < len(shift)
    assert all(leader is None or found[leader] is None for leader in found)


def test_equal_flat_pictures_are_repeats_and_different_ones_are_not():
    black, grey = np.zeros((64, 64, 3), np.uint8), np.full((64, 64, 3), 99, np.uint8)
    assert first_alike([of(black), of(grey), of(black)]) == [None, None, 0]
    assert first_alike([]) == []
