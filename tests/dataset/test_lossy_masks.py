"""Masks saved by a lossy codec: values near what was drawn, which for indices are other classes."""

import numpy as np
import pytest
from dataset_folders import find, save_picture
from PIL import Image

from unet_edge.dataset import check_dataset
from unet_edge.dataset.check import check
from unet_edge.errors import DataError
from unet_edge.images.picture_file import read_header

SIZE = (64, 64)
LOSSY = {
    "JPEG": ("jpg", {"format": "JPEG", "quality": 75}),
    "lossy WebP": ("webp", {"format": "WEBP", "quality": 60}),
    "lossy WebP with metadata": ("webp", {"format": "WEBP", "quality": 60, "xmp": b"<x/>"}),
    "TIFF of JPEG": ("tif", {"format": "TIFF", "compression": "jpeg"}),
}
LOSSLESS = {
    "PNG": ("png", {"format": "PNG"}),
    "lossless WebP": ("webp", {"format": "WEBP", "lossless": True}),
    "lossless WebP with metadata": ("webp", {"format": "WEBP", "lossless": True, "xmp": b"<x/>"}),
    "deflated TIFF": ("tif", {"format": "TIFF", "compression": "tiff_adobe_deflate"}),
}


def drawn(scale):
    mask = np.zeros(SIZE, np.uint8)
    mask[10:40, 20:50] = scale
    mask[45:60, 5:25] = 2 * scale if scale == 1 else scale
    return mask


def write(root, codec, scale):
    suffix, options = codec
    (root / "masks").mkdir(parents=True)
    for seed in range(4):
        save_picture(root / "images" / f"p{seed}.png", SIZE)
        mask = Image.fromarray(drawn(scale))
        if suffix == "webp":
            mask = mask.convert("RGB")  # WebP has no grey
        mask.save(root / "masks" / f"p{seed}.{suffix}", **options)
    return root


@pytest.mark.parametrize("codec", LOSSY)
def test_lossy_index_masks_are_an_error(tmp_path, codec):
    root = write(tmp_path / "set", LOSSY[codec], 1)
    report = check(root, classes=("a", "b", "c"), masks="index")
    lossy = [f for f in report.findings if f.kind == "blurred-mask"]
    assert [f.severity for f in lossy] == ["error"] * 4
    assert "as PNG" in lossy[0].fix
    with pytest.raises(DataError, match=r"lossy codec|PNG without smoothing"):
        check_dataset(find(root, classes=3, masks="index"))


@pytest.mark.parametrize("codec", ["JPEG", "TIFF of JPEG"])
def test_lossy_black_and_white_masks_are_a_warning(tmp_path, codec):
    report = check(write(tmp_path / "set", LOSSY[codec], 255), classes=("a", "b"))
    lossy = [f for f in report.findings if f.kind == "blurred-mask"]
    assert [f.severity for f in lossy] == ["warning"] * 4


@pytest.mark.parametrize("codec", LOSSLESS)
def test_lossless_masks_are_sound(tmp_path, codec):
    root = write(tmp_path / "set", LOSSLESS[codec], 1)
    assert not read_header(next((root / "masks").iterdir())).lossy
    kinds = {f.kind for f in check(root, classes=("a", "b", "c")).findings}
    assert "blurred-mask" not in kinds


def test_values_of_no_class_in_lossy_masks_are_blamed_on_the_codec(tmp_path):
    root = write(tmp_path / "set", ("jpg", {"format": "JPEG", "quality": 30}), 1)
    noise = np.random.default_rng(0).integers(0, 9, SIZE, dtype=np.uint8)
    Image.fromarray(noise).save(root / "masks" / "p0.jpg", quality=30)
    with pytest.raises(DataError, match=r"p0\.jpg is saved as JPEG by a lossy codec"):
        find(root, classes=3)
    findings = check(root, classes=("a", "b", "c")).findings
    assert any("lossy codec" in finding.found for finding in findings)


def test_lossy_webp_makes_black_and_white_coloured(tmp_path):
    # Its chroma is rounded: (1, 1, 2) is no grey, and no class's colour either.
    root = write(tmp_path / "set", LOSSY["lossy WebP"], 255)
    with pytest.raises(DataError, match="is saved as WEBP by a lossy codec, which changes colours"):
        find(root)
    lossy = [
        f for f in check(root, classes=("a", "b"), masks="binary>127").findings
        if f.kind == "blurred-mask"
    ]  # fmt: skip
    assert [f.severity for f in lossy] == ["error"] * 4
