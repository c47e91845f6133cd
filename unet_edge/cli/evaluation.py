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
from unet_edge.dataset.rules import MaskRule
from unet_edge.dataset.split_file import SplitNames
from unet_edge.errors import ConfigError, DataError
from unet_edge.files import read_regular
from unet_edge.progress import progress
from unet_edge.runtime.segmenter import CONFIG_FILE, KERAS_MODEL, MOST_CONFIG, SPLIT_FILE


@click.command()
@click.argument("model", type=path_type())
@click.option("--data", type=path_type(), required=True, help="Pictures with masks, as for train.")
@data_options
@click.option(
    "--split",
    type=click.Choice(["validation", "train", "test", "all"]),
    default="validation",
    show_default=True,
    help="Which pictures; test ones were never trained on, and chose no round.",
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
      unet-edge evaluate runs/cats --data cats --split test
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
    named = [name for name in given if name.endswith("_list")]
    kept = _run_split(model, data)
    dataset = find_dataset(
        data,
        classes=segmenter.spec.classes,
        split=None if named else kept,
        progress=progress,
        **settings,
    )
    names = ", ".join(f"{index} {name}" for index, name in enumerate(segmenter.spec.classes))
    for note in (*dataset.notes, f"classes, as the model counts them: {names}"):
        say(note)
    samples = dataset.splits.get(split, ())
    if split == "all":
        samples = tuple(sample for part in dataset.splits.values() for sample in part)
    if not samples:
        raise DataError(
            f"{data} has no {split} pictures"
            + (f", and the run began without any; pass --{split}-list FILE" if kept else "")
            + (
                ""
                if kept
                else f"; name them in {split}.txt, put them in {split}/, pass --{split}-list, or "
                f"draw them with 'unet-edge data split {data}'"
            )
        )
    trained = set(kept.train) if named and kept and split != "train" else set()
    if seen := sum(sample.name in trained for sample in samples):
        say(
            f"WARNING: the run trained on {seen} of these {len(samples)} pictures: the figures "
            "tell nothing of new ones"
        )
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
        f"{len(result.pictures)} pictures ({split}), pixel accuracy "
        f"{result.confusion.accuracy:.4f}; worst: {lowest.name} with mIoU {lowest.miou:.4f}"
    )
    if result.ignored:
        click.echo(
            f"ignored: {result.ignored} pixels of the true masks ({result.ignored_share:.2%}), "
            f"{_ignored_value(dataset.rule)}"
        )
    if output is not None:
        echo(f"written to {output}" + (f"; look at {output / 'worst'}" if worst else ""))


def _ignored_value(rule: MaskRule) -> str:
    match rule.kind:
        case "colors":
            return f"of the colour to ignore in {rule}"
        case "polygons":
            return "crowds and regions marked as ignored"
        case _:
            return f"of the mask value {rule.ignore}"


def _run_settings(model: Path, data: Path) -> dict[str, Any]:
    """How the run that `model` is, or lies in, read its data; empty elsewhere."""
    run = _run_of(model)
    if run is None:
        return {}
    written = _read_config(run)
    lists: dict[str, Any] = {
        name: Path(written[name])
        for name in ("train_list", "validation_list", "test_list")
        if name in written
    }
    # Runs older than these settings ignored crowds and drew pictures one by one.
    rules: dict[str, Any] = {"crowds": "ignore", "split_by": "pictures"} | {
        name: written[name]
        for name in ("masks", "ignore", "mask_names", "crowds", "split_by", "seed")
        if name in written
    }
    # The lists name the run's own pictures.
    return rules | lists if _is_own(written, data) else rules


def _run_split(model: Path, data: Path) -> SplitNames | None:
    """The split of the run that `model` is, or lies in, if these are its own pictures."""
    run = _run_of(model)
    if run is None or not (run / SPLIT_FILE).is_file() or not _is_own(_read_config(run), data):
        return None
    return SplitNames.read(run / SPLIT_FILE, gone="warning")


def _run_of(model: Path) -> Path | None:
    folders = (model, model.absolute().parent)
    found = (f for f in folders if (f / CONFIG_FILE).is_file() and (f / KERAS_MODEL).is_file())
    return next(found, None)


def _read_config(run: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_regular(run / CONFIG_FILE, MOST_CONFIG).decode())
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(f"cannot read {run / CONFIG_FILE}: {reason}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{run / CONFIG_FILE} is not TOML: {error}") from error


def _is_own(written: dict[str, Any], data: Path) -> bool:
    return "data" in written and Path(written["data"]).resolve() == data.resolve()
