"""Video files, read with PyAV: every frame, in order, with its own time."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import closing
from fractions import Fraction
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

from unet_edge.errors import ConfigError, StreamError
from unet_edge.streams.av_frame import frame_of
from unet_edge.streams.av_input import (
    decoded,
    duration_of,
    open_file,
    own_duration,
    packets,
    reason_of,
    video_stream,
)
from unet_edge.streams.frame import Frame, StreamInfo
from unet_edge.streams.frame_times import FrameTimes
from unet_edge.streams.orientation import orientation_of
from unet_edge.streams.video_position import pictures_from, restarts

_Beginning = tuple[Iterator[Any], int]
"""Decoded pictures, and the index of the first."""

_HDR = {16: "PQ", 18: "HLG"}  # AVCOL_TRC_SMPTE2084, AVCOL_TRC_ARIB_STD_B67
_EARLY = 1.0  # seconds; the frame rate may vary, and a last frame may not say how long it lasts


class VideoFile:
    """The frames of a video file. A source.

    Images are upright RGB pictures. They have the stored pixels: a pixel aspect ratio is not
    applied, and interlaced frames are not deinterlaced. `index` counts the frames from the first
    one at or after `start`, also those that `every` leaves out. `pts` is the file's own; see
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
        this reading goes on from there with the same frames, except that damaged ones may look
        different. Raises ConfigError for values out of range.
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
                raise _undecodable(self.name)
            return self._part(
                orientation_of(first).upright_size(first.width, first.height),
                stream.average_rate or stream.guessed_rate,
                duration_of(container, stream),
                stream.frames or None,
            )

    def frames(self) -> Iterator[Frame]:
        """Yield the frames. Raises StreamError when the file cannot be read, or has no frames."""
        beginnings = [self._from_beginning]
        if self._start:
            beginnings.insert(0, self._from_start)
        if self._resume_at is not None:
            beginnings.insert(0, self._from_resumed)
        for beginning in beginnings:
            self.damaged, self.warnings = 0, []
            with closing(open_file(self.path)) as container:
                stream = video_stream(container, self.name)
                begun = beginning(container, stream)
                if begun is not None:
                    yield from self._checked(self._numbered(container, stream, *begun))
                    return

    def _checked(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        """Pass frames on, and raise the system's errors as StreamError."""
        from av.error import FFmpegError

        try:
            yield from frames
        except FFmpegError as error:
            raise StreamError(
                f"cannot be read further: {reason_of(error)}", subject=self.name
            ) from None

    def _from_beginning(self, container: Any, stream: Any) -> _Beginning | None:
        return decoded(stream, packets(container, stream, self._damage), self._damage), 0

    def _from_start(self, container: Any, stream: Any) -> _Beginning | None:
        pts = _origin(stream) + _first_tick(self._start or 0, stream.time_base)
        pictures = pictures_from(container, stream, pts, self._damage)
        return None if pictures is None else (pictures, 0)

    def _from_resumed(self, container: Any, stream: Any) -> _Beginning | None:
        if self._resume_at is None or restarts(container):
            return None
        index, pts = self._resume_at
        pictures = pictures_from(container, stream, pts, self._damage)
        if pictures is None:
            return None
        first = next(pictures)
        return (chain((first,), pictures), index) if first.pts == pts else None

    def _numbered(
        self, container: Any, stream: Any, pictures: Iterator[Any], index: int
    ) -> Iterator[Frame]:
        """Yield those of the pictures that are wanted; `index` is that of the first."""
        times = FrameTimes(stream.time_base, stream.average_rate or stream.guessed_rate)
        first_index, end = self._resume_at[0] if self._resume_at else 0, 0.0
        for number, picture in enumerate(pictures):
            if number == 0:
                self._look_at(picture)
            pts = times.pts(picture)
            seconds = float((pts - _origin(stream)) * stream.time_base)
            end = seconds + float((picture.duration or 0) * stream.time_base)
            if self._start is not None and seconds < self._start:
                continue
            if self._stop is not None and seconds >= self._stop:
                if index == 0:
                    raise self._no_frames(end)
                self._look_at_gaps(times, stream)
                return
            if self._resume_at is not None and index == first_index:
                self._require_same(pts, stream.time_base)
            if index >= first_index and index % self._every == 0:
                yield frame_of(picture, index, pts, stream.time_base, time.monotonic())
            index += 1
        if index == 0:
            raise self._no_frames(end)
        self._look_at_gaps(times, stream)
        expected = own_duration(container, stream)
        if expected is not None and expected - end > _EARLY:
            self.warnings.append(
                f"the last frame ends at {end:.2f} s, and the header says {expected:.2f} s: the "
                "file may be cut off"
            )

    def _look_at(self, picture: Any) -> None:
        if transfer := _HDR.get(int(picture.color_trc)):
            self.warnings.append(
                f"the colours are HDR ({transfer}) and are taken as they are, so that masks may be "
                "worse; convert the video with: ffmpeg -i IN -vf zscale=t=linear:npl=100,"
                "tonemap=hable,zscale=t=bt709:m=bt709:p=bt709:r=tv,format=yuv420p OUT"
            )

    def _look_at_gaps(self, times: FrameTimes, stream: Any) -> None:
        """Warn of missing frames. A demuxer passes over some damage without a word."""
        if not times.may_have_lost_frames:
            return
        first, last = (float((pts - _origin(stream)) * stream.time_base) for pts in times.first_gap)
        more = times.gaps - 1
        others = f" and in {more} other {'place' if more == 1 else 'places'}" if more else ""
        self.warnings.append(
            f"there are no frames from {first:.2f} s to {last:.2f} s{others}: they may be lost, or "
            "the frame rate varies"
        )

    def _require_same(self, pts: int, time_base: Fraction) -> None:
        """Raise StreamError unless the frame to resume at still has its time."""
        if self._resume_at is not None and pts != self._resume_at[1]:
            index, before = self._resume_at
            raise StreamError(
                f"frame {index} is at {float(pts * time_base):.3f} s",
                expected=f"it was at {float(before * time_base):.3f} s; the file has changed",
                fix="start again from the beginning, with --again",
                subject=f"{self.name}:",
            )

    def _no_frames(self, end: float) -> StreamError:
        if self._start is None and self._stop is None:
            return _undecodable(self.name)
        stop = "" if self._stop is None else f" and before {self._stop} s"
        return StreamError(
            f"has no frame at {self._start or 0} s or later{stop}",
            expected=f"what was read ends at {end:.2f} s",
            subject=self.name,
        )

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


def _undecodable(name: str) -> StreamError:
    return StreamError("has no frame that can be decoded", subject=name)


def _first_tick(seconds: float, time_base: Fraction) -> int:
    """The first tick at `seconds` or later, compared as floats, as the times of frames are."""
    tick = math.ceil(Fraction(seconds) / time_base)
    while float((tick - 1) * time_base) >= seconds:
        tick -= 1
    return tick


def _origin(stream: Any) -> int:
    """The pts at the beginning of the file; that of an MPEG transport stream is rarely 0."""
    return stream.start_time or 0
