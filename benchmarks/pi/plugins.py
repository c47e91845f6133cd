"""Build QEMU with plugins, which count instructions; Debian's QEMU has none."""

from __future__ import annotations

import hashlib
import lzma
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import urllib.request
import venv
from pathlib import Path

from benchmarks.pi.emulator import EmulationError, cache, mirror

_NEEDS = ("gcc", "g++", "make", "libglib2.0-dev", "pkg-config", "flex", "bison")
# QEMU 10's configure fetches these unless the virtual environment has them.
_PYTHON = ("meson==1.5.0", "pycotap==1.3.1", "ninja", "setuptools")
_WITHOUT = ("docs", "system", "tools", "werror", "capstone", "install-blobs")
_TARGETS = ("qemu-aarch64", "tests/tcg/plugins/libinsn.so")


def counting_qemu() -> tuple[Path, Path]:
    """The paths of QEMU and of its counting plugin, built from Debian's source on first use.

    The build takes four minutes on two idle cores, and installs Debian's compiler if it is
    missing. Raises EmulationError.
    """
    folder = cache() / "plugins"
    programs = folder / "qemu-aarch64", folder / "libinsn.so"
    if folder.is_dir():
        return programs
    cache().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache()) as name:
        work = Path(name)
        _unpack(work / "source")
        _do(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *_NEEDS], work)
        venv.create(work / "venv", with_pip=True)
        _do([str(work / "venv/bin/pip"), "install", "-q", *_PYTHON], work)
        build = work / "build"
        build.mkdir()
        _do(
            [str(work / "source/configure"), f"--python={work / 'venv/bin/python3'}",
             "--target-list=aarch64-linux-user", "--enable-plugins",
             *(f"--disable-{part}" for part in _WITHOUT)],
            build,
        )  # fmt: skip
        _do([str(work / "venv/bin/ninja"), *_TARGETS], build)
        built = work / "built"
        built.mkdir()
        for target in _TARGETS:
            shutil.copy2(build / target, built)
        built.rename(folder)
    return programs


def _unpack(folder: Path) -> None:
    """Unpack Debian 13's source of QEMU, after its digest is checked against the index."""
    base = mirror().rstrip("/")
    index = lzma.decompress(_fetch(f"{base}/dists/trixie/main/source/Sources.xz")).decode()
    stanzas = index.split("\n\n")
    stanza = next((each for each in stanzas if each.startswith("Package: qemu\n")), "")
    directory = re.search(r"^Directory: (\S+)$", stanza, re.MULTILINE)
    archive_line = r"^ ([0-9a-f]{64}) \d+ (qemu_\S+\.orig\.tar\.xz)$"
    listed = re.search(archive_line, stanza, re.MULTILINE)
    if directory is None or listed is None:
        raise EmulationError(f"{base} has no source of QEMU for trixie")
    digest, name = listed.groups()
    data = _fetch(f"{base}/{directory[1]}/{name}")
    if hashlib.sha256(data).hexdigest() != digest:
        raise EmulationError(f"the digest of {name} differs from the one in {base}'s index")
    packed = folder.with_suffix(".tar.xz")
    packed.write_bytes(data)
    with tarfile.open(packed) as archive:
        archive.extractall(folder.with_suffix(".all"), filter="tar")
    (inner,) = folder.with_suffix(".all").iterdir()
    inner.rename(folder)


def _fetch(address: str) -> bytes:
    try:
        with urllib.request.urlopen(address) as answer:
            data: bytes = answer.read()
    except OSError as error:
        raise EmulationError(f"{address}: {error}") from error
    return data


def _do(command: list[str], folder: Path) -> None:
    path = os.pathsep.join((str(folder.parent / "venv/bin"), os.environ["PATH"]))
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env={**os.environ, "PATH": path}
    )
    if done.returncode:
        last = "\n".join(f"{done.stdout}{done.stderr}".strip().splitlines()[-8:])
        raise EmulationError(f"{command[0]} failed while QEMU was built: {last}")
