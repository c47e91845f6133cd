"""What importing unet_edge costs beside NumPy and Pillow, which it cannot do without.

    python -m benchmarks.import_time [--rounds 20]

Each import is timed inside a fresh interpreter, without the interpreter's own start. The rows
take turns, so that all meet the same machine; a row's ratio is that of the medians.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys

import click
from tabulate import tabulate

from unet_edge.files import json_text

STATEMENTS = {
    "NumPy and Pillow": "import numpy, PIL.Image",
    "unet_edge": "import unet_edge",
    "unet_edge with Segmenter": "from unet_edge import Segmenter",
    "unet_edge with every public name": "from unet_edge import *",
}
_TIMED = "import time; t = time.perf_counter(); {}; print(1000 * (time.perf_counter() - t))"


@click.command()
@click.option("--rounds", type=click.IntRange(3), default=20, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, not a table.")
def main(rounds: int, as_json: bool) -> None:
    """Import each in turns and print medians (ms) and their ratios to NumPy and Pillow."""
    times: dict[str, list[float]] = {name: [] for name in STATEMENTS}
    for turn in range(rounds + 1):
        for name, statement in STATEMENTS.items():
            spent = _time(statement)
            if turn:  # the first reads the files from disk and compiles them
                times[name].append(spent)
    medians = {name: statistics.median(values) for name, values in times.items()}
    base = medians["NumPy and Pillow"]
    rows = [
        {"what": name, "ms": ms, "min ms": min(times[name]), "ratio": ms / base}
        for name, ms in medians.items()
    ]
    if as_json:
        click.echo(json_text(rows), nl=False)
    else:
        click.echo(tabulate(rows, "keys", floatfmt=".2f"))


def _time(statement: str) -> float:
    """What one import takes in a fresh interpreter, ms."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", _TIMED.format(statement)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    return float(done.stdout)


if __name__ == "__main__":
    main()
