"""Count instructions per picture on a Raspberry Pi's processors, for float32 and int8 files.

    python -m benchmarks.pi.instructions BUNDLE [BUNDLE …] -o OUTPUT

QEMU counts them with each interpreter. They are not times: caches, memory and stalls do not count.
The Cortex-A53 runs the same instructions as the A72. Needs the environments that `make test-pi`
leaves in the cache.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib.metadata import distributions
from pathlib import Path

import click
from PIL import Image
from tabulate import tabulate

from benchmarks.pi.emulator import BOARDS, Cpu, EmulationError, Machine, cache, prepare
from benchmarks.pi.environments import ENVIRONMENTS, Environment, site_packages
from benchmarks.pi.plugins import counting_qemu
from benchmarks.reporting import write_report
from unet_edge.bundle.bundle import Bundle

ROOT = Path(__file__).parents[2]
CPUS: tuple[Cpu, ...] = ("cortex-a72", "cortex-a76")
PRECISIONS = ("float32", "int8")
_PACKAGES = {"litert": "ai-edge-litert", "tflite": "tflite-runtime", "onnx": "onnxruntime"}
# A start takes 500 million instructions and varies by 2 million. Divided by two runs, the error is
# one million, 1 % of the smallest figure.
_RUNS = 2


@dataclass(frozen=True)
class Count:
    """Millions of instructions, one thread: the model with its arg-max, and file to mask."""

    model: str
    size: str
    run_by: str
    precision: str
    cpu: Cpu
    inference: float
    whole: float


@click.command()
@click.argument("bundles", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--jobs", default=2, show_default=True, help="Counts at a time.")
@click.option("--output", "-o", type=click.Path(path_type=Path), help="Write OUTPUT.md and .json.")
def main(bundles: Sequence[Path], jobs: int, output: Path | None) -> None:
    """Count each float32 and int8 file of BUNDLES, with each interpreter on each processor."""
    try:
        counting_qemu()
        tasks = [
            (environment, bundle, precision, cpu)
            for bundle in bundles
            for environment in ENVIRONMENTS
            if environment.extra in _PACKAGES and environment.architecture == "arm64"
            # The interpreters are the same with Debian's NumPy.
            if not environment.packages
            for precision in PRECISIONS
            for cpu in CPUS
        ]
        with ThreadPoolExecutor(jobs) as pool:
            counts = list(pool.map(lambda task: count(*task), tasks))
    except EmulationError as error:
        raise click.ClickException(str(error)) from error
    text = table(counts)
    click.echo(text)
    if output:
        write_report(output, {"counts": [asdict(each) for each in counts]}, text)


def count(environment: Environment, bundle: Path, precision: str, cpu: Cpu) -> Count:
    """Count one file with one environment's interpreter; the start is subtracted."""
    opened = Bundle.open(bundle)
    suffix = "onnx" if environment.extra == "onnx" else "tflite"
    file = bundle / f"model-{precision}.{suffix}"
    root = prepare(environment.suite, environment.architecture, environment.packages)
    here = Machine(root, cache() / "homes" / environment.name)
    if not (here.home / "venv").is_dir():
        raise EmulationError(f"{environment.name} is not installed; run make test-pi")
    start = _instructions(here, cpu, file, 1, 1)
    inference = (_instructions(here, cpu, file, 1 + _RUNS, 1) - start) / _RUNS
    whole = (_instructions(here, cpu, file, 1, 1 + _RUNS) - start) / _RUNS
    click.echo(f"{file} by {environment.name} on {cpu}: {inference / 1e6:.0f}", err=True)
    package = _PACKAGES[environment.extra]
    spec = opened.spec
    return Count(
        model=spec.name,
        size=f"{spec.height}x{spec.width}",
        run_by=f"{package} {_version(here, package)}",
        precision=precision,
        cpu=cpu,
        inference=inference / 1e6,
        whole=whole / 1e6,
    )


def _version(here: Machine, package: str) -> str:
    (found,) = distributions(name=package, path=[str(site_packages(here))])
    return found.version


def _instructions(here: Machine, cpu: Cpu, file: Path, model_runs: int, whole_runs: int) -> int:
    """Instructions of one process, including its start."""
    qemu, plugin = counting_qemu()
    with tempfile.TemporaryDirectory() as folder:
        photo, log = Path(folder, "photo.jpg"), Path(folder, "log")
        with Image.open(ROOT / "docs" / "pictures" / "overview.png") as picture:
            picture.convert("RGB").resize((640, 480)).save(photo, quality=90)
        done = subprocess.run(
            [str(qemu), "-cpu", cpu, "-L", str(here.root),
             "-plugin", f"{plugin},inline=on", "-d", "plugin", "-D", str(log),
             str(here.root / "usr/bin/python3"), str(Path(__file__).with_name("count.py")),
             str(file.absolute()), str(photo), str(model_runs), str(whole_runs)],
            env={"PYTHONPATH": str(site_packages(here)), "PYTHONHASHSEED": "0",
                 "PYTHONDONTWRITEBYTECODE": "1", "PYTHONSAFEPATH": "1", "PATH": os.environ["PATH"]},
            capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode:
            raise EmulationError(f"{file.name} on {cpu}: {done.stderr.strip()[-500:]}")
        total = re.search(r"^total insns: (\d+)", log.read_text(), re.MULTILINE)
    if total is None:
        raise EmulationError("QEMU's plugin counted nothing")
    return int(total[1])


def table(counts: Sequence[Count]) -> str:
    """A Markdown table; a row has both precisions of a model, interpreter and processor."""
    by_key = {(c.model, c.size, c.run_by, c.cpu, c.precision): c for c in counts}
    rows = []
    for model, size, run_by, cpu in dict.fromkeys(key[:4] for key in by_key):
        float32, int8 = (by_key[model, size, run_by, cpu, precision] for precision in PRECISIONS)
        board = BOARDS[cpu] + (" (and 3, Zero 2 W)" if cpu == "cortex-a72" else "")
        rows.append(
            [f"{model}, {size}", run_by, f"{cpu}: {board}", float32.inference, int8.inference,
             int8.inference / float32.inference, float32.whole, int8.whole]
        )  # fmt: skip
    headers = ["model", "run by", "processor", "float32", "int8", "int8 / float32",
               "float32, whole", "int8, whole"]  # fmt: skip
    formats = ("", "", "", ".0f", ".0f", ".2f", ".0f", ".0f")
    body = tabulate(rows, headers, tablefmt="github", floatfmt=formats)
    return f"{_INTRODUCTION}\n{body}\n"


_INTRODUCTION = """# Instructions per picture on a Raspberry Pi's processors

Made by `python -m benchmarks.pi.instructions`. Millions of instructions that QEMU executed, one thread. Left: the model and its arg-max. Right, "whole": from a JPEG of 640x480 px to the mask at its size. Instructions are not times: caches, memory and stalls do not count, and a dot product does the work of several. Cortex-A53 and A72 have the same instructions.
"""  # noqa: E501


if __name__ == "__main__":
    main()
