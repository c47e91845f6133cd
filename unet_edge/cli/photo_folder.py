"""A folder of photos for `unet-edge segment`: the resume log, the photos, the collected files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unet_edge.batch.outputs import COLLECTED, Segmented, collected
from unet_edge.cli.output import print_note
from unet_edge.cli.photo import (
    PhotoOptions,
    segment_photo,
    tile_bar,
)
from unet_edge.errors import DataError, OutputError
from unet_edge.images.listing import distinct
from unet_edge.images.picture_file import count_frames, pages_of, shown_name
from unet_edge.system.captured_output import native_stderr_discarded
from unet_edge.system.counting import counted
from unet_edge.system.files import require_writable_path, utf8

if TYPE_CHECKING:
    from unet_edge.batch.resume_log import ResumeLog
    from unet_edge.batch.resume_log_entries import Settings
    from unet_edge.runtime.segmenter import Segmenter


def require_own_folder(output: Path) -> None:
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


def make_folder(output: Path) -> None:
    """Make the folder of the results. Raises OutputError if it cannot be written."""
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write to {output}: {error.strerror or error}") from error
    require_writable_path(output)


def segment_folder(
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
        name = shown_name(picture)
        with tile_bar(name, check, shown=bar_shown) as watch:
            return segment_photo(segmenter, picture, name, options, watch)

    settings = _logged_settings(segmenter, options)
    classes = segmenter.spec.classes
    with open_resume_log(output) as log:
        log.require_collected([COLLECTED[kind] for kind in options.kinds if kind in COLLECTED])
        pictures = _without_results(listed, log, output)
        if options.frames:
            pictures = [page for picture in pictures for page in pages_of(picture)]
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
        print_note(
            f"left out {counted(left_out, 'file')} in {output} that segment wrote there itself"
        )
    if not pictures:
        raise DataError(
            f"no pictures but the results of segment in {output}", fix="name the folder of photos"
        )
    return pictures
