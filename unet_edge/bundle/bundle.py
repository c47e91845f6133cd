"""Bundle: the folder that is copied to the device.

bundle.json                 contract, files with digests, floors and measured agreement
bundle.sha256               the SHA-256 of bundle.json, as sha256sum writes and checks it
model-int8.tflite …         the exported files, each with the contract inside
golden/01.png, 01.mask.png  pictures and the Keras model's masks, to verify the files with
README.md, card/01.png      the model card and its pictures
tuning.json                 not a member: what 'unet-edge tune' chose on a device
"""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unet_edge.bundle.bundle_file import PREFERENCE, BundleFile
from unet_edge.bundle.digest import DIGEST, require_digest
from unet_edge.bundle.manifest import (
    KIND,
    MANIFEST,
    SCHEMA,
    CardFile,
    DataCounts,
    GoldenPicture,
    Reference,
    SplitFigures,
    check_manifest,
    parse_json,
    unreadable,
)
from unet_edge.bundle.search_record import SearchRecord
from unet_edge.errors import BundleError, SpecError
from unet_edge.images.mask_file import read_labels
from unet_edge.images.placement import Labels
from unet_edge.spec import ModelSpec
from unet_edge.system.board import Processor, read_processor
from unet_edge.system.files import read_regular, sha256

MOST_MANIFEST = 2**20
"""Largest manifest that is read, bytes. Ours have about 20 kB; parsed, JSON takes up to 25 times
its size."""

IMPROVE = (
    "on the workstation, train longer, or export within a budget: 'unet-edge export RUN "
    "--min-agreement SHARE'"
)
"""What to do about a file below its agreement floor."""

_MOST_MEMBER = 512 * 2**20
"""Largest member that is read, bytes. A model's size is in the manifest and compared first."""


@dataclass(frozen=True)
class Bundle:
    """An opened bundle.

    `license` is None where it was not stated. `search` records the search for a file within a
    budget, None without one. `processor` is the one that measured the agreements. `test` has the
    figures of the test split, None without one. `digest` is the manifest's SHA-256, None before it
    is written.
    """

    path: Path
    spec: ModelSpec
    files: tuple[BundleFile, ...]
    golden: tuple[GoldenPicture, ...]
    reference: Reference
    tools: dict[str, str]
    data: DataCounts
    processor: Processor
    license: str | None = None
    card: tuple[CardFile, ...] = ()
    search: SearchRecord | None = None
    test: SplitFigures | None = None
    digest: str | None = dataclasses.field(default=None, compare=False)

    @classmethod
    def open(cls, path: str | Path) -> Bundle:
        """Check `bundle.json` against its digest, and that every file it names exists.

        The digests of the files are checked when they are read. Raises BundleError.
        """
        path = Path(path)
        manifest = path / MANIFEST
        try:
            text = read_regular(manifest, MOST_MANIFEST)
        except (FileNotFoundError, NotADirectoryError):
            if not path.exists():
                raise BundleError(
                    f"no such folder: {path}", fix="name a folder that 'unet-edge export' wrote"
                ) from None
            raise BundleError(
                f"{path} is not a bundle: it has no {MANIFEST}",
                fix="write one with 'unet-edge export'",
            ) from None
        except OSError as error:
            raise unreadable(manifest, error) from error
        digest = sha256(text)
        require_digest(path, digest)
        try:
            data = parse_json(text)
        except (ValueError, RecursionError) as error:
            raise unreadable(manifest, error) from error
        bundle = dataclasses.replace(parse_manifest(path, data), digest=digest)
        for name in bundle.members():
            # Not Path.is_file, which raises for names that are too long for the file system.
            if not os.path.isfile(path / name):  # noqa: PTH113
                raise BundleError(
                    f"{path} is incomplete: {name} is missing",
                    fix="copy the complete folder again",
                )
        return bundle

    def members(self) -> list[str]:
        """Every file of the bundle except the manifest, as paths inside the bundle."""
        return [
            *(file.name for file in self.files),
            *(name for golden in self.golden for name in (golden.picture, golden.mask)),
            *(card.name for card in self.card),
        ]

    def file(self, name: str) -> BundleFile:
        """The file called `name`. Raises BundleError with the names of the files."""
        for entry in self.files:
            if entry.name == name:
                return entry
        names = ", ".join(entry.name for entry in self.files)
        raise BundleError(
            f"{self.path} holds no {name}",
            expected=f"the file must be one of {names}",
        )

    def preferred(self) -> list[BundleFile]:
        """Files that reached their floor at export, the best choice for a device first.

        If the export searched for a file within a budget, that file is the first. Raises
        BundleError when no file reached its floor.
        """
        kept = [entry for entry in self.files if entry.kept_floor]
        if not kept:
            raise BundleError(
                f"no file of {self.path} reached its agreement floor on "
                f"{self.processor} when it was exported",
                fix=f"to run one anyway, name it with --file. For a better file: {IMPROVE}",
            )
        return self._by_preference(kept)

    def _preferred_names(self) -> list[str]:
        return [entry.name for entry in self._by_preference(e for e in self.files if e.kept_floor)]

    def promising(self) -> list[BundleFile]:
        """The `preferred` files, then files that missed their floor on another kind of processor.

        The latter may reach their floor here: 'unet-edge verify' and 'tune' measure that. The list
        may be empty.
        """
        kept = [entry for entry in self.files if entry.kept_floor]
        return self._by_preference(kept) + self._by_preference(self.missed_elsewhere())

    def missed_elsewhere(self) -> list[BundleFile]:
        """Files that missed their floor on a processor that adds int8 products in another way."""
        if self.processor.int8 == read_processor().int8:
            return []
        return [entry for entry in self.files if not entry.kept_floor]

    def measured_elsewhere(self) -> str | None:
        """A note if the agreements were measured on another kind of processor, else None."""
        here = read_processor()
        if self.processor.int8 == here.int8:
            return None
        return f"agreements were measured on {self.processor} at export; this is {here}"

    def _by_preference(self, files: Iterable[BundleFile]) -> list[BundleFile]:
        candidates = self.search.candidates if self.search else ()
        searched = {candidate.precision for candidate in candidates if candidate.kept}

        def order(entry: BundleFile) -> tuple[bool, int]:
            found_by_search = entry.format == "tflite" and entry.precision in searched
            return not found_by_search, PREFERENCE.index((entry.format, entry.precision))

        return sorted(files, key=order)

    def read(self, entry: BundleFile) -> bytes:
        """Read a model file and check its digest. Raises BundleError."""
        return self._read(entry.name, entry.sha256, entry.bytes)

    def read_golden(self, golden: GoldenPicture) -> tuple[bytes, Labels]:
        """Read a golden picture's bytes and its mask, uint8 (H, W). Raises BundleError."""
        picture = self._read(golden.picture, golden.picture_sha256)
        mask = self._read(golden.mask, golden.mask_sha256)
        return picture, np.asarray(read_labels(mask))

    def read_card(self, card: CardFile) -> bytes:
        """Read a file of the model card and check its digest. Raises BundleError."""
        return self._read(card.name, card.sha256)

    def _read(self, name: str, digest: str, size: int | None = None) -> bytes:
        try:
            data = read_regular(self.path / name, _MOST_MEMBER, size)
        except OSError as error:
            raise BundleError(
                f"cannot read {self.path / name}: {error.strerror or error}",
                fix="copy the bundle again",
            ) from error
        if sha256(data) != digest:
            raise BundleError(
                f"{self.path / name} is damaged: its SHA-256 is not the one in {MANIFEST}",
                fix="copy the bundle again",
            )
        return data

    def to_dict(self) -> dict[str, Any]:
        """The manifest as plain JSON values."""
        return {
            "kind": KIND,
            "schema": SCHEMA,
            "spec": self.spec.to_dict(),
            "files": [dataclasses.asdict(entry) for entry in self.files],
            "golden": [dataclasses.asdict(entry) for entry in self.golden],
            "reference": dataclasses.asdict(self.reference),
            "data": dataclasses.asdict(self.data),
            "license": self.license,
            "card": [dataclasses.asdict(entry) for entry in self.card],
            "search": dataclasses.asdict(self.search) if self.search else None,
            "processor": dataclasses.asdict(self.processor),
            "test": dataclasses.asdict(self.test) if self.test else None,
            "preferred": self._preferred_names(),
            "tools": self.tools,
        }


