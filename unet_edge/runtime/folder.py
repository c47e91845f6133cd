"""A folder of masks: what is done is left out, the rest is segmented, several pictures at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unet_edge.errors import ImageError, UnetEdgeError
from unet_edge.files import write_atomically
from unet_edge.imaging import read_header
from unet_edge.progress import progress
from unet_edge.runtime.journal import Entry, Journal
from unet_edge.runtime.outputs import PhotoKind, Segmented, contents, file_names
from unet_edge.runtime.segmenter import Segmenter

Look = Callable[[Segmenter, Path], Segmented]
"""Segments one photo. Raises UnetEdgeError for one that cannot be read."""

Result = dict[str, Any]
"""`picture`, and either `error` or `coverage`, `files` and `skipped`."""


@dataclass(frozen=True)
class _Job:
    picture: Path
    name: str
    files: Sequence[str]


class FolderRun:
    """One run over pictures, by one model with one choice of settings."""

    def __init__(
        self, folder: Path, journal: Journal, look: Look, kinds: Sequence[PhotoKind], by: Any
    ) -> None:
        """`kinds` are written of each photo; `by` is what masks depend on beside the photo."""
        self._folder = folder
        self._journal = journal
        self._look = look
        self._kinds = kinds
        self._by = by

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
        is not of one picture (a full disk, Ctrl-C) is raised, once nothing is half done.
        """
        names = self._journal.names(pictures)
        jobs = [
            _Job(
                picture,
                name,
                [file for kind in self._kinds for file in file_names(kind, name, classes)],
            )
            for picture, name in zip(pictures, names, strict=True)
        ]
        results = {
            job.name: _result(job, entry, skipped=True)
            for job in jobs
            if not again
            and (entry := self._journal.finished(job.name, job.picture, self._by, job.files))
        }
        left = [job for job in jobs if job.name not in results]
        if left:
            done = self._all(left, open_models(len(left)))
            shown = progress(done, "segmenting", total=len(left))
            results |= {job.name: result for job, result in zip(left, shown, strict=True)}
        return [results[job.name] for job in jobs]

    def _all(self, jobs: Sequence[_Job], segmenters: Sequence[Segmenter]) -> Iterable[Result]:
        if len(jobs) == 1:
            return [self._one(jobs[0], nullcontext(segmenters[0]))]
        # Here: one photo needs no threads, and should not wait for what they need.
        from unet_edge.runtime.crew import Allowance, Shared, in_threads, most_pixels

        models, open_at_once = Shared(segmenters), Allowance(most_pixels())

        def one(job: _Job) -> Result:
            with open_at_once.taken(_pixels(job.picture)):
                return self._one(job, models.borrowed())

        return in_threads(one, jobs, 2 * len(segmenters))

    def _one(self, job: _Job, model: AbstractContextManager[Segmenter]) -> Result:
        try:
            with model as segmenter:
                result = self._look(segmenter, job.picture)
            with self._journal.doing(job.name, job.picture, self._by, job.files) as entry:
                writers = contents(self._kinds, result)
                for file_name, write in zip(job.files, writers, strict=True):
                    write_atomically(self._folder / file_name, write)
                height, width = result.mask.labels.shape
                entry["size"] = [width, height]
                entry["coverage"] = result.mask.coverage()
        except UnetEdgeError as error:
            return {"picture": str(job.picture), "error": str(error)}
        return _result(job, entry, skipped=False)


def _result(job: _Job, entry: Entry, *, skipped: bool) -> Result:
    return {
        "picture": str(job.picture),
        "coverage": entry["coverage"],
        "files": job.files,
        "skipped": skipped,
    }


def _pixels(picture: Path) -> int:
    try:
        width, height = read_header(picture).size
    except ImageError:
        return 0  # it will be reported when it is read
    return width * height
