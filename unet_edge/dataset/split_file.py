"""SplitNames: a split by the pictures' names, which a training run keeps in its folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from unet_edge.dataset.findings import Finding, Severity
from unet_edge.dataset.layouts import Pairs
from unet_edge.dataset.sample import Dataset, Sample
from unet_edge.dataset.split import Split
from unet_edge.errors import DataError
from unet_edge.system.files import json_text, read_regular

_SPLITS = ("train", "validation", "test")

_MOST_SPLIT = 2**26
"""Bytes of a split that is read: a million names of 64 bytes."""


@dataclass(frozen=True)
class SplitNames:
    """The names of the samples of each split.

    `gone` says what a picture is that is not there any more: an error for a run that goes on.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    gone: Severity = "error"

    @classmethod
    def of(cls, dataset: Dataset) -> SplitNames:
        """The split of a data set."""
        parts = (dataset.train, dataset.validation, dataset.test)
        train, validation, test = (tuple(sample.name for sample in part) for part in parts)
        return cls(train, validation, test)

    @classmethod
    def read(cls, path: Path, gone: Severity = "error") -> SplitNames:
        """Read what `to_json` wrote. Raises DataError."""
        try:
            data = json.loads(read_regular(path, _MOST_SPLIT))
            parts = [data[name] for name in _SPLITS]
        except OSError as error:
            raise DataError(f"cannot read {path}: {error.strerror or error}") from error
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise DataError(
                f"{path} is no split of a run: {error}",
                fix="restore the file",
            ) from error
        whole = all(isinstance(part, list) for part in parts)
        if not whole or not all(isinstance(name, str) for part in parts for name in part):
            raise DataError(f"{path} is no split of a run: expected lists of names")
        train, validation, test = (tuple(part) for part in parts)
        return cls(train, validation, test, gone)

    def to_json(self) -> str:
        """JSON text: a list of names for each split."""
        return json_text({name: getattr(self, name) for name in _SPLITS})

    def select(self, pairs: Pairs) -> Split:
        """The samples of these names; those that are gone are errors in `pairs.findings`."""
        parts: list[tuple[Sample, ...]] = []
        for names in (self.train, self.validation, self.test):
            parts.append(tuple(pairs.samples[name] for name in names if name in pairs.samples))
            for name in names:
                if name not in pairs.samples:
                    found = f"the run was begun with {name}, which is not there or has no mask"
                    fix = "put it back, or train anew with --overwrite"
                    place = pairs.bare.get(name, Path(name))
                    pairs.findings.append(Finding(self.gone, "split-missing", place, found, fix))
        train, validation, test = parts
        note = f"split: {len(train)} train, {len(validation)} validation (as the run began)"
        if test:
            note += f"; {len(test)} test pictures, never trained on"
        if new := len(pairs.samples) - len(train) - len(validation) - len(test):
            note += f"; {new} pictures are in no split and left out"
        return Split(train, validation, test, note)
