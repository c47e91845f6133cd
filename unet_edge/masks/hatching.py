"""Grey diagonal stripes for pixels without a label, unlike any photo or class colour."""

from __future__ import annotations

import numpy as np
from PIL import Image

_STRIPE = 3  # px
_LIGHT, _DARK = 225, 140


def hatch(picture: Image.Image, where: np.ndarray, top: int = 0, row: int = 0) -> None:
    """Draw stripes into an RGB picture, from its row `top` down, where bool (H, W) is True.

    `row` is the number of the first row in the full picture, so that the stripes of strips join.
    """
    rows, columns = np.indices(where.shape)
    light = (rows + row + columns) // _STRIPE % 2 == 0
    stripes = Image.fromarray(np.where(light, _LIGHT, _DARK).astype(np.uint8)).convert("RGB")
    picture.paste(stripes, (0, top), Image.fromarray(np.uint8(255) * where))
