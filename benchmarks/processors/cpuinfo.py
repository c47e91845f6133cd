"""Replace /proc/cpuinfo for an emulated x86 processor; QEMU's user mode shows this machine's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from unet_edge.system import proc

X86 = Literal["haswell", "nehalem"]

# How the names of the flags begin that each kind lacks.
_MISSING_FLAGS: dict[X86, tuple[str, ...]] = {
    "haswell": ("avx512", "avx_vnni", "amx"),
    "nehalem": ("avx", "amx", "fma", "f16c", "bmi"),
}


def write_cpuinfo(path: Path, kind: X86, suffix: str) -> None:
    """Write this machine's /proc/cpuinfo without the flags that `kind` lacks.

    `suffix` is appended to the name of the model.
    """
    lines = []
    for line in proc.all_processors(Path("/")).splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "flags":
            kept = [flag for flag in value.split() if not flag.startswith(_MISSING_FLAGS[kind])]
            line = f"{key}: {' '.join(kept)}"
        elif key.strip() == "model name":
            line = f"{line}, {suffix}"
        lines.append(line)
    path.write_text("\n".join(lines) + "\n")


def with_cpuinfo(cpuinfo: Path, command: Sequence[str], *, as_root: bool) -> list[str]:
    """The command line that runs `command` with the file `cpuinfo` in place of /proc/cpuinfo.

    Only that command sees it: the file is mounted in a namespace of its own. Without `as_root`,
    a user namespace makes any user root there.
    """
    namespaces = ["--mount"] if as_root else ["--user", "--map-root-user", "--mount"]
    script = f'mount --bind "{cpuinfo}" /proc/cpuinfo && exec "$@"'
    return ["unshare", *namespaces, "sh", "-c", script, "sh", *command]
