"""Where and why a file's masks differ from the reference's: near ties, borders, worst pictures.

A quantised file flips labels. Where the reference itself hardly tells two classes apart, that is
rounding and no harm; where it is sure, something is wrong. All of it is counted on the model's own
grid, where the scores are, without the padding.
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

NEAR_TIE = 0.1
"""A pixel whose two likeliest classes are less than this apart in probability, by the reference:
between 45 and 55 % where there are two."""


@dataclass(frozen=True)
class PictureDiagnosis:
    """Counts of pixels of one picture's grid.

    `flipped`: label differs from the reference's; `near_ties`: see NEAR_TIE; `band`: within the
    boundary tolerance of a border of the reference's mask (see `boundary_band`).
    """

    name: str
    pixels: int
    flipped: int
    near_ties: int
    flipped_near_ties: int
    band: int
    flipped_band: int
    largest_shift: float
    """Largest change of a class's probability, 0..1."""


@dataclass(frozen=True)
class Diagnosis:
    """One file against the reference, over pictures."""

    reference: str
    candidate: str
    pictures: tuple[PictureDiagnosis, ...]

    def total(self, field: str) -> int:
        """A count, summed over the pictures."""
        return sum(getattr(picture, field) for picture in self.pictures)

    def figures(self) -> dict[str, float | int]:
        """Agreement everywhere, at near ties and elsewhere, inside the band and outside (0..1).

        `confident_flips` are flipped pixels that are no near ties. A share of nothing is nan.
        """
        pixels, flipped = self.total("pixels"), self.total("flipped")
        ties, flipped_ties = self.total("near_ties"), self.total("flipped_near_ties")
        band, flipped_band = self.total("band"), self.total("flipped_band")
        return {
            "pixels": pixels,
            "flipped": flipped,
            "confident_flips": flipped - flipped_ties,
            "agreement": _kept(flipped, pixels),
            "near_tie_share": ties / pixels,
            "agreement_at_near_ties": _kept(flipped_ties, ties),
            "agreement_elsewhere": _kept(flipped - flipped_ties, pixels - ties),
            "band_share": band / pixels,
            "agreement_inside_band": _kept(flipped_band, band),
            "agreement_outside_band": _kept(flipped - flipped_band, pixels - band),
        }

    @property
    def worst_first(self) -> list[PictureDiagnosis]:
        """The pictures by their share of flipped pixels, the largest first."""
        return sorted(self.pictures, key=lambda p: (-p.flipped / p.pixels, p.name))


def diagnose(
    reference: Segmenter, candidate: Segmenter, pictures: Iterable[tuple[str, ImageSource]]
) -> Diagnosis:
    """Compare two opened models on named pictures.

    Raises BundleError when their contracts differ or there is no picture.
    """
    if reference.spec != candidate.spec:
        raise BundleError(f"{candidate.name} and {reference.name} have different contracts")
    found = []
    for name, source in pictures:
        view = _View(reference, candidate, source)
        band = boundary_band(view.wanted)
        found.append(
            PictureDiagnosis(
                name=name,
                pixels=view.wanted.size,
                flipped=int(view.flipped.sum()),
                near_ties=int(view.near_ties.sum()),
                flipped_near_ties=int((view.flipped & view.near_ties).sum()),
                band=int(band.sum()),
                flipped_band=int((view.flipped & band).sum()),
                largest_shift=float(view.shift.max()),
            )
        )
    if not found:
        raise BundleError("there is no picture to diagnose with")
    return Diagnosis(reference.name, candidate.name, tuple(found))


def heat_map(
    reference: Segmenter, candidate: Segmenter, source: ImageSource, name: str
) -> Image.Image:
    """Picture | reference's mask | shift of probability | flipped pixels, on the grid, RGB.

    Shifts run from black (none) over red to yellow (a probability of 0.25 or more). Flipped pixels
    are blue at near ties and red elsewhere.
    """
    view = _View(reference, candidate, source)
    photo = Image.fromarray(view.grid)
    mask = Mask.of(view.wanted, reference.spec).overlay(photo)
    heat = np.clip(view.shift / 0.25, 0, 1)
    ramp = np.stack([np.minimum(2 * heat, 1), np.maximum(2 * heat - 1, 0), 0 * heat], -1)
    flips = np.array(Image.blend(photo.convert("L").convert("RGB"), _white(photo), 0.5))
    flips[view.flipped & view.near_ties] = (0, 90, 200)
    flips[view.flipped & ~view.near_ties] = (200, 30, 0)
    sure = int((view.flipped & ~view.near_ties).sum())
    titles = [
        name,
        reference.name,
        f"shift of probability by {candidate.name}, at most {view.shift.max():.2f}",
        f"{int(view.flipped.sum())} pixels flipped, {sure} of them confident (red)",
    ]
    pictures = [photo, mask, Image.fromarray((255 * ramp).astype(np.uint8)), Image.fromarray(flips)]
    return image_grid([pictures], titles)


class _View:
    """Both models' answers for one picture, on the grid without its padding."""

    def __init__(self, reference: Segmenter, candidate: Segmenter, source: ImageSource) -> None:
        photo = read_photo(source, reference.spec)
        placement = Placement.plan(photo.size, reference.spec)
        grid = placement.place(photo.picture)
        inside = placement.box
        self.grid: Pixels = grid[inside]
        wanted = np.array(reference.backend.scores(grid))[inside]  # the next call may overwrite it
        found = candidate.backend.scores(grid)[inside]
        self.wanted: Labels = to_labels(wanted)
        self.flipped = to_labels(found) != self.wanted
        probabilities = _softmax(to_logits(wanted, reference.backend))
        self.shift = abs(probabilities - _softmax(to_logits(found, candidate.backend))).max(-1)
        first, second = np.sort(probabilities, axis=-1)[..., :-3:-1].transpose(2, 0, 1)
        self.near_ties = first - second < NEAR_TIE


def _white(photo: Image.Image) -> Image.Image:
    return Image.new("RGB", photo.size, "white")


def _kept(flipped: int, pixels: int) -> float:
    return 1 - flipped / pixels if pixels else float("nan")


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return np.asarray(powers / powers.sum(-1, keepdims=True))
