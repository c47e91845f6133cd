"""Provoke the faults that the doctor knows on emulated machines, and try its fixes.

Each fault comes from packages that users install. The doctor and the error of `segment` must name
the same fault and fix. The fix is then typed, and the file must run.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.pi.emulator import Cpu, Machine
from benchmarks.pi.environments import Environment, install, machine
from unet_edge.model_files.embedded_contract import load_model_bytes, parse_contract, seal
from unet_edge.runtime.interpreter_probe import TINY

_PHOTO = Path(__file__).parents[2] / "docs" / "pictures" / "overview.png"


@dataclass(frozen=True)
class Patient:
    """A machine with unet-edge but without an interpreter, to provoke faults on."""

    here: Machine
    cpu: Cpu

    def pip(self, command: str) -> None:
        """Type a pip command, with network."""
        self.here.do(command, self.cpu, network=True)

    def doctor(self, file: str, cpu: Cpu | None = None) -> dict[str, Any]:
        """The doctor's report on a file; checks that the exit status agrees with it."""
        done = self.here.run(f"unet-edge doctor {file} --json", cpu or self.cpu)
        report: dict[str, Any] = json.loads(done.stdout)
        assert done.returncode == (0 if report["ready"] else 1), done.stderr
        return report

    def check_fault(self, file: str, pattern: str, package: str) -> None:
        """Check that doctor and `segment` give the same reason, and that the fix works.

        `pattern` matches the reason, and `package` is in the pip command of the fix.
        """
        report = self.doctor(file)
        reason = report["files"][0]["reason"]
        assert not report["ready"], report
        assert re.search(pattern, reason), reason
        # An interpreter may kill `segment`; a process that it left behind then runs the doctor. The
        # pipe keeps the shell until that process has written its report.
        done = self.here.run(
            f"unet-edge segment {file} photo.png -o masks 2>&1 | cat >&2; exit ${{PIPESTATUS[0]}}",
            self.cpu,
        )
        error = done.stderr.strip()
        if done.returncode == 1:
            assert error == f"error: {reason}", error
        else:  # the interpreter killed the process
            assert done.returncode == 132, (done.returncode, error)
            assert "'unet-edge doctor' reports" in error, error
            assert reason in error, error
        assert "Traceback" not in error
        (command,) = re.findall(r"pip install .*?(?=, or |$)", reason)[:1]
        assert package in command, command
        self.pip(command)
        report = self.doctor(file)
        assert report["files"][0]["runs_by"], report
        self.here.do(f"unet-edge segment {file} photo.png -o masks", self.cpu)


def provoke(environment: Environment, wheel: Path) -> Iterator[tuple[str, Callable[[], None]]]:
    """The steps for an environment, each with its name; they must run in this order."""
    if environment.name == "bookworm-litert" or not environment.fully_checked:
        return  # bookworm-tflite has LiteRT's faults; the others are there for their sizes
    here = machine(environment, f"{environment.name}-faults")
    patient = Patient(here, environment.cpu)

    def prepare() -> None:
        extra = "tflite" if environment.suite == "trixie" else ""
        install(here, environment, wheel, extra)
        for file in TINY.iterdir():
            shutil.copy(file, here.home)
        shutil.copy(_PHOTO, here.home / "photo.png")
        (here.home / "new.tflite").write_bytes(newer_operator())

    yield "install for the doctor", prepare
    match environment.name:
        case "bookworm-tflite":
            yield "no interpreter at all", lambda: _none(patient)
            yield "tflite-runtime with NumPy 2", lambda: _numpy_2(patient)
            yield "an operator newer than tflite-runtime", lambda: _newer(patient)
        case "bookworm-apt":
            yield "NumPy 2 over Debian's NumPy", lambda: _numpy_2(patient)
        case "bookworm-onnx":
            yield "an instruction that the Pi 4 does not support", lambda: _illegal(patient)
        case "trixie":
            yield "tflite-runtime on Python 3.13", lambda: _python_3_13(patient)
        case "bookworm-armhf":
            yield "ONNX on 32 bits", lambda: _onnx_on_32_bits(patient)


