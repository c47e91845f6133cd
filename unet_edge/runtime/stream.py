"""Segmented streams: frames in, masks out, in order.

Smoothing averages class scores over frames, against flicker: a frame's scores become `smoothing`
times the smoothed scores of the frame before, plus (1 - `smoothing`) times its own. It changes
masks, so it is off by default.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Self, assert_never, get_args

import numpy as np
from numpy.typing import NDArray

from unet_edge.errors import ConfigError, ImageError
from unet_edge.images.decoding import read_photo
from unet_edge.images.placement import Placement
from unet_edge.runtime.argmax import to_labels
from unet_edge.runtime.grid_labels import GridLabels
from unet_edge.runtime.ordered_work import work_in_order
from unet_edge.streams.frame import Frame, Source, close_frames
from unet_edge.streams.policy import LatestFrames, Policy, default_policy

if TYPE_CHECKING:
    from unet_edge.masks.mask import Mask
    from unet_edge.runtime.segmenter import Segmenter


@dataclass(eq=False)
class SegmentedFrame:
    """A frame and its mask; unpack it as `frame, mask`.

    `grid` holds the labels on the model's grid. `stages` is the time of each stage in seconds:
    decode, place, infer, mask, and smooth if scores are smoothed. `finished` is the
    time.monotonic() at which the labels were ready. `segmenter` made them.
    """

    frame: Frame
    grid: GridLabels
    stages: dict[str, float]
    finished: float
    segmenter: Segmenter

    @cached_property
    def mask(self) -> Mask:
        """The mask at the frame's own size."""
        return self.grid.mask()

    @property
    def delay(self) -> float:
        """Seconds from the frame's arrival until its labels were ready."""
        return self.finished - self.frame.captured

    def __iter__(self) -> Iterator[Any]:
        yield self.frame
        yield self.mask


class SegmentedStream:
    """The segmented frames of a source, in order. Iterate once; `close` frees the source early.

    `dropped` counts the frames that the policy "latest" passed over, `damaged` those of a live
    source that could not be decoded. `scores` are the smoothed ones after the frame that was given
    last, None without smoothing; set before the iteration, they continue another stream's. A stream
    is a context manager, which closes it.
    """

    def __init__(
        self,
        source: Source,
        segmenters: Sequence[Segmenter],
        *,
        policy: Policy | None = None,
        smoothing: float = 0.0,
    ) -> None:
        """Prepare; nothing is read before the iteration begins.

        With the policy "every", each of `segmenters` works on a frame of its own. "latest" uses
        the first, which `segmenter` replaces while the stream runs. Raises ConfigError for an
        unknown policy, or a smoothing outside 0..1.
        """
        self.source = source
        self.policy = policy or default_policy(source)
        if self.policy not in get_args(Policy):
            raise ConfigError(
                f"policy is {policy!r}", expected=f"it must be one of {', '.join(get_args(Policy))}"
            )
        if not 0 <= smoothing < 1:
            raise ConfigError(
                f"smoothing is {smoothing}", expected="it must be at least 0 and below 1"
            )
        self.segmenter = segmenters[0]
        self.damaged = 0
        self._segmenters = segmenters
        self._smoothing = smoothing
        self.scores: NDArray[np.float32] | None = None
        self._scores_of: str | None = None  # the digest of the model that gave them
        self._latest = LatestFrames(source) if self.policy == "latest" else None
        self._results = self._segmented()

    @property
    def dropped(self) -> int:
        """The number of frames that were read and not segmented."""
        return self._latest.dropped if self._latest else 0

    def __iter__(self) -> Iterator[SegmentedFrame]:
        return self._results

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the stream and free the source."""
        self._results.close()

    def stop(self) -> None:
        """End a stream of the policy "latest" from another thread; the iteration then ends."""
        if self._latest is not None:
            self._latest.stop()

    def _segmented(self) -> Generator[SegmentedFrame, None, None]:
        match self.policy:
            case "every":
                yield from self._every()
            case "latest":
                assert self._latest is not None
                with closing(iter(self._latest)) as frames:
                    for frame in frames:
                        try:
                            result = self._smoothed(self._work(self.segmenter, frame))
                        except ImageError:
                            self.damaged += 1
                            continue
                        yield result
            case _:
                assert_never(self.policy)

    def _every(self) -> Generator[SegmentedFrame, None, None]:
        free: SimpleQueue[Segmenter] = SimpleQueue()
        for segmenter in self._segmenters:
            free.put(segmenter)

        def work(frame: Frame) -> _Work:
            segmenter = free.get()
            try:
                return self._work(segmenter, frame)
            finally:
                free.put(segmenter)

        count = len(self._segmenters)
        frames = self.source.frames()
        try:
            with closing(
                work_in_order(work, frames, count, ahead=2 * count, name="segment")
            ) as results:
                for done in results:
                    yield self._smoothed(done)
        finally:
            close_frames(frames)

    def _work(self, segmenter: Segmenter, frame: Frame) -> _Work:
        laps = _Laps()
        if not self._smoothing:
            labels = segmenter.grid_labels(frame.image, laps)
            return _Work(frame, segmenter, laps, time.monotonic(), labels)
        photo = read_photo(frame.image, segmenter.spec)
        laps("decode")
        placement = Placement.plan(photo.size, segmenter.spec)
        pixels = placement.place(photo.picture)
        laps("place")
        logits = segmenter.logits(pixels)[placement.box]
        laps("infer")
        return _Work(frame, segmenter, laps, time.monotonic(), logits, photo.size)

    def _smoothed(self, work: _Work) -> SegmentedFrame:
        grid, finished = work.output, work.finished
        if not isinstance(grid, GridLabels):
            work.laps("wait")
            before, model = self.scores, work.segmenter.digest
            # After a change of the shape on the grid or of the model, smoothing begins anew. Scores
            # that were set before the iteration are those of the same model.
            if before is None or before.shape != grid.shape or self._scores_of not in (None, model):
                self.scores = grid
            else:
                weight = np.float32(self._smoothing)
                self.scores = before * weight + grid * (np.float32(1) - weight)
            self._scores_of = model
            grid = GridLabels(work.size, to_labels(self.scores), work.segmenter.spec)
            work.laps("smooth")
            del work.laps.seconds["wait"]  # for frames before it in other threads
            finished = time.monotonic()
        return SegmentedFrame(work.frame, grid, work.laps.seconds, finished, work.segmenter)


class _Laps:
    """Seconds of each stage; call it at a stage's end."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def __call__(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage] = now - self._last
        self._last = now


@dataclass(eq=False)
class _Work:
    """What a worker made of a frame: labels, or logits that are to be smoothed."""

    frame: Frame
    segmenter: Segmenter
    laps: _Laps
    finished: float
    output: GridLabels | NDArray[np.float32]
    size: tuple[int, int] = (0, 0)
