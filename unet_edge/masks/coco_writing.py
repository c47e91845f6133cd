"""Masks as COCO annotations: polygons of each connected region, or run lengths of each class.

COCO polygons have no holes: the API fills every ring of an annotation and joins them. So a region
with holes becomes run lengths (uncompressed, as in COCO's own files). iscrowd stays 0, since crowds
are left out of training, and readers distinguish the two by their type. Cutting such a region into
polygons would draw edges that the mask does not have.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, assert_never

import numpy as np
from numpy.typing import NDArray

from unet_edge.images.placement import Labels
from unet_edge.masks.contours import ConnectedRegion, connected_regions
from unet_edge.masks.run_length import format_runs, mask_to_runs

CocoStyle = Literal["polygons", "rle"]


def coco(
    labels: Labels, classes: Sequence[str], file_name: str, style: CocoStyle = "polygons"
) -> dict[str, Any]:
    """Make a COCO file of one picture, as plain JSON values; category ids are class indices.

    `labels` is uint8 (H, W). "polygons" has an annotation for each region of pixels connected by
    their edges. "rle" has one for each class that occurs, in compressed run lengths, as in COCO's
    results. Class 0, the background, has no annotation. Areas count pixels; boxes are
    (left, top, width, height) px.
    """
    height, width = labels.shape
    annotations = [
        {"id": number, "image_id": 1, **annotation, "iscrowd": 0}
        for number, annotation in enumerate(_annotations(labels, len(classes), style), start=1)
    ]
    image = {"id": 1, "file_name": file_name, "width": width, "height": height}
    return {
        "images": [image],
        "categories": [{"id": index, "name": name} for index, name in enumerate(classes) if index],
        "annotations": annotations,
    }


def join_coco(files: Iterable[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    """Join COCO files made by `coco` into one; ids are numbered again from 1.

    `files` are pairs of a picture's file_name and its COCO file. All have the same classes.
    """
    result: dict[str, Any] = {"images": [], "categories": [], "annotations": []}
    for number, (file_name, file) in enumerate(files, start=1):
        result["categories"] = file["categories"]
        (image,) = file["images"]
        result["images"].append({**image, "id": number, "file_name": file_name})
        for annotation in file["annotations"]:
            annotation_id = len(result["annotations"]) + 1
            result["annotations"].append({**annotation, "id": annotation_id, "image_id": number})
    return result


def _annotations(labels: Labels, classes: int, style: CocoStyle) -> Iterator[dict[str, Any]]:
    for index in np.unique(labels).tolist():
        if not 0 < index < classes:
            continue
        inside = labels == index
        match style:
            case "polygons":
                for region in connected_regions(inside):
                    yield {"category_id": index, **_region(region, *inside.shape)}
            case "rle":
                counts = format_runs(mask_to_runs(inside))
                yield {
                    "category_id": index,
                    "segmentation": {"size": list(inside.shape), "counts": counts},
                    "area": int(inside.sum()),
                    "bbox": _box(inside),
                }
            case _:
                assert_never(style)


def _region(region: ConnectedRegion, height: int, width: int) -> dict[str, Any]:
    segmentation: Any = [region.outline.ravel().tolist()]
    if region.holes:
        left, top, box_width, box_height = region.box
        inside = np.zeros((height, width), bool)
        inside[top : top + box_height, left : left + box_width] = region.mask()
        segmentation = {"size": [height, width], "counts": mask_to_runs(inside)}
    return {"segmentation": segmentation, "area": region.area, "bbox": list(region.box)}


def _box(inside: NDArray[np.bool_]) -> list[int]:
    rows, columns = (np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0))
    left, top = int(columns[0]), int(rows[0])
    return [left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top]
