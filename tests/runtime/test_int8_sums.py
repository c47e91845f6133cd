"""ONNX Runtime's int8 sums: where they saturate, a session option prevents it."""

from __future__ import annotations

import numpy as np
import pytest
from int8_onnx import SIZE, expected_logits, int8_onnx

from unet_edge.errors import BackendError
from unet_edge.runtime.backends import int8_sums
from unet_edge.runtime.backends.int8_sums import CAREFUL, careful_options, sums_saturate
from unet_edge.runtime.backends.ort import OnnxRuntimeBackend

pytest.importorskip("onnxruntime", reason="these tests need ONNX Runtime")

LARGE = np.full((4, 16, 1, 1), 127, np.int8)
SMALL = np.full((4, 16, 1, 1), 64, np.int8)


def pretend(monkeypatch: pytest.MonkeyPatch, *, plain: bool, careful: bool) -> None:
    """Simulate a processor: whether sums saturate without the option, and with it."""
    answers = {False: plain, True: careful}
    monkeypatch.setattr(int8_sums, "sums_saturate", lambda careful=False: answers[careful])


def test_the_option_makes_sums_right_on_this_processor() -> None:
    assert not sums_saturate(careful=True)


def test_the_option_is_set_where_sums_saturate_and_the_file_can_saturate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = int8_onnx(LARGE)
    pretend(monkeypatch, plain=False, careful=False)
    assert careful_options(model) == {}
    assert not OnnxRuntimeBackend(model, 1).name.endswith("32-bit sums")
    pretend(monkeypatch, plain=True, careful=False)
    assert careful_options(model) == dict([CAREFUL])
    assert OnnxRuntimeBackend(model, 1).name.endswith(", 32-bit sums")


def test_a_file_that_cannot_saturate_gets_no_option(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, plain=True, careful=True)
    assert careful_options(int8_onnx(SMALL)) == {}
    assert careful_options(b"a float file has no such operator") == {}


def test_a_file_is_refused_where_the_option_does_not_help(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, plain=True, careful=True)
    with pytest.raises(BackendError, match=r"wrongly on .*pip install --upgrade onnxruntime"):
        OnnxRuntimeBackend(int8_onnx(LARGE), 1)


def test_a_file_that_cannot_be_read_gets_the_option(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pretend(monkeypatch, plain=True, careful=False)
    assert careful_options(b"\xffQuantizeLinear") == dict([CAREFUL])


@pytest.mark.parametrize("kernel", [LARGE, SMALL], ids=["could", "cannot"])
def test_sums_are_exact_on_this_processor(kernel: np.ndarray) -> None:
    # On every kind of processor: those of CI differ from day to day.
    pixels = np.random.default_rng(0).integers(0, 32, (SIZE, SIZE, 16), np.uint8)
    pixels[0] = 0
    pixels[0, :, :2] = 255  # times 127: a pair is 64770, the logit 254, or 128.5 in 16 bits
    expected = expected_logits(kernel, pixels)
    assert (expected < 255).all()  # within the range of the file's output
    logits = OnnxRuntimeBackend(int8_onnx(kernel), 1).scores(pixels)
    np.testing.assert_array_equal(logits, expected)
