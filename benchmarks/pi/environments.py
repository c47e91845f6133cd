"""The emulated machines, and how unet-edge is installed there: by the guide's own commands."""

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
    """A system and an extra of ours; the first of `cpus` is where most of it is run.

    `packages` are Debian's, which the virtual environment then sees; `also` is what else pip is
    asked for. Where not `whole`, sizes, `verify` and `segment` have to do: the rest is tested on
    the same system or with the same extra.
    """

    name: str
    suite: Suite
    architecture: Architecture
    extra: str
    cpus: tuple[Cpu, ...] = _64_BIT
    packages: tuple[str, ...] = ()
    whole: bool = True
    also: str = ""

    @property
    def system(self) -> str:
        """As people call it."""
        bits = {"arm64": 64, "armhf": 32}[self.architecture]
        numpy = ", Debian's NumPy" if self.sees_the_system else ""
        return f"{self.suite.title()}, {bits} bit{numpy}"

    @property
    def sees_the_system(self) -> bool:
        """Whether the virtual environment sees Debian's Python packages."""
        return any(name.startswith("python3-") for name in self.packages)

    @property
    def cpu(self) -> Cpu:
        """Where most is run."""
        return self.cpus[0]


# No wheels of NumPy and Pillow for 32-bit ARM are on the index: there they are Debian's.
DEBIAN_32_BIT = (
    "python3-numpy",
    "python3-pil",
    "python3-click",
    "python3-tabulate",
    "python3-tqdm",
)

# Debian's NumPy is 7 MB to download with all that it needs, the wheel 14 to 16. Pillow's wheel is
# 6.5 MB: Debian's needs 15.7 MB on a bare Bookworm (Perl is among it) and 5.9 MB on Trixie.
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
        whole=False,
        # LiteRT asks for any; 0.6 asks for NumPy 2, 0.5 is 2.9 MB more to download than 0.4.
        also="ml-dtypes<0.5",
    ),
    Environment("trixie", "trixie", "arm64", "litert,onnx"),
    Environment("trixie-apt-litert", "trixie", "arm64", "litert", _A72, DEBIAN_NUMPY, whole=False),
    Environment("bookworm-armhf", "bookworm", "armhf", "tflite", ("cortex-a7",), DEBIAN_32_BIT),
)


def machine(environment: Environment, name: str = "") -> Machine:
    """A machine with an empty /home/pi; `name` tells several of one environment apart."""
    root = prepare(environment.suite, environment.architecture, environment.packages)
    home = cache() / "homes" / (name or environment.name)
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    # What the tests run must not leave behind files that were not installed.
    return Machine(root, home, {"PYTHONDONTWRITEBYTECODE": "1"})


def install(here: Machine, environment: Environment, wheel: Path, extra: str | None = None) -> None:
    """Copy the wheel and install it in ~/venv, with the environment's extra or another.

    What pip fetched for it is then in its report, ~/INSTALLED.
    """
    shutil.copy(wheel, here.home)
    shutil.copytree(fresh_venv(environment), here.home / "venv", symlinks=True)
    wanted = environment.extra if extra is None else extra
    here.do(
        f"pip install --quiet --report {INSTALLED} "
        f'"$(echo unet_edge-*.whl){f"[{wanted}]" if wanted else ""}"'
        + (f" {quote(environment.also)}" if environment.also else ""),
        environment.cpu,
        network=True,
    )


def fresh_venv(environment: Environment) -> Path:
    """A virtual environment as `python3 -m venv` makes it, kept, as that takes half a minute."""
    seen = "-system" if environment.sees_the_system else ""
    kept = cache() / "venvs" / f"{environment.suite}-{environment.architecture}{seen}"
    if not kept.is_dir():
        here = machine(environment, f"{kept.name}-fresh")
        kept.parent.mkdir(parents=True, exist_ok=True)
        site = "--system-site-packages " if environment.sees_the_system else ""
        here.do(f"python3 -m venv {site}venv", environment.cpu)
        (here.home / "venv").rename(kept)
    return kept


def site_packages(here: Machine) -> Path:
    """The folder of ~/venv with what was installed, as seen from outside."""
    (found,) = (here.home / "venv").glob("lib/python3.*/site-packages")
    return found