def parse_manifest(path: Path, data: Any) -> Bundle:
    """Make the bundle at `path` from the JSON values of its manifest. Raises BundleError."""
    where = path / MANIFEST
    check_manifest(data, str(where))
    try:
        bundle = Bundle(
            path=path,
            spec=ModelSpec.from_dict(data["spec"]),
            files=tuple(map(BundleFile.from_dict, data["files"])),
            golden=tuple(map(GoldenPicture.from_dict, data["golden"])),
            reference=Reference.from_dict(data["reference"]),
            tools=dict(data["tools"]),
            data=DataCounts(**data["data"]),
            license=data["license"],
            card=tuple(CardFile(**entry) for entry in data["card"]),
            search=SearchRecord.from_dict(data["search"]) if data["search"] else None,
            processor=Processor(**data["processor"]),
            test=SplitFigures.from_dict(data["test"]) if data["test"] else None,
        )
    except SpecError as error:
        raise BundleError(
            error.found, expected=error.expected, fix=error.fix, subject=f"{where}:"
        ) from error
    for entry in bundle.files:
        if (entry.format, entry.precision) not in PREFERENCE:
            raise BundleError(
                f"{where} lists {entry.name} as {entry.precision} {entry.format}, "
                "which this version does not know",
                fix="run: pip install --upgrade unet-edge",
            )
    _require_distinct(bundle, where)
    if bundle.test and not bundle.test.pictures <= bundle.test.of:
        raise BundleError(
            f"{where} has figures over {bundle.test.pictures} of {bundle.test.of} test pictures",
            fix="copy the bundle again",
        )
    if bundle.test and len(bundle.test.files) != len(bundle.files):
        raise BundleError(
            f"{where} has test figures of {len(bundle.test.files)} files",
            expected=f"it lists {len(bundle.files)} files",
            fix="copy the bundle again",
        )
    # The choice of a file must not depend on one number alone: a wrong agreement or floor shows
    # here. The order may be that of another version; the digest protects it.
    kept = bundle._preferred_names()
    if sorted(data["preferred"]) != sorted(kept):
        raise BundleError(
            f"{where} contradicts itself: it prefers {data['preferred']}",
            expected=f"by its agreements and floors that must be {kept}",
            fix="copy the bundle again",
        )
    return bundle


def _require_distinct(bundle: Bundle, where: Path) -> None:
    for name, count in Counter((MANIFEST, DIGEST, *bundle.members())).items():
        if count > 1:
            raise BundleError(
                f"{where} names {name} {count} times",
                fix="copy the bundle again",
            )
