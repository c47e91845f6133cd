"""Compare a bundle's scores and masks between kinds of processors: `make test-processors`.

    python -m benchmarks.processors.check BUNDLE [--arm] [--pictures N] [-o OUTPUT]

x86 kinds are emulated by QEMU's user mode, which has no AVX-512. "haswell" has AVX2 without VNNI:
int8 sums saturate there in ONNX Runtime. "nehalem" has SSE4.2. "oldest versions" is this processor
with the oldest interpreters, NumPy and Pillow that pyproject.toml allows. --arm adds the ARM
processors of `make test-pi`. Exits with 1 if a file is under its floor.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.pi.check import build_wheel
from benchmarks.pi.emulator import Cpu, EmulationError, qemu
from benchmarks.pi.environments import ENVIRONMENTS, fresh_venv, install, machine
from benchmarks.processors.cpuinfo import X86, with_cpuinfo, write_cpuinfo
from benchmarks.processors.measure import UNREADABLE, labels_of
from benchmarks.reporting import page, table, write_report
from unet_edge.bundle.bundle import Bundle
from unet_edge.percent import percent

ROOT = Path(__file__).parents[2]
JPEGS = ROOT / "tests" / "data" / "jpeg"
MEASURE = "benchmarks.processors.measure"

_MODELS: dict[X86, str] = {"haswell": "Haswell", "nehalem": "Nehalem"}

OLDEST = ("numpy==1.24.*", "pillow==9.4.*", "ai-edge-litert==1.2.*", "onnxruntime==1.18.*")
"""The oldest versions that the extras allow."""

_ARM: tuple[tuple[str, Cpu], ...] = (
    ("bookworm-litert", "cortex-a72"),
    ("bookworm-litert", "cortex-a76"),
    ("bookworm-onnx", "cortex-a72"),
    ("bookworm-onnx", "cortex-a76"),
    ("bookworm-tflite", "cortex-a72"),
)


@dataclass(frozen=True)
class Measured:
    """The results of one kind of processor: measure.py's report, and scores by file."""

    name: str
    report: dict[str, Any]
    scores: dict[str, np.ndarray]

    @classmethod
    def read(cls, name: str, path: Path) -> Measured:
        """Read a file that measure.py wrote."""
        with np.load(path) as data:
            scores = {key: data[key] for key in data.files if key != "report"}
            return cls(name, json.loads(str(data["report"])), scores)


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path, exists=True))
@click.option("--pictures", default=8, show_default=True, help="Golden pictures to compare on.")
@click.option("--arm", is_flag=True, help="Also on ARM; unpacks Debian for it, as make test-pi.")
@click.option("--output", "-o", type=click.Path(path_type=Path), help="Write OUTPUT.md and .json.")
def main(bundle: Path, pictures: int, arm: bool, output: Path | None) -> None:
    """Compare the scores and masks of BUNDLE between kinds of processors."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            kinds = list(_measured(bundle, pictures, arm, Path(folder)))
    except EmulationError as error:
        raise click.ClickException(str(error)) from error
    text = tables(kinds)
    click.echo(text)
    if output:
        spec = Bundle.open(bundle).spec
        model = f"{spec.name}, {spec.height}x{spec.width} px, {pictures} golden pictures"
        report = {"model": model, "kinds": {kind.name: kind.report for kind in kinds}}
        write_report(output, report, page(_TITLE, _INTRODUCTION.format(model), text))
    if failures := under_floor(kinds):
        raise click.ClickException("\n".join(("under the floor:", *failures)))


def _measured(bundle: Path, pictures: int, arm: bool, folder: Path) -> Iterator[Measured]:
    """Measure each kind of processor, this one first."""
    options = ["--pictures", str(pictures)]

    def measure(output: Path) -> list[str]:
        arguments = [str(bundle), str(output), *options, "--jpegs", str(JPEGS)]
        return ["-m", MEASURE, *arguments]

    native = folder / "native.npz"
    _call([sys.executable, *measure(native)], {})
    yield Measured.read("native", native)
    without_simd = folder / "no-simd.npz"
    _call([sys.executable, *measure(without_simd)], {"JSIMD_FORCENONE": "1"})
    yield Measured.read("native, JPEG without SIMD", without_simd)
    oldest = folder / "oldest.npz"
    click.echo(f"measuring with {', '.join(OLDEST)}", err=True)
    _call([str(_oldest_python(folder)), *measure(oldest)], {})
    yield Measured.read("native, oldest versions", oldest)
    for kind, model in _MODELS.items():
        emulated = folder / f"{kind}.npz"
        click.echo(f"measuring on an emulated {model}", err=True)
        run_emulated(kind, measure(emulated), folder)
        yield Measured.read(kind, emulated)
    if arm:
        yield from _on_arm(bundle, options)


def _oldest_python(folder: Path) -> Path:
    """A Python with OLDEST only; it finds this checkout in its working directory."""
    python = folder / "oldest" / "bin" / "python"
    _call([sys.executable, "-m", "venv", str(folder / "oldest")], {})
    _call([str(python), "-m", "pip", "install", "--quiet", *OLDEST], {})
    return python


def run_emulated(kind: X86, arguments: Sequence[str], folder: Path) -> str:
    """Run this Python with `arguments` on an emulated x86 processor, and return its output.

    Writes temporary files to `folder`. Raises EmulationError.
    """
    cpuinfo = folder / f"{kind}-cpuinfo"
    write_cpuinfo(cpuinfo, kind, f"as {_MODELS[kind]}")
    command = [str(qemu("qemu-x86_64")), "-cpu", _MODELS[kind], sys.executable, *arguments]
    return _call(with_cpuinfo(cpuinfo, command, as_root=False), {})


def _call(command: Sequence[str], environment: dict[str, str]) -> str:
    done = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, cwd=ROOT
    )
    if done.returncode:
        text = f"{done.stdout}{done.stderr}".strip()
        raise EmulationError(f"status {done.returncode} of: {' '.join(command)}\n{text}")
    return done.stdout


def _on_arm(bundle: Path, options: Sequence[str]) -> Iterator[Measured]:
    wheel = build_wheel()
    by_name = {environment.name: environment for environment in ENVIRONMENTS}
    for name, cpu in _ARM:
        environment = by_name[name]
        fresh_venv(environment)
        here = machine(environment, f"processors-{name}")
        install(here, environment, wheel)
        shutil.copytree(bundle, here.home / "bundle")
        shutil.copytree(JPEGS, here.home / "jpegs")
        shutil.copy(Path(__file__).with_name("measure.py"), here.home)
        click.echo(f"measuring on an emulated {cpu}, {name}", err=True)
        arguments = " ".join(options)
        here.do(f"python measure.py bundle measured.npz --jpegs jpegs {arguments}", cpu)
        yield Measured.read(f"{cpu}, {environment.extra}", here.home / "measured.npz")


def under_floor(kinds: Sequence[Measured]) -> list[str]:
    """A line for each file that agrees less with Keras than its floor."""
    return [
        f"{kind.name}: {file['file']} by {file['interpreter']}: {percent(file['agreement'])} % of "
        f"{percent(file['floor'])} %"
        for kind in kinds
        for file in kind.report["files"]
        if file["agreement"] < file["floor"]
    ]


def tables(kinds: Sequence[Measured]) -> str:
    """Agreement, and comparisons with the first of `kinds`, as Markdown."""
    native, *others = kinds
    keys = list(dict.fromkeys(key for kind in kinds for key in kind.scores))
    return "\n\n".join(
        (
            "## Pixels of the golden pictures equal to Keras', %",
            table(
                [[key, *(_agreement(kind, key) for kind in kinds)] for key in keys],
                ["file and interpreter", *(kind.name for kind in kinds)],
            ),
            "## Scores compared with this machine's",
            table(
                [[key, *(_difference(native, kind, key) for kind in others)] for key in keys],
                ["file and interpreter", *(kind.name for kind in others)],
            ),
            "## Scores with 1, 2 and 4 threads",
            table(
                [[key, *(_threads(kind, key) for kind in kinds)] for key in keys],
                ["file and interpreter", *(kind.name for kind in kinds)],
            ),
            "## Decoding, placement and arg-max compared with this machine's",
            table(
                [
                    [name, *(_same_digest(native, kind, name) for kind in others)]
                    for name in native.report["digests"]
                ],
                ["bytes", *(kind.name for kind in others)],
            ),
            "Kinds: "
            + "; ".join(
                "{}: {model} ({int8})".format(kind.name, **kind.report["processor"])
                for kind in kinds
            )
            + ".",
        )
    )


def _entry(kind: Measured, key: str) -> dict[str, Any] | None:
    return next((file for file in kind.report["files"] if file["key"] == key), None)


def _agreement(kind: Measured, key: str) -> str:
    entry = _entry(kind, key)
    return "" if entry is None else percent(entry["agreement"])


def _difference(native: Measured, kind: Measured, key: str) -> str:
    if key not in kind.scores or key not in native.scores:
        return ""
    native_scores, scores = native.scores[key], kind.scores[key]
    if np.array_equal(native_scores, scores):
        return "same bits"
    largest = np.abs(native_scores.astype(np.float64) - scores.astype(np.float64)).max()
    labels = (labels_of(native_scores) != labels_of(scores)).mean()
    return f"{labels:.4%} of labels, scores by {largest:.2g}"


def _threads(kind: Measured, key: str) -> str:
    entry = _entry(kind, key)
    if entry is None:
        return ""
    different = [threads for threads, same in entry["same_on_threads"].items() if not same]
    return f"others with {', '.join(different)}" if different else "same bits"


def _same_digest(native: Measured, kind: Measured, name: str) -> str:
    digest = kind.report["digests"].get(name)
    if digest is None or digest == UNREADABLE:
        return digest or ""
    return "same bytes" if digest == native.report["digests"][name] else "OTHER BYTES"


_TITLE = "# What is the same on every kind of processor"
_INTRODUCTION = (
    "Made by `python -m benchmarks.processors.check BUNDLE`, for ARM with `--arm`. Model: {}. x86 "
    "kinds are emulated by QEMU's user mode: haswell has AVX2 without VNNI, nehalem SSE4.2. The "
    "check fails if an agreement is below its floor."
)


if __name__ == "__main__":
    main()
