"""Which machine this is: board, system, processor, memory and temperature."""

from __future__ import annotations

import platform
import re
import struct
from dataclasses import dataclass
from pathlib import Path

from unet_edge.system import proc

# ARM's part numbers of every Raspberry Pi's processor ("CPU part" in /proc/cpuinfo; the numbers
# are those of util-linux' lscpu-arm.c).
_ARM_PARTS = {
    "0xb76": "ARM1176",  # Pi 1, Zero
    "0xc07": "Cortex-A7",  # Pi 2
    "0xd03": "Cortex-A53",  # Pi 3, Zero 2
    "0xd08": "Cortex-A72",  # Pi 4
    "0xd0b": "Cortex-A76",  # Pi 5
}

# Instructions by which interpreters choose their kernels, as /proc/cpuinfo spells them (ARM, x86).
_FEATURES = {
    "neon": "NEON",
    "asimd": "NEON",
    "asimddp": "dotprod",
    "asimdhp": "fp16",
    "i8mm": "i8mm",
    "sve": "SVE",
    "avx2": "AVX2",
    "fma": "FMA",
    "avx512f": "AVX-512",
    "avx512_vnni": "AVX-512 VNNI",
    "avx_vnni": "AVX VNNI",
    "amx_int8": "AMX",
}

# Instructions that add int8 products exactly, then the kind of processor with and without them.
_INT8_X86 = (("AMX", "AVX-512 VNNI", "AVX VNNI"), "x86 with VNNI", "x86 without VNNI")
_INT8_ARM = (("dotprod", "i8mm"), "ARM with dotprod", "ARM without dotprod")
X86 = ("x86_64", "amd64", "i686", "i586", "i386", "x86")

# https://www.raspberrypi.com/documentation/computers/os.html#get_throttled
_THROTTLED = {
    0: "under-voltage now",
    1: "frequency capped now",
    2: "throttled now",
    3: "soft temperature limit now",
    16: "under-voltage since boot",
    17: "frequency capped since boot",
    18: "throttled since boot",
    19: "soft temperature limit since boot",
}


@dataclass(frozen=True)
class Processor:
    """A processor, as far as it may change the masks of an int8 file.

    `model` and `architecture` are the system's own words. `int8` is the kind of instructions that
    add int8 products: "x86 with VNNI", "x86 without VNNI", "ARM with dotprod" or "ARM without
    dotprod". It is the architecture where the instructions are unknown. The processor is written
    beside every agreement.
    """

    model: str
    architecture: str
    int8: str

    def __str__(self) -> str:
        return f"{self.model or 'this processor'} ({self.int8})"


@dataclass(frozen=True)
class Board:
    """A computer; what it does not say is None or empty.

    `machine` is the kernel's architecture and `bits` the userland's: Raspberry Pi OS runs a
    64-bit kernel under 32-bit programs. `memory` and `available` are in MiB, `temperature` in
    degrees Celsius. `throttling` names what the firmware reports; None without such firmware.
    """

    model: str
    system: str
    kernel: str
    machine: str
    bits: int
    processor: str
    cores: int
    features: tuple[str, ...]
    memory: float | None
    available: float | None
    temperature: float | None
    throttling: tuple[str, ...] | None

    @property
    def wheels(self) -> str:
        """The architecture of the wheels that pip installs here."""
        return wheel_machine(self.machine, self.bits)


def wheel_machine(machine: str, bits: int) -> str:
    """The architecture in the wheel names of a `bits`-bit Python on a kernel's `machine`."""
    if bits == 64:
        return machine
    return {"aarch64": "armv7l", "armv8l": "armv7l", "x86_64": "i686"}.get(machine, machine)


