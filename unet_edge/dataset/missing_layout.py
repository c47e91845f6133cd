"""The errors for a folder that is not there or has no known layout: what to rename or add."""

from __future__ import annotations

import difflib
import itertools
from pathlib import Path

from unet_edge.dataset.annotation_files import COCO_NAMES
from unet_edge.dataset.foreign import foreign_annotations
from unet_edge.dataset.mask_folders import FOLDER_NAMES
from unet_edge.dataset.pairs import SPLIT_NAMES
from unet_edge.dataset.shapes import read_object
from unet_edge.errors import DataError

_PICTURE_NAMES = (*(name.lower() for name, _ in FOLDER_NAMES), "image", "imgs", "img", "pictures")
_MASK_NAMES = ("masks", "mask", "labels", "label", "segmentationclass", "annotations")
_COCO_KEYS = ("images", "annotations", "categories")
_EXAMINED = 5  # JSON files that may be COCO


def require_data_folder(root: Path) -> None:
    """Raise DataError for a data folder that is missing, with the name of a similar one."""
    if root.is_dir():
        return
    if root.exists():
        raise DataError(
            f"{root} is not a folder", fix="name the folder that holds the pictures and masks"
        )
    try:
        siblings = [path.name for path in root.parent.iterdir() if path.is_dir()]
    except OSError:  # a folder that is missing or may not be read
        siblings = []
    close = difflib.get_close_matches(root.name, siblings, n=1)
    fix = f"did you mean {root.parent / close[0]}?" if close else "check the path"
    raise DataError(f"no such data folder: {root}", fix=fix)


def no_layout(root: Path) -> DataError:
    """The error for a folder without pictures and masks in a known layout."""
    if foreign := foreign_annotations(root):
        found, fix = foreign
        return DataError(found, fix=fix, subject=f"{root}:")
    folders = sorted(child.name for child in root.iterdir() if child.is_dir())
    layouts = ", ".join(f"{pictures}/ with {masks}/" for pictures, masks in FOLDER_NAMES)
    return DataError(
        f"holds {', '.join(folders) or 'no folders'}",
        expected=(
            f"expected {layouts}, each also below train/ and val/, a COCO annotations.json, or a "
            "labelme .json beside each picture"
        ),
        fix=_fix(root, folders),
        subject=str(root),
    )


def _fix(root: Path, folders: list[str]) -> str:
    """The smallest change that makes a layout; else the usual layout."""
    if coco := _coco_file(root):
        if coco.name in COCO_NAMES:  # not read because of --masks
            return f"pass --masks polygons to read {coco}"
        return f"rename {coco} to annotations.json"
    place = root if root.name else root.absolute()
    if not folders and place.name.lower() in (*_PICTURE_NAMES, *_MASK_NAMES):
        return f"pass {place.parent}, the folder that holds {place.name}/"
    split = next((name for name in SPLIT_NAMES if name in folders), None)
    inside = root / split if split else root
    if split:
        folders = sorted(child.name for child in inside.iterdir() if child.is_dir())
    return _folder_fix(inside, folders)


def _folder_fix(root: Path, folders: list[str]) -> str:
    """What to rename or add so that `root`, which holds `folders`, has a pair of folders."""
    # A name of a pair comes before similar ones, so that no folder is renamed to an existing one.
    exact = [name for pair in FOLDER_NAMES for name in pair]
    similar = [name for name in folders if name.lower() in _PICTURE_NAMES]
    pictures = min(similar, key=lambda name: name not in exact, default=None)
    if pictures is None:
        return f"put the pictures into {root / 'images'}/ and the masks into {root / 'masks'}/"
    wanted, masks = _pair_for(pictures)
    others = sorted(
        (name for name in folders if name.lower() in _MASK_NAMES),
        key=lambda name: (name != masks, name not in exact, _MASK_NAMES.index(name.lower())),
    )
    renames = [
        f"{root / old} to {new}"
        for old, new in ((pictures, wanted), *((other, masks) for other in others[:1]))
        if old != new
    ]
    steps = [f"rename {' and '.join(renames)}"] if renames else []
    if not others:
        steps.append(f"add {root / masks}/ with a mask for each picture, of the same name")
    return ", and ".join(steps)


def _pair_for(pictures: str) -> tuple[str, str]:
    """The pair of folder names to which a folder of pictures belongs."""
    exact = [pair for pair in FOLDER_NAMES if pair[0] == pictures]
    plain = ("images", "masks")
    return exact[0] if exact else plain


def _coco_file(root: Path) -> Path | None:
    """A COCO file of a name that is not looked for."""
    for path in itertools.islice(sorted(root.glob("*.json")), _EXAMINED):
        try:
            data = read_object(path)
        except DataError:
            continue
        if all(isinstance(data.get(key), list) for key in _COCO_KEYS):
            return path
    return None
