"""The memory that a running process holds, as Linux counts it."""

from __future__ import annotations

import os
from pathlib import Path

from unet_edge.system import proc


def resident_bytes(process: int | None = None) -> int | None:
    """Resident memory of a process, by default this one; None once it has ended."""
    name = "self" if process is None else str(process)
    fields = proc.read_text(Path("/proc", name, "statm")).split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") if len(fields) > 1 else None
