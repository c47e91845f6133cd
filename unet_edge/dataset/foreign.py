"""Annotation formats that are not read: how to recognise them, and what to export instead."""

from __future__ import annotations

from pathlib import Path

# (files below a data folder, the format, what to export instead). The first that matches counts.
_FOREIGN = (
    (
        ("via_region_data*.json", "*/via_region_data*.json", "via_project*.json", "via_*.json"),
        "a VGG Image Annotator project",
        "export its annotations as COCO (Annotation, Export Annotations (COCO format)), "
        "and name the file annotations.json",
    ),
    (
        ("annotations.xml", "annotations/annotations.xml"),
        "CVAT's own XML",
        "export the task as COCO 1.0, or as Segmentation mask 1.1",
    ),
    (
        ("meta.json", "*/ann/*.json", "ann/*.json"),
        "a Supervisely project",
        "export it as COCO, or as masks with the app 'Export as masks'",
    ),
    (
        ("data.yaml", "labels/*.txt", "*/labels/*.txt", "labels/*/*.txt"),
        "YOLO labels",
        "export the project as COCO Segmentation (Roboflow) or COCO 1.0 (CVAT)",
    ),
    (
        ("*.xml", "Annotations/*.xml", "*/*.xml"),
        "XML annotations, which hold boxes",
        "export masks, polygons or run lengths: Segmentation mask 1.1 or COCO 1.0 (CVAT)",
    ),
)


def foreign_annotations(root: Path) -> tuple[str, str] | None:
    """What was found of a format that is not read, and the fix; None without such a file."""
    for patterns, file_format, fix in _FOREIGN:
        for pattern in patterns:
            file = next(root.glob(pattern), None)
            if file is not None:
                return f"{file.relative_to(root)} is {file_format}, which is not read", fix
    return None
