"""The checkup of a machine: which interpreters and files work, and how to fix the others."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unet_edge.errors import UnetEdgeError
from unet_edge.model_files.embedded_contract import Format, load_model_bytes, parse_contract
from unet_edge.runtime.interpreter_probe import TIMEOUT, Probe, probe
from unet_edge.runtime.interpreter_problems import NoInterpreterError, fix_commands, problem
from unet_edge.runtime.interpreters import INTERPRETERS, Attempt, System, version_of
from unet_edge.system.board import Board, Processor, read_board, read_processor
from unet_edge.system.counting import counted

if TYPE_CHECKING:
    from unet_edge.bundle.bundle import Bundle

LIBRARIES = ("unet-edge", "numpy", "pillow")


@dataclass(frozen=True)
class FileVerdict:
    """The interpreter that runs a model file here, or why none does and how to fix that."""

    name: str
    runs_by: str | None
    reason: str | None


@dataclass(frozen=True)
class Checkup:
    """The state of a machine.

    `libraries` and `keras` are versions, None where one is missing. `troubles` holds the problem
    of each interpreter that does not work, `fixes` the command that fixes it, if there is one.
    `tuning` describes the tuned choice of a bundle, None without a bundle. `remarks` say what the
    kind of `processor` means for the files.
    """

    board: Board
    python: str
    libraries: dict[str, str | None]
    keras: str | None
    interpreters: tuple[Attempt, ...]
    troubles: dict[str, str]
    fixes: dict[str, str]
    files: tuple[FileVerdict, ...]
    summary: str
    processor: Processor
    tuning: str | None = None
    remarks: tuple[str, ...] = ()

    @property
    def ready(self) -> bool:
        """Whether one of the files runs, or without files, whether an interpreter works."""
        if self.files:
            return any(file.runs_by for file in self.files)
        return any(attempt.state == "works" for attempt in self.interpreters)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "ready": self.ready,
            **dataclasses.asdict(self),
            "interpreters": [attempt.to_dict() for attempt in self.interpreters],
        }


def check_machine(
    path: Path | None = None,
    *,
    timeout: float = TIMEOUT,
    say: Callable[[str], None] = lambda _: None,
) -> Checkup:
    """Check this machine with every interpreter, and with the files of `path` if it is given.

    `path` is a bundle, a run with one, or a .tflite or .onnx file. `timeout` in seconds is for
    each model. `say` is called before each long step. Raises BundleError or ModelFileError when
    there is no file at `path`.
    """
    formats, damaged = _files(path) if path else ({}, {})
    say(f"trying {', '.join(interpreter.package for interpreter in INTERPRETERS)}")
    probes = _probes(formats, timeout)
    system = System.here()
    attempts = tuple(result.attempt for result in probes)
    verdicts = (
        *(_verdict(file, file_format, probes, system) for file, file_format in formats.items()),
        *(FileVerdict(file.name, None, reason) for file, reason in damaged.items()),
    )
    failing = [attempt for attempt in attempts if attempt.state != "works"]
    works = len(failing) < len(attempts)
    return Checkup(
        board=read_board(),
        python=platform.python_version(),
        libraries={name: version_of(name) for name in LIBRARIES},
        keras=version_of("keras"),
        interpreters=attempts,
        troubles={attempt.package: problem(attempt, system) for attempt in failing},
        fixes=fix_commands("tflite", attempts, system) | fix_commands("onnx", attempts, system),
        files=verdicts,
        summary=_summary(attempts, verdicts, system),
        processor=read_processor(),
        tuning=_tuning(path) if path and any(verdict.runs_by for verdict in verdicts) else None,
        remarks=_remarks(path, formats) if path and works else (),
    )


def _probes(formats: dict[Path, Format], timeout: float) -> list[Probe]:
    """The probe of each interpreter with the files of its format, in parallel."""
    with ThreadPoolExecutor() as pool:  # each thread waits for a child process
        jobs = [
            pool.submit(
                probe,
                interpreter,
                [file for file, given in formats.items() if given == interpreter.format],
                timeout=timeout,
            )
            for interpreter in INTERPRETERS
        ]
        return [job.result() for job in jobs]


def _files(path: Path) -> tuple[dict[Path, Format], dict[Path, str]]:
    """The model files with their formats, and the damaged ones with their errors."""
    if bundle := _bundle(path):
        paths = [bundle.path / entry.name for entry in bundle.files]
    else:
        load_model_bytes(path)
        paths = [path]
    formats: dict[Path, Format] = {}
    damaged: dict[Path, str] = {}
    for file in paths:
        try:
            formats[file] = parse_contract(load_model_bytes(file), str(file)).format
        except UnetEdgeError as error:
            damaged[file] = str(error)
    return formats, damaged


def _bundle(path: Path) -> Bundle | None:
    """The bundle at `path` or in the run at `path`, None for a file."""
    if not path.is_dir():
        return None
    from unet_edge.bundle.bundle import Bundle
    from unet_edge.bundle.manifest import MANIFEST

    of_run = path / "bundle"
    is_run = not (path / MANIFEST).exists() and (of_run / MANIFEST).exists()
    return Bundle.open(of_run if is_run else path)


def _remarks(path: Path, formats: dict[Path, Format]) -> tuple[str, ...]:
    """What the kind of processor means for the files, a line each."""
    from unet_edge.model_files.read_graph import (  # here, not at the top: NumPy may be missing
        SATURATES,
        OnnxGraph,
        read_graph,
    )

    remarks = []
    bundle = _bundle(path)
    if bundle is not None:
        if elsewhere := bundle.measured_elsewhere():
            remarks.append(f"{elsewhere}: 'unet-edge verify {path}' proves the files here")
        remarks += [
            f"{entry.name} missed its floor on {bundle.processor}; 'unet-edge tune {path}' uses it "
            "if it passes on this one"
            for entry in bundle.missed_elsewhere()
        ]
    for file, file_format in formats.items():
        graph = read_graph(load_model_bytes(file), file_format, str(file))
        if isinstance(graph, OnnxGraph) and graph.can_saturate:
            remarks.append(f"{file.name}: {SATURATES}")
    return tuple(remarks)


def _tuning(path: Path) -> str | None:
    bundle = _bundle(path)
    if bundle is None:
        return None
    from unet_edge.runtime.tuning_cache import describe  # as in _remarks

    return describe(bundle)


def _verdict(
    file: Path, file_format: Format, probes: Sequence[Probe], system: System
) -> FileVerdict:
    """Whether the first working interpreter of its format runs a file, as in `Segmenter.open`."""
    pairs = zip(INTERPRETERS, probes, strict=True)
    results = [result for interpreter, result in pairs if interpreter.format == file_format]
    for result in results:
        if result.attempt.state == "works":
            reason = result.files[file]
            return FileVerdict(file.name, None if reason else result.attempt.name, reason)
    attempts = [result.attempt for result in results]
    return FileVerdict(file.name, None, str(NoInterpreterError(file_format, attempts, system)))


def _summary(attempts: Sequence[Attempt], files: Sequence[FileVerdict], system: System) -> str:
    """The last line: what runs here, or how to fix it."""
    if files:
        run = sum(file.runs_by is not None for file in files)
        return f"{run} of {counted(len(files), 'file')} {'runs' if len(files) == 1 else 'run'} here"
    working = [attempt.name for attempt in attempts if attempt.state == "works"]
    if working:
        return f"models run here, on {' and '.join(working)}"
    return f"no model runs here: {NoInterpreterError('tflite', attempts, system)}"
