"""From a folder to a Dataset: its layout, split and mask rule, each described in a note."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unet_edge.dataset.class_names import background_first, misplaced_background
from unet_edge.dataset.detect import detect_rule, likely_rule
from unet_edge.dataset.findings import Finding, raise_errors
from unet_edge.dataset.layouts import find_pairs
from unet_edge.dataset.missing_layout import require_data_folder
from unet_edge.dataset.rules import MaskRule
from unet_edge.dataset.sample import Dataset, Progress, Sample
from unet_edge.dataset.settings import DataSettings
from unet_edge.dataset.split import split_pairs
from unet_edge.dataset.split_file import SplitNames
from unet_edge.errors import ConfigError, DataError, ImageError
from unet_edge.spec import ModelSpec
from unet_edge.system.counting import counted

# Warnings of which a person should know before hours of training.
_NOTED_KINDS = ("class-zero", "crowds", "listed-in-both", "split-missing")
_MOST_NOTED = 8


def find_dataset(
    root: str | Path,
    *,
    classes: Sequence[str],
    split: SplitNames | None = None,
    progress: Progress = lambda samples, _: samples,
    fixed_classes: bool = False,
    **settings: Any,
) -> Dataset:
    """Find pictures and masks below `root`, split them and choose the rule that reads the masks.

    `classes` are the names, class 0 (the background) first. `settings` are fields of DataSettings.
    `split` names the samples of each split, instead of lists, folders or a draw. With
    `fixed_classes`, as for a trained model, no note advises another order of the classes.

    Layouts: `Images/ Labels/ ImageSets/Segmentation/{train,val,test}.txt` (the tutorial's),
    `images/ masks/` with optional `train.txt`, `val.txt` and `test.txt` beside them,
    `JPEGImages/ SegmentationClass/`, each with `train`, `val` and `test` folders inside or around
    both; a COCO `annotations.json`, `annotations/*.json` or
    `{train,valid,test}/_annotations.coco.json`; labelme files beside the pictures. A list file
    names one picture a line (the first word, with or without suffix). Without a validation set, a
    fifth is drawn; pictures that look alike stay together.

    Raises DataError for a folder without a known layout, an incomplete pair or an empty split.
    """
    data_settings = DataSettings.of(settings)
    dataset, findings = survey(
        Path(root),
        classes,
        data_settings,
        split,
        progress,
        strict=True,
        fixed_classes=fixed_classes,
    )
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
    fixed_classes: bool = False,
) -> tuple[Dataset, list[Finding]]:
    """Find a data set as `find_dataset` does, and return it with the findings.

    With `strict`, errors are raised before masks are read, one rule must read all masks, and notes
    contain warnings; with `fixed_classes`, none about the order of the classes.
    Raises DataError for a folder that is not a data set, SpecError for invalid class names.
    """
    require_data_folder(root)
    names, ignore = tuple(classes), settings.ignore
    ModelSpec(height=1, width=1, classes=names)  # raises SpecError for invalid names
    rule = MaskRule.parse(settings.masks, ignore) if settings.masks != "auto" else None
    if rule and rule.kind == "colors" and len(rule.colors) != len(names):
        raise ConfigError(
            f"{counted(len(rule.colors), 'colour')} for {len(names)} classes ({', '.join(names)})",
            fix="give --masks colors: one colour for each of --classes",
        )
    pairs = find_pairs(root, names, settings)
    splits = split.select(pairs) if split else split_pairs(root, pairs, settings, progress)
    if strict:
        raise_errors(pairs.findings)
    notes = [pairs.note, splits.note]
    samples = [*splits.train, *splits.validation, *splits.test]
    if rule:
        notes.append(f"masks: {rule}, as given")
    elif pairs.polygons:
        rule = MaskRule.parse("polygons", ignore)
        notes.append(
            "masks: polygons, painted as class indices; a pixel belongs to the shape that contains "
            "its centre"
        )
    elif not samples:  # e.g. lists that name only missing pictures
        rule = MaskRule()
        notes.append("masks: none")
    else:
        try:
            rule, note = detect_rule(root, samples, names, ignore)
        except (DataError, ImageError):
            if strict:
                raise
            rule, note = _likely_rule(root, samples, names, ignore, pairs.findings)
        notes.append(note)
    # Elsewhere the order of the classes is that of the masks' values or colours.
    by_name = pairs.polygons or (rule.kind == "colors" and settings.masks == "auto")
    if by_name and (background := misplaced_background(names)):
        found = f"{background} is class {names.index(background)}, and {names[0]} is class 0"
        finding = Finding("warning", "class-zero", root, found, background_first(names))
        pairs.findings.append(finding)
    if strict:
        noted = [kind for kind in _NOTED_KINDS if not (fixed_classes and kind == "class-zero")]
        # 'data check' knows no run, and so not the pictures that a run's split lacks.
        more = "" if split else "; 'unet-edge data check --all' lists them"
        notes += _warnings([each for each in pairs.findings if each.kind in noted], more)
    dataset = Dataset(
        root, splits.train, splits.validation, rule, names, tuple(notes), test=splits.test
    )
    return dataset, pairs.findings


def _warnings(findings: Sequence[Finding], where_more: str) -> list[str]:
    """The findings as text, those that say the same of several files as one.

    `where_more` says where those beyond the most noted are listed.
    """
    files: dict[tuple[str, str], list[str]] = {}
    for each in findings:
        files.setdefault((each.found, each.fix), []).append(str(each.file))
    lines = []
    for (found, fix), named in files.items():
        more = f" (and {len(named) - 1} more)" if len(named) > 1 else ""
        lines.append(f"WARNING: {named[0]}{more}: {found}; {fix}")
    if (hidden := len(lines) - _MOST_NOTED) > 0:
        lines[_MOST_NOTED:] = [f"WARNING: and {counted(hidden, 'more warning')}{where_more}"]
    return lines


def _likely_rule(
    root: Path,
    samples: Sequence[Sample],
    names: tuple[str, ...],
    ignore: int | None,
    findings: list[Finding],
) -> tuple[MaskRule, str]:
    try:
        return likely_rule(root, samples, names, ignore)
    except DataError as error:
        fix = error.fix or "name the encoding with --masks"
        findings.append(Finding("error", "encoding", root, error.problem, fix))
        return MaskRule(), "masks: unknown encoding"
