"""A test of an interpreter: it runs models in a child process, with a time limit.

A successful import proves nothing. Some interpreters fail when they are built, some die because
they use an instruction this processor does not support, some hang. So a child process opens each
model with our own backend and segments a picture. A crash costs one answer.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unet_edge.system.board import read_board
from unet_edge.system.child_process import ChildResult, answer_pipe, run_child

if TYPE_CHECKING:
    from unet_edge.runtime.interpreters import Attempt, Interpreter
    from unet_edge.runtime.packages import Package

TIMEOUT = 30.0
"""Seconds for each model. Ours take a Raspberry Pi a second; the rest is for a cold SD card."""

TINY = Path(__file__).parent / "tiny"
"""Models of one convolution, see converters/tiny.py: class 1 where red is more than blue."""


@dataclass(frozen=True)
class Probe:
    """The attempt of an interpreter, and for each file None or why the file does not run.

    `files` is empty when the interpreter does not work.
    """

    attempt: Attempt
    files: dict[Path, str | None]


@dataclass(frozen=True)
class _Request:
    """The work of a child process: models to run, with `timeout` seconds for each."""

    package: Package
    models: Sequence[str]
    timeout: float


def probe(
    interpreter: Interpreter, files: Sequence[Path] = (), *, timeout: float = TIMEOUT
) -> Probe:
    """Try an interpreter with the tiny models, then, if it works, with each of `files`.

    `files` are exported files of the interpreter's format. `timeout` is in seconds, for each model.
    """
    from unet_edge.runtime.interpreters import Attempt, version_of

    package = interpreter.package
    if not _is_installed(interpreter.module):
        return Probe(Attempt(package, None, "absent"), {})
    tiny = sorted(TINY.glob(f"*.{interpreter.format}"))
    models = [*tiny, *files]
    errors: list[str | None] = []  # of the models, in their order
    version = version_of(package)
    while len(errors) < len(models):
        remaining = models[len(errors) :]
        request = _Request(package, [str(path) for path in remaining], timeout)
        # The child ends itself when a model takes too long. This timeout is for one that cannot.
        ended = run_child(__name__, asdict(request), timeout * (len(remaining) + 1))
        for line in ended.output.splitlines():
            answer = json.loads(line)
            version = answer.get("version") or version
            if "attempt" in answer:
                return Probe(Attempt(**answer["attempt"]), {})
            errors.append(answer["error"])
        if len(errors) < len(models):  # the child ended while it ran the next model
            attempt = _ended_attempt(package, version, ended, timeout)
            if len(errors) < len(tiny):
                return Probe(attempt, {})
            errors.append(f"{package} {version} {attempt.detail}")
    for error in errors[: len(tiny)]:
        if error is not None:
            return Probe(Attempt(package, version, "broken", error), {})
    works = Attempt(package, version, "works")
    return Probe(works, dict(zip(files, errors[len(tiny) :], strict=True)))


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # raised by an import hook that blocks the module
        return False


def _ended_attempt(
    package: str, version: str | None, ended: ChildResult, timeout: float
) -> Attempt:
    """The Attempt of a child that ended without an answer."""
    from unet_edge.runtime.interpreters import Attempt

    if ended.code is None or ended.signal == "SIGALRM":
        return Attempt(package, version, "hung", f"gave no answer within {timeout:g} s")
    detail = ended.failure
    if ended.signal == "SIGILL":
        processor = read_board().processor or "this processor"
        detail = (
            f"died with signal SIGILL: it uses an instruction that {processor} does not support"
        )
    return Attempt(package, version, "died", detail, ended.signal)


def _answer(package: Package, path: Path) -> dict[str, Any]:
    """Open one model, run it, and return the answer to write."""
    from unet_edge.errors import UnetEdgeError
    from unet_edge.model_files.embedded_contract import load_model_bytes
    from unet_edge.runtime.interpreter_problems import NoInterpreterError, failed_attempt

    try:
        import numpy as np

        from unet_edge.model_files.contract_check import checked_contract
        from unet_edge.runtime.argmax import to_labels
        from unet_edge.runtime.interpreter_choice import open_backend
    except ImportError as error:  # NumPy or Pillow itself
        return {"attempt": asdict(failed_attempt(package, package, error))}
    try:
        model = load_model_bytes(path)
        contract = checked_contract(model, str(path))
        spec = contract.spec
        backend = open_backend(model, contract.format, backend=package)
        # After a comma, the name says how the file was opened.
        version = backend.name.removeprefix(package).partition(",")[0].strip()
        # Red rises and blue falls. They differ by an odd number, so no pixel is a tie.
        ramp = np.resize(np.arange(256, dtype=np.uint8), (spec.height, spec.width))
        pixels = np.stack([ramp, ramp, 255 - ramp], axis=-1)
        labels = to_labels(backend.scores(pixels))
    except NoInterpreterError as error:
        return {"attempt": asdict(error.attempts[0])}
    except UnetEdgeError as error:
        return {"error": str(error)}
    except Exception as error:  # an interpreter may raise anything while it runs
        return {"error": f"it fails with {type(error).__name__}: {error}"}
    if path.parent == TINY and not np.array_equal(labels, pixels[..., 0] > pixels[..., 2]):
        return {"error": f"it computes {path.name} wrongly", "version": version}
    return {"error": None, "version": version}


def _main() -> None:
    """The child: a request on standard input, a line of JSON for each model on standard output."""
    pipe = answer_pipe()
    request = _Request(**json.load(sys.stdin))
    for path in request.models:
        # The signal's default action also ends a process that hangs in C code, where Python
        # handlers do not run.
        signal.setitimer(signal.ITIMER_REAL, request.timeout)
        answer = _answer(request.package, Path(path))
        os.write(pipe, (json.dumps(answer) + "\n").encode())
        if "attempt" in answer:
            break


if __name__ == "__main__":
    _main()
