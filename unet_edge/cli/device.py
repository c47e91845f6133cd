"""The command that segments pictures, on any machine, without TensorFlow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from unet_edge.batch.outputs import COLLECTED, KINDS, PhotoKind, Segmented, collected, file_names
from unet_edge.cli.group import Failure, ModelOptions, open_model, open_workers
from unet_edge.cli.options import (
    Names,
    backend_option,
    file_option,
    json_option,
    path_type,
    threads_option,
)
from unet_edge.cli.output import print_json, print_line, print_note, print_table
from unet_edge.cli.photo import (
    STREAM,
    PhotoOptions,
    forget_warnings,
    frames_note,
    require_scores,
    segment_photo,
    segment_stream,
    tile_bar,
)
from unet_edge.errors import ConfigError, DataError, OutputError
from unet_edge.images.listing import distinct, list_pictures
from unet_edge.images.picture_file import count_frames
from unet_edge.runtime.tiling import MAX_OVERLAP, Tiles
from unet_edge.system.captured_output import native_stderr_discarded
from unet_edge.system.files import require_writable_path, utf8

if TYPE_CHECKING:
    from unet_edge.batch.resume_log import ResumeLog
    from unet_edge.batch.resume_log_entries import Settings
    from unet_edge.masks.mask import LegendPlace
    from unet_edge.masks.upsampling import Edges
    from unet_edge.runtime.packages import Package
    from unet_edge.runtime.segmenter import Segmenter


_NAMED = 3  # pictures that a note names, of those with several frames or longer names


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
    help="nearest: edges follow the cells of the model's grid; smooth: they pass between them, by "
    "interpolated scores.",
)
@click.option(
    "--tiles",
    "tiled",
    is_flag=True,
    help="Cut photos larger than the model into overlapping tiles, instead of shrinking them.",
)
@click.option(
    "--tile-overlap",
    type=float,
    help="Least share of a tile that its neighbour covers too, 0 to "
    f"{MAX_OVERLAP:g}.  [default: {Tiles.overlap:g}]",
)
@click.option(
    "--tile-scale",
    type=float,
    help="Size of the photo on the model's grid; at 0.5 a tile covers twice the grid's height and "
    f"width.  [default: {Tiles.scale:g}]",
)
@click.option(
    "--legend",
    type=click.Choice(["on", "beside", "none"]),
    help="Place of the classes' names and shares: on an overlay, on a strip beside it, or none.  "
    "[default: on]",
)
@click.option("--again", is_flag=True, help="Segment pictures again even if their files exist.")
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
    tiled: bool,
    tile_overlap: float | None,
    tile_scale: float | None,
    legend: LegendPlace | None,
    again: bool,
    file: str | None,
    threads: int | None,
    backend: Package | None,
    as_json: bool,
) -> None:
    """Segment IMAGES with MODEL, and save masks, overlays or outlines.

    IMAGES are photos, folders, patterns, or - for a photo on standard input. MODEL is a bundle, a
    file or a run. A mask holds the class of each pixel at the photo's own size. A palette mask
    shows the classes in colour, too.

    Repeat an interrupted command, and it continues: a picture is skipped if its files exist and
    were made from the same photo and model, with the same --edges, --tiles and --legend. A picture
    that cannot be read is reported at the end, and the exit status is then 1. Several pictures are
    segmented at once, by one interpreter for each of --threads.

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
    if legend and "overlay" not in kinds:
        raise ConfigError("--legend is given without an overlay", fix="add overlay to --save")
    options = PhotoOptions(kinds, edges, _tiles(tiled, tile_overlap, tile_scale), legend or "on")
    model_options = ModelOptions(file, threads, backend)
    forget_warnings()
    if output == STREAM or STREAM in images:
        segment_stream(model, images, output, options, model_options, as_json)
        return
    listed = [picture for path in images for picture in list_pictures(path)]
    segmenter = open_model(model, *model_options)
    require_scores(segmenter, options)
    if click.get_current_context().get_parameter_source("output") is ParameterSource.DEFAULT:
        _require_own_folder(output)
    _make_folder(output)  # after the model is open: a wrong model leaves no folder
    results, collections = _segment_folder(
        listed,
        output,
        options,
        segmenter,
        lambda count: open_workers(model, model_options, segmenter, count),
        again=again,
    )
    _print_notes(results, options)
    if as_json:
        places = {"output": str(output), "collected": collections}
        print_json({"model": segmenter.name, **places, "pictures": results})
    else:
        _print_results(results, segmenter, output)
    if errors := [result["error"] for result in results if "error" in result]:
        for message in errors:
            print_note(f"error: {message}")
        raise Failure(f"{len(errors)} of {len(results)} pictures could not be segmented")


