"""Commands for any machine: evaluate, inspect, segment, verify, benchmark. No TensorFlow."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from unet_edge.bundle import Bundle
from unet_edge.cli.common import (
    Failure,
    Names,
    data_options,
    file_option,
    json_option,
    open_model,
    path_type,
    print_bundle,
    print_json,
    print_spec,
    print_table,
    say,
    threads_option,
)
from unet_edge.dataset import find_dataset, list_pictures
from unet_edge.errors import BackendError, ConfigError, UnetEdgeError
from unet_edge.files import json_text, require_place, sha256, write_atomically
from unet_edge.progress import progress
from unet_edge.quiet import quiet

if TYPE_CHECKING:
    from unet_edge.runtime.verification import ReferenceMask, Verification


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
@file_option
@threads_option
@json_option
def evaluate(
    model: Path,
    data: Path,
    split: str,
    file: str | None,
    threads: int | None,
    as_json: bool,
    **rules: Any,
) -> None:
    """Score MODEL (bundle, file or run) against the true masks of a data set.

    \b
    Examples:
      unet-edge evaluate runs/cats --data cats
      unet-edge evaluate runs/cats/bundle --file model-int8.tflite --data cats --json
    """
    from unet_edge.runtime.evaluation import evaluate as score

    segmenter = open_model(model, file, threads)
    # As the run read its data, where the command line does not say otherwise.
    given = {name: value for name, value in rules.items() if value not in (None, "auto")}
    settings = rules | _run_settings(model) | given
    dataset = find_dataset(data, classes=len(segmenter.spec.classes), **settings)
    for note in dataset.notes:
        say(note)
    samples = {
        "validation": dataset.validation,
        "train": dataset.train,
        "all": (*dataset.train, *dataset.validation),
    }[split]
    result = score(segmenter, dataset, progress(samples, "evaluating"))
    if as_json:
        print_json(result.to_dict())
        return
    confusion = result.confusion
    rows: list[tuple[Any, ...]] = [
        *zip(result.classes, confusion.iou, confusion.dice, strict=True),
        ("mean", confusion.miou),
    ]
    print_table(rows, ["class", "IoU", "Dice"])
    click.echo(f"{len(result.pictures)} pictures, pixel accuracy {confusion.accuracy:.4f}")


@click.command()
@click.argument("path", type=path_type())
@json_option
def inspect(path: Path, as_json: bool) -> None:
    """Show the contract, digests and measured agreement of a bundle or a single file.

    \b
    Examples:
      unet-edge inspect runs/cats/bundle
      unet-edge inspect model-int8.tflite --json
    """
    if path.is_dir():
        bundle = Bundle.open(path)
        for entry in bundle.files:
            bundle.read(entry)
        for golden in bundle.golden:
            bundle.read_golden(golden)
        print_bundle(bundle, as_json)
        return
    from unet_edge.files import sha256
    from unet_edge.metadata import load_model_bytes, parse_contract

    data = load_model_bytes(path)
    contract = parse_contract(data, str(path))
    facts = {
        "file": path.name,
        "format": contract.format,
        "precision": contract.precision,
        "bytes": len(data),
        "sha256": sha256(data),
        "spec": contract.spec.to_dict(),
    }
    if as_json:
        print_json(facts)
        return
    print_table([(k, v) for k, v in facts.items() if k != "spec"], [])
    print_spec(contract.spec)


@click.command()
@click.argument("model", type=path_type())
@click.argument("images", type=path_type(), nargs=-1, required=True)
@click.option("--output", "-o", type=path_type(), default=Path("masks"), show_default=True)
@click.option(
    "--save",
    type=Names(),
    default="palette,overlay",
    show_default=True,
    help="What to write: index, palette, overlay.",
)
@file_option
@threads_option
@json_option
def segment(
    model: Path,
    images: Sequence[Path],
    output: Path,
    save: tuple[str, ...],
    file: str | None,
    threads: int | None,
    as_json: bool,
) -> None:
    """Segment photos, or folders of photos, with MODEL (bundle, file or run).

    A mask holds the class of each pixel at the photo's own size; palette masks add colours.
    A picture that cannot be read is reported and skipped; the exit status is then 1.

    \b
    Examples:
      unet-edge segment bundle photo.jpg
      unet-edge segment bundle photos/ -o masks --save index --json
    """
    from unet_edge.mask import save_png

    unknown = set(save) - {"index", "palette", "overlay"}
    if unknown or not save:
        raise ConfigError(f"--save {','.join(save)}: choose from index, palette, overlay")
    pictures = [picture for path in images for picture in list_pictures(path)]
    require_place(output / "mask.png")
    segmenter = open_model(model, file, threads)
    report: list[dict[str, Any]] = []
    failed = 0
    names = _output_names(pictures)
    for picture, name in progress(list(zip(pictures, names, strict=True)), "segmenting"):
        try:
            mask = segmenter.segment(picture)
            if "overlay" in save:
                save_png(mask.overlay(picture), output / f"{name}.overlay.png")
        except UnetEdgeError as error:
            click.echo(f"error: {error}", err=True)
            report.append({"picture": str(picture), "error": str(error)})
            failed += 1
            continue
        if "index" in save:
            mask.save(output / f"{name}.index.png", "index")
        if "palette" in save:
            mask.save(output / f"{name}.mask.png", "palette")
        report.append({"picture": str(picture), "coverage": mask.coverage()})
    if as_json:
        print_json({"model": segmenter.name, "output": str(output), "pictures": report})
    else:
        done = [entry for entry in report if "coverage" in entry]
        shares = [[Path(e["picture"]).name, *e["coverage"].values()] for e in done]
        print_table(shares, ["picture", *segmenter.spec.classes], ".1%")
        click.echo(f"{len(done)} of {len(report)} pictures in {output}, by {segmenter.name}")
    if failed:
        raise Failure(f"{failed} of {len(report)} pictures could not be segmented")


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
@json_option
def verify(
    bundle: Path,
    file: str | None,
    images: Sequence[Path],
    against: Path | None,
    threads: int | None,
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
    from unet_edge.runtime.verification import golden_references
    from unet_edge.runtime.verification import verify as prove

    opened = Bundle.open(bundle)
    if against and not images:
        raise ConfigError("--against needs --images; golden pictures carry Keras' masks already")
    references: Sequence[ReferenceMask]
    if images:
        references = _reference_masks(opened, images, against, threads)
    else:
        references = list(golden_references(opened))
    results: list[Verification] = []
    skipped: dict[str, str] = {}
    for entry in [opened.file(file)] if file else opened.files:
        try:
            segmenter = open_model(bundle, entry.name, threads)
        except BackendError as error:
            if file:
                raise
            skipped[entry.name] = str(error)
            continue
        shown = progress(references, f"verifying {entry.name}")
        results.append(prove(segmenter, shown, floor=entry.floor))
    if not results:
        raise BackendError("; ".join(dict.fromkeys(skipped.values())))
    if as_json:
        print_json({"files": [r.to_dict() for r in results], "not_run": skipped})
    else:
        print_table(
            [
                (r.name, f"{r.agreement:.4%}", f"{r.floor:.3%}", f"{r.mask_miou:.4f}",
                 f"{r.worst:.3%}", "ok" if r.passed else "FAILED", r.backend)
                for r in results
            ],
            ["file", "pixels equal", "floor", "mask mIoU", "worst picture", "", "run by"],
        )  # fmt: skip
        for name, reason in skipped.items():
            click.echo(f"{name} not run: {reason}")
        pixels = results[0].against_reference.pixels
        click.echo(f"{results[0].pictures} pictures, {pixels} pixels")
    failures = [r.name for r in results if not r.passed]
    if failures:
        raise Failure(f"under the floor: {', '.join(failures)}")


@click.command()
@click.argument("bundle", type=path_type())
@click.option(
    "--images", type=path_type(), help="Photos to time on.  [default: the golden pictures]"
)
@click.option("--runs", type=click.IntRange(5), default=50, show_default=True)
@threads_option
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
    from unet_edge.runtime.measurement import measure_bundle
    from unet_edge.runtime.segmenter import KERAS_MODEL
    from unet_edge.runtime.tables import tables

    opened = Bundle.open(bundle)
    for place in filter(None, (output, html)):
        require_place(place)
    beside = bundle.absolute().parent / KERAS_MODEL
    if keras is None and beside.is_file():
        if sha256(beside.read_bytes()) == opened.reference.keras_sha256:
            keras = beside.parent
        else:
            say(f"{beside.parent} was trained again since this export; Keras is not timed")
    campaign = measure_bundle(
        opened,
        pictures=list_pictures(images) if images else None,
        runs=runs,
        threads=threads,
        keras=keras,
    )
    write_atomically(output, json_text(campaign.to_dict()))
    if html is not None:
        from unet_edge.runtime.report import report_html

        with quiet():
            page = report_html(campaign, opened)
        write_atomically(html, page)
    if as_json:
        print_json(campaign.to_dict())
    else:
        click.echo(tables(campaign))
        click.echo(f"figures in {output}" + (f", page in {html}" if html else ""))


def _output_names(pictures: Sequence[Path]) -> list[str]:
    """Each picture's name: its stem, with suffix or a number where two would meet."""
    stems = Counter(picture.stem for picture in pictures)
    names: list[str] = []
    taken: set[str] = set()
    for picture in pictures:
        base = picture.stem if stems[picture.stem] == 1 else picture.name
        name, number = base, 2
        while name in taken:
            name, number = f"{base}-{number}", number + 1
        taken.add(name)
        names.append(name)
    return names


