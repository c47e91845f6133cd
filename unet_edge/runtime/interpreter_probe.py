"""Whether an interpreter really works: it runs models in a process of its own, against the clock.

Importing proves nothing: some interpreters import and fail when they are built, some die of an
instruction that the processor has not, some never come back. So a child opens each model with
our own backend and segments a picture; what kills it costs one answer.
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
    from unet_edge.runtime.interpreters import Attempt, Interpreter, State
    from unet_edge.runtime.packages import Package

TIMEOUT = 30.0
"""Seconds for each model. Ours take a Raspberry Pi a second; the rest is for a cold SD card."""

TINY = Path(__file__).parent / "tiny"
"""Models of one convolution, see converters/tiny.py: class 1 where red is more than blue."""


@dataclass(frozen=True)
class Probe:
    """An interpreter's attempt at the tiny models, and for each file why it does not run, or None.

    `files` is empty when the interpreter does not work.
    """

    attempt: Attempt
    files: dict[Path, str | None]


@dataclass(frozen=True)
class _Request:
    """What a child is asked to do."""

    package: Package
    models: Sequence[str]
    timeout: float


def probe(known: Interpreter, files: Sequence[Path] = (), *, timeout: float = TIMEOUT) -> Probe:
    """Try an interpreter with the tiny models, then, if it works, with each of `files`.

    `files` are .tflite or .onnx files of ours, of its format. `timeout` in seconds is for each.
    """
    from unet_edge.runtime.interpreters import Attempt, version_of

    if not _is_there(known.module):
        return Probe(Attempt(known.package, None, "absent"), {})
    tiny = sorted(TINY.glob(f"*.{known.format}"))
    models = [*tiny, *files]
    errors: list[str | None] = []  # of the models, in their order
    version = version_of(known.package)
    while len(errors) < len(models):
        waiting = models[len(errors) :]
        request = _Request(known.package, [str(path) for path in waiting], timeout)
        # The child ends itself when a model takes too long; this is for one that cannot.
        ended = run_child(__name__, asdict(request), timeout * (len(waiting) + 1))
        for line in ended.output.splitlines():
            answer = json.loads(line)
            version = answer.get("version") or version
            if "attempt" in answer:
                return Probe(Attempt(**answer["attempt"]), {})
            errors.append(answer["error"])
        if len(errors) < len(models):  # the child ended over the next one
            hung = ended.code is None or ended.signal == "SIGALRM"
            trouble = f"gave no answer within {timeout:g} s" if hung else _death(ended)
            if len(errors) < len(tiny):
                state: State = "hung" if hung else "died"
                return Probe(Attempt(known.package, version, state, trouble), {})
            errors.append(f"{known.package} {version} {trouble}")
    for error in errors[: len(tiny)]:
        if error is not None:
            return Probe(Attempt(known.package, version, "broken", error), {})
    works = Attempt(known.package, version, "works")
    return Probe(works, dict(zip(files, errors[len(tiny) :], strict=True)))


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # an import hook's way to say no
        return False


def _death(ended: ChildResult) -> str:
    if ended.signal != "SIGILL":
        return ended.failure
    processor = read_board().processor or "this processor"
    return f"died with signal SIGILL: it uses an instruction that {processor} has not"


def _answer(package: Package, path: Path) -> dict[str, Any]:
    """Open one model, run it, and say what came of it."""
    from unet_edge.errors import UnetEdgeError
    from unet_edge.model_files.embedded_contract import load_model_bytes
    from unet_edge.runtime.availability import NoInterpreterError, attempt_of

    try:
        import numpy as np

        from unet_edge.model_files.contract_check import checked_contract
        from unet_edge.runtime.backends import open_backend, to_labels
    except ImportError as error:  # NumPy or Pillow itself
        return {"attempt": asdict(attempt_of(package, package, error))}
    try:
        model = load_model_bytes(path)
        contract = checked_contract(model, str(path))
        spec = contract.spec
        backend = open_backend(model, contract.format, backend=package)
        # Behind a comma the name says how it was opened.
        version = backend.name.removeprefix(package).partition(",")[0].strip()
        # Red rises and blue falls, always an odd number of steps apart.
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
        # The signal ends a process that hangs in C too, where Python would not hear of it.
        signal.setitimer(signal.ITIMER_REAL, request.timeout)
        answer = _answer(request.package, Path(path))
        os.write(pipe, (json.dumps(answer) + "\n").encode())
        if "attempt" in answer:
            break


if __name__ == "__main__":
    _main()
