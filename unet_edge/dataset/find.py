"""From a folder to a Dataset: layout, split and mask rule, each said in a note."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unet_edge.dataset.detect import detect_rule, likely_rule
from unet_edge.dataset.findings import Finding, raise_errors
from unet_edge.dataset.layouts import find_pairs
from unet_edge.dataset.rules import MaskRule
from unet_edge.dataset.sample import Dataset, Progress, Sample
from unet_edge.dataset.settings import DataSettings
from unet_edge.dataset.split import split_pairs
from unet_edge.dataset.split_file import SplitNames
from unet_edge.errors import ConfigError, DataError, ImageError
from unet_edge.spec import ModelSpec

# What a person should know before hours of training, though the data can be used.
_TOLD = ("class-zero", "crowds", "listed-in-both", "split-missing")
_MANY = 8  # of these, in the notes


def find_dataset(
    root: str | Path,
    *,
    classes: Sequence[str],
    split: SplitNames | None = None,
    progress: Progress = lambda samples, _: samples,
    **settings: Any,
) -> Dataset:
    """Find pictures and masks below `root`, split them and settle how masks are read.

    `classes` are the names, class 0 (the background) first; `settings` are DataSettings' fields;
    `split` names the samples of each split instead of lists, folders or a draw.

    Layouts: `Images/ Labels/ ImageSets/Segmentation/{train,val,test}.txt` (the tutorial's),
    `images/ masks/` with optional `train.txt`, `val.txt` and `test.txt` beside them,
    `JPEGImages/ SegmentationClass/`, each with `train`, `val` and `test` folders inside or around
    both; a COCO `annotations.json`, `annotations/*.json` or
    `{train,valid,test}/_annotations.coco.json`; labelme files beside the pictures. List files
    name one picture a line (the first word, with or without suffix). Where nothing names a
    validation set, a fifth is drawn, pictures that look alike together.

    Raises DataError when there is no such layout, a pair is incomplete or a split is empty.
    """
    chosen = DataSettings.of(settings)
    dataset, findings = survey(Path(root), classes, chosen, split, progress, strict=True)
    raise_errors(findings)
    return dataset


def survey(
    root: Path,
    classes: Sequence[str],
    settings: DataSettings,
    split: SplitNames | None,
    progress: Progress,
    *,
    strict: bool,
) -> tuple[Dataset, list[Finding]]:
    """`find_dataset` that goes on where it can, and what it met on its way.

    `strict` raises what it finds before it looks into masks, wants one rule for all of them, and
    says warnings in the notes. Raises DataError where nothing can be made of the folder, and
    SpecError for classes that no model can have.
    """
    if not root.is_dir():
        raise DataError(f"no such data folder: {root}")
    names, ignore = tuple(classes), settings.ignore
    ModelSpec(height=1, width=1, classes=names)  # refuses names that no model can have
    rule = MaskRule.parse(settings.masks, ignore) if settings.masks != "auto" else None
    if rule and rule.kind == "colors" and len(rule.colors) != len(names):
        raise ConfigError(
            f"{len(rule.colors)} colours for {len(names)} classes ({', '.join(names)})",
            fix="give --masks colors: one for each of --classes",
        )
    pairs = find_pairs(root, names, settings)
    parts = split.select(pairs) if split else split_pairs(root, pairs, settings, progress)
    if strict:
        raise_errors(pairs.findings)
    notes = [pairs.note, parts.note]
    samples = [*parts.train, *parts.validation, *parts.test]
    if rule:
        notes.append(f"masks: {rule}, as given")
    elif pairs.polygons:
        rule = MaskRule.parse("polygons", ignore)
        notes.append("masks: polygons, drawn as class indices; a pixel is of what holds its centre")
    elif not samples:  # lists that name nothing that is there, say
        rule = MaskRule()
        notes.append("masks: none to look at")
    else:
        try:
            rule, note = detect_rule(root, samples, names, ignore)
        except (DataError, ImageError):
            if strict:
                raise
            rule, note = _likely(root, samples, names, ignore, pairs.findings)
        notes.append(note)
    if strict:
        told = {f"WARNING: {f.found}; {f.fix}": f for f in pairs.findings if f.kind in _TOLD}
        notes += list(told)[:_MANY]
    found = Dataset(root, parts.train, parts.validation, rule, names, tuple(notes), test=parts.test)
    return found, pairs.findings


def _likely(
    root: Path,
    samples: Sequence[Sample],
    names: tuple[str, ...],
    ignore: int | None,
    findings: list[Finding],
) -> tuple[MaskRule, str]:
    try:
        return likely_rule(root, samples, names, ignore)
    except DataError as error:
        fix = error.fix or "give it with --masks"
        findings.append(Finding("error", "encoding", root, error.problem, fix))
        return MaskRule(), "masks: not understood"
