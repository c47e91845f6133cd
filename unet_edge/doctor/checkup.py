"""Checkup of a machine: which interpreters work, which files run, how to fix the others."""

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
from unet_edge.runtime.availability import NoInterpreterError, fix_commands, problem
from unet_edge.runtime.interpreter_probe import TIMEOUT, Probe, probe
from unet_edge.runtime.interpreters import INTERPRETERS, Attempt, System, version_of
from unet_edge.system.board import Board, Processor, read_board, read_processor

if TYPE_CHECKING:
    from unet_edge.bundle.bundle import Bundle

LIBRARIES = ("unet-edge", "numpy", "pillow")


@dataclass(frozen=True)
class FileVerdict:
    """Whether a model file runs here: by which interpreter, or why not and how to fix it."""

    name: str
    runs_by: str | None
    reason: str | None


@dataclass(frozen=True)
class Checkup:
    """What was found. `libraries` are versions, None where one is missing; Keras is the reference.

    `troubles` says of each interpreter what is wrong with it (nothing of one that works), and
    `fixes` the command that fixes it, where there is one. `tuning` is a line on what was chosen
    for a bundle here, None for anything else. `processor` is how this one adds int8; `remarks` are
    what its kind means for the files.
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
        """Whether something can run: one of the files, or any interpreter if none were given."""
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
    """Look at the machine and try every interpreter, with the files of `path` if it is given.

    `path` is a bundle or a .tflite or .onnx file; `timeout` in seconds is for each model that an
    interpreter is tried with, `say` hears what takes time. Raises BundleError or ModelFileError
    when there is nothing at `path` to try.
    """
    formats, damaged = _files(path) if path else ({}, {})
    say(f"trying {', '.join(known.package for known in INTERPRETERS)}")
    with ThreadPoolExecutor() as pool:  # a thread waits for each child
        jobs = [
            pool.submit(
                probe,
                known,
                [file for file, given in formats.items() if given == known.format],
                timeout=timeout,
            )
            for known in INTERPRETERS
        ]
        probes = [job.result() for job in jobs]
    system = System.here()
    attempts = tuple(one.attempt for one in probes)
    verdicts = (
        *(_verdict(file, given, probes, system) for file, given in formats.items()),
        *(FileVerdict(file.name, None, reason) for file, reason in damaged.items()),
    )
    troubles = [attempt for attempt in attempts if attempt.state != "works"]
    works = any(attempt.state == "works" for attempt in attempts)
    return Checkup(
        board=read_board(),
        python=platform.python_version(),
        libraries={name: version_of(name) for name in LIBRARIES},
        keras=version_of("keras"),
        interpreters=attempts,
        troubles={attempt.package: problem(attempt, system) for attempt in troubles},
        fixes=fix_commands("tflite", attempts, system) | fix_commands("onnx", attempts, system),
        files=verdicts,
        summary=_summary(attempts, verdicts, system),
        processor=read_processor(),
        tuning=_tuning(path) if path and any(verdict.runs_by for verdict in verdicts) else None,
        remarks=_remarks(path, formats) if path and works else (),
    )


def _files(path: Path) -> tuple[dict[Path, Format], dict[Path, str]]:
    """The model files with their formats, and those that are damaged with what is wrong."""
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
    """The bundle at `path` or in the run there; None for a file."""
    if not path.is_dir():
        return None
    from unet_edge.bundle.bundle import Bundle
    from unet_edge.bundle.manifest import MANIFEST

    return Bundle.open(path if (path / MANIFEST).exists() else path / "bundle")


def _remarks(path: Path, formats: dict[Path, Format]) -> tuple[str, ...]:
    """What the kind of processor means for the files, a sentence each."""
    from unet_edge.model_files.read_graph import (  # here: NumPy may be missing
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
    from unet_edge.runtime.tuning_cache import describe  # as above

    return describe(bundle)


def _verdict(
    file: Path, file_format: Format, probes: Sequence[Probe], system: System
) -> FileVerdict:
    """As `Segmenter.open` decides: by the first interpreter of the format that works."""
    pairs = zip(INTERPRETERS, probes, strict=True)
    tried = [one for known, one in pairs if known.format == file_format]
    for one in tried:
        if one.attempt.state == "works":
            reason = one.files[file]
            return FileVerdict(file.name, None if reason else one.attempt.name, reason)
    attempts = [one.attempt for one in tried]
    return FileVerdict(file.name, None, str(NoInterpreterError(file_format, attempts, system)))


def _summary(attempts: Sequence[Attempt], files: Sequence[FileVerdict], system: System) -> str:
    """The last line: what runs, or what to do."""
    if files:
        run = sum(file.runs_by is not None for file in files)
        return f"{run} of {len(files)} files run here"
    working = [attempt.name for attempt in attempts if attempt.state == "works"]
    if working:
        return f"models run here, on {' and '.join(working)}"
    return f"no model runs here: {NoInterpreterError('tflite', attempts, system)}"
