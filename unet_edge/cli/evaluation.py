"""The evaluate command: any model against the true masks of any data set. No TensorFlow."""

from __future__ import annotations

import math
import tomllib
from pathlib import Path
from typing import Any

import click

from unet_edge.cli.group import open_model
from unet_edge.cli.options import (
    data_options,
    file_option,
    json_option,
    path_type,
    threads_option,
)
from unet_edge.cli.output import echo, print_json, print_table, say
from unet_edge.dataset import find_dataset
from unet_edge.errors import ConfigError
from unet_edge.progress import progress


@click.command()
@click.argument("model", type=path_type())
@click.option("--data", type=path_type(), required=True, help="Pictures with masks, as for train.")
@data_options
@click.option(
    "--split",
    type=click.Choice(["validation", "train", "all"]),
    default="validation",
    show_default=True,
)
@click.option(
    "--output",
    "-o",
    type=path_type(),
    metavar="DIR",
    help="Write report.json, pictures.csv, confusion.csv, confusion.png and worst/ there.",
)
@click.option(
    "--worst",
    type=click.IntRange(0),
    default=8,
    show_default=True,
    help="How many of the worst pictures to draw into --output.",
)
@click.option(
    "--tolerance",
    type=click.FloatRange(0),
    metavar="PX",
    help="How far a boundary may be off.  [default: 0.75 % of the picture's diagonal]",
)
@file_option
@threads_option
@json_option
def evaluate(
    model: Path,
    data: Path,
    split: str,
    output: Path | None,
    worst: int,
    tolerance: float | None,
    file: str | None,
    threads: int | None,
    as_json: bool,
    **rules: Any,
) -> None:
    """Score MODEL (bundle, file or run) against the true masks of a data set.

    Figures are over all pixels of all pictures. Masks count the classes as the model does.

    \b
    Examples:
      unet-edge evaluate runs/cats --data cats
      unet-edge evaluate runs/cats --data cats -o runs/cats/evaluation
      unet-edge evaluate runs/cats/bundle --file model-int8.tflite --data cats --json
    """
    from unet_edge.runtime.evaluation import evaluate as score
    from unet_edge.runtime.evaluation_folder import require_evaluation_place, write_evaluation

    if output is not None:
        require_evaluation_place(output)
    segmenter = open_model(model, file, threads)
    # As the run read its data, where the command line does not say otherwise.
    given = {name: value for name, value in rules.items() if value not in (None, "auto")}
    settings = rules | _run_settings(model, data) | given
    dataset = find_dataset(data, classes=segmenter.spec.classes, **settings)
    names = ", ".join(f"{index} {name}" for index, name in enumerate(segmenter.spec.classes))
    for note in (*dataset.notes, f"classes, as the model counts them: {names}"):
        say(note)
    samples = {
        "validation": dataset.validation,
        "train": dataset.train,
        "all": (*dataset.train, *dataset.validation),
    }[split]
    result = score(segmenter, dataset, progress(samples, "evaluating"), tolerance=tolerance)
    for doubt in result.doubts:
        say(f"WARNING: {doubt}")
    report = {
        "data": str(data),
        "split": split,
        "masks": str(dataset.rule),
        "boundary_tolerance_px": tolerance,
        **result.to_dict(),
    }
    if output is not None:
        write_evaluation(output, result, report, segmenter, dataset, samples, worst=worst)
    if as_json:
        print_json(report)
        return
    figures = zip(result.classes, *result.figures.values(), strict=True)
    rows = [
        (name, *(None if math.isnan(value) else value for value in values))
        for name, *values in (*figures, ("mean", *result.means.values()))
    ]
    print_table(rows, ["class", "IoU", "Dice", "precision", "recall", "boundary F"])
    click.echo(f"{result.name} run by {result.backend}")
    lowest = result.worst_first[0]
    echo(
        f"{len(result.pictures)} pictures, pixel accuracy {result.confusion.accuracy:.4f}; "
        f"worst: {lowest.name} with mIoU {lowest.miou:.4f}"
    )
    if output is not None:
        echo(f"written to {output}" + (f"; look at {output / 'worst'}" if worst else ""))


def _run_settings(model: Path, data: Path) -> dict[str, Any]:
    """How the run that `model` is, or lies in, read its data; empty elsewhere."""
    from unet_edge.runtime.segmenter import CONFIG_FILE, KERAS_MODEL

    for folder in (model, model.absolute().parent):
        path = folder / CONFIG_FILE
        if path.is_file() and (folder / KERAS_MODEL).is_file():
            try:
                written = tomllib.loads(path.read_text(encoding="utf-8"))
            except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
                raise ConfigError(f"{path} is not TOML: {error}") from error
            lists: dict[str, Any] = {
                name: Path(written[name])
                for name in ("train_list", "validation_list")
                if name in written
            }
            rules: dict[str, Any] = {
                name: written[name] for name in ("masks", "ignore") if name in written
            }
            # The lists name the run's own pictures.
            own = Path(written["data"]).resolve() == data.resolve()
            return rules | lists if own else rules
    return {}
