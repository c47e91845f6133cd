"""The machine: board, system, processor, memory, heat. Read from Linux' own files."""

from __future__ import annotations

import platform
import re
import struct
from dataclasses import dataclass
from pathlib import Path

# ARM's part numbers of every Raspberry Pi's processor ("CPU part" in /proc/cpuinfo; the numbers
# are those of util-linux' lscpu-arm.c).
_ARM_PARTS = {
    "0xb76": "ARM1176",  # Pi 1, Zero
    "0xc07": "Cortex-A7",  # Pi 2
    "0xd03": "Cortex-A53",  # Pi 3, Zero 2
    "0xd08": "Cortex-A72",  # Pi 4
    "0xd0b": "Cortex-A76",  # Pi 5
}

# What the interpreters' kernels are chosen by, as /proc/cpuinfo spells it (ARM, then x86).
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

# The first that a processor has says how it multiplies int8, for x86 and ARM.
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
    """What may decide the masks of an int8 file: written beside every agreement.

    `model` and `architecture` are the system's own words. `int8` is the kind of instructions that
    int8 products are added with: "x86 with VNNI", "x86 without VNNI", "ARM with dotprod", "ARM
    without dotprod", or the architecture where nothing is known of it.
    """

    model: str
    architecture: str
    int8: str

    def __str__(self) -> str:
        return f"{self.model or 'this processor'} ({self.int8})"


@dataclass(frozen=True)
class Board:
    """What kind of computer this is; None or empty where it does not say.

    `machine` is the kernel's architecture and `bits` the userland's: Raspberry Pi OS runs a
    64-bit kernel under 32-bit programs. Memory in MiB, `temperature` in degrees Celsius.
    `throttling` names what the firmware reports, and is None where there is no such firmware.
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
        """The architecture that pip looks for wheels of."""
        return wheel_machine(self.machine, self.bits)


def wheel_machine(machine: str, bits: int) -> str:
    """The architecture in the names of wheels for a `bits`-bit Python on a kernel's `machine`."""
    if bits == 64:
        return machine
    return {"aarch64": "armv7l", "armv8l": "armv7l", "x86_64": "i686"}.get(machine, machine)


def read_board(root: Path = Path("/")) -> Board:
    """Look at this machine; `root` is where /proc, /sys and /etc are."""
    cpu = _text(root / "proc/cpuinfo")
    memory = _memory(root)
    return Board(
        model=_text(root / "proc/device-tree/model").strip("\0\n "),
        system=_system(_text(root / "etc/os-release")),
        kernel=platform.release(),
        machine=platform.machine(),
        bits=8 * struct.calcsize("P"),
        processor=_processor(cpu),
        cores=len(re.findall(r"^processor\s*:", cpu, re.M)),
        features=_features(cpu),
        memory=_mib(memory.get("MemTotal")),
        available=_mib(memory.get("MemAvailable")),
        temperature=_temperature(root),
        throttling=_throttling(root),
    )


def read_processor(root: Path = Path("/")) -> Processor:
    """This machine's processor. It reads one file: opening a tuned bundle waits for it."""
    cpu = _first_processor(root)
    machine = platform.machine()
    return Processor(_processor(cpu), machine, _int8(machine, cpu))


def _int8(machine: str, cpu: str) -> str:
    if not _flags(cpu):
        return machine or "unknown"
    features = _features(cpu)
    wanted, has_it, has_not = _INT8_X86 if machine.lower() in X86 else _INT8_ARM
    return has_it if any(name in features for name in wanted) else has_not


def available_memory(root: Path = Path("/")) -> int | None:
    """What programs may still take without swapping, bytes; None where the system is silent."""
    available = _mib(_memory(root).get("MemAvailable"))
    return None if available is None else int(available * 2**20)


def _memory(root: Path) -> dict[str, str]:
    return dict(re.findall(r"^(\w+):\s+(\d+) kB", _text(root / "proc/meminfo"), re.M))


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:  # not Linux, not a Pi, or not ours to read
        return ""


def _first_processor(root: Path) -> str:
    """What /proc/cpuinfo says of the first processor: with many it holds a megabyte."""
    try:
        with (root / "proc/cpuinfo").open("rb") as file:
            return file.read(16384).decode(errors="replace")
    except OSError:
        return ""


def _system(release: str) -> str:
    found = re.search(r'^PRETTY_NAME="?([^"\n]*)', release, re.M)
    return found[1] if found else f"{platform.system()} {platform.release()}"


def _processor(cpu: str) -> str:
    if parts := re.findall(r"^CPU part\s*:\s*(\w+)", cpu, re.M):
        return ", ".join(dict.fromkeys(_ARM_PARTS.get(part, f"ARM part {part}") for part in parts))
    found = re.search(r"^model name\s*:\s*(.+)", cpu, re.M)
    return found[1].strip() if found else platform.processor()


def _features(cpu: str) -> tuple[str, ...]:
    flags = _flags(cpu)
    return tuple(dict.fromkeys(name for flag, name in _FEATURES.items() if flag in flags))


def _flags(cpu: str) -> list[str]:
    found = re.search(r"^(?:Features|flags)\s*:\s*(.+)", cpu, re.M)
    return found[1].split() if found else []


def _mib(kib: str | None) -> float | None:
    return None if kib is None else int(kib) / 1024


def _temperature(root: Path) -> float | None:
    """The processor's own sensor, else none: others are those of disks and batteries."""
    for zone in sorted(root.glob("sys/class/thermal/thermal_zone*")):
        if re.match("cpu|x86_pkg|soc", _text(zone / "type")):
            milli = _text(zone / "temp").strip()
            return int(milli) / 1000 if milli.lstrip("-").isdigit() else None
    return None


def _throttling(root: Path) -> tuple[str, ...] | None:
    text = next(
        (_text(path) for path in root.glob("sys/devices/platform/soc*/*firmware/get_throttled")), ""
    )
    if not text and root == Path("/") and Path("/usr/bin/vcgencmd").is_file():
        import subprocess  # here: opening a bundle, which asks for the processor, would pay for it

        try:
            told = subprocess.run(
                ["/usr/bin/vcgencmd", "get_throttled"], capture_output=True, text=True, timeout=5
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        text = told.stdout.strip().removeprefix("throttled=")
    try:
        bits = int(text, 16)
    except ValueError:  # nothing there, or not permitted to ask
        return None
    return tuple(name for bit, name in _THROTTLED.items() if bits >> bit & 1)
