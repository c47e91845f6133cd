"""What is said of an interpreter that does not work, and what is offered."""

from __future__ import annotations

import tomllib

import pytest
from paths import ROOT

from unet_edge.runtime import interpreters
from unet_edge.runtime.availability import explain, fixes, nothing_works
from unet_edge.runtime.interpreters import INTERPRETERS, Attempt, System, interpreter, no_wheel

PI_4 = System((3, 11), "aarch64", "2.4.6")
TRIXIE = System((3, 13), "aarch64", "2.4.6")
PI_32 = System((3, 11), "armv7l", "1.24.2")

LITERT_ABSENT = Attempt("ai-edge-litert", None, "absent")
TFLITE_ABSENT = Attempt("tflite-runtime", None, "absent")
TFLITE_BROKEN = Attempt("tflite-runtime", "2.14.0", "broken", "an exception set")
ONNX_ABSENT = Attempt("onnxruntime", None, "absent")


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands as where unet-edge is installed, whether or not these tests run there."""
    monkeypatch.setattr(interpreters, "version_of", lambda _: "1.0")


def test_requirements_are_those_of_the_extras() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for known in INTERPRETERS:
        parts = [entry.partition(";") for entry in project["optional-dependencies"][known.extra]]
        assert tuple(part[0].strip() for part in parts) == (known.requirement, *known.also)
        # The marker that keeps pip from looking for a wheel that there is not.
        last = [part[2].strip() == "python_version == '3.11'" for part in parts]
        assert set(last) == {known.last_python is not None}


def test_nothing_is_installed() -> None:
    assert nothing_works("tflite", [LITERT_ABSENT, TFLITE_ABSENT], PI_4) == (
        "no TFLite interpreter works here: ai-edge-litert is not installed; tflite-runtime is not "
        "installed; fix with: pip install 'unet-edge[litert]'"
    )
    assert nothing_works("onnx", [ONNX_ABSENT], PI_4).endswith("pip install 'unet-edge[onnx]'")


def test_without_our_own_package_pip_installs_the_interpreter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(interpreters, "version_of", lambda _: None)
    said = nothing_works("tflite", [LITERT_ABSENT, TFLITE_ABSENT], PI_4)
    assert said.endswith("fix with: pip install 'ai-edge-litert>=1.2,!=2.0.*'")
    assert fixes("tflite", [LITERT_ABSENT, TFLITE_ABSENT], PI_32) == {
        "tflite-runtime": "pip install 'tflite-runtime>=2.14' 'numpy<2'"
    }


def test_numpy_2_under_tflite_runtime() -> None:
    assert nothing_works("tflite", [LITERT_ABSENT, TFLITE_BROKEN], PI_4) == (
        "no TFLite interpreter works here: ai-edge-litert is not installed; tflite-runtime 2.14.0 "
        "does not work with NumPy 2.4.6: it was built for NumPy 1; fix with: pip install "
        "'unet-edge[litert]', or keep tflite-runtime with: pip install 'numpy<2'"
    )
    # With NumPy 1 it is something else, and its own words are worth having.
    assert "(an exception set)" in explain(TFLITE_BROKEN, PI_32)


def test_python_3_13_has_no_tflite_runtime() -> None:
    assert nothing_works("tflite", [LITERT_ABSENT, TFLITE_ABSENT], TRIXIE) == (
        "no TFLite interpreter works here: ai-edge-litert is not installed; tflite-runtime is not "
        "installed, and has no wheel for Python 3.13 (3.11 is its last); "
        "fix with: pip install 'unet-edge[litert]'"
    )
    assert fixes("tflite", [TFLITE_ABSENT], TRIXIE) == {}


def test_32_bit_systems() -> None:
    both = [LITERT_ABSENT, TFLITE_ABSENT]
    assert fixes("tflite", both, PI_32) == {"tflite-runtime": "pip install 'unet-edge[tflite]'"}
    said = nothing_works("tflite", both, System((3, 13), "armv7l", "1.24.2"))
    assert "ai-edge-litert is not installed, and has no wheel for armv7l" in said
    assert said.endswith("fix with: the 64-bit Raspberry Pi OS, for which there are wheels")
    assert "64-bit processor" in nothing_works("tflite", both, System((3, 11), "armv6l", "1.24"))
    assert "for armv7l" in nothing_works("onnx", [ONNX_ABSENT], PI_32)


def test_one_interpreter_is_enough() -> None:
    works = Attempt("ai-edge-litert", "2.3.0", "works")
    assert fixes("tflite", [works, TFLITE_ABSENT], PI_4) == {}
    # But what is there and broken is worth fixing.
    assert fixes("tflite", [works, TFLITE_BROKEN], PI_4) == {
        "tflite-runtime": "pip install 'numpy<2'"
    }


def test_the_onnxruntime_that_dies_on_a_pi_4_is_one_that_pip_then_leaves_out() -> None:
    dead = Attempt("onnxruntime", "1.21.0", "died", "died with signal SIGILL: …")
    assert fixes("onnx", [dead], PI_4) == {
        "onnxruntime": "pip install --upgrade 'onnxruntime>=1.18,!=1.21.0'"
    }
    # No other build helps where memory ran out.
    assert fixes("onnx", [Attempt("onnxruntime", "1", "died", "signal SIGKILL")], PI_4) == {}


def test_where_the_index_was_not_asked_there_is_no_verdict() -> None:
    assert no_wheel(interpreter("onnxruntime"), System((3, 12), "arm64", None, False)) is None
