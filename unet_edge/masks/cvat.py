"""Masks as pre-annotations of CVAT: its XML "CVAT for images 1.1", with brush masks.

A brush mask has run lengths along the rows of its box: outside, inside, outside, … The format:
https://docs.cvat.ai/docs/dataset_management/formats/format-cvat/ and
https://docs.cvat.ai/docs/other/xml_format/
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from xml.sax.saxutils import escape, quoteattr

import numpy as np
from numpy.typing import NDArray

from unet_edge.masks.mask import Mask
from unet_edge.masks.run_length import mask_to_runs


def cvat_xml(
    images: Iterable[tuple[str, Mask]],
    classes: Sequence[str],
    palette: Sequence[tuple[int, int, int]],
) -> str:
    """The XML of pictures with their masks; `images` are pairs of a picture's name and its mask.

    Each class that occurs, except class 0, has one mask.
    """
    labels = "".join(
        f"<label><name>{escape(name)}</name><color>#{bytes(color).hex()}</color>"
        "<type>mask</type><attributes></attributes></label>"
        for name, color in zip(classes[1:], palette[1:], strict=True)
    )
    parts = [
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n'
        f"<meta><task><labels>{labels}</labels></task></meta>\n"
    ]
    for number, (name, mask) in enumerate(images):
        height, width = mask.labels.shape
        parts.append(
            f'<image id="{number}" name={quoteattr(name)} width="{width}" height="{height}">\n'
        )
        parts += [
            _mask_tag(mask.labels == index, mask.classes[index])
            for index in np.unique(mask.labels).tolist()
            if 0 < index < len(mask.classes)
        ]
        parts.append("</image>\n")
    return "".join((*parts, "</annotations>\n"))


def _mask_tag(inside: NDArray[np.bool_], label: str) -> str:
    rows, columns = (np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0))
    box = inside[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    runs = ", ".join(map(str, mask_to_runs(box.T)))  # COCO's run lengths go down the columns
    return (
        f'<mask label={quoteattr(label)} source="auto" occluded="0" rle="{runs}" '
        f'left="{columns[0]}" top="{rows[0]}" width="{box.shape[1]}" height="{box.shape[0]}" '
        'z_order="0"></mask>\n'
    )
