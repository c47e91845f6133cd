"""A folder of photos without masks, split for the calibration and the proof of files."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from red_discs import write_data, write_photos

from unet_edge.dataset.unlabelled import find_unlabelled, looks_unlabelled, sign_of_masks
from unet_edge.errors import DataError


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_photos(tmp_path / "photos")


def picture(path: Path, mode: str = "L") -> None:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.eye(20, dtype=np.uint8)).convert(mode).save(path)


class TestSplit:
    def test_half_calibrates_and_the_other_half_proves(self, photos: Path) -> None:
        found = find_unlabelled(photos)
        calibration = {sample.name for sample in found.train}
        proof = {sample.name for sample in found.validation}
        assert (len(calibration), len(proof)) == (5, 5)
        assert calibration | proof == {f"photo-{index:02d}.png" for index in range(10)}
        assert found.notes == (
            "pictures without masks: 5 to calibrate, 5 to prove on; no mIoU against true labels",
        )

    def test_the_same_photos_give_the_same_halves(self, photos: Path, tmp_path: Path) -> None:
        elsewhere = shutil.copytree(photos, tmp_path / "elsewhere")
        names = [[s.name for s in find_unlabelled(root).train] for root in (photos, elsewhere)]
        assert names[0] == names[1]

    def test_equal_files_count_once(self, photos: Path) -> None:
        shutil.copy(photos / "photo-03.png", photos / "photo-99.png")
        found = find_unlabelled(photos)
        names = {sample.name for split in found.splits.values() for sample in split}
        assert "photo-99.png" not in names
        assert len(names) == 10
        assert found.notes[-1] == "1 equal picture left out: photo-99.png"

    def test_photos_that_look_alike_stay_in_one_half(self, photos: Path) -> None:
        for index in range(10):
            again = Image.open(photos / f"photo-{index:02d}.png").point(lambda value: value * 1.2)
            again.save(photos / f"photo-{index:02d}-relit.png")
        found = find_unlabelled(photos)
        calibration = {sample.name[:8] for sample in found.train}
        assert calibration.isdisjoint(sample.name[:8] for sample in found.validation)

    def test_one_photo_is_too_few(self, tmp_path: Path) -> None:
        picture(tmp_path / "one" / "a.png")
        shutil.copy(tmp_path / "one" / "a.png", tmp_path / "one" / "b.png")
        with pytest.raises(DataError, match=r"1 different picture.*there must be two"):
            find_unlabelled(tmp_path / "one")


class TestSigns:
    def test_photos_alone_have_none(self, photos: Path) -> None:
        assert sign_of_masks(photos) is None
        assert looks_unlabelled(photos)

    @pytest.mark.parametrize(
        ("name", "mode", "sign"),
        [
            ("photo-03_mask.png", "L", "photo-03_mask.png may be a mask"),
            ("gt-03.png", "L", "gt-03.png may be a mask"),
            ("photo-03.bmp", "L", "of photo-03.bmp and photo-03.png, one may be a mask"),
            ("a.png", "P", "a.png is a palette picture, as masks are"),
            ("labels/a.png", "L", "the folder labels may hold masks"),
        ],
    )
    def test_a_picture_that_may_be_a_mask(
        self, photos: Path, name: str, mode: str, sign: str
    ) -> None:
        picture(photos / name, mode)
        assert sign_of_masks(photos) == sign
        assert not looks_unlabelled(photos)

    def test_an_annotation(self, photos: Path) -> None:
        (photos / "photo-03.json").write_text("{}")
        assert sign_of_masks(photos) == "photo-03.json may hold annotations"

    def test_a_data_set_is_labelled_even_if_photos_lie_beside_its_folders(
        self, tmp_path: Path
    ) -> None:
        data = write_data(tmp_path / "data", 2)
        assert not looks_unlabelled(data)  # no picture lies directly in it
        assert sign_of_masks(data / "images") == f"{data / 'masks'} beside it may hold its masks"
        assert sign_of_masks(data / "masks") == "its name is that of a folder of masks"
        picture(data / "cover.png")
        assert not looks_unlabelled(data)
