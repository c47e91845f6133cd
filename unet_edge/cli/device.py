"""The command that segments pictures, on any machine. No TensorFlow."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

import click

from unet_edge.cli.group import Failure, open_model
from unet_edge.cli.options import (
    Names,
    backend_option,
    file_option,
    json_option,
    path_type,
    threads_option,
)
from unet_edge.cli.output import print_json, print_table, say
from unet_edge.errors import ConfigError, DataError, UnetEdgeError
from unet_edge.files import require_place, write_atomically
from unet_edge.imaging import decode
from unet_edge.pictures import list_pictures, place_of
from unet_edge.progress import progress
from unet_edge.runtime.outputs import (
    KINDS,
    PhotoKind,
    Segmented,
    contents,
    file_names,
    write_collected,
)

if TYPE_CHECKING:
    from unet_edge.runtime.packages import Package
    from unet_edge.runtime.segmenter import Segmenter
    from unet_edge.smooth import Edges

# --file, --threads and --backend
Opening = tuple[str | None, int | None, "Package | None"]

# Standard input among the pictures, standard output as the place for a mask.
_STREAM = Path("-")


@click.command()
@click.argument("model", type=path_type())
@click.argument("images", type=path_type(), nargs=-1, required=True)
@click.option(
    "--output",
    "-o",
    type=path_type(),
    default=Path("masks"),
    show_default=True,
    help="Folder for the results, or - for standard output.",
)
@click.option(
    "--save",
    type=Names(),
    help=f"What to write: {', '.join(KINDS)}.  [default: palette,overlay; palette for -o -]",
)
@click.option(
    "--edges",
    type=click.Choice(["nearest", "smooth"]),
    default="nearest",
    show_default=True,
    help="Edges along the model's grid, or between its cells (scores are interpolated).",
)
@click.option("--again", is_flag=True, help="Segment pictures that are done, too.")
@file_option
@threads_option
@backend_option
@json_option
def segment(
    model: Path,
    images: Sequence[Path],
    output: Path,
    save: tuple[str, ...] | None,
    edges: Edges,
    again: bool,
    file: str | None,
    threads: int | None,
    backend: Package | None,
    as_json: bool,
) -> None:
    """Segment photos, folders or patterns of photos, or - (a photo's bytes), with MODEL.

    MODEL is a bundle, a file or a run. A mask holds the class of each pixel at the photo's own
    size; palette masks add colours. A picture whose files are there, of the same photo, model
    and --edges, is skipped, so an interrupted command goes on when it is repeated. A picture that
    cannot be read is reported at the end; the exit status is then 1.

    \b
    Examples:
      unet-edge segment bundle photo.jpg
      unet-edge segment bundle photos/ -o masks --save cutout,polygons,csv --edges smooth
      unet-edge segment bundle 'photos/**/*.jpg' --save index --json
      unet-edge segment bundle - -o - < photo.jpg > mask.png
    """
    kinds = _kinds(save or (("palette",) if output == _STREAM else ("palette", "overlay")))
    if output == _STREAM or _STREAM in images:
        _stream(model, images, output, kinds, edges, (file, threads, backend), as_json)
        return
    listed = [picture for path in images for picture in list_pictures(path)]
    require_place(output / "mask.png")
    segmenter = _open(model, kinds, edges, (file, threads, backend))
    # Here: the stream needs neither lock nor journal.
    from unet_edge.runtime.journal import opened

    by = {"model": segmenter.digest, "edges": edges}
    report: list[dict[str, Any]] = []
    photo_kinds = [cast(PhotoKind, kind) for kind in kinds if kind in get_args(PhotoKind)]
    with opened(output) as journal:
        # A picture that is named twice is one.
        distinct: dict[str, Path] = {}
        for picture in listed:
            distinct.setdefault(place_of(picture), picture)
        pictures = [picture for picture in distinct.values() if not journal.owns(picture)]
        if left_out := len(distinct) - len(pictures):
            say(f"left out {left_out} files in {output} that segment wrote there itself")
        if not pictures:
            raise DataError(f"no pictures but the results of segment in {output}")
        names = journal.names(pictures)
        for picture, name in progress(list(zip(pictures, names, strict=True)), "segmenting"):
            files = [
                file
                for kind in photo_kinds
                for file in file_names(kind, name, len(segmenter.spec.classes))
            ]
            entry = None if again else journal.finished(name, picture, by, files)
            skipped = entry is not None
            if entry is None:
                try:
                    result = _segmented(segmenter, picture, picture.name, kinds, edges)
                    data = [part for kind in photo_kinds for part in contents(kind, result)]
                except UnetEdgeError as error:
                    report.append({"picture": str(picture), "error": str(error)})
                    continue
                with journal.doing(name, picture, by, files) as entry:
                    for file_name, part in zip(files, data, strict=True):
                        write_atomically(output / file_name, part)
                    entry["size"] = list(result.photo.size)
                    entry["coverage"] = result.mask.coverage()
            shown = {"coverage": entry["coverage"], "files": files, "skipped": skipped}
            report.append({"picture": str(picture), **shown})
        collected = write_collected(output, kinds, journal.done_by(by), segmenter.spec.classes)
    if as_json:
        places = {"output": str(output), "collected": collected}
        print_json({"model": segmenter.name, **places, "pictures": report})
    else:
        _print_report(report, segmenter, output)
    if failed := [entry["error"] for entry in report if "error" in entry]:
        for message in failed:
            say(f"error: {message}")
        raise Failure(f"{len(failed)} of {len(report)} pictures could not be segmented")


def _kinds(save: tuple[str, ...]) -> tuple[str, ...]:
    if unknown := [kind for kind in save if kind not in KINDS]:
        raise ConfigError(f"--save {','.join(unknown)}: choose from {', '.join(KINDS)}")
    return tuple(dict.fromkeys(save))


def _open(model: Path, kinds: Sequence[str], edges: Edges, how: Opening) -> Segmenter:
    """Open the model; a file of labels is refused before the first picture, not at each."""
    segmenter = open_model(model, *how)
    if segmenter.spec.output == "labels" and (edges == "smooth" or "probabilities" in kinds):
        from unet_edge.runtime.backends import no_scores

        raise no_scores()
    return segmenter


def _segmented(
    segmenter: Segmenter, source: Path | bytes, name: str, kinds: Sequence[str], edges: Edges
) -> Segmented:
    photo = decode(source)
    if edges == "nearest" and "probabilities" not in kinds:
        return Segmented(photo, segmenter.segment(photo), None, name)
    prediction = segmenter.predict(photo)
    shares = prediction.probabilities(edges) if "probabilities" in kinds else None
    return Segmented(photo, prediction.mask(edges), shares, name)


def _stream(
    model: Path,
    images: Sequence[Path],
    output: Path,
    kinds: tuple[str, ...],
    edges: Edges,
    how: Opening,
    as_json: bool,
) -> None:
    """One photo, from a file or standard input, to one file's bytes on standard output."""
    if output != _STREAM:
        raise ConfigError("a picture from standard input goes to standard output: add -o -")
    if len(images) != 1:
        raise ConfigError(f"-o - takes one picture, not {len(images)}")
    if len(kinds) != 1 or kinds[0] not in set(get_args(PhotoKind)) - {"probabilities"}:
        raise ConfigError(f"-o - takes one file: --save {','.join(kinds)} would be several")
    if as_json:
        raise ConfigError("-o - and --json would mix on standard output; leave one out")
    (image,) = images
    kind = cast(PhotoKind, kinds[0])
    source: Path | bytes = image
    if image == _STREAM:
        source = sys.stdin.buffer.read()
    elif not image.is_file():
        raise DataError(f"no such picture: {image}")
    segmenter = _open(model, kinds, edges, how)
    (data,) = contents(kind, _segmented(segmenter, source, image.name, kinds, edges))
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def _print_report(report: Sequence[dict[str, Any]], segmenter: Segmenter, output: Path) -> None:
    done = [entry for entry in report if "coverage" in entry]
    shares = [[Path(e["picture"]).name, *e["coverage"].values()] for e in done]
    print_table(shares, ["picture", *segmenter.spec.classes], ".1%")
    skipped = sum(entry["skipped"] for entry in done)
    were = f" ({skipped} of them were there already)" if skipped else ""
    click.echo(f"{len(done)} of {len(report)} pictures in {output}{were}, by {segmenter.name}")
