"""A ranking as a folder: table, contact sheet, list of the chosen photos, and pre-annotations."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, assert_never, get_args
from urllib.parse import quote

from unet_edge.drawing.contact_sheet import SheetPhoto, contact_sheet
from unet_edge.errors import OutputError
from unet_edge.evaluation.ranking import RankedPhoto, Ranking
from unet_edge.evaluation.uncertainty import uncertainty
from unet_edge.images.listing import absolute_path
from unet_edge.masks.coco_writing import coco, join_coco
from unet_edge.masks.cvat import cvat_xml
from unet_edge.masks.label_studio import labelling_config, task
from unet_edge.masks.mask import Mask, save_png
from unet_edge.masks.upsampling import Edges
from unet_edge.runtime.segmenter import Segmenter
from unet_edge.system.atomic_folders import folder_written_atomically
from unet_edge.system.csv_table import csv_text
from unet_edge.system.files import json_text, require_writable_path, write_atomically

KIND = "unet-edge ranking"

Annotations = Literal["coco", "coco-rle", "cvat", "label-studio"]
"""Pre-annotations: COCO with polygons or with run lengths, CVAT's XML, Label Studio's tasks."""

PHOTOS = "photos"
_REPORT = "ranking.json"
_TABLE = "ranking.csv"
_SHEET = "ranking.png"
_LIST = "list.txt"
_LABEL_STUDIO_CONFIG = "label-studio.xml"
_FILES = {
    _REPORT, _TABLE, _SHEET, _LIST, _LABEL_STUDIO_CONFIG, PHOTOS,
    "coco.json", "coco-rle.json", "cvat.xml", "label-studio.json",
}  # fmt: skip
_MOST_DRAWN = 100  # photos of a sheet: 20 rows of 1850 x 210 px


@dataclass(frozen=True)
class FolderOptions:
    """What a folder holds beside the table.

    `top` photos are listed, drawn and annotated. With `copy`, they are copied too. `url` is what
    stands before a photo's name in Label Studio's tasks.
    """

    top: int
    annotations: tuple[Annotations, ...] = ()
    edges: Edges = "nearest"
    copy: bool = False
    url: str | None = None


Watched = Callable[[Sequence[RankedPhoto]], Iterable[RankedPhoto]]


def require_ranking_folder(folder: Path) -> None:
    """Raise OutputError unless a ranking can be written to `folder`.

    The folder may be new, empty or an earlier ranking to which nothing was added: it is replaced.
    """
    require_writable_path(folder.absolute().parent if folder.is_dir() else folder.absolute())
    if not folder.exists():
        return
    if not folder.is_dir():
        raise OutputError(f"{folder} is a file", fix="choose another --output")
    names = {path.name for path in folder.iterdir()}
    copied = _copied_by(folder)
    foreign = sorted(names if copied is None else names - _FILES)
    if copied is not None and (folder / PHOTOS).is_dir():
        files = (path for path in (folder / PHOTOS).rglob("*") if not path.is_dir())
        inside = {path.relative_to(folder / PHOTOS).as_posix() for path in files}
        foreign += sorted(f"{PHOTOS}/{name}" for name in inside - copied)
    if foreign:
        shown = ", ".join(foreign[:3]) + (", …" if len(foreign) > 3 else "")
        raise OutputError(
            f"{folder} has files that are not part of a ranking: {shown}",
            fix="choose another --output",
        )


def _copied_by(folder: Path) -> set[str] | None:
    """The names of the photos that an earlier ranking copied; None if the folder holds none."""
    try:
        report = json.loads((folder / _REPORT).read_bytes())
        return set(report["copied"]) if report["kind"] == KIND else None
    except (OSError, ValueError, RecursionError, LookupError, TypeError):
        return None


def names_below(photos: Sequence[Path]) -> dict[Path, str]:
    """Each photo's path below the common folder of all, with forward slashes."""
    common = _common_folder(photos)
    return {
        photo: Path(os.path.relpath(absolute_path(photo), common)).as_posix() for photo in photos
    }


def _common_folder(photos: Sequence[Path]) -> str:
    return os.path.commonpath([os.path.dirname(absolute_path(photo)) for photo in photos])  # noqa: PTH120 - as text


