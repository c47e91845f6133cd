"""Conditions of a measurement: speed, clock, temperature, throttling, and what else was running."""

from __future__ import annotations

import ctypes
import itertools
import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unet_edge.runtime.threads import processors
from unet_edge.system import proc
from unet_edge.system.board import read_board
from unet_edge.system.timing import gemm_ms

STEADY = 1.25
"""An idle machine repeats a matrix product within a few percent. A quarter more or less means
that the machine was throttled or shared during the measurement."""

BUSY = 0.2
"""Other programs that use this many processors are named with the figures."""

_PRODUCTS, _SIDE = 200, 64  # small matrix products
_CORENAME = tuple(
    prefix + "openblas_get_corename" + suffix
    for prefix in ("scipy_", "")
    for suffix in ("64_", "", "64")
)
_COPIED = 2**25  # bytes, more than the last cache of a small computer
_SETTINGS = (
    *("OPENBLAS_", "OMP_", "MKL_", "BLIS_", "GOTO_", "NPY_", "XLA_FLAGS", "KERAS_BACKEND"),
    *("TF_ENABLE_ONEDNN_OPTS", "TF_NUM_INTEROP_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_XLA_FLAGS"),
)


@dataclass(frozen=True)
class Conditions:
    """The machine between two rounds; None where the system does not tell.

    `core_ms` is the time of many small matrix products on one thread, `gemm_ms` that of a large one
    on all. `copy_gb_s` is the rate of a copy in memory by one thread, `copy_all_gb_s` that of one
    on every processor together. All are by NumPy. `mhz` is the clock of each processor,
    `temperature` in °C, `throttling` what a Raspberry Pi reports, such as "throttled now". `others`
    is how many processors other programs used since the reading before; the first has None.
    """

    core_ms: float
    gemm_ms: float
    copy_gb_s: float
    copy_all_gb_s: float
    mhz: tuple[float, ...] | None
    governor: str | None
    temperature: float | None
    throttling: tuple[str, ...] | None
    others: float | None


class ConditionsReader:
    """Reads the conditions repeatedly; `root` is the folder that holds /proc and /sys."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._before: tuple[float, float, float] | None = None  # clock, all and own, seconds

    def read(self) -> Conditions:
        """Measure the machine's speed and read its sensors; takes a third of a second or so."""
        others = self._others()
        board = read_board(self._root)
        conditions = Conditions(
            core_ms=_core_ms(),
            gemm_ms=gemm_ms(),
            copy_gb_s=_copy_gb_s(1),
            copy_all_gb_s=_copy_gb_s(processors()),
            mhz=clock_mhz(self._root),
            governor=proc.read_text(
                self._root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"
            ).strip()
            or None,
            temperature=board.temperature,
            throttling=board.throttling,
            others=others,
        )
        self._before = self._seconds()
        return conditions

    def _others(self) -> float | None:
        now, before = self._seconds(), self._before
        if now is None or before is None:
            return None
        clock, everything, own = (a - b for a, b in zip(now, before, strict=True))
        return max(0.0, (everything - own) / max(clock, 1e-3))

    def _seconds(self) -> tuple[float, float, float] | None:
        """The clock, and the processor time of all programs and of this one with its children."""
        everything = proc.processor_seconds(self._root)
        if everything is None:
            return None
        own = os.times()
        own_seconds = own.user + own.system + own.children_user + own.children_system
        return time.monotonic(), everything, own_seconds


def void_rounds(conditions: Sequence[Conditions]) -> tuple[int, ...]:
    """The rounds, from 0, during which the machine was throttled or slower than usual.

    `conditions` were read before the first round and after each.
    """
    usual = statistics.median(entry.core_ms for entry in conditions)
    slow = [entry.core_ms > STEADY * usual for entry in conditions]
    return tuple(
        number
        for number, (before, after) in enumerate(itertools.pairwise(conditions))
        if slow[number] or slow[number + 1] or _throttled(before, after)
    )


def _throttled(before: Conditions, after: Conditions) -> bool:
    known, now = set(before.throttling or ()), set(after.throttling or ())
    # A Raspberry Pi also remembers what happened since it started.
    return bool(now - known) or any(flag.endswith(" now") for flag in known | now)


def core_gflops(core_ms: float) -> float:
    """The float32 speed of one thread, 10^9 operations a second, for a `Conditions.core_ms`."""
    return 2 * _PRODUCTS * _SIDE**3 / core_ms / 1e6


def matrix_kernel(root: Path = Path("/")) -> str | None:
    """The name of the kernels by which NumPy's OpenBLAS computes, such as "Zen" or "NEOVERSEN1".

    OpenBLAS chooses them by the processor; OPENBLAS_CORETYPE may name others, which can be twenty
    times as slow. None where NumPy has another library, or the system does not list it.
    """
    lines = proc.read_text(root / "proc/self/maps").splitlines()
    libraries = {line.split()[-1] for line in lines if "openblas" in line.rpartition("/")[2]}
    for path in sorted(libraries):
        library = ctypes.CDLL(path)
        for name in _CORENAME:
            if function := getattr(library, name, None):
                function.restype = ctypes.c_char_p
                return str(function().decode(errors="replace"))
    return None


def settings() -> dict[str, str]:
    """The environment variables that change how fast numerical libraries compute."""
    return {name: os.environ[name] for name in sorted(os.environ) if name.startswith(_SETTINGS)}


def _core_ms() -> float:
    """The time of 200 products of 64x64 float32 matrices, ms; takes a fifth of a second.

    OpenBLAS computes products up to this size on the calling thread. The large product cannot show
    a slow clock: where another program takes one processor, its threads wait for each other.
    """
    a = np.ones((_SIDE, _SIDE), np.float32)
    _products(a, 0.1)  # the clock of an idle processor rises slowly
    # The fastest quarter: what interrupts a product now and then is no slower machine.
    return float(np.percentile(_products(a, 0.1), 25))


def _products(matrix: NDArray[np.float32], seconds: float) -> list[float]:
    """The times of 200 products each, ms, until `seconds` have passed."""
    times: list[float] = []
    while sum(times) < 1e3 * seconds:
        started = time.perf_counter_ns()
        for _ in range(_PRODUCTS):
            matrix @ matrix
        times.append((time.perf_counter_ns() - started) / 1e6)
    return times


def _copy_gb_s(threads: int) -> float:
    """The rate of a copy of _COPIED bytes in as many parts as `threads`, 10^9 bytes a second."""
    # Here, not at the top: measuring children import this module.
    from concurrent.futures import ThreadPoolExecutor

    source = np.ones(_COPIED, np.uint8)
    target = np.empty_like(source)
    parts = list(zip(np.array_split(target, threads), np.array_split(source, threads), strict=True))
    times = []
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(5):
            started = time.perf_counter_ns()
            # NumPy copies without the interpreter's lock.
            list(pool.map(lambda part: np.copyto(*part), parts))
            times.append(time.perf_counter_ns() - started)
    return _COPIED / statistics.median(times)


def clock_mhz(root: Path) -> tuple[float, ...] | None:
    """The clock of each processor, MHz; `root` is the folder that holds /proc and /sys."""
    files = root.glob("sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq")
    numbered = sorted(files, key=lambda path: int(path.parts[-3].removeprefix("cpu")))
    if clocks := [proc.read_text(path).strip() for path in numbered]:
        return tuple(int(khz) / 1000 for khz in clocks if khz.isdigit())
    lines = proc.all_processors(root).splitlines()
    mhz = [line.partition(":")[2] for line in lines if line.startswith("cpu MHz")]
    return tuple(float(each) for each in mhz) or None
