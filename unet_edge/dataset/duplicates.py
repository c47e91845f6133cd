"""The same picture twice: bit for bit, or saved again, resized or relit."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
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


def duplicates(train: Printed, validation: Printed) -> list[Finding]:
    """Equal pictures in one split and across both, and near ones across both."""
    findings: list[Finding] = []
    trained: dict[bytes, Sample] = {}
    for sample, found in train:
        first = trained.setdefault(found.digest, sample)
        if first is not sample:
            findings.append(_in_split(sample, first))
    held_out: dict[bytes, Sample] = {}
    for sample, found in validation:
        if found.digest in trained:
            findings.append(_across(sample, trained[found.digest]))
        elif (first := held_out.setdefault(found.digest, sample)) is not sample:
            findings.append(_in_split(sample, first))
    return findings + [_near(sample, first) for first, sample in _near_pairs(train, validation)]


def _near_pairs(train: Printed, validation: Printed) -> list[tuple[Sample, Sample]]:
    """Pictures of both splits that nearly look the same, without the equal ones."""
    pairs = []
    for start in range(0, len(train), _BLOCK):
        for other in range(0, len(validation), _BLOCK):
            some, held = train[start : start + _BLOCK], validation[other : other + _BLOCK]
            signs = [_stack([p.bits for _, p in side]) * 2 - 1 for side in (some, held)]
            looks = [_stack([p.thumbnail for _, p in side]) for side in (some, held)]
            # Of vectors of +1 and -1: equal bits minus different ones.
            near = 256 - signs[0] @ signs[1].T <= 2 * _NEAR_BITS
            near &= looks[0] @ looks[1].T >= _NEAR_CORRELATION
            for i, j in np.argwhere(near):
                if some[i][1].digest != held[j][1].digest:
                    pairs.append((some[i][0], held[j][0]))
    return pairs


def _stack(rows: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
    return np.stack(rows).astype(np.float32)


def _in_split(sample: Sample, first: Sample) -> Finding:
    found = f"is the same picture as {first.name}"
    mend = "remove one, unless it is meant to count twice"
    return Finding("warning", "duplicate-in-split", sample.image, found, mend)


def _across(sample: Sample, first: Sample) -> Finding:
    found = f"is the same picture as {first.name}, which is trained on"
    mend = "keep it in one split: what is measured on it tells nothing"
    return Finding("error", "duplicate-across-splits", sample.image, found, mend)


def _near(sample: Sample, first: Sample) -> Finding:
    found = f"looks like {first.name}, which is trained on"
    mend = "look at both, and keep them in one split if they show the same"
    return Finding("warning", "near-duplicate", sample.image, found, mend)
