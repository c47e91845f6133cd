"""How masks are named after their pictures: NAME_mask, NAME_label, or NAME_photo=NAME_mask."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

from unet_edge.errors import ConfigError

_NAME = "NAME"
_EXAMINED = 50  # pictures, to bound the time
# Label Studio's brush masks, such as "task-3-annotation-2-by-1-tag-tree-0".
_LABEL_STUDIO = re.compile(r"task-\d+-annotation-\d+-by-\d+-tag-.+-\d+")


def picture_name(pattern: str, mask: str) -> str | None:
    """The name of the picture that `mask` belongs to; None if the mask's does not match.

    Both names have no suffix and keep their folders. Raises ConfigError for an invalid pattern.
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
            f"--mask-names is {pattern!r}",
            expected="it must contain NAME once, for the picture's name",
            fix="write e.g. NAME_mask, or NAME_photo=NAME_mask if pictures have an ending too",
        )
    return pictures, masks


def suggest(pictures: Sequence[str], masks: Sequence[str]) -> str:
    """Suggest a fix where no mask has its picture's name; names have no suffix."""
    if any(_LABEL_STUDIO.fullmatch(PurePosixPath(mask).name) for mask in masks):
        return (
            "these are Label Studio's names, which do not name the picture: export as COCO, or "
            "rename each mask to its picture's name (the JSON export lists the tasks' pictures)"
        )
    if pattern := _matching_pattern(pictures, masks):
        return f"pass --mask-names {pattern}"
    return "give each mask its picture's name, or pass --mask-names with a pattern, e.g. NAME_mask"


def _matching_pattern(pictures: Sequence[str], masks: Sequence[str]) -> str | None:
    """The pattern by which at least half of the pictures have a mask."""
    picture_names = [PurePosixPath(name).name for name in pictures[:_EXAMINED]]
    mask_names = [PurePosixPath(name).name for name in masks]
    affixes = Counter(
        (mask[: mask.index(picture)], mask[mask.index(picture) + len(picture) :])
        for picture in picture_names
        for mask in mask_names[: 4 * _EXAMINED]
        if picture in mask
    )
    candidates = [f"{before}{_NAME}{after}" for (before, after), _ in affixes.most_common(3)]
    endings = [_common_ending(picture_names), _common_ending(mask_names[:_EXAMINED])]
    candidates.append(f"{_NAME}{endings[0]}={_NAME}{endings[1]}")
    wanted = set(picture_names)
    for pattern in candidates:
        matched = {picture_name(pattern, mask) for mask in mask_names} & wanted
        if 2 * len(matched) >= len(wanted):
            return pattern
    return None


def _common_ending(names: Sequence[str]) -> str:
    """The common ending of all names, from its first separator, neither a letter nor a digit."""
    ending = min(names, key=len, default="")
    while not all(name.endswith(ending) for name in names):
        ending = ending[1:]
    return re.sub(r"^[0-9A-Za-z]+", "", ending)
