"""How masks are encoded, detected from the values they hold."""

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

_EXAMINED = 50  # masks, spread over the data
_BLACK = "#000000"
_MOST_LISTED = 6  # values or colours named in a message

Histogram = NDArray[np.int64]
"""The number of pixels of each value, int64 (256,)."""


def detect_rule(
    root: Path, samples: Sequence[Sample], classes: Sequence[str], ignore: int | None
) -> tuple[MaskRule, str]:
    """Find the rule that fits every mask, and a note that describes it.

    Raises DataError when no rule fits or two do, ImageError for an unreadable mask.
    """
    histograms = []
    examined = _examined(samples)
    for sample in examined:
        try:
            histograms.append(_histogram(sample))
        except ImageError:
            colors = read_colors(sample.mask)  # raises for a damaged file
            return _color_rule(root, sample, colors, classes)
    try:
        return _value_rule(histograms, len(classes), ignore, [sample.mask for sample in examined])
    except DataError:
        _refuse_lossy(examined)
        raise


def likely_rule(
    root: Path, samples: Sequence[Sample], classes: Sequence[str], ignore: int | None
) -> tuple[MaskRule, str]:
    """Find the rule that fits most masks, and a note. Raises DataError when none fits."""
    votes: Counter[str] = Counter()
    errors: list[DataError | ImageError] = []
    colored: list[Sample] = []
    for sample in _examined(samples):
        try:
            histogram = _histogram(sample)
        except ImageError:
            colored.append(sample)
            continue
        try:
            rule, _ = _value_rule([histogram], len(classes), ignore, [sample.mask])
        except DataError as error:
            errors.append(error)
            continue
        # A mask with a single value fits several rules.
        votes[str(rule)] += 1 if np.count_nonzero(histogram) > 1 else 0
    if len(colored) > sum(votes.values()):
        for sample in colored:
            try:
                return _color_rule(root, sample, read_colors(sample.mask), classes)
            except ImageError as error:
                errors.append(error)
    if not votes:
        _refuse_lossy(_examined(samples))
        if errors:
            raise DataError(errors[0].problem, fix=errors[0].fix)
        raise DataError(f"no mask in {root} can be read")
    text = votes.most_common(1)[0][0]
    rule = MaskRule.parse(text, ignore)
    shown = "class indices" if rule.kind == "index" else str(rule)
    return rule, f"masks: {shown}, as most masks are"


