"""The problem of an interpreter that does not work, and the command that fixes it."""

from __future__ import annotations

import tomllib

import pytest
from paths import ROOT

from unet_edge.runtime import interpreters
from unet_edge.runtime.interpreter_problems import NoInterpreterError, fix_commands, problem
from unet_edge.runtime.interpreters import (
    INTERPRETERS,
    Attempt,
    System,
    interpreter_named,
    missing_wheel,
)

PI_4 = System((3, 11), "aarch64", "2.4.6")
TRIXIE = System((3, 13), "aarch64", "2.4.6")
PI_32 = System((3, 11), "armv7l", "1.24.2")

LITERT_ABSENT = Attempt("ai-edge-litert", None, "absent")
TFLITE_ABSENT = Attempt("tflite-runtime", None, "absent")
TFLITE_BROKEN = Attempt("tflite-runtime", "2.14.0", "broken", "an exception set")
ONNX_ABSENT = Attempt("onnxruntime", None, "absent")


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the commands of a machine where unet-edge is installed."""
    monkeypatch.setattr(interpreters, "version_of", lambda _: "1.0")


def test_requirements_equal_those_of_the_extras() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for interpreter in INTERPRETERS:
        extra = project["optional-dependencies"][interpreter.extra]
        parts = [entry.partition(";") for entry in extra]
        requirements = tuple(part[0].strip() for part in parts)
        assert requirements == (interpreter.requirement, *interpreter.also)
        # With this marker, pip does not look for a wheel that does not exist.
        marked = {part[2].strip() == "python_version == '3.11'" for part in parts}
        assert marked == {interpreter.last_python is not None}


def test_nothing_is_installed() -> None:
    error = NoInterpreterError("tflite", [LITERT_ABSENT, TFLITE_ABSENT], PI_4)
    assert error.found == (
        "no TFLite interpreter works here: ai-edge-litert is not installed; tflite-runtime is not "
        "installed"
    )
    assert error.fix == "run: pip install 'unet-edge[litert]'"
    assert error.attempts == (LITERT_ABSENT, TFLITE_ABSENT)
    assert NoInterpreterError("onnx", [ONNX_ABSENT], PI_4).fix == (
        "run: pip install 'unet-edge[onnx]'"
    )


def test_without_unet_edge_installed_pip_installs_the_interpreter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(interpreters, "version_of", lambda _: None)
    error = NoInterpreterError("tflite", [LITERT_ABSENT, TFLITE_ABSENT], PI_4)
    assert error.fix == "run: pip install 'ai-edge-litert>=1.2,!=2.0.*'"
    assert fix_commands("tflite", [LITERT_ABSENT, TFLITE_ABSENT], PI_32) == {
        "tflite-runtime": "pip install 'tflite-runtime>=2.14' 'numpy<2'"
    }


def test_numpy_2_under_tflite_runtime() -> None:
    assert str(NoInterpreterError("tflite", [LITERT_ABSENT, TFLITE_BROKEN], PI_4)) == (
        "no TFLite interpreter works here: ai-edge-litert is not installed; tflite-runtime 2.14.0 "
        "does not work with NumPy 2.4.6: it was built for NumPy 1; run: pip install "
        "'unet-edge[litert]', or keep tflite-runtime with: pip install 'numpy<2'"
    )
    # With NumPy 1 the reason is another one, and the interpreter's own message is shown.
    assert "(an exception set)" in problem(TFLITE_BROKEN, PI_32)


def test_python_3_13_has_no_tflite_runtime() -> None:
    assert str(NoInterpreterError("tflite", [LITERT_ABSENT, TFLITE_ABSENT], TRIXIE)) == (
        "no TFLite interpreter works here: ai-edge-litert is not installed; tflite-runtime is not "
        "installed, and has no wheel for Python 3.13 (3.11 is its last); "
        "run: pip install 'unet-edge[litert]'"
    )
    assert fix_commands("tflite", [TFLITE_ABSENT], TRIXIE) == {}


def test_32_bit_systems() -> None:
    both = [LITERT_ABSENT, TFLITE_ABSENT]
    assert fix_commands("tflite", both, PI_32) == {
        "tflite-runtime": "pip install 'unet-edge[tflite]'"
    }
    error = NoInterpreterError("tflite", both, System((3, 13), "armv7l", "1.24.2"))
    assert "ai-edge-litert is not installed, and has no wheel for armv7l" in error.found
    assert error.fix == "use the 64-bit Raspberry Pi OS, for which there are wheels"
    error = NoInterpreterError("tflite", both, System((3, 11), "armv6l", "1.24"))
    assert error.fix == "use a Raspberry Pi with a 64-bit processor (Zero 2, 3 and later)"
    assert "for armv7l" in NoInterpreterError("onnx", [ONNX_ABSENT], PI_32).found


def test_one_interpreter_is_enough() -> None:
    works = Attempt("ai-edge-litert", "2.3.0", "works")
    assert fix_commands("tflite", [works, TFLITE_ABSENT], PI_4) == {}
    # An installed interpreter that is broken is worth fixing.
    assert fix_commands("tflite", [works, TFLITE_BROKEN], PI_4) == {
        "tflite-runtime": "pip install 'numpy<2'"
    }


def test_the_fix_of_the_onnxruntime_that_dies_on_a_pi_4_excludes_its_version() -> None:
    dead = Attempt("onnxruntime", "1.21.0", "died", "died with signal SIGILL: …", "SIGILL")
    assert fix_commands("onnx", [dead], PI_4) == {
        "onnxruntime": "pip install --upgrade 'onnxruntime>=1.18,!=1.21.0'"
    }


def test_another_version_does_not_help_where_memory_runs_out() -> None:
    killed = Attempt("onnxruntime", "1.32.0", "died", "died with signal SIGKILL", "SIGKILL")
    assert fix_commands("onnx", [killed], PI_4) == {}


def test_the_json_of_an_attempt_has_the_signal_in_its_detail() -> None:
    killed = Attempt("onnxruntime", "1.32.0", "died", "died with signal SIGKILL", "SIGKILL")
    assert killed.to_dict() == {
        "package": "onnxruntime",
        "version": "1.32.0",
        "state": "died",
        "detail": "died with signal SIGKILL",
    }


def test_wheels_are_known_for_linux_only() -> None:
    macos = System((3, 12), "arm64", None, linux=False)
    assert missing_wheel(interpreter_named("onnxruntime"), macos) is None