def read_board(root: Path = Path("/")) -> Board:
    """Describe this machine; `root` is the folder that holds /proc, /sys and /etc."""
    cpuinfo = proc.all_processors(root)
    memory = proc.memory_kib(root)
    return Board(
        model=proc.board_name(root),
        system=_system(proc.read_text(root / "etc/os-release")),
        kernel=platform.release(),
        machine=platform.machine(),
        bits=8 * struct.calcsize("P"),
        processor=_processor_model(cpuinfo),
        cores=len(re.findall(r"^processor\s*:", cpuinfo, re.M)),
        features=_features(cpuinfo),
        memory=_mib(memory.get("MemTotal")),
        available=_mib(memory.get("MemAvailable")),
        temperature=_temperature(root),
        throttling=_throttling(root),
    )


def read_processor(root: Path = Path("/")) -> Processor:
    """Describe this machine's processor. Reads one file, since opening a tuned bundle needs it."""
    cpuinfo = proc.first_processor(root)
    machine = platform.machine()
    return Processor(_processor_model(cpuinfo), machine, _int8_kind(machine, cpuinfo))


def hardware_name(root: Path = Path("/")) -> str:
    """The board's own name, else the processor's; empty where neither is known.

    Reads at most two files, since opening a tuned bundle needs it.
    """
    return proc.board_name(root) or _model_name(proc.first_processor(root))


def available_memory(root: Path = Path("/")) -> int | None:
    """Memory that programs can still take without swapping, bytes; None where it is unknown."""
    kib = proc.memory_kib(root).get("MemAvailable")
    return None if kib is None else kib * 1024


def _int8_kind(machine: str, cpuinfo: str) -> str:
    if not _flags(cpuinfo):
        return machine or "unknown"
    features = _features(cpuinfo)
    exact, kind_with, kind_without = _INT8_X86 if machine.lower() in X86 else _INT8_ARM
    return kind_with if any(name in features for name in exact) else kind_without


def _system(os_release: str) -> str:
    name = re.search(r'^PRETTY_NAME="?([^"\n]*)', os_release, re.M)
    return name[1] if name else f"{platform.system()} {platform.release()}"


def _processor_model(cpuinfo: str) -> str:
    if parts := re.findall(r"^CPU part\s*:\s*(\w+)", cpuinfo, re.M):
        return ", ".join(dict.fromkeys(_ARM_PARTS.get(part, f"ARM part {part}") for part in parts))
    return _model_name(cpuinfo) or platform.processor()


def _model_name(cpuinfo: str) -> str:
    name = re.search(r"^model name[ \t]*:[ \t]*(.*)", cpuinfo, re.M | re.I)
    return name[1].strip() if name else ""


def _features(cpuinfo: str) -> tuple[str, ...]:
    flags = _flags(cpuinfo)
    return tuple(dict.fromkeys(name for flag, name in _FEATURES.items() if flag in flags))


def _flags(cpuinfo: str) -> list[str]:
    flags = re.search(r"^(?:Features|flags)\s*:\s*(.+)", cpuinfo, re.M)
    return flags[1].split() if flags else []


def _mib(kib: int | None) -> float | None:
    return None if kib is None else kib / 1024


def _temperature(root: Path) -> float | None:
    """Read the processor's own sensor. Other sensors belong to disks and batteries."""
    for zone in sorted(root.glob("sys/class/thermal/thermal_zone*")):
        if re.match("cpu|x86_pkg|soc", proc.read_text(zone / "type")):
            milli = proc.read_text(zone / "temp").strip()
            return int(milli) / 1000 if milli.lstrip("-").isdigit() else None
    return None


def _throttling(root: Path) -> tuple[str, ...] | None:
    files = root.glob("sys/devices/platform/soc*/*firmware/get_throttled")
    text = next((proc.read_text(path) for path in files), "")
    if not text and root == Path("/") and Path("/usr/bin/vcgencmd").is_file():
        # Here, not at the top: opening a bundle reads the processor and would load this too.
        import subprocess

        try:
            answer = subprocess.run(
                ["/usr/bin/vcgencmd", "get_throttled"], capture_output=True, text=True, timeout=5
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        text = answer.stdout.strip().removeprefix("throttled=")
    try:
        bits = int(text, 16)
    except ValueError:  # no such firmware, or no permission to read it
        return None
    return tuple(name for bit, name in _THROTTLED.items() if bits >> bit & 1)
