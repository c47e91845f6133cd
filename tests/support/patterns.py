"""Pictures made with integers, and contracts, for the tests of geometry."""

import io

import numpy as np
from PIL import Image

from unet_edge.images.decoding import decode
from unet_edge.spec import ModelSpec

WHITE = (255, 255, 255)


def pattern(width, height):
    """A photo made with integers, the same on every machine: RGB, uint8 (H, W, 3)."""
    y, x = np.mgrid[:height, :width].astype(np.int64)
    channels = (7 * x + 3 * y, x * y // 5 + 11 * x, (x * x + 9 * y) // 4)
    return (np.stack(channels, axis=-1) % 256).astype(np.uint8)


def label_pattern(width, height, classes=5):
    """Labels that differ from pixel to pixel, uint8 (H, W)."""
    rows, columns = 5 * np.arange(height), 3 * np.arange(width)
    total = np.add.outer((rows % classes).astype(np.uint16), (columns % classes).astype(np.uint16))
    return (total % classes).astype(np.uint8)


def spec_of(size=(224, 320), **changes):
    return ModelSpec(*size, classes=("a", "b"), **changes)


def encoded(picture, file_format, **options):
    buffer = io.BytesIO()
    picture.save(buffer, file_format, **options)
    return buffer.getvalue()


def decoded(data):
    picture = decode(data)
    assert picture.mode == "RGB"
    return np.asarray(picture)


def grey(values):
    return np.repeat(np.asarray(values, np.uint8)[..., None], 3, axis=-1)


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags
