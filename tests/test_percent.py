"""An agreement is written in one way everywhere."""

import ast

import numpy as np
import pytest
from paths import ROOT

from unet_edge.bundle.bundle_file import FLOORS
from unet_edge.percent import percent


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (1, "100"),
        (1.0, "100"),
        (np.float64(1), "100"),
        (0.999999, "99.999"),
        (1 - 1e-15, "99.999"),
        (0.99999, "99.999"),
        (0.9999899, "99.998"),
        (0.995, "99.500"),
        (0.29, "29.000"),  # 0.29 * 100 is 28.999999999999996
        (0, "0.000"),
        (float("nan"), "–"),
    ],
)
def test_a_share_is_rounded_down_and_only_1_is_100(share, text):
    assert percent(share) == text


def test_floors_are_written_in_full():
    for floor in FLOORS.values():
        assert float(percent(floor)) / 100 == pytest.approx(floor, abs=1e-12)


def test_every_module_writes_agreements_with_percent():
    shares = {"agreement", "floor", "worst", "min_agreement", "golden"}
    found = []
    for path in [*ROOT.glob("unet_edge/**/*.py"), *ROOT.glob("converters/**/*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.FormattedValue) and node.format_spec):
                continue
            name = ast.unparse(node.value).replace("['", ".").replace("']", "").split(".")[-1]
            if name in shares and "%" in ast.unparse(node.format_spec):
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert not found, "use unet_edge.percent"
