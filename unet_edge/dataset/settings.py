"""Reading and DataSettings: how a data folder is read and split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

Crowds = Literal["auto", "ignore", "take"]
"""What COCO regions with iscrowd 1 are: ignored, objects, or objects where all regions are so."""

SplitBy = Literal["groups", "pictures"]
"""What a drawn split keeps together: pictures that look alike, or nothing."""


@dataclass(frozen=True)
class Reading:
    """How a data folder is read and split; options of `train` and `data check`, the same in both.

    `masks` is a rule for `MaskRule.parse` or "auto"; `ignore` a mask value. `mask_names` says how
    masks are named, e.g. "NAME_mask" or "NAME_photo=NAME_mask"; None: as their pictures.
    The lists are files with one picture a line. Where no validation pictures are named, a fifth is
    drawn, by groups of pictures that look alike or picture by picture.
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
        """These settings by their names."""
        return {each.name: getattr(self, each.name) for each in fields(Reading)}


@dataclass(frozen=True)
class DataSettings(Reading):
    """How a data folder is read and split; `seed` is that of the draw."""

    seed: int = 0

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> DataSettings:
        """Settings by their names; what is None has its default."""
        return cls(**{name: value for name, value in settings.items() if value is not None})
