"""From a folder to a Dataset: layout, split and mask rule, each said in a note."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from unet_edge.dataset.detect import detect_rule, likely_rule
from unet_edge.dataset.findings import Finding, raise_errors
from unet_edge.dataset.layouts import find_pairs
from unet_edge.dataset.rules import MaskRule
from unet_edge.dataset.sample import Dataset, Sample
from unet_edge.dataset.split import split_pairs
from unet_edge.errors import ConfigError, DataError, ImageError


def find_dataset(
    root: str | Path,
    *,
    classes: Sequence[str],
    masks: str = "auto",
    ignore: int | None = None,
    train_list: Path | None = None,
    validation_list: Path | None = None,
    seed: int = 0,
) -> Dataset:
    """Find pictures and masks below `root`, split them and settle how masks are read.

    `classes` are the names, class 0 (the background) first. Layouts: `Images/ Labels/
    ImageSets/Segmentation/{train,val}.txt` (the tutorial's), `images/ masks/` with optional
    `train.txt` and `val.txt` (or `test.txt`) beside them, `JPEGImages/ SegmentationClass/`, each
    with `train` and `val` folders inside or around both; a COCO `annotations.json`,
    `annotations/*.json` or `{train,valid}/_annotations.coco.json`; labelme files beside the
    pictures. List files name one picture a line (the first word, with or without suffix). Where
    nothing names a validation set, a fifth is drawn with `seed`.

    Raises DataError when there is no such layout, a pair is incomplete or a split is empty.
    """
    lists = (train_list, validation_list)
    dataset, findings = survey(Path(root), classes, masks, ignore, lists, seed, strict=True)
    raise_errors(findings)
    return dataset


def survey(
    root: Path,
    classes: Sequence[str],
    masks: str,
    ignore: int | None,
    lists: tuple[Path | None, Path | None],
    seed: int,
    *,
    strict: bool,
) -> tuple[Dataset, list[Finding]]:
    """`find_dataset` that goes on where it can, and what it met on its way.

    `strict` raises what it finds before it looks into masks, and wants one rule for all of them.
    Raises DataError where nothing can be made of the folder.
    """
    if not root.is_dir():
        raise DataError(f"no such data folder: {root}")
    names = tuple(classes)
    rule = MaskRule.parse(masks, ignore) if masks != "auto" else None
    if rule and rule.kind == "colors" and len(rule.colors) != len(names):
        raise ConfigError(
            f"{len(rule.colors)} colours for {len(names)} classes ({', '.join(names)}); "
            "give --masks colors: one for each of --classes"
        )
    pairs = find_pairs(root, names, masks)
    train, validation, note = split_pairs(root, pairs, *lists, seed)
    if strict:
        raise_errors(pairs.findings)
    notes = [pairs.note, note]
    if rule:
        notes.append(f"masks: {rule}, as given")
    elif pairs.polygons:
        rule = MaskRule.parse("polygons", ignore)
        notes.append("masks: polygons, drawn as class indices; a pixel is of what holds its centre")
    else:
        samples = [*train, *validation]
        try:
            rule, note = detect_rule(root, samples, names, ignore)
        except (DataError, ImageError):
            if strict:
                raise
            rule, note = _likely(root, samples, names, ignore, pairs.findings)
        notes.append(note)
    return Dataset(root, train, validation, rule, names, tuple(notes)), pairs.findings


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
        found, _, mend = str(error).partition("; ")
        findings.append(Finding("error", "encoding", root, found, mend or "give it with --masks"))
        return MaskRule(), "masks: not understood"
