"""Check that memory does not grow over a hundred thousand pictures in one Segmenter.

    python -m benchmarks.endurance BUNDLE

Segments one array again and again, and samples the process's resident memory every hundred
pictures. The first tenth is a warm-up. A straight line is fitted to the other samples; its slope
and the 95 % interval of the slope are reported. Writes
`benchmarks/reference/<machine>/endurance.{md,json}`.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.memory_slope import memory_slope
from benchmarks.reporting import REFERENCE, named, page, spelled, write_report
from benchmarks.resident_memory import resident_bytes
from unet_edge import Segmenter
from unet_edge.system.progress import progress
from unet_edge.system.timing import machine

_EVERY = 100


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path, exists=True))
@click.option("--count", type=click.IntRange(10_000), default=100_000, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=REFERENCE)
def main(bundle: Path, count: int, output: Path) -> None:
    """Segment `count` pictures, fit the line and write the report."""
    segmenter = Segmenter.open(bundle)
    photo = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    started = time.perf_counter()
    samples = np.full(-(-count // _EVERY), -1)  # KiB; a list would itself grow
    for index in progress(range(count), "segmenting"):
        segmenter.segment(photo)
        if index % _EVERY == 0:
            samples[index // _EVERY] = (resident_bytes() or 0) // 1024
    warm = samples[len(samples) // 10 :]
    slope, low, high = memory_slope(warm, _EVERY)
    report: dict[str, Any] = {
        "machine": machine(),
        "file": segmenter.name,
        "interpreter": segmenter.backend.name,
        "pictures": count,
        "seconds": time.perf_counter() - started,
        "first_kib": int(warm[0]),
        "last_kib": int(warm[-1]),
        "largest_kib": int(warm.max()),
        "bytes_a_picture": slope,
        "interval": [low, high],
    }
    target = named(output, report["machine"], "endurance")
    write_report(target, report, _markdown(report))
    print(_markdown(report))


def _markdown(report: dict[str, Any]) -> str:
    facts = spelled(report["machine"])
    return page(
        "# Memory over many pictures",
        f"Made by `python -m benchmarks.endurance`. Machine: {facts}.",
        f"{report['pictures']:,} pictures of 640x480 px through {report['file']} in "
        f"{report['interpreter']}, {report['seconds']:.0f} s. Resident memory after a "
        f"tenth of them {report['first_kib']} KiB, at the end {report['last_kib']} KiB, "
        f"at most {report['largest_kib']} KiB. Slope of a straight line: "
        f"{report['bytes_a_picture']:.3f} bytes a picture (95 % interval "
        "{:.3f} to {:.3f}).".format(*report["interval"]),
    )


if __name__ == "__main__":
    main()
