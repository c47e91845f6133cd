"""A stream that cannot be read twice, such as a camera or standard input, to files.

Nothing can be resumed, so each run writes files of its own, with the time in their names. They are
finished when the stream ends, is interrupted or fails.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain, count
from pathlib import Path
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from unet_edge.batch.video_outputs import VideoKind, palette_folder, video_file_name
from unet_edge.errors import StreamError
from unet_edge.runtime.stream import SegmentedFrame, SegmentedStream
from unet_edge.sinks.mask_pictures import MaskPictures
from unet_edge.sinks.overlay import Legend
from unet_edge.sinks.shares import SharesLog
from unet_edge.sinks.sink import Sink
from unet_edge.streams.stream_url import shown
from unet_edge.system.csv_table import csv_text


@dataclass
class StreamResult:
    """What came of a stream: frames, seconds from the first to the last, mean class shares.

    `dropped` frames were passed over, because the model was slower; `damaged` ones could not be
    decoded. `interrupted`: Ctrl-C ended it.
    """

    frames: int = 0
    seconds: float = 0.0
    coverage: dict[str, float] = field(default_factory=dict)
    dropped: int = 0
    damaged: int = 0
    interrupted: bool = False


def run_stream(
    stream: SegmentedStream,
    sinks: Sequence[Sink],
    advance: Callable[[], object],
    ending: threading.Event,
) -> StreamResult:
    """Give each frame to the sinks, until the stream ends or `ending` is set; then close them.

    `advance` is called after each frame. `ending` is looked at between frames, so that all sinks
    have the same ones. Raises StreamError or OSError when the stream or a sink fails, after all
    sinks are closed; and StreamError when there was no frame.
    """
    result = StreamResult()
    sums: NDArray[np.float64] | None = None
    first = 0.0
    with ExitStack() as stack:
        for sink in sinks:
            stack.callback(sink.close)  # each of them, even if another one fails
        stack.enter_context(stream)
        for done in stream:
            for sink in sinks:
                sink.write(done)
            shares = np.array(done.grid.shares())
            sums = shares if sums is None else sums + shares
            first = first if result.frames else done.frame.time
            result.frames += 1
            result.seconds = done.frame.time - first
            advance()
            if ending.is_set():
                break
    result.interrupted = ending.is_set()
    result.dropped, result.damaged = stream.dropped, stream.damaged
    if sums is None:
        if result.interrupted:
            raise KeyboardInterrupt
        raise StreamError(f"{stream.source.name} has given no frame")
    classes = stream.segmenter.spec.classes
    result.coverage = dict(zip(classes, (sums / result.frames).tolist(), strict=True))
    return result


def sink_of(
    kind: VideoKind, folder: Path, name: str, *, legend: Legend, rate: Fraction | None
) -> Sink:
    """The sink that writes a kind of output for the run called `name`."""
    path = folder / video_file_name(kind, name)
    match kind:
        case "overlay":
            from unet_edge.sinks.overlay_video import OverlayVideo

            return OverlayVideo(path, legend=legend, rate=rate)
        case "index":
            from unet_edge.sinks.mask_video import MaskVideo

            return MaskVideo(path, rate=rate)
        case "palette":
            return _TimedPictures(folder / palette_folder(name), path)
        case "csv" | "jsonl":
            return SharesLog(path, kind)
        case _:
            assert_never(kind)


class _TimedPictures:
    """Writes masks into a folder, and the time of each frame into a table. A sink."""

    def __init__(self, folder: Path, table: Path) -> None:
        self._pictures = MaskPictures(folder)
        self._table = table
        self._is_new = True

    def write(self, result: SegmentedFrame) -> None:
        self._pictures.write(result)
        row = csv_text(["index", "time"], [[result.frame.index, round(result.frame.time, 6)]])
        header, line = row.splitlines(keepends=True)
        with self._table.open("a", encoding="utf-8") as file:
            file.write(header + line if self._is_new else line)
        self._is_new = False

    def close(self) -> None:
        self._pictures.close()


def run_name(source: str, now: time.struct_time) -> str:
    """A name for the files of a run: what the source is called, and the local time.

    "/dev/video0?size=640x480" at half past nine gives video0-20260131-093000.
    """
    base = shown(source).partition("?")[0]  # no password in a name
    base = re.sub(r"^\w+:/+", "", base).removeprefix("/dev/")
    base = re.sub(r"\.mjpe?g$", "", base) if base != "-" else "stdin"
    base = re.sub(r"[^\w.]+", "-", base).strip("-.")[-80:] or "stream"
    return f"{base}-{time.strftime('%Y%m%d-%H%M%S', now)}"


def free_name(name: str, folder: Path, kinds: Sequence[VideoKind]) -> str:
    """`name`, or with a number behind it if files of that name exist in a folder."""
    return next(
        candidate
        for candidate in chain([name], (f"{name}-{number}" for number in count(2)))
        if not any(
            os.path.lexists(folder / Path(video_file_name(kind, candidate)).parts[0])
            for kind in kinds
        )
    )
