"""What smoothing of scores over frames changes: flicker, agreement, and masks of what moves.

    python -m benchmarks.smoothing tests/data/trained/bundle

A clip of generated cells: the picture stands still, and a window of another picture moves across
it, 2 px a frame. Each frame has noise of its own. So the true labels of each frame are known, and
whether the scene at a pixel changed.

- agreement: share of pixels whose label is that of the same frame without smoothing
- flicker: share of pixels whose label changes from one frame to the next, though their true label
  and their scene did not
- mIoU with the true labels, where the scene stands still and where it moves

Writes `benchmarks/reference/<machine>/smoothing.{md,json}`.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from benchmarks.reporting import REFERENCE, named, page, spelled, table, write_report
from unet_edge import Segmenter
from unet_edge.demo.cells import CLASSES, SIZE, draw_cells
from unet_edge.images.placement import Labels, Pixels
from unet_edge.masks.metrics import Confusion
from unet_edge.streams.frame import Frame, StreamInfo
from unet_edge.system.timing import machine

SMOOTHINGS = (0.0, 0.3, 0.5, 0.8)
_WINDOW = 64  # px, height and width of what moves: a ninth of the picture
_SPEED = 2  # px a frame
_NOISE = 12  # standard deviation, of 255: a small camera's at night
_WARM_UP = 10  # frames: 0.8^10 is 0.11, what the first frame then weighs


class CellsClip:
    """Still cells with a moving window, and noise. A source."""

    def __init__(self, frames: int, seed: int = 0, noise: float = _NOISE) -> None:
        """`noise` is its standard deviation, of 255."""
        self.name, self.is_live, self.info = "cells", False, StreamInfo()
        self._frames, self._seed, self._noise = frames, seed, noise
        self._still, self._other = (
            draw_cells(SIZE, np.random.default_rng((seed, which))) for which in (0, 1)
        )

    def frames(self) -> Iterator[Frame]:
        """Yield the frames."""
        for index in range(self._frames):
            pixels = self.scene(index)[0]
            yield Frame(index, index, Fraction(1, 30), 0.0, lambda pixels=pixels: pixels)  # type: ignore[misc]

    def scene(self, index: int) -> tuple[Pixels, Labels, NDArray[np.bool_]]:
        """A frame's pixels (H, W, 3), its true labels and where the moving window is, (H, W)."""
        other, other_labels = self._other
        pixels, labels = self._still[0].astype(np.float32), self._still[1].copy()
        moving = np.zeros((SIZE, SIZE), bool)
        left = _SPEED * index % (SIZE - _WINDOW)
        place = (slice(_WINDOW, 2 * _WINDOW), slice(left, left + _WINDOW))
        window = (slice(_WINDOW), slice(_WINDOW))  # the part of the other picture that moves
        pixels[place], labels[place], moving[place] = other[window], other_labels[window], True
        random = np.random.default_rng((self._seed, 2, index))
        pixels += random.normal(0, self._noise, (SIZE, SIZE, 1)).astype(np.float32)
        return np.clip(pixels, 0, 255).astype(np.uint8), labels, moving


def compare(segmenter: Segmenter, clip: CellsClip, smoothing: float) -> dict[str, NDArray[Any]]:
    """Count one clip: (hits, total) of agreement and flicker, and confusions, still and moving."""
    counts: dict[str, NDArray[Any]] = {
        **{name: np.zeros(2, np.int64) for name in ("agreement", "agreement moving", "flicker")},
        **{name: np.zeros((2, 2), np.int64) for name in ("still", "moving")},
    }
    before: Labels | None = None
    was_moving = np.zeros((SIZE, SIZE), bool)
    for result in segmenter.stream(clip, smoothing=smoothing):
        index = result.frame.index
        pixels, truth, moving = clip.scene(index)
        labels = result.mask.labels
        if index >= _WARM_UP:
            same = labels == segmenter.segment(pixels).labels
            counts["agreement"] += [same[~moving].sum(), same[~moving].size]
            counts["agreement moving"] += [same[moving].sum(), same[moving].size]
            if before is not None:
                still = ~moving & ~was_moving
                counts["flicker"] += [(labels != before)[still].sum(), still.sum()]
            counts["still"] += Confusion.of(truth[~moving], labels[~moving], 2).counts
            counts["moving"] += Confusion.of(truth[moving], labels[moving], 2).counts
        before, was_moving = labels, moving
    return counts


def figures(segmenter: Segmenter, smoothing: float, clips: int, frames: int) -> dict[str, Any]:
    """The figures of one smoothing over all clips together."""
    parts = [compare(segmenter, CellsClip(frames, seed), smoothing) for seed in range(clips)]
    total = {name: np.sum([part[name] for part in parts], axis=0) for name in parts[0]}
    ratio = {name: float(total[name][0] / total[name][1]) for name in list(total)[:3]}
    miou = {f"miou {name}": float(Confusion(total[name]).miou) for name in ("still", "moving")}
    return {"smoothing": smoothing, **ratio, **miou}


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path, exists=True))
@click.option("--file", help="File of the bundle.  [default: as Segmenter.open chooses]")
@click.option("--clips", type=click.IntRange(1), default=4, show_default=True)
@click.option("--frames", type=click.IntRange(_WARM_UP + 2), default=64, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=REFERENCE)
def main(bundle: Path, file: str | None, clips: int, frames: int, output: Path) -> None:
    """Measure, print the table, and write the report."""
    segmenter = Segmenter.open(bundle, file=file)
    if segmenter.spec.classes != CLASSES:
        raise click.UsageError(f"the bundle must hold a model of {', '.join(CLASSES)}")
    report: dict[str, Any] = {
        "machine": machine(),
        "file": segmenter.name,
        "interpreter": segmenter.backend.name,
        "clips": clips,
        "frames": frames,
        "noise": _NOISE,
        "rows": [figures(segmenter, smoothing, clips, frames) for smoothing in SMOOTHINGS],
    }
    text = _markdown(report)
    write_report(named(output, report["machine"], "smoothing"), report, text)
    print(text)


def _markdown(report: dict[str, Any]) -> str:
    names = list(report["rows"][0])
    rows = [
        [f"{row['smoothing']:g}", *(f"{100 * row[name]:.2f} %" for name in names[1:])]
        for row in report["rows"]
    ]
    headers = [
        *("smoothing", "agreement, still", "agreement, moving", "flicker"),
        *("mIoU, still", "mIoU, moving"),
    ]
    return page(
        "# Smoothing of scores over frames",
        f"Made by `python -m benchmarks.smoothing` with {report['file']} in "
        f"{report['interpreter']}. Machine: {spelled(report['machine'])}.",
        f"{report['clips']} clips of {report['frames']} generated frames of {SIZE}x{SIZE} px: "
        f"still cells, and a window of {_WINDOW} px that moves {_SPEED} px a frame, with noise of "
        f"{report['noise']} of 255. The first {_WARM_UP} frames are not counted. Agreement is "
        "with the masks of the same frames without smoothing. Flicker is the share of still pixels "
        "whose label changes from one frame to the next.",
        table(rows, headers),
    )


if __name__ == "__main__":
    main()
