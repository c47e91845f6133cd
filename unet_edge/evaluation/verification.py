"""Verification: the share of pixels whose label equals the reference's."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from unet_edge.bundle.bundle import Bundle
from unet_edge.errors import BundleError, ImageError
from unet_edge.images.decoding import ImageSource
from unet_edge.images.placement import Labels
from unet_edge.masks.agreement import Agreement
from unet_edge.masks.metrics import Confusion
from unet_edge.runtime.segmenter import Segmenter


@dataclass(frozen=True)
class ReferenceMask:
    """A picture with the reference's labels, and the true labels where they are known.

    Both label arrays are uint8 (H, W) of the picture's own size.
    """

    name: str
    picture: ImageSource
    labels: Labels
    truth: Labels | None = None


@dataclass(frozen=True)
class Verification:
    """A model's masks compared with the reference's, over all pixels of all pictures.

    `agreement`, `worst` (that of `worst_picture`) and `shares` are 0..1. `shares` holds the
    agreement of each picture, in their order. `against_truth` is the confusion with the true
    labels, None where they are unknown. `against_reference` leaves out what the reference ignores
    (255), which a Keras mask never holds; agreement counts every pixel.
    """

    name: str
    backend: str
    floor: float
    agreement: float
    against_reference: Confusion
    against_truth: Confusion | None
    pictures: int
    worst_picture: str
    worst: float
    shares: tuple[float, ...] = ()

    @property
    def mask_miou(self) -> float:
        """The mIoU of the masks against the reference's masks."""
        return self.against_reference.miou

    @property
    def label_miou(self) -> float | None:
        """The mIoU against the true labels, None where they are unknown."""
        return None if self.against_truth is None else self.against_truth.miou

    @property
    def passed(self) -> bool:
        """Whether the agreement reaches the floor."""
        return self.agreement >= self.floor

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "file": self.name,
            "backend": self.backend,
            "pictures": self.pictures,
            "pixels": self.against_reference.pixels,
            "agreement": self.agreement,
            "floor": self.floor,
            "passed": self.passed,
            "mask_miou": self.mask_miou,
            "label_miou": self.label_miou,
            "worst_picture": self.worst_picture,
            "worst": self.worst,
        }


def verify(
    candidate: Segmenter, references: Iterable[ReferenceMask], *, floor: float
) -> Verification:
    """Segment every picture and compare it with the reference's labels, pixel by pixel.

    Raises BundleError when there is no picture.
    """
    classes = len(candidate.spec.classes)
    total = Confusion.empty(classes)
    truth: Confusion | None = None
    agreement = Agreement()
    for reference in references:
        with _named(reference.name):
            labels = candidate.segment(reference.picture).labels
        agreement.add(reference.name, labels, reference.labels)
        total += Confusion.of(reference.labels, labels, classes)
        if reference.truth is not None:
            scored = Confusion.of(reference.truth, labels, classes)
            truth = scored if truth is None else truth + scored
    if not agreement.pixels:
        raise BundleError(f"there is no picture to verify {candidate.name} with")
    return Verification(
        name=candidate.name,
        backend=candidate.backend.name,
        floor=floor,
        agreement=agreement.share,
        against_reference=total,
        against_truth=truth,
        pictures=len(agreement.names),
        worst_picture=agreement.worst_picture,
        worst=agreement.worst,
        shares=tuple(agreement.shares),
    )


@contextlib.contextmanager
def _named(name: str) -> Iterator[None]:
    """Name the picture in an ImageError of a picture's bytes."""
    try:
        yield
    except ImageError as error:
        # After a subject without a colon, `found` begins with a verb.
        begins_with_verb = error.subject and not error.subject.endswith(":")
        subject = name if begins_with_verb else f"{name}:"
        raise ImageError(
            error.found, expected=error.expected, fix=error.fix, subject=subject
        ) from error


def golden_references(bundle: Bundle) -> Iterator[ReferenceMask]:
    """The golden pictures of a bundle with the Keras reference's masks; checks their digests."""
    for golden in bundle.golden:
        with _named(golden.mask):
            picture, labels = bundle.read_golden(golden)
        yield ReferenceMask(golden.picture, picture, labels)
