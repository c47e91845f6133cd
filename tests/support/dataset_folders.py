"""Small data sets in folders, for the tests of finding, detecting and reading."""

import numpy as np
from PIL import Image

from unet_edge.dataset import find_dataset

SIZE = (4, 3)  # width, height, px
INDEX = np.array([[0, 1, 1, 0]] * 3, np.uint8)
BLACK_WHITE = INDEX * 255


def save_picture(path, size=SIZE):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (1, 2, 3)).save(path)


def save_mask(path, values=INDEX):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values, np.uint8)).save(path)


def make(root, names, *, pictures="images", masks="masks", suffix=".png", values=INDEX):
    for name in names:
        save_picture(root / pictures / f"{name}{suffix}")
        save_mask(root / masks / f"{name}.png", values)
    return root


def names(samples):
    return [sample.name for sample in samples]


def find(root, *, classes=2, **options):
    return find_dataset(root, classes=[f"class{k}" for k in range(classes)], **options)
