"""Time `unet-edge segment` on one photo, with a bundle and with Keras, in new processes.

    python -m benchmarks.cold_start BUNDLE RUN --photo PHOTO

Runs the bundle's preferred file and the training run that it was exported from, in turns. Each
run is a new process that writes a palette mask and an overlay. Measures wall-clock time and peak
memory (VmHWM), for PHOTO as it is and enlarged to a JPEG of 12 megapixels. Writes
`benchmarks/reference/<machine>/cold-start.{md,json}`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
from PIL import Image

from benchmarks.reporting import REFERENCE, named, page, spelled, steadiness, table, write_report
from unet_edge.images.decoding import decode
from unet_edge.system.timing import gemm_ms, machine

_LARGE = (4000, 3000)
_PROGRAM = """
import atexit, sys
def peak():
    from unet_edge.system.timing import peak_memory
    print(peak_memory(), file=sys.stderr)
atexit.register(peak)
from unet_edge.cli import main
main()
"""


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path, exists=True))
@click.argument("run", type=click.Path(path_type=Path, exists=True))
@click.option("--photo", required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--rounds", default=9, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=REFERENCE)
def main(bundle: Path, run: Path, photo: Path, rounds: int, output: Path) -> None:
    """Measure and write the report."""
    before = gemm_ms()
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        large = Path(scratch, "large.jpg")
        decode(photo).resize(_LARGE, Image.Resampling.BICUBIC).save(large, quality=90)
        for picture in (photo, large):
            costs: dict[str, list[tuple[float, float]]] = {"bundle": [], "Keras": []}
            for turn in range(-1, rounds):
                for name, model in (("bundle", bundle), ("Keras", run)):
                    cost = _segment(model, picture, Path(scratch, "out"))
                    if turn >= 0:  # the first turn reads the libraries from the disk
                        costs[name].append(cost)
            rows.append({"photo": "{}x{}".format(*decode(picture).size), **_medians(costs)})
    report = {
        "machine": machine(),
        "gemm_before_ms": before,
        "gemm_after_ms": gemm_ms(),
        "rounds": rounds,
        "rows": rows,
    }
    target = named(output, machine(), "cold-start")
    write_report(target, report, _markdown(report))
    print(_markdown(report))


def _segment(model: Path, photo: Path, out: Path) -> tuple[float, float]:
    """Segment one photo in a new process; returns seconds, and peak memory in MiB."""
    command = [sys.executable, "-c", _PROGRAM, "segment", model, photo, "-o", out, "--again"]
    started = time.perf_counter()
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path.cwd()), *sys.path])},
    )
    return time.perf_counter() - started, float(done.stderr.split()[-1])


def _medians(costs: dict[str, list[tuple[float, float]]]) -> dict[str, Any]:
    bundle, keras = (np.array(costs[name]) for name in ("bundle", "Keras"))
    return {
        "seconds": {name: float(np.median(np.array(v)[:, 0])) for name, v in costs.items()},
        "peak_mib": {name: float(np.median(np.array(v)[:, 1])) for name, v in costs.items()},
        "time_ratio": float(np.median(bundle[:, 0] / keras[:, 0])),
        "memory_ratio": float(np.median(bundle[:, 1] / keras[:, 1])),
    }


def _markdown(report: dict[str, Any]) -> str:
    facts = spelled(report["machine"])
    rows = [
        (
            row["photo"],
            *(f"{value:.2f}" for value in row["seconds"].values()),
            f"1/{1 / row['time_ratio']:.1f}",
            *(f"{value:.0f}" for value in row["peak_mib"].values()),
            f"1/{1 / row['memory_ratio']:.1f}",
        )
        for row in report["rows"]
    ]
    headers = ["photo, px", "bundle, s", "Keras, s", "", "bundle, MiB", "Keras, MiB", ""]
    return page(
        "# One photo, from the start of the process to the written files",
        f"Made by `python -m benchmarks.cold_start`. Machine: {facts}.",
        f"Palette mask and overlay; medians of {report['rounds']} runs in turns, and medians of "
        "their ratios. " + steadiness(report),
        table(rows, headers),
    )


if __name__ == "__main__":
    main()
