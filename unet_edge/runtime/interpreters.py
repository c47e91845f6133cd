"""The interpreters that run exported files, as pip knows them, and what decides between them."""

from __future__ import annotations

import importlib.metadata
import platform
import struct
import sys
from dataclasses import dataclass
from typing import Literal

from unet_edge.model_files.embedded_contract import Format
from unet_edge.runtime.packages import Package
from unet_edge.system.board import wheel_machine

State = Literal["works", "absent", "broken", "died", "hung"]


@dataclass(frozen=True)
class Interpreter:
    """A package that runs models, as pip knows it.

    `extra` is ours that installs it, `requirement` what stands there and `also` what else;
    `wheels` are the Linux architectures it has wheels for, `last_python` the newest Python, None
    if it is still made for new ones. As the index had them in November 2026.
    """

    package: Package
    module: str
    format: Format
    extra: str
    requirement: str
    wheels: tuple[str, ...]
    last_python: tuple[int, int] | None = None
    also: tuple[str, ...] = ()

    @property
    def quoted(self) -> str:
        """What pip is asked for, as a shell wants it."""
        return " ".join(f"'{wanted}'" for wanted in (self.requirement, *self.also))


INTERPRETERS = (
    Interpreter(
        "ai-edge-litert",
        "ai_edge_litert",
        "tflite",
        "litert",
        "ai-edge-litert>=1.2,!=2.0.*",
        ("x86_64", "aarch64"),
    ),
    Interpreter(
        "tflite-runtime",
        "tflite_runtime",
        "tflite",
        "tflite",
        "tflite-runtime>=2.14",
        ("x86_64", "aarch64", "armv7l"),
        (3, 11),
        ("numpy<2",),
    ),
    Interpreter(
        "onnxruntime",
        "onnxruntime",
        "onnx",
        "onnx",
        # 1.21.0 uses an instruction that the Cortex-A72 has not: SIGILL when it is imported.
        "onnxruntime>=1.18,!=1.21.0",
        ("x86_64", "aarch64"),
    ),
    Interpreter(
        "openvino",
        "openvino",
        "onnx",
        "openvino",
        "openvino>=2025.2",
        ("x86_64", "aarch64"),
    ),
)


@dataclass(frozen=True)
class System:
    """What decides which wheels there are: the Python, its architecture, the processor's name.

    `numpy` is the installed version, None where it is missing.
    """

    python: tuple[int, int]
    machine: str
    numpy: str | None
    linux: bool = True

    @classmethod
    def here(cls) -> System:
        """This Python."""
        return cls(
            sys.version_info[:2],
            wheel_machine(platform.machine(), 8 * struct.calcsize("P")),
            version_of("numpy"),
            sys.platform == "linux",
        )


@dataclass(frozen=True)
class Attempt:
    """What came of trying an interpreter: absent, broken with the reason, dead, or working.

    `version` is None where it is not known; `detail` one line, empty for one that works.
    """

    package: str
    version: str | None
    state: State
    detail: str = ""

    @property
    def name(self) -> str:
        """The interpreter and its version, for people."""
        return f"{self.package} {self.version}" if self.version else self.package


def version_of(package: str) -> str | None:
    """The installed version of a package, None where there is none."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def installed_versions() -> dict[str, str]:
    """The interpreters that pip knows to be installed, with their versions."""
    versions = {known.package: version_of(known.package) for known in INTERPRETERS}
    return {package: version for package, version in versions.items() if version}


def interpreter(package: str) -> Interpreter:
    """What is known of a package."""
    return next(known for known in INTERPRETERS if known.package == package)


def no_wheel(known: Interpreter, system: System) -> str | None:
    """Why pip finds no wheel of it for this Python, None if it finds one."""
    if known.last_python and system.python > known.last_python:
        here, last = (".".join(map(str, v)) for v in (system.python, known.last_python))
        return f"has no wheel for Python {here} ({last} is its last)"
    if system.linux and system.machine not in known.wheels:
        return f"has no wheel for {system.machine}"
    return None


def install(known: Interpreter) -> str:
    """The command that installs an interpreter.

    By our extra where unet-edge itself is installed, which pip then does not look for elsewhere.
    """
    if version_of("unet-edge"):
        return f"pip install 'unet-edge[{known.extra}]'"
    return f"pip install {known.quoted}"
