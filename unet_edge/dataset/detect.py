"""How masks are encoded, settled from the values they hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unet_edge.dataset.colors import LABELMAP, common_colors, read_labelmap
from unet_edge.dataset.rules import MaskRule
from unet_edge.dataset.sample import Sample
from unet_edge.errors import DataError, ImageError
from unet_edge.images.mask_file import read_colors, read_labels
from unet_edge.images.picture_file import read_header
from unet_edge.images.placement import Pixels
from unet_edge.spec import IGNORE

_LOOKED_AT = 50  # masks, spread over the data
_FEW = 6  # values that are listed one by one

Histogram = NDArray[np.int64]
"""Pixels of each value, int64 (256,)."""


def detect_rule(
    root: Path, samples: Sequence[Sample], classes: Sequence[str], ignore: int | None
) -> tuple[MaskRule, str]:
    """The rule that fits every mask, and a note that says what was found.

    Raises DataError when none does or two would, ImageError for an unreadable mask.
    """
    histograms = []
    looked_at = _some(samples)
    for sample in looked_at:
        try:
            histograms.append(_histogram(sample))
        except ImageError:
            colors = read_colors(sample.mask)  # raises where the file is damaged
            return _colored(root, sample, colors, classes)
    try:
        return _settle(histograms, len(classes), ignore, [sample.mask for sample in looked_at])
    except DataError:
        _refuse_lossy(looked_at)
        raise


def likely_rule(
    root: Path, samples: Sequence[Sample], classes: Sequence[str], ignore: int | None
) -> tuple[MaskRule, str]:
    """The rule that fits most masks, where some are damaged. Raises DataError when none fits."""
    votes: Counter[str] = Counter()
    reasons: list[str] = []
    colored: list[Sample] = []
    for sample in _some(samples):
        try:
            histogram = _histogram(sample)
        except ImageError:
            colored.append(sample)
            continue
        try:
            rule, _ = _settle([histogram], len(classes), ignore, [sample.mask])
        except DataError as error:
            reasons.append(str(error))
            continue
        votes[str(rule)] += 1 if np.count_nonzero(histogram) > 1 else 0  # one value tells little
    if len(colored) > sum(votes.values()):
        for sample in colored:
            try:
                return _colored(root, sample, read_colors(sample.mask), classes)
            except ImageError as error:
                reasons.append(str(error))
    if not votes:
        _refuse_lossy(_some(samples))
        raise DataError(reasons[0] if reasons else f"no mask in {root} can be read")
    text = votes.most_common(1)[0][0]
    rule = MaskRule.parse(text, ignore)
    return rule, f"masks: {rule}, as most of them are"


def _some(samples: Sequence[Sample]) -> Sequence[Sample]:
    return samples[:: max(1, len(samples) // _LOOKED_AT)]


def _histogram(sample: Sample) -> Histogram:
    return np.bincount(np.asarray(read_labels(sample.mask)).ravel(), minlength=256)


def _settle(
    histograms: Sequence[Histogram], classes: int, ignore: int | None, files: Sequence[Path]
) -> tuple[MaskRule, str]:
    counts: Histogram = np.stack(histograms).sum(axis=0)
    values = _values(counts)
    shown = ", ".join(map(str, sorted(values)[:6])) + (", …" if len(values) > 6 else "")
    skipped = IGNORE if ignore is None else ignore
    masks = [_values(histogram) for histogram in histograms]
    # {0, 255} alone is the classical trap: a black-and-white mask, not class 0 and "ignore".
    if values - {skipped} <= set(range(classes)) and values != {0, 255}:
        # 255 beside a class is "ignore"; 255 beside 0 alone may be a class in white.
        if skipped == IGNORE and not any(IGNORE in v and v - {0, IGNORE} for v in masks):
            _refuse_a_mixture(sum(v == {0, 255} for v in masks))
        return MaskRule.parse("index", ignore), f"masks: class indices (values {shown})"
    dark, light = {v for v in values if v < 16}, {v for v in values if v >= 240}
    extremes = counts[:16].sum() + counts[240:].sum()
    # Compression blurs both ends. Several dark values under a clean 255, or no light one at all,
    # are indices of more classes than were named.
    indices = not light or (light == {255} and len(dark) > 1)
    if classes == 2 and dark and not indices and extremes >= 0.98 * counts.sum():
        indexed = sum(max(v) == 1 for v in masks)
        _refuse_a_mixture(len(masks) - indexed if indexed else 0)
        rule = MaskRule.parse("binary>127", ignore)
        return rule, (
            f"masks: black and white (values {shown}); white is class 1. "
            "If black is the target, pass --masks 'binary<=127'"
        )
    raise DataError(_odd(histograms, classes, skipped, files, shown))


def _odd(
    histograms: Sequence[Histogram], classes: int, skipped: int, files: Sequence[Path], shown: str
) -> str:
    """The values that are no class: how common each is, and a mask that holds it."""
    counts: Histogram = np.stack(histograms).sum(axis=0)
    odd = sorted(_values(counts) - {skipped, *range(classes)}, key=lambda v: -counts[v])
    if not odd or len(odd) > _FEW:
        return (
            f"the masks hold the values {shown} ({len(_values(counts))} different ones), which "
            f"are neither indices of {classes} classes (--classes names them, --ignore VALUE "
            "skips one) nor black and white (--masks 'binary>127' or 'binary<=127' forces that)"
        )
    places = [next(f for f, h in zip(files, histograms, strict=True) if h[v]) for v in odd]
    listed = ", ".join(
        f"{value} ({counts[value] / counts.sum():.2%} of the pixels, e.g. in {place.name})"
        for value, place in zip(odd, places, strict=True)
    )
    which = "which is no index" if len(odd) == 1 else "which are no indices"
    return (
        f"the masks hold {listed}, {which} of the {classes} classes "
        f"0..{classes - 1}; name every class with --classes, skip a value with --ignore {odd[0]}, "
        "or force black and white with --masks 'binary>127' or 'binary<=127'"
    )


def _refuse_lossy(samples: Sequence[Sample]) -> None:
    """Raise where masks are lossy, which explains values that are no class."""
    for sample in samples:
        try:
            header = read_header(sample.mask)
        except ImageError:
            continue  # said elsewhere
        if header.lossy:
            raise DataError(
                f"{sample.mask.name} is saved as {header.format} by a lossy "
                "codec, which changes values, and so the masks hold ones that "
                "are no class",
                fix=(
                    "save masks as PNG from what drew them, or pass --masks "
                    "'binary>127' if they are black and white"
                ),
            )


def _refuse_a_mixture(light: int) -> None:
    """Raise where `light` masks are black and white and the others hold class indices."""
    if light:
        raise DataError(
            f"{light} of the masks are black and white and others hold class "
            "indices: whichever way they are read, some are lost",
            fix=(
                "make them one ('unet-edge data check' lists them), or say how all "
                "are meant with --masks"
            ),
        )


def _colored(
    root: Path, sample: Sample, pixels: Pixels, classes: Sequence[str]
) -> tuple[MaskRule, str]:
    folders = (root, sample.mask.parent, sample.mask.parent.parent)
    for path in (folder / LABELMAP for folder in folders):
        if path.is_file():
            colors, ignored = read_labelmap(path, classes)
            rule = MaskRule("colors", colors=colors, ignored_color=ignored)
            table = ", ".join(
                f"{name} #{bytes(c).hex()}" for name, c in zip(classes, colors, strict=True)
            )
            return rule, f"masks: colours of {path.relative_to(root)} ({table})"
    if read_header(sample.mask).lossy:
        raise DataError(
            f"{sample.mask.name} is saved as {read_header(sample.mask).format} by "
            "a lossy codec, which changes colours",
            fix="save masks as PNG from what drew them",
        )
    found = common_colors(pixels)
    shown = ", ".join(f"{color} ({count} px)" for color, count in found[:6])
    example = ",".join(color for color, _ in found[: len(classes)])
    raise DataError(
        "the masks are coloured, and nothing says which colour is which class: "
        f"{sample.mask} holds {shown}{(', …' if len(found) > 6 else '')}",
        fix=(
            f"write e.g. --masks 'colors:{example}' in class order, or a {LABELMAP} "
            "with lines of name:red,green,blue::"
        ),
    )


def _values(counts: Histogram) -> set[int]:
    return {int(value) for value in np.flatnonzero(counts)}
