"""One Segmenter for several threads: two cameras, or a web server."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from paths import SMALL_BUNDLE

from unet_edge import Segmenter
from unet_edge.errors import BackendError
from unet_edge.runtime.backends.backend import FileBackend
from unet_edge.spec import ModelSpec


@pytest.mark.parametrize("file", ["model-int8.tflite", "model-float32.onnx"])
def test_each_thread_gets_the_mask_of_its_own_picture(file: str) -> None:
    segmenter = Segmenter.open(SMALL_BUNDLE, file=file, threads=1)
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (40, 60, 3), np.uint8) for _ in range(4)]
    masks = [segmenter.segment(picture).labels.copy() for picture in pictures]
    logits = [segmenter.predict(picture).logits.copy() for picture in pictures]
    assert not np.array_equal(masks[0], masks[1])

    def work(index: int) -> None:
        for _ in range(150):
            assert np.array_equal(segmenter.segment(pictures[index]).labels, masks[index])
            assert np.array_equal(segmenter.predict(pictures[index]).logits, logits[index])

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(work, index) for index in range(4)]:
            done.result()


class Exclusive(FileBackend):
    """A backend that fails as LiteRT does when two threads run it."""

    name = "exclusive"

    def __init__(self) -> None:
        super().__init__()
        self.inside = 0
        self.fails = False

    def _run(self, pixels: Any) -> Any:
        self.inside += 1
        time.sleep(0.002)
        inside, self.inside = self.inside, self.inside - 1
        if self.fails or inside != 1:
            raise RuntimeError("There is at least 1 reference to internal data in the interpreter")
        return np.zeros((4, 6, 2), np.float32)


def test_one_thread_at_a_time_runs_a_backend_and_a_failure_blocks_no_other() -> None:
    backend = Exclusive()
    segmenter = Segmenter(ModelSpec(4, 6, ("a", "b")), backend, "exclusive")
    picture = np.zeros((4, 6, 3), np.uint8)
    started = threading.Barrier(4)

    def work() -> None:
        started.wait()
        for _ in range(10):
            segmenter.segment(picture)

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(work) for _ in range(4)]:
            done.result()
    backend.fails = True
    with pytest.raises(BackendError):
        segmenter.segment(picture)
    backend.fails = False
    segmenter.segment(picture)
