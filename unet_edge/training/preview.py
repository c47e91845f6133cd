"""A contact sheet of training pictures with their masks, whole and augmented."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from unet_edge.dataset import Dataset
from unet_edge.drawing.image_grid import image_grid
from unet_edge.images.placement import Labels, Placement
from unet_edge.masks.hatching import hatch
from unet_edge.masks.legend import default_font
from unet_edge.masks.mask import Mask
from unet_edge.palette import has_background
from unet_edge.spec import ModelSpec
from unet_edge.training.augmentation import augment
from unet_edge.training.settings.augmentation import Augmentation

_LEGEND = 26  # px; height of a line of the legend


def preview_sheet(
    dataset: Dataset,
    spec: ModelSpec,
    *,
    crop: tuple[int, int],
    count: int = 4,
    augmentation: Augmentation,
    views: int = 3,
    seed: int = 0,
) -> Image.Image:
    """Draw `count` training pictures, each in a row: on the model's grid, then in random views.

    A row has `views` views of `crop`, (height, width) px. Returns an RGB picture with a legend
    below. Raises ImageError and DataError as `Dataset.read` does.
    """
    random = np.random.default_rng(seed)
    indices = random.permutation(len(dataset.train))[:count]
    rows = []
    for index in sorted(indices):
        photo, labels = dataset.read_for(dataset.train[index], spec)
        picture, placement = photo.picture, Placement.plan(photo.size, spec)
        row = [_overlay(placement.place(picture), placement.place_labels(labels), spec)]
        for _ in range(views):
            row.append(_overlay(*augment(picture, labels, spec, crop, augmentation, random), spec))
        rows.append(row)
    titles = ["whole picture", *(f"view {number}" for number in range(1, views + 1))]
    return _with_legend(image_grid(rows, titles), spec)


def _overlay(pixels: np.ndarray, labels: Labels, spec: ModelSpec) -> Image.Image:
    """Draw labels (H, W) over pixels (H, W, 3); ignored pixels are hatched."""
    return Mask.of(labels, spec).overlay(pixels, legend="none")


def _with_legend(sheet: Image.Image, spec: ModelSpec) -> Image.Image:
    """Add a legend below the sheet: a swatch and name for each class, and for ignored pixels."""
    font = default_font(13)
    clear = has_background(spec.classes)  # the background is drawn without a colour
    first = (255, 255, 255) if clear else spec.palette[0]
    swatches = [Image.new("RGB", (16, 16), color) for color in (first, *spec.palette[1:])]
    swatches.append(Image.new("RGB", (16, 16)))
    hatch(swatches[-1], np.ones((16, 16), bool))
    names = [spec.classes[0] + (" (left clear)" if clear else ""), *spec.classes[1:], "ignored"]
    places, left, top = [], 8, sheet.height
    for name in names:
        width = 16 + 6 + round(font.getlength(name)) + 18
        if left > 8 and left + width > sheet.width:
            left, top = 8, top + _LEGEND
        places.append((left, top))
        left += width
    canvas = Image.new("RGB", (sheet.width, top + _LEGEND), "white")
    canvas.paste(sheet, (0, 0))
    draw = ImageDraw.Draw(canvas)
    for (x, y), swatch, name in zip(places, swatches, names, strict=True):
        canvas.paste(swatch, (x, y + 2))
        draw.rectangle((x, y + 2, x + 15, y + 17), outline="black")
        draw.text((x + 22, y + 2), name, fill="black", font=font)
    return canvas
