"""Pictures that look alike, in groups: burst photos, video frames, other exposures of a scene."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from unet_edge.dataset.duplicates import Fingerprint, fingerprint, near_pairs
from unet_edge.dataset.sample import Progress, Sample
from unet_edge.errors import ConfigError, ImageError
from unet_edge.images.bit_depth import WIDE
from unet_edge.images.decoding import decoded_by_any_range
from unet_edge.images.exif_orientation import upright
from unet_edge.images.picture_file import opened

# The JPEG decoder reduces larger photos to no less than this many px: the thumbnails that are
# compared have 17 columns.
_ENOUGH = 512

Groups = list[list[int]]
"""Indices of samples; each group in ascending order, the groups by their first member."""


def alike(samples: Sequence[Sample], progress: Progress = lambda samples, _: samples) -> Groups:
    """Group pictures that look alike; a picture that cannot be read is a group of its own.

    Groups are chains: two pictures may differ when others between them do not.
    """
    printed = [
        (index, found)
        for index, sample in enumerate(progress(samples, "comparing pictures"))
        if (found := _fingerprint(sample.image)) is not None
    ]
    prints = [found for _, found in printed]
    links = ((printed[i][0], printed[j][0]) for i, j in near_pairs(prints, prints))
    return _joined(len(samples), links)


def by_name(samples: Sequence[Sample], pattern: str) -> list[tuple[int, int]]:
    """Links between samples whose names agree in what the regular expression finds.

    That is its first group, or all that it matches. Raises ConfigError for a malformed pattern.
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise ConfigError(
            f"{pattern!r} is no regular expression: {error}",
            fix="write e.g. '^[^_]+' for what stands before the first underscore",
        ) from None
    first: dict[str, int] = {}
    links = []
    for index, sample in enumerate(samples):
        if match := expression.search(sample.name):
            key = match[1] if match.groups() else match[0]
            links.append((first.setdefault(key or "", index), index))
    return links


def joined(groups: Groups, links: Sequence[tuple[int, int]]) -> Groups:
    """The groups with further links between their members."""
    chains = [pair for group in groups for pair in itertools.pairwise(group)]
    return _joined(sum(map(len, groups)), [*chains, *links])


def _joined(count: int, links: Iterable[tuple[int, int]]) -> Groups:
    parents = list(range(count))

    def root(index: int) -> int:
        while parents[index] != index:
            parents[index] = index = parents[parents[index]]
        return index

    for first, second in links:
        low, high = sorted((root(first), root(second)))
        parents[high] = low
    groups: dict[int, list[int]] = {}
    for index in range(count):
        groups.setdefault(root(index), []).append(index)
    return list(groups.values())


def _fingerprint(path: Path) -> Fingerprint | None:
    """What a picture looks like; None where it cannot be read or shows nothing."""
    try:
        with opened(path, before_loading=_reduce) as picture:
            # Not Pillow's own conversion, which cuts wide greys at 255.
            rgb = None if picture.mode in WIDE else upright(picture).convert("RGB")
        found = fingerprint(decoded_by_any_range(path) if rgb is None else rgb)
    except ImageError:
        return None
    return found if np.any(found.thumbnail) else None


def _reduce(picture: Image.Image) -> None:
    picture.draft("RGB", (_ENOUGH, _ENOUGH))
