"""SplitNames: the split of a training run by names of samples, as its folder keeps it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from unet_edge.dataset.findings import Finding, Severity
from unet_edge.dataset.pairs import Pairs
from unet_edge.dataset.sample import Dataset, Sample
from unet_edge.dataset.split import Split
from unet_edge.errors import DataError
from unet_edge.system.counting import counted
from unet_edge.system.files import json_text, read_regular

_SPLITS = ("train", "validation", "test")

_MOST_SPLIT = 2**26  # bytes of a split file: a million names of 64 bytes


@dataclass(frozen=True)
class SplitNames:
    """The names of the samples of each split.

    `gone` is the severity of a missing picture: an error when a run is resumed.
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
                f"is not the split of a run: {error}", fix="restore the file", subject=str(path)
            ) from error
        lists = all(isinstance(part, list) for part in parts)
        if not lists or not all(isinstance(name, str) for part in parts for name in part):
            raise DataError(
                "is not the split of a run",
                expected="expected lists of names",
                fix="restore the file",
                subject=str(path),
            )
        train, validation, test = (tuple(part) for part in parts)
        return cls(train, validation, test, gone)

    def to_json(self) -> str:
        """Write a list of names for each split, as JSON text."""
        return json_text({name: getattr(self, name) for name in _SPLITS})

    def select(self, pairs: Pairs) -> Split:
        """Select the samples of these names; missing ones are added to `pairs.findings`."""
        parts: list[tuple[Sample, ...]] = []
        for names in (self.train, self.validation, self.test):
            parts.append(tuple(pairs.samples[name] for name in names if name in pairs.samples))
            for name in names:
                if name not in pairs.samples:
                    found = f"the run began with {name}, which is missing or has no mask"
                    fix = "restore it, or train again with --overwrite"
                    place = pairs.bare.get(name, Path(name))
                    pairs.findings.append(Finding(self.gone, "split-missing", place, found, fix))
        train, validation, test = parts
        note = f"split: {len(train)} train, {len(validation)} validation (as the run began)"
        if test:
            note += f"; {counted(len(test), 'test picture')}, never trained on"
        if unused := len(pairs.samples) - len(train) - len(validation) - len(test):
            note += f"; {counted(unused, 'picture')} in no split, left out"
        return Split(train, validation, test, note)