def _examined(samples: Sequence[Sample]) -> Sequence[Sample]:
    return samples[:: max(1, len(samples) // _EXAMINED)]


def _histogram(sample: Sample) -> Histogram:
    return np.bincount(np.asarray(read_labels(sample.mask)).ravel(), minlength=256)


def _value_rule(
    histograms: Sequence[Histogram], classes: int, ignore: int | None, files: Sequence[Path]
) -> tuple[MaskRule, str]:
    """Find the rule for values, and a note; `files` are the masks of the histograms."""
    counts: Histogram = np.stack(histograms).sum(axis=0)
    values = _values(counts)
    shown = ", ".join(map(str, sorted(values)[:_MOST_LISTED]))
    shown += ", …" if len(values) > _MOST_LISTED else ""
    skipped = IGNORE if ignore is None else ignore
    masks = [_values(histogram) for histogram in histograms]
    # Masks of only 0 and 255 are black and white, not class 0 and "ignore".
    if values - {skipped} <= set(range(classes)) and values != {0, 255}:
        # 255 beside another class is "ignore". 255 beside only 0 may be class 1 in white.
        if skipped == IGNORE and not any(IGNORE in v and v - {0, IGNORE} for v in masks):
            _refuse_mixture(sum(v == {0, 255} for v in masks))
        return MaskRule.parse("index", ignore), f"masks: class indices (values {shown})"
    dark, light = {v for v in values if v < 16}, {v for v in values if v >= 240}
    extremes = counts[:16].sum() + counts[240:].sum()
    # Compression blurs both dark and light values. Several dark values with 255 as the only light
    # one, or without a light one, are indices of more classes than were named.
    indices = not light or (light == {255} and len(dark) > 1)
    if classes == 2 and dark and not indices and extremes >= 0.98 * counts.sum():
        indexed = sum(max(v) == 1 for v in masks)
        _refuse_mixture(len(masks) - indexed if indexed else 0)
        rule = MaskRule.parse("binary>127", ignore)
        return rule, (
            f"masks: black and white (values {shown}); white is class 1. "
            "If black is the target, pass --masks 'binary<=127'"
        )
    raise _no_value_rule(histograms, classes, skipped, files, shown)


def _no_value_rule(
    histograms: Sequence[Histogram], classes: int, skipped: int, files: Sequence[Path], shown: str
) -> DataError:
    """The error that names the values outside the classes: how common each is, and a mask."""
    counts: Histogram = np.stack(histograms).sum(axis=0)
    outside = sorted(_values(counts) - {skipped, *range(classes)}, key=lambda v: -counts[v])
    if not outside or len(outside) > _MOST_LISTED:
        return DataError(
            f"the masks hold {len(_values(counts))} different values ({shown})",
            expected=f"expected indices of {classes} classes, or black and white",
            fix=(
                "name every class with --classes, skip a value with --ignore VALUE, or force black "
                "and white with --masks 'binary>127' or 'binary<=127'"
            ),
        )
    examples = [next(f for f, h in zip(files, histograms, strict=True) if h[v]) for v in outside]
    listed = ", ".join(
        f"{value} ({counts[value] / counts.sum():.2%} of the pixels, e.g. in {example.name})"
        for value, example in zip(outside, examples, strict=True)
    )
    return DataError(
        f"the masks hold {listed}",
        expected=f"expected indices of the {classes} classes 0..{classes - 1}",
        fix=(
            f"name every class with --classes, skip a value with --ignore {outside[0]}, or force "
            "black and white with --masks 'binary>127' or 'binary<=127'"
        ),
    )


def _refuse_lossy(samples: Sequence[Sample]) -> None:
    """Raise DataError for a lossy mask, which explains values outside the classes."""
    for sample in samples:
        try:
            header = read_header(sample.mask)
        except ImageError:
            continue  # the caller reports unreadable masks
        if header.lossy:
            raise DataError(
                f"is saved as {header.format} by a lossy codec, which changes values: the masks "
                "hold values that are not classes",
                fix=(
                    "export the masks again, as PNG, or pass --masks 'binary>127' if they are "
                    "black and white"
                ),
                subject=sample.mask.name,
            )


def _refuse_mixture(black_white: int) -> None:
    """Raise DataError if `black_white` masks are black and white, since the others are not."""
    if black_white:
        raise DataError(
            f"{black_white} of the masks are black and white and others hold class indices: no "
            "rule reads all of them",
            fix=(
                "save all masks in one encoding ('unet-edge data check' lists them), or name the "
                "encoding with --masks"
            ),
        )


def _color_rule(
    root: Path, sample: Sample, pixels: Pixels, classes: Sequence[str]
) -> tuple[MaskRule, str]:
    """Find the rule of a labelmap, and a note. Raises DataError without a labelmap."""
    folders = (root, sample.mask.parent, sample.mask.parent.parent)
    for path in (folder / LABELMAP for folder in folders):
        if path.is_file():
            colors, ignored = read_labelmap(path, classes)
            rule = MaskRule("colors", colors=colors, ignored_color=ignored)
            table = ", ".join(
                f"{name} #{bytes(c).hex()}" for name, c in zip(classes, colors, strict=True)
            )
            return rule, f"masks: colours of {path.relative_to(root)} ({table})"
    header = read_header(sample.mask)
    if header.lossy:
        raise DataError(
            f"is saved as {header.format} by a lossy codec, which changes colours",
            fix="export the masks again, as PNG",
            subject=sample.mask.name,
        )
    counts = common_colors(pixels)
    shown = ", ".join(f"{color} ({count} px)" for color, count in counts[:_MOST_LISTED])
    shown += ", …" if len(counts) > _MOST_LISTED else ""
    # Black comes first: most tools draw classes on it, so it is the background, of any area.
    by_area = sorted((color for color, _ in counts), key=lambda color: color != _BLACK)
    example = ",".join([*by_area[: len(classes)], *["…"] * (len(by_area) < len(classes))])
    raise DataError(
        f"the masks are coloured, but no table names the classes: {sample.mask} holds {shown}",
        fix=(
            f"pass e.g. --masks 'colors:{example}', a colour for each class in the order "
            f"{', '.join(classes)} (the first is {classes[0]}), or write a {LABELMAP} with lines "
            "of name:red,green,blue::"
        ),
    )


def _values(counts: Histogram) -> set[int]:
    return {int(value) for value in np.flatnonzero(counts)}
