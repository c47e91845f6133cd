"""Video files, read with PyAV: every frame, in order, with its own time."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import closing
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

from unet_edge.errors import ConfigError, StreamError
from unet_edge.streams.av_frame import frame_of
from unet_edge.streams.av_input import decoded, open_file, packets, video_stream
from unet_edge.streams.frame import Frame, StreamInfo
from unet_edge.streams.frame_times import FrameTimes
from unet_edge.streams.orientation import orientation_of


class VideoFile:
    """The frames of a video file. A source.

    Images are RGB, uint8 (H, W, 3), upright. They have the stored pixels: a pixel aspect ratio is
    not applied, and interlaced frames are not deinterlaced. `index` counts the frames from the
    first one at or after `start`, also those that `every` leaves out. `pts` is the file's own; see
    FrameTimes for files with gaps in it.

    `damaged` counts the packets and frames of the last reading that could not be decoded, or
    only in part. `warnings` are sentences about what else is wrong with the file.
    """

    is_live = False

    def __init__(
        self,
        path: str | Path,
        *,
        start: float | None = None,
        stop: float | None = None,
        every: int = 1,
        resume_at: tuple[int, int] | None = None,
    ) -> None:
        """Nothing is read yet.

        `start` and `stop` are seconds from the beginning of the file: it gives the frames at
        `start` or later and before `stop`, and of them each n-th if `every` is n. `resume_at` is
        the (index, pts) of the first frame to give, from an earlier reading with the same `start`;
        this reading goes on from there with the same frames. Raises ConfigError for values out
        of range.
        """
        self.path = Path(path)
        self.name = str(path)
        self.damaged = 0
        self.warnings: list[str] = []
        _require_part(start, stop, every)
        self._start, self._stop, self._every = start, stop, every
        self._resume_at = resume_at

    @cached_property
    def info(self) -> StreamInfo:
        """What the header and the first frame say about the frames that are given.

        Raises StreamError as `frames` does.
        """
        with closing(open_file(self.path)) as container:
            stream = video_stream(container, self.name)
            first = next(decoded(stream, packets(container, stream, _ignore), _ignore), None)
            if first is None:
                raise _no_frames(self.name)
            return self._part(
                orientation_of(first).upright_size(first.width, first.height),
                stream.average_rate or stream.guessed_rate,
                _duration(container, stream),
                stream.frames or None,
            )

    def frames(self) -> Iterator[Frame]:
        """Yield the frames. Raises StreamError when the file cannot be read, or has no frames."""
        self.damaged, self.warnings = 0, []
        with closing(open_file(self.path)) as container:
            stream = video_stream(container, self.name)
            yield from self._frames(container, stream)

    def _frames(self, container: Any, stream: Any) -> Iterator[Frame]:
        times = FrameTimes(stream.time_base, stream.average_rate or stream.guessed_rate)
        origin = stream.start_time or 0
        index = 0
        pictures = decoded(stream, packets(container, stream, self._damage), self._damage)
        for picture in pictures:
            pts = times.pts(picture)
            seconds = (pts - origin) * stream.time_base
            if self._start is not None and seconds < self._start:
                continue
            if self._stop is not None and seconds >= self._stop:
                return
            if index % self._every == 0 and (
                self._resume_at is None or index >= self._resume_at[0]
            ):
                yield frame_of(picture, index, pts, stream.time_base, time.monotonic())
            index += 1

    def _damage(self) -> None:
        self.damaged += 1

    def _part(
        self,
        size: tuple[int, int],
        rate: Fraction | None,
        duration: float | None,
        frames: int | None,
    ) -> StreamInfo:
        """The information about the frames from `start` to `stop`, every n-th."""
        if frames is None and duration and rate:
            frames = round(duration * rate)
        if duration:
            part = min(duration, self._stop or duration) - min(duration, self._start or 0)
            frames = frames and round(frames * part / duration)
            duration = part
        if frames is not None:
            frames = math.ceil(frames / self._every)
        return StreamInfo(size, rate and rate / self._every, duration, frames)


def _ignore() -> None:
    pass


def _require_part(start: float | None, stop: float | None, every: int) -> None:
    if every < 1:
        raise ConfigError(f"every is {every}", expected="it must be at least 1")
    for key, value in (("start", start), ("stop", stop)):
        if value is not None and not 0 <= value < math.inf:
            raise ConfigError(f"{key} is {value} s", expected="it must be at least 0")
    if stop is not None and stop <= (start or 0):
        raise ConfigError(
            f"the video starts at {start or 0} s and stops at {stop} s",
            expected="stop must be after start",
        )


def _no_frames(name: str) -> StreamError:
    return StreamError("has no frame that can be decoded", subject=name)


def _duration(container: Any, stream: Any) -> float | None:
    """Seconds from the first frame's time to the end of the last; None if unknown."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    return container.duration / 1e6 if container.duration else None
