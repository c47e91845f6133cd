"""How masks are encoded, detected from their values."""

import pytest
from dataset_folders import BLACK_WHITE, find, make, save_mask, save_picture

from unet_edge.dataset.detect import likely_rule
from unet_edge.errors import DataError, ImageError


@pytest.mark.parametrize(
    ("values", "classes", "rule"),
    [
        ([0, 1], 2, "index"),
        ([0, 0], 2, "index"),
        ([0, 1, 255], 2, "index"),  # 255 between two classes
        ([0, 1, 2], 3, "index"),
        ([0, 255], 2, "binary>127"),  # the trap: not "all background, the rest ignored"
        ([0, 3, 252, 255], 2, "binary>127"),  # JPEG noise
        ([1, 254], 2, "binary>127"),
    ],
)
def test_the_encoding_is_detected(tmp_path, values, classes, rule):
    make(tmp_path, ["a", "b"], values=[values])
    dataset = find(tmp_path, classes=classes)
    assert str(dataset.rule) == rule
    assert "masks: " in dataset.notes[2]


def test_one_mask_with_255_beside_a_class_settles_the_trap_for_all(tmp_path):
    make(tmp_path, ["a", "b"], values=[[0, 255]])
    save_mask(tmp_path / "masks" / "b.png", [[0, 1, 255]])
    assert str(find(tmp_path).rule) == "index"


def test_a_mixture_of_black_and_white_masks_and_indices_is_refused(tmp_path):
    # Read as indices, the whole class of the first mask would be ignored.
    make(tmp_path, ["a", "b"], values=[[0, 255]])
    save_mask(tmp_path / "masks" / "b.png", [[0, 1]])
    with pytest.raises(DataError, match="1 of the masks are black and white and others"):
        find(tmp_path)
    assert str(find(tmp_path, masks="index").rule) == "index"


def test_one_smoothed_mask_does_not_turn_indices_into_black_and_white(tmp_path):
    # Together they look black and white with noise at the dark end; one by one they do not.
    make(tmp_path, ["a", "b"], values=[[0, 1] * 50])
    save_picture(tmp_path / "images" / "a.png", (100, 1))
    save_picture(tmp_path / "images" / "b.png", (100, 1))
    save_mask(tmp_path / "masks" / "b.png", [[0] * 50 + [254] * 5 + [255] * 44 + [128]])
    with pytest.raises(DataError, match="1 of the masks are black and white and others"):
        find(tmp_path)


def test_the_rule_of_most_masks_is_called_by_its_field_name(tmp_path):
    make(tmp_path, ["a", "b", "c"], values=[[0, 1]])
    save_mask(tmp_path / "masks" / "c.png", [[0, 7]])
    splits = find(tmp_path, masks="index").splits
    samples = [*splits["train"], *splits["validation"]]
    rule, note = likely_rule(tmp_path, samples, ("a", "b"), None)
    assert (str(rule), note) == ("index", "masks: class indices, as most masks are")


def test_detected_black_and_white_says_which_is_the_target_and_how_to_turn_it(tmp_path):
    make(tmp_path, ["a", "b"], values=BLACK_WHITE)
    note = find(tmp_path).notes[2]
    assert "white is class 1" in note
    assert "--masks 'binary<=127'" in note


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        ([0, 128, 255], 2),
        ([0, 255], 3),
        ([0, 1, 7], 3),
        # A forgotten class name must not turn index masks into "black and white".
        ([0, 1, 2], 2),
        ([0, 1, 2, 255], 2),
    ],
)
def test_an_encoding_that_is_neither_is_refused(tmp_path, values, classes):
    make(tmp_path, ["a", "b"], values=[values])
    with pytest.raises(DataError, match=r"expected indices of .*--masks 'binary>127'"):
        find(tmp_path, classes=classes)


def test_an_ignored_value_counts_as_an_index(tmp_path):
    make(tmp_path, ["a", "b"], values=[[0, 1, 9]])
    dataset = find(tmp_path, ignore=9)
    assert (str(dataset.rule), dataset.rule.ignore) == ("index", 9)


def test_a_rule_given_by_hand_is_not_second_guessed(tmp_path):
    make(tmp_path, ["a", "b"], values=[[0, 1]])
    dataset = find(tmp_path, masks="binary<=0")
    assert str(dataset.rule) == "binary<=0"
    assert dataset.notes[2] == "masks: binary<=0, as given"


def test_an_unreadable_mask_is_an_error_while_detecting(tmp_path):
    make(tmp_path, ["a", "b"])
    (tmp_path / "masks" / "a.png").write_bytes(b"")
    with pytest.raises(ImageError, match=r"a\.png is empty"):
        find(tmp_path)
