"""Commands for a data set before training, without Keras: data check, split and preview."""

from __future__ import annotations

import math
import shlex
from pathlib import Path
from typing import Any

import click

from unet_edge.cli.group import Failure
from unet_edge.cli.options import json_option, path_type
from unet_edge.cli.output import print_json, print_line, print_note, print_table
from unet_edge.cli.settings import (
    augmentation_options,
    data_options,
    options_of,
    reading_options,
    require_config,
)
from unet_edge.dataset import find_dataset
from unet_edge.dataset.check import DataReport
from unet_edge.dataset.check import check as check_data
from unet_edge.dataset.drawn_split import draw_split, list_folder
from unet_edge.dataset.duplicates import path_below
from unet_edge.dataset.findings import Finding, Kind, Severity
from unet_edge.dataset.settings import DataSettings
from unet_edge.errors import ConfigError, UnetEdgeError
from unet_edge.masks.mask import is_png_made_by, save_png
from unet_edge.system.counting import counted
from unet_edge.system.files import require_replaceable, require_writable_path
from unet_edge.system.printable import printable
from unet_edge.system.progress import progress

_PREVIEW = "unet-edge data preview"
_EXAMPLES = 3  # of each kind of finding, without --all


@click.group()
def data() -> None:
    """Check, split and preview a data set before training.

    \b
    Examples:
      unet-edge data check cats --classes background,cat
      unet-edge data split cats --classes background,cat
      unet-edge data preview cats --classes background,cat -o cats.png
    """


@data.command()
@click.argument("folder", metavar="DIR", type=path_type())
@options_of("classes", fill=True)
@data_options
@options_of("bit_depth")
@click.option("--strict", is_flag=True, help="Exit with 1 if there are warnings, too.")
@click.option("--all", "show_all", is_flag=True, help="Show every finding, not three of each kind.")
@json_option
def check(
    folder: Path,
    classes: tuple[str, ...],
    bit_depth: int | None,
    strict: bool,
    show_all: bool,
    as_json: bool,
    **rules: Any,
) -> None:
    """Find what is wrong with the pictures and masks in DIR.

    It finds missing and unreadable files, sizes that differ, masks of mixed encodings, smoothed or
    empty masks, unknown values, duplicates across splits and more. It prints how the data is read,
    each class's share of the pixels, and for each kind of finding the count, the fix and three
    examples. The exit status is 1 if there are errors.

    \b
    Examples:
      unet-edge data check cats --classes background,cat
      unet-edge data check cells --classes cell,membrane --masks 'binary<=127' --json
      unet-edge data check trees --classes background,tree --mask-names NAME_mask --all
    """
    report = check_data(folder, classes=classes, bit_depth=bit_depth, progress=progress, **rules)
    if as_json:
        print_json(report.to_dict())
    else:
        for note in report.notes:
            print_note(printable(note))
        _print_splits(report)
        _print_findings(report, math.inf if show_all else _EXAMPLES)
    counts = f"{counted(report.errors, 'error')}, {counted(report.warnings, 'warning')}"
    summary = f"{counts} in {printable(folder)}"
    if report.errors or (strict and report.warnings):
        raise Failure(summary)
    print_note(summary)


@data.command()
@click.argument("folder", metavar="DIR", type=path_type())
@options_of("classes", fill=True)
@click.option(
    "--validation",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.2,
    show_default=True,
    help="Share of the pictures for validation.",
)
@click.option(
    "--test",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.1,
    show_default=True,
    help="Share of the pictures for the final test; 0 writes no test list.",
)
@click.option(
    "--group-by",
    metavar="REGEX",
    help="Keep pictures together if this pattern finds the same text in their names, e.g. "
    "'^[^_]+'.",
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=DataSettings.seed,
    show_default=True,
    help="Seed of the random split.",
)
@click.option(
    "--output",
    "-o",
    type=path_type(),
    help="Folder for the lists.  [default: DIR, where train finds them]",
)
@click.option("--overwrite", is_flag=True, help="Replace existing lists.")
@reading_options
@json_option
def split(
    folder: Path,
    classes: tuple[str, ...],
    validation: float,
    test: float,
    group_by: str | None,
    seed: int,
    output: Path | None,
    overwrite: bool,
    as_json: bool,
    **reading: Any,
) -> None:
    """Split the pictures in DIR for training, validation and test.

    The split is random, and the lists are train.txt, val.txt and test.txt. Pictures that look alike
    (bursts, video frames, other exposures) stay in one split, because the score of a near copy of a
    training picture tells nothing. --group-by keeps more pictures together. Existing lists and
    sub-folders do not affect the split.

    \b
    Examples:
      unet-edge data split cats --classes background,cat
      unet-edge data split tiles --classes background,defect --validation 0.15 --test 0.15
      unet-edge data split frames --classes background,tree --group-by '^video[0-9]+'
    """
    new_split = draw_split(
        folder,
        classes=classes,
        shares=(validation, test),
        group_by=group_by,
        seed=seed,
        settings=DataSettings.of(reading),
        progress=progress,
    )
    paths = new_split.write(output or list_folder(folder), overwrite=overwrite)
    if new_split.note:
        print_note(f"WARNING: {new_split.note}")
    if as_json:
        print_json(new_split.to_dict() | {"lists": [str(path) for path in paths]})
        return
    print_table(
        [(name, len(samples), new_split.groups[name]) for name, samples in new_split.parts.items()],
        ["split", "pictures", "groups kept together"],
    )
    for path in paths:
        click.echo(f"written: {printable(path)}")
    next_command = shlex.join(["data", "check", str(folder), "--classes", ",".join(classes)])
    click.echo(f"next: unet-edge {printable(next_command)}")


