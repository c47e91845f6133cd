"""Golden pictures: chosen to be hard among those that the files were proven on.

A device that rounds otherwise shows it where decisions are close. So each picture in turn is the
one on which a file agrees least with Keras, the one that Keras itself gets most wrong, the one
with most near-ties, and a typical one, so that easy pictures stay proven too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from converters.references import HeldOut
from unet_edge.bundle.manifest import Choice, GoldenPicture
from unet_edge.images.decoding import decode
from unet_edge.masks.mask import png_bytes
from unet_edge.runtime.segmenter import Segmenter
from unet_edge.system.files import sha256

# A golden picture's longest edge, px: enough to prove the geometry, small enough to copy.
_EDGE = 1024


def choose(
    pictures: Sequence[HeldOut], agreements: Mapping[str, Sequence[float]], count: int
) -> list[tuple[int, Choice]]:
    """Choose `count` pictures, or all there are: their indices and why, hardest kinds first.

    `agreements` has, by file, the share of pixels (0..1) as in Keras' mask of each picture.
    Each reason takes the first of its ranking that is not chosen yet, in turns; equals stand in
    the pictures' order, so the same figures give the same choice.
    """
    files = _by_agreement(agreements)
    others = _by_reason(pictures)
    chosen: dict[int, Choice] = {}
    turn = 0
    while len(chosen) < min(count, len(pictures)):
        # The files take turns too, the one that differs most first.
        for ranking in [files[turn % len(files)], *others] if files else others:
            free = [(index, choice) for index, choice in ranking if index not in chosen]
            if free and len(chosen) < count:
                index, choice = free[0]
                chosen[index] = choice
        turn += 1
    return list(chosen.items())


_Ranking = list[tuple[int, Choice]]
"""Indices of pictures with what would be the reason, the best candidate first."""


def _by_agreement(agreements: Mapping[str, Sequence[float]]) -> list[_Ranking]:
    """A ranking for each file that differs from Keras somewhere."""
    files = []
    for name, shares in sorted(agreements.items(), key=lambda item: min(item[1])):
        lowest = sorted((share, index) for index, share in enumerate(shares) if share < 1)
        if lowest:
            files.append([(index, Choice("agreement", share, name)) for share, index in lowest])
    return files


def _by_reason(pictures: Sequence[HeldOut]) -> list[_Ranking]:
    """Rankings by mIoU, by near-ties, and by how typical; the last one has every picture."""
    scored = sorted((p.miou, index) for index, p in enumerate(pictures) if not math.isnan(p.miou))
    tied = sorted((-p.near_ties, index) for index, p in enumerate(pictures) if p.near_ties > 0)
    middle = float(np.median([miou for miou, _ in scored])) if scored else 0.0
    typical = sorted((abs(miou - middle), index) for miou, index in scored)
    unscored = [index for index, p in enumerate(pictures) if math.isnan(p.miou)]
    return [
        [(index, Choice("miou", miou)) for miou, index in scored],
        [(index, Choice("near-ties", -share)) for share, index in tied],
        [
            *((index, Choice("typical", pictures[index].miou)) for _, index in typical),
            *((index, Choice("typical", None)) for index in unscored),
        ],
    ]


def golden_pictures(
    keras_segmenter: Segmenter,
    pictures: Sequence[HeldOut],
    agreements: Mapping[str, Sequence[float]],
    count: int,
) -> tuple[list[tuple[bytes, bytes]], tuple[GoldenPicture, ...]]:
    """The chosen pictures as PNG, which every machine decodes alike, and Keras' masks of them.

    Pictures are reduced to 1024 px along the longer edge. Returns the files' bytes, picture and
    mask, and their entries in the manifest. Raises ImageError.
    """
    contents: list[tuple[bytes, bytes]] = []
    entries: list[GoldenPicture] = []
    for number, (index, choice) in enumerate(choose(pictures, agreements, count), 1):
        picture = decode(pictures[index].image, bit_depth=keras_segmenter.spec.bit_depth)
        picture.thumbnail((_EDGE, _EDGE))
        photo = png_bytes(picture)
        mask = png_bytes(keras_segmenter.segment(photo).picture("palette"))
        contents.append((photo, mask))
        entries.append(
            GoldenPicture(
                picture=f"golden/{number:02d}.png",
                mask=f"golden/{number:02d}.mask.png",
                picture_sha256=sha256(photo),
                mask_sha256=sha256(mask),
                chosen=choice,
            )
        )
    return contents, tuple(entries)
