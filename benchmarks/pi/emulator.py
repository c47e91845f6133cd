"""Debian for ARM in a folder, its programs run by QEMU: what a Raspberry Pi would do, not how fast.

Needs root, Linux 6.7 or newer, and Debian or what is made of it. Nothing outside the cache folder
changes, but that mmdebstrap is installed if it is missing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

Suite = Literal["bookworm", "trixie"]
Architecture = Literal["arm64", "armhf"]
QemuProgram = Literal["qemu-aarch64", "qemu-arm", "qemu-x86_64"]
# What the boards have; the model decides which instructions there are. Never "max": it has SVE,
# which no Raspberry Pi has, and runs what would die there.
Cpu = Literal["cortex-a7", "cortex-a53", "cortex-a72", "cortex-a76"]
BOARDS: dict[Cpu, str] = {
    "cortex-a7": "Pi 2",
    "cortex-a53": "Pi 3, Zero 2 W",
    "cortex-a72": "Pi 4",
    "cortex-a76": "Pi 5",
}

HOME = "/home/pi"
CACHE_VARIABLE, MIRROR_VARIABLE = "UNET_EDGE_PI_CACHE", "UNET_EDGE_PI_MIRROR"
_ENTER = Path(__file__).with_name("enter.sh")
_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
# What pip needs to know of the network that this machine is in.
_NETWORK = ("http_proxy", "https_proxy", "no_proxy", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL")
# libstdc++6 is on every Pi, apt needs it; interpreters' wheels need it, python3 does not bring it.
BASE = (
    "base-files,base-passwd,bash,dash,coreutils,findutils,grep,sed,libstdc++6,ca-certificates,"
    "python3,python3-venv"
)


class EmulationError(Exception):
    """This machine cannot emulate, or a command there failed."""


@dataclass(frozen=True)
class Machine:
    """An emulated machine: a root file system, and a folder that is /home/pi there."""

    root: Path
    home: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    def run(
        self,
        command: str,
        cpu: Cpu,
        *,
        network: bool = False,
        mounts: Mapping[str, Path] | None = None,
        timeout: float = 1800,
    ) -> subprocess.CompletedProcess[str]:
        """Run a line of bash in /home/pi; `mounts` are seen read-only, inside name to outside.

        There is no network unless asked for, and nothing of this machine's environment. A status
        above 128 is 128 and the signal, as bash has it: 132 is an illegal instruction. Raises
        EmulationError where this machine cannot emulate, TimeoutExpired after `timeout` seconds.
        """
        pip_cache = cache() / "pip"
        pip_cache.mkdir(parents=True, exist_ok=True)
        seen = [("rw", self.home, HOME), ("rw", pip_cache, "/var/cache/pip")]
        seen += [("ro", outside.resolve(), name) for name, outside in (mounts or {}).items()]
        if network:
            seen += [("ro", Path("/etc/resolv.conf").resolve(), "/etc/resolv.conf")]
        if _CERTIFICATES.is_file():
            seen += [("ro", _CERTIFICATES.resolve(), str(_CERTIFICATES))]
        for _, outside, inside in seen:
            place = self.root / inside.lstrip("/")
            if outside.is_dir():
                place.mkdir(parents=True, exist_ok=True)
            else:
                place.parent.mkdir(parents=True, exist_ok=True)
                place.touch()
        variables = {
            "PATH": f"{HOME}/venv/bin:/usr/local/bin:/usr/bin:/bin",
            "HOME": HOME,
            "LANG": "C.UTF-8",
            "QEMU_CPU": cpu,
            "PIP_CACHE_DIR": "/var/cache/pip",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_PROGRESS_BAR": "off",
            "PIP_CERT": str(_CERTIFICATES),
            **{name: os.environ[name] for name in _NETWORK if name in os.environ},
            **self.environment,
        }
        namespaces = ["--user", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child"]
        namespaces += ["--ipc", "--uts", *([] if network else ["--net"])]
        done = subprocess.run(
            # The guest ends when this process does, however that ends.
            ["setpriv", "--pdeathsig", "KILL", "unshare", *namespaces, "sh", str(_ENTER),
             *(f"{name}={value}" for name, value in variables.items()),
             "/bin/bash", "-c", f"cd {HOME}; {command}"],
            env={
                "PATH": os.environ["PATH"],
                "ROOT": str(self.root),
                "QEMU": str(cache() / "qemu"),
                "MOUNTS": "".join(f"{mode}\t{place}\t{inside}\n" for mode, place, inside in seen),
            },
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout,
        )  # fmt: skip
        if done.returncode == 125:
            raise EmulationError(done.stderr.strip())
        return done

    def do(
        self,
        command: str,
        cpu: Cpu,
        *,
        network: bool = False,
        mounts: Mapping[str, Path] | None = None,
    ) -> str:
        """What a command that must end well prints; raises EmulationError with its words."""
        done = self.run(command, cpu, network=network, mounts=mounts)
        if done.returncode:
            text = f"{done.stdout}{done.stderr}".strip()
            raise EmulationError(f"status {done.returncode} of: {command}\n{text}")
        return done.stdout


def cache() -> Path:
    """Where root file systems, QEMU and pip's downloads are kept."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get(CACHE_VARIABLE) or base / "unet-edge" / "pi").absolute()


