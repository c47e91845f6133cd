"""The tables of `evaluate`: figures of each class, regions, and the files of a bundle."""

from __future__ import annotations

import math
from collections.abc import Sequence

import click

from unet_edge.cli.output import print_line, print_table, print_texts
from unet_edge.dataset.rules import MaskRule
from unet_edge.errors import BackendError
from unet_edge.evaluation.evaluation import Evaluation, FileEvaluation
from unet_edge.palette import has_background
from unet_edge.percent import percent
from unet_edge.runtime.interpreter_problems import not_run_lines
from unet_edge.system.counting import counted


def print_evaluation(result: Evaluation, split: str, rule: MaskRule) -> None:
    """Print one model's figures for each class, for regions and over all pictures."""
    figures = zip(result.classes, *result.figures.values(), strict=True)
    rows = [
        (name, *(None if math.isnan(value) else value for value in values))
        for name, *values in (*figures, ("mean", *result.means.values()))
    ]
    print_table(rows, ["class", "IoU", "Dice", "precision", "recall", "boundary F"])
    click.echo()
    _print_regions(result)
    click.echo()
    click.echo(f"{result.name} run by {result.backend}")
    worst = result.worst_first[0]
    print_line(
        f"{counted(len(result.pictures), 'picture')} ({split}), pixel accuracy "
        f"{result.confusion.accuracy:.4f}; worst: {worst.name} with mIoU {worst.miou:.4f}"
    )
    _print_ignored(result, rule)


def _print_regions(result: Evaluation) -> None:
    """Print the counts of connected regions of each class but the background."""
    rows = []
    for name, counts in result.regions.to_dict(result.classes).items():
        if name == result.classes[0] and has_background(result.classes):
            continue
        matched, touched = counts["iou_0.5"], counts["any_overlap"]
        rows.append((name, counts["true"], *matched.values(), *touched.values()))
    matched_columns = ["found (IoU 0.5)", "missed", "false"]
    touched_columns = ["touched", "untouched", "false (no overlap)"]
    print_table(rows, ["regions", "true", *matched_columns, *touched_columns])


def print_files(
    reference: Evaluation,
    files: Sequence[FileEvaluation],
    not_run: dict[str, BackendError],
    split: str,
    rule: MaskRule,
) -> None:
    """Print agreement, mIoU and lost points of a bundle's files, against the reference."""
    first = (reference.name, "-", "-", _share(reference.confusion.miou), "-", reference.backend)
    rows = [
        (
            each.evaluation.name,
            f"{percent(each.agreement)} %",
            f"{percent(each.worst)} %",
            _share(each.evaluation.confusion.miou),
            "-" if math.isnan(each.drop) else f"{each.drop:+.2f}",
            each.evaluation.backend,
        )
        for each in files
    ]
    headers = [
        "file",
        f"pixels as {reference.name}",
        "worst picture",
        "mIoU",
        "points lost",
        "run by",
    ]
    print_texts([first, *rows], headers)
    click.echo()
    evaluations = [reference, *(each.evaluation for each in files)]
    print_texts(
        [
            (name, *(_share(each.confusion.iou[index]) for each in evaluations))
            for index, name in enumerate(reference.classes)
        ],
        ["IoU", *(each.name for each in evaluations)],
    )
    for line in not_run_lines(not_run):
        print_line(line)
    click.echo(f"{counted(len(reference.pictures), 'picture')} ({split})")
    _print_ignored(reference, rule)


def _share(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4f}"


def _print_ignored(result: Evaluation, rule: MaskRule) -> None:
    if result.ignored:
        click.echo(
            f"ignored: {counted(result.ignored, 'pixel')} of the true masks "
            f"({result.ignored_share:.2%}), {_ignored_value(rule)}"
        )


def _ignored_value(rule: MaskRule) -> str:
    match rule.kind:
        case "colors":
            return f"of the colour to ignore in {rule}"
        case "polygons":
            return "crowds and regions marked as ignored"
        case _:
            return f"of the mask value {rule.ignore}"
