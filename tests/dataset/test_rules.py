import numpy as np
import pytest

from unet_edge.dataset import MaskRule
from unet_edge.errors import ConfigError, DataError
from unet_edge.spec import IGNORE

VALUES = np.array([[0, 1, 127], [128, 200, 255]], np.uint8)


@pytest.mark.parametrize(
    ("text", "ignore", "expected"),
    [
        ("binary>127", None, [[0, 0, 0], [1, 1, 1]]),
        ("binary<=127", None, [[1, 1, 1], [0, 0, 0]]),
        ("binary <= 0", None, [[1, 0, 0], [0, 0, 0]]),
        ("binary>254", None, [[0, 0, 0], [0, 0, 1]]),
        ("binary>127", 128, [[0, 0, 0], [IGNORE, 1, 1]]),
        ("binary<=127", 255, [[1, 1, 1], [0, 0, IGNORE]]),
    ],
)
def test_binary_masks(text, ignore, expected):
    labels = MaskRule.parse(text, ignore).apply(VALUES, 2, "m.png")
    assert labels.dtype == np.uint8
    assert labels.tolist() == expected


@pytest.mark.parametrize(
    ("values", "ignore", "expected"),
    [
        ([0, 1, 2], None, [0, 1, 2]),
        ([0, 255, 2], None, [0, IGNORE, 2]),
        ([0, 7, 2], 7, [0, IGNORE, 2]),
        ([0, 1, 2], 0, [IGNORE, 1, 2]),
    ],
)
def test_index_masks(values, ignore, expected):
    labels = MaskRule.parse("index", ignore).apply(np.array([values], np.uint8), 3, "m.png")
    assert labels.tolist() == [expected]


def test_applying_a_rule_leaves_the_values_alone():
    values = VALUES.copy()
    MaskRule.parse("binary>127", 0).apply(values, 2, "m.png")
    MaskRule.parse("index").apply(values % 2, 2, "m.png")
    assert np.array_equal(values, VALUES)


def test_values_outside_the_classes_are_named_with_its_fix():
    values = np.arange(20, dtype=np.uint8)[None]
    with pytest.raises(DataError) as raised:
        MaskRule.parse("index").apply(values, 3, "m.png")
    message = str(raised.value)
    assert "m.png holds 3, 4, 5, 6, 7, 8, 9, 10, …, outside the 3 classes 0..2" in message
    assert all(flag in message for flag in ("--classes", "--ignore", "--masks"))


@pytest.mark.parametrize("text", ["index", "binary<=127", "binary>0", "binary>255"])
def test_a_rule_reads_its_own_text(text):
    assert str(MaskRule.parse(text)) == text


@pytest.mark.parametrize("text", ["", "indices", "binary", "binary<127", "binary>=1", "binary>256"])
def test_other_rules_are_refused_with_the_choices(text):
    with pytest.raises(ConfigError, match=r"write index, 'binary<=127'.*'binary>127'.*or polygons"):
        MaskRule.parse(text)