def qemu(program: QemuProgram) -> Path:
    """One of QEMU's programs, out of Debian 13, unpacked into the cache unless it is there.

    Not the machine's own: QEMU 7.2 of Debian 12 computes some of NumPy's AVX2 code wrongly. Raises
    EmulationError.
    """
    found = cache() / "qemu" / program
    if not found.is_file():
        if os.geteuid() != 0:
            raise EmulationError("unpacking QEMU needs root")
        unpacked = cache() / "qemu.unpacked"
        _unpack("trixie", _own_architecture(), "qemu-user", unpacked)
        made = cache() / "qemu.new"
        made.mkdir(exist_ok=True)
        for name in get_args(QemuProgram):
            shutil.copy2(unpacked / "usr" / "bin" / name, made / name)
        shutil.rmtree(found.parent, ignore_errors=True)
        made.rename(found.parent)
        shutil.rmtree(unpacked)
    return found


def prepare(suite: Suite, architecture: Architecture, packages: tuple[str, ...] = ()) -> Path:
    """Unpack Debian with Python and `packages` into the cache, unless it is there; its root.

    No maintainer script runs, so nothing is emulated and it takes seconds. Raises EmulationError.
    """
    if os.geteuid() != 0:
        raise EmulationError("unpacking a root file system needs root")
    qemu("qemu-aarch64")
    name = "-".join((suite, architecture, *packages))
    root = cache() / "roots" / name
    if root.is_dir():
        return root
    made = root.with_name(f"{name}.new")
    _unpack(suite, architecture, ",".join((BASE, *packages)), made)
    # What the maintainer scripts would have done that matters here: users, and which BLAS is used.
    for file in ("passwd", "group"):
        shutil.copy(made / "usr/share/base-passwd" / f"{file}.master", made / "etc" / file)
    for library in ("blas/libblas.so.3", "lapack/liblapack.so.3"):
        for found in made.glob(f"usr/lib/*/{library}"):
            (found.parents[1] / found.name).symlink_to(library)
    for folder in ("proc", "sys", "dev", "tmp", "home/pi", "var/cache/pip"):
        (made / folder).mkdir(parents=True, exist_ok=True)
    (made / "etc/resolv.conf").unlink(missing_ok=True)
    (made / "etc/resolv.conf").touch()
    made.rename(root)
    return root


def _unpack(suite: str, architecture: str, packages: str, folder: Path) -> None:
    """Let mmdebstrap fetch packages and what they depend on, check signatures, and unpack."""
    if not shutil.which("mmdebstrap"):
        install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "mmdebstrap"]
        for command in (["apt-get", "update", "-qq"], install):
            _call(command, "fix with: apt-get install mmdebstrap")
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    _call(
        ["mmdebstrap", "--mode=root", "--variant=extract", f"--arch={architecture}",
         "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr", f"--include={packages}",
         suite, str(folder), mirror()],
        f"is the mirror right? name another with {MIRROR_VARIABLE}=http://…",
    )  # fmt: skip


def _call(command: list[str], hint: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        raise EmulationError(f"{command[0]} is not here, only Debian has it; {hint}") from None
    if done.returncode:
        last = "\n".join(f"{done.stdout}{done.stderr}".strip().splitlines()[-8:])
        raise EmulationError(f"{command[0]} failed: {last}\n{hint}")


def _own_architecture() -> str:
    return subprocess.check_output(["dpkg", "--print-architecture"], text=True).strip()


def mirror() -> str:
    """Debian's mirror that this machine uses; raises EmulationError if it uses none."""
    if given := os.environ.get(MIRROR_VARIABLE):
        return given
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True).stdout.split()
    except FileNotFoundError:
        listed = []
    for address in listed:
        if address.rstrip("/").endswith("/debian"):
            return address
    raise EmulationError(f"apt names no mirror of Debian; say {MIRROR_VARIABLE}=http://…/debian")
