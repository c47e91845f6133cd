"""Real data sets, if there are any, are read as their authors intended."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from unet_edge.dataset import check_dataset, find_dataset
from unet_edge.dataset.check import check

DATA = os.environ.get("UNET_EDGE_DATA")
pytestmark = pytest.mark.skipif(not DATA, reason="UNET_EDGE_DATA names no folder of real data")


def test_membranes(tmp_path: Path) -> None:
    held_out = tmp_path / "val.txt"
    held_out.write_text("\n".join(map(str, range(24, 30))))
    root = Path(DATA or "", "data", "isbi2012_membranes")
    classes = ("cell", "membrane")
    dataset = find_dataset(root, classes=classes, masks="binary<=127", validation_list=held_out)
    assert [sample.name for sample in dataset.validation] == [str(n) for n in range(24, 30)]
    assert len(dataset.train) == 24
    check_dataset(dataset)
    shares = [dataset.read(sample)[1].mean() for sample in dataset.train]
    # Membranes are thin: a fifth of the picture. Cells would be four fifths.
    assert 0.15 < np.mean(shares) < 0.3


def test_cats() -> None:
    root = Path(DATA or "", "data", "feral_cat")
    dataset = find_dataset(root, classes=("background", "cat"))
    assert len(dataset.train) + len(dataset.validation) == 195
    assert len(dataset.test) == 101
    official = find_dataset(root, classes=("background", "cat"), validation_list=root / "test.txt")
    assert [len(split) for split in official.splits.values()] == [195, 101]
    assert str(dataset.rule) == "index"
    check_dataset(dataset)


def test_the_check_finds_nothing_in_the_membranes() -> None:
    # Neighbouring slices of one stack look alike and are no duplicates.
    root = Path(DATA or "", "data", "isbi2012_membranes")
    assert check(root, classes=("cell", "membrane"), masks="binary<=127").findings == ()


def test_the_check_finds_the_cats_that_are_there_twice() -> None:
    # Checked by eye: the same photographs, one of them slightly cropped and in both splits.
    report = check(Path(DATA or "", "data", "feral_cat"), classes=("background", "cat"))
    found = [(f.kind, f.file.name.split("_")[0], f.found.split("_")[0]) for f in report.findings]
    assert found == [
        ("duplicate-in-split", "group0111", "is the same picture as images/train/group0016"),
        ("duplicate-in-split", "group0116", "is the same picture as images/train/group0024"),
        ("near-duplicate", "group0939", "looks like images/train/group0470"),
    ]
