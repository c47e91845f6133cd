"""Generate pictures of eleven classes: the data set of `benchmarks.classes`.

A picture is a Voronoi diagram distorted by smooth noise, with thin bars and small discs over it.
Each region has one class, which gives it a colour and a stripe pattern. Both vary between regions
by more than neighbouring classes differ. A briefly trained model is therefore undecided along most
borders and in many regions, as on photos of streets. It reaches an mIoU of 0.6 to 0.8.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unet_edge.images.placement import Labels, Pixels
from unet_edge.masks.mask import save_png
from unet_edge.system.files import write_atomically

CLASSES = tuple(f"class-{index:02d}" for index in range(11))
HEIGHT, WIDTH = 192, 256
"""Size of a generated picture, px."""

Field = NDArray[np.floating]

_REGION = 34.0
"""Mean distance of two regions' centres, px."""


def write_dataset(root: Path, *, train: int, validation: int, seed: int = 0) -> None:
    """Write `images/`, `masks/` (index masks), `train.txt` and `val.txt` below `root`."""
    names = [f"mosaic-{index:03d}" for index in range(train + validation)]
    for index, name in enumerate(names):
        pixels, labels = draw_mosaic(HEIGHT, WIDTH, np.random.default_rng((seed, index)))
        save_png(Image.fromarray(pixels), root / "images" / f"{name}.png")
        save_png(Image.fromarray(labels), root / "masks" / f"{name}.png")
    for split, listed in (("train", names[:train]), ("val", names[train:])):
        write_atomically(root / f"{split}.txt", "\n".join(listed) + "\n")


def draw_mosaic(height: int, width: int, random: np.random.Generator) -> tuple[Pixels, Labels]:
    """Draw one picture: pixels uint8 (height, width, 3) and labels uint8 (height, width)."""
    regions = _regions(height, width, random)
    kinds = random.integers(0, len(CLASSES), regions.max() + 1)
    labels = kinds[regions].astype(np.uint8)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    objects = regions.copy()
    for _ in range(6):  # bars and discs; each is another region
        kind, angle = random.integers(0, len(CLASSES)), random.uniform(0, np.pi)
        centre_y, centre_x = random.uniform(0, height), random.uniform(0, width)
        u = (x - centre_x) * np.cos(angle) + (y - centre_y) * np.sin(angle)
        v = (y - centre_y) * np.cos(angle) - (x - centre_x) * np.sin(angle)
        if random.random() < 0.5:
            inside = (abs(v) < random.uniform(1.5, 4)) & (abs(u) < random.uniform(20, 70))
        else:
            inside = np.hypot(u, v) < random.uniform(4, 12)
        labels[inside], objects[inside] = kind, objects.max() + 1
    picture = np.zeros((height, width, 3), np.float32)
    for region in np.unique(objects):
        inside = objects == region
        picture[inside] = _texture(int(labels[inside][0]), y[inside], x[inside], random)
    light = 1 + 0.15 * _smooth(height, width, 80, random)
    picture *= light[..., None]
    picture += random.normal(0, 0.12, picture.shape)
    return np.clip(picture * 255, 0, 255).astype(np.uint8), labels


def _texture(kind: int, y: Field, x: Field, random: np.random.Generator) -> Field:
    """Colours (N, 3), 0..1, of a region of class `kind` at positions `y`, `x`, each (N,)."""
    turn = 2 * np.pi * (kind + random.normal(0, 0.5)) / len(CLASSES)
    tone = np.array([np.cos(turn), np.cos(turn - 2.1), np.cos(turn + 2.1)])
    period = 5 + 2.5 * (kind % 4) + random.normal(0, 0.6)
    angle = np.pi * (kind % 3) / 3 + random.normal(0, 0.25)
    wave = np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / period)
    brightness = 0.45 + random.normal(0, 0.1) + 0.08 * wave
    return np.asarray(brightness[:, None] + 0.14 * tone)


def _regions(height: int, width: int, random: np.random.Generator) -> NDArray[np.intp]:
    """The index of each pixel's region, (height, width)."""
    rows = np.arange(-_REGION, height + _REGION, _REGION)
    columns = np.arange(-_REGION, width + _REGION, _REGION)
    centres = np.stack(np.meshgrid(rows, columns), axis=-1).reshape(-1, 2)
    centres = centres + random.uniform(-0.45, 0.45, centres.shape) * _REGION
    y, x = np.mgrid[:height, :width].astype(np.float32)
    y = y + 6 * _smooth(height, width, 20, random)
    x = x + 6 * _smooth(height, width, 20, random)
    distance = np.hypot(y[..., None] - centres[:, 0], x[..., None] - centres[:, 1])
    return np.asarray(distance.argmin(-1))


def _smooth(height: int, width: int, scale: float, random: np.random.Generator) -> Field:
    """Smooth noise of mean 0 and standard deviation 1; `scale` is its grain in px."""
    cells = [max(2, round(side / scale) + 2) for side in (height, width)]
    coarse = Image.fromarray(random.normal(0, 1, cells).astype(np.float32))
    noise = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))
    return np.asarray((noise - noise.mean()) / noise.std())
