"""The check of one picture and its mask: what would spoil a training, and what looks wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unet_edge.dataset.colors import common_colors
from unet_edge.dataset.duplicates import Fingerprint, fingerprint
from unet_edge.dataset.findings import Finding, Kind, Severity
from unet_edge.dataset.rules import StoredMask
from unet_edge.dataset.sample import Dataset, Sample
from unet_edge.errors import DataError, ImageError
from unet_edge.images.bit_depth import UnknownRangeError
from unet_edge.images.decoding import decode, decode_any_range, depth_warning
from unet_edge.images.mask_file import read_colors
from unet_edge.images.picture_file import read_header
from unet_edge.system.counting import counted

# More values than this, each on under 1 % of a mask, are edges between classes, not classes.
_MOST_RARE_VALUES = 16
_FIRST_TURN = 5  # EXIF orientations from 5 on swap height and width


@dataclass
class Inspected:
    """What one pair of picture and mask holds.

    `size`, (width, height) px, and `fingerprint` are the picture's, None if it cannot be read.
    `pixels` counts each label, int64 (256,), and is all 0 if the mask cannot be used. `values` are
    the values stored in the mask, empty for colours.
    """

    sample: Sample
    size: tuple[int, int] | None = None
    fingerprint: Fingerprint | None = None
    pixels: NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))
    values: frozenset[int] = frozenset()
    findings: list[Finding] = field(default_factory=list)

    @property
    def mask(self) -> Path:
        """The file to name for the mask: the picture's, if a COCO file holds many masks."""
        return self.sample.image if self.sample.drawing else self.sample.mask

    def report(self, severity: Severity, kind: Kind, file: Path, found: str, fix: str) -> None:
        """Add a finding."""
        self.findings.append(Finding(severity, kind, file, found, fix))


def inspect_sample(dataset: Dataset, sample: Sample, bit_depth: int | None = None) -> Inspected:
    """Read one pair and report what is wrong with it; a damaged file is a finding too.

    `bit_depth` is how many bits pictures of more than 8 bits use, None if that is unknown.
    """
    result = Inspected(sample)
    picture = _picture(result, sample.image, bit_depth)
    stored = _stored(result, dataset, sample)
    if picture is None or stored is None:
        return result
    height, width = stored.shape[:2]
    if not _fit(result, picture.size, (width, height), drawn=dataset.rule.kind == "polygons"):
        return result
    try:
        labels = dataset.rule.apply(stored, dataset.classes, str(sample.mask))
    except DataError as error:
        _unknown_values(result, dataset, stored, error)
        return result
    result.pixels = np.bincount(labels.ravel(), minlength=256)
    if stored.ndim == 2:
        counts = np.bincount(stored.ravel(), minlength=256)
        result.values = frozenset(int(value) for value in np.flatnonzero(counts))
        if dataset.rule.kind == "binary":
            _blurred(result, counts, dataset.rule.ignore)
    _lossy(result, dataset.rule.kind)
    return result


def _picture(result: Inspected, path: Path, bit_depth: int | None) -> Image.Image | None:
    try:
        picture, depth_problem = _decoded(path, bit_depth)
        header = read_header(path)
    except ImageError as error:
        fix = error.fix or "replace or remove it"
        result.report("error", "unreadable-picture", path, error.reason, fix)
        return None
    result.size = picture.size
    result.fingerprint = fingerprint(picture)
    _frames(result, path, header.frames if header.format != "MPO" else 1)
    if min(picture.size) < 2:
        _tiny(result, path, picture.size)
        return None
    if picture.getcolors(1):  # None when there are more
        found = "has only one colour"
        result.report("warning", "blank-picture", path, found, "replace or remove it")
    if depth_problem or (bit_depth is None and header.mode.startswith("I")):
        found = depth_problem or "has 16 bits a channel, of which the upper 8 are used"
        fix = "look at it with 'unet-edge data preview'; if it is too dark, train with --bit-depth"
        result.report("warning", "sixteen-bit", path, found, fix)
    return picture


def _decoded(path: Path, bit_depth: int | None) -> tuple[Image.Image, str | None]:
    """The picture and, if it has over 8 bits, what is wrong with the range of its values."""
    if bit_depth is not None:
        return decode(path, bit_depth=bit_depth), None
    try:
        picture = decode(path)
        return picture, depth_warning(path, None, picture)
    except UnknownRangeError as error:
        return decode_any_range(path), error.reason


def _stored(result: Inspected, dataset: Dataset, sample: Sample) -> StoredMask | None:
    path, rule = sample.mask, dataset.rule
    try:
        stored = dataset.read_stored(sample)
    except DataError as error:
        fix = error.fix or "correct it in the annotation tool"
        result.report("error", "annotation", result.mask, error.reason, fix)
        return None
    except ImageError as error:
        if rule.kind in ("index", "binary") and _is_colored(path):
            _lossy(result, "colors")
            if result.findings and result.findings[-1].kind == "blurred-mask":
                return None
            found = f"is coloured, but the masks are read as {rule}"
            result.report("error", "mixed-encoding", path, found, "save all masks in one encoding")
        else:
            fix = error.fix or "save it again"
            result.report("error", "unreadable-mask", path, error.reason, fix)
        return None
    height, width = stored.shape[:2]
    if min(height, width) < 2:
        _tiny(result, result.mask, (width, height))
        return None
    if rule.kind != "polygons":
        _frames(result, path, read_header(path).frames)
    return stored


