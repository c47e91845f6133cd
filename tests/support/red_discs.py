"""A model of other training code whose contract is known, and pictures that show a wrong one.

The model finds discs of one red. In -1..1 their red is 0.78 above blue, and the model's class is
"more than 0.5 and less than about 1 above". Wrong scalings and the other order of channels move
the discs, a paler and a stronger red, or blue discs across these limits.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CLASSES = ("background", "disc")
SIZE = 32
_REDS = (100, 50, 190, -100)  # red minus blue: of the discs, and of three kinds of other discs


def make_photo(seed: int, *, edge: int = 48) -> tuple[Any, Any]:
    """A picture, uint8 (edge, edge, 3), and its mask, uint8 (edge, edge), 1 in discs."""
    random = np.random.default_rng(seed)
    pixels = np.full((edge, edge, 3), 110.0) + random.normal(0, 4, (edge, edge, 1))
    labels = np.zeros((edge, edge), np.uint8)
    rows, columns = np.mgrid[:edge, :edge]
    for index, difference in enumerate(_REDS):
        top, left = (edge // 2) * (index // 2), (edge // 2) * (index % 2)
        centre = (top + edge // 4 + random.integers(-2, 3), left + edge // 4)
        inside = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < (edge / 6) ** 2
        pixels[inside] += np.array([difference / 2, 0, -difference / 2])
        if index == 0:
            labels[inside] = 1
    return pixels.round().clip(0, 255).astype(np.uint8), labels


def write_data(root: Path, count: int = 8, *, grey: bool = False) -> Path:
    """Write images/ and masks/ of `count` pictures."""
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for seed in range(count):
        pixels, labels = make_photo(seed)
        picture = Image.fromarray(pixels)
        if grey:
            picture = picture.convert("L")
        picture.save(root / "images" / f"{seed:02d}.png")
        Image.fromarray(labels).save(root / "masks" / f"{seed:02d}.png")
    return root


def write_photos(root: Path, count: int = 10) -> Path:
    """Write `count` photos without masks, none of which look alike."""
    root.mkdir(parents=True)
    for seed in range(count):
        pixels, _ = make_photo(100 + seed)
        turned = np.rot90(pixels, seed % 4)
        shade = np.linspace(-30, 30, turned.shape[0] * turned.shape[1]).reshape(turned.shape[:2])
        shade = np.roll(shade, 480 * seed)[..., None]  # so that no two look alike
        Image.fromarray((turned + shade).clip(0, 255).astype(np.uint8)).save(
            root / f"photo-{seed:02d}.png"
        )
    return root


def foreign_model() -> Any:
    """The Keras model: -1..1 in RGB, (N, 32, 32, 3), to one sigmoid channel."""
    import keras
    from keras import layers

    pixels = keras.Input((SIZE, SIZE, 3), name="photo")
    x = layers.Conv2D(2, 1, activation="relu", name="limits")(pixels)
    x = layers.Conv2D(4, 3, padding="same", activation="relu", name="spread")(x)
    x = layers.Conv2D(1, 1, activation="sigmoid", name="mask")(x)
    model = keras.Model(pixels, x, name="red_discs")
    kernel = np.zeros((1, 1, 3, 2), np.float32)
    kernel[0, 0, 0], kernel[0, 0, 2] = 1, -1
    spread = np.zeros((3, 3, 2, 4), np.float32)
    spread[1, 1] = [[1, 0, 0, 0], [0, 1, 0, 0]]
    mask = np.array([20, -60, 0, 0], np.float32).reshape(1, 1, 4, 1)
    for name, weights in (
        ("limits", [kernel, np.array([-0.5, -1], np.float32)]),
        ("spread", [spread, np.zeros(4, np.float32)]),
        ("mask", [mask, np.array([-2], np.float32)]),
    ):
        model.get_layer(name).set_weights(weights)
    return model
