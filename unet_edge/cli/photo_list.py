"""The photos that a command is given as files, folders and patterns."""

from __future__ import annotations

from pathlib import Path

from unet_edge.batch.earlier_results import without_results
from unet_edge.cli.output import print_note
from unet_edge.images.listing import list_pictures


def list_photos(*paths: Path) -> list[Path]:
    """List photos as `list_pictures` does, without results of `segment` that lie beside them.

    Prints how many files are left out. Raises DataError as `list_pictures` does.
    """
    photos, notes = without_results([photo for path in paths for photo in list_pictures(path)])
    for note in notes:
        print_note(note)
    return photos