def _segment_folder(
    listed: Sequence[Path],
    output: Path,
    options: PhotoOptions,
    segmenter: Segmenter,
    open_segmenters: Callable[[int], Sequence[Segmenter]],
    *,
    again: bool,
) -> tuple[list[dict[str, Any]], list[str]]:
    """Segment the pictures, and return each one's result and the names of the collected files.

    `open_segmenters` is called with the number of pictures to segment at once.
    """
    # Late: standard output needs neither lock nor resume log.
    from unet_edge.batch.folder_run import FolderRun
    from unet_edge.batch.resume_log import open_resume_log

    frames: dict[str, int] = {}
    # Photos that are segmented at once would draw their bars over each other.
    bar_shown = options.tiles is not None and len(listed) == 1

    def segment_one(segmenter: Segmenter, picture: Path, check: Callable[[], None]) -> Segmented:
        if (count := count_frames(picture)) > 1:
            frames[str(picture)] = count
        with tile_bar(picture.name, check, shown=bar_shown) as watch:
            return segment_photo(segmenter, picture, picture.name, options, watch)

    settings = _logged_settings(segmenter, options)
    classes = segmenter.spec.classes
    with open_resume_log(output) as log:
        log.require_collected([COLLECTED[kind] for kind in options.kinds if kind in COLLECTED])
        pictures = _without_results(listed, log, output)
        run = FolderRun(log, segment_one, options.photo_kinds, settings)
        with native_stderr_discarded():
            results = run.run(pictures, open_segmenters, classes=len(classes), again=again)
        texts = collected(output, options.kinds, log.done_by(settings), classes)
        if texts:
            with log.collecting(list(texts)) as work:
                for name, text in texts.items():
                    work.write(name, utf8(text))
    for result in results:
        if result["picture"] in frames:
            result["frames"] = frames[result["picture"]]
    return results, list(texts)


def _logged_settings(segmenter: Segmenter, options: PhotoOptions) -> Settings:
    """What masks depend on beside the photo, for the resume log."""
    settings: Settings = {"model": segmenter.digest, "edges": options.edges}
    # Defaults are left out, as in logs that are older than these options: their masks stay valid.
    if options.tiles is not None:
        settings["tiles"] = asdict(options.tiles)
    if options.legend != "on":
        settings["legend"] = options.legend
    return settings


def _without_results(listed: Sequence[Path], log: ResumeLog, output: Path) -> list[Path]:
    """The pictures, each once, without those that `segment` wrote. Raises DataError if none."""
    named = distinct(listed)
    pictures = [picture for picture in named if not log.owns(picture)]
    if left_out := len(named) - len(pictures):
        print_note(f"left out {left_out} files in {output} that segment wrote there itself")
    if not pictures:
        raise DataError(
            f"no pictures but the results of segment in {output}", fix="name the folder of photos"
        )
    return pictures


def _require_own_folder(output: Path) -> None:
    """Refuse the default folder if it holds other files, such as the masks of a data set."""
    from unet_edge.batch.resume_log import RESUME_LOG

    if (output / RESUME_LOG).is_file() or not output.is_dir():
        return
    held = sorted(path.name for path in output.iterdir() if not path.name.startswith("."))
    if held:
        raise OutputError(
            f"the folder {output} holds files that segment did not write, such as {held[0]}",
            fix=f"name another folder with -o, or this one with -o {output}",
        )


def _make_folder(output: Path) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write to {output}: {error.strerror or error}") from error
    require_writable_path(output)


def _kinds(save: tuple[str, ...]) -> tuple[str, ...]:
    if unknown := [kind for kind in save if kind not in KINDS]:
        raise ConfigError(
            f"--save {','.join(unknown)} is unknown", fix=f"choose from {', '.join(KINDS)}"
        )
    return tuple(dict.fromkeys(save))


def _tiles(tiled: bool, overlap: float | None, scale: float | None) -> Tiles | None:
    options = {"overlap": overlap, "scale": scale}
    given = {name: value for name, value in options.items() if value is not None}
    if tiled:
        return Tiles(**given)
    for name in given:
        raise ConfigError(f"--tile-{name} is given without --tiles", fix="add --tiles")
    return None


def _print_notes(results: Sequence[dict[str, Any]], options: PhotoOptions) -> None:
    """Print which pictures have several frames, and which results have longer names."""
    frames = {result["picture"]: result["frames"] for result in results if "frames" in result}
    for picture, count in list(frames.items())[:_NAMED]:
        print_note(frames_note(picture, count))
    if len(frames) > _NAMED:
        print_note(f"{len(frames)} pictures hold several frames; only the first of each is used")
    if options.photo_kinds:
        _print_longer_names(results, options.photo_kinds[0])


def _print_longer_names(results: Sequence[dict[str, Any]], kind: PhotoKind) -> None:
    """Print which files have a longer name, because the photo's own name was taken."""
    longer = [
        f"{picture.name} as {result['files'][0]}"
        for result in results
        if result.get("files") and not result["skipped"]
        for picture in [Path(result["picture"])]
        if result["files"][0] != file_names(kind, picture.stem, 1)[0]
    ]
    if longer:
        more = f" and {len(longer) - _NAMED} more" if len(longer) > _NAMED else ""
        print_note(
            f"longer names, because the short ones are taken: {', '.join(longer[:_NAMED])}{more}"
        )


def _print_results(results: Sequence[dict[str, Any]], segmenter: Segmenter, output: Path) -> None:
    done = [result for result in results if "coverage" in result]
    shares = [[Path(result["picture"]).name, *result["coverage"].values()] for result in done]
    print_table(shares, ["picture", *segmenter.spec.classes], ".1%")
    skipped = sum(result["skipped"] for result in done)
    existed = f" ({skipped} of them existed)" if skipped else ""
    print_line(f"{len(done)} of {len(results)} pictures in {output}{existed}, by {segmenter.name}")
