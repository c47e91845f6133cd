"""Run a command at full speed as if this x86 processor had AVX2 and nothing newer.

    python -m benchmarks.processors.hidden pytest -p no:faulthandler -m 'not slow'
    python -m benchmarks.processors.hidden python -m benchmarks.int8_sums runs/cats

QEMU emulates a processor without VNNI exactly, but slowly. Here the interpreters choose their AVX2
kernels and run them natively. In copies of their packages, an instruction that traps replaces each
CPUID instruction, and a small library answers the trap without AVX-512, VNNI and AMX.
/proc/cpuinfo is replaced as well. ONNX Runtime gives the same bits as under QEMU
(`make test-processors`). TensorFlow gets the same by its environment variables. NumPy and the
installed packages stay as they are.

The command must not handle SIGILL; Python's faulthandler does. Needs root, cc, objdump and Linux
on x86-64.
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
from benchmarks.processors.cpuinfo import with_cpuinfo, write_cpuinfo

PACKAGES = ("onnxruntime", "ai_edge_litert", "openvino")
_SOURCE = Path(__file__).with_name("hidden.c")
_CPUID, _UD2 = b"\x0f\xa2", b"\x0f\x0b"


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def main(command: tuple[str, ...]) -> None:
    """Run COMMAND, and exit with its status."""
    folder = cache() / "hidden"
    folder.mkdir(parents=True, exist_ok=True)
    library = folder / "hidden.so"
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", str(_SOURCE), "-o", str(library)], check=True)
    site = _patched_packages(folder)
    cpuinfo = folder / "cpuinfo"
    write_cpuinfo(cpuinfo, "haswell", "AVX2 alone")
    import_paths = [str(site), *filter(None, [os.environ.get("PYTHONPATH")])]
    scripts = str(Path(sys.executable).parent)
    environment = {
        **os.environ,
        "PATH": os.pathsep.join((scripts, os.environ["PATH"])),
        "LD_PRELOAD": str(library),
        "PYTHONPATH": os.pathsep.join(import_paths),
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        # TensorFlow's default on such a processor: it uses oneDNN only with VNNI or AMX.
        "TF_ENABLE_ONEDNN_OPTS": "0",
    }
    arguments = with_cpuinfo(cpuinfo, command, as_root=True)
    os.execvpe(arguments[0], arguments, environment)


def _patched_packages(folder: Path) -> Path:
    """A folder with copies of the installed PACKAGES whose CPUID instructions trap."""
    installed = Path(sysconfig.get_paths()["platlib"])
    versions = [
        path.name for name in PACKAGES for path in sorted(installed.glob(f"{name}-*.dist-info"))
    ]
    site = folder / "-".join(version.removesuffix(".dist-info") for version in versions)
    if site.is_dir():
        return site
    unfinished = folder / "site.new"
    shutil.rmtree(unfinished, ignore_errors=True)
    for name in PACKAGES:
        if not (installed / name).is_dir():
            continue
        shutil.copytree(installed / name, unfinished / name)
        for path in sorted((unfinished / name).rglob("*.so*")):
            if path.is_file() and not path.is_symlink() and (count := _patch(path)):
                click.echo(f"{path.relative_to(unfinished)}: {count} CPUID instructions", err=True)
    unfinished.rename(site)
    return site


def _patch(path: Path) -> int:
    """Replace each CPUID instruction in a library, and return their number."""
    listing = subprocess.Popen(
        ["objdump", "-d", "--no-show-raw-insn", str(path)], stdout=subprocess.PIPE, text=True
    )
    assert listing.stdout
    addresses = [
        int(line.partition(":")[0], 16)
        for line in listing.stdout
        if line.rstrip().endswith("\tcpuid")
    ]
    listing.wait()
    segments = _segments(path)
    with path.open("r+b") as file:
        for address in addresses:
            offset = next(
                segment_offset + address - start
                for segment_offset, start, size in segments
                if start <= address < start + size
            )
            file.seek(offset)
            if file.read(2) != _CPUID:
                raise click.ClickException(f"{path} has no CPUID at {address:#x}")
            file.seek(offset)
            file.write(_UD2)
    return len(addresses)


def _segments(path: Path) -> list[tuple[int, int, int]]:
    """Offset in the file, address and size of each loaded segment."""
    listing = subprocess.run(["readelf", "-lW", str(path)], capture_output=True, text=True).stdout
    rows = re.findall(r"^\s*LOAD\s+0x(\w+)\s+0x(\w+)\s+0x\w+\s+0x(\w+)", listing, re.M)
    return [(int(offset, 16), int(start, 16), int(size, 16)) for offset, start, size in rows]


if __name__ == "__main__":
    main()
