"""An evaluation as a folder: report, tables, the confusion matrix and the worst pictures."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from unet_edge.dataset import Dataset, Sample
from unet_edge.drawing.comparison import compare
from unet_edge.drawing.confusion_matrix import confusion_picture
from unet_edge.errors import OutputError
from unet_edge.evaluation.evaluation import Evaluation
from unet_edge.masks.mask import save_png
from unet_edge.runtime.segmenter import Segmenter
from unet_edge.system.atomic_folders import folder_written_atomically
from unet_edge.system.csv_table import csv_text
from unet_edge.system.files import json_text, require_writable_path, write_atomically

KIND = "unet-edge evaluation"

_REPORT = "report.json"
_PICTURES = "pictures.csv"
_CONFUSION = "confusion.csv"
_CONFUSION_PICTURE = "confusion.png"
_WORST = "worst"
_FILES = {_REPORT, _PICTURES, _CONFUSION, _CONFUSION_PICTURE, _WORST}


def require_evaluation_folder(folder: Path) -> None:
    """Raise OutputError unless an evaluation can be written to `folder`.

    The folder may be new, empty or an earlier evaluation. It is replaced, so it must not contain
    anything else.
    """
    # A folder is replaced by a rename, so its parent must be writable.
    require_writable_path(folder.absolute().parent if folder.is_dir() else folder.absolute())
    if not folder.exists():
        return
    if not folder.is_dir():
        raise OutputError(
            f"{folder} is a file",
            fix="choose another --output",
        )
    names = {path.name for path in folder.iterdir()}
    foreign = sorted(names - _FILES)
    if (folder / _WORST).is_dir():
        foreign += sorted(
            f"{_WORST}/{path.name}"
            for path in (folder / _WORST).iterdir()
            if not re.fullmatch(r"\d\d+-.*\.png", path.name)
        )
    if names and not foreign and not _is_evaluation(folder):
        foreign = sorted(names)
    if foreign:
        shown = ", ".join(foreign[:3]) + (", …" if len(foreign) > 3 else "")
        raise OutputError(
            f"{folder} has files that are not part of an evaluation: {shown}",
            fix="choose another --output",
        )


def _is_evaluation(folder: Path) -> bool:
    try:
        report = json.loads((folder / _REPORT).read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(report, dict) and report.get("kind") == KIND


def write_evaluation(
    folder: Path,
    evaluation: Evaluation,
    report: dict[str, Any],
    segmenter: Segmenter,
    dataset: Dataset,
    samples: Iterable[Sample],
    *,
    worst: int = 8,
) -> None:
    """Write an evaluation to `folder` in one step, which replaces an earlier one.

    `report` becomes report.json. The `worst` pictures by mIoU are segmented again, so that the
    masks of all pictures need not be kept in memory. Raises OutputError as
    `require_evaluation_folder` does.
    """
    require_evaluation_folder(folder)
    by_name = {sample.name: sample for sample in samples}
    with folder_written_atomically(folder.absolute()) as fresh:
        write_atomically(fresh / _REPORT, json_text({"kind": KIND, **report}))
        write_atomically(fresh / _PICTURES, _pictures_table(evaluation))
        write_atomically(fresh / _CONFUSION, _confusion_table(evaluation))
        save_png(
            confusion_picture(evaluation.confusion, evaluation.classes), fresh / _CONFUSION_PICTURE
        )
        for rank, score in enumerate(evaluation.worst_first[:worst], 1):
            sample = by_name[score.name]
            photo, truth = dataset.read(sample, segmenter.spec.bit_depth)
            sheet = compare(photo, truth, segmenter.segment(sample.image), score.name)
            # 60 characters are at most 240 bytes, and a file name may have 255.
            name = score.name.replace("/", "-")[:60]
            save_png(sheet, fresh / _WORST / f"{rank:02d}-{name}.png")


def _pictures_table(evaluation: Evaluation) -> str:
    """A row for each picture, worst first; a cell without a figure is empty."""
    header = ["picture", "miou", "accuracy", "boundary_f", "pixels"]
    return csv_text(
        [*header, *(f"iou {name}" for name in evaluation.classes)],
        (
            [p.name, *map(_cell, (p.miou, p.accuracy, p.boundary_f)), p.pixels, *map(_cell, p.iou)]
            for p in evaluation.worst_first
        ),
    )


def _confusion_table(evaluation: Evaluation) -> str:
    """Numbers of pixels: a row for each true class, a column for each predicted one."""
    return csv_text(
        ["true \\ predicted", *evaluation.classes],
        (
            [name, *map(int, counts)]
            for name, counts in zip(evaluation.classes, evaluation.confusion.counts, strict=True)
        ),
    )


def _cell(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6f}"
