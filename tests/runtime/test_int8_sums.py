"""ONNX Runtime's int8 sums: where they saturate, files that could are opened with care."""

from __future__ import annotations

import numpy as np
import pytest
from int8_onnx import SIZE, expected_logits, int8_onnx

from unet_edge.errors import BackendError
from unet_edge.runtime.backends import int8_sums
from unet_edge.runtime.backends.int8_sums import CAREFUL, careful_options, sums_saturate
from unet_edge.runtime.backends.ort import OnnxRuntimeBackend

pytest.importorskip("onnxruntime", reason="no ONNX Runtime, whose sums these are")

LARGE = np.full((4, 16, 1, 1), 127, np.int8)
SMALL = np.full((4, 16, 1, 1), 64, np.int8)


def pretend(monkeypatch: pytest.MonkeyPatch, *, plain: bool, careful: bool) -> None:
    """A processor whose sums saturate as said, without the option and with it."""
    answers = {False: plain, True: careful}
    monkeypatch.setattr(int8_sums, "sums_saturate", lambda careful=False: answers[careful])


def test_the_option_makes_sums_right_on_this_processor() -> None:
    assert not sums_saturate(careful=True)


def test_a_file_that_could_saturate_is_opened_with_the_option_only_where_sums_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = int8_onnx(LARGE)
    pretend(monkeypatch, plain=False, careful=False)
    assert careful_options(model) == {}
    assert not OnnxRuntimeBackend(model, 1).name.endswith("32-bit sums")
    pretend(monkeypatch, plain=True, careful=False)
    assert careful_options(model) == dict([CAREFUL])
    assert OnnxRuntimeBackend(model, 1).name.endswith(", 32-bit sums")


def test_files_that_cannot_saturate_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, plain=True, careful=True)
    assert careful_options(int8_onnx(SMALL)) == {}
    assert careful_options(b"a float file has no such operator") == {}


def test_a_file_that_nothing_makes_right_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, plain=True, careful=True)
    with pytest.raises(BackendError, match=r"wrongly on .*pip install --upgrade onnxruntime"):
        OnnxRuntimeBackend(int8_onnx(LARGE), 1)


def test_what_cannot_be_read_counts_as_if_it_could_saturate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pretend(monkeypatch, plain=True, careful=False)
    assert careful_options(b"\xffQuantizeLinear") == dict([CAREFUL])


@pytest.mark.parametrize("kernel", [LARGE, SMALL], ids=["could", "cannot"])
def test_sums_are_exact_on_this_processor(kernel: np.ndarray) -> None:
    # Whatever it is: CI's differ from day to day.
    pixels = np.random.default_rng(0).integers(0, 32, (SIZE, SIZE, 16), np.uint8)
    pixels[0] = 0
    pixels[0, :, :2] = 255  # by 127: a pair of 64770, a logit of 254; in 16 bits 128.5
    expected = expected_logits(kernel, pixels)
    assert (expected < 255).all()  # nothing is cut by the file's own range
    logits = OnnxRuntimeBackend(int8_onnx(kernel), 1).scores(pixels)
    np.testing.assert_array_equal(logits, expected)
