"""The command that segments pictures, on any machine. No TensorFlow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

import click
from click.core import ParameterSource

from unet_edge.batch.outputs import (
    COLLECTED,
    KINDS,
    PhotoKind,
    Segmented,
    collected,
    file_names,
)
from unet_edge.cli.group import Failure, open_model, open_workers
from unet_edge.cli.options import (
    Names,
    backend_option,
    file_option,
    json_option,
    path_type,
    threads_option,
)
from unet_edge.cli.output import echo, print_json, print_table, say
from unet_edge.cli.photo import (
    STREAM,
    forget_warnings,
    only_first,
    require_scores,
    segment_stream,
    segmented,
    tile_bar,
)
from unet_edge.errors import ConfigError, DataError, OutputError
from unet_edge.images.listing import distinct, list_pictures
from unet_edge.images.picture_file import count_frames
from unet_edge.system.captured_output import native_stderr_discarded
from unet_edge.system.files import require_writable_path, utf8

if TYPE_CHECKING:
    from unet_edge.masks.mask import LegendPlace
    from unet_edge.masks.upsampling import Edges
    from unet_edge.runtime.packages import Package
    from unet_edge.runtime.segmenter import Segmenter
    from unet_edge.runtime.tiling import Tiles


_FRAMES_SHOWN = 3  # pictures of several frames that are named


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
@click.option(
    "--legend",
    type=click.Choice(["on", "beside", "none"]),
    help="Names and shares of the classes: on an overlay, on a strip beside it, or none.  "
    "[default: on]",
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
    legend: LegendPlace | None,
    again: bool,
    file: str | None,
    threads: int | None,
    backend: Package | None,
    as_json: bool,
) -> None:
    """Segment photos, folders or patterns of photos, or - (a photo's bytes), with MODEL.

    MODEL is a bundle, a file or a run. A mask holds the class of each pixel at the photo's own
    size; palette masks add colours.

    An interrupted command goes on when it is repeated: a picture is skipped if its files are there,
    made from the same photo and model with the same --edges, --tiles and --legend. A picture that
    cannot be read is reported at the end; the exit status is then 1. Several pictures are worked
    on at once, by an interpreter for each of --threads.

    \b
    Examples:
      unet-edge segment bundle photo.jpg
      unet-edge segment bundle photos/ -o masks --save cutout,polygons,csv --edges smooth
      unet-edge segment bundle 'photos/**/*.jpg' --save index --json
      unet-edge segment bundle microscope.tif --tiles
      unet-edge segment bundle street.jpg --save overlay --legend beside
      unet-edge segment bundle - -o - < photo.jpg > mask.png
    """
    kinds = _kinds(save or (("palette",) if output == STREAM else ("palette", "overlay")))
    tiles = _tiles(cut, tile_overlap, tile_scale)
    if legend and "overlay" not in kinds:
        raise ConfigError("--legend is for overlays: add overlay to --save")
    legend = legend or "on"
    forget_warnings()
    if output == STREAM or STREAM in images:
        segment_stream(
            model, images, output, kinds, edges, tiles, legend, (file, threads, backend), as_json
        )
        return
    listed = [picture for path in images for picture in list_pictures(path)]
    how = (file, threads, backend)
    segmenter = open_model(model, *how)
    require_scores(segmenter, kinds, edges, tiles)
    # Here: the stream needs neither lock nor resume log.
    from unet_edge.batch.folder_run import FolderRun
    from unet_edge.batch.resume_log import RESUME_LOG, opened
    from unet_edge.batch.resume_log_entries import Settings

    if click.get_current_context().get_parameter_source("output") is ParameterSource.DEFAULT:
        _require_own_folder(output, RESUME_LOG)
    _make_folder(output)  # here: a wrong model leaves none

    by: Settings = {"model": segmenter.digest, "edges": edges}
    if tiles is not None:  # else as before there were tiles: what was done then is still done
        by["tiles"] = asdict(tiles)
    if legend != "on":  # as above
        by["legend"] = legend
    photo_kinds = [cast(PhotoKind, kind) for kind in kinds if kind in get_args(PhotoKind)]

    frames: dict[str, int] = {}

    def look(segmenter: Segmenter, picture: Path, check: Callable[[], None]) -> Segmented:
        if (count := count_frames(picture)) > 1:
            frames[str(picture)] = count
        # The tiles of several photos at once would be bars among bars.
        with tile_bar(picture.name, check, shown=tiles is not None and len(listed) == 1) as watch:
            found = segmented(segmenter, picture, picture.name, kinds, edges, tiles, watch)
        return replace(found, legend=legend)

    of_all = [COLLECTED[kind] for kind in kinds if kind in COLLECTED]
    with opened(output) as log:
        log.require_collected(of_all)
        named = distinct(listed)  # a picture that is named twice is one
        pictures = [picture for picture in named if not log.owns(picture)]
        if left_out := len(named) - len(pictures):
            say(f"left out {left_out} files in {output} that segment wrote there itself")
        if not pictures:
            raise DataError(f"no pictures but the results of segment in {output}")
        run = FolderRun(log, look, photo_kinds, by)
        with native_stderr_discarded():
            report = run.run(
                pictures,
                lambda count: open_workers(model, how, segmenter, count),
                classes=len(segmenter.spec.classes),
                again=again,
            )
        texts = collected(output, kinds, log.done_by(by), segmenter.spec.classes)
        if texts:
            with log.collecting(list(texts)) as work:
                for name, text in texts.items():
                    work.write(name, utf8(text))
    for entry in report:
        if entry["picture"] in frames:
            entry["frames"] = frames[entry["picture"]]
    for picture, count in list(frames.items())[:_FRAMES_SHOWN]:
        say(only_first(picture, count))
    if len(frames) > _FRAMES_SHOWN:
        say(f"{len(frames)} pictures hold several frames; only the first of each is used")
    if photo_kinds:
        _tell_of_names(report, photo_kinds[0])
    if as_json:
        places = {"output": str(output), "collected": list(texts)}
        print_json({"model": segmenter.name, **places, "pictures": report})
    else:
        _print_report(report, segmenter, output)
    if failed := [entry["error"] for entry in report if "error" in entry]:
        for message in failed:
            say(f"error: {message}")
        raise Failure(f"{len(failed)} of {len(report)} pictures could not be segmented")


def _require_own_folder(output: Path, log: str) -> None:
    """Refuse the default folder where it holds other things, such as a data set's masks."""
    if (output / log).is_file() or not output.is_dir():
        return
    held = sorted(path.name for path in output.iterdir() if not path.name.startswith("."))
    if held:
        raise OutputError(
            f"the folder {output} holds files that segment did not write, such as {held[0]}",
            fix=f"name another with -o (or this one: -o {output})",
        )


def _make_folder(output: Path) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write to {output}: {error.strerror or error}") from error
    require_writable_path(output)


def _tell_of_names(report: Sequence[dict[str, Any]], kind: PhotoKind) -> None:
    """Say which photos' files could not begin with the photo's name."""
    longer = [
        f"{picture.name} as {entry['files'][0]}"
        for entry in report
        if entry.get("files") and not entry["skipped"]
        for picture in [Path(entry["picture"])]
        if entry["files"][0] != file_names(kind, picture.stem, 1)[0]
    ]
    if longer:
        more = f" and {len(longer) - 3} more" if len(longer) > 3 else ""
        say(f"longer names, since the short ones were taken: {', '.join(longer[:3])}{more}")


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
    from unet_edge.runtime.tiling import Tiles

    return Tiles(**chosen)


def _print_report(report: Sequence[dict[str, Any]], segmenter: Segmenter, output: Path) -> None:
    done = [entry for entry in report if "coverage" in entry]
    shares = [[Path(e["picture"]).name, *e["coverage"].values()] for e in done]
    print_table(shares, ["picture", *segmenter.spec.classes], ".1%")
    skipped = sum(entry["skipped"] for entry in done)
    were = f" ({skipped} of them were there already)" if skipped else ""
    echo(f"{len(done)} of {len(report)} pictures in {output}{were}, by {segmenter.name}")
