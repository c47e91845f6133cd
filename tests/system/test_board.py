"""Reading a machine's own files, as Raspberry Pis have them."""

from __future__ import annotations

from pathlib import Path

import pytest

from unet_edge.system.board import hardware_name, read_board, read_processor, wheel_machine

PI_4 = """processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm crc32 cpuid
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: 0xd08
CPU revision\t: 3

processor\t: 1
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm crc32 cpuid
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: 0xd08
CPU revision\t: 3

Revision\t: c03111
Model\t\t: Raspberry Pi 4 Model B Rev 1.1
"""


def write(root: Path, **files: str) -> None:
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_a_raspberry_pi_4(tmp_path: Path) -> None:
    write(
        tmp_path,
        **{
            "proc/cpuinfo": PI_4,
            "proc/meminfo": "MemTotal:        3884372 kB\nMemFree: 1 kB\nMemAvailable:  3072 kB\n",
            "proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.1\0",
            "etc/os-release": 'NAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
            "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
            "sys/class/thermal/thermal_zone0/temp": "48686\n",
            "sys/devices/platform/soc/soc:firmware/get_throttled": "50005\n",
        },
    )
    board = read_board(tmp_path)
    assert board.model == "Raspberry Pi 4 Model B Rev 1.1"
    assert board.system == "Debian GNU/Linux 12 (bookworm)"
    assert (board.processor, board.cores, board.features) == ("Cortex-A72", 2, ("NEON",))
    assert (board.memory, board.available) == (3884372 / 1024, 3)
    assert board.temperature == 48.686
    # Bits 0, 2, 16 and 18, in the firmware's documented order.
    assert board.throttling == (
        "under-voltage now",
        "throttled now",
        "under-voltage since boot",
        "throttled since boot",
    )


def test_a_pi_5_has_dotprod_and_reports_no_throttling(tmp_path: Path) -> None:
    cpu = PI_4.replace("cpuid", "cpuid asimdrdm lrcpc dcpop asimddp asimdhp").replace(
        "0xd08", "0xd0b"
    )
    throttled = "sys/devices/platform/soc@107c000000/soc@107c000000:firmware/get_throttled"
    write(tmp_path, **{"proc/cpuinfo": cpu, throttled: "0\n"})
    board = read_board(tmp_path)
    assert (board.processor, board.features) == ("Cortex-A76", ("NEON", "dotprod", "fp16"))
    assert board.throttling == ()


def test_a_machine_without_any_of_the_files(tmp_path: Path) -> None:
    write(tmp_path, **{"sys/class/thermal/thermal_zone0/type": "acpitz\n"})
    board = read_board(tmp_path)
    assert (board.model, board.cores, board.features) == ("", 0, ())
    assert (board.memory, board.temperature, board.throttling) == (None, None, None)


@pytest.mark.parametrize(
    ("files", "name"),
    [
        ({"proc/device-tree/model": "Raspberry Pi 5\0", "proc/cpuinfo": PI_4}, "Raspberry Pi 5"),
        ({"proc/cpuinfo": "processor : 0\nmodel name\t: Some CPU @ 3 GHz\n"}, "Some CPU @ 3 GHz"),
        ({"proc/cpuinfo": "model name\t:\nflags : sse2\n"}, ""),
        ({}, ""),
    ],
)
def test_a_machine_is_named_after_its_board_or_its_processor(
    tmp_path: Path, files: dict[str, str], name: str
) -> None:
    write(tmp_path, **files)
    assert hardware_name(tmp_path) == name


@pytest.mark.parametrize(
    ("machine", "bits", "wheels"),
    [
        ("aarch64", 64, "aarch64"),
        ("aarch64", 32, "armv7l"),  # Raspberry Pi OS 32 bit on a Pi 4
        ("armv8l", 32, "armv7l"),  # the same, in a process of 32-bit personality
        ("armv7l", 32, "armv7l"),
        ("armv6l", 32, "armv6l"),
        ("x86_64", 64, "x86_64"),
    ],
)
def test_pip_looks_for_wheels_of_the_userland(machine: str, bits: int, wheels: str) -> None:
    assert wheel_machine(machine, bits) == wheels


@pytest.mark.parametrize(
    ("machine", "cpuinfo", "expected"),
    [
        ("x86_64", "flags : sse2 avx2 avx512f avx512_vnni", "x86 with VNNI"),
        ("x86_64", "flags : sse2 avx2 avx_vnni", "x86 with VNNI"),
        ("x86_64", "flags : sse2 avx2 avx512f", "x86 without VNNI"),
        ("x86_64", "flags : sse2", "x86 without VNNI"),
        ("aarch64", "Features : fp asimd asimddp", "ARM with dotprod"),
        ("aarch64", "Features : fp asimd", "ARM without dotprod"),
        ("riscv64", "", "riscv64"),
    ],
)
def test_a_processor_is_of_a_kind(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    machine: str,
    cpuinfo: str,
    expected: str,
) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text(f"model name : Some CPU\n{cpuinfo}\n")
    found = read_processor(tmp_path)
    assert (found.architecture, found.int8) == (machine, expected)
    assert str(found) == f"Some CPU ({expected})"
