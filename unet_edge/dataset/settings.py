"""Reading and DataSettings: how a data folder is read and split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

Crowds = Literal["auto", "ignore", "take"]
"""How to read COCO regions with iscrowd 1: as ignored pixels, or as objects.

"auto" reads them as objects only if all regions have it.
"""

SplitBy = Literal["groups", "pictures"]
"""What a drawn split keeps together: groups of pictures that look alike, or nothing."""


@dataclass(frozen=True)
class Reading:
    """How a data folder is read and split: the options that `train` and `data check` share.

    `masks` is "auto" or a rule for `MaskRule.parse`; `ignore` is a mask value. `mask_names` is a
    pattern, e.g. "NAME_mask" or "NAME_photo=NAME_mask"; None means that a mask has its picture's
    name. The lists are files with one picture a line. Without validation pictures, a fifth is
    drawn as `split_by` says.
    """

    masks: str = "auto"
    ignore: int | None = None
    mask_names: str | None = None
    crowds: Crowds = "auto"
    train_list: Path | None = None
    validation_list: Path | None = None
    test_list: Path | None = None
    split_by: SplitBy = "groups"

    def reading(self) -> dict[str, Any]:
        """The fields of Reading by their names."""
        return {each.name: getattr(self, each.name) for each in fields(Reading)}


@dataclass(frozen=True)
class DataSettings(Reading):
    """How a data folder is read and split; `seed` is the seed of a drawn split."""

    seed: int = 0

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> DataSettings:
        """Make settings from values by name; None stands for the default."""
        return cls(**{name: value for name, value in settings.items() if value is not None})
