"""Commands that prove and measure on this very machine: verify, benchmark. No TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from unet_edge.benchmarking.results import is_benchmark_result
from unet_edge.bundle.bundle import Bundle
from unet_edge.cli.group import Failure, open_model
from unet_edge.cli.options import (
    backend_option,
    file_option,
    json_option,
    path_type,
    threads_option,
)
from unet_edge.cli.output import echo, print_json, print_table, say
from unet_edge.errors import BackendError, ConfigError
from unet_edge.images.listing import list_pictures
from unet_edge.percent import percent
from unet_edge.system.board import read_processor
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
    from unet_edge.evaluation.verification import ReferenceMask, Verification
    from unet_edge.runtime.packages import Package
    from unet_edge.runtime.segmenter import Segmenter


@click.command()
@click.argument("bundle", type=path_type())
@file_option
@click.option(
    "--images",
    type=path_type(),
    multiple=True,
    help="Compare on these photos (file or folder, repeatable) instead of the golden pictures.",
)
@click.option(
    "--against",
    type=path_type(),
    help="With --images: the reference, a training run or a file.  "
    "[default: the bundle's float32 file]",
)
@threads_option
@backend_option
@json_option
def verify(
    bundle: Path,
    file: str | None,
    images: Sequence[Path],
    against: Path | None,
    threads: int | None,
    backend: Package | None,
    as_json: bool,
) -> None:
    """Prove on this machine that a BUNDLE's files give the reference's masks.

    The golden pictures carry the Keras model's masks, so no TensorFlow is needed. Files whose
    interpreter is not installed are listed and left out, unless asked for with --file.
    Exits with 1 when a file is under its floor.

    \b
    Examples:
      unet-edge verify bundle
      unet-edge verify bundle --images photos/ --against runs/cats
    """
    from unet_edge.evaluation.verification import golden_references
    from unet_edge.evaluation.verification import verify as prove
    from unet_edge.runtime.interpreter_choice import readable

    opened = Bundle.open(bundle)
    if against and not images:
        raise ConfigError(
            "--against needs --images",
            fix="golden pictures carry Keras' masks already",
        )
    references: Sequence[ReferenceMask]
    reference: dict[str, str] | None = None
    if images:
        by = _open_reference(opened, against, threads)
        reference = {"file": by.name, "backend": by.backend.name}
        references = _masks_of(images, by)
    else:
        references = list(golden_references(opened))
    results: list[Verification] = []
    skipped: dict[str, str] = {}
    for entry in [opened.file(file)] if file else readable(opened.path, opened.files, backend):
        try:
            segmenter = open_model(bundle, entry.name, threads, backend)
        except BackendError as error:
            if file:
                raise
            skipped[entry.name] = str(error)
            continue
        shown = progress(references, f"verifying {entry.name}")
        floor = entry.floor if images else entry.golden_floor
        results.append(prove(segmenter, shown, floor=floor))
    if not results:
        raise BackendError("; ".join(dict.fromkeys(skipped.values())))
    if as_json:
        found = [r.to_dict() for r in results]
        print_json(
            {
                "files": found,
                "not_run": skipped,
                "reference": reference,
                "processor": asdict(read_processor()),
            }
        )
    else:
        print_table(
            [
                (r.name, f"{percent(r.agreement)} %", f"{percent(r.floor)} %", f"{r.mask_miou:.4f}",
                 f"{percent(r.worst)} %", "ok" if r.passed else "FAILED", r.backend)
                for r in results
            ],
            ["file", "pixels equal", "floor", "mask mIoU", "worst picture", "", "run by"],
        )  # fmt: skip
        for name, reason in skipped.items():
            click.echo(f"{name} not run: {reason}")
        if reference is not None:
            click.echo("reference: {file} run by {backend}".format(**reference))
        pixels = results[0].against_reference.pixels
        click.echo(f"{results[0].pictures} pictures, {pixels} pixels, on {read_processor()}")
        if any(result.floor < opened.file(result.name).floor for result in results):
            click.echo(
                "the golden pictures are hard ones: a floor is lower here by as much as the file "
                "agreed less on them at its export than on all pictures"
            )
    failures = [r for r in results if not r.passed]
    if failures:
        _explain(opened, failures)
        raise Failure(f"under the floor: {', '.join(r.name for r in failures)}")


@click.command()
@click.argument("bundle", type=path_type())
@click.option(
    "--images", type=path_type(), help="Photos to time on.  [default: the golden pictures]"
)
@click.option("--runs", type=click.IntRange(5), default=50, show_default=True)
@threads_option
@backend_option
@click.option(
    "--keras",
    type=path_type(),
    help="The training run, to time Keras too.  [default: the run the bundle lies in]",
)
@click.option("--html", type=path_type(), help="Write a page with table, chart and pictures.")
@click.option(
    "--output",
    "-o",
    type=path_type(),
    default=Path("benchmark.json"),
    show_default=True,
    help="Where the figures go.",
)
@json_option
def benchmark(
    bundle: Path,
    images: Path | None,
    runs: int,
    threads: int | None,
    backend: Package | None,
    keras: Path | None,
    html: Path | None,
    output: Path,
    as_json: bool,
) -> None:
    """Measure what each file of a BUNDLE costs here, and what it gives up.

    Every file runs in a process of its own, so that its peak memory and load time are its own.
    Latency covers the whole way from picture file to mask at the picture's size.

    \b
    Examples:
      unet-edge benchmark bundle
      unet-edge benchmark runs/cats/bundle --keras runs/cats --html cats.html
    """
    from unet_edge.benchmarking.measurement import measure_bundle
    from unet_edge.benchmarking.tables import tables
    from unet_edge.runtime.segmenter import KERAS_MODEL

    opened = Bundle.open(bundle)
    _require_places(output, html)
    beside = bundle.absolute().parent / KERAS_MODEL
    if keras is None and beside.is_file():
        if sha256(beside.read_bytes()) == opened.reference.keras_sha256:
            keras = beside.parent
        else:
            say(f"{beside.parent} was trained again since this export; Keras is not timed")
    result = measure_bundle(
        opened,
        pictures=list_pictures(images) if images else None,
        runs=runs,
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
        click.echo(tables(result))
        echo(f"figures in {output}" + (f", page in {html}" if html else ""))
        echo(f"'unet-edge tune {bundle}' tries interpreters and threads, too, and remembers")


def _require_places(figures: Path, page: Path | None) -> None:
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


def _explain(bundle: Bundle, failures: Sequence[Verification]) -> None:
    """Say what each file that failed had agreed on where it was exported."""
    here = read_processor()
    for failed in failures:
        entry = bundle.file(failed.name)
        where = f" on {bundle.processor}"
        golden = entry.golden_agreement
        exported = entry.agreement if golden is None else golden
        say(
            f"{failed.name}: {percent(failed.agreement)} % of pixels as Keras with "
            f"{failed.backend} on {here}; {percent(exported)} % at export with "
            f"{entry.measured_by}{where}"
        )
    if bundle.measured_elsewhere():
        say(
            "a file may keep its floor on one kind of processor and fail on another: use another "
            "file here, or export again with this version"
        )


def _open_reference(bundle: Bundle, against: Path | None, threads: int | None) -> Segmenter:
    """What photos' masks are compared with: `against`, or else the bundle's float32 file."""
    from unet_edge.runtime.interpreter_choice import float32_file

    if against is None:
        name = float32_file(bundle, "name a reference with --against")
        reference = open_model(bundle.path, name, threads)
        say("--against RUN compares with Keras, not with the bundle's own float32 file")
    else:
        reference = open_model(against, None, threads)
    # A run gives logits, whatever its files give; the masks are the same.
    if replace(reference.spec, output=bundle.spec.output) != bundle.spec:
        raise ConfigError(f"{against} is another model than {bundle.path}: their contracts differ")
    return reference


def _masks_of(images: Sequence[Path], reference: Segmenter) -> list[ReferenceMask]:
    """The reference's masks of photos."""
    from unet_edge.evaluation.verification import ReferenceMask

    pictures = [picture for path in images for picture in list_pictures(path)]
    return [
        ReferenceMask(picture.name, picture, reference.segment(picture).labels)
        for picture in progress(pictures, f"reference {reference.name}")
    ]
