"""Run a command at full speed as if this x86 processor had AVX2 and nothing newer.

    python -m benchmarks.processors.hidden pytest -p no:faulthandler -m 'not slow'
    python -m benchmarks.processors.hidden python -m benchmarks.int8_sums runs/cats

QEMU emulates a processor without VNNI exactly, but slowly. Here the interpreters choose their AVX2
kernels and run them natively: in copies of the packages each CPUID instruction is replaced by one
that traps, and a small library answers it without AVX-512, VNNI and AMX. /proc/cpuinfo is replaced
likewise. ONNX Runtime gives the same bits as under QEMU (`make test-processors`). TensorFlow is
told by its own variables. NumPy is not changed, nor what other environments have installed. A
command must leave SIGILL alone, as Python's faulthandler does not. Needs root, cc, objdump and
Linux on x86-64.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import click

from benchmarks.pi.emulator import cache
from benchmarks.processors.check import cpuinfo_of

PACKAGES = ("onnxruntime", "ai_edge_litert", "openvino")
_SOURCE = Path(__file__).with_name("hidden.c")
_CPUID, _UD2 = b"\x0f\xa2", b"\x0f\x0b"


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def main(command: tuple[str, ...]) -> None:
    """Run COMMAND, and end with its exit status."""
    here = cache() / "hidden"
    here.mkdir(parents=True, exist_ok=True)
    library = here / "hidden.so"
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", str(_SOURCE), "-o", str(library)], check=True)
    site = _patched_packages(here)
    cpuinfo = here / "cpuinfo"
    cpuinfo.write_text(cpuinfo_of("haswell", "AVX2 alone"))
    places = [str(site), *filter(None, [os.environ.get("PYTHONPATH")])]
    scripts = str(Path(sys.executable).parent)
    environment = {
        **os.environ,
        "PATH": os.pathsep.join((scripts, os.environ["PATH"])),
        "LD_PRELOAD": str(library),
        "PYTHONPATH": os.pathsep.join(places),
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        # As TensorFlow chooses on such a processor: oneDNN is its default with VNNI or AMX only.
        "TF_ENABLE_ONEDNN_OPTS": "0",
    }
    inside = f'mount --bind "{cpuinfo}" /proc/cpuinfo && exec "$@"'
    words = ["unshare", "--mount", "sh", "-c", inside, "sh", *command]
    os.execvpe(words[0], words, environment)


def _patched_packages(here: Path) -> Path:
    """A folder with copies of PACKAGES as installed now, whose CPUID instructions trap."""
    installed = Path(sysconfig.get_paths()["platlib"])
    versions = [
        found.name for name in PACKAGES for found in sorted(installed.glob(f"{name}-*.dist-info"))
    ]
    site = here / "-".join(version.removesuffix(".dist-info") for version in versions)
    if site.is_dir():
        return site
    made = here / "site.new"
    shutil.rmtree(made, ignore_errors=True)
    for name in PACKAGES:
        if not (installed / name).is_dir():
            continue
        shutil.copytree(installed / name, made / name)
        for path in sorted((made / name).rglob("*.so*")):
            if path.is_file() and not path.is_symlink() and (count := _patch(path)):
                click.echo(f"{path.relative_to(made)}: {count} CPUID instructions", err=True)
    made.rename(site)
    return site


def _patch(path: Path) -> int:
    """Replace each CPUID in a library's code, found by disassembling it; how many there were."""
    listing = subprocess.Popen(
        ["objdump", "-d", "--no-show-raw-insn", str(path)], stdout=subprocess.PIPE, text=True
    )
    assert listing.stdout
    found = [
        int(line.partition(":")[0], 16)
        for line in listing.stdout
        if line.rstrip().endswith("\tcpuid")
    ]
    listing.wait()
    segments = _segments(path)
    with path.open("r+b") as file:
        for address in found:
            offset = next(
                place + address - start
                for place, start, size in segments
                if start <= address < start + size
            )
            file.seek(offset)
            if file.read(2) != _CPUID:
                raise click.ClickException(f"{path} has no CPUID at {address:#x}")
            file.seek(offset)
            file.write(_UD2)
    return len(found)


def _segments(path: Path) -> list[tuple[int, int, int]]:
    """Place in the file, address and size of each segment that is loaded."""
    listing = subprocess.run(["readelf", "-lW", str(path)], capture_output=True, text=True).stdout
    found = re.findall(r"^\s*LOAD\s+0x(\w+)\s+0x(\w+)\s+0x\w+\s+0x(\w+)", listing, re.M)
    return [(int(place, 16), int(start, 16), int(size, 16)) for place, start, size in found]


if __name__ == "__main__":
    main()
