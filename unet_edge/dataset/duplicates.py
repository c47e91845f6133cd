"""Duplicate pictures: equal pixels, or nearly the same picture saved again, resized or relit."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unet_edge.dataset.findings import Finding
from unet_edge.dataset.sample import Sample

# Different bits of 256. Measured on photographs and microscopy: a picture saved as JPEG of quality
# 40, at half size, 25 % brighter or with 5 % salt and pepper differs in at most 26 bits (typically
# 2 to 7). Neighbouring slices of an electron microscopy stack differ in 64 or more, unrelated
# photographs in 80 or more.
_NEAR_BITS = 24
# Two almost flat pictures share most bits by chance, but their thumbnails do not correlate.
_NEAR_CORRELATION = 0.95
_BLOCK = 2048  # pictures compared at a time, to bound memory


@dataclass(frozen=True)
class Fingerprint:
    """The features by which pictures are compared.

    `digest` is the SHA-256 of size and pixels. `thumbnail` is the grey picture at 17 x 16 px,
    float32 (272,), of mean 0 and length 1. `bits` is a difference hash, bool (256,): whether the
    brightness rises between neighbours in a row of the thumbnail.
    """

    digest: bytes
    bits: NDArray[np.bool_]
    thumbnail: NDArray[np.float32]


def fingerprint(picture: Image.Image) -> Fingerprint:
    """Fingerprint an RGB picture."""
    digest = hashlib.sha256(repr(picture.size).encode() + picture.tobytes()).digest()
    small = picture.convert("L").resize((17, 16), Image.Resampling.BOX)
    grey = np.asarray(small, np.float32)
    bits = grey[:, 1:] > grey[:, :-1]
    flat = grey.ravel() - grey.mean()
    length = float(np.linalg.norm(flat))
    return Fingerprint(digest, bits.ravel(), flat / length if length else flat)


Fingerprinted = Sequence[tuple[Sample, Fingerprint]]

# How a run uses a picture, by its split's name.
_USES = {"train": "trained on", "validation": "validated on", "test": "a test picture"}


def duplicates(splits: Mapping[str, Fingerprinted], root: Path) -> list[Finding]:
    """Report equal pictures in one split and across two, and near duplicates across two.

    `splits` are named train, validation and test. Findings name the second picture by its path
    below `root`, as `data check` shows the first.
    """
    findings: list[Finding] = []
    names = list(splits)
    first_of: dict[bytes, tuple[str, Sample]] = {}
    for name in names:
        for sample, features in splits[name]:
            split, first = first_of.setdefault(features.digest, (name, sample))
            if first is sample:
                continue
            shown = path_below(first.image, root)
            findings.append(
                _in_split(sample, shown) if split == name else _across(sample, shown, split)
            )
    for place, name in enumerate(names):
        for later in names[place + 1 :]:
            findings += _near_across(splits[name], splits[later], name, root)
    return findings


def path_below(file: Path, root: Path) -> Path:
    """`file` relative to `root`, if it is below."""
    return file.relative_to(root) if file != root and file.is_relative_to(root) else file


def _near_across(
    first: Fingerprinted, second: Fingerprinted, name: str, root: Path
) -> list[Finding]:
    prints = [[features for _, features in split] for split in (first, second)]
    return [
        _near(second[j][0], path_below(first[i][0].image, root), name)
        for i, j in near_pairs(*prints)
        if prints[0][i].digest != prints[1][j].digest
    ]


def near_pairs(
    first: Sequence[Fingerprint], second: Sequence[Fingerprint]
) -> Iterator[tuple[int, int]]:
    """Yield the indices (i, j) of pictures that look nearly the same.

    Equal pictures are near too, unless they are flat. With one sequence for both arguments, each
    pair comes once, i before j.
    """
    # An iterator: a thousand photos of a fixed camera are half a million pairs.
    same = first is second
    for row in range(0, len(first), _BLOCK):
        for column in range(row if same else 0, len(second), _BLOCK):
            blocks = first[row : row + _BLOCK], second[column : column + _BLOCK]
            signs = [_stack([features.bits for features in block]) * 2 - 1 for block in blocks]
            thumbnails = [_stack([features.thumbnail for features in block]) for block in blocks]
            # The product of vectors of +1 and -1 is the number of equal bits minus different ones.
            near = 256 - signs[0] @ signs[1].T <= 2 * _NEAR_BITS
            near &= thumbnails[0] @ thumbnails[1].T >= _NEAR_CORRELATION
            if same and row == column:
                near = np.triu(near, 1)
            yield from ((row + int(i), column + int(j)) for i, j in np.argwhere(near))


def _stack(rows: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
    return np.stack(rows).astype(np.float32)


def _in_split(sample: Sample, first: Path) -> Finding:
    found = f"is the same picture as {first}"
    fix = "remove one, unless it should count twice"
    return Finding("warning", "duplicate-in-split", sample.image, found, fix)


def _across(sample: Sample, first: Path, split: str) -> Finding:
    found = f"is the same picture as {first}, which is {_USES[split]}"
    fix = "keep it in one split: figures measured on it mean nothing"
    return Finding("error", "duplicate-across-splits", sample.image, found, fix)


def _near(sample: Sample, first: Path, split: str) -> Finding:
    found = f"looks like {first}, which is {_USES[split]}"
    fix = (
        "look at both, and keep them in one split if they show the same thing, as 'unet-edge data "
        "split' does"
    )
    return Finding("warning", "near-duplicate", sample.image, found, fix)
