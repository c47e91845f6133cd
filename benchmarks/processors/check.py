"""Compare what kinds of processors make of a bundle: `make test-processors`.

    python -m benchmarks.processors.check BUNDLE [--arm] [--pictures N] [-o OUTPUT]

x86 kinds are emulated by QEMU's user mode, which has no AVX-512: "haswell" has AVX2 without VNNI,
where int8 sums saturate in ONNX Runtime; "nehalem" has SSE4.2. "oldest versions" is this processor
with the oldest interpreters, NumPy and Pillow that pyproject.toml allows. ARM kinds are those of
`make test-pi`; --arm adds them, with their Debian. Exits with 1 where a file is under its floor.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import click
import numpy as np

from benchmarks.pi.check import build_wheel
from benchmarks.pi.emulator import Cpu, EmulationError, qemu
from benchmarks.pi.environments import ENVIRONMENTS, fresh_venv, install, machine
from benchmarks.processors.measure import UNREADABLE, labels_of
from benchmarks.reporting import page, table, write_report
from unet_edge.bundle.bundle import Bundle
from unet_edge.percent import percent

ROOT = Path(__file__).parents[2]
JPEGS = ROOT / "tests" / "data" / "jpeg"
MEASURE = "benchmarks.processors.measure"

X86 = Literal["haswell", "nehalem"]
# Flags of /proc/cpuinfo that the emulated processor does not have: QEMU shows the machine's own.
_WITHOUT: dict[X86, tuple[str, ...]] = {
    "haswell": ("avx512", "avx_vnni", "amx"),
    "nehalem": ("avx", "amx", "fma", "f16c", "bmi"),
}
_MODELS: dict[X86, str] = {"haswell": "Haswell", "nehalem": "Nehalem"}

OLDEST = ("numpy==1.24.*", "pillow==9.4.*", "ai-edge-litert==1.2.*", "onnxruntime==1.18.*")
"""The oldest versions that our extras allow."""

_ARM: tuple[tuple[str, Cpu], ...] = (
    ("bookworm-litert", "cortex-a72"),
    ("bookworm-litert", "cortex-a76"),
    ("bookworm-onnx", "cortex-a72"),
    ("bookworm-onnx", "cortex-a76"),
    ("bookworm-tflite", "cortex-a72"),
)


@dataclass(frozen=True)
class Measured:
    """What one kind of processor made of the bundle."""

    name: str
    report: dict[str, Any]
    scores: dict[str, np.ndarray]

    @classmethod
    def read(cls, name: str, path: Path) -> Measured:
        """Read what measure.py wrote."""
        with np.load(path) as data:
            scores = {key: data[key] for key in data.files if key != "report"}
            return cls(name, json.loads(str(data["report"])), scores)


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path, exists=True))
@click.option("--pictures", default=8, show_default=True, help="Golden pictures to compare on.")
@click.option("--arm", is_flag=True, help="ARM too: Debian for it is unpacked, see make test-pi.")
@click.option("--output", "-o", type=click.Path(path_type=Path), help="Write OUTPUT.md and .json.")
def main(bundle: Path, pictures: int, arm: bool, output: Path | None) -> None:
    """Compare what kinds of processors make of BUNDLE."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            found = list(_measured(bundle, pictures, arm, Path(folder)))
    except EmulationError as error:
        raise click.ClickException(str(error)) from error
    text = tables(found)
    click.echo(text)
    if output:
        spec = Bundle.open(bundle).spec
        about = f"{spec.name}, {spec.height}x{spec.width} px, {pictures} golden pictures"
        report = {"model": about, "kinds": {one.name: one.report for one in found}}
        write_report(output, report, page(_TITLE, _INTRODUCTION.format(about), text))
    if failures := under_floor(found):
        raise click.ClickException("\n".join(("under the floor:", *failures)))


def _measured(bundle: Path, pictures: int, arm: bool, folder: Path) -> Any:
    arguments = ["--pictures", str(pictures)]
    native = folder / "native.npz"
    words = [str(bundle), str(native), *arguments, "--jpegs", str(JPEGS)]
    _call([sys.executable, "-m", MEASURE, *words], {})
    yield Measured.read("native", native)
    without_simd = folder / "no-simd.npz"
    words[1] = str(without_simd)
    _call([sys.executable, "-m", MEASURE, *words], {"JSIMD_FORCENONE": "1"})
    yield Measured.read("native, JPEG without SIMD", without_simd)
    oldest = folder / "oldest.npz"
    words[1] = str(oldest)
    click.echo(f"measuring with {', '.join(OLDEST)}", err=True)
    _call([str(_oldest_python(folder)), "-m", MEASURE, *words], {})
    yield Measured.read("native, oldest versions", oldest)
    for name in _MODELS:
        target = folder / f"{name}.npz"
        words[1] = str(target)
        click.echo(f"measuring on an emulated {_MODELS[name]}", err=True)
        run_emulated(name, ["-m", MEASURE, *words], folder)
        yield Measured.read(name, target)
    if arm:
        yield from _on_arm(bundle, arguments)


def _oldest_python(folder: Path) -> Path:
    """A Python with OLDEST alone, which finds this checkout in its working directory."""
    python = folder / "oldest" / "bin" / "python"
    _call([sys.executable, "-m", "venv", str(folder / "oldest")], {})
    _call([str(python), "-m", "pip", "install", "--quiet", *OLDEST], {})
    return python


