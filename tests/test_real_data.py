"""The real data sets, where there are any: read as their owners meant them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from unet_edge.dataset import check_dataset, find_dataset

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
    dataset = find_dataset(Path(DATA or "", "data", "feral_cat"), classes=("background", "cat"))
    assert (len(dataset.train), len(dataset.validation)) == (195, 101)
    assert str(dataset.rule) == "index"
    check_dataset(dataset)