def ranking_table(ranking: Ranking, names: dict[Path, str], classes: Sequence[str]) -> str:
    """The CSV text: a row for each photo, with its rank, name, score and class shares."""
    return csv_text(
        ["rank", "picture", "score", "looks_like", *classes],
        (
            [
                number,
                names[photo.path],
                f"{photo.score:.6f}",
                names[photo.looks_like] if photo.looks_like else "",
                *(f"{share:.6f}" for share in photo.shares),
            ]
            for number, photo in enumerate(ranking.photos, 1)
        ),
    )


def write_ranking(
    folder: Path,
    ranking: Ranking,
    segmenter: Segmenter,
    report: dict[str, Any],
    options: FolderOptions,
    watched: Watched = lambda photos: photos,
) -> None:
    """Write a ranking to `folder` in one step, which replaces an earlier one.

    `report` becomes ranking.json. The first `options.top` photos are segmented again, so that the
    masks of all photos need not be kept in memory. Raises OutputError as `require_ranking_folder`
    does, and ImageError for a photo that has become unreadable.
    """
    require_ranking_folder(folder)
    every = [photo.path for photo in ranking.photos]
    names, chosen = names_below(every), ranking.photos[: options.top]
    copied = [names[photo.path] for photo in chosen] if options.copy else []
    with folder_written_atomically(folder.absolute()) as fresh:
        write_atomically(fresh / _REPORT, json_text({"kind": KIND, **report, "copied": copied}))
        write_atomically(fresh / _TABLE, ranking_table(ranking, names, segmenter.spec.classes))
        lines = "".join(f"{names[photo.path]}\n" for photo in chosen)
        write_atomically(fresh / _LIST, lines.encode(errors="surrogateescape"))
        for photo in chosen if options.copy else ():
            target = fresh / PHOTOS / names[photo.path]
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(photo.path, target)
        drawn: list[SheetPhoto] = []
        masks: list[tuple[str, float, Mask]] = []
        for number, photo in enumerate(watched(chosen), 1):
            name = names[photo.path]
            if number <= _MOST_DRAWN:
                drawn.append(_sheet_photo(segmenter, ranking, photo, f"{number}  {name}"))
            if options.annotations:
                mask = segmenter.segment(photo.path, edges=options.edges)
                masks.append((name, photo.score, mask))
        save_png(contact_sheet(drawn, segmenter.spec.palette), fresh / _SHEET)
        url = options.url
        if url is None:
            below = PHOTOS if options.copy else Path(_common_folder(every)).name
            url = f"/data/local-files/?d={quote(os.fsencode(below))}/"
        for kind in options.annotations:
            for file, text in _annotation_files(kind, masks, segmenter, url).items():
                write_atomically(fresh / file, text)


def _sheet_photo(
    segmenter: Segmenter, ranking: Ranking, photo: RankedPhoto, title: str
) -> SheetPhoto:
    found = uncertainty(segmenter, photo.path, ranking.measure)
    value = f"{ranking.measure} {photo.score:.3f}"
    return SheetPhoto(title, value, found.size, found.pixels, found.labels, found.values)


def _annotation_files(
    kind: Annotations, masks: Sequence[tuple[str, float, Mask]], segmenter: Segmenter, url: str
) -> dict[str, str]:
    """The name and text of each file of one kind of pre-annotations."""
    spec = segmenter.spec
    match kind:
        case "coco" | "coco-rle":
            style: Literal["polygons", "rle"] = "polygons" if kind == "coco" else "rle"
            files = (
                (name, coco(mask.labels, spec.classes, name, style)) for name, _, mask in masks
            )
            return {f"{kind}.json": json.dumps(join_coco(files)) + "\n"}
        case "cvat":
            images = ((name, mask) for name, _, mask in masks)
            return {"cvat.xml": cvat_xml(images, spec.classes, spec.palette)}
        case "label-studio":
            tasks = [
                task(
                    url + quote(os.fsencode(name)), mask, model=segmenter.name, confidence=1 - score
                )
                for name, score, mask in masks
            ]
            config = labelling_config(spec.classes, spec.palette)
            return {
                "label-studio.json": json.dumps(tasks) + "\n",
                _LABEL_STUDIO_CONFIG: config,
            }
        case _:
            assert_never(kind)


ANNOTATIONS: tuple[Annotations, ...] = get_args(Annotations)
