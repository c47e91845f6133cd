"""Whether memory grows: a hundred thousand pictures through one Segmenter.

    python -m benchmarks.endurance BUNDLE

Segments an array again and again and takes the process's resident memory every hundred pictures.
After a warm-up of a tenth, the slope of a straight line through it is given with its 95 % interval,
which blocks of neighbouring samples are drawn for (they are not independent). Writes
`benchmarks/reference/<machine>-endurance.{md,json}`.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from benchmarks.reporting import REFERENCE, named, page, spelled, write_report
from unet_edge import Segmenter
from unet_edge.system.progress import progress
from unet_edge.system.timing import machine

_EVERY = 100
_BLOCKS = 50
_DRAWS = 2000


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path, exists=True))
@click.option("--count", type=click.IntRange(10_000), default=100_000, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=REFERENCE)
def main(bundle: Path, count: int, output: Path) -> None:
    """Run, fit, write."""
    segmenter = Segmenter.open(bundle)
    photo = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    started = time.perf_counter()
    memory = np.full(-(-count // _EVERY), -1)  # a list of samples would be what grows
    for index in progress(range(count), "segmenting"):
        segmenter.segment(photo)
        if index % _EVERY == 0:
            memory[index // _EVERY] = _resident()
    kept = memory[len(memory) // 10 :]
    slope, low, high = _slope(kept)
    report: dict[str, Any] = {
        "machine": machine(),
        "file": segmenter.name,
        "interpreter": segmenter.backend.name,
        "pictures": count,
        "seconds": time.perf_counter() - started,
        "first_kib": int(kept[0]),
        "last_kib": int(kept[-1]),
        "largest_kib": int(kept.max()),
        "bytes_a_picture": slope,
        "interval": [low, high],
    }
    target = named(output, report["machine"], "endurance")
    write_report(target, report, _markdown(report))
    print(_markdown(report))


def _resident() -> int:
    """KiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4


def _slope(memory: NDArray[np.int64]) -> tuple[float, float, float]:
    """Bytes a picture, and the 95 % interval of a block bootstrap of the residuals."""
    place = np.arange(len(memory)) * _EVERY
    slope, start = np.polyfit(place, memory * 1024.0, 1)
    residuals = memory * 1024.0 - (slope * place + start)
    random = np.random.default_rng(0)
    length = max(1, len(memory) // _BLOCKS)
    slopes = []
    for _ in range(_DRAWS):
        starts = random.integers(0, len(memory) - length + 1, -(-len(memory) // length))
        drawn = np.concatenate([residuals[start : start + length] for start in starts])
        slopes.append(np.polyfit(place, slope * place + drawn[: len(place)], 1)[0])
    low, high = np.quantile(slopes, (0.025, 0.975))
    return float(slope), float(low), float(high)


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
