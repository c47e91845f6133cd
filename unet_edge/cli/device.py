"""Commands for any machine: evaluate, inspect, segment. No TensorFlow."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from unet_edge.bundle import Bundle
from unet_edge.cli.group import Failure, open_model
from unet_edge.cli.options import (
    Names,
    data_options,
    file_option,
    json_option,
    path_type,
    threads_option,
)
from unet_edge.cli.output import print_bundle, print_json, print_spec, print_table, say
from unet_edge.dataset import find_dataset, list_pictures
from unet_edge.errors import ConfigError, UnetEdgeError
from unet_edge.files import require_place, sha256
from unet_edge.progress import progress

if TYPE_CHECKING:
    pass


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
    dataset = find_dataset(data, classes=segmenter.spec.classes, **settings)
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
