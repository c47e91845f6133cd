"""What is wrong with an interpreter, in words, and the command that fixes it.

`unet-edge doctor` and the error of a model that cannot be opened say the same: both come from
here. Nothing here is imported while all is well.
"""

from __future__ import annotations

from collections.abc import Sequence

from unet_edge.errors import BackendError, ModelFileError
from unet_edge.model_files.embedded_contract import Format
from unet_edge.runtime.interpreters import (
    INTERPRETERS,
    Attempt,
    System,
    install,
    interpreter,
    no_wheel,
    version_of,
)


class NoInterpreterError(BackendError):
    """No interpreter for a format works here; `attempts` are those that were tried."""

    def __init__(self, file_format: Format, attempts: Sequence[Attempt]) -> None:
        self.attempts = tuple(attempts)
        super().__init__(nothing_works(file_format, attempts, System.here()))


def attempt_of(package: str, module: str, error: Exception) -> Attempt:
    """What an exception says of an interpreter whose `module` was to be imported and built."""
    if isinstance(error, ModuleNotFoundError) and error.name in (module, f"{module}.interpreter"):
        return Attempt(package, None, "absent")
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return Attempt(package, version_of(package), "broken", lines[0])


def explain(attempt: Attempt, system: System) -> str:
    """What is wrong with an interpreter, without the fix."""
    known = interpreter(attempt.package)
    missing = no_wheel(known, system)
    match attempt.state:
        case "works":
            return f"{attempt.name} works"
        case "absent":
            also = f", and {missing}" if missing else ""
            return f"{attempt.package} is not installed{also}"
        case "broken" if _numpy_is_too_new(attempt, system):
            # Its own words are an address, or nothing: "returned a result with an exception set".
            return (
                f"{attempt.name} does not work with NumPy {system.numpy}: it was built for NumPy 1"
            )
        case "broken":
            return f"{attempt.name} does not work here ({attempt.detail})"
        case _:
            return f"{attempt.name} {attempt.detail}"


def fix(attempt: Attempt, system: System) -> str | None:
    """The command that fixes an interpreter, None where none does or it works."""
    known = interpreter(attempt.package)
    wheel = no_wheel(known, system) is None
    match attempt.state:
        case "works":
            return None
        case "absent":
            return install(known) if wheel else None
        case "broken" if _numpy_is_too_new(attempt, system):
            return "pip install 'numpy<2'"
        case "died" if "SIGKILL" in attempt.detail or not wheel:
            return None
        case "died":
            return f"pip install --upgrade {known.quoted}"
        case _:
            return f"pip install --force-reinstall {known.quoted}" if wheel else None


def fixes(file_format: Format, attempts: Sequence[Attempt], system: System) -> dict[str, str]:
    """Each package of a format with the command that fixes it, where that is of use.

    One interpreter is enough: an absent one is offered where none works, and no second one.
    """
    tried = [one for one in attempts if interpreter(one.package).format == file_format]
    enough = any(one.state == "works" for one in tried)
    offers: dict[str, str] = {}
    for attempt in tried:
        command = fix(attempt, system)
        if command is None or (attempt.state == "absent" and enough):
            continue
        enough = enough or attempt.state == "absent"
        offers[attempt.package] = command
    return offers


def nothing_works(file_format: Format, attempts: Sequence[Attempt], system: System) -> str:
    """One line on a format that no interpreter runs here: each one's trouble, and the fix."""
    label = {"tflite": "TFLite", "onnx": "ONNX"}[file_format]
    troubles = "; ".join(explain(attempt, system) for attempt in attempts)
    fixing = _fix_text(file_format, attempts, system)
    return f"no {label} interpreter works here: {troubles}; {fixing}"


def refusal(model: bytes, file_format: Format, attempt: Attempt) -> str:
    """One line on a model that a working interpreter refuses, by what the tables know of it."""
    # Here, not at the top: the graph's readers are of no use to what else this module says.
    from unet_edge.model_files.read_graph import read_graph
    from unet_edge.model_files.runtime_support import runtime_support

    refused, better = attempt.detail, None
    system = System.here()
    try:
        found = runtime_support(read_graph(model, file_format, "the model"))
    except ModelFileError:
        found = None  # its bytes are damaged: the interpreter's own words have to do
    if found is not None:
        for runtime, reason in found.refused_by.items():
            if runtime.startswith(attempt.package):
                refused = f"it needs {reason.replace('it has', f'{runtime} has')}"
        better = _newer(found.runs_on, attempt, system)
        if not found.runs_on:
            what = ", ".join(found.unknown) or "it"
            better = f"no runtime is known to run {what}: export it again with 'unet-edge export'"
    if better is None:
        known = interpreter(attempt.package) if file_format == "onnx" else INTERPRETERS[0]
        better = f"a newer interpreter may: pip install --upgrade '{known.requirement}'"
    return f"{attempt.name} cannot run this model: {refused}; {better}"


def failed_run(name: str, error: Exception) -> str:
    """One line on an interpreter that opened a model and fails while it runs it."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return (
        f"{name} failed while it ran the model: {lines[0]}; copy the model again, or run it by "
        "another interpreter (--backend)"
    )


def _newer(runs_on: Sequence[str], attempt: Attempt, system: System) -> str | None:
    """The command for what the table knows to run it, unless that is what has just refused."""
    for runtime in runs_on:
        package, version, *later = runtime.split()
        known = interpreter(package)
        has_it = package == attempt.package and _numbers(attempt.version) >= _numbers(version)
        if later and not has_it and no_wheel(known, system) is None:
            excluded = known.requirement.partition(",")[2]
            wanted = ",".join(filter(None, (f"{package}>={version}", excluded)))
            return f"fix with: pip install --upgrade '{wanted}'"
    return None


def _numbers(version: str | None) -> tuple[int, ...]:
    return tuple(int(part) for part in (version or "").split(".") if part.isdecimal())


def _numpy_is_too_new(attempt: Attempt, system: System) -> bool:
    # tflite-runtime 2.14 is its last release, of 2023, and of NumPy 1's binary interface.
    numpy = (system.numpy or "0").split(".")[0]
    return attempt.package == "tflite-runtime" and numpy.isdecimal() and int(numpy) >= 2


def _fix_text(file_format: Format, attempts: Sequence[Attempt], system: System) -> str:
    offers: list[str] = []
    for package, command in fixes(file_format, attempts, system).items():
        absent = any(one.package == package and one.state == "absent" for one in attempts)
        keep = f"keep {package} with: " if offers and not absent else ""
        offers.append(f"{keep}{command}")
    if offers:
        return f"fix with: {', or '.join(offers)}"
    if system.machine == "armv7l":
        return "fix with: the 64-bit Raspberry Pi OS, for which there are wheels"
    if system.machine == "armv6l":
        return "fix with: a Raspberry Pi with a 64-bit processor (Zero 2, 3 and later)"
    return "fix with: a 64-bit Python on a 64-bit system, for which there are wheels"
