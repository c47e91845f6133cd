"""Commands for the data before training: data check, data preview. No Keras."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import click

from unet_edge.cli.group import Failure
from unet_edge.cli.options import Size, classes_option, data_options, json_option, path_type
from unet_edge.cli.output import print_json, print_table, say
from unet_edge.cli.settings import augmentation_settings, nested
from unet_edge.dataset import find_dataset
from unet_edge.dataset.check import DataReport
from unet_edge.dataset.check import check as check_data
from unet_edge.dataset.findings import Kind
from unet_edge.files import require_own, require_place
from unet_edge.mask import is_png_made_by, save_png
from unet_edge.progress import progress

_PREVIEW = "unet-edge data preview"
_SHOWN = 8  # findings of one kind in the table; --json has all


@click.group()
def data() -> None:
    """Check and look at a data set before you train on it."""


@data.command()
@click.argument("folder", metavar="DIR", type=path_type())
@classes_option
@data_options
@click.option("--strict", is_flag=True, help="Exit with 1 on warnings too.")
@json_option
def check(
    folder: Path, classes: tuple[str, ...], strict: bool, as_json: bool, **rules: Any
) -> None:
    """Look for everything that is wrong with the pictures and masks in DIR.

    Says how the data was understood, each class's share of the pixels, and what was found, with
    what mends it: missing and unreadable files, sizes that differ, masks of another encoding,
    smoothed or empty masks, unknown values, duplicates across splits and more. The exit status
    is 1 when there are errors.

    \b
    Examples:
      unet-edge data check cats --classes background,cat
      unet-edge data check cells --classes cell,membrane --masks 'binary<=127' --json
    """
    report = check_data(folder, classes=classes, progress=progress, **rules)
    if as_json:
        print_json(report.to_dict())
    else:
        for note in report.notes:
            say(note)
        _print_splits(report)
        _print_findings(report)
    counted = f"{report.errors} errors, {report.warnings} warnings"
    if report.errors or (strict and report.warnings):
        raise Failure(f"{counted} in {folder}")
    say(f"{counted} in {folder}")


@data.command()
@click.argument("folder", metavar="DIR", type=path_type())
@click.option("--output", "-o", type=path_type(), default=Path("preview.png"), show_default=True)
@classes_option
@click.option("--count", type=click.IntRange(1), default=4, show_default=True, help="Pictures.")
@click.option(
    "--views", type=click.IntRange(0), default=3, show_default=True, help="Random views of each."
)
@click.option("--size", type=Size(), default="256", show_default=True, help="As for train.")
@click.option("--crop", type=Size(), help="As for train.  [default: --size]")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@data_options
@augmentation_settings
def preview(
    folder: Path,
    output: Path,
    classes: tuple[str, ...],
    count: int,
    views: int,
    size: tuple[int, int],
    crop: tuple[int, int] | None,
    seed: int,
    masks: str,
    ignore: int | None,
    train_list: Path | None,
    validation_list: Path | None,
    **settings: Any,
) -> None:
    """Draw training pictures with their masks, as they are and as training augments them.

    Classes are laid over the picture in colour, class 0 stays clear; what training ignores is
    hatched. The options of the views are those of train.

    \b
    Examples:
      unet-edge data preview cats --classes background,cat -o cats.png
      unet-edge data preview cells --classes cell,membrane --masks 'binary<=127' \\
          --size 512 --crop 256 --rotation 20 --elastic 3
    """
    from unet_edge.spec import ModelSpec
    from unet_edge.training.augmentation import Augmentation
    from unet_edge.training.preview import preview_sheet

    require_place(output)
    require_own(output, lambda data: is_png_made_by(data, _PREVIEW), "data preview")
    # As training decodes unless it is told otherwise.
    spec = ModelSpec(height=size[0], width=size[1], classes=classes, decoding="scaled")
    dataset = find_dataset(
        folder,
        classes=classes,
        masks=masks,
        ignore=ignore,
        train_list=train_list,
        validation_list=validation_list,
    )
    for note in dataset.notes:
        say(note)
    sheet = preview_sheet(
        dataset,
        spec,
        crop=crop or size,
        augmentation=Augmentation(**nested(settings).get("augmentation", {})),
        count=count,
        views=views,
        seed=seed,
    )
    save_png(sheet, output, made_by=_PREVIEW)
    click.echo(f"look at {output}")


def _print_splits(report: DataReport) -> None:
    rows = [
        (name, split.pictures, *(f"{share:.2%}" for share in (*split.shares, split.ignored_share)))
        for name, split in report.splits.items()
    ]
    if rows:
        print_table(rows, ["split", "pictures", *report.classes, "ignored"])
    if report.sizes:
        (width, height), (most_width, most_height) = report.sizes[0], report.sizes[-1]
        span = "" if len(report.sizes) == 1 else f" to {most_width}x{most_height}"
        click.echo(f"pictures of {width}x{height}{span} px (width x height)")


def _print_findings(report: DataReport) -> None:
    """A table of what was found, at most eight of a kind, and what mends each kind."""
    if not report.findings:
        return
    shown: Counter[Kind] = Counter()
    rows = []
    for finding in report.findings:
        shown[finding.kind] += 1
        if shown[finding.kind] <= _SHOWN:
            file = finding.file
            if file != report.root and file.is_relative_to(report.root):
                file = file.relative_to(report.root)
            rows.append((finding.severity, finding.kind, file, finding.found))
    click.echo()
    print_table(rows, ["severity", "kind", "file", "found"])
    for kind, number in shown.items():
        if number > _SHOWN:
            click.echo(f"… and {number - _SHOWN} more of {kind}; --json lists all")
    click.echo()
    mends = {finding.kind: finding.mend for finding in reversed(report.findings)}
    for kind in shown:
        click.echo(f"{kind}: {mends[kind]}")
