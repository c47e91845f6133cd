"""The size of Debian's packages on a Debian with only Python: fetched by apt, and unpacked."""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path
from threading import Lock

from benchmarks.pi.emulator import BASE, EmulationError, Machine, mirror, prepare
from benchmarks.pi.environments import Environment

_KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_DIST_PACKAGES = "/usr/lib/python3/dist-packages"
_COMPILING = Lock()  # environments checked at the same time may share a root file system


def fetched(environment: Environment) -> dict[str, int]:
    """Bytes of each .deb that apt fetches because of the environment's packages, by package.

    Compares apt's plans (`apt-get install --print-uris`) with and without the packages, for a
    machine on which nothing is installed. Raises EmulationError.
    """
    if not environment.packages:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        apt = _apt(environment, Path(folder))
        _call([*apt, "update"])
        base = BASE.split(",")
        without, with_them = _plan(apt, base), _plan(apt, [*base, *environment.packages])
    return {name: size for name, size in with_them.items() if name not in without}


def unpacked(here: Machine, environment: Environment) -> dict[str, int]:
    """Bytes of each file that the environment's packages install, by absolute name.

    Compiles their Python files first, as Debian's maintainer scripts do.
    """
    if not environment.packages:
        return {}
    with _COMPILING:
        here.do(f"python3 -m compileall -q {_DIST_PACKAGES}", environment.cpu)
        files = _files(here.root)
    plain = _files(prepare(environment.suite, environment.architecture))
    return {name: size for name, size in files.items() if name not in plain}


def _apt(environment: Environment, folder: Path) -> list[str]:
    """The command apt-get for the environment's system, with its state in `folder`."""
    for name in ("lists/partial", "archives/partial"):
        (folder / name).mkdir(parents=True)
    (folder / "status").touch()
    signed = f"[signed-by={_KEYS}] " if _KEYS.is_file() else ""
    sources = folder / "sources.list"
    sources.write_text(f"deb {signed}{mirror()} {environment.suite} main\n")
    options = {
        "Dir::Etc::sourcelist": sources,
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State": folder,
        "Dir::State::status": folder / "status",
        "Dir::Cache": folder,
        "APT::Architecture": environment.architecture,
        "APT::Architectures": environment.architecture,
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "root",  # another user cannot write to root's folder
        "Debug::NoLocking": "true",
    }
    return ["apt-get", "-q", *(f"-o{name}={value}" for name, value in options.items())]


def _plan(apt: list[str], packages: list[str]) -> dict[str, int]:
    """Bytes of each .deb that apt would fetch for `packages`."""
    text = _call([*apt, "--yes", "--print-uris", "install", *packages])
    # 'http://…/name_version_arm64.deb' name_version_arm64.deb 12345 SHA256:…
    lines = re.findall(r"^'[^']+' ([^_ ]+)_\S+ (\d+) ", text, re.MULTILINE)
    return {name: int(size) for name, size in lines}


def _call(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise EmulationError(f"{' '.join(command)} failed: {done.stderr.strip()[-1000:]}")
    return done.stdout


def _files(root: Path) -> dict[str, int]:
    """Bytes of each regular file below usr and etc, by absolute name."""
    return {
        f"/{path.relative_to(root)}": path.stat().st_size
        for top in ("usr", "etc")
        for path in (root / top).rglob("*")
        if path.is_file() and not path.is_symlink()
    }
