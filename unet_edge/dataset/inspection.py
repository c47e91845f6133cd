"""One picture and its mask, looked at as a careful person would before training on them."""

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
from unet_edge.images.decoding import decode, decoded_by_any_range, depth_warning
from unet_edge.images.mask_file import read_colors
from unet_edge.images.picture_file import read_header

# So many values of under 1 % of a mask each are edges between classes, not forgotten classes.
_MANY = 16
_FIRST_TURN = 5  # EXIF orientations from here on swap height and width


@dataclass
class Inspected:
    """What one pair showed.

    `size` is (width, height) px of the picture and `fingerprint` its own, None where it cannot
    be read. `pixels` counts each label, int64 (256,), all 0 where the mask cannot be used;
    `values` are those stored in the mask, none for colours.
    """

    sample: Sample
    size: tuple[int, int] | None = None
    fingerprint: Fingerprint | None = None
    pixels: NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))
    values: frozenset[int] = frozenset()
    findings: list[Finding] = field(default_factory=list)

    @property
    def mask(self) -> Path:
        """The file that stands for the mask: the picture's where one COCO file has many."""
        return self.sample.image if self.sample.drawing else self.sample.mask

    def report(self, severity: Severity, kind: Kind, file: Path, found: str, fix: str) -> None:
        """Note a finding."""
        self.findings.append(Finding(severity, kind, file, found, fix))


def inspect_sample(dataset: Dataset, sample: Sample, bit_depth: int | None = None) -> Inspected:
    """Read one pair and note what is wrong with it; damaged files raise nothing.

    `bit_depth` is how many bits pictures of more than 8 use, None where that is not settled.
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
        _not_a_class(result, dataset, stored, error)
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
        picture, few = _decoded(path, bit_depth)
        header = read_header(path)
    except ImageError as error:
        fix = error.fix or "replace or remove it"
        result.report("error", "unreadable-picture", path, error.problem, fix)
        return None
    result.size = picture.size
    result.fingerprint = fingerprint(picture)
    _frames(result, path, header.frames if header.format != "MPO" else 1)
    if min(picture.size) < 2:
        _tiny(result, path, picture.size)
        return None
    if picture.getcolors(1):  # None when there are more
        found = "is of one colour throughout"
        result.report("warning", "blank-picture", path, found, "replace or remove it")
    if few or (bit_depth is None and header.mode.startswith("I")):
        found = few or "has 16 bits a channel, of which the upper 8 are used"
        fix = "look at it with 'unet-edge data preview'; if it is too dark, train with --bit-depth"
        result.report("warning", "sixteen-bit", path, found, fix)
    return picture


def _decoded(path: Path, bit_depth: int | None) -> tuple[Image.Image, str | None]:
    """The picture, and what is wrong with the range of its values where it has over 8 bits."""
    if bit_depth is not None:
        return decode(path, bit_depth=bit_depth), None
    try:
        picture = decode(path)
        return picture, depth_warning(path, None, picture)
    except UnknownRangeError as error:
        return decoded_by_any_range(path), error.problem


def _stored(result: Inspected, dataset: Dataset, sample: Sample) -> StoredMask | None:
    path, rule = sample.mask, dataset.rule
    try:
        stored = dataset.read_stored(sample)
    except DataError as error:
        # The finding names the file by itself.
        found = error.problem.removeprefix(f"{path}").lstrip(", :")
        fix = error.fix or "correct it where it was drawn"
        result.report("error", "annotation", result.mask, found, fix)
        return None
    except ImageError as error:
        if rule.kind in ("index", "binary") and _is_colored(path):
            _lossy(result, "colors")
            if result.findings and result.findings[-1].kind == "blurred-mask":
                return None
            found = f"is coloured, the masks are read as {rule}"
            result.report("error", "mixed-encoding", path, found, "save all masks in one way")
        else:
            fix = error.fix or "save it again"
            result.report("error", "unreadable-mask", path, error.problem, fix)
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
    """Several frames; the caller leaves out MPO, whose second one is a camera's preview."""
    if frames > 1:
        found = f"has {frames} frames or pages, of which only the first is used"
        fix = "save each one you need as a picture of its own"
        result.report("warning", "several-frames", path, found, fix)


def _fit(
    result: Inspected, picture: tuple[int, int], mask: tuple[int, int], *, drawn: bool
) -> bool:
    """Whether the sizes, (width, height), agree; notes where EXIF may have turned one of them."""
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
            f"its picture is turned by EXIF ({orientation}), it is not ({own}); sizes cannot tell"
        )
        fix = "look at it with 'unet-edge data preview', and turn it if it does not fit"
        result.report("warning", "exif-rotation", result.mask, found, fix)
    return True


def _not_a_class(result: Inspected, dataset: Dataset, stored: StoredMask, error: DataError) -> None:
    path, kind = result.mask, dataset.rule.kind
    found, fix = error.problem.removeprefix(f"mask {path} "), error.fix
    lossy = kind != "polygons" and read_header(path).lossy
    if lossy or _is_smoothed(stored):
        fix = "save masks without smoothing, as PNG: values between two classes are none"
        result.report("error", "blurred-mask", path, found, fix)
    else:
        strange: Kind = "unknown-color" if kind == "colors" else "unknown-value"
        result.report("error", strange, path, found, fix)


def _is_smoothed(stored: StoredMask) -> bool:
    """Whether many values on a few pixels stand between few values on many."""
    if stored.ndim == 3:
        counts = np.array([count for _, count in common_colors(stored)])
    else:
        counts = np.bincount(stored.ravel())
    rare = counts[(counts > 0) & (counts < 0.01 * counts.sum())]
    return len(rare) > _MANY


def _lossy(result: Inspected, kind: str) -> None:
    """A mask that was saved by a lossy codec: its values are near what was drawn, not equal."""
    path = result.sample.mask
    if kind == "polygons" or any(finding.kind == "blurred-mask" for finding in result.findings):
        return
    header = read_header(path)
    if not header.lossy:
        return
    found = f"is saved as {header.format} by a lossy codec, which changes values"
    if kind == "binary":
        fix = "save masks as PNG; the threshold decides for now"
        result.report("warning", "blurred-mask", path, found, fix)
    else:
        fix = "save masks as PNG from what drew them: a class that changed cannot be told"
        result.report("error", "blurred-mask", path, f"{found}: some are other classes", fix)


def _blurred(result: Inspected, counts: NDArray[np.int64], ignore: int | None) -> None:
    """Values between black and white: smoothed edges or lossy compression."""
    values = [value for value in sorted(result.values) if value != ignore]
    if len(values) > 2 and values[0] < 16 and values[-1] >= 240:
        between = int(counts[values[1] : values[-1]].sum())
        found = f"has {len(values) - 2} values between {values[0]} and {values[-1]} ({between} px)"
        fix = "save masks without smoothing, as PNG; the threshold decides for now"
        result.report("warning", "blurred-mask", result.sample.mask, found, fix)
