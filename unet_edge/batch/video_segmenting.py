"""Segments a video into parts, from where an earlier run stopped."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unet_edge.batch.video_outputs import DrawnFrame, VideoKind, drawn
from unet_edge.batch.video_parts import Part, PartsFolder, Track
from unet_edge.errors import StreamError
from unet_edge.runtime.ordered_work import work_in_order
from unet_edge.runtime.segmenter import Segmenter
from unet_edge.runtime.stream import SegmentedFrame, SegmentedStream
from unet_edge.sinks.encoding import EncodedPacket, Encoding, VideoCodec, VideoEncoder
from unet_edge.sinks.overlay import Legend
from unet_edge.streams.av_input import open_file, video_stream
from unet_edge.streams.video_file import VideoFile

PART_FRAMES = 50
"""Frames of a part: two seconds of 25 frames."""

_CODECS: dict[VideoKind, VideoCodec] = {"overlay": "libx264", "index": "ffv1"}

_Drawn = tuple[DrawnFrame, NDArray[np.float32] | None]


@dataclass(frozen=True)
class VideoOptions:
    """What `segment` makes of a video.

    `start` and `stop` are seconds from its beginning, None for all of it. Every `every`-th frame
    is segmented. `smoothing` is that of SegmentedStream.
    """

    kinds: tuple[VideoKind, ...] = ("overlay",)
    legend: Legend = "on"
    every: int = 1
    start: float | None = None
    stop: float | None = None
    smoothing: float = 0.0


@dataclass(frozen=True)
class SourceClock:
    """The times of a video file. `origin` is where its video begins, `start` where the file does.

    Both are in seconds. `tick` is the unit of a frame's pts, `aspect` the shape of a stored pixel.
    """

    origin: Fraction
    start: Fraction
    tick: Fraction
    aspect: Fraction | None

    @classmethod
    def read(cls, path: Path) -> SourceClock:
        """Read it from a file's header. Raises StreamError."""
        with closing(open_file(path)) as container:
            stream = video_stream(container, str(path))
            tick = Fraction(stream.time_base)
            origin = (stream.start_time or 0) * tick
            start = Fraction(container.start_time or 0, 1_000_000)
            aspect = stream.sample_aspect_ratio
            return cls(origin, min(origin, start), tick, Fraction(aspect) if aspect else None)


def segment_into_parts(
    path: Path,
    options: VideoOptions,
    clock: SourceClock,
    folder: PartsFolder,
    segmenters: Sequence[Segmenter],
    advance: Callable[[], None],
) -> list[str]:
    """Segment the rest of a video into `folder`. Returns notes on what is wrong with the file.

    `advance` is called after each frame. Raises StreamError, ImageError or OSError; the parts that
    were finished remain.
    """
    last = folder.parts[-1] if folder.parts else None
    source = VideoFile(
        path,
        start=options.start,
        stop=options.stop,
        every=options.every,
        resume_at=last.next if last else None,
    )
    builder = PartBuilder(source.info.rate, _shown_aspect(path, source, clock))
    with SegmentedStream(source, segmenters, policy="every", smoothing=options.smoothing) as stream:
        stream.scores = last.scores() if last else None
        with closing(_drawn_frames(stream, options, folder.pictures, len(segmenters))) as frames:
            for frame, scores in frames:
                if builder.is_full:
                    folder.add(builder.finish(frame.position))
                builder.add(frame, scores)
                advance()
    if builder.is_empty:
        raise StreamError(
            f"has no frame from {options.start or 0} to {options.stop} s", subject=str(path)
        )
    folder.add(builder.finish(None))
    notes = list(source.warnings)
    if source.damaged:
        notes.append(f"{source.damaged} damaged places in it could not be decoded, or only in part")
    return notes


def _drawn_frames(
    stream: SegmentedStream, options: VideoOptions, pictures: Path, threads: int
) -> Generator[_Drawn, None, None]:
    """Draw the segmented frames in threads, since this one decodes and encodes."""

    def segmented() -> Iterator[tuple[SegmentedFrame, NDArray[np.float32] | None]]:
        for result in stream:
            if result.frame.native is not None:
                result.frame.__dict__.pop("image", None)  # the model has seen it: free its memory
            yield result, stream.scores

    def work(task: tuple[SegmentedFrame, NDArray[np.float32] | None]) -> _Drawn:
        result, scores = task
        return drawn(result, options.kinds, options.legend, pictures), scores

    yield from work_in_order(work, segmented(), threads, ahead=threads, name="draw")


def _shown_aspect(path: Path, source: VideoFile, clock: SourceClock) -> Fraction | None:
    """The shape of a pixel of the upright frames."""
    if clock.aspect is None or clock.aspect == 1:
        return None
    with closing(open_file(path)) as container:
        context = video_stream(container, str(path)).codec_context
        turned = source.info.size != (context.width, context.height)
    return 1 / clock.aspect if turned else clock.aspect


class PartBuilder:
    """Encodes drawn frames, and makes parts of them."""

    def __init__(self, rate: Fraction | None, aspect: Fraction | None) -> None:
        """`rate` and `aspect` are those of Encoding."""
        self._rate, self._aspect = rate, aspect
        self._begin()

    def _begin(self) -> None:
        self._frames: list[DrawnFrame] = []
        self._encoders: dict[VideoKind, VideoEncoder] = {}
        self._packets: dict[VideoKind, list[EncodedPacket]] = {}
        self._scores: NDArray[np.float32] | None = None

    @property
    def is_empty(self) -> bool:
        """Whether no frame was added since the last part."""
        return not self._frames

    @property
    def is_full(self) -> bool:
        """Whether the next frame begins a new part."""
        return len(self._frames) == PART_FRAMES

    def add(self, frame: DrawnFrame, scores: NDArray[np.float32] | None) -> None:
        """Encode a frame; `scores` are the smoothed ones after it."""
        self._encode("overlay", frame.overlay)
        self._encode("index", frame.index)
        # Without its pictures, which take much memory.
        self._frames.append(DrawnFrame(frame.position, frame.size, frame.shares))
        self._scores = scores

    def finish(self, following: tuple[int, int] | None) -> Part:
        """Make the part of the frames so far, and begin another; `following` is its first frame."""
        for kind, encoder in self._encoders.items():
            self._packets[kind] += encoder.finish()
        part = Part(
            [frame.position for frame in self._frames],
            following,
            self._frames[0].size,
            [frame.shares for frame in self._frames],
            {
                kind: Track(encoder.encoding, self._packets[kind])
                for kind, encoder in self._encoders.items()
            },
            self._scores,
        )
        self._begin()
        return part

    def _encode(self, kind: VideoKind, frame: Any) -> None:
        if frame is None:
            return
        if kind not in self._encoders:
            encoding = Encoding.of(_CODECS[kind], frame, self._rate, self._aspect)
            self._encoders[kind], self._packets[kind] = VideoEncoder(encoding), []
        self._packets[kind] += self._encoders[kind].encode(frame)
