"""Measure the exported files on the golden pictures, and draw the card's pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from unet_edge.bundle.bundle import Bundle
from unet_edge.drawing.image_grid import image_grid
from unet_edge.drawing.thumbnails import difference, overlay, thumbnail
from unet_edge.images.decoding import decode
from unet_edge.images.mask_file import read_labels
from unet_edge.images.placement import Labels
from unet_edge.masks.agreement import Agreement
from unet_edge.masks.legend import default_font, drawable
from unet_edge.masks.mask import png_bytes
from unet_edge.runtime.interpreter_choice import open_backend
from unet_edge.runtime.segmenter import Segmenter
from unet_edge.spec import ModelSpec


@dataclass(frozen=True)
class GoldenRow:
    """A golden picture in the card: the drawn PNG, and the file that differs most from Keras.

    `agreement` is that file's share of pixels (0..1) equal to Keras' mask.
    """

    png: bytes
    worst_file: str
    agreement: float


def golden_rows(
    bundle: Bundle, models: Mapping[str, bytes], golden: Sequence[tuple[bytes, bytes]]
) -> tuple[list[GoldenRow], dict[str, float]]:
    """Segment the golden pictures with every file of `bundle`, which is not written yet.

    Returns a row for each picture, and each file's agreement (0..1) over all pictures.
    """
    photos = [picture for picture, _ in golden]
    references = [np.asarray(read_labels(mask)) for _, mask in golden]
    masks: dict[str, list[Labels]] = {}
    agreements: dict[str, Agreement] = {}
    for entry in bundle.files:
        backend = open_backend(models[entry.name], entry.format)
        segmenter = Segmenter(bundle.spec, backend, entry.name)
        masks[entry.name] = [segmenter.segment(photo).labels for photo in photos]
        agreements[entry.name] = Agreement()
        for index, labels in enumerate(masks[entry.name]):
            agreements[entry.name].add(str(index), labels, references[index])
    rows = []
    for index, (photo, reference) in enumerate(zip(photos, references, strict=True)):
        shares = {name: agreement.shares[index] for name, agreement in agreements.items()}
        worst = min(shares, key=lambda name: shares[name])
        wrong = masks[worst][index] != reference
        picture = decode(photo)
        row = [
            thumbnail(picture),
            overlay(picture, reference, bundle.spec),
            difference(picture, wrong),
        ]
        drawn = image_grid(
            [row], ["picture", "Keras' mask", f"{worst}: {int(wrong.sum())} px differ"]
        )
        rows.append(GoldenRow(png_bytes(drawn), worst, shares[worst]))
    return rows, {name: agreement.share for name, agreement in agreements.items()}


def legend(spec: ModelSpec) -> bytes:
    """A PNG of the classes with their colours."""
    font, line = default_font(16), 26
    names = [drawable(name, font) for name in spec.classes]
    width = round(max(font.getlength(name) for name in names)) + 48
    picture = Image.new("RGB", (width, line * len(names) + 8), "white")
    draw = ImageDraw.Draw(picture)
    for index, (name, color) in enumerate(zip(names, spec.palette, strict=True)):
        top = 4 + index * line
        draw.rectangle((8, top + 3, 28, top + 22), fill=color, outline="black")
        draw.text((38, top + 3), name, fill="black", font=font)
    return png_bytes(picture)
