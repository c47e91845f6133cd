"""The demo's steps: the commands that a user would type, on generated pictures."""

from __future__ import annotations

from pathlib import Path

from unet_edge.dataset import find_dataset
from unet_edge.demo.cells import CLASSES, SIZE, write_dataset
from unet_edge.drawing.image_grid import image_grid
from unet_edge.masks.mask import Mask, save_png
from unet_edge.runtime.segmenter import Segmenter
from unet_edge.system.captured_output import captured_output

_TRAIN, _VALIDATION = 48, 12
_SHOWN = 3  # validation pictures to segment and to draw


def make_data(folder: Path) -> None:
    """Write the generated pictures and masks to `folder/data`."""
    write_dataset(folder / "data", train=_TRAIN, validation=_VALIDATION)


def train_settings() -> str:
    """The options of `train`: alpha 0.5 without pretrained weights, one to four minutes.

    Measured at 192 px: 240 steps on whole pictures reach an mIoU of 0.85, these crops 0.84 in a
    third of the time.
    """
    return (
        f"--classes {','.join(CLASSES)} --size {SIZE} --name demo --alpha 0.5 "
        "--encoder-weights none --steps 150 --rounds 3 --crop 128 --learning-rate 0.004 "
        "--scale 0.8 1.25 --hue 0 --any-orientation"
    )


def steps(folder: Path) -> list[list[str]]:
    """The arguments of each command, in order."""
    data, run, bundle = (str(folder / name) for name in ("data", "run", "bundle"))
    photos = [str(folder / "data" / "images" / f"{name}.png") for name in _shown_names(folder)]
    html, results = str(folder / "benchmark.html"), str(folder / "benchmark.json")
    return [
        ["train", data, "-o", run, "--overwrite", *train_settings().split()],
        ["export", run, "-o", bundle],
        ["verify", bundle],
        ["segment", bundle, *photos, "-o", str(folder / "masks")],
        ["benchmark", bundle, "--keras", run, "--html", html, "-o", results],
    ]


def save_overview(folder: Path) -> None:
    """Write `overview.png`: a few pictures with their true mask and the int8 file's mask."""
    dataset = find_dataset(folder / "data", classes=CLASSES)
    with captured_output():  # interpreters announce their delegates on standard error
        segmenter = Segmenter.open(folder / "bundle", file="model-int8.tflite")
    rows = []
    for sample in dataset.validation[:_SHOWN]:
        picture, truth = dataset.read(sample)
        mask = segmenter.segment(sample.image)
        overlays = [
            Mask.of(truth, segmenter.spec).overlay(picture, legend="none"),
            mask.overlay(picture, legend="none"),
        ]
        rows.append([picture, *overlays, mask.colored()])
    titles = ["picture", "true membranes", "int8 TFLite, laid over", "int8 TFLite, mask"]
    save_png(image_grid(rows, titles), folder / "overview.png")


def _shown_names(folder: Path) -> list[str]:
    listed = (folder / "data" / "val.txt").read_text().split()
    return listed[:_SHOWN]
