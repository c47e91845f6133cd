"""Stage timings, percentiles, memory and what machine they were taken on."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from unet_edge.system.board import read_processor


@dataclass
class StageClock:
    """Collects the time of each stage over many runs, in ms.

    Call the clock with a stage's name when that stage ends, and `start` before the first.
    """

    laps: dict[str, list[float]] = field(default_factory=dict)
    _last: int = 0

    def start(self) -> None:
        """Begin a run."""
        self._last = time.perf_counter_ns()

    def __call__(self, stage: str) -> None:
        """End a stage."""
        now = time.perf_counter_ns()
        self.laps.setdefault(stage, []).append((now - self._last) / 1e6)
        self._last = now


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """p50, p90, p99 and the minimum, in the values' own unit (NumPy's linear interpolation)."""
    p50, p90, p99 = np.percentile(values, (50, 90, 99))
    return {"p50": float(p50), "p90": float(p90), "p99": float(p99), "min": float(min(values))}


def peak_memory() -> float:
    """Peak resident memory of this process in MiB since its program was started.

    From VmHWM, not getrusage: Linux hands ru_maxrss down from the parent through exec, so a
    small program started by a large one would report the large one's peak.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)


def machine() -> dict[str, Any]:
    """The machine in words and numbers: board or processor, cores, memory (GiB), OS, Python."""
    return {
        "model": hardware() or platform.processor() or platform.machine(),
        "architecture": platform.machine(),
        "int8": read_processor().int8,
        "cores": os.cpu_count(),
        "memory_gib": _memory_gib(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "numpy": np.__version__,
    }


def hardware() -> str:
    """The board's own name, or else the processor's; empty where neither is known.

    Reads a file or two and starts no process: opening a tuned bundle waits for it.
    """
    return _board() or _processor()


def gemm_ms() -> float:
    """Median time of a 512x512x512 float32 matrix product, ms: how busy the machine is now.

    Written beside every benchmark so that two runs can be compared as ratios.
    """
    a = np.ones((512, 512), np.float32)
    times = []
    for _ in range(15):
        start = time.perf_counter_ns()
        a @ a
        times.append((time.perf_counter_ns() - start) / 1e6)
    return float(np.median(times))


def _board() -> str:
    """A Raspberry Pi's own name for itself; empty elsewhere."""
    path = Path("/proc/device-tree/model")
    return path.read_text(errors="replace").strip("\0\n ") if path.exists() else ""


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    if path.exists():
        with path.open("rb") as file:
            first = file.read(4096)  # of the first processor: one of many cores has megabytes
        for line in first.decode(errors="replace").splitlines():
            if line.lower().startswith("model name"):
                return line.split(":", 1)[1].strip()
    return ""


def _memory_gib() -> float | None:
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1)
    return None
