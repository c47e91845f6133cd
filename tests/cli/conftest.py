"""Photos for the commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from unet_edge.images.decoding import decode


@pytest.fixture
def photo(sample_data: Path) -> Path:
    return sample_data / "images" / "cells-017.png"


@pytest.fixture
def photos(sample_data: Path, tmp_path: Path) -> Path:
    """Four photos of two sizes, one of them in another folder."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for index, place in enumerate(("a.png", "b.png", "c.jpg", "more/a.png")):
        picture = decode(sample_data / "images" / f"cells-{index:03}.png")
        picture.resize((300, 200) if index % 2 else (192, 192)).save(folder / place)
    return folder