def _is_colored(path: Path) -> bool:
    try:
        return bool(np.ptp(read_colors(path), axis=-1).any())
    except ImageError:
        return False


def _tiny(result: Inspected, path: Path, size: tuple[int, int]) -> None:
    found = f"has {size[0]}x{size[1]} px"
    result.report("error", "tiny-picture", path, found, "replace or remove it")


def _frames(result: Inspected, path: Path, frames: int) -> None:
    """Report several frames. The caller passes 1 for MPO, which holds a camera's preview."""
    if frames > 1:
        found = f"has {frames} frames or pages, of which only the first is used"
        fix = "save each one you need as a picture of its own"
        result.report("warning", "several-frames", path, found, fix)


def _fit(
    result: Inspected, picture: tuple[int, int], mask: tuple[int, int], *, drawn: bool
) -> bool:
    """Whether the sizes, (width, height) px, agree. Reports what EXIF may have turned."""
    sample = result.sample
    orientation = read_header(sample.image).exif_orientation
    own = 1 if drawn else read_header(sample.mask).exif_orientation
    turned = max(orientation, own) >= _FIRST_TURN
    if picture != mask:
        found = f"the mask has {mask[0]}x{mask[1]} px, the picture {picture[0]}x{picture[1]}"
        if turned and picture == mask[::-1]:
            found += f", which EXIF turns (orientation {orientation}; the mask's is {own})"
            fix = "turn the mask as the picture is shown, or remove the picture's EXIF tag"
            result.report("error", "exif-rotation", result.mask, found, fix)
        else:
            fix = "draw it again, or scale it with nearest-neighbour resampling"
            result.report("error", "size-mismatch", result.mask, found, fix)
        return False
    if orientation != own and (not turned or picture[0] == picture[1]):
        found = (
            f"EXIF turns the picture ({orientation}) and the mask ({own}) differently, and their "
            "sizes cannot show which is right"
        )
        fix = "look at both with 'unet-edge data preview', and turn the mask if it does not fit"
        result.report("warning", "exif-rotation", result.mask, found, fix)
    return True


def _unknown_values(
    result: Inspected, dataset: Dataset, stored: StoredMask, error: DataError
) -> None:
    """Report values or colours that are not classes; `error` is the rule's."""
    path, kind = result.mask, dataset.rule.kind
    lossy = kind != "polygons" and read_header(path).lossy
    if lossy or _is_smoothed(stored):
        fix = "save masks as PNG without smoothing, which makes values between those of the classes"
        result.report("error", "blurred-mask", path, error.reason, fix)
    else:
        unknown: Kind = "unknown-color" if kind == "colors" else "unknown-value"
        result.report("error", unknown, path, error.reason, error.fix)


def _is_smoothed(stored: StoredMask) -> bool:
    """Whether a mask has many values on few pixels each."""
    if stored.ndim == 3:
        counts = np.array([count for _, count in common_colors(stored)])
    else:
        counts = np.bincount(stored.ravel())
    rare = counts[(counts > 0) & (counts < 0.01 * counts.sum())]
    return len(rare) > _MOST_RARE_VALUES


def _lossy(result: Inspected, kind: str) -> None:
    """Report a mask saved by a lossy codec, whose values only resemble what was drawn."""
    path = result.sample.mask
    if kind == "polygons" or any(finding.kind == "blurred-mask" for finding in result.findings):
        return
    header = read_header(path)
    if not header.lossy:
        return
    found = f"is saved as {header.format} by a lossy codec, which changes values"
    if kind == "binary":
        fix = "save masks as PNG; until then, the threshold decides"
        result.report("warning", "blurred-mask", path, found, fix)
    else:
        fix = "export the masks again, as PNG: a changed class cannot be recognised"
        result.report("error", "blurred-mask", path, f"{found} to other classes", fix)


def _blurred(result: Inspected, counts: NDArray[np.int64], ignore: int | None) -> None:
    """Report values between black and white, of smoothed edges or lossy compression."""
    values = [value for value in sorted(result.values) if value != ignore]
    if len(values) > 2 and values[0] < 16 and values[-1] >= 240:
        between = int(counts[values[1] : values[-1]].sum())
        count = counted(len(values) - 2, "value")
        found = f"has {count} between {values[0]} and {values[-1]} ({between} px)"
        fix = "save masks as PNG without smoothing; until then, the threshold decides"
        result.report("warning", "blurred-mask", result.sample.mask, found, fix)
