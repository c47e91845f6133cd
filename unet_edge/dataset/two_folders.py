"""Pictures in one folder and their masks in another, wherever the two are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from unet_edge.dataset.detect import detect_rule
from unet_edge.dataset.findings import raise_errors
from unet_edge.dataset.mask_folders import MaskFolder, pairs_of_mask_folders
from unet_edge.dataset.rules import MaskRule
from unet_edge.dataset.sample import Dataset
from unet_edge.errors import ConfigError
from unet_edge.system.counting import counted, first_names


def find_in_two_folders(
    pictures: Path,
    masks: Path,
    *,
    classes: Sequence[str],
    rule: str | None = None,
    ignore: int | None = None,
    mask_names: str | None = None,
) -> Dataset:
    """Match pictures with masks by name, and return them as the validation pictures.

    `rule`, `ignore` and `mask_names` are as in Reading; without a rule, it is found as for `train`.
    Pictures without a mask and masks without a picture are left out, and a note counts them.
    Raises DataError if no picture has a mask, ConfigError for what is no folder.
    """
    for folder in (pictures, masks):
        if not folder.is_dir():
            raise ConfigError(
                f"{folder} is not a folder", fix="give a folder of pictures and one of masks"
            )
    pairs = pairs_of_mask_folders(pictures, [MaskFolder("", pictures, masks)], mask_names)
    raise_errors(pairs.findings)
    samples = tuple(pairs.samples.values())
    notes = []
    for left, what in ((pairs.bare, "without a mask"), (pairs.unpaired, "without a picture")):
        if left:
            notes.append(
                f"left out, {what}: {counted(len(left), 'file')} ({first_names(list(left))})"
            )
    if rule not in (None, "auto"):
        found, note = MaskRule.parse(rule, ignore), f"masks: {rule}, as given"
    else:
        found, note = detect_rule(masks, samples, classes, ignore)
    return Dataset(masks, (), samples, found, tuple(classes), (f"masks from {masks}", *notes, note))
