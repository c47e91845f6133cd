"""The interpreters that run exported files: their pip packages, and which wheels exist."""

from __future__ import annotations

import importlib.metadata
import platform
import struct
import sys
from dataclasses import asdict, dataclass
from typing import Any, Literal

from unet_edge.model_files.embedded_contract import Format
from unet_edge.runtime.packages import Package
from unet_edge.system.board import wheel_machine

State = Literal["works", "absent", "broken", "died", "hung"]


@dataclass(frozen=True)
class Interpreter:
    """A package that runs models, as the package index had it in November 2026.

    `extra` is the extra of unet-edge that installs it. `oldest` and `excluded` are the versions
    that the extra asks for, `also` its other requirements. `wheels` are the Linux architectures
    with wheels. `last_python` is the newest Python with wheels, None while new ones are added.
    """

    package: Package
    module: str
    format: Format
    extra: str
    oldest: str
    wheels: tuple[str, ...]
    excluded: str | None = None
    last_python: tuple[int, int] | None = None
    also: tuple[str, ...] = ()

    @property
    def requirement(self) -> str:
        """The requirement of the extra, as pip reads it."""
        return self.requirement_from(self.oldest)

    def requirement_from(self, version: str) -> str:
        """A requirement of this version or a later one, as pip reads it."""
        return f"{self.package}>={version}" + (f",!={self.excluded}" if self.excluded else "")

    @property
    def quoted(self) -> str:
        """All requirements of the extra, quoted for a shell."""
        return " ".join(f"'{requirement}'" for requirement in (self.requirement, *self.also))


INTERPRETERS = (
    Interpreter(
        package="ai-edge-litert",
        module="ai_edge_litert",
        format="tflite",
        extra="litert",
        oldest="1.2",
        excluded="2.0.*",
        wheels=("x86_64", "aarch64"),
    ),
    Interpreter(
        package="tflite-runtime",
        module="tflite_runtime",
        format="tflite",
        extra="tflite",
        oldest="2.14",
        wheels=("x86_64", "aarch64", "armv7l"),
        last_python=(3, 11),
        also=("numpy<2",),
    ),
    Interpreter(
        package="onnxruntime",
        module="onnxruntime",
        format="onnx",
        extra="onnx",
        oldest="1.18",
        # It dies with SIGILL on import: it uses an instruction that the Cortex-A72 does not have.
        excluded="1.21.0",
        wheels=("x86_64", "aarch64"),
    ),
    Interpreter(
        package="openvino",
        module="openvino",
        format="onnx",
        extra="openvino",
        oldest="2025.2",
        wheels=("x86_64", "aarch64"),
    ),
)


@dataclass(frozen=True)
class System:
    """What decides which wheels pip finds: Python's version, architecture, operating system.

    `numpy` is the installed version, None where NumPy is missing.
    """

    python: tuple[int, int]
    machine: str
    numpy: str | None
    linux: bool = True

    @classmethod
    def here(cls) -> System:
        """The system of this Python."""
        return cls(
            sys.version_info[:2],
            wheel_machine(platform.machine(), 8 * struct.calcsize("P")),
            version_of("numpy"),
            sys.platform == "linux",
        )


@dataclass(frozen=True)
class Attempt:
    """The result of trying an interpreter.

    `version` is None where it is unknown. `detail` is one line, empty for an interpreter that is
    absent or works. `signal` is the name of the signal that killed it, if one did.
    """

    package: str
    version: str | None
    state: State
    detail: str = ""
    signal: str | None = None

    @property
    def name(self) -> str:
        """The package and its version, for people."""
        return f"{self.package} {self.version}" if self.version else self.package

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values; `detail` has the signal."""
        values = asdict(self)
        del values["signal"]
        return values


def version_of(package: str) -> str | None:
    """The installed version of a package, None where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def installed_versions() -> dict[str, str]:
    """The installed interpreters, by package, with their versions."""
    versions = {
        interpreter.package: version_of(interpreter.package) for interpreter in INTERPRETERS
    }
    return {package: version for package, version in versions.items() if version}


def interpreter_named(package: str) -> Interpreter:
    """The interpreter of a package."""
    return next(interpreter for interpreter in INTERPRETERS if interpreter.package == package)


def missing_wheel(interpreter: Interpreter, system: System) -> str | None:
    """Why pip finds no wheel of an interpreter for this system, None if it finds one."""
    last = interpreter.last_python
    if last and system.python > last:
        python, newest = (".".join(map(str, version)) for version in (system.python, last))
        return f"has no wheel for Python {python} ({newest} is its last)"
    if system.linux and system.machine not in interpreter.wheels:
        return f"has no wheel for {system.machine}"
    return None


def install_command(interpreter: Interpreter) -> str:
    """The command that installs an interpreter: the extra's, where unet-edge is installed."""
    # Elsewhere pip would look for unet-edge itself in the package index.
    if version_of("unet-edge"):
        return f"pip install 'unet-edge[{interpreter.extra}]'"
    return f"pip install {interpreter.quoted}"
