"""Emulate a Raspberry Pi: Debian for ARM in a folder, whose programs QEMU runs.

It shows what a Raspberry Pi does, not how fast. Needs root, Linux 6.7 or newer, and Debian or a
system derived from it. Changes nothing outside the cache folder, except that it installs
mmdebstrap if that is missing.
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
# The boards' processors. QEMU supports exactly their instructions. Never "max": it has SVE, which
# no Raspberry Pi has, so it runs programs that crash there.
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
# The environment variables that pip needs in this machine's network.
_NETWORK = ("http_proxy", "https_proxy", "no_proxy", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL")
# Every Pi has libstdc++6, because apt needs it. Interpreters' wheels need it too, and python3 does
# not depend on it.
BASE = (
    "base-files,base-passwd,bash,dash,coreutils,findutils,grep,sed,libstdc++6,ca-certificates,"
    "python3,python3-venv"
)


class EmulationError(Exception):
    """This machine cannot emulate, or a command on the emulated machine failed."""


@dataclass(frozen=True)
class Machine:
    """An emulated machine: a root file system, and the folder that is its /home/pi."""

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
        """Run a line of bash in /home/pi, without network by default.

        `mounts` maps names on the emulated machine to read-only files and folders of this one. The
        command gets none of this machine's environment variables. A status above 128 is 128 plus
        the signal, as in bash: 132 is an illegal instruction. Raises EmulationError if this machine
        cannot emulate, TimeoutExpired after `timeout` seconds.
        """
        pip_cache = cache() / "pip"
        pip_cache.mkdir(parents=True, exist_ok=True)
        all_mounts = [("rw", self.home, HOME), ("rw", pip_cache, "/var/cache/pip")]
        all_mounts += [("ro", outside.resolve(), name) for name, outside in (mounts or {}).items()]
        if network:
            all_mounts += [("ro", Path("/etc/resolv.conf").resolve(), "/etc/resolv.conf")]
        if _CERTIFICATES.is_file():
            all_mounts += [("ro", _CERTIFICATES.resolve(), str(_CERTIFICATES))]
        for _, outside, inside in all_mounts:
            mount_point = self.root / inside.lstrip("/")
            if outside.is_dir():
                mount_point.mkdir(parents=True, exist_ok=True)
            else:
                mount_point.parent.mkdir(parents=True, exist_ok=True)
                mount_point.touch()
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
            # The emulated command ends when this process ends, even if it is killed.
            ["setpriv", "--pdeathsig", "KILL", "unshare", *namespaces, "sh", str(_ENTER),
             *(f"{name}={value}" for name, value in variables.items()),
             "/bin/bash", "-c", f"cd {HOME}; {command}"],
            env={
                "PATH": os.environ["PATH"],
                "ROOT": str(self.root),
                "QEMU": str(cache() / "qemu"),
                "MOUNTS": "".join(
                    f"{mode}\t{outside}\t{inside}\n" for mode, outside, inside in all_mounts
                ),
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
        """Run a command as `run` does, and return its output.

        Raises EmulationError, with the output, if the command fails.
        """
        done = self.run(command, cpu, network=network, mounts=mounts)
        if done.returncode:
            text = f"{done.stdout}{done.stderr}".strip()
            raise EmulationError(f"status {done.returncode} of: {command}\n{text}")
        return done.stdout


def cache() -> Path:
    """The folder of root file systems, QEMU and pip's downloads."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get(CACHE_VARIABLE) or base / "unet-edge" / "pi").absolute()


def qemu(program: QemuProgram) -> Path:
    """The path of a QEMU program of Debian 13; unpacks it into the cache on first use.

    Raises EmulationError.
    """
    # Not the machine's own QEMU: 7.2 of Debian 12 runs some of NumPy's AVX2 code wrongly.
    path = cache() / "qemu" / program
    if not path.is_file():
        if os.geteuid() != 0:
            raise EmulationError("unpacking QEMU needs root")
        unpacked = cache() / "qemu.unpacked"
        _unpack("trixie", _own_architecture(), "qemu-user", unpacked)
        unfinished = cache() / "qemu.new"
        unfinished.mkdir(exist_ok=True)
        for name in get_args(QemuProgram):
            shutil.copy2(unpacked / "usr" / "bin" / name, unfinished / name)
        shutil.rmtree(path.parent, ignore_errors=True)
        unfinished.rename(path.parent)
        shutil.rmtree(unpacked)
    return path


def prepare(suite: Suite, architecture: Architecture, packages: tuple[str, ...] = ()) -> Path:
    """The root file system of Debian with Python and `packages`; unpacks it on first use.

    Unpacking takes seconds: no maintainer script runs, so nothing is emulated. Raises
    EmulationError.
    """
    if os.geteuid() != 0:
        raise EmulationError("unpacking a root file system needs root")
    qemu("qemu-aarch64")
    name = "-".join((suite, architecture, *packages))
    root = cache() / "roots" / name
    if root.is_dir():
        return root
    unfinished = root.with_name(f"{name}.new")
    _unpack(suite, architecture, ",".join((BASE, *packages)), unfinished)
    # The parts of the maintainer scripts' work that matter here: users, and the choice of BLAS.
    for file in ("passwd", "group"):
        master = unfinished / "usr/share/base-passwd" / f"{file}.master"
        shutil.copy(master, unfinished / "etc" / file)
    for library in ("blas/libblas.so.3", "lapack/liblapack.so.3"):
        for path in unfinished.glob(f"usr/lib/*/{library}"):
            (path.parents[1] / path.name).symlink_to(library)
    for folder in ("proc", "sys", "dev", "tmp", "home/pi", "var/cache/pip"):
        (unfinished / folder).mkdir(parents=True, exist_ok=True)
    (unfinished / "etc/resolv.conf").unlink(missing_ok=True)
    (unfinished / "etc/resolv.conf").touch()
    unfinished.rename(root)
    return root


def _unpack(suite: str, architecture: str, packages: str, folder: Path) -> None:
    """Fetch packages and their dependencies with mmdebstrap, check signatures, and unpack."""
    if not shutil.which("mmdebstrap"):
        install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "mmdebstrap"]
        for command in (["apt-get", "update", "-qq"], install):
            _call(command, "run apt-get install mmdebstrap")
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    _call(
        ["mmdebstrap", "--mode=root", "--variant=extract", f"--arch={architecture}",
         "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr", f"--include={packages}",
         suite, str(folder), mirror()],
        f"to use another mirror, set {MIRROR_VARIABLE}=http://…",
    )  # fmt: skip


def _call(command: list[str], hint: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        raise EmulationError(f"{command[0]} is missing; only Debian has it; {hint}") from None
    if done.returncode:
        last = "\n".join(f"{done.stdout}{done.stderr}".strip().splitlines()[-8:])
        raise EmulationError(f"{command[0]} failed: {last}\n{hint}")


def _own_architecture() -> str:
    return subprocess.check_output(["dpkg", "--print-architecture"], text=True).strip()


def mirror() -> str:
    """The Debian mirror that this machine uses. Raises EmulationError if it uses none."""
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
    raise EmulationError(f"apt names no Debian mirror; set {MIRROR_VARIABLE}=http://…/debian")
