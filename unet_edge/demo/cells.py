"""Generated pictures of cells with exact masks of their membranes, as in electron microscopy.

A picture is a Voronoi diagram bent by smooth noise. Its borders are the membranes. The cells hold
vesicles and mitochondria, whose walls are as dark as membranes. The light is uneven, and the
picture is blurred and noisy. So brightness alone does not find the membranes: the best global
threshold reaches an mIoU of about 0.7, which a test measures. Shape and context do.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unet_edge.images.placement import Labels, Pixels
from unet_edge.masks.mask import save_png
from unet_edge.system.files import write_atomically

CLASSES = ("cell", "membrane")
SIZE = 192
"""Height and width of a generated picture, px."""

Field = NDArray[np.floating]


def write_dataset(root: Path, *, train: int, validation: int, seed: int = 0) -> None:
    """Write `images/`, `masks/` (0 cell, 1 membrane), `train.txt` and `val.txt` to `root`."""
    names = [f"cells-{index:03d}" for index in range(train + validation)]
    for index, name in enumerate(names):
        pixels, labels = draw_cells(SIZE, np.random.default_rng((seed, index)))
        save_png(Image.fromarray(pixels), root / "images" / f"{name}.png")
        save_png(Image.fromarray(labels), root / "masks" / f"{name}.png")
    for split, listed in (("train", names[:train]), ("val", names[train:])):
        write_atomically(root / f"{split}.txt", "\n".join(listed) + "\n")


def draw_cells(size: int, random: np.random.Generator) -> tuple[Pixels, Labels]:
    """Draw one picture.

    Returns grey pixels, uint8 (size, size, 3), and labels, uint8 (size, size), 1 on membranes.
    """
    spacing = random.uniform(26, 40)  # mean distance between cells, px
    first, second, cell = _voronoi(size, spacing, random)
    half_width = np.maximum(1.0, random.uniform(1.4, 2.2) + 0.5 * _smooth(size, spacing, random))
    # About the distance to the border between the two nearest cells.
    border: Field = (second - first) / 2
    labels = (border < half_width).astype(np.uint8)

    tone = random.uniform(0.56, 0.72) + random.uniform(-0.07, 0.07, cell.max() + 1)
    picture = tone[cell].astype(np.float32)
    picture += 0.035 * _smooth(size, 3, random)  # grain of the cytoplasm
    _add_organelles(picture, border, spacing, random)
    edge = np.clip((half_width - border) / 1.2 + 0.5, 0, 1)
    darkness = random.uniform(0.22, 0.34) + 0.06 * _smooth(size, 12, random)
    picture = picture * (1 - edge) + darkness * edge

    picture += 0.10 * _smooth(size, size / 3, random)  # uneven light
    picture = _blur(picture, random.uniform(0.6, 1.1))
    picture += random.normal(0, random.uniform(0.035, 0.06), picture.shape)
    grey = np.clip(picture * 255, 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1), labels


def _voronoi(
    size: int, spacing: float, random: np.random.Generator
) -> tuple[Field, Field, NDArray[np.intp]]:
    """Distances to the nearest and second nearest cell centre, px, and the nearest cell's index."""
    margin = 2 * spacing
    steps = np.arange(-margin, size + margin, spacing)
    centres = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    centres = centres + random.uniform(-0.42, 0.42, centres.shape) * spacing
    y, x = np.mgrid[:size, :size].astype(np.float32)
    warp = spacing / 5
    x = x + warp * _smooth(size, spacing / 1.6, random)
    y = y + warp * _smooth(size, spacing / 1.6, random)
    distance = np.hypot(x[..., None] - centres[:, 0], y[..., None] - centres[:, 1])
    nearest = np.argpartition(distance, 1, axis=-1)[..., :2]
    pair = np.take_along_axis(distance, nearest, axis=-1)
    order = np.argsort(pair, axis=-1)
    pair = np.take_along_axis(pair, order, axis=-1).astype(np.float32)
    cell = np.take_along_axis(nearest, order, axis=-1)[..., 0]
    return pair[..., 0], pair[..., 1], cell


def _add_organelles(
    picture: Field, border: Field, spacing: float, random: np.random.Generator
) -> None:
    """Draw vesicles (dark rings) and mitochondria (dark, striped ovals) inside the cells."""
    size = picture.shape[0]
    y, x = np.mgrid[:size, :size].astype(np.float32)
    for _ in range(round((size / spacing) ** 2 * 1.4)):
        centre_x, centre_y = random.uniform(0, size, 2)
        if border[int(centre_y), int(centre_x)] < spacing / 7:
            continue
        angle = random.uniform(0, np.pi)
        mitochondrion = random.random() < 0.35
        long = random.uniform(4, 7) if mitochondrion else random.uniform(2, 4)
        short = long * (random.uniform(0.45, 0.7) if mitochondrion else random.uniform(0.8, 1))
        u = (x - centre_x) * np.cos(angle) + (y - centre_y) * np.sin(angle)
        v = (y - centre_y) * np.cos(angle) - (x - centre_x) * np.sin(angle)
        radius = np.hypot(u / long, v / short)
        inside = (radius < 1) & (border > 3)
        wall = inside & (radius > 1 - 1.4 / short)
        if mitochondrion:
            picture[inside] -= (0.13 + 0.07 * np.sin(u * 1.8))[inside]
        picture[wall] = random.uniform(0.26, 0.4)


def _smooth(size: int, scale: float, random: np.random.Generator) -> Field:
    """Smooth noise of mean 0 and standard deviation 1; `scale` is its grain in px."""
    cells = max(2, round(size / scale) + 2)
    coarse = Image.fromarray(random.normal(0, 1, (cells, cells)).astype(np.float32))
    noise = np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC))
    normalised: Field = (noise - noise.mean()) / noise.std()
    return normalised


def _blur(picture: Field, sigma: float) -> Field:
    """Gaussian blur, sigma in px, edges reflected."""
    radius = 4
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    for axis in (0, 1):
        padding = [(radius, radius) if axis == a else (0, 0) for a in (0, 1)]
        padded = np.pad(picture, padding, mode="reflect")
        picture = sum(
            weight * np.take(padded, np.arange(picture.shape[axis]) + shift, axis=axis)
            for shift, weight in enumerate(kernel)
        ).astype(np.float32)
    return picture
