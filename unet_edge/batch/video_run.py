"""A run over videos: finished ones are skipped, killed ones go on after their last part."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Protocol

from unet_edge.batch.resume_log import ResumeLog, Work
from unet_edge.batch.resume_log_entries import Entry, PhotoFacts, Settings, video_facts
from unet_edge.batch.video_joining import VideoJoiner
from unet_edge.batch.video_outputs import palette_folder, video_file_name
from unet_edge.batch.video_parts import PartsFolder, delete_finished
from unet_edge.batch.video_segmenting import SourceClock, VideoOptions, segment_into_parts
from unet_edge.errors import OutputError, UnetEdgeError
from unet_edge.images.listing import absolute_path
from unet_edge.runtime.segmenter import Segmenter
from unet_edge.streams.av_input import require_av
from unet_edge.streams.video_file import VideoFile

_FORMAT = 1
"""The version of parts; others are not joined."""

Result = dict[str, Any]
"""`video`, and either `error`, or `frames`, `seconds`, `coverage`, `files`, `skipped`, `resumed`,
`fps` and `notes`."""


class Progress(Protocol):
    """Shows how far a video is."""

    def __call__(
        self, name: str, done: int, total: int | None
    ) -> AbstractContextManager[Callable[[], None]]:
        """Begin a video of which `done` frames of about `total` are done.

        Gives a function to call after each frame.
        """
        ...


class VideoRun:
    """A run over videos with one model and one choice of options."""

    def __init__(
        self,
        log: ResumeLog,
        output: Path,
        model: Segmenter,
        options: VideoOptions,
        progress: Progress,
    ) -> None:
        """`output` is the folder of `log`. Masks are those of `model`."""
        self._log, self._output, self._model = log, output, model
        self._options, self._progress = options, progress
        self._settings = _settings(model, options)

    def run(
        self,
        videos: Sequence[Path],
        open_models: Callable[[int], Sequence[Segmenter]],
        *,
        again: bool,
    ) -> list[Result]:
        """Write the files of all videos, one after another; return the result of each.

        `open_models` is called with a number of frames, when the first of them is segmented. With
        `again`, finished videos are segmented again, from the beginning. Errors that do not
        concern one video, such as a full disk, are raised; the parts that were finished remain.
        """
        opened: list[Segmenter] = []

        def models() -> Sequence[Segmenter]:
            if not opened:
                opened.extend(open_models(2**16))  # as many as are useful, for any number of frames
            return opened

        names = self._log.names(videos, self._files)
        return [
            self._one(video, name, models, again=again)
            for video, name in zip(videos, names, strict=True)
        ]

    def _files(self, name: str) -> list[str]:
        return [video_file_name(kind, name) for kind in self._options.kinds]

    def _one(
        self, video: Path, name: str, models: Callable[[], Sequence[Segmenter]], *, again: bool
    ) -> Result:
        files = self._files(name)
        if not again and (entry := self._log.finished(name, video, self._settings, files)):
            delete_finished(self._place(name), self._identity(video, entry["photo"]))
            return _result(video, entry, files, skipped=True)
        try:
            facts = video_facts(video)
            return self._segment(video, name, files, facts, models, again=again)
        except UnetEdgeError as error:
            return {"video": str(video), "error": str(error)}
        except MemoryError:
            return {"video": str(video), "error": f"{video} needs more memory than is free"}

    def _segment(
        self,
        video: Path,
        name: str,
        files: Sequence[str],
        facts: PhotoFacts,
        models: Callable[[], Sequence[Segmenter]],
        *,
        again: bool,
    ) -> Result:
        self._require_own(name, files)
        clock = SourceClock.read(video)
        identity, place = self._identity(video, facts), self._place(name)
        parts = PartsFolder(place, identity)
        if again and parts.frames:
            parts.delete()
            parts = PartsFolder(place, identity)
        resumed, notes, started = parts.frames, [], time.monotonic()
        if not parts.is_complete:
            opened = models()
            total = self._expected(video)
            with self._progress(video.name, resumed, total) as advance:
                notes = segment_into_parts(video, self._options, clock, parts, opened, advance)
        seconds = time.monotonic() - started
        joiner = VideoJoiner(video, name, parts, self._options, clock, self._model.spec.classes)
        with self._log.doing(name, video, facts, self._settings, files) as work:
            for kind in self._options.kinds:
                joiner.write(kind, work)
            self._describe(work, parts, joiner)
        new = parts.frames - resumed
        parts.delete()
        result = _result(video, work.entry, files, skipped=False)
        if resumed:
            result["resumed"] = resumed
        if new and seconds:
            result["fps"] = new / seconds
        return {**result, "notes": [*notes, *joiner.notes]}

    def _identity(self, video: Path, facts: PhotoFacts) -> dict[str, Any]:
        """What the parts of a video depend on."""
        return {
            "format": _FORMAT,
            "encoders": require_av().__version__,  # packets of others may not follow each other
            "video": absolute_path(video),
            "facts": {**facts, "mtime_ns": None},  # copied or not, its content counts
            "settings": self._settings,
            "kinds": sorted(self._options.kinds),
        }

    def _place(self, name: str) -> Path:
        return self._output / f".{name}.video"

    def _describe(self, work: Work, parts: PartsFolder, joiner: VideoJoiner) -> None:
        first, last = parts.parts[0].positions[0], parts.parts[-1].positions[-1]
        span = joiner.seconds(last) - joiner.seconds(first)
        work.entry["size"] = list(parts.parts[0].size)
        work.entry["coverage"] = joiner.mean_shares()
        work.entry["frames"] = parts.frames
        # The last frame is shown as long as the others on average.
        work.entry["seconds"] = round(span * parts.frames / max(1, parts.frames - 1), 3)

    def _expected(self, video: Path) -> int | None:
        """The number of frames, as far as the file's header says it."""
        options = self._options
        source = VideoFile(video, start=options.start, stop=options.stop, every=options.every)
        return source.info.frames

    def _require_own(self, name: str, files: Sequence[str]) -> None:
        """Raise OutputError before the first frame, if a file may not be overwritten."""
        new = self._log.require_own(name, files)
        folder = self._output / palette_folder(name)
        if video_file_name("palette", name) in new and folder.exists():
            raise OutputError(
                f"{folder} exists and was not written by segment",
                fix="move it away, or choose another --output",
            )


def _settings(model: Segmenter, options: VideoOptions) -> Settings:
    """What a video's files depend on beside the video, for the resume log."""
    values = asdict(replace(options, kinds=()))
    values.pop("kinds")
    return {"model": model.digest, "edges": "nearest", "video": values}


def _result(video: Path, entry: Entry, files: Sequence[str], *, skipped: bool) -> Result:
    return {
        "video": str(video),
        "frames": entry["frames"],
        "seconds": entry["seconds"],
        "coverage": entry["coverage"],
        "files": list(files),
        "skipped": skipped,
    }
