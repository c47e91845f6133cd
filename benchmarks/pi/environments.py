"""The emulated machines, and the installation of unet-edge there by the guide's commands."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from benchmarks.pi.emulator import Architecture, Cpu, Machine, Suite, cache, prepare

INSTALLED = "installed.json"
_64_BIT: tuple[Cpu, ...] = ("cortex-a72", "cortex-a76", "cortex-a53")


@dataclass(frozen=True)
class Environment:
    """A system and an extra of unet-edge.

    Most checks run on the first of `cpus`. `packages` are Debian packages, which the virtual
    environment can import. `also` is another requirement for pip. Without `fully_checked`, only
    sizes, `verify` and `segment` are checked, because another environment covers the rest.
    """

    name: str
    suite: Suite
    architecture: Architecture
    extra: str
    cpus: tuple[Cpu, ...] = _64_BIT
    packages: tuple[str, ...] = ()
    fully_checked: bool = True
    also: str = ""

    @property
    def system(self) -> str:
        """The system's name in the tables."""
        bits = {"arm64": 64, "armhf": 32}[self.architecture]
        numpy = ", Debian's NumPy" if self.sees_the_system else ""
        return f"{self.suite.title()}, {bits} bit{numpy}"

    @property
    def sees_the_system(self) -> bool:
        """Whether the virtual environment can import Debian's Python packages."""
        return any(name.startswith("python3-") for name in self.packages)

    @property
    def cpu(self) -> Cpu:
        """The processor of most checks."""
        return self.cpus[0]


# The package index has no wheels of NumPy and Pillow for 32-bit ARM, so they are Debian's there.
DEBIAN_32_BIT = (
    "python3-numpy",
    "python3-pil",
    "python3-click",
    "python3-tabulate",
    "python3-tqdm",
)

# Debian's NumPy is a download of 7 MB with its dependencies, the wheel 14 to 16. Pillow's wheel is
# 6.5 MB. Debian's is 15.7 MB on a bare Bookworm, because it needs Perl, and 5.9 MB on Trixie.
DEBIAN_NUMPY = ("python3-numpy",)
_A72: tuple[Cpu, ...] = ("cortex-a72",)

ENVIRONMENTS = (
    Environment("bookworm-litert", "bookworm", "arm64", "litert"),
    Environment("bookworm-onnx", "bookworm", "arm64", "onnx"),
    Environment("bookworm-tflite", "bookworm", "arm64", "tflite"),
    Environment("bookworm-apt", "bookworm", "arm64", "tflite", _64_BIT, DEBIAN_NUMPY),
    Environment(
        "bookworm-apt-litert",
        "bookworm",
        "arm64",
        "litert",
        _A72,
        DEBIAN_NUMPY,
        fully_checked=False,
        # LiteRT accepts any version; 0.6 requires NumPy 2, and 0.5 is 2.9 MB larger than 0.4.
        also="ml-dtypes<0.5",
    ),
    Environment("trixie", "trixie", "arm64", "litert,onnx"),
    Environment(
        "trixie-apt-litert", "trixie", "arm64", "litert", _A72, DEBIAN_NUMPY, fully_checked=False
    ),
    Environment("bookworm-armhf", "bookworm", "armhf", "tflite", ("cortex-a7",), DEBIAN_32_BIT),
)


def machine(environment: Environment, name: str = "") -> Machine:
    """A machine with an empty /home/pi; `name` distinguishes machines of one environment."""
    root = prepare(environment.suite, environment.architecture, environment.packages)
    home = cache() / "homes" / (name or environment.name)
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    # The tests must not add compiled files to the installed ones, whose size is measured.
    return Machine(root, home, {"PYTHONDONTWRITEBYTECODE": "1"})


def install(here: Machine, environment: Environment, wheel: Path, extra: str | None = None) -> None:
    """Copy the wheel and install it in ~/venv, with the environment's extra or `extra`.

    pip's report is then in ~/INSTALLED.
    """
    shutil.copy(wheel, here.home)
    shutil.copytree(fresh_venv(environment), here.home / "venv", symlinks=True)
    extra = environment.extra if extra is None else extra
    here.do(
        f"pip install --quiet --report {INSTALLED} "
        f'"$(echo unet_edge-*.whl){f"[{extra}]" if extra else ""}"'
        + (f" {quote(environment.also)}" if environment.also else ""),
        environment.cpu,
        network=True,
    )


def fresh_venv(environment: Environment) -> Path:
    """A new virtual environment in the cache; `python3 -m venv` takes half a minute there."""
    suffix = "-system" if environment.sees_the_system else ""
    path = cache() / "venvs" / f"{environment.suite}-{environment.architecture}{suffix}"
    if not path.is_dir():
        here = machine(environment, f"{path.name}-fresh")
        path.parent.mkdir(parents=True, exist_ok=True)
        option = "--system-site-packages " if environment.sees_the_system else ""
        here.do(f"python3 -m venv {option}venv", environment.cpu)
        (here.home / "venv").rename(path)
    return path


def site_packages(here: Machine) -> Path:
    """The path on this machine of the site-packages of ~/venv."""
    (folder,) = (here.home / "venv").glob("lib/python3.*/site-packages")
    return folder
