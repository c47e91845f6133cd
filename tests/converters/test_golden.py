"""The choice of golden pictures: hard ones, for the reasons that the manifest gives."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from converters.golden import choose
from converters.references import NEAR_TIE_LOGITS, HeldOut, near_ties
from unet_edge import Bundle, Segmenter
from unet_edge.bundle.manifest import Choice
from unet_edge.images.decoding import decode
from unet_edge.images.placement import Placement
from unet_edge.masks.metrics import Confusion
from unet_edge.spec import ModelSpec


def pictures(mious: list[float], ties: list[float]) -> list[HeldOut]:
    return [
        HeldOut(str(index), Path(), b"", b"", miou, share)
        for index, (miou, share) in enumerate(zip(mious, ties, strict=True))
    ]


# Each ranking starts with other pictures: 4 for int8, 1 for float16, 6 and 0 by mIoU, 2 and 5 by
# near ties. Picture 3 has the median mIoU.
MIOUS = [0.5, 0.9, 0.8, 0.7, 0.75, 0.6, 0.4]
TIES = [0.01, 0.02, 0.30, 0.00, 0.03, 0.20, 0.04]
AGREEMENTS = {
    "float16": [1, 0.98, 1, 1, 0.99, 1, 1],
    "float32": [1] * 7,
    "int8": [0.99, 0.96, 0.97, 0.98, 0.90, 0.95, 0.94],
}


def test_the_reasons_take_turns_and_take_their_hardest_picture() -> None:
    assert choose(pictures(MIOUS, TIES), AGREEMENTS, 6) == [
        (4, Choice("agreement", 0.90, "int8")),
        (6, Choice("miou", 0.4)),
        (2, Choice("near-ties", 0.30)),
        (3, Choice("typical", 0.7)),
        (1, Choice("agreement", 0.98, "float16")),
        (0, Choice("miou", 0.5)),
    ]


@pytest.mark.parametrize("count", range(1, 9))
def test_a_picture_is_chosen_once_and_a_smaller_choice_starts_a_larger_one(count: int) -> None:
    chosen = choose(pictures(MIOUS, TIES), AGREEMENTS, count)
    assert len({index for index, _ in chosen}) == len(chosen) == min(count, 7)
    assert chosen == choose(pictures(MIOUS, TIES), AGREEMENTS, 7)[:count]


def test_if_a_picture_is_hardest_for_two_reasons_the_second_takes_the_next_picture() -> None:
    chosen = choose(pictures([0.9, 0.2, 0.8], [0, 0.5, 0.1]), {"int8": [0.9, 0.5, 0.8]}, 3)
    assert chosen == [
        (1, Choice("agreement", 0.5, "int8")),
        (2, Choice("miou", 0.8)),
        (0, Choice("typical", 0.9)),
    ]


def test_equal_pictures_are_chosen_in_order_and_without_a_false_reason() -> None:
    same = pictures([1.0] * 4, [0.0] * 4)
    assert choose(same, {"float32": [1.0] * 4}, 3) == [
        (0, Choice("miou", 1.0)),
        (1, Choice("typical", 1.0)),
        (2, Choice("miou", 1.0)),
    ]


def test_pictures_without_true_labels_can_be_chosen() -> None:
    unlabelled = pictures([math.nan] * 3, [0.0, 0.1, 0.0])
    assert choose(unlabelled, {"int8": [1.0, 1.0, 0.9]}, 3) == [
        (2, Choice("agreement", 0.9, "int8")),
        (1, Choice("near-ties", 0.1)),
        (0, Choice("typical", None)),
    ]


def test_near_ties_do_not_count_padding() -> None:
    # A picture of 4x2 px fills rows 1 and 2 of a 4x4 grid. One of its pixels ties, and the padding.
    spec = ModelSpec(4, 4, ("a", "b", "c"))
    logits = np.zeros((4, 4, 3), np.float32)
    logits[1:3] = (5, 1, -9)
    logits[1, 0] = (5, 5 - 0.9 * NEAR_TIE_LOGITS, -9)
    logits[2, 1] = (-9, 5, 5 - 1.1 * NEAR_TIE_LOGITS)
    placement = Placement.plan((4, 2), spec)
    assert (placement.top, placement.placed_height) == (1, 2)
    assert near_ties(logits, placement) == 1 / 8


def test_the_reasons_in_a_bundle_are_true(
    fresh_bundle_path: Path, run_path: Path, sample_data: Path
) -> None:
    """Measures each figure again; the pictures are so small that golden ones are not reduced."""
    bundle = Bundle.open(fresh_bundle_path)
    names = (sample_data / "val.txt").read_text().split()
    photos = [sample_data / "images" / f"{name}.png" for name in names]
    truths = [np.asarray(decode(sample_data / "masks" / f"{n}.png"))[..., 0] for n in names]
    keras = Segmenter.open(run_path)
    masks = [keras.segment(photo).labels for photo in photos]
    mious = [Confusion.of(truth, mask, 2).miou for truth, mask in zip(truths, masks, strict=True)]
    shares = {
        entry.name: [
            float(
                (
                    Segmenter.open(fresh_bundle_path, file=entry.name).segment(photo).labels == mask
                ).mean()
            )
            for photo, mask in zip(photos, masks, strict=True)
        ]
        for entry in bundle.files
    }
    pixels = [np.asarray(decode(photo)) for photo in photos]

    def index_of(picture: bytes) -> int:
        (index,) = (
            i for i, p in enumerate(pixels) if np.array_equal(p, np.asarray(decode(picture)))
        )
        return index

    by_reason = {
        g.chosen.reason: (index_of(bundle.read_golden(g)[0]), g.chosen)
        for g in bundle.golden
        if g.chosen
    }
    assert list(by_reason) == ["agreement", "miou", "near-ties", "typical"]
    index, chosen = by_reason["agreement"]
    assert chosen.figure == min(min(each) for each in shares.values()) == shares[chosen.file][index]
    index, chosen = by_reason["miou"]
    others = set(range(5)) - {by_reason["agreement"][0]}
    assert chosen.figure == mious[index] == min(mious[i] for i in others)
    for entry in bundle.files:
        golden = [index_of(bundle.read_golden(g)[0]) for g in bundle.golden]
        # The pictures have equal sizes, so the mean of their shares is the share of all pixels.
        expected = np.mean([shares[entry.name][i] for i in golden])
        assert entry.golden_agreement == pytest.approx(expected, abs=1e-12)