def _run_settings(model: Path) -> dict[str, Any]:
    """How the run that `model` is, or lies in, read its data; empty elsewhere."""
    for folder in (model, model.absolute().parent):
        path = folder / "config.json"
        if path.is_file() and ((folder / "model.keras").is_file()):
            written = json.loads(path.read_text(encoding="utf-8"))
            lists = {
                name: Path(written[name]) if written[name] else None
                for name in ("train_list", "validation_list")
            }
            return {"masks": written["masks"], "ignore": written["ignore"], **lists}
    return {}


def _reference_masks(
    bundle: Bundle, images: Sequence[Path], against: Path | None, threads: int | None
) -> list[ReferenceMask]:
    """Masks of photos by the reference: `against`, or else the bundle's float32 file."""
    from unet_edge.runtime.verification import ReferenceMask

    if against is None:
        names = [entry.name for entry in bundle.files if entry.precision == "float32"]
        if not names:
            raise ConfigError(f"{bundle.path} has no float32 file; name a reference with --against")
        reference = open_model(bundle.path, names[0], threads)
        say(f"reference: {names[0]} (--against RUN compares with Keras)")
    else:
        reference = open_model(against, None, threads)
    if reference.spec != bundle.spec:
        raise ConfigError(f"{against} is another model than {bundle.path}: their contracts differ")
    pictures = [picture for path in images for picture in list_pictures(path)]
    return [
        ReferenceMask(picture.name, picture, reference.segment(picture).labels)
        for picture in progress(pictures, f"reference {reference.name}")
    ]
