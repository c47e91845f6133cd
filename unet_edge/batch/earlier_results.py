"""Results of earlier runs among listed pictures: masks and overlays beside their photos."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from unet_edge.batch.resume_log import RESUME_LOG
from unet_edge.batch.resume_log_entries import read_entries
from unet_edge.errors import OutputError
from unet_edge.system.counting import counted


def without_results(pictures: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """The pictures without those that `segment` wrote beside photos, and a note on each folder.

    The resume log of a folder tells which files are results. Where no other pictures of a folder
    are listed, the results were named on purpose, so they are kept, and the note is a warning.
    """
    notes: list[str] = []
    left_out: set[Path] = set()
    for folder in dict.fromkeys(picture.parent for picture in pictures):
        written = _written_in(folder)
        listed = {picture for picture in pictures if picture.parent == folder} if written else set()
        results = {picture for picture in listed if picture.name in written}
        if not results:
            continue
        if results == listed:
            count = counted(len(results), "picture")
            notes.append(f"WARNING: only results of segment are listed in {folder}: {count}")
        else:
            count = counted(len(results), "file")
            notes.append(f"left out {count} in {folder} that segment wrote there")
            left_out |= results
    return [picture for picture in pictures if picture not in left_out], notes


def _written_in(folder: Path) -> set[str]:
    """The names of the files that `segment` wrote in a folder, by its resume log."""
    try:
        entries, _ = read_entries(folder / RESUME_LOG)
    except (OutputError, OSError):  # not a resume log, or no permission
        return set()
    return {file for entry in entries.values() for file in entry["owned"]}
