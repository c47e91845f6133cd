"""Bundle: the one folder that is copied to the device.

bundle.json                 contract, files with digests, floors and measured agreement
model-int8.tflite …         the exported files, each with the contract inside
golden/01.png, 01.mask.png  pictures and the Keras reference's masks, to prove the files by
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from unet_edge.errors import BundleError, SpecError
from unet_edge.files import folder_written_atomically, sha256
from unet_edge.imaging import Labels, read_labels
from unet_edge.metadata import Format, Precision
from unet_edge.spec import ModelSpec

SCHEMA = 1
MANIFEST = "bundle.json"
KIND = "unet-edge bundle"

#: Least share of pixels that must equal the Keras reference's, by format and precision. Float32
#: may flip exact near-ties (summation order differs); float16 rounds weights to 11 bits; int8's
#: are what a well-trained model reaches with post-training quantisation, full int8 in TFLite,
#: activations and weights in ONNX.
FLOORS: dict[tuple[Format, Precision], float] = {
    ("tflite", "float32"): 0.99999,
    ("tflite", "float16"): 0.999,
    ("tflite", "int8"): 0.995,
    ("onnx", "float32"): 0.99999,
    ("onnx", "float16"): 0.999,
    ("onnx", "int8"): 0.99,
}

# What a device would rather run: the smallest first, and TFLite before ONNX because LiteRT is
# the lighter install.
_PREFERENCE: tuple[tuple[Format, Precision], ...] = (
    ("tflite", "int8"),
    ("tflite", "float32"),
    ("tflite", "float16"),
    ("onnx", "int8"),
    ("onnx", "float32"),
    ("onnx", "float16"),
)


@dataclass(frozen=True)
class BundleFile:
    """One exported file, with what was measured on the workstation over `pictures` pictures.

    `agreement` is the share of pixels (0..1) equal to the Keras reference's, `worst` the same
    for the worst picture, `mask_miou` the mIoU of its masks against the reference's masks, and
    `label_miou` against the true labels where there were any. `floor` is the least agreement.
    """

    name: str
    format: Format
    precision: Precision
    sha256: str
    bytes: int
    floor: float
    agreement: float
    worst: float
    mask_miou: float
    label_miou: float | None
    pictures: int

    @property
    def kept_floor(self) -> bool:
        """Whether the measured agreement reaches the floor."""
        return self.agreement >= self.floor


@dataclass(frozen=True)
class GoldenPicture:
    """A picture and the Keras reference's mask of it, as paths inside the bundle."""

    picture: str
    mask: str
    picture_sha256: str
    mask_sha256: str


@dataclass(frozen=True)
class Reference:
    """The Keras model that the files were exported from."""

    keras_sha256: str
    label_miou: float | None
    pictures: int


