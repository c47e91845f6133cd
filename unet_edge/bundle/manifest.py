"""The values of a bundle's manifest apart from its model files, and its schema."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from unet_edge.bundle.json_schema import first_error
from unet_edge.errors import BundleError

SCHEMA = 1
"""Version of the manifest. Readers refuse newer versions."""

KIND = "unet-edge bundle"

MANIFEST = "bundle.json"

Reason = Literal["agreement", "miou", "near-ties", "typical"]


@dataclass(frozen=True)
class Choice:
    """Why a picture was chosen as a golden one: its `figure` (0..1), measured at its own size.

    The reason says what the figure is. "agreement": the agreement of `file`, which is low here.
    "miou": the mIoU of the Keras model's mask against the true labels. "near-ties": the share of
    pixels that are near ties. "typical": an mIoU near the median (None without true labels).
    """

    reason: Reason
    figure: float | None
    file: str | None = None


@dataclass(frozen=True)
class GoldenPicture:
    """A picture and the Keras model's mask of it, as paths inside the bundle."""

    picture: str
    mask: str
    picture_sha256: str
    mask_sha256: str
    chosen: Choice

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> GoldenPicture:
        """Read the result of `dataclasses.asdict`."""
        return cls(**data | {"chosen": Choice(**data["chosen"])})


@dataclass(frozen=True)
class Reference:
    """The Keras model that the files were exported from.

    Figures are against the true labels of `pictures` held-out pictures, None without any:
    `label_miou` is the mIoU, `worst_miou` that of the worst picture, and `label_iou` the IoU of
    each class, None for a class that never occurs. `network` describes the network, None where it
    was not stated. `parameters` counts the weights.
    """

    keras_sha256: str
    label_miou: float | None
    pictures: int
    label_iou: tuple[float | None, ...] | None
    worst_miou: float | None
    network: str | None
    parameters: int

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Reference:
        """Read the result of `dataclasses.asdict`."""
        ious = data["label_iou"]
        return cls(**data | {"label_iou": None if ious is None else tuple(ious)})


@dataclass(frozen=True)
class DataCounts:
    """The number of pictures of each split, and of those that calibrated the int8 files."""

    train: int
    validation: int
    calibration: int


@dataclass(frozen=True)
class Quality:
    """IoU against the true labels: the mean, and each class's, None for a class that never occurs.

    `agreement` is the file's agreement, 0..1; None for the Keras model itself.
    """

    label_miou: float | None
    label_iou: tuple[float | None, ...]
    agreement: float | None = None


@dataclass(frozen=True)
class SplitFigures:
    """Figures over `pictures` of the `of` test pictures, which neither trained nor chose the model.

    `files` has a Quality for each file of the bundle, in the order of the bundle.
    """

    pictures: int
    of: int
    keras: Quality
    files: tuple[Quality, ...]

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> SplitFigures:
        """Read the result of `dataclasses.asdict`."""
        return cls(
            pictures=data["pictures"],
            of=data["of"],
            keras=_quality(data["keras"]),
            files=tuple(map(_quality, data["files"])),
        )


def _quality(data: dict[str, Any]) -> Quality:
    return Quality(data["label_miou"], tuple(data["label_iou"]), data["agreement"])


@dataclass(frozen=True)
class CardFile:
    """A file of the model card, as a path inside the bundle."""

    name: str
    sha256: str


@functools.cache
def manifest_schema() -> dict[str, Any]:
    """The published JSON Schema (draft 2020-12) of bundle.json."""
    text = resources.files("unet_edge.bundle").joinpath("bundle.schema.json").read_bytes()
    schema: dict[str, Any] = json.loads(text)
    return schema


def parse_json(text: bytes) -> Any:
    """Read JSON. Raises ValueError, also for NaN and Infinity, which Python would accept."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


def check_manifest(data: Any, where: str) -> None:
    """Raise BundleError unless `data` is a manifest of a known schema; `where` names its file."""
    if not isinstance(data, dict) or data.get("kind") != KIND:
        raise BundleError(f"{where} is not the manifest of a {KIND}")
    schema = data.get("schema")
    if type(schema) is not int or not 1 <= schema <= SCHEMA:  # bool is an int
        raise BundleError(
            f"{where} has bundle schema {schema!r}",
            expected=f"this version reads up to {SCHEMA}",
            fix="run: pip install --upgrade unet-edge",
        )
    if error := first_error(data, manifest_schema()):
        raise BundleError(
            f"{where} is malformed: {error}",
            fix="copy the bundle again ('unet-edge inspect --schema' prints the schema)",
        )


def unreadable(path: Path, error: Exception) -> BundleError:
    """Make the error of a bundle's file that cannot be read."""
    reason = getattr(error, "strerror", None) or error
    return BundleError(f"{path} cannot be read: {reason}", fix="copy the bundle again")
