"""The conditions of a measurement, read from made-up machines and from this one."""

from __future__ import annotations

import dataclasses
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import pytest
from made_up_benchmarks import CALM, made_up

from unet_edge.benchmarking.conditions import Conditions, ConditionsReader, settings, void_rounds
from unet_edge.benchmarking.tables import warnings


def but(**changes: object) -> Conditions:
    return dataclasses.replace(CALM, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("conditions", "void"),
    [
        ([CALM, CALM, CALM], ()),
        # A quarter slower than usual: the rounds before and behind that moment.
        ([CALM, CALM, but(core_ms=3.76), CALM, CALM], (1, 2)),
        ([CALM, CALM, but(core_ms=3.74), CALM, CALM], ()),
        ([CALM, but(throttling=("throttled now",)), CALM, CALM], (0, 1)),
        # Something happened between two readings; later readings still remember it.
        ([CALM, *[but(throttling=("throttled since boot",))] * 3], (0,)),
        ([but(throttling=("throttled since boot",))] * 3, ()),
        ([but(throttling=("frequency capped now",))] * 3, (0, 1)),
        ([but(throttling=None), but(throttling=None)], ()),
    ],
)
def test_rounds_of_a_throttled_machine_are_void(
    conditions: list[Conditions], void: tuple[int, ...]
) -> None:
    assert void_rounds(conditions) == void


def test_a_board_is_read(tmp_path: Path) -> None:
    frequency = tmp_path / "sys/devices/system/cpu/cpu0/cpufreq"
    thermal = tmp_path / "sys/class/thermal/thermal_zone0"
    firmware = tmp_path / "sys/devices/platform/soc/soc:firmware"
    for folder in (frequency, thermal, firmware, tmp_path / "proc"):
        folder.mkdir(parents=True)
    (frequency / "scaling_cur_freq").write_text("1500000\n")
    (frequency / "scaling_governor").write_text("powersave\n")
    (thermal / "type").write_text("cpu-thermal\n")
    (thermal / "temp").write_text("61234\n")
    (firmware / "get_throttled").write_text("2\n")
    stat = tmp_path / "proc/stat"
    stat.write_text("cpu  100 0 50 900 7 0 0 0 0 0\ncpu0 100 0 50 900 7 0 0 0 0 0\n")
    reader = ConditionsReader(tmp_path)
    first = reader.read()
    assert first.mhz == (1500,)
    assert first.governor == "powersave"
    assert first.temperature == 61.234
    assert first.throttling == ("frequency capped now",)
    assert first.others is None
    assert first.gemm_ms > 0
    assert first.core_ms > 0
    assert first.copy_gb_s > 0
    # Far more work than this process can have done since.
    stat.write_text("cpu  900100 0 50 900 7 0 0 0 0 0\n")
    assert (reader.read().others or 0) > 100


def test_a_machine_without_sensors_has_none(tmp_path: Path) -> None:
    reader = ConditionsReader(tmp_path)
    reader.read()
    found = reader.read()
    assert (found.mhz, found.governor, found.temperature) == (None, None, None)
    assert (found.throttling, found.others) == (None, None)


def test_own_children_are_not_other_programs(tmp_path: Path) -> None:
    """A program that works for a second, once as a child of this process and once not."""
    stat = tmp_path / "proc/stat"
    stat.parent.mkdir()
    work = "import time\nwhile time.process_time() < 1: pass"
    stat.write_text("cpu 0 0 0 0 0 0 0 0 0 0\n")
    reader = ConditionsReader(tmp_path)
    reader.read()
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", work], check=True)
    # What the system would say if only that child had worked: a second, in ticks of 10 ms.
    stat.write_text("cpu 100 0 0 0 0 0 0 0 0 0\n")
    found = reader.read().others
    assert found is not None
    # This process and the child's start also took processor time, which only lowers it.
    assert found < 0.2 / (time.monotonic() - started)


def test_settings_that_change_a_librarys_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Prescott")
    monkeypatch.setenv("TF_CLI_CONFIG_FILE", "/somewhere")  # another program's
    assert settings()["OPENBLAS_CORETYPE"] == "Prescott"
    assert "TF_CLI_CONFIG_FILE" not in settings()


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the names are those of x86's kernels")
@pytest.mark.parametrize("kernel", ["Nehalem", "Haswell"])
def test_the_kernel_of_matrix_products_is_that_of_the_environment(kernel: str) -> None:
    code = (
        "from unet_edge.benchmarking.conditions import matrix_kernel, settings\n"
        "print(matrix_kernel(), settings())"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=True,
        text=True,
        env={**os.environ, "OPENBLAS_CORETYPE": kernel},
    ).stdout
    assert found.startswith(kernel)
    assert f"'OPENBLAS_CORETYPE': '{kernel}'" in found
    slow = dataclasses.replace(made_up(0), environment={"OPENBLAS_CORETYPE": kernel})
    assert f"OPENBLAS_CORETYPE is {kernel}" in " ".join(warnings(slow))
