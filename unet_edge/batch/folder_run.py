"""A run over a folder: finished photos are skipped, the others are segmented in parallel."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from unet_edge.batch.outputs import PhotoKind, Segmented, contents, file_names
from unet_edge.batch.resume_log import ResumeLog
from unet_edge.batch.resume_log_entries import Entry, Settings, photo_facts
from unet_edge.errors import UnetEdgeError
from unet_edge.images.picture_file import FORMATS, file_and_page
from unet_edge.runtime.segmenter import Segmenter
from unet_edge.system.progress import progress

Check = Callable[[], None]
"""Called during the work on a photo; raises when the run stops."""

SegmentPhoto = Callable[[Segmenter, Path, Check], Segmented]
"""Segments one photo. Raises UnetEdgeError for one that cannot be read."""

Result = dict[str, Any]
"""`picture`, and either `error`, or `coverage`, `files` and `skipped`."""


# Errors that concern one file name, such as one that FAT does not allow. Others, such as a full
# disk, end the run.
_ERRORS_OF_ONE_PICTURE = {
    errno.EEXIST,
    errno.EILSEQ,
    errno.EINVAL,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.EFBIG,
}


class _StoppedError(Exception):
    """Ends the work of a thread on a photo when the run stops."""


@dataclass(frozen=True)
class _Job:
    picture: Path
    name: str
    files: Sequence[str]


class FolderRun:
    """A run over pictures with one model and one choice of settings."""

    def __init__(
        self,
        log: ResumeLog,
        segment_photo: SegmentPhoto,
        kinds: Sequence[PhotoKind],
        settings: Settings,
    ) -> None:
        """`kinds` are the outputs of each photo; masks depend on the photo and on `settings`."""
        self._log = log
        self._segment_photo = segment_photo
        self._kinds = kinds
        self._settings = settings
        self._stop = threading.Event()

    def run(
        self,
        pictures: Sequence[Path],
        open_models: Callable[[int], Sequence[Segmenter]],
        *,
        classes: int,
        again: bool,
    ) -> list[Result]:
        """Write the files of all pictures; return the result of each, in their order.

        `open_models` is called with the number of pictures to segment, unless it is 0. With
        `again`, finished pictures are segmented again. Errors that do not concern one picture (a
        full disk, Ctrl-C) are raised when all threads have ended.
        """

        def files_of(name: str) -> list[str]:
            return [file for kind in self._kinds for file in file_names(kind, name, classes)]

        names = self._log.names(pictures, files_of)
        jobs = [
            _Job(picture, name, files_of(name))
            for picture, name in zip(pictures, names, strict=True)
        ]
        results = {
            job.name: _result(job, entry, skipped=True)
            for job in jobs
            if not again
            and (entry := self._log.finished(job.name, job.picture, self._settings, job.files))
        }
        remaining = [job for job in jobs if job.name not in results]
        if remaining:
            results |= self._do_all(remaining, open_models(len(remaining)))
        return [results[job.name] for job in jobs]

    def _do_all(self, jobs: Sequence[_Job], segmenters: Sequence[Segmenter]) -> dict[str, Result]:
        if len(jobs) == 1:
            return {jobs[0].name: self._do(jobs[0], nullcontext(segmenters[0]))}
        # Here, not at the top: one photo needs no threads and starts faster without them.
        from unet_edge.batch.worker_pool import PixelBudget, ResourcePool, in_threads, most_pixels

        models, budget = ResourcePool(segmenters), PixelBudget(most_pixels())

        def do(job: _Job) -> Result:
            with budget.taken(_pixels(job.picture)):
                return self._do(job, models.borrowed())

        # Threads end before the log is closed: otherwise another run could start while they write.
        with closing(in_threads(do, jobs, 2 * len(segmenters), self._stop)) as results:
            shown = progress(results, "segmenting", total=len(jobs))
            return {job.name: result for job, result in zip(jobs, shown, strict=True)}

    def _check(self) -> None:
        if self._stop.is_set():
            raise _StoppedError

    def _do(self, job: _Job, model: AbstractContextManager[Segmenter]) -> Result:
        try:
            # Before the photo is read: if it changes meanwhile, it does not count as finished.
            photo = photo_facts(job.picture)
            with model as segmenter:
                result = self._segment_photo(segmenter, job.picture, self._check)
            with self._log.doing(job.name, job.picture, photo, self._settings, job.files) as work:
                writers = contents(self._kinds, result)
                for file_name, write in zip(job.files, writers, strict=True):
                    self._check()
                    work.write(file_name, write)
                height, width = result.mask.labels.shape
                work.entry["size"] = [width, height]
                work.entry["coverage"] = result.mask.coverage()
        except UnetEdgeError as error:
            return {"picture": str(job.picture), "error": str(error)}
        except OSError as error:
            if error.errno not in _ERRORS_OF_ONE_PICTURE:
                raise
            return {
                "picture": str(job.picture),
                "error": f"cannot write {error.filename}: {error.strerror}",
            }
        except MemoryError:
            return {
                "picture": str(job.picture),
                "error": f"{job.picture} needs more memory than is free",
            }
        return _result(job, work.entry, skipped=False)


def _result(job: _Job, entry: Entry, *, skipped: bool) -> Result:
    return {
        "picture": str(job.picture),
        "coverage": entry["coverage"],
        "files": job.files,
        "skipped": skipped,
    }


def _pixels(picture: Path) -> int:
    try:
        with Image.open(file_and_page(picture)[0], formats=FORMATS) as opened:  # only the header
            return opened.width * opened.height
    except Exception:  # Pillow raises many types; the error is reported when the photo is read
        return 0