def run_emulated(name: X86, arguments: Sequence[str], folder: Path) -> str:
    """Run this Python with `arguments` on an emulated x86 processor; gives what it prints.

    `folder` is for files of its own. Raises EmulationError.
    """
    cpuinfo = folder / f"{name}-cpuinfo"
    cpuinfo.write_text(cpuinfo_of(name, f"as {_MODELS[name]}"))
    # In a mount namespace of its own: what is bound over /proc/cpuinfo is seen there alone.
    inside = f'mount --bind "{cpuinfo}" /proc/cpuinfo && exec "$@"'
    command = [str(qemu("qemu-x86_64")), "-cpu", _MODELS[name], sys.executable, *arguments]
    return _call(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", inside, "sh", *command], {}
    )


def cpuinfo_of(name: X86, said: str) -> str:
    """This machine's /proc/cpuinfo without what `name` lacks; `said` follows the model."""
    lines = []
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "flags":
            kept = [flag for flag in value.split() if not flag.startswith(_WITHOUT[name])]
            line = f"{key}: {' '.join(kept)}"
        elif key.strip() == "model name":
            line = f"{line}, {said}"
        lines.append(line)
    return "\n".join(lines) + "\n"


def _call(command: Sequence[str], environment: dict[str, str]) -> str:
    done = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, cwd=ROOT
    )
    if done.returncode:
        text = f"{done.stdout}{done.stderr}".strip()
        raise EmulationError(f"status {done.returncode} of: {' '.join(command)}\n{text}")
    return done.stdout


def _on_arm(bundle: Path, arguments: Sequence[str]) -> Any:
    wheel = build_wheel()
    for name, cpu in _ARM:
        environment = next(one for one in ENVIRONMENTS if one.name == name)
        fresh_venv(environment)
        here = machine(environment, f"processors-{name}")
        install(here, environment, wheel)
        shutil.copytree(bundle, here.home / "bundle")
        shutil.copytree(JPEGS, here.home / "jpegs")
        shutil.copy(Path(__file__).with_name("measure.py"), here.home)
        click.echo(f"measuring on an emulated {cpu}, {name}", err=True)
        words = " ".join(arguments)
        here.do(f"python measure.py bundle found.npz --jpegs jpegs {words}", cpu)
        yield Measured.read(f"{cpu}, {environment.extra}", here.home / "found.npz")


def under_floor(found: Sequence[Measured]) -> list[str]:
    """Files that agree less with Keras than their floor, a text each."""
    return [
        f"{one.name}: {file['file']} by {file['interpreter']}: {percent(file['agreement'])} % of "
        f"{percent(file['floor'])} %"
        for one in found
        for file in one.report["files"]
        if file["agreement"] < file["floor"]
    ]


def tables(found: Sequence[Measured]) -> str:
    """Agreement, what is bit-identical to this machine, and digests, as Markdown."""
    native = found[0]
    keys = list(dict.fromkeys(key for one in found for key in one.scores))
    return "\n\n".join(
        (
            "## Pixels of the golden pictures equal to Keras', %",
            table(
                [[key, *(_agreement(one, key) for one in found)] for key in keys],
                ["file and interpreter", *(one.name for one in found)],
            ),
            "## Scores beside this machine's",
            table(
                [[key, *(_difference(native, one, key) for one in found[1:])] for key in keys],
                ["file and interpreter", *(one.name for one in found[1:])],
            ),
            "## Scores by 1, 2 and 4 threads",
            table(
                [[key, *(_threads(one, key) for one in found)] for key in keys],
                ["file and interpreter", *(one.name for one in found)],
            ),
            "## Decoding, placement and arg-max beside this machine's",
            table(
                [
                    [name, *(_same_digest(native, one, name) for one in found[1:])]
                    for name in native.report["digests"]
                ],
                ["bytes", *(one.name for one in found[1:])],
            ),
            "Kinds: "
            + "; ".join(
                "{}: {model} ({int8})".format(one.name, **one.report["processor"]) for one in found
            )
            + ".",
        )
    )


def _entry(one: Measured, key: str) -> dict[str, Any] | None:
    return next((file for file in one.report["files"] if file["key"] == key), None)


def _agreement(one: Measured, key: str) -> str:
    entry = _entry(one, key)
    return "" if entry is None else percent(entry["agreement"])


def _difference(native: Measured, one: Measured, key: str) -> str:
    if key not in one.scores or key not in native.scores:
        return ""
    ours, theirs = native.scores[key], one.scores[key]
    if np.array_equal(ours, theirs):
        return "same bits"
    largest = np.abs(ours.astype(np.float64) - theirs.astype(np.float64)).max()
    labels = (labels_of(ours) != labels_of(theirs)).mean()
    return f"{labels:.4%} of labels, scores by {largest:.2g}"


def _threads(one: Measured, key: str) -> str:
    entry = _entry(one, key)
    if entry is None:
        return ""
    other = [threads for threads, same in entry["same_on_threads"].items() if not same]
    return f"others by {', '.join(other)}" if other else "same bits"


def _same_digest(native: Measured, one: Measured, name: str) -> str:
    ours, theirs = native.report["digests"][name], one.report["digests"].get(name)
    if theirs is None or theirs == UNREADABLE:
        return theirs or ""
    return "same bytes" if ours == theirs else "OTHER BYTES"


_TITLE = "# What is the same on every kind of processor"
_INTRODUCTION = (
    "Made by `python -m benchmarks.processors.check BUNDLE`, for ARM with `--arm`. Model: {}. x86 "
    "kinds are emulated by QEMU's user mode: haswell has AVX2 without VNNI, nehalem SSE4.2. An "
    "agreement below its floor fails the check."
)


if __name__ == "__main__":
    main()
