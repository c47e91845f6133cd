"""Annotations of other tools that are not read: what they are, and how to export them instead."""

from __future__ import annotations

from pathlib import Path

# (files below a data folder, whose they are, what to export instead). The first that fits counts.
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
    """What annotations of another tool `root` holds and what to do with them, or None."""
    for patterns, what, fix in _FOREIGN:
        for pattern in patterns:
            found = next(root.glob(pattern), None)
            if found is not None:
                return f"{found.relative_to(root)} is {what}, which is not read", fix
    return None
