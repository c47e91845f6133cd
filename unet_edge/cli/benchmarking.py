"""The command that measures a bundle on this machine, without TensorFlow."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from unet_edge.benchmarking.result_file import benchmark_schema, is_benchmark_result
from unet_edge.bundle.bundle import Bundle
from unet_edge.cli.options import (
    backend_option,
    json_option,
    path_type,
    threads_option,
    timed_images_option,
)
from unet_edge.cli.output import print_json, print_line, print_note
from unet_edge.cli.photo_list import list_photos
from unet_edge.errors import ConfigError
from unet_edge.system.captured_output import captured_output
from unet_edge.system.files import (
    json_text,
    require_replaceable,
    require_writable_path,
    sha256,
    write_atomically,
)

if TYPE_CHECKING:
    from unet_edge.runtime.packages import Package


def _print_schema(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        print_json(benchmark_schema())
        ctx.exit()


@click.command()
@click.argument("bundle", type=path_type())
@timed_images_option
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
    help="Number of rounds. Each opens every file again and begins with another one.",
)
@threads_option()
@backend_option
@click.option(
    "--keras",
    type=path_type(),
    help="Training run, to time Keras too.  [default: the run that holds the bundle]",
)
@click.option("--html", type=path_type(), help="Write an HTML page with table, chart and pictures.")
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
    runs: int,
    rounds: int,
    threads: int | None,
    backend: Package | None,
    keras: Path | None,
    html: Path | None,
    output: Path,
    as_json: bool,
) -> None:
    """Measure time, memory and accuracy of a BUNDLE's files on this machine.

    Each file runs in a process of its own, so that peak memory and load time belong to one file.
    The files take turns in several rounds, so that a disturbance does not fall on one of them.
    Latency covers everything from the picture file to the mask at the picture's size.

    \b
    Examples:
      unet-edge benchmark bundle
      unet-edge benchmark runs/cats/bundle --keras runs/cats --html cats.html
    """
    from unet_edge.benchmarking.measurement import measure_bundle
    from unet_edge.benchmarking.tables import tables

    opened = Bundle.open(bundle)
    _require_places(output, html)
    keras = keras or _run_around(opened)
    result = measure_bundle(
        opened,
        pictures=list_photos(images) if images else None,
        runs=runs,
        rounds=rounds,
        threads=threads,
        keras=keras,
        backend=backend,
    )
    write_atomically(output, json_text(result.to_dict()))
    if html is not None:
        from unet_edge.benchmarking.html_report import report_html

        with captured_output():
            page = report_html(result, opened)
        write_atomically(html, page)
    if as_json:
        print_json(result.to_dict())
    else:
        click.echo(tables(result, width=_terminal_width()))
        print_line(f"figures in {output}" + (f", page in {html}" if html else ""))
        print_line(f"'unet-edge compare {output} OTHER.json' shows what a change cost or gained")
        print_line(f"'unet-edge tune {bundle}' finds the fastest file, interpreter and threads")


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


def _require_places(figures: Path, page: Path | None) -> None:
    """Raise an error before the measurement if one of the two files cannot be written."""
    require_writable_path(figures)
    require_replaceable(figures, is_benchmark_result, "benchmark")
    if page is None:
        return
    if page.absolute() == figures.absolute():
        raise ConfigError(
            f"--output and --html are both {page}",
            fix="name two files",
        )
    from unet_edge.benchmarking.html_report import is_report

    require_writable_path(page)
    require_replaceable(page, is_report, "benchmark --html")
