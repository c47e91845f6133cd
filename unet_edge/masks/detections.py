"""Masks as the instances of Roboflow's supervision, for its annotators, trackers and zones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from unet_edge.errors import BackendError
from unet_edge.masks.contours import connected_regions

if TYPE_CHECKING:
    from supervision import Detections

    from unet_edge.masks.mask import Mask

CLASS_NAME = "class_name"
"""The key of `Detections.data` that supervision's annotators read names from."""


def detections(mask: Mask, *, regions: bool) -> Detections:
    """See `Mask.detections`."""
    try:
        from supervision import Detections, mask_to_xyxy
    except ImportError:
        raise BackendError(
            "supervision is not installed", fix="run: pip install supervision"
        ) from None

    indices: list[int] = []
    masks: list[NDArray[np.bool_]] = []
    for index in range(int(mask.has_background), len(mask.classes)):
        pixels = mask.labels == index
        if not pixels.any():
            continue
        found = _regions(pixels) if regions else [pixels]
        indices += [index] * len(found)
        masks += found
    if not masks:
        return Detections.empty()
    stack = np.stack(masks)
    return Detections(
        xyxy=mask_to_xyxy(stack).astype(np.float32),
        mask=stack,
        class_id=np.array(indices),
        data={CLASS_NAME: np.array([mask.classes[index] for index in indices])},
    )


def _regions(pixels: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    masks = []
    for region in connected_regions(pixels):
        left, top, width, height = region.box
        whole = np.zeros_like(pixels)
        whole[top : top + height, left : left + width] = region.mask()
        masks.append(whole)
    return masks
