"""What `unet-edge data check` reports: every problem of a data set, and its contents."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unet_edge.dataset.duplicates import duplicates
from unet_edge.dataset.find import survey
from unet_edge.dataset.findings import Finding, Kind, raise_errors
from unet_edge.dataset.inspection import Inspected, inspect_sample
from unet_edge.dataset.sample import Dataset, Progress, Sample
from unet_edge.dataset.settings import DataSettings
from unet_edge.errors import DataError, ImageError, UnetEdgeError
from unet_edge.spec import IGNORE

Splits = dict[str, list[Inspected]]
"""The inspected pairs of each split, by its name."""

_ADJECTIVE = {"train": "training", "validation": "validation", "test": "test"}
_PARTICIPLE = {"train": "learnt", "validation": "validated", "test": "tested"}


@dataclass(frozen=True)
class SplitSummary:
    """One split: its pictures, and the pixels of each class and of IGNORE."""

    pictures: int
    pixels: tuple[int, ...]
    ignored: int

    @property
    def shares(self) -> tuple[float, ...]:
        """The share of each class, 0..1, among the pixels that are not ignored."""
        return tuple(count / max(1, sum(self.pixels)) for count in self.pixels)

    @property
    def ignored_share(self) -> float:
        """The share of ignored pixels, 0..1, among all."""
        return self.ignored / max(1, sum(self.pixels) + self.ignored)


@dataclass(frozen=True)
class DataReport:
    """What a data set holds, and every finding.

    `sizes` are the different sizes of its pictures, (width, height) px, smallest area first.
    `unreadable` is the error of a folder that is not a data set, which is the only finding then.
    """

    root: Path
    classes: tuple[str, ...]
    notes: tuple[str, ...]
    splits: dict[str, SplitSummary]
    sizes: tuple[tuple[int, int], ...]
    findings: tuple[Finding, ...]
    unreadable: UnetEdgeError | None = None

    @property
    def errors(self) -> int:
        """The number of findings that are errors."""
        return sum(finding.severity == "error" for finding in self.findings)

    @property
    def warnings(self) -> int:
        """The number of findings that are warnings."""
        return len(self.findings) - self.errors

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "data": str(self.root),
            "classes": list(self.classes),
            "notes": list(self.notes),
            "splits": {
                name: {
                    "pictures": split.pictures,
                    "pixels": dict(zip(self.classes, split.pixels, strict=True)),
                    "shares": dict(zip(self.classes, split.shares, strict=True)),
                    "ignored_share": split.ignored_share,
                }
                for name, split in self.splits.items()
            },
            "sizes": [list(size) for size in self.sizes],
            "findings": [finding.to_dict() for finding in self.findings],
            "errors": self.errors,
            "warnings": self.warnings,
        }


def check(
    root: str | Path,
    *,
    classes: Sequence[str],
    bit_depth: int | None = None,
    progress: Progress = lambda samples, _: samples,
    **settings: Any,
) -> DataReport:
    """Inspect every pair that `find_dataset` would find, and continue where it would raise.

    Takes the arguments of `find_dataset`, and `bit_depth` for pictures of more than 8 bits (see
    `unet_edge.images.bit_depth`). A folder that is not a data set gives one finding.
    Raises ConfigError for settings that contradict each other.
    """
    root = Path(root)
    data_settings = DataSettings.of(settings)
    try:
        dataset, findings = survey(root, classes, data_settings, None, progress, strict=False)
    except (DataError, ImageError) as error:
        fix = error.fix or "correct or remove the file, and check again"
        finding = Finding("error", "layout", root, error.problem, fix)
        return DataReport(root, tuple(classes), (), {}, (), (finding,), error)
    if any(finding.kind == "encoding" for finding in findings):
        return DataReport(root, tuple(classes), dataset.notes, {}, (), tuple(findings))
    splits = _inspect(dataset, progress, bit_depth)
    findings = [
        *findings,
        *_problems(dataset, splits),
        *duplicates({name: _fingerprinted(split) for name, split in splits.items()}, root),
    ]
    sizes = {result.size for split in splits.values() for result in split if result.size}
    return DataReport(
        root,
        tuple(classes),
        dataset.notes,
        {name: _summary(dataset, split) for name, split in splits.items()},
        tuple(sorted(sizes, key=lambda size: (size[0] * size[1], size))),
        tuple(sorted(findings, key=lambda finding: finding.severity)),
    )


def check_dataset(dataset: Dataset, progress: Progress = lambda samples, _: samples) -> None:
    """Read every pair once and raise one DataError that lists the errors, at most eight.

    Duplicates are not reported: a training can use them.
    """
    raise_errors(_problems(dataset, _inspect(dataset, progress)))


def _inspect(dataset: Dataset, progress: Progress, bit_depth: int | None = None) -> Splits:
    """Inspect every pair of every split."""
    samples = [sample for split in dataset.splits.values() for sample in split]
    samples_with_bar = progress(samples, "checking data")
    results = iter([inspect_sample(dataset, sample, bit_depth) for sample in samples_with_bar])
    return {
        name: list(itertools.islice(results, len(split))) for name, split in dataset.splits.items()
    }


def _problems(dataset: Dataset, splits: Splits) -> list[Finding]:
    """What is wrong with each pair, and with all of them together."""
    results = [result for split in splits.values() for result in split]
    of_pairs = [finding for result in results for finding in result.findings]
    misread = _other_encodings(dataset, results)
    misread_files = {finding.file for finding in misread}
    well_read = [result for result in results if result.sample.mask not in misread_files]
    findings = [*of_pairs, *misread, *_empty(well_read)]
    if all(_pixels(split).any() for split in splits.values()):  # else no mask could be read
        findings += _classes(dataset, splits)
    return findings


def _other_encodings(dataset: Dataset, results: Sequence[Inspected]) -> list[Finding]:
    """Report masks that the rule reads without an error, but wrongly: they need another rule."""
    masks = [(result.sample.mask, result.values) for result in results if result.values]
    if dataset.rule.kind == "index" and dataset.rule.ignore == IGNORE:
        if any(IGNORE in values and values - {0, IGNORE} for _, values in masks):
            return []  # 255 beside another class does mean "ignore"
        found = "holds only 0 and 255; as class indices, 255 is ignored and only background is left"
        fix = "pass --masks 'binary>127' if all masks are black and white, or write 0 and 1"
        trap: Kind = "black-white-trap"
        return [Finding("error", trap, f, found, fix) for f, values in masks if values == {0, 255}]
    if dataset.rule.kind == "binary" and dataset.rule.threshold > 1:
        if max((max(values) for _, values in masks), default=0) <= 1:
            return []  # all masks are like this; one finding reports the absent class
        found = f"holds class indices (0 and 1), but the masks are read as {dataset.rule}"
        fix = "write 0 and 255 as in the other masks"
        indexed = [file for file, values in masks if 1 in values and max(values) == 1]
        return [Finding("error", "mixed-encoding", file, found, fix) for file in indexed]
    return []


def _empty(results: Sequence[Inspected]) -> list[Finding]:
    """Report masks without a class other than the background."""
    findings = []
    for result in results:
        labels = {int(label) for label in np.flatnonzero(result.pixels)}
        if labels == {IGNORE}:
            found, fix = "every pixel of the mask is ignored", "draw it, or remove the picture"
            findings.append(Finding("warning", "ignored-mask", result.mask, found, fix))
        elif labels and labels <= {0, IGNORE}:
            found = "every pixel of the mask is background"
            fix = "draw the mask, unless the picture shows only background"
            findings.append(Finding("warning", "empty-mask", result.mask, found, fix))
    return findings


def _classes(dataset: Dataset, splits: Splits) -> list[Finding]:
    """Report classes that a split, or every split, lacks."""
    present = {name: _pixels(split)[: dataset.classes] > 0 for name, split in splits.items()}
    for name, classes in present.items():
        if not classes.any():
            found = f"every pixel of every {_ADJECTIVE[name]} mask is ignored: nothing can be "
            found += _PARTICIPLE[name]
            fix = "check --ignore and --masks, or change the split"
            return [Finding("error", "ignored-mask", dataset.root, found, fix)]
    findings = []
    for index, name in enumerate(dataset.class_names):
        has = [split for split in present if present[split][index]]
        lacks = [split for split in present if split not in has]
        if not has:
            found = f"no mask has a pixel of class {index} ({name}), read as {dataset.rule}"
            fix = "check --classes and --masks"
            findings.append(Finding("error", "class-absent", dataset.root, found, fix))
        elif lacks:
            having = " and ".join(_ADJECTIVE[split] for split in has)
            cannot = "cannot be learnt" if "train" in lacks else "cannot be measured"
            if len(present) == 2:
                found = f"class {index} ({name}) is in {having} masks only, and so {cannot}"
            else:
                lacking = " or ".join(_ADJECTIVE[split] for split in lacks)
                found = f"class {index} ({name}) is in no {lacking} mask, and so {cannot} there"
            fix = "split the pictures so that each split has every class"
            findings.append(Finding("warning", "class-in-one-split", dataset.root, found, fix))
    return findings


def _fingerprinted(results: Sequence[Inspected]) -> list[tuple[Sample, Any]]:
    return [(r.sample, r.fingerprint) for r in results if r.fingerprint]


def _pixels(results: Sequence[Inspected]) -> NDArray[np.int64]:
    total = np.zeros(256, np.int64)
    for result in results:
        total += result.pixels
    return total


def _summary(dataset: Dataset, results: Sequence[Inspected]) -> SplitSummary:
    pixels = [int(count) for count in _pixels(results)]
    return SplitSummary(len(results), tuple(pixels[: dataset.classes]), pixels[IGNORE])
