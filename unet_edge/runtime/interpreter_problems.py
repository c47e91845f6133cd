"""Why an interpreter or a model does not work here, and how to fix that.

`unet-edge doctor` and the error of a model that cannot be opened share these texts. Nothing here
is imported while everything works.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from unet_edge.errors import BackendError, ModelFileError
from unet_edge.model_files.embedded_contract import Format
from unet_edge.model_files.runtime_support import Release, RuntimeSupport, runtime_support
from unet_edge.runtime.interpreters import (
    INTERPRETERS,
    Attempt,
    System,
    install_command,
    interpreter_named,
    missing_wheel,
    version_of,
)

_LABELS: dict[Format, str] = {"tflite": "TFLite", "onnx": "ONNX"}


class NoInterpreterError(BackendError):
    """No interpreter of a format works here; `attempts` holds the result of each."""

    @property
    def none_installed(self) -> bool:
        """Whether every interpreter of the format is absent, and none is broken."""
        return all(attempt.state == "absent" for attempt in self.attempts)

    def __init__(
        self, file_format: Format, attempts: Sequence[Attempt], system: System | None = None
    ) -> None:
        """`system` defaults to this one."""
        self.file_format = file_format
        self.attempts = tuple(attempts)
        system = system or System.here()
        label = _LABELS[file_format]
        problems = "; ".join(problem(attempt, system) for attempt in attempts)
        super().__init__(
            f"no {label} interpreter works here: {problems}",
            fix=_advice(file_format, attempts, system),
        )


def not_run_lines(errors: Mapping[str, BackendError]) -> list[str]:
    """Lines about the files of a bundle that do not run here, while others do.

    `errors` holds the error of each file. Files of one reason share a line.
    """
    lines: dict[str, list[str]] = {}
    for name, error in errors.items():
        lines.setdefault(str(error), []).append(name)
    return [
        _none_installed(error, len(names))
        if isinstance(error := errors[names[0]], NoInterpreterError) and error.none_installed
        else f"{', '.join(names)} not run: {reason}"
        for reason, names in lines.items()
    ]


def _none_installed(error: NoInterpreterError, count: int) -> str:
    files = f"1 .{error.file_format} file" if count == 1 else f"{count} .{error.file_format} files"
    fixes = fix_commands(error.file_format, error.attempts, System.here())
    optional = "".join(f" (optional: {command})" for command in fixes.values())
    return f"{files} not run: no {_LABELS[error.file_format]} interpreter is installed{optional}"


def failed_attempt(package: str, module: str, error: Exception) -> Attempt:
    """The Attempt of an interpreter that raised `error` when it was imported or built."""
    if isinstance(error, ModuleNotFoundError) and error.name in (module, f"{module}.interpreter"):
        return Attempt(package, None, "absent")
    return Attempt(package, version_of(package), "broken", _first_line(error))


def problem(attempt: Attempt, system: System) -> str:
    """What is wrong with an interpreter, without the fix."""
    match attempt.state:
        case "works":
            return f"{attempt.name} works"
        case "absent":
            missing = missing_wheel(interpreter_named(attempt.package), system)
            return f"{attempt.package} is not installed" + (f", and {missing}" if missing else "")
        case "broken" if _numpy_is_too_new(attempt, system):
            # Its own message says nothing: an address, or "returned a result with an exception".
            return (
                f"{attempt.name} does not work with NumPy {system.numpy}: it was built for NumPy 1"
            )
        case "broken":
            return f"{attempt.name} does not work here ({attempt.detail})"
        case _:
            return f"{attempt.name} {attempt.detail}"


def fix_command(attempt: Attempt, system: System) -> str | None:
    """The command that fixes an interpreter, None where no command does or it works."""
    interpreter = interpreter_named(attempt.package)
    has_wheel = missing_wheel(interpreter, system) is None
    match attempt.state:
        case "works":
            return None
        case "absent":
            return install_command(interpreter) if has_wheel else None
        case "broken" if _numpy_is_too_new(attempt, system):
            return "pip install 'numpy<2'"
        # The kernel sends SIGKILL when memory runs out, which no other version changes.
        case "died" if attempt.signal == "SIGKILL" or not has_wheel:
            return None
        case "died":
            return f"pip install --upgrade {interpreter.quoted}"
        case _:
            return f"pip install --force-reinstall {interpreter.quoted}" if has_wheel else None


def fix_commands(
    file_format: Format, attempts: Sequence[Attempt], system: System
) -> dict[str, str]:
    """The packages of a format that are worth fixing, with the command of each.

    One interpreter is enough: an absent one is installed only where no other works.
    """
    tried = [
        attempt for attempt in attempts if interpreter_named(attempt.package).format == file_format
    ]
    enough = any(attempt.state == "works" for attempt in tried)
    commands: dict[str, str] = {}
    for attempt in tried:
        command = fix_command(attempt, system)
        if command is None or (attempt.state == "absent" and enough):
            continue
        enough = enough or attempt.state == "absent"
        commands[attempt.package] = command
    return commands


def refused_model(model: bytes, file_format: Format, attempt: Attempt) -> BackendError:
    """The error of a model that a working interpreter refuses."""
    support = _support(model, file_format)
    reason = attempt.detail
    for release, too_new in support.refused_by.items() if support else ():
        if release.package == attempt.package:
            reason = "it needs " + ", ".join(op.spell(str(release)) for op in too_new)
    refusal = f"{attempt.name} cannot run this model: {reason}"
    if support and not support.runs_on:
        unknown = ", ".join(support.unknown) or "it"
        return BackendError(
            f"{refusal}; no runtime is known to run {unknown}",
            fix="export it again with 'unet-edge export'",
        )
    if support and (command := _upgrade(support.runs_on, attempt, System.here())):
        return BackendError(refusal, fix=f"run: {command}")
    newest = interpreter_named(attempt.package) if file_format == "onnx" else INTERPRETERS[0]
    return BackendError(
        refusal,
        fix=f"run: pip install --upgrade '{newest.requirement}' (a newer interpreter may run it)",
    )


def failed_run(name: str, error: Exception) -> BackendError:
    """The error of an interpreter that opened a model and raised `error` while it ran the model."""
    return BackendError(
        f"{name} failed while it ran the model: {_first_line(error)}",
        fix="copy the model again, or run it with another interpreter (--backend)",
    )


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _support(model: bytes, file_format: Format) -> RuntimeSupport | None:
    """The releases that run a model, None for a damaged one."""
    # Here, not at the top: nothing else in this module reads a graph.
    from unet_edge.model_files.read_graph import read_graph

    try:
        return runtime_support(read_graph(model, file_format, "the model"))
    except ModelFileError:
        return None


def _upgrade(runs_on: Sequence[Release], attempt: Attempt, system: System) -> str | None:
    """The command that installs a release of `runs_on`, None where none can help."""
    for release in runs_on:
        interpreter = interpreter_named(release.package)
        has_refused = release.package == attempt.package and (
            _numbers(attempt.version) >= _numbers(release.version)
        )
        if release.and_later and not has_refused and missing_wheel(interpreter, system) is None:
            return f"pip install --upgrade '{interpreter.requirement_from(release.version)}'"
    return None


def _numbers(version: str | None) -> tuple[int, ...]:
    return tuple(int(part) for part in (version or "").split(".") if part.isdecimal())


def _numpy_is_too_new(attempt: Attempt, system: System) -> bool:
    # tflite-runtime 2.14, its last release, uses the binary interface of NumPy 1.
    return attempt.package == "tflite-runtime" and _numbers(system.numpy)[:1] >= (2,)


def _advice(file_format: Format, attempts: Sequence[Attempt], system: System) -> str:
    """How to get an interpreter of a format to work here."""
    absent = {attempt.package for attempt in attempts if attempt.state == "absent"}
    commands = ""
    for package, command in fix_commands(file_format, attempts, system).items():
        if not commands:
            commands = f"run: {command}"
        elif package in absent:
            commands += f", or {command}"
        else:
            commands += f", or keep {package} with: {command}"
    if commands:
        return commands
    match system.machine:
        case "armv7l":
            return "use the 64-bit Raspberry Pi OS, for which there are wheels"
        case "armv6l":
            return "use a Raspberry Pi with a 64-bit processor (Zero 2, 3 and later)"
        case _:
            return "use a 64-bit Python on a 64-bit system, for which there are wheels"
