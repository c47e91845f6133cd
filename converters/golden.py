"""Choose golden pictures: hard ones among the pictures that the files were proven on.

A device that rounds differently shows it where decisions are close. The choice alternates between
the picture on which a file agrees least with Keras, the picture with Keras' lowest mIoU, the
picture with most near ties, and a typical picture.
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

# The longest edge of a golden picture, px: enough to prove the geometry, small enough to copy.
_EDGE = 1024


def choose(
    pictures: Sequence[HeldOut], agreements: Mapping[str, Sequence[float]], count: int
) -> list[tuple[int, Choice]]:
    """Choose up to `count` pictures: their indices with the reason for each.

    `agreements` has each picture's share of pixels (0..1) equal to Keras' mask, by file. The
    reasons take turns; each takes the first picture of its ranking that is not chosen yet. Equal
    pictures keep their order, so the same figures give the same choice.
    """
    by_file = _by_agreement(agreements)
    by_reason = _by_reason(pictures)
    chosen: dict[int, Choice] = {}
    turn = 0
    while len(chosen) < min(count, len(pictures)):
        # The files take turns too, the one that differs most first.
        rankings = [by_file[turn % len(by_file)], *by_reason] if by_file else by_reason
        for ranking in rankings:
            free = [(index, choice) for index, choice in ranking if index not in chosen]
            if free and len(chosen) < count:
                index, choice = free[0]
                chosen[index] = choice
        turn += 1
    return list(chosen.items())


_Ranking = list[tuple[int, Choice]]
"""Indices of pictures with the reason to choose them, the best candidate first."""


def _by_agreement(agreements: Mapping[str, Sequence[float]]) -> list[_Ranking]:
    """A ranking for each file that differs from Keras anywhere."""
    rankings = []
    for name, shares in sorted(agreements.items(), key=lambda item: min(item[1])):
        lowest = sorted((share, index) for index, share in enumerate(shares) if share < 1)
        if lowest:
            rankings.append([(index, Choice("agreement", share, name)) for share, index in lowest])
    return rankings


def _by_reason(pictures: Sequence[HeldOut]) -> list[_Ranking]:
    """Rankings by mIoU, by near ties, and by distance to the median mIoU.

    The last ranking has every picture.
    """
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
    """Choose golden pictures, and make their files and manifest entries.

    Pictures become PNG, which every machine decodes alike, of at most 1024 px along the longer
    edge. Returns the bytes of each picture and of Keras' mask of it, and the entries. Raises
    ImageError.
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
