"""The command that segments pictures, on any machine. No TensorFlow."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

import click

from unet_edge.cli.group import Failure, open_crew, open_model
from unet_edge.cli.options import (
    Names,
    backend_option,
    file_option,
    json_option,
    path_type,
    threads_option,
)
from unet_edge.cli.output import print_json, print_table, say
from unet_edge.decoding import depth_warning, read_photo
from unet_edge.errors import ConfigError, DataError
from unet_edge.files import require_place
from unet_edge.pictures import list_pictures, place_of
from unet_edge.progress import progress_bar
from unet_edge.runtime.outputs import (
    KINDS,
    PhotoKind,
    Segmented,
    contents,
    write_collected,
)

if TYPE_CHECKING:
    from unet_edge.cli.group import Opening
    from unet_edge.runtime.packages import Package
    from unet_edge.runtime.segmenter import Segmenter
    from unet_edge.smooth import Edges
    from unet_edge.tiling import Tiles, Watch

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
@click.option(
    "--tiles",
    "cut",
    is_flag=True,
    help="Cut photos larger than the model into overlapping tiles, instead of shrinking them.",
)
@click.option(
    "--tile-overlap",
    type=float,
    help="Share of a tile that its neighbour sees too, 0 to 0.9.  [default: 0.25]",
)
@click.option(
    "--tile-scale",
    type=float,
    help="Size of a photo's pixels on the model's grid; at 0.5 a tile takes in twice the grid's "
    "height and width.  [default: 1]",
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
    cut: bool,
    tile_overlap: float | None,
    tile_scale: float | None,
    again: bool,
    file: str | None,
    threads: int | None,
    backend: Package | None,
    as_json: bool,
) -> None:
    """Segment photos, folders or patterns of photos, or - (a photo's bytes), with MODEL.

    MODEL is a bundle, a file or a run. A mask holds the class of each pixel at the photo's own
    size; palette masks add colours. A picture whose files are there, of the same photo, model,
    --edges and --tiles, by whichever interpreter, is skipped, so an interrupted command goes on
    when it is repeated. A picture that cannot be read is reported at the end; the exit status is
    then 1. Several pictures are worked on at once, by an interpreter for each of --threads.

    \b
    Examples:
      unet-edge segment bundle photo.jpg
      unet-edge segment bundle photos/ -o masks --save cutout,polygons,csv --edges smooth
      unet-edge segment bundle 'photos/**/*.jpg' --save index --json
      unet-edge segment bundle microscope.tif --tiles
      unet-edge segment bundle - -o - < photo.jpg > mask.png
    """
    kinds = _kinds(save or (("palette",) if output == _STREAM else ("palette", "overlay")))
    tiles = _tiles(cut, tile_overlap, tile_scale)
    _few_bits.clear()
    if output == _STREAM or _STREAM in images:
        _stream(model, images, output, kinds, edges, tiles, (file, threads, backend), as_json)
        return
    listed = [picture for path in images for picture in list_pictures(path)]
    how = (file, threads, backend)
    segmenter = open_model(model, *how)
    _require_scores(segmenter, kinds, edges, tiles)
    require_place(output / "mask.png")  # it makes the folder: a wrong model leaves none
    # Here: the stream needs neither lock nor journal.
    from unet_edge.runtime.folder import FolderRun
    from unet_edge.runtime.journal import opened

    by: dict[str, Any] = {"model": segmenter.digest, "edges": edges}
    if tiles is not None:  # else as before there were tiles: what was done then is still done
        by["tiles"] = asdict(tiles)
    photo_kinds = [cast(PhotoKind, kind) for kind in kinds if kind in get_args(PhotoKind)]

    def look(segmenter: Segmenter, picture: Path, check: Callable[[], None]) -> Segmented:
        # The tiles of several photos at once would be bars among bars.
        with _tile_bar(picture.name, check, shown=tiles is not None and len(listed) == 1) as watch:
            return _segmented(segmenter, picture, picture.name, kinds, edges, tiles, watch)

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
        run = FolderRun(output, journal, look, photo_kinds, by)
        report = run.run(
            pictures,
            lambda count: open_crew(model, how, segmenter, count),
            classes=len(segmenter.spec.classes),
            again=again,
        )
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


def _tiles(cut: bool, overlap: float | None, scale: float | None) -> Tiles | None:
    given = {"overlap": overlap, "scale": scale}
    chosen = {name: value for name, value in given.items() if value is not None}
    if not cut:
        if chosen:
            raise ConfigError(f"--tile-{next(iter(chosen))} is for tiles: add --tiles")
        return None
    from unet_edge.tiling import Tiles

    return Tiles(**chosen)


def _require_scores(
    segmenter: Segmenter, kinds: Sequence[str], edges: Edges, tiles: Tiles | None
) -> None:
    """Refuse a file of labels before the first picture, not at each."""
    needs_scores = edges == "smooth" or tiles is not None or "probabilities" in kinds
    if segmenter.spec.output == "labels" and needs_scores:
        from unet_edge.runtime.backends import no_scores

        raise no_scores()


def _segmented(
    segmenter: Segmenter,
    source: Path | bytes,
    name: str,
    kinds: Sequence[str],
    edges: Edges,
    tiles: Tiles | None,
    watch: Watch,
) -> Segmented:
    if tiles is not None:
        _warn_of_few_bits(source, name, segmenter)
        # The photo is read once more where it is drawn on: far less than its tiles take.
        if "probabilities" not in kinds:
            mask = segmenter.segment(source, edges=edges, tiles=tiles, watch=watch)
            return Segmented(source, mask, None, name)
        found = segmenter.predict_tiles(source, tiles, edges=edges, watch=watch)
        return Segmented(source, found.mask, found.probabilities, name)
    photo = read_photo(source, segmenter.spec)
    _warn_of_few_bits(source, name, segmenter)
    # What the model sees does not depend on what is saved, so the photo at its own size is read
    # from the file again, and only where it is drawn on.
    drawn_on = photo.picture if photo.whole else source
    if edges == "nearest" and "probabilities" not in kinds:
        return Segmented(drawn_on, segmenter.segment(photo), None, name)
    prediction = segmenter.predict(photo)
    shares = prediction.probabilities(edges) if "probabilities" in kinds else None
    return Segmented(drawn_on, prediction.mask(edges), shares, name)


# Once a run: pictures of one camera are alike, and it reads a picture of 16 bits twice.
_few_bits = threading.Event()


def _warn_of_few_bits(source: Path | bytes, name: str, segmenter: Segmenter) -> None:
    if not _few_bits.is_set() and (found := depth_warning(source, segmenter.spec.bit_depth)):
        _few_bits.set()
        say(f"warning: {name} {found}")


@contextlib.contextmanager
def _tile_bar(name: str, check: Callable[[], None], *, shown: bool) -> Iterator[Watch]:
    """Checks after each tile; a bar of them, if they take over two seconds and somebody watches."""
    if not (shown and sys.stderr.isatty()):
        yield lambda done, total: check()
        return  # before tqdm, which imports multiprocessing
    with progress_bar(0, name, delay=2) as bar:

        def watch(done: int, total: int) -> None:
            check()
            bar.total = total
            bar.update(done - bar.n)

        yield watch


def _stream(
    model: Path,
    images: Sequence[Path],
    output: Path,
    kinds: tuple[str, ...],
    edges: Edges,
    tiles: Tiles | None,
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
    segmenter = open_model(model, *how)
    _require_scores(segmenter, kinds, edges, tiles)
    with _tile_bar(image.name, lambda: None, shown=tiles is not None) as watch:
        result = _segmented(segmenter, source, image.name, kinds, edges, tiles, watch)
    (write,) = contents([kind], result)
    write(sys.stdout.buffer)
    sys.stdout.buffer.flush()


def _print_report(report: Sequence[dict[str, Any]], segmenter: Segmenter, output: Path) -> None:
    done = [entry for entry in report if "coverage" in entry]
    shares = [[Path(e["picture"]).name, *e["coverage"].values()] for e in done]
    print_table(shares, ["picture", *segmenter.spec.classes], ".1%")
    skipped = sum(entry["skipped"] for entry in done)
    were = f" ({skipped} of them were there already)" if skipped else ""
    click.echo(f"{len(done)} of {len(report)} pictures in {output}{were}, by {segmenter.name}")
