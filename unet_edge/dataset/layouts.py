"""The layouts of data folders: mask folders, COCO files, or labelme files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from unet_edge.dataset.annotation_files import find_coco_files, pairs_of_coco, pairs_of_labelme
from unet_edge.dataset.mask_folders import find_mask_folders, pairs_of_mask_folders
from unet_edge.dataset.missing_layout import no_layout
from unet_edge.dataset.pairs import Pairs
from unet_edge.dataset.settings import DataSettings
from unet_edge.errors import DataError
from unet_edge.images.picture_file import SUFFIXES


def find_pairs(root: Path, classes: Sequence[str], settings: DataSettings) -> Pairs:
    """Find every picture and mask below `root`.

    `settings.masks` decides where to look: "polygons" for annotations only, "auto" for mask folders
    first, and any other rule for mask folders only.
    Raises DataError for a folder without a known layout.
    """
    pairs = _find_pairs(root, classes, settings)
    if pairs is None:
        raise no_layout(root)
    if not pairs.samples and not pairs.bare:
        raise DataError(
            f"no pictures ({', '.join(SUFFIXES)}) in {root}",
            fix="put pictures there, or name another folder",
        )
    return pairs


def _find_pairs(root: Path, classes: Sequence[str], settings: DataSettings) -> Pairs | None:
    masks = settings.masks
    if masks != "polygons" and (folders := find_mask_folders(root)):
        return pairs_of_mask_folders(root, folders, settings.mask_names)
    if masks not in ("auto", "polygons"):
        return None
    if sources := find_coco_files(root):
        return pairs_of_coco(root, sources, classes, settings.crowds)
    return pairs_of_labelme(root, classes)