@dataclass(frozen=True)
class Bundle:
    """An opened bundle."""

    path: Path
    spec: ModelSpec
    files: tuple[BundleFile, ...]
    golden: tuple[GoldenPicture, ...]
    reference: Reference
    tools: dict[str, str]

    @classmethod
    def open(cls, path: str | Path) -> Bundle:
        """Read `bundle.json` and see that every file it names is there.

        Digests are checked when a file is read. Raises BundleError.
        """
        path = Path(path)
        manifest = path / MANIFEST
        try:
            data = json.loads(manifest.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            raise BundleError(
                f"{path} is no bundle: it has no {MANIFEST}; 'unet-edge export' writes bundles"
            ) from None
        except (OSError, ValueError, RecursionError) as error:
            raise BundleError(f"{manifest} cannot be read: {error}") from error
        bundle = _parse(path, data)
        for name in bundle.members():
            if not (path / name).is_file():
                raise BundleError(
                    f"{path} is incomplete: {name} is missing; copy the whole folder again"
                )
        return bundle

    def members(self) -> list[str]:
        """Every file of the bundle but the manifest, as paths inside it."""
        return [
            *(file.name for file in self.files),
            *(name for golden in self.golden for name in (golden.picture, golden.mask)),
        ]

    def file(self, name: str) -> BundleFile:
        """The file called `name`. Raises BundleError, listing the names there are."""
        for entry in self.files:
            if entry.name == name:
                return entry
        names = ", ".join(entry.name for entry in self.files)
        raise BundleError(f"{self.path} holds no {name}; it holds {names}")

    def preferred(self) -> list[BundleFile]:
        """Files that kept their floor, the one a device would rather run first.

        Raises BundleError when none did.
        """
        kept = [entry for entry in self.files if entry.kept_floor]
        if not kept:
            raise BundleError(
                f"no file of {self.path} kept its agreement floor; name one to run it all the same"
            )
        return sorted(kept, key=lambda e: _PREFERENCE.index((e.format, e.precision)))

    def read(self, entry: BundleFile) -> bytes:
        """A model file's bytes, checked against its digest. Raises BundleError."""
        return self._read(entry.name, entry.sha256)

    def read_golden(self, golden: GoldenPicture) -> tuple[bytes, Labels]:
        """A golden picture's file bytes and its reference labels, uint8 (H, W)."""
        picture = self._read(golden.picture, golden.picture_sha256)
        mask = self._read(golden.mask, golden.mask_sha256)
        return picture, np.asarray(read_labels(mask))

    def _read(self, name: str, digest: str) -> bytes:
        try:
            data = (self.path / name).read_bytes()
        except OSError as error:
            raise BundleError(f"cannot read {self.path / name}: {error}") from error
        if sha256(data) != digest:
            raise BundleError(
                f"{self.path / name} is damaged: its SHA-256 is not the one in {MANIFEST}; "
                "copy the bundle again"
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
            "tools": self.tools,
        }


def write_bundle(
    bundle: Bundle, models: dict[str, bytes], golden: Sequence[tuple[bytes, bytes]]
) -> None:
    """Write `bundle` to its path, atomically: a killed write leaves the old bundle or none.

    `models` holds each model file's bytes by name; `golden` the picture and mask files' bytes in
    the order of `bundle.golden`. An existing bundle is replaced; any other folder with files in
    it is left alone (BundleError).
    """
    target = bundle.path
    require_writable(target)
    with folder_written_atomically(target) as folder:
        for name, data in models.items():
            (folder / name).write_bytes(data)
        for entry, (picture, mask) in zip(bundle.golden, golden, strict=True):
            for name, data in ((entry.picture, picture), (entry.mask, mask)):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(data)
        text = json.dumps(bundle.to_dict(), indent=2, ensure_ascii=False) + "\n"
        (folder / MANIFEST).write_text(text, encoding="utf-8")


def require_writable(target: Path) -> None:
    """Raise BundleError when something other than a bundle or an empty folder is there."""
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    try:
        manifest = json.loads((target / MANIFEST).read_bytes())
    except (OSError, ValueError, RecursionError):
        manifest = None
    # Other software writes a bundle.json too, and replacing the folder would delete it.
    if not isinstance(manifest, dict) or manifest.get("kind") != KIND:
        raise BundleError(f"{target} exists and is no bundle; choose another --output or remove it")


def _parse(path: Path, data: Any) -> Bundle:
    if not isinstance(data, dict) or data.get("kind") != KIND:
        raise BundleError(f"{path / MANIFEST} is not the manifest of a {KIND}")
    schema = data.get("schema")
    if not isinstance(schema, int) or not 1 <= schema <= SCHEMA:
        raise BundleError(
            f"{path} has bundle schema {schema}, this version reads up to {SCHEMA}; "
            "mend with: pip install --upgrade unet-edge"
        )
    try:
        bundle = Bundle(
            path=path,
            spec=ModelSpec.from_dict(data["spec"]),
            files=tuple(BundleFile(**entry) for entry in data["files"]),
            golden=tuple(GoldenPicture(**entry) for entry in data["golden"]),
            reference=Reference(**data["reference"]),
            tools=dict(data["tools"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(f"{path / MANIFEST} is malformed: {error!r}") from error
    except SpecError as error:
        raise BundleError(f"{path / MANIFEST}: {error}") from error
    if not bundle.files:
        raise BundleError(f"{path / MANIFEST} lists no model file; export again")
    for entry in bundle.files:
        numbers = (entry.floor, entry.agreement, entry.worst, entry.mask_miou)
        if not all(isinstance(number, int | float) for number in numbers):
            raise BundleError(f"{path / MANIFEST} is malformed: {entry.name} lacks its figures")
        if (entry.format, entry.precision) not in _PREFERENCE:
            raise BundleError(
                f"{path / MANIFEST} lists {entry.name} as {entry.precision} {entry.format}, "
                "which this version does not know"
            )
    for name in bundle.members():
        if not isinstance(name, str) or not name:
            raise BundleError(f"{path / MANIFEST} is malformed: {name!r} is no file name")
        # A manifest from elsewhere must not read files outside its folder.
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise BundleError(f"{path / MANIFEST} names {name}, which is outside the bundle")
    return bundle
