"""Time the import of unet_edge, compared with NumPy and Pillow, which it needs.

    python -m benchmarks.import_time [--rounds 20]

Each import runs in a new Python process; the start of Python itself is not counted. Times are of
the wall clock and of the processor; a busy machine disturbs the latter less. The rows take turns,
so that other work on the machine affects all of them alike. Ratios are those of the medians.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys

import click
from tabulate import tabulate

from unet_edge.system.files import json_text

STATEMENTS = {
    "NumPy and Pillow": "import numpy, PIL.Image",
    "unet_edge": "import unet_edge",
    "unet_edge with Segmenter": "from unet_edge import Segmenter",
    "unet_edge with every public name": "from unet_edge import *",
}
_TIMED = """
import time
wall, processor = time.perf_counter(), time.process_time()
{}
print(1000 * (time.perf_counter() - wall), 1000 * (time.process_time() - processor))
"""


@click.command()
@click.option("--rounds", type=click.IntRange(3), default=20, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, not a table.")
def main(rounds: int, as_json: bool) -> None:
    """Time the imports in turns; print medians (ms) and their ratios to NumPy and Pillow."""
    times: dict[str, list[tuple[float, ...]]] = {name: [] for name in STATEMENTS}
    for turn in range(rounds + 1):
        for name, statement in STATEMENTS.items():
            duration = _time(statement)
            if turn:  # the first turn reads the files from disk and compiles them
                times[name].append(duration)
    medians = {
        name: [statistics.median(column) for column in zip(*values, strict=True)]
        for name, values in times.items()
    }
    base_wall, base_processor = medians["NumPy and Pillow"]
    rows = [
        {
            "what": name,
            "ms": wall,
            "ratio": wall / base_wall,
            "processor ms": processor,
            "processor ratio": processor / base_processor,
        }
        for name, (wall, processor) in medians.items()
    ]
    if as_json:
        click.echo(json_text(rows), nl=False)
    else:
        click.echo(tabulate(rows, "keys", floatfmt=".2f"))


def _time(statement: str) -> tuple[float, ...]:
    """Wall-clock and processor time (ms) of one import in a new process."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", _TIMED.format(statement)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    return tuple(map(float, done.stdout.split()))


if __name__ == "__main__":
    main()
