"""How masks are named after their pictures: NAME_mask, NAME_label, or NAME_photo=NAME_mask."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

from unet_edge.errors import ConfigError

_NAME = "NAME"
_LOOKED_AT = 50  # pictures and masks compared, to bound the time
# "task-3-annotation-2-by-1-tag-tree-0": Label Studio's brush masks are named by its own numbers.
_LABEL_STUDIO = re.compile(r"task-\d+-annotation-\d+-by-\d+-tag-.+-\d+")


def picture_name(pattern: str, mask: str) -> str | None:
    """The name of the picture that `mask` belongs to; None where the mask's does not fit.

    Both are without suffix and may have folders in front, which stay. Raises ConfigError for a
    pattern without NAME.
    """
    pictures, masks = _sides(pattern)
    path = PurePosixPath(mask)
    match = re.fullmatch(re.escape(masks).replace(_NAME, "(.+)", 1), path.name)
    return str(path.with_name(pictures.replace(_NAME, match[1], 1))) if match else None


def _sides(pattern: str) -> tuple[str, str]:
    pictures, _, masks = pattern.rpartition("=")
    pictures = pictures or _NAME
    if any(side.count(_NAME) != 1 or "/" in side for side in (pictures, masks)):
        raise ConfigError(
            f"--mask-names {pattern!r} must hold NAME once, where the picture's name stands: "
            "NAME_mask, or NAME_photo=NAME_mask where pictures have an ending of their own"
        )
    return pictures, masks


def suggest(pictures: Sequence[str], masks: Sequence[str]) -> str:
    """What to do where no mask has its picture's name; names are without suffix."""
    if any(_LABEL_STUDIO.fullmatch(PurePosixPath(mask).name) for mask in masks):
        return (
            "these are Label Studio's names, which do not say the picture: export as COCO, or "
            "rename each mask to its picture's name (its JSON export says which task is which)"
        )
    if pattern := _fitting(pictures, masks):
        return f"pass --mask-names {pattern}"
    return "give each mask its picture's name, or pass --mask-names with the scheme, e.g. NAME_mask"


def _fitting(pictures: Sequence[str], masks: Sequence[str]) -> str | None:
    """The pattern by which at least half of the pictures have a mask."""
    photos = [PurePosixPath(name).name for name in pictures[:_LOOKED_AT]]
    drawn = [PurePosixPath(name).name for name in masks]
    around = Counter(
        (mask[: mask.index(photo)], mask[mask.index(photo) + len(photo) :])
        for photo in photos
        for mask in drawn[: 4 * _LOOKED_AT]
        if photo in mask
    )
    candidates = [f"{before}{_NAME}{after}" for (before, after), _ in around.most_common(3)]
    ends = [_common_ending(photos), _common_ending(drawn[:_LOOKED_AT])]
    candidates.append(f"{_NAME}{ends[0]}={_NAME}{ends[1]}")
    known = set(photos)
    for pattern in candidates:
        found = {picture_name(pattern, mask) for mask in drawn} & known
        if 2 * len(found) >= len(known):
            return pattern
    return None


def _common_ending(names: Sequence[str]) -> str:
    """The ending that all names share, from its first letter that is neither letter nor digit."""
    ending = min(names, key=len, default="")
    while not all(name.endswith(ending) for name in names):
        ending = ending[1:]
    return re.sub(r"^[0-9A-Za-z]+", "", ending)
