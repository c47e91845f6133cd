"""How many training samples a second our loader draws, beside the tutorial's, in one run.

    python -m benchmarks.loader DATA --classes cell,membrane --masks 'binary<=127' [--size 512]

Both draw batches of four whole-size views of the same pictures, each with the augmentation it
has by default; ours after a first pass that decodes the pictures, as from the second epoch on.
They take turns, so that both meet the same machine. Samples a second of one thread, by processor
time, and of two threads, by the wall clock.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click
from tabulate import tabulate

from benchmarks.tutorial import BATCH_SIZE, Loader
from unet_edge.cli.options import Names
from unet_edge.cli.settings import data_options
from unet_edge.system.files import json_text
from unet_edge.training.batches import training_batches
from unet_edge.training.settings.train_config import TrainConfig

_TURNS = 7
_BATCHES = 10  # a turn

Draw = Callable[[int], Any]


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--classes", type=Names(), default="background,object", show_default=True)
@click.option("--size", type=int, default=512, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, not a table.")
@data_options
def main(data: Path, classes: tuple[str, ...], size: int, as_json: bool, **rules: Any) -> None:
    """Draw from both loaders in turns and print samples a second, and their ratio."""
    config = TrainConfig(
        data=data, classes=classes, size=(size, size), batch_size=BATCH_SIZE, **rules
    )
    dataset = config.dataset()
    theirs = Loader(dataset.train, size, len(classes), seed=0)
    ours = training_batches(config, dataset, config.spec(), seed=0)
    for index in range(-(-len(dataset.train) // BATCH_SIZE)):
        ours[index]
    rows = []
    for name, rate in (("1 thread, processor time", _alone), ("2 threads, wall clock", _together)):
        turns = [
            (rate(theirs.batch, turn * _BATCHES), rate(ours.__getitem__, turn * _BATCHES))
            for turn in range(_TURNS)
        ]
        their_rate, our_rate = (statistics.median(column) for column in zip(*turns, strict=True))
        ratio = statistics.median(mine / other for other, mine in turns)
        rows.append({"how": name, "tutorial": their_rate, "ours": our_rate, "ratio": ratio})
    if as_json:
        click.echo(json_text({"data": data.name, "size": size, "rates": rows}), nl=False)
    else:
        click.echo(tabulate(rows, headers="keys", floatfmt=".1f"))


def _alone(draw: Draw, first: int) -> float:
    start = time.process_time()
    for index in range(first, first + _BATCHES):
        draw(index)
    return _BATCHES * BATCH_SIZE / (time.process_time() - start)


def _together(draw: Draw, first: int) -> float:
    start = time.perf_counter()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(draw, range(first, first + _BATCHES)))
    return _BATCHES * BATCH_SIZE / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
