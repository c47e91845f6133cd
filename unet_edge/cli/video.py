"""Videos for `unet-edge segment`: what is asked of them, their run, and its results."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from unet_edge.batch.resume_log import open_resume_log
from unet_edge.batch.video_outputs import VIDEO_KINDS
from unet_edge.batch.video_run import Result, VideoRun
from unet_edge.batch.video_segmenting import VideoOptions
from unet_edge.cli.output import print_line, print_note, print_texts
from unet_edge.errors import ConfigError, OutputError
from unet_edge.runtime.stream import SegmentedStream
from unet_edge.sinks.raw_output import RawKind, RawOutput
from unet_edge.streams.av_input import require_av
from unet_edge.streams.video_file import VideoFile
from unet_edge.system.captured_output import native_stderr_discarded
from unet_edge.system.counting import counted
from unet_edge.system.duration import duration, rounded
from unet_edge.system.progress import progress_bar

if TYPE_CHECKING:
    from unet_edge.runtime.segmenter import Segmenter

_INTERVAL = 60.0  # s between two lines where no bar is shown


def options_for_videos(
    save: tuple[str, ...] | None,
    legend: str | None,
    edges: str,
    tiled: bool,
    every: int | None,
    start: float | None,
    stop: float | None,
    smoothing: float | None,
) -> VideoOptions:
    """The options of videos. Raises ConfigError for options that make no sense for videos."""
    kinds = tuple(kind for kind in VIDEO_KINDS if kind in (save or ("overlay",)))
    if unfit := [kind for kind in save or () if kind not in VIDEO_KINDS]:
        raise ConfigError(
            f"--save {','.join(unfit)} is for photos, and a video or a stream is given",
            fix=f"choose from {', '.join(VIDEO_KINDS)}, or segment the photos alone",
        )
    for option, is_given, fix in (
        ("--tiles", tiled, "leave it out"),
        ("--edges smooth", edges == "smooth", "leave it out"),
        ("--legend beside", legend == "beside", "give --legend on or --legend none"),
    ):
        if is_given:
            raise ConfigError(f"{option} is for photos, and a video or a stream is given", fix=fix)
    if stop is not None and stop <= (start or 0):
        raise ConfigError(
            f"--from {start or 0:g} s and --to {stop:g} s", expected="--to must be after --from"
        )
    return VideoOptions(
        kinds,
        "none" if legend == "none" else "on",
        every or 1,
        start or None,
        stop,
        smoothing or 0.0,
    )


def require_av_for(videos: Sequence[Path], options: VideoOptions) -> None:
    """Raise StreamError if PyAV is missing and a video is read or written.

    Tables and PNG files of a camera need none: PyAV has no wheels for 32-bit ARM.
    """
    if videos or {"overlay", "index"} & set(options.kinds):
        require_av()


def require_scores_of_videos(segmenter: Segmenter, options: VideoOptions) -> None:
    """Raise BackendError before the first frame if scores are smoothed and the file gives none."""
    if options.smoothing and segmenter.spec.output == "labels":
        from unet_edge.runtime.backends.backend import no_scores

        raise no_scores()


def segment_videos(
    videos: Sequence[Path],
    output: Path,
    options: VideoOptions,
    segmenter: Segmenter,
    open_segmenters: Callable[[int], Sequence[Segmenter]],
    *,
    again: bool,
) -> list[Result]:
    """Segment videos one after another, and return the result of each."""
    with open_resume_log(output) as log, native_stderr_discarded():
        run = VideoRun(log, output, segmenter, options, _shown)
        return run.run(list(dict.fromkeys(videos)), open_segmenters, again=again)


@contextlib.contextmanager
def _shown(name: str, done: int, total: int | None) -> Iterator[Callable[[], None]]:
    """Show frames a second and the time left: a bar on a terminal, else a line each minute."""
    if done:
        of = f" of about {total}" if total else ""
        print_note(f"{name}: goes on after frame {done}{of}")
    if sys.stderr.isatty():
        with progress_bar(total, name, unit=" frames", done=done) as bar:
            yield bar.update
    else:
        yield _Lines(name, done, total).advance


class _Lines:
    """Prints how far a video is, about once a minute."""

    def __init__(self, name: str, done: int, total: int | None) -> None:
        self._name, self._done, self._total = name, done, total
        self._begun_at = done
        self._begun = self._last = time.monotonic()

    def advance(self) -> None:
        self._done += 1
        now = time.monotonic()
        if now - self._last < _INTERVAL:
            return
        self._last = now
        rate = (self._done - self._begun_at) / (now - self._begun)
        of, left = "", ""
        if self._total:
            of = f" of about {self._total}"
            left = f", {duration(max(0, self._total - self._done) / rate)} left"
        print_note(f"{self._name}: frame {self._done}{of}, {rounded(rate, 3)} frames/s{left}")


def print_video_notes(results: Sequence[Result]) -> None:
    """Print what is wrong with the videos."""
    for result in results:
        for note in result.get("notes", ()):
            print_note(f"{Path(result['video']).name}: {note}")


def print_videos(results: Sequence[Result], segmenter: Segmenter, output: Path) -> None:
    """Print a table of the videos, and a line about all of them."""
    done = [result for result in results if "coverage" in result]
    rows = [
        [
            Path(result["video"]).name,
            str(result["frames"]),
            duration(result["seconds"]),
            *(f"{share:.1%}" for share in result["coverage"].values()),
            f"{result['fps']:.1f}" if "fps" in result else "-",
        ]
        for result in done
    ]
    if rows:
        print_texts(rows, ["video", "frames", "length", *segmenter.spec.classes, "frames/s"])
    skipped = sum(result["skipped"] for result in done)
    existed = f" ({skipped} of them existed)" if skipped else ""
    print_line(
        f"{len(done)} of {counted(len(results), 'video')} in {output}{existed}, by {segmenter.name}"
    )


def require_one_raw_video(videos: Sequence[Path], others: int, options: VideoOptions) -> RawKind:
    """The kind that goes to standard output. Raises ConfigError for more than one stream."""
    if len(videos) + others != 1:
        raise ConfigError(
            f"{len(videos) + others} files for -o -", expected="-o - takes one video or photo"
        )
    return raw_kind(options)


def raw_kind(options: VideoOptions) -> RawKind:
    """The kind that goes to standard output. Raises ConfigError for another one, or several."""
    kind = options.kinds[0]
    if len(options.kinds) != 1 or kind not in get_args(RawKind):
        raise ConfigError(
            f"--save {','.join(options.kinds)} cannot go to standard output",
            fix=f"choose one of {', '.join(get_args(RawKind))}",
        )
    return "index" if kind == "index" else "overlay"


def segment_raw(
    video: Path, kind: RawKind, options: VideoOptions, segmenters: Sequence[Segmenter]
) -> None:
    """Write a video's frames to standard output, raw. Raises OutputError when that fails."""
    source = VideoFile(video, start=options.start, stop=options.stop, every=options.every)
    sink = RawOutput(sys.stdout.buffer, kind, legend=options.legend)
    with SegmentedStream(source, segmenters, smoothing=options.smoothing) as stream:
        try:
            for result in stream:
                sink.write(result)
            sink.close()
        except BrokenPipeError:
            raise
        except OSError as error:
            reason: Any = error.strerror or error
            raise OutputError(f"cannot write to standard output: {reason}") from error
    for note in source.warnings:
        print_note(f"{video.name}: {note}")
