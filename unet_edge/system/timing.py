"""Stage timings, percentiles, peak memory, and the machine they were measured on."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from unet_edge.system.board import hardware_name, read_processor
from unet_edge.system.proc import peak_resident_kib


@dataclass
class StageClock:
    """A clock that collects the time of each stage over many runs, in ms.

    Call `start` before the first stage, and the clock with a stage's name when that stage ends.
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
    """Peak resident memory of this process in MiB since its program was started."""
    # Not getrusage where Linux has VmHWM: ru_maxrss passes from the parent through exec, so a
    # small program that a large one started would report the large one's peak.
    peak = peak_resident_kib()
    if peak is not None:
        return peak / 1024
    import resource  # not on Windows

    usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return usage / (1024 * 1024 if sys.platform == "darwin" else 1024)


def machine() -> dict[str, Any]:
    """Describe the machine: board or processor, cores, memory (GiB), system, Python, NumPy."""
    return {
        "model": hardware_name() or platform.processor() or platform.machine(),
        "architecture": platform.machine(),
        "int8": read_processor().int8,
        "cores": os.cpu_count(),
        "memory_gib": _memory_gib(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "numpy": np.__version__,
    }


def gemm_ms() -> float:
    """Measure how busy the machine is: median time of a 512x512x512 float32 matrix product, ms.

    Every benchmark keeps it, so that two runs can be compared as ratios.
    """
    a = np.ones((512, 512), np.float32)
    times = []
    for _ in range(15):
        start = time.perf_counter_ns()
        a @ a
        times.append((time.perf_counter_ns() - start) / 1e6)
    return float(np.median(times))


def _memory_gib() -> float | None:
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1)
    return None
