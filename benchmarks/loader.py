"""Measure how many training samples a second our loader and the tutorial's draw.

    python -m benchmarks.loader DATA --classes cell,membrane --masks 'binary<=127' [--size 512]

Both draw batches of four views at full size of the same pictures, each with its default
augmentation. Ours first passes over the pictures once to decode them, as training does in its
first epoch. The loaders take turns, so that other work on the machine affects both alike. Reports
samples a second of one thread by processor time, and of two threads by the wall clock.
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
    """Draw from both loaders in turns; print samples a second, and their ratio."""
    config = TrainConfig(
        data=data, classes=classes, size=(size, size), batch_size=BATCH_SIZE, **rules
    )
    dataset = config.dataset()
    tutorial = Loader(dataset.train, size, len(classes), seed=0)
    batches = training_batches(config, dataset, config.spec(), seed=0)
    for index in range(-(-len(dataset.train) // BATCH_SIZE)):
        batches[index]
    rows = []
    for name, rate in (
        ("1 thread, processor time", _one_thread),
        ("2 threads, wall clock", _two_threads),
    ):
        turns = [
            (rate(tutorial.batch, turn * _BATCHES), rate(batches.__getitem__, turn * _BATCHES))
            for turn in range(_TURNS)
        ]
        tutorial_rate, own_rate = (statistics.median(rates) for rates in zip(*turns, strict=True))
        ratio = statistics.median(own / other for other, own in turns)
        rows.append({"how": name, "tutorial": tutorial_rate, "ours": own_rate, "ratio": ratio})
    if as_json:
        click.echo(json_text({"data": data.name, "size": size, "rates": rows}), nl=False)
    else:
        click.echo(tabulate(rows, headers="keys", floatfmt=".1f"))


def _one_thread(draw: Draw, first: int) -> float:
    start = time.process_time()
    for index in range(first, first + _BATCHES):
        draw(index)
    return _BATCHES * BATCH_SIZE / (time.process_time() - start)


def _two_threads(draw: Draw, first: int) -> float:
    start = time.perf_counter()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(draw, range(first, first + _BATCHES)))
    return _BATCHES * BATCH_SIZE / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
