"""Where and why the masks of a file differ from the reference's.

A quantised file flips labels. A flip at a near tie is rounding noise; a flip where the reference
is confident is an error. Pixels are counted on the model's grid, without the padding.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unet_edge.drawing.image_grid import image_grid
from unet_edge.errors import BundleError
from unet_edge.images.decoding import ImageSource, read_photo
from unet_edge.images.placement import Labels, Pixels, Placement
from unet_edge.masks.boundary import boundary_band
from unet_edge.masks.mask import Mask
from unet_edge.runtime.argmax import to_labels
from unet_edge.runtime.backends.backend import to_logits
from unet_edge.runtime.segmenter import Segmenter
from unet_edge.system.counting import counted

NEAR_TIE = 0.1
"""A near tie: the reference's two likeliest classes are less than this apart in probability. With
two classes, both are between 45 and 55 %."""


@dataclass(frozen=True)
class PictureDiagnosis:
    """Numbers of pixels of one picture, on the grid.

    `flipped`: their label differs from the reference's. `near_ties`: see NEAR_TIE. `band`: within
    the boundary tolerance of a border in the reference's mask (see `boundary_band`).
    """

    name: str
    pixels: int
    flipped: int
    near_ties: int
    flipped_near_ties: int
    band: int
    flipped_band: int
    largest_shift: float
    """The largest change of a class's probability, 0..1."""


@dataclass(frozen=True)
class Diagnosis:
    """A file compared with the reference, over pictures."""

    reference: str
    candidate: str
    pictures: tuple[PictureDiagnosis, ...]

    def total(self, field: str) -> int:
        """The sum of a count over the pictures."""
        return sum(getattr(picture, field) for picture in self.pictures)

    def figures(self) -> dict[str, float | int]:
        """Agreement of all pixels, at near ties and elsewhere, inside the band and outside (0..1).

        `confident_flips` counts flipped pixels that are not near ties. An agreement over no
        pixels is nan.
        """
        pixels, flipped = self.total("pixels"), self.total("flipped")
        ties, flipped_ties = self.total("near_ties"), self.total("flipped_near_ties")
        band, flipped_band = self.total("band"), self.total("flipped_band")
        return {
            "pixels": pixels,
            "flipped": flipped,
            "confident_flips": flipped - flipped_ties,
            "agreement": _agreement(flipped, pixels),
            "near_tie_share": ties / pixels,
            "agreement_at_near_ties": _agreement(flipped_ties, ties),
            "agreement_elsewhere": _agreement(flipped - flipped_ties, pixels - ties),
            "band_share": band / pixels,
            "agreement_inside_band": _agreement(flipped_band, band),
            "agreement_outside_band": _agreement(flipped - flipped_band, pixels - band),
        }

    @property
    def worst_first(self) -> list[PictureDiagnosis]:
        """The pictures by their share of flipped pixels, largest first."""
        return sorted(self.pictures, key=lambda p: (-p.flipped / p.pixels, p.name))


def diagnose(
    reference: Segmenter, candidate: Segmenter, pictures: Iterable[tuple[str, ImageSource]]
) -> Diagnosis:
    """Compare two opened models on named pictures.

    Raises BundleError when their contracts differ or there is no picture.
    """
    if reference.spec != candidate.spec:
        raise BundleError(f"{candidate.name} and {reference.name} have different contracts")
    diagnoses = []
    for name, source in pictures:
        comparison = _GridComparison(reference, candidate, source)
        flipped, near_ties = comparison.flipped, comparison.near_ties
        band = boundary_band(comparison.labels)
        diagnoses.append(
            PictureDiagnosis(
                name=name,
                pixels=comparison.labels.size,
                flipped=int(flipped.sum()),
                near_ties=int(near_ties.sum()),
                flipped_near_ties=int((flipped & near_ties).sum()),
                band=int(band.sum()),
                flipped_band=int((flipped & band).sum()),
                largest_shift=float(comparison.shift.max()),
            )
        )
    if not diagnoses:
        raise BundleError("there is no picture to diagnose with")
    return Diagnosis(reference.name, candidate.name, tuple(diagnoses))


def heat_map(
    reference: Segmenter, candidate: Segmenter, source: ImageSource, name: str
) -> Image.Image:
    """Picture | reference's mask | shift of probability | flipped pixels, on the grid, RGB.

    Shifts go from black (none) over red to yellow (0.25 or more). Flipped pixels are blue at near
    ties and red elsewhere.
    """
    comparison = _GridComparison(reference, candidate, source)
    flipped, near_ties = comparison.flipped, comparison.near_ties
    photo = Image.fromarray(comparison.grid)
    mask = Mask.of(comparison.labels, reference.spec).overlay(photo)
    heat = np.clip(comparison.shift / 0.25, 0, 1)
    ramp = np.stack([np.minimum(2 * heat, 1), np.maximum(2 * heat - 1, 0), 0 * heat], -1)
    flips = np.array(Image.blend(photo.convert("L").convert("RGB"), _white(photo), 0.5))
    flips[flipped & near_ties] = (0, 90, 200)
    flips[flipped & ~near_ties] = (200, 30, 0)
    confident = int((flipped & ~near_ties).sum())
    titles = [
        name,
        reference.name,
        f"shift of probability by {candidate.name}, at most {comparison.shift.max():.2f}",
        f"{counted(int(flipped.sum()), 'pixel')} flipped, {confident} of them confident (red)",
    ]
    pictures = [photo, mask, Image.fromarray((255 * ramp).astype(np.uint8)), Image.fromarray(flips)]
    return image_grid([pictures], titles)


class _GridComparison:
    """The reference and a candidate on one picture: arrays of the grid without its padding.

    `labels` are the reference's. `shift` is the largest change of a class's probability, 0..1.
    """

    def __init__(self, reference: Segmenter, candidate: Segmenter, source: ImageSource) -> None:
        photo = read_photo(source, reference.spec)
        placement = Placement.plan(photo.size, reference.spec)
        grid = placement.place(photo.picture)
        inside = placement.box
        self.grid: Pixels = grid[inside]
        expected = reference.backend.scores(grid)[inside]
        scores = candidate.backend.scores(grid)[inside]
        self.labels: Labels = to_labels(expected)
        self.flipped = to_labels(scores) != self.labels
        probabilities = _softmax(to_logits(expected, reference.backend))
        self.shift = abs(probabilities - _softmax(to_logits(scores, candidate.backend))).max(-1)
        first, second = np.sort(probabilities, axis=-1)[..., :-3:-1].transpose(2, 0, 1)
        self.near_ties = first - second < NEAR_TIE


def _white(photo: Image.Image) -> Image.Image:
    return Image.new("RGB", photo.size, "white")


def _agreement(flipped: int, pixels: int) -> float:
    return 1 - flipped / pixels if pixels else float("nan")


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return np.asarray(powers / powers.sum(-1, keepdims=True))
