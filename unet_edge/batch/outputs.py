"""The outputs of segmented photos: pictures, annotations, and tables of many photos."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, assert_never, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unet_edge.batch.resume_log_entries import Entry
from unet_edge.errors import DataError
from unet_edge.images.decoding import decode
from unet_edge.images.listing import natural_key
from unet_edge.images.picture_file import file_and_page
from unet_edge.masks.mask import LegendPlace, Mask, write_png
from unet_edge.system.files import Writer

if TYPE_CHECKING:
    from unet_edge.masks.coco_writing import CocoStyle

PhotoKind = Literal["index", "palette", "overlay", "cutout", "probabilities", "polygons", "rle"]
"""An output with files of its own for each photo."""

TableKind = Literal["csv", "jsonl"]
"""A table with the class shares of every photo: one file for a folder."""

KINDS: tuple[str, ...] = (*get_args(PhotoKind), *get_args(TableKind))

COLLECTED = {
    "csv": "shares.csv",
    "jsonl": "shares.jsonl",
    "polygons": "polygons.json",
    "rle": "rle.json",
}
"""The outputs with one file for all photos of a folder, and its name."""

# zlib's level for pictures of photos. Overlays of five photos of 640 px took 26 to 35 ms of an x86
# core, and 65 to 151 ms at the default, 6. The files have 94 to 106 % of the size.
_EFFORT = 2


@dataclass(frozen=True)
class Segmented:
    """A segmented photo.

    `photo` is the decoded photo, or its file where the model saw a reduced one. `probabilities`
    are those of `Prediction`, or None. `legend` says where an overlay has its legend.
    """

    photo: Image.Image | Path | bytes
    mask: Mask
    probabilities: NDArray[np.uint8] | None
    file_name: str
    legend: LegendPlace = "on"


def file_names(kind: PhotoKind, name: str, classes: int) -> list[str]:
    """The files of one kind for the photo called `name`."""
    match kind:
        case "palette":
            return [f"{name}.mask.png"]
        case "index" | "overlay" | "cutout":
            return [f"{name}.{kind}.png"]
        case "probabilities":
            # By number: the name of a class may not be valid in a file name.
            return [f"{name}.probability-{index}.png" for index in range(classes)]
        case "polygons" | "rle":
            return [f"{name}.{kind}.json"]
        case _:
            assert_never(kind)


def contents(kinds: Sequence[PhotoKind], result: Segmented) -> list[Writer]:
    """Writers of the files that `file_names` names for each kind; call them in that order.

    The last overlay or cutout overwrites the decoded photo in `result`. A writer that decodes
    the photo raises ImageError before it writes.
    """
    # Drawn in place, because a copy of 12 megapixels would take 48 MB.
    drawn = [kind for kind in kinds if kind in ("overlay", "cutout")]
    writers: list[Writer] = []
    for kind in kinds:
        match kind:
            case "index" | "palette":
                writers.append(_png_of(functools.partial(result.mask.picture, kind), effort=6))
            case "overlay" | "cutout":
                make = functools.partial(_drawn, kind, result, last=kind == drawn[-1])
                writers.append(_png_of(make))
            case "probabilities":
                assert result.probabilities is not None
                writers += [
                    _png_of(functools.partial(Image.fromarray, plane))
                    for plane in result.probabilities
                ]
            case "polygons" | "rle":
                writers.append(functools.partial(_write_coco, result, kind))
            case _:
                assert_never(kind)
    return writers


def _png_of(make: Callable[[], Image.Image], *, effort: int = _EFFORT) -> Writer:
    return lambda file: write_png(make(), file, effort=effort)


def _drawn(kind: Literal["overlay", "cutout"], result: Segmented, *, last: bool) -> Image.Image:
    photo = result.photo
    if not isinstance(photo, Image.Image):
        photo = decode(photo, bit_depth=result.mask.bit_depth)
    elif not last:
        photo = photo.copy()
    match kind:
        case "overlay":
            return result.mask.lay_over(photo, legend=result.legend)
        case "cutout":
            result.mask.cut_out(photo)
            return photo
        case _:
            assert_never(kind)


def _write_coco(result: Segmented, kind: CocoStyle, file: BinaryIO) -> None:
    file.write((json.dumps(result.mask.coco(result.file_name, kind)) + "\n").encode())


def collected(
    folder: Path, kinds: Sequence[str], entries: Sequence[Entry], classes: Sequence[str]
) -> dict[str, str]:
    """The name and text of each file of COLLECTED that is in `kinds`.

    `entries` are the photos in the folder's resume log. Photos are named by their path below
    their common folder. Raises DataError when the JSON of a photo is damaged.
    """
    named = _by_name(entries)
    files: dict[str, str] = {}
    if "csv" in kinds:
        files[COLLECTED["csv"]] = _shares_table(named, classes)
    if "jsonl" in kinds:
        lines = (
            {"picture": name, **_size(entry), "shares": entry["coverage"]} for name, entry in named
        )
        files[COLLECTED["jsonl"]] = "".join(json.dumps(line) + "\n" for line in lines)
    for kind in ("polygons", "rle"):
        if kind in kinds:
            from unet_edge.masks.coco_writing import join_coco

            parts = (
                (name, _read_json(folder / file))
                for name, entry in named
                if (file := f"{entry['name']}.{kind}.json") in entry["files"]
                and (folder / file).is_file()
            )
            files[COLLECTED[kind]] = json.dumps(join_coco(parts)) + "\n"
    return files


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{path} is damaged: it is not JSON ({error})",
            fix="delete it and repeat the command",
        ) from error


def _by_name(entries: Sequence[Entry]) -> list[tuple[str, Entry]]:
    folders = [file_and_page(Path(entry["picture"]))[0].parent for entry in entries]
    common = os.path.commonpath(folders) if folders else ""
    pairs = [(Path(os.path.relpath(e["picture"], common)).as_posix(), e) for e in entries]
    return sorted(pairs, key=lambda pair: natural_key(pair[0]))


def _shares_table(named: Sequence[tuple[str, Entry]], classes: Sequence[str]) -> str:
    """A row for each photo: its path, size in px and class shares."""
    from unet_edge.system.csv_table import csv_text  # here: most runs write no table

    return csv_text(
        ["picture", "width", "height", *classes],
        (
            [name, *_size(entry).values(), *(entry["coverage"][c] for c in classes)]
            for name, entry in named
        ),
    )


def _size(entry: Entry) -> dict[str, int]:
    width, height = entry["size"]
    return {"width": width, "height": height}
