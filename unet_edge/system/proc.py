"""Linux's own files about this machine and process, read as text. Only this module reads /proc.

`root` is the folder that holds /proc, /sys and /etc. A file that is missing or cannot be read
counts as empty.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

_FIRST_PROCESSOR = 16384  # bytes of /proc/cpuinfo; the whole file has a megabyte for many cores


def read_text(path: Path) -> str:
    """Read a small file; empty when it is missing or cannot be read."""
    try:
        return path.read_text(errors="replace")
    except OSError:  # not Linux, not a Raspberry Pi, or no permission
        return ""


def all_processors(root: Path) -> str:
    """Read /proc/cpuinfo."""
    return read_text(root / "proc/cpuinfo")


def first_processor(root: Path) -> str:
    """Read the beginning of /proc/cpuinfo, which describes the first processor."""
    try:
        with (root / "proc/cpuinfo").open("rb") as file:
            return file.read(_FIRST_PROCESSOR).decode(errors="replace")
    except OSError:
        return ""


def board_name(root: Path) -> str:
    """Read a Raspberry Pi's name for itself; empty on other machines."""
    return read_text(root / "proc/device-tree/model").strip("\0\n ")


def memory_kib(root: Path) -> dict[str, int]:
    """Read /proc/meminfo: each of its figures, such as "MemTotal", in KiB."""
    lines = re.findall(r"^(\w+):\s+(\d+) kB", read_text(root / "proc/meminfo"), re.M)
    return {name: int(kib) for name, kib in lines}


def processor_seconds(root: Path) -> float | None:
    """Read how long all processors together have worked since the start; None if unknown.

    Time that a virtual machine's host kept for others ("steal") counts as work.
    """
    name, *ticks = read_text(root / "proc/stat").partition("\n")[0].split() or [""]
    if name != "cpu" or len(ticks) < 8:
        return None
    user, nice, system, _, _, irq, softirq, steal = map(int, ticks[:8])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def peak_resident_kib() -> int | None:
    """Read the peak resident memory of this process in KiB; None where Linux does not say."""
    peak = re.search(r"^VmHWM:\s+(\d+) kB", read_text(Path("/proc/self/status")), re.M)
    return int(peak[1]) if peak else None
