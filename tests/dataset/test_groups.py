"""Drawn splits keep pictures together that look alike: bursts, frames, other exposures."""

import numpy as np
import pytest
from dataset_folders import find, names, save_mask
from PIL import Image, ImageEnhance

from unet_edge.dataset.check import check
from unet_edge.dataset.drawn_split import draw_split
from unet_edge.dataset.groups import group_by_look, merge_groups, name_links
from unet_edge.dataset.sample import Sample
from unet_edge.dataset.settings import DataSettings
from unet_edge.dataset.split import hold_out
from unet_edge.errors import ConfigError, DataError

CLASSES = ("a", "b")


def scene(seed):
    """A picture of smooth random shapes, which no other seed's resembles."""
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((96, 80), Image.Resampling.BICUBIC)


def bursts(root, scenes, shots=3):
    """Each scene some times: relit, compressed and in another size."""
    for number in range(scenes):
        for shot in range(shots):
            picture = ImageEnhance.Brightness(scene(number)).enhance(1 + shot / 10)
            picture = picture.resize((96 + 8 * shot, 80))
            path = root / "images" / f"scene{number}_{shot}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture.save(path, quality=85)
            mask = np.zeros((80, 96 + 8 * shot), np.uint8)
            mask[10:30, 10:40] = 1
            save_mask(root / "masks" / f"scene{number}_{shot}.png", mask)
    return root


def across(root, **settings):
    """Pairs that look alike in two splits."""
    findings = check(root, classes=CLASSES, **settings).findings
    return sum(f.kind in ("near-duplicate", "duplicate-across-splits") for f in findings)


def test_the_default_split_keeps_bursts_together(tmp_path):
    root = bursts(tmp_path, 10)
    dataset = find(root)
    assert (len(dataset.train), len(dataset.validation)) == (24, 6)
    assert across(root, split_by="pictures") > 0
    assert across(root) == 0
    assert "from 10 groups of pictures that look alike" in dataset.notes[1]


def test_the_seed_draws_another_split(tmp_path):
    root = bursts(tmp_path, 10)
    assert find(root, seed=1) == find(root, seed=1)
    assert names(find(root, seed=1).validation) != names(find(root, seed=2).validation)


def test_frames_of_one_fixed_camera_are_split_in_their_order(tmp_path):
    root = bursts(tmp_path, 1, shots=10)
    dataset = find(root)
    assert names(dataset.validation) == ["scene0_8", "scene0_9"]
    assert "WARNING: all pictures look alike" in dataset.notes[1]


def test_a_picture_that_cannot_be_read_or_shows_nothing_is_a_group_of_its_own(tmp_path):
    paths = [tmp_path / f"{k}.png" for k in range(4)]
    paths[0].write_bytes(b"no picture")
    for path in paths[1:3]:
        Image.new("RGB", (20, 20), "navy").save(path)
    scene(0).save(paths[3])
    assert group_by_look([Sample(path.stem, path, path) for path in paths]) == [[0], [1], [2], [3]]


def test_names_may_link_pictures():
    samples = [Sample(n, None, None) for n in ("v1_a", "v2_a", "x", "v1_b", "v2_b")]
    links = name_links(samples, r"^v\d+")
    assert merge_groups([[k] for k in range(5)], links) == [[0, 3], [1, 4], [2]]
    links = name_links(samples, r"^v(1)")
    assert merge_groups([[0, 1], [2], [3], [4]], links) == [[0, 1, 3], [2], [4]]
    with pytest.raises(ConfigError, match="not a regular expression"):
        name_links(samples, "(")


@pytest.mark.parametrize("seed", range(20))
def test_whole_groups_are_drawn(seed):
    random = np.random.default_rng(seed)
    owner = random.integers(0, 12, 60)
    groups = [np.flatnonzero(owner == k).tolist() for k in range(12)]
    groups = [group for group in groups if group]
    rest, held = hold_out(groups, 0.25, seed)
    assert sorted([*rest, *held]) == list(range(60))
    assert not set(owner[rest]) & set(owner[held])
    assert 0 < len(held) <= 15
    assert len(held) > 15 - max(map(len, groups))


def test_large_groups_alone_leave_the_smallest_to_validate_on():
    assert hold_out([[0, 1, 2, 3], [4, 5, 6]], 0.2, 0) == ([0, 1, 2, 3], [4, 5, 6])


# --- data split ---------------------------------------------------------------------------------


def split(root, **options):
    defaults = {"classes": CLASSES, "shares": (0.2, 0.1), "group_by": None, "seed": 0}
    return draw_split(root, settings=DataSettings(), **defaults | options)


def test_three_splits_of_whole_groups(tmp_path):
    root = bursts(tmp_path, 10)
    drawn = split(root)
    assert {name: len(part) for name, part in drawn.parts.items()} == {
        "train": 21, "validation": 6, "test": 3,
    }  # fmt: skip
    assert drawn.groups == {"train": 7, "validation": 2, "test": 1}
    drawn.write(root, overwrite=False)
    dataset = find(root)
    assert [len(part) for part in dataset.splits.values()] == [21, 6, 3]
    assert across(root) == 0


def test_lists_are_replaced_only_with_overwrite(tmp_path):
    root = bursts(tmp_path, 10)
    split(root).write(root, overwrite=False)
    with pytest.raises(ConfigError, match=r"train\.txt already exists; pass --overwrite"):
        split(root).write(root, overwrite=False)
    split(root, shares=(0.3, 0)).write(root, overwrite=True)
    # The old test list would keep its pictures out of training.
    assert not (root / "test.txt").exists()


def test_splits_that_cannot_be(tmp_path):
    with pytest.raises(DataError, match=r"3 pictures in 1 group leave none for"):
        split(bursts(tmp_path, 1))
    with pytest.raises(ConfigError, match="leave nothing to train on"):
        split(tmp_path, shares=(0.5, 0.5))
    with pytest.raises(DataError, match="no such data folder"):
        split(tmp_path / "absent")


def test_a_name_that_no_list_can_hold(tmp_path):
    root = bursts(tmp_path, 4, shots=1)
    for folder, suffix in (("images", "jpg"), ("masks", "png")):
        (root / folder / f"scene0_0.{suffix}").rename(root / folder / f"sc\nene.{suffix}")
    with pytest.raises(DataError, match=r"a line break, or blanks .*; rename the picture"):
        split(root, shares=(0.3, 0.3)).write(root, overwrite=False)
