"""The same picture twice: bit for bit, or saved again, resized or relit."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unet_edge.dataset.findings import Finding
from unet_edge.dataset.sample import Sample

# Of 256 bits. Measured on photographs and microscopy: the same picture as JPEG of quality 40, at
# half size, 25 % brighter or with 5 % salt and pepper differs in 26 at most (2 to 7 typically);
# neighbouring slices of one electron microscopy stack in 64 or more, unrelated photographs in 80
# or more.
_NEAR_BITS = 24
# Two flat pictures share most of their bits by chance, but not what little they show.
_NEAR_CORRELATION = 0.95
_BLOCK = 2048  # pictures compared at a time, to bound memory


@dataclass(frozen=True)
class Fingerprint:
    """What tells one picture from another.

    `digest` is the SHA-256 of size and pixels. `bits` is a difference hash, bool (256,): whether
    brightness rises from left to right on a thumbnail of 16 rows and 17 columns. `thumbnail` is
    that, float32 (272,), of mean 0 and length 1.
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


Printed = Sequence[tuple[Sample, Fingerprint]]

# What a picture of one split does to figures measured on another, by the first's name.
_USES = {"train": "trained on", "validation": "validated on", "test": "a test picture"}


def duplicates(splits: Mapping[str, Printed]) -> list[Finding]:
    """Equal pictures in one split and across two, and near ones across two.

    `splits` are named train, validation and test.
    """
    findings: list[Finding] = []
    names = list(splits)
    seen: dict[bytes, tuple[str, Sample]] = {}
    for name in names:
        for sample, found in splits[name]:
            split, first = seen.setdefault(found.digest, (name, sample))
            if first is sample:
                continue
            findings.append(
                _in_split(sample, first) if split == name else _across(sample, first, split)
            )
    for place, name in enumerate(names):
        for other in names[place + 1 :]:
            findings += _near_across(splits[name], splits[other], name)
    return findings


def _near_across(some: Printed, held: Printed, name: str) -> list[Finding]:
    prints = [[found for _, found in side] for side in (some, held)]
    return [
        _near(held[j][0], some[i][0], name)
        for i, j in near_pairs(*prints)
        if prints[0][i].digest != prints[1][j].digest
    ]


def near_pairs(
    some: Sequence[Fingerprint], held: Sequence[Fingerprint]
) -> Iterator[tuple[int, int]]:
    """Places (i, j) of pictures that nearly look the same; equal ones too, unless they are flat.

    With one sequence for both, each pair comes once, i before j. A thousand photos of a fixed
    camera are half a million pairs: they are given one after another.
    """
    same = some is held
    for start in range(0, len(some), _BLOCK):
        for other in range(start if same else 0, len(held), _BLOCK):
            blocks = some[start : start + _BLOCK], held[other : other + _BLOCK]
            signs = [_stack([found.bits for found in block]) * 2 - 1 for block in blocks]
            looks = [_stack([found.thumbnail for found in block]) for block in blocks]
            # Of vectors of +1 and -1: equal bits minus different ones.
            near = 256 - signs[0] @ signs[1].T <= 2 * _NEAR_BITS
            near &= looks[0] @ looks[1].T >= _NEAR_CORRELATION
            if same and start == other:
                near = np.triu(near, 1)
            yield from ((start + int(i), other + int(j)) for i, j in np.argwhere(near))


def _stack(rows: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
    return np.stack(rows).astype(np.float32)


def _in_split(sample: Sample, first: Sample) -> Finding:
    found = f"is the same picture as {first.name}"
    fix = "remove one, unless it is meant to count twice"
    return Finding("warning", "duplicate-in-split", sample.image, found, fix)


def _across(sample: Sample, first: Sample, split: str) -> Finding:
    found = f"is the same picture as {first.name}, which is {_USES[split]}"
    fix = "keep it in one split: what is measured on it tells nothing"
    return Finding("error", "duplicate-across-splits", sample.image, found, fix)


def _near(sample: Sample, first: Sample, split: str) -> Finding:
    found = f"looks like {first.name}, which is {_USES[split]}"
    fix = (
        "look at both, and keep them in one split if they show the same: 'unet-edge data split' "
        "does"
    )
    return Finding("warning", "near-duplicate", sample.image, found, fix)
