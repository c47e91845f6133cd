"""Cameras, network streams and standard input for `unet-edge segment`."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unet_edge.batch.stream_run import StreamResult, free_name, run_name, run_stream, sink_of
from unet_edge.batch.video_outputs import video_file_name
from unet_edge.cli.output import print_json, print_line, print_note
from unet_edge.cli.video import raw_kind
from unet_edge.errors import OutputError
from unet_edge.runtime.stream import SegmentedStream
from unet_edge.sinks.raw_output import RawOutput
from unet_edge.sinks.sink import Sink
from unet_edge.streams.open_source import open_source
from unet_edge.streams.selection import Selected
from unet_edge.system.counting import counted

if TYPE_CHECKING:
    from unet_edge.batch.video_segmenting import VideoOptions
    from unet_edge.runtime.segmenter import Segmenter

    OpenWorkers = Callable[[int], Sequence[Segmenter]]


def segment_source(
    name: str,
    output: Path,
    options: VideoOptions,
    segmenter: Segmenter,
    workers: OpenWorkers,
    *,
    also: Callable[[], Sequence[Sink]],
    as_json: bool,
) -> None:
    """Segment a stream into files of a folder, until it ends or Ctrl-C. Prints the result.

    `workers` opens segmenters for a number of frames, where several work side by side. `also` opens
    the sinks beside those of the files; they are closed, too.
    """
    stream = _opened(name, options, segmenter, workers)
    run = free_name(run_name(name, time.localtime()), output, options.kinds)
    rate = stream.source.info.rate
    sinks = [sink_of(kind, output, run, legend=options.legend, rate=rate) for kind in options.kinds]
    sinks += also()
    print_note(f"{stream.source.name}: Ctrl-C ends it, and finishes the files")
    with _ended_by_signals(stream) as ending:
        result = run_stream(stream, sinks, _Lines(stream).advance, ending)
    files = [video_file_name(kind, run) for kind in options.kinds]
    if as_json:
        print_json(
            {
                "model": segmenter.name,
                "output": str(output),
                "stream": {"source": stream.source.name, **asdict(result), "files": files},
            }
        )
    else:
        _print_result(result, files, output, segmenter)


def segment_source_raw(
    name: str, options: VideoOptions, segmenter: Segmenter, workers: OpenWorkers
) -> None:
    """Segment a stream to raw frames on standard output. Raises OutputError when that fails."""
    sink: Sink = RawOutput(sys.stdout.buffer, raw_kind(options), legend=options.legend)
    try:
        stream = _opened(name, options, segmenter, workers)
        with _ended_by_signals(stream) as ending:
            run_stream(stream, [sink], lambda: None, ending)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"cannot write to standard output: {error.strerror or error}") from error


def _opened(
    name: str, options: VideoOptions, segmenter: Segmenter, workers: OpenWorkers
) -> SegmentedStream:
    source = open_source(name, lambda state, message: print_note(message))
    if (options.every, options.start, options.stop) != (1, None, None):
        source = Selected(source, every=options.every, start=options.start, stop=options.stop)
    # Of a live source, one frame at a time is segmented, by one model with all threads.
    segmenters = [segmenter] if source.is_live else workers(2**16)  # more than are useful
    return SegmentedStream(source, segmenters, smoothing=options.smoothing)


class _Lines:
    """Prints how far a stream is, once a minute."""

    def __init__(self, stream: SegmentedStream) -> None:
        self._stream = stream
        self._frames = self._told = 0
        self._last = time.monotonic()

    def advance(self) -> None:
        self._frames += 1
        if (passed := time.monotonic() - self._last) < _INTERVAL:
            return
        rate = (self._frames - self._told) / passed
        dropped = f", {self._stream.dropped} dropped" if self._stream.dropped else ""
        print_note(
            f"{self._stream.source.name}: {counted(self._frames, 'frame')}, "
            f"{rate:.3g} frames/s{dropped}"
        )
        self._told, self._last = self._frames, time.monotonic()


_INTERVAL = 60.0  # s


def _print_result(
    result: StreamResult, files: Sequence[str], output: Path, segmenter: Segmenter
) -> None:
    left_out = [
        f"{number} {word}"
        for number, word in ((result.dropped, "dropped"), (result.damaged, "damaged"))
        if number
    ]
    also = f" ({', '.join(left_out)})" if left_out else ""
    print_line(
        f"{counted(result.frames, 'frame')}{also} of {result.seconds:.1f} s, by {segmenter.name}"
    )
    shares = ", ".join(f"{name} {share:.1%}" for name, share in result.coverage.items())
    print_line(f"mean shares: {shares}")
    if files:
        print_line(f"{', '.join(files)} in {output}")


@contextlib.contextmanager
def _ended_by_signals(stream: SegmentedStream) -> Iterator[threading.Event]:
    """Give an event that Ctrl-C sets, or SIGTERM, with which systemd stops a service.

    The frame that is being written is finished. A second signal stops at once.
    """
    ending = threading.Event()

    def end(*_: Any) -> None:
        if ending.is_set():
            raise KeyboardInterrupt
        ending.set()
        stream.stop()
        if interrupt := getattr(stream.source, "interrupt", None):
            interrupt()

    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, end) for number in signals]
    try:
        yield ending
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)