def newer_operator() -> bytes:
    """The doctor's float32 model with version 8 of CONV_2D.

    tflite-runtime 2.14 supports up to version 7, every ai-edge-litert version 8: see
    `unet_edge/model_files/runtime_support.py`.
    """
    from ai_edge_litert import schema_py_generated as schema

    data = load_model_bytes(TINY / "float32.tflite")
    model = schema.ModelT.InitFromPackedBuf(data, 0)
    code = schema.BuiltinOperator.CONV_2D
    for operator in model.operatorCodes:
        if max(operator.builtinCode, operator.deprecatedBuiltinCode) == code:
            operator.version = 8
    import flatbuffers

    builder = flatbuffers.Builder(len(data))
    builder.Finish(model.Pack(builder), b"TFL3")
    return seal(bytes(builder.Output()), parse_contract(data, "float32.tflite"))


def _none(patient: Patient) -> None:
    report = patient.doctor("int8.tflite")
    assert {interpreter["state"] for interpreter in report["interpreters"]} == {"absent"}
    done = patient.here.run("unet-edge segment int8.tflite photo.png -o masks", patient.cpu)
    assert done.stderr.strip() == f"error: {report['files'][0]['reason']}", done.stderr
    assert report["fixes"]["ai-edge-litert"].startswith("pip install "), report["fixes"]


def _numpy_2(patient: Patient) -> None:
    patient.pip("pip install --quiet tflite-runtime==2.14.0 'numpy>=2'")
    pattern = r"tflite-runtime 2\.14\.0 does not work with NumPy 2\."
    # The reason may offer another interpreter first, so the fix is read from `fixes`.
    report = patient.doctor("int8.tflite")
    assert re.search(pattern, report["files"][0]["reason"]), report
    done = patient.here.run("unet-edge segment int8.tflite photo.png -o masks", patient.cpu)
    assert done.stderr.strip() == f"error: {report['files'][0]['reason']}", done.stderr
    assert report["fixes"]["tflite-runtime"] == "pip install 'numpy<2'"
    patient.pip(report["fixes"]["tflite-runtime"])
    report = patient.doctor("int8.tflite")
    assert report["files"][0]["runs_by"] == "tflite-runtime 2.14.0", report


def _newer(patient: Patient) -> None:
    pattern = r"needs CONV_2D version 8 \(tflite-runtime 2\.14 has up to 7\); run: pip"
    patient.check_fault("new.tflite", pattern, "ai-edge-litert>=")


def _illegal(patient: Patient) -> None:
    patient.pip("pip install --quiet onnxruntime==1.21.0")
    # The same installation works on a Pi 5, which supports the instruction.
    assert patient.doctor("float32.onnx", "cortex-a76")["files"][0]["runs_by"]
    pattern = (
        r"onnxruntime 1\.21\.0 died with signal SIGILL: it uses an instruction that Cortex-A72 does"
    )
    patient.check_fault("float32.onnx", pattern, "--upgrade 'onnxruntime>=1.18,!=1.21.0'")


def _python_3_13(patient: Patient) -> None:
    refused = patient.here.run("pip install tflite-runtime", patient.cpu, network=True)
    assert "No matching distribution" in refused.stderr, refused.stderr
    pattern = r"tflite-runtime is not installed, and has no wheel for Python 3\.13"
    patient.check_fault("int8.tflite", pattern, "unet-edge[litert]")


def _onnx_on_32_bits(patient: Patient) -> None:
    report = patient.doctor("float32.onnx")
    reason = report["files"][0]["reason"]
    assert reason.endswith("use the 64-bit Raspberry Pi OS, for which there are wheels")
    pattern = "ai-edge-litert is not installed, and has no wheel for armv7l"
    patient.check_fault("int8.tflite", pattern, "unet-edge[tflite]")
