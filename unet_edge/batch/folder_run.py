"""A folder of masks: what is done is left out, the rest is segmented, several pictures at once."""

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
from unet_edge.images.picture_file import FORMATS
from unet_edge.runtime.segmenter import Segmenter
from unet_edge.system.progress import progress

Check = Callable[[], None]
"""To be called now and then; raises when the work should end."""

Look = Callable[[Segmenter, Path, Check], Segmented]
"""Segments one photo. Raises UnetEdgeError for one that cannot be read."""

Result = dict[str, Any]
"""`picture`, and either `error` or `coverage`, `files` and `skipped`."""


# What a file system says of one name, such as one that FAT does not allow; a full disk, a lost
# folder and the like are no picture's error.
_OF_ONE_PICTURE = {
    errno.EEXIST,
    errno.EILSEQ,
    errno.EINVAL,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.EFBIG,
}


class _StoppedError(Exception):
    """Ends a thread's work on a photo; nobody asks for its result."""


@dataclass(frozen=True)
class _Job:
    picture: Path
    name: str
    files: Sequence[str]


class FolderRun:
    """One run over pictures, by one model with one choice of settings."""

    def __init__(
        self, log: ResumeLog, look: Look, kinds: Sequence[PhotoKind], by: Settings
    ) -> None:
        """`kinds` are written of each photo; `by` is what masks depend on beside the photo."""
        self._log = log
        self._look = look
        self._kinds = kinds
        self._by = by
        self._stop = threading.Event()

    def run(
        self,
        pictures: Sequence[Path],
        open_models: Callable[[int], Sequence[Segmenter]],
        *,
        classes: int,
        again: bool,
    ) -> list[Result]:
        """Write the files of all pictures, and say of each, in their order, what became of it.

        `open_models` is called with the number of pictures to do, if there are any. What
        is not of one picture (a full disk, Ctrl-C) is raised, once no thread is at work.
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
            and (entry := self._log.finished(job.name, job.picture, self._by, job.files))
        }
        left = [job for job in jobs if job.name not in results]
        if left:
            results |= self._all(left, open_models(len(left)))
        return [results[job.name] for job in jobs]

    def _all(self, jobs: Sequence[_Job], segmenters: Sequence[Segmenter]) -> dict[str, Result]:
        if len(jobs) == 1:
            return {jobs[0].name: self._one(jobs[0], nullcontext(segmenters[0]))}
        # Here: one photo needs no threads, and should not wait for what they need.
        from unet_edge.batch.worker_pool import PixelBudget, ResourcePool, in_threads, most_pixels

        models, open_at_once = ResourcePool(segmenters), PixelBudget(most_pixels())

        def one(job: _Job) -> Result:
            with open_at_once.taken(_pixels(job.picture)):
                return self._one(job, models.borrowed())

        # Closed before the log is: another run must not find this one still writing.
        with closing(in_threads(one, jobs, 2 * len(segmenters), self._stop)) as done:
            shown = progress(done, "segmenting", total=len(jobs))
            return {job.name: result for job, result in zip(jobs, shown, strict=True)}

    def _check(self) -> None:
        if self._stop.is_set():
            raise _StoppedError

    def _one(self, job: _Job, model: AbstractContextManager[Segmenter]) -> Result:
        try:
            photo = photo_facts(job.picture)  # before it is read: what changes later is not it
            with model as segmenter:
                result = self._look(segmenter, job.picture, self._check)
            with self._log.doing(job.name, job.picture, photo, self._by, job.files) as work:
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
            if error.errno not in _OF_ONE_PICTURE:
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
        with Image.open(picture, formats=FORMATS) as opened:  # the header alone
            return opened.width * opened.height
    except Exception:  # Pillow's many kinds; the photo is reported when it is read
        return 0