@data.command()
@click.argument("folder", metavar="DIR", type=path_type())
@click.option(
    "--output",
    "-o",
    type=path_type(),
    default=Path("preview.png"),
    show_default=True,
    help="The picture to write, as PNG.",
)
@options_of("classes")
@click.option(
    "--count", type=click.IntRange(1), default=4, show_default=True, help="Number of pictures."
)
@click.option(
    "--views",
    type=click.IntRange(0),
    default=3,
    show_default=True,
    help="Number of augmented views of each picture.",
)
@options_of("size", "crop", "network.architecture", "bit_depth", "seed")
@data_options
@augmentation_options
def preview(
    folder: Path,
    output: Path,
    count: int,
    views: int,
    **settings: Any,
) -> None:
    """Draw pictures with their masks, as they are and as augmented.

    Each class is drawn over the picture in its colour; class 0 stays clear. Pixels that training
    ignores are hatched. The options of the augmentation are those of train.

    \b
    Examples:
      unet-edge data preview cats --classes background,cat -o cats.png
      unet-edge data preview cells --classes cell,membrane --masks 'binary<=127' \\
          --size 512 --crop 256 --rotation 20 --elastic 3
    """
    from unet_edge.training.preview import preview_sheet

    output = _png_name(output)
    require_writable_path(output)
    config = require_config(folder, settings)
    require_replaceable(output, lambda data: is_png_made_by(data, _PREVIEW), "data preview")
    # Without groups, which would read every picture to show a few.
    reading = config.reading() | {"split_by": "pictures"}
    dataset = find_dataset(folder, classes=config.classes, **reading)
    layout, _, *others = dataset.notes
    for note in (layout, *others):
        print_note(printable(note))
    sheet = preview_sheet(
        dataset,
        config.spec(),
        crop=config.crop_size,
        augmentation=config.augmentation,
        count=count,
        views=views,
        seed=config.seed,
    )
    save_png(sheet, output, made_by=_PREVIEW)
    print_line(f"look at {output}")


def _png_name(output: Path) -> Path:
    """The file with the suffix .png, added if it has none.

    Raises ConfigError for another suffix, and for a folder.
    """
    is_folder = output.is_dir()
    if is_folder or not output.name.strip("."):
        folder = output if is_folder else output.parent
        raise ConfigError(
            f"{output} is {'a folder' if is_folder else 'not the name of a file'}",
            expected="data preview writes a PNG",
            fix=f"pass -o {folder / 'preview.png'}",
        )
    if not output.suffix:
        return output.with_name(f"{output.name}.png")
    if output.suffix.lower() != ".png":
        raise ConfigError(
            f"{output} is not the name of a PNG",
            expected="data preview writes a PNG",
            fix=f"pass -o {output.with_suffix('.png')}",
        )
    return output


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


def _print_findings(report: DataReport, examples: float) -> None:
    """Print the count and the fix of each kind of finding, then examples of each."""
    if not report.findings:
        return
    if len(report.findings) == 1 and not report.splits:
        _print_alone(report.findings[0], report.unreadable)
        return
    kinds: dict[tuple[Severity, Kind], list[Finding]] = {}
    for finding in report.findings:
        kinds.setdefault((finding.severity, finding.kind), []).append(finding)
    click.echo()
    counts = [
        (severity, kind, len(findings), printable(findings[0].fix))
        for (severity, kind), findings in kinds.items()
    ]
    print_table(counts, ["severity", "kind", "findings", "what to do"])
    rows = [
        (
            finding.severity,
            finding.kind,
            printable(path_below(finding.file, report.root)),
            printable(finding.found),
        )
        for findings in kinds.values()
        for number, finding in enumerate(findings)
        if number < examples
    ]
    click.echo()
    print_table(rows, ["severity", "kind", "file", "found"])
    if hidden := len(report.findings) - len(rows):
        click.echo(f"… and {hidden} more; --all shows them, --json too")


def _print_alone(finding: Finding, error: UnetEdgeError | None) -> None:
    """Print the one finding of data that cannot be read, in lines that a terminal may wrap."""
    # A table would pad each of its cells to the length of these texts.
    if error is None:
        lines = [f"{finding.file}: {finding.found}"]
    else:
        found = f"{error.subject} {error.found}" if error.subject else error.found
        lines = [found, error.expected]
    first, *others = filter(None, lines)
    print_line(f"{finding.severity}: {first}")
    for line in (*others, finding.fix):
        print_line(f"  {line}")
