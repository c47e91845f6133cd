"""Pictures with masks on disk: layouts, splits and how a mask file's values become labels.

Read by training, calibration, evaluation and the benchmark alike; NumPy and Pillow only, so the
device can evaluate a file on labelled pictures too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from unet_edge.errors import ConfigError, DataError, ImageError
from unet_edge.imaging import SUFFIXES, Labels, decode, read_labels
from unet_edge.spec import IGNORE

# (pictures, masks) folder names, in the order they are looked for: the tutorial's, the plain
# pair, and PASCAL VOC's.
_LAYOUTS = (("Images", "Labels"), ("images", "masks"), ("JPEGImages", "SegmentationClass"))
_TRAIN_NAMES = ("train",)
_VALIDATION_NAMES = ("val", "validation", "valid", "test")

Progress = Callable[[Sequence["Sample"], str], Iterable["Sample"]]
"""Wraps a loop over samples to show its progress; the second argument is a label."""


@dataclass(frozen=True)
class MaskRule:
    """How the values of a mask file become class indices.

    "index": the value is the class; `ignore` is skipped by loss and metrics.
    "binary": class 1 where value <= threshold (target "dark") or > threshold (target "light").
    """

    kind: Literal["index", "binary"] = "index"
    threshold: int = 127
    target: Literal["dark", "light"] = "light"
    ignore: int | None = IGNORE

    @classmethod
    def parse(cls, text: str, ignore: int | None = None) -> MaskRule:
        """Read "index", "binary<=127" or "binary>127".

        Without `ignore`, index masks skip 255 and binary masks skip nothing.
        """
        if text == "index":
            return cls("index", ignore=IGNORE if ignore is None else ignore)
        match = re.fullmatch(r"binary\s*(<=|>)\s*(\d{1,3})", text)
        if not match or int(match[2]) > 255:
            raise ConfigError(
                f"mask rule {text!r} is not known; write index, 'binary<=127' (class 1 is dark) "
                "or 'binary>127' (class 1 is light)"
            )
        target: Literal["dark", "light"] = "dark" if match[1] == "<=" else "light"
        return cls("binary", int(match[2]), target, ignore)

    def __str__(self) -> str:
        if self.kind == "index":
            return "index"
        return f"binary{'<=' if self.target == 'dark' else '>'}{self.threshold}"

    def apply(self, values: Labels, classes: int, name: str) -> Labels:
        """Turn mask values, uint8 (H, W), into class indices with IGNORE; raises DataError."""
        if self.kind == "binary":
            dark = values <= self.threshold
            labels = (dark if self.target == "dark" else ~dark).astype(np.uint8)
            if self.ignore is not None:
                labels[values == self.ignore] = IGNORE
            return labels
        allowed = np.arange(256) < classes
        table = np.arange(256, dtype=np.uint8)
        if self.ignore is not None:
            allowed[self.ignore] = True
            table[self.ignore] = IGNORE
        strange = [int(v) for v in np.flatnonzero(np.bincount(values.ravel(), minlength=256))]
        strange = [value for value in strange if not allowed[value]]
        if strange:
            shown = ", ".join(map(str, strange[:8])) + (", …" if len(strange) > 8 else "")
            raise DataError(
                f"mask {name} holds {shown}, outside the {classes} classes 0..{classes - 1}; "
                "name every class with --classes, skip one value with --ignore VALUE, or say "
                "that the mask is black and white with --masks 'binary>127' (or 'binary<=127')"
            )
        return table[values]


@dataclass(frozen=True)
class Sample:
    """One picture and its mask."""

    name: str
    image: Path
    mask: Path


@dataclass(frozen=True)
class Dataset:
    """Samples of both splits and the rule that reads their masks.

    `notes` says in plain words what was detected: the layout, the split, the mask encoding.
    """

    root: Path
    train: tuple[Sample, ...]
    validation: tuple[Sample, ...]
    rule: MaskRule
    classes: int
    notes: tuple[str, ...] = field(default=())

    def read(self, sample: Sample) -> tuple[Image.Image, Labels]:
        """The upright RGB picture and its labels, uint8 (H, W), of equal size.

        Raises ImageError for an unreadable file, DataError for a mask that does not fit.
        """
        picture = decode(sample.image)
        values = np.asarray(read_labels(sample.mask))
        if (picture.height, picture.width) != values.shape:
            raise DataError(
                f"{sample.image} has {picture.width}x{picture.height} px but its mask "
                f"{sample.mask} has {values.shape[1]}x{values.shape[0]}; they must be equal"
            )
        return picture, self.rule.apply(values, self.classes, str(sample.mask))


def find_dataset(
    root: str | Path,
    *,
    classes: int,
    masks: str = "auto",
    ignore: int | None = None,
    train_list: Path | None = None,
    validation_list: Path | None = None,
    seed: int = 0,
) -> Dataset:
    """Find pictures and masks below `root`, split them and settle how masks are read.

    Layouts: `Images/ Labels/ ImageSets/Segmentation/{train,val}.txt` (the tutorial's), `images/
    masks/` with optional `train.txt` and `val.txt` (or `test.txt`) beside them, or with `train`
    and `val` sub-folders in both. List files name one picture a line (the first word, with or
    without suffix). Where nothing names a validation set, a fifth is drawn with `seed`.

    Raises DataError when there is no such layout, a pair is incomplete or a split is empty.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"no such data folder: {root}")
    pictures, targets = _layout(root)
    notes = [f"layout: {pictures.name}/ with {targets.name}/ in {root}"]
    samples, bare = _pairs(pictures, targets)
    train, validation, note = _split(root, samples, bare, train_list, validation_list, seed)
    notes.append(note)
    if masks == "auto":
        rule, note = _detect_rule([*train, *validation], classes, ignore)
        notes.append(note)
    else:
        rule = MaskRule.parse(masks, ignore)
        notes.append(f"masks: {rule}, as given")
    return Dataset(root, tuple(train), tuple(validation), rule, classes, tuple(notes))


def check_dataset(dataset: Dataset, progress: Progress = lambda samples, _: samples) -> None:
    """Read every pair once and raise one DataError that lists what is wrong (at most eight)."""
    problems: list[str] = []
    labelled = np.zeros(256, np.int64)
    in_validation = 0
    held_out = {sample.name for sample in dataset.validation}
    for sample in progress([*dataset.train, *dataset.validation], "checking data"):
        try:
            _, labels = dataset.read(sample)
        except (DataError, ImageError) as error:
            problems.append(str(error))
        else:
            labelled += np.bincount(labels.ravel(), minlength=256)
            in_validation += int((labels != IGNORE).sum()) if sample.name in held_out else 0
    if problems:
        more = f"\n  … and {len(problems) - 8} more" if len(problems) > 8 else ""
        if len(problems) == 1:
            raise DataError(problems[0])
        listed = "\n  ".join(problems[:8])
        raise DataError(f"{len(problems)} pictures cannot be used:\n  {listed}{more}")
    if not in_validation:
        raise DataError("every pixel of every validation mask is ignored: nothing can be validated")
    missing = [index for index in range(dataset.classes) if not labelled[index]]
    if missing:
        raise DataError(
            f"no pixel of any mask is of class {', '.join(map(str, missing))}; masks were read "
            f"as {dataset.rule}: is that right? (--masks index, 'binary>127' or 'binary<=127')"
        )


def list_pictures(path: Path) -> list[Path]:
    """A picture itself, or every picture directly in a folder, in natural order."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise DataError(f"no such picture or folder: {path}")
    found = [child for child in path.iterdir() if _is_picture(child)]
    if not found:
        raise DataError(f"no pictures ({', '.join(SUFFIXES)}) in {path}")
    return sorted(found, key=lambda child: _natural(child.name))


def _layout(root: Path) -> tuple[Path, Path]:
    # Compared with the real names: on a case-insensitive disk Images/ would also be images/.
    names = {child.name for child in root.iterdir() if child.is_dir()}
    for pictures, masks in _LAYOUTS:
        if pictures in names and masks in names:
            return root / pictures, root / masks
    expected = " or ".join(f"{pictures}/ with {masks}/" for pictures, masks in _LAYOUTS)
    found = ", ".join(sorted(names)) or "no folders"
    raise DataError(f"{root} holds {found}; expected {expected}")


def _pairs(pictures: Path, masks: Path) -> tuple[dict[str, Sample], list[str]]:
    """Every picture with its mask, by name, and the names of those that have none.

    Names in sub-folders start with the folder's.
    """
    images = _by_name(pictures)
    targets = _by_name(masks)
    if not images:
        raise DataError(f"no pictures ({', '.join(SUFFIXES)}) in {pictures}")
    bare = sorted(images.keys() - targets.keys(), key=_natural)
    paired = sorted(images.keys() & targets.keys(), key=_natural)
    return {name: Sample(name, images[name], targets[name]) for name in paired}, bare


def _by_name(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if _is_picture(path) and not any(part.startswith(".") for part in inside.parts):
            name = inside.as_posix().removesuffix(path.suffix)
            if name in found:
                raise DataError(f"two files of the same name: {found[name]} and {path}")
            found[name] = path
    return found


def _split(
    root: Path,
    samples: dict[str, Sample],
    bare: list[str],
    train_list: Path | None,
    validation_list: Path | None,
    seed: int,
) -> tuple[list[Sample], list[Sample], str]:
    given = train_list
    if train_list is None:
        train_list = _existing_list(root, _TRAIN_NAMES)
    if validation_list is None:
        validation_list = _existing_list(root, _VALIDATION_NAMES)
    if train_list is None and bare:  # a list may leave pictures out; without one, none may
        raise _without_mask(root, bare)
    if validation_list is not None:
        validation = _listed(validation_list, samples, bare)
        held_out = {sample.name for sample in validation}
        pool = _listed(train_list, samples, bare) if train_list else list(samples.values())
        train = [sample for sample in pool if sample.name not in held_out]
        note = f"validation from {validation_list.name}"
    elif validation := _in_folder(samples, _VALIDATION_NAMES):
        train = _listed(given, samples, bare) if given else _in_folder(samples, _TRAIN_NAMES)
        held_out = {sample.name for sample in validation}
        train = [sample for sample in train if sample.name not in held_out]
        note = "from the sub-folders"
    else:
        pool = _listed(train_list, samples, bare) if train_list else list(samples.values())
        order = np.random.default_rng(seed).permutation(len(pool))
        held = max(1, len(pool) // 5)
        validation = [pool[i] for i in sorted(order[:held])]
        train = [pool[i] for i in sorted(order[held:])]
        note = f"no validation list found, a fifth drawn with seed {seed}"
    if not train or not validation:
        raise DataError(
            f"{len(train)} pictures to train on and {len(validation)} to validate on in {root}; "
            "both need at least one"
        )
    return train, validation, f"split: {len(train)} train, {len(validation)} validation ({note})"


def _in_folder(samples: dict[str, Sample], folders: Sequence[str]) -> list[Sample]:
    """The samples of the first of these sub-folders that has any."""
    for folder in folders:
        if found := [s for name, s in samples.items() if name.startswith(f"{folder}/")]:
            return found
    return []


def _existing_list(root: Path, names: Sequence[str]) -> Path | None:
    for folder in (root / "ImageSets" / "Segmentation", root):
        for name in names:
            if (folder / f"{name}.txt").is_file():
                return folder / f"{name}.txt"
    return None


def _listed(path: Path, samples: dict[str, Sample], bare: list[str]) -> list[Sample]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()  # -sig: Windows Notepad
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the list {path}: {error}") from error
    # A list may leave out the sub-folder, as long as that leaves no doubt.
    by_last: dict[str, list[Sample]] = {}
    for name, sample in samples.items():
        by_last.setdefault(name.rsplit("/", 1)[-1], []).append(sample)
    found: dict[str, Sample] = {}
    alone: list[str] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        word = line.split()[0]
        # The line as it stands comes first: names may hold blanks, and dots that are no suffix.
        matches: list[Sample] = []
        for name in (line.strip(), _bare_name(line.strip()), word, _bare_name(word)):
            if matches := [samples[name]] if name in samples else by_last.get(name, []):
                break
        if not matches and _bare_name(word) in bare:
            alone.append(_bare_name(word))
            continue
        if len(matches) != 1:
            which = "no picture is" if not matches else f"{len(matches)} pictures are"
            raise DataError(f"{path}, line {number}: {which} called {word}")
        found[matches[0].name] = matches[0]  # a name listed twice counts once
    if alone:
        raise _without_mask(path, alone)
    return list(found.values())


def _without_mask(place: Path, names: Sequence[str]) -> DataError:
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return DataError(f"{len(names)} pictures have no mask in {place}: {shown}")


def _bare_name(name: str) -> str:
    suffix = Path(name).suffix
    return name.removesuffix(suffix) if suffix.lower() in SUFFIXES else name


def _detect_rule(
    samples: Sequence[Sample], classes: int, ignore: int | None
) -> tuple[MaskRule, str]:
    """Settle the encoding from the values in up to 50 masks spread over the data."""
    step = max(1, len(samples) // 50)
    counts = np.zeros(256, np.int64)
    for sample in samples[::step]:
        counts += np.bincount(np.asarray(read_labels(sample.mask)).ravel(), minlength=256)
    values = {int(value) for value in np.flatnonzero(counts)}
    shown = ", ".join(map(str, sorted(values)[:6])) + (", …" if len(values) > 6 else "")
    skipped = IGNORE if ignore is None else ignore
    # {0, 255} alone is the classical trap: a black-and-white mask, not class 0 and "ignore".
    if values - {skipped} <= set(range(classes)) and values != {0, 255}:
        return MaskRule.parse("index", ignore), f"masks: class indices (values {shown})"
    dark, light = {v for v in values if v < 16}, {v for v in values if v >= 240}
    extremes = counts[:16].sum() + counts[240:].sum()
    # Compression blurs both ends. Several dark values under a clean 255, or no light one at all,
    # are indices of more classes than were named.
    indices = not light or (light == {255} and len(dark) > 1)
    if classes == 2 and dark and not indices and extremes >= 0.98 * counts.sum():
        rule = MaskRule.parse("binary>127", ignore)
        return rule, (
            f"masks: black and white (values {shown}); white is class 1. "
            "If black is the target, pass --masks 'binary<=127'"
        )
    raise DataError(
        f"the masks hold the values {shown}, which are neither indices of {classes} classes "
        "(--classes names them, --ignore VALUE skips one) nor black and white "
        "(--masks 'binary>127' or 'binary<=127' forces that)"
    )


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Sort key that puts slice 2 before slice 10."""
    parts = re.findall(r"\d+|\D+", name)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]
