"""Unlabelled photos in the order in which to label them: the least sure first, without repeats."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from unet_edge.dataset.duplicates import Fingerprint, fingerprint, near_pairs
from unet_edge.errors import ImageError
from unet_edge.evaluation.uncertainty import Aggregate, Measure, uncertainty
from unet_edge.runtime.grid_labels import GridLabels
from unet_edge.runtime.segmenter import Segmenter
from unet_edge.system.look_ahead import results_in_order

# Of three, it cost the least mIoU where labels are few: docs/decisions/048-ranking.md.
DEFAULT_MEASURE: Measure = "flips"

# Photos that are decoded while the model runs. Each may need 48 MB (12 megapixels).
_THREADS = 2


@dataclass(frozen=True)
class RankedPhoto:
    """A photo's place in a ranking.

    `score` is its uncertainty, 0..1, and `shares` each class's share of it, 0..1. `looks_like` is
    the photo with a higher score that it nearly repeats, or None.
    """

    path: Path
    score: float
    shares: tuple[float, ...]
    looks_like: Path | None = None


@dataclass(frozen=True)
class Ranking:
    """Photos in the order in which to label them, and those that could not be read.

    Photos that look like a better one come after all others. `unreadable` pairs each photo with
    its error.
    """

    photos: tuple[RankedPhoto, ...]
    unreadable: tuple[tuple[Path, ImageError], ...]
    measure: Measure
    aggregate: Aggregate


@dataclass(frozen=True, eq=False)
class _Scored:
    photo: RankedPhoto
    features: Fingerprint


Watched = Callable[[Iterable[Any]], Iterable[Any]]
"""Wraps what is iterated over, as a progress bar does."""


def rank(
    segmenter: Segmenter,
    pictures: Sequence[Path],
    measure: Measure = DEFAULT_MEASURE,
    aggregate: Aggregate = "mean",
    watched: Watched = lambda items: items,
) -> Ranking:
    """Order pictures by how unsure the model is of them; pictures with one score by their place.

    A picture that cannot be read is left out and reported. Raises BackendError when the
    interpreter fails or the file has no scores for the measure.
    """
    scored: list[_Scored] = []
    unreadable: list[tuple[Path, ImageError]] = []
    score = partial(_score, segmenter, measure, aggregate)
    with contextlib.closing(_in_threads(score, pictures)) as results:
        for path, result in zip(pictures, watched(results), strict=True):
            if isinstance(result, ImageError):
                unreadable.append((path, result))
            else:
                scored.append(result)
    scored.sort(key=lambda one: -one.photo.score)  # stable
    photos = [one.photo for one in scored]
    leaders = first_alike([one.features for one in scored])
    repeats = [
        RankedPhoto(photo.path, photo.score, photo.shares, photos[leader].path)
        for photo, leader in zip(photos, leaders, strict=True)
        if leader is not None
    ]
    firsts = [photo for photo, leader in zip(photos, leaders, strict=True) if leader is None]
    return Ranking((*firsts, *repeats), tuple(unreadable), measure, aggregate)


def first_alike(features: Sequence[Fingerprint]) -> list[int | None]:
    """For each picture the index of the earlier one it nearly repeats; None where it repeats none.

    A picture counts as a repeat only of one that is not a repeat itself. So two pictures at the
    ends of a slow pan, which look different, both stay.
    """
    leaders: list[int | None] = [None] * len(features)
    # Pairs (i, j) come in blocks, and within them by i: all pairs (k, i) with k < i come before, so
    # that it is known here whether i is a repeat.
    for earlier, later in near_pairs(features, features) if len(features) > 1 else ():
        if leaders[earlier] is None and leaders[later] is None:
            leaders[later] = earlier
    by_digest: dict[bytes, int] = {}
    for index, one in enumerate(features):  # flat pictures look like none, and may yet be equal
        first = by_digest.setdefault(one.digest, index)
        if first != index and leaders[index] is None:
            leaders[index] = first
    return leaders


def _score(
    segmenter: Segmenter, measure: Measure, aggregate: Aggregate, path: Path
) -> _Scored | ImageError:
    try:
        found = uncertainty(segmenter, path, measure)
    except ImageError as error:
        return error
    shares = GridLabels(found.size, found.labels, segmenter.spec).shares()
    photo = RankedPhoto(path, found.score(aggregate), shares)
    # Of the grid, which is decoded already: fingerprints compare 17 x 16 px.
    return _Scored(photo, fingerprint(Image.fromarray(found.pixels)))


def _in_threads(
    score: Callable[[Path], _Scored | ImageError], pictures: Sequence[Path]
) -> Generator[_Scored | ImageError, None, None]:
    with ThreadPoolExecutor(_THREADS) as pool:

        def submit(path: Path) -> Future[_Scored | ImageError]:
            return pool.submit(score, path)

        yield from results_in_order(submit, pictures, ahead=_THREADS)
