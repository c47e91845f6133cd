"""The command that measures a bundle on this machine, without TensorFlow."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from unet_edge.benchmarking.result_file import benchmark_schema, is_benchmark_result
from unet_edge.bundle.bundle import Bundle
from unet_edge.cli.options import (
    Numbers,
    Packages,
    json_option,
    path_type,
    timed_images_option,
)
from unet_edge.cli.output import print_json, print_line, print_note
from unet_edge.cli.photo_list import list_photos
from unet_edge.cli.run_data import run_settings
from unet_edge.errors import ConfigError
from unet_edge.runtime.packages import Package
from unet_edge.system.captured_output import captured_output
from unet_edge.system.files import (
    json_text,
    require_replaceable,
    require_writable_path,
    sha256,
    write_atomically,
)
from unet_edge.system.progress import progress

if TYPE_CHECKING:
    from unet_edge.benchmarking.labelled_pictures import LabelledPicture
    from unet_edge.benchmarking.results import BenchmarkResult


def _print_schema(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        print_json(benchmark_schema())
        ctx.exit()


@click.command()
@click.argument("bundle", type=path_type())
@timed_images_option
@click.option(
    "--labels",
    type=path_type(),
    metavar="DIR",
    help="Masks named as the pictures of --images, to score every file against.",
)
@click.option("--masks", help="How --labels are read, as for train.  [default: as the run's, auto]")
@click.option("--ignore", type=click.IntRange(0, 255), help="Mask value to ignore, as for train.")
@click.option("--mask-names", metavar="PATTERN", help="How --labels are named, as for train.")
@click.option(
    "--runs",
    type=click.IntRange(1),
    default=10,
    show_default=True,
    help="Number of timed pictures for each file in a round: the first ones, or all in turns.",
)
@click.option(
    "--rounds",
    type=click.IntRange(2),
    default=6,
    show_default=True,
    help="Number of rounds. Each opens every file again, in another order.",
)
@click.option(
    "--threads",
    type=Numbers(),
    help="Number of threads, or several: 1,2,4.  [default: all processors, at most four]",
)
@click.option(
    "--backends",
    "--backend",
    type=Packages(),
    default=(),
    help=f"Interpreters, instead of the first that works: {', '.join(get_args(Package))}.",
)
@click.option(
    "--keras",
    type=path_type(),
    help="Training run, to time Keras too.  [default: the run that holds the bundle]",
)
@click.option(
    "--sustained",
    type=click.FloatRange(0, 1440, min_open=True),
    metavar="MINUTES",
    help="Then run the fastest file for so long without a pause, until the machine is warm.",
)
@click.option(
    "--html", type=path_type(), help="Write an HTML page with tables, charts and the worst masks."
)
@click.option("--csv", type=path_type(), help="Write the figures as CSV, a row for each file.")
@click.option("--markdown", is_flag=True, help="Print Markdown, for a page or an issue.")
@click.option(
    "--output",
    "-o",
    type=path_type(),
    default=Path("benchmark.json"),
    show_default=True,
    help="File for the figures, as JSON.",
)
@click.option(
    "--schema",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_schema,
    help="Print the JSON Schema of the figures and exit.",
)
@json_option
def benchmark(
    bundle: Path,
    images: Path | None,
    labels: Path | None,
    runs: int,
    rounds: int,
    threads: tuple[int, ...] | None,
    backends: tuple[Package, ...],
    keras: Path | None,
    sustained: float | None,
    html: Path | None,
    csv: Path | None,
    markdown: bool,
    output: Path,
    as_json: bool,
    **mask_rules: Any,
) -> None:
    """Measure time, memory and accuracy of a BUNDLE's files on this machine.

    Each file runs in a process of its own, so that peak memory and load time belong to one file.
    The files take turns in several rounds, so that a disturbance does not fall on one of them.
    Latency covers everything from the picture file to the mask at the picture's size.

    \b
    Examples:
      unet-edge benchmark bundle
      unet-edge benchmark bundle --images photos/ --labels masks/ --html report.html
      unet-edge benchmark bundle --threads 1,2,4 --backends ai-edge-litert,onnxruntime
      unet-edge benchmark bundle --sustained 10
      unet-edge benchmark runs/cats/bundle --keras runs/cats --html cats.html --csv cats.csv
    """
    from unet_edge.benchmarking.csv_table import csv_table
    from unet_edge.benchmarking.html_report import report_html, require_templates
    from unet_edge.benchmarking.measurement import measure_bundle
    from unet_edge.benchmarking.tables import tables

    if as_json and markdown:
        raise click.UsageError("--json and --markdown exclude each other")
    if labels is not None and images is None:
        raise click.UsageError("--labels needs --images, the pictures that the masks belong to")
    if labels is None and any(value is not None for value in mask_rules.values()):
        raise click.UsageError("options that say how masks are read are given without --labels")
    opened = Bundle.open(bundle)
    _require_places(output, html, csv)
    if html is not None:
        require_templates()
    keras = keras or _run_around(opened)
    pictures = list_photos(images) if images else None
    with _labelled(opened, images, labels, mask_rules) as labelled:
        result = measure_bundle(
            opened,
            pictures=pictures,
            labelled=labelled,
            runs=runs,
            rounds=rounds,
            threads=threads,
            keras=keras,
            backends=backends,
        )
        write_atomically(output, json_text(result.to_dict()))
        if sustained is not None:
            # The figures are in the file already: minutes on end may be interrupted.
            result = _with_sustained(result, opened, pictures, backends, sustained)
            write_atomically(output, json_text(result.to_dict()))
        if csv is not None:
            write_atomically(csv, csv_table(result))
        if html is not None:
            with captured_output():
                page = report_html(result, opened, labelled=labelled)
            write_atomically(html, page)
    if as_json:
        print_json(result.to_dict())
        return
    style = "github" if markdown else "simple"
    click.echo(tables(result, style, width=None if markdown else _terminal_width()))
    if markdown:
        return
    more = [(html, "page"), (csv, "CSV")]
    written = "".join(f", {what} in {path}" for path, what in more if path)
    print_line(f"figures in {output}{written}")
    print_line(f"'unet-edge compare {output} OTHER.json' shows what a change cost or gained")
    print_line(f"'unet-edge tune {bundle}' finds the fastest file, interpreter and threads")


@contextlib.contextmanager
def _labelled(
    bundle: Bundle, images: Path | None, labels: Path | None, rules: dict[str, Any]
) -> Iterator[list[LabelledPicture]]:
    """The pictures with masks, whose labels lie in a folder for as long as the block lasts."""
    from unet_edge.benchmarking.labelled_pictures import store_labels
    from unet_edge.dataset.two_folders import find_in_two_folders

    if images is None or labels is None:
        yield []
        return
    given = {name: value for name, value in rules.items() if value is not None}
    known = run_settings(bundle.path, images)
    settings = {name: known[name] for name in rules if name in known} | given
    dataset = find_in_two_folders(
        images,
        labels,
        classes=bundle.spec.classes,
        rule=settings.get("masks"),
        ignore=settings.get("ignore"),
        mask_names=settings.get("mask_names"),
    )
    for note in dataset.notes:
        print_note(note)
    with tempfile.TemporaryDirectory(prefix="unet-edge-labels-") as folder:
        samples = progress(dataset.validation, "reading masks")
        yield store_labels(dataset, samples, Path(folder), bundle.spec.bit_depth)


def _with_sustained(
    result: BenchmarkResult,
    bundle: Bundle,
    pictures: Sequence[Path] | None,
    backends: Sequence[Package],
    minutes: float,
) -> BenchmarkResult:
    """The result with the best file measured for `minutes`."""
    from unet_edge.benchmarking.sustained import measure_sustained

    best = result.best
    if best is None or best.cost is None:
        print_note("WARNING: no file reached its floor, so none is measured for minutes on end")
        return result
    package = best.cost.backend.split()[0]
    sustained = measure_sustained(
        bundle.path,
        best.name,
        label=best.label,
        threads=best.cost.threads,
        backend=next((each for each in backends if each == package), None),
        pictures=[
            path.absolute()
            for path in pictures or [bundle.path / golden.picture for golden in bundle.golden]
        ],
        minutes=minutes,
    )
    return dataclasses.replace(result, sustained=sustained)


def _terminal_width() -> int | None:
    """The number of columns of the terminal, None where the output goes elsewhere."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _run_around(bundle: Bundle) -> Path | None:
    """The run that holds the bundle, if the bundle was exported from its model."""
    from unet_edge.runtime.segmenter import KERAS_MODEL

    model = bundle.path.absolute().parent / KERAS_MODEL
    if not model.is_file():
        return None
    if sha256(model.read_bytes()) == bundle.reference.keras_sha256:
        return model.parent
    print_note(f"{model.parent} was trained again since this export; Keras is not timed")
    return None


def _require_places(figures: Path, page: Path | None, csv: Path | None) -> None:
    """Raise an error before the measurement if one of the files cannot be written."""
    from unet_edge.benchmarking.csv_table import is_csv_table
    from unet_edge.benchmarking.html_report import is_report

    given = {"--output": figures, "--html": page, "--csv": csv}
    names: dict[Path, str] = {}
    for option, path in given.items():
        if path is None:
            continue
        if other := names.get(path.absolute()):
            raise ConfigError(f"{other} and {option} are both {path}", fix="name two files")
        names[path.absolute()] = option
    require_writable_path(figures)
    require_replaceable(figures, is_benchmark_result, "benchmark")
    for path, is_own, command in (
        (page, is_report, "benchmark --html"),
        (csv, is_csv_table, "benchmark --csv"),
    ):
        if path is not None:
            require_writable_path(path)
            require_replaceable(path, is_own, command)
