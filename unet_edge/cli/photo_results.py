"""Printing what `unet-edge segment` made of photos."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unet_edge.batch.outputs import PhotoKind, file_names
from unet_edge.cli.output import print_line, print_note, print_table
from unet_edge.cli.photo import PhotoOptions, frames_note
from unet_edge.images.picture_file import shown_name, stem_of
from unet_edge.system.counting import counted

if TYPE_CHECKING:
    from unet_edge.runtime.segmenter import Segmenter

_NAMED = 3  # pictures that a note names, of those with several frames or longer names


def print_photo_notes(results: Sequence[dict[str, Any]], options: PhotoOptions) -> None:
    """Print which pictures have several frames, and which results have longer names."""
    frames = {result["picture"]: result["frames"] for result in results if "frames" in result}
    for picture, count in list(frames.items())[:_NAMED]:
        print_note(frames_note(picture, count))
    if len(frames) > _NAMED:
        print_note(
            f"{len(frames)} pictures hold several frames; only the first of each is used; for all "
            "of them, add --frames"
        )
    if options.photo_kinds:
        _print_longer_names(results, options.photo_kinds[0])


def _print_longer_names(results: Sequence[dict[str, Any]], kind: PhotoKind) -> None:
    """Print which files have a longer name, because the photo's own name was taken."""
    longer = [
        f"{shown_name(picture)} as {result['files'][0]}"
        for result in results
        if result.get("files") and not result["skipped"]
        for picture in [Path(result["picture"])]
        if result["files"][0] != file_names(kind, stem_of(picture), 1)[0]
    ]
    if longer:
        more = f" and {len(longer) - _NAMED} more" if len(longer) > _NAMED else ""
        print_note(
            f"longer names, because the short ones are taken: {', '.join(longer[:_NAMED])}{more}"
        )


def print_photo_results(
    results: Sequence[dict[str, Any]], segmenter: Segmenter, output: Path
) -> None:
    """Print a table of the class shares, and how many pictures there are in `output`."""
    done = [result for result in results if "coverage" in result]
    shares = [
        [shown_name(Path(result["picture"])), *result["coverage"].values()] for result in done
    ]
    print_table(shares, ["picture", *segmenter.spec.classes], ".1%")
    skipped = sum(result["skipped"] for result in done)
    existed = f" ({skipped} of them existed)" if skipped else ""
    print_line(
        f"{len(done)} of {counted(len(results), 'picture')} in {output}{existed}, "
        f"by {segmenter.name}"
    )
