"""The command that segments pictures and videos, on any machine, without TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from unet_edge.batch.outputs import KINDS
from unet_edge.cli.group import Failure, ModelOptions, open_model, open_workers
from unet_edge.cli.mqtt import MqttOptions, mqtt_options
from unet_edge.cli.options import (
    Names,
    backend_option,
    file_option,
    json_option,
    path_type,
    threads_option,
)
from unet_edge.cli.output import print_json, print_note
from unet_edge.cli.photo import (
    STREAM,
    PhotoOptions,
    forget_warnings,
    require_scores,
    segment_stream,
)
from unet_edge.cli.photo_folder import make_folder, require_own_folder, segment_folder
from unet_edge.cli.photo_list import list_photos
from unet_edge.cli.photo_results import print_photo_notes, print_photo_results
from unet_edge.cli.stream_options import stream_of, stream_options
from unet_edge.cli.video_options import is_video, video_options
from unet_edge.errors import ConfigError
from unet_edge.runtime.tile_settings import MAX_OVERLAP, Tiles
from unet_edge.system.counting import counted

if TYPE_CHECKING:
    from unet_edge.batch.video_segmenting import VideoOptions
    from unet_edge.masks.mask import LegendPlace
    from unet_edge.masks.upsampling import Edges
    from unet_edge.runtime.packages import Package
    from unet_edge.runtime.segmenter import Segmenter
    from unet_edge.sinks.sink import Sink


@click.command()
@click.argument("model", type=path_type())
# As text: a Path would change a URL, such as rtsp://camera//live.
@click.argument("images", type=click.Path(), nargs=-1, required=True)
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
    help=f"What to write: {', '.join(KINDS)}.  [default: palette,overlay; overlay of videos and "
    "streams; palette for -o -]",
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
@click.option(
    "--frames",
    is_flag=True,
    help="Segment every page of a TIFF and every frame of a GIF, WebP or PNG, not only the first; "
    "of standard input, JPEG or PNG pictures one after another.",
)
@video_options
@stream_options
@mqtt_options
@click.option("--again", is_flag=True, help="Segment again even if the files exist.")
@file_option
@threads_option(
    "as tuned, for one photo without --file and --backend; else all processors, at most four"
)
@backend_option
@json_option
def segment(
    model: Path,
    images: Sequence[str],
    output: Path,
    save: tuple[str, ...] | None,
    edges: Edges,
    tiled: bool,
    tile_overlap: float | None,
    tile_scale: float | None,
    legend: LegendPlace | None,
    frames: bool,
    every: int | None,
    start: float | None,
    stop: float | None,
    smoothing: float | None,
    frame_size: str | None,
    pixel_format: str | None,
    frame_rate: str | None,
    mqtt: MqttOptions,
    again: bool,
    file: str | None,
    threads: int | None,
    backend: Package | None,
    as_json: bool,
) -> None:
    """Segment IMAGES with MODEL, and save masks, overlays or outlines.

    IMAGES are photos, videos, folders of photos, patterns of photos, - for a photo on standard
    input, or one stream. MODEL is a bundle, a file or a run. A mask holds the class of each pixel
    at the photo's own size. A palette mask shows the classes in colour, too.

    Repeat an interrupted command, and it continues: a picture is skipped if its files exist and
    were made from the same photo and model, with the same --edges, --tiles and --legend. A picture
    that cannot be read is reported at the end, and the exit status is then 1. Several pictures are
    segmented at once, by one interpreter for each of --threads.

    Of a video, --save takes overlay (an MP4 file with the video's sound; the default), index (a
    lossless video of class indices), palette (a PNG file for each frame), csv and jsonl (the
    shares of each frame). A repeated command goes on after the last two seconds that are finished.

    A stream is a camera (/dev/video0, picamera), a network stream (rtsp://…), an .mjpeg file, or -
    with --frames (JPEG or PNG pictures one after another) or with --frame-size and --pixel-format
    (raw frames). It cannot be resumed: Ctrl-C ends it and finishes its files, whose names hold the
    time. Of a camera, the newest frame is segmented whenever the model is free. With --mqtt and
    without --save, no file is written.

    \b
    Examples:
      unet-edge segment bundle photo.jpg
      unet-edge segment bundle photos/ -o masks --save cutout,polygons,csv --edges smooth
      unet-edge segment bundle 'photos/**/*.jpg' --save index --json
      unet-edge segment bundle microscope.tif --tiles
      unet-edge segment bundle stack.tif --frames -o masks --save index,csv
      unet-edge segment bundle street.jpg --save overlay --legend beside
      unet-edge segment bundle clip.mp4 -o out --save overlay,index,csv
      unet-edge segment bundle clip.mp4 --from 1:30 --to 2:00 --every 5
      unet-edge segment bundle - -o - < photo.jpg > mask.png
      unet-edge segment bundle '/dev/video0?size=1280x720' -o out --save csv
      unet-edge segment bundle rtsp://camera/stream --mqtt mqtt://homeassistant.local
      ffmpeg -v error -i clip.mp4 -vf scale=640:480 -f rawvideo -pix_fmt rgb24 - |
        unet-edge segment bundle - --frame-size 640x480 --pixel-format rgb24 --save csv -o out
    """
    stream = stream_of(images, frame_size, pixel_format, frame_rate, frames=frames)
    paths = [] if stream else [Path(image) for image in images]
    videos = [path for path in paths if is_video(path)]
    photos = [path for path in paths if path not in videos]
    of_videos = _of_videos(
        bool(videos or stream), save, legend, edges, tiled, every, start, stop, smoothing
    )
    kinds = _kinds(save or (("palette",) if output == STREAM else ("palette", "overlay")))
    if legend and "overlay" not in kinds:
        raise ConfigError("--legend is given without an overlay", fix="add overlay to --save")
    tiles = _tiles(tiled, tile_overlap, tile_scale)
    options = PhotoOptions(kinds, edges, tiles, legend or "on", frames)
    model_options = ModelOptions(file, threads, backend)
    forget_warnings()
    if stream and of_videos:
        if mqtt.mqtt and save is None:  # a camera runs for months: no file grows unasked
            of_videos = replace(of_videos, kinds=())
        _segment_source(model, stream, output, of_videos, model_options, mqtt, as_json)
        return
    if mqtt != MqttOptions():
        raise ConfigError("--mqtt is for a stream, and there is none", fix="leave it out")
    if of_videos:
        from unet_edge.cli.video import require_av_for

        require_av_for(videos, of_videos)
    if of_videos and output == STREAM:
        _segment_raw(model, videos, len(photos), of_videos, model_options, as_json)
        return
    if output == STREAM or STREAM in paths:
        segment_stream(model, paths, output, options, model_options, as_json)
        return
    listed = list_photos(*photos) if photos else []
    segmenter = open_model(model, *model_options)
    require_scores(segmenter, options)
    if of_videos:
        from unet_edge.cli.video import require_scores_of_videos

        require_scores_of_videos(segmenter, of_videos)
    if click.get_current_context().get_parameter_source("output") is ParameterSource.DEFAULT:
        require_own_folder(output)
    make_folder(output)  # after the model is open: a wrong model leaves no folder

    def workers(count: int) -> list[Segmenter]:
        return open_workers(model, model_options, segmenter, count)

    results: list[dict[str, Any]] = []
    collections: list[str] = []
    if listed:
        results, collections = segment_folder(
            listed, output, options, segmenter, workers, again=again
        )
    print_photo_notes(results, options)
    video_results: list[dict[str, Any]] = []
    if of_videos:
        from unet_edge.cli.video import print_video_notes, print_videos, segment_videos

        video_results = segment_videos(videos, output, of_videos, segmenter, workers, again=again)
        print_video_notes(video_results)
    if as_json:
        places = {"output": str(output), "collected": collections}
        also = {"videos": video_results} if of_videos else {}
        print_json({"model": segmenter.name, **places, "pictures": results, **also})
    else:
        if listed:
            print_photo_results(results, segmenter, output)
        if of_videos:
            print_videos(video_results, segmenter, output)
    _require_no_errors([*results, *video_results], "file" if videos else "picture", again)


def _require_no_errors(results: Sequence[dict[str, Any]], noun: str, again: bool) -> None:
    """Print the errors of pictures or videos, and raise Failure if there are any."""
    if errors := [result["error"] for result in results if "error" in result]:
        for message in errors:
            print_note(f"error: {message}")
        repeat = "repeat the command without --again" if again else "repeat the command"
        raise Failure(
            f"{len(errors)} of {counted(len(results), noun)} could not be segmented; "
            f"{repeat} when they are fixed: the others are skipped"
        )


def _of_videos(
    any_videos: bool,
    save: tuple[str, ...] | None,
    legend: LegendPlace | None,
    edges: Edges,
    tiled: bool,
    every: int | None,
    start: float | None,
    stop: float | None,
    smoothing: float | None,
) -> VideoOptions | None:
    """The options of videos; None if there are none. Raises ConfigError for what does not fit."""
    if any_videos:
        from unet_edge.cli.video import options_for_videos  # here: photos start without it

        return options_for_videos(save, legend, edges, tiled, every, start, stop, smoothing)
    given = {"--every": every, "--from": start, "--to": stop, "--smoothing": smoothing}
    for option in (name for name, value in given.items() if value is not None):
        raise ConfigError(f"{option} is for videos, and there is none", fix="leave it out")
    return None


def _segment_source(
    model: Path,
    stream: str,
    output: Path,
    options: VideoOptions,
    model_options: ModelOptions,
    mqtt: MqttOptions,
    as_json: bool,
) -> None:
    """Segment a camera, a network stream or standard input."""
    from unet_edge.cli.stream import segment_source, segment_source_raw
    from unet_edge.cli.video import require_av_for, require_scores_of_videos

    if output == STREAM and as_json:
        raise ConfigError("-o - and --json both write to standard output", fix="leave one out")
    if output != STREAM:  # raw frames need no encoder
        require_av_for([], options)
    segmenter = open_model(model, *model_options)
    require_scores_of_videos(segmenter, options)
    workers = partial(open_workers, model, model_options, segmenter)
    if output == STREAM:
        if mqtt != MqttOptions():
            raise ConfigError("--mqtt is given with -o -", fix="choose a folder with -o")
        segment_source_raw(stream, options, segmenter, workers)
        return
    if options.kinds:
        make_folder(output)

    def published() -> list[Sink]:
        sink = mqtt.open(segmenter.spec)
        return [sink] if sink else []

    segment_source(stream, output, options, segmenter, workers, also=published, as_json=as_json)


def _segment_raw(
    model: Path,
    videos: Sequence[Path],
    others: int,
    options: VideoOptions,
    model_options: ModelOptions,
    as_json: bool,
) -> None:
    """Segment one video to standard output."""
    from unet_edge.cli.video import (
        require_one_raw_video,
        require_scores_of_videos,
        segment_raw,
    )

    kind = require_one_raw_video(videos, others, options)
    if as_json:
        raise ConfigError("-o - and --json both write to standard output", fix="leave one out")
    segmenter = open_model(model, *model_options)
    require_scores_of_videos(segmenter, options)
    workers = open_workers(model, model_options, segmenter, 2**16)
    segment_raw(videos[0], kind, options, workers)


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
