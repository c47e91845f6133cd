"""Groups of pictures that look alike: burst photos, video frames, exposures of one scene."""

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
from unet_edge.images.decoding import decode_any_range
from unet_edge.images.exif_orientation import upright
from unet_edge.images.picture_file import opened

# The JPEG decoder reduces larger photos, to no less than this many px. The thumbnails that are
# compared have 17 columns.
_LEAST_EDGE = 512

Groups = list[list[int]]
"""Indices of samples; each group in ascending order, the groups by their first member."""


def group_by_look(
    samples: Sequence[Sample], progress: Progress = lambda samples, _: samples
) -> Groups:
    """Group pictures that look alike; a picture that cannot be read is a group of its own.

    A group is a chain: its first and last picture may differ if each neighbouring pair is alike.
    """
    indices: list[int] = []
    prints: list[Fingerprint] = []
    for index, sample in enumerate(progress(samples, "comparing pictures")):
        if (found := _fingerprint(sample.image)) is not None:
            indices.append(index)
            prints.append(found)
    links = ((indices[i], indices[j]) for i, j in near_pairs(prints, prints))
    return _connected(len(samples), links)


def name_links(samples: Sequence[Sample], pattern: str) -> list[tuple[int, int]]:
    """Link samples whose names have the same match of a regular expression.

    What counts is its first group, or else the whole match. Raises ConfigError for a malformed
    pattern.
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise ConfigError(
            f"{pattern!r} is not a regular expression: {error}",
            fix="write e.g. '^[^_]+' for the part before the first underscore",
        ) from None
    first: dict[str, int] = {}
    links = []
    for index, sample in enumerate(samples):
        if match := expression.search(sample.name):
            key = match[1] if match.groups() else match[0]
            links.append((first.setdefault(key or "", index), index))
    return links


def merge_groups(groups: Groups, links: Sequence[tuple[int, int]]) -> Groups:
    """Merge the groups whose members are linked."""
    chains = [pair for group in groups for pair in itertools.pairwise(group)]
    return _connected(sum(map(len, groups)), [*chains, *links])


def _connected(count: int, links: Iterable[tuple[int, int]]) -> Groups:
    """The connected components of `count` samples, by union-find."""
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
    """The fingerprint of a picture; None if it cannot be read or has only one brightness."""
    try:
        with opened(path, before_loading=_reduce) as picture:
            # Pillow's own conversion clips wide greys at 255.
            rgb = None if picture.mode in WIDE else upright(picture).convert("RGB")
        found = fingerprint(decode_any_range(path) if rgb is None else rgb)
    except ImageError:
        return None
    return found if np.any(found.thumbnail) else None


def _reduce(picture: Image.Image) -> None:
    picture.draft("RGB", (_LEAST_EDGE, _LEAST_EDGE))
