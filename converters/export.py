"""Export: a Keras model to a bundle of proven files."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

import keras
import numpy as np
from PIL import Image

from converters.calibration import calibration_grids
from converters.correction import correct_channels
from converters.freeze import require_tensorflow
from converters.onnx import to_onnx
from converters.tflite import to_tflite
from unet_edge.bundle import (
    FLOORS,
    Bundle,
    BundleFile,
    GoldenPicture,
    Reference,
    require_writable,
    write_bundle,
)
from unet_edge.dataset import Dataset, Sample
from unet_edge.errors import ConfigError
from unet_edge.files import require_place, sha256
from unet_edge.imaging import Pixels, decode, read_labels
from unet_edge.mask import png_bytes
from unet_edge.metadata import Contract, Format, Precision, seal
from unet_edge.metrics import Confusion
from unet_edge.progress import progress, progress_bar
from unet_edge.runtime.backends import open_backend
from unet_edge.runtime.backends.keras_model import KerasBackend
from unet_edge.runtime.segmenter import Segmenter
from unet_edge.runtime.verification import ReferenceMask, Verification, verify
from unet_edge.spec import ModelSpec

ARTIFACTS: tuple[tuple[Format, Precision], ...] = tuple(FLOORS)
"""What `export` writes unless told otherwise: every kind of file there is."""

_TOOLS = ("keras", "tensorflow", "tf2onnx", "onnx", "onnxruntime", "ai-edge-litert")

# A golden picture's longest edge, px: enough to prove the geometry, small enough to copy.
_GOLDEN_EDGE = 1024


@dataclass(frozen=True)
class ExportSettings:
    """What to write and how thoroughly to prove it; counts are of pictures."""

    artifacts: tuple[tuple[Format, Precision], ...] = ARTIFACTS
    calibration: int = 100
    check: int = 64
    golden: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.artifacts:
            raise ConfigError("there is no format to export; see --help for their names")
        for name in ("calibration", "check", "golden"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1 picture")


def export(
    model: keras.Model,
    spec: ModelSpec,
    dataset: Dataset,
    output: Path,
    *,
    keras_sha256: str,
    settings: ExportSettings | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Bundle:
    """Convert, prove and write a bundle to `output`, replacing an older bundle there.

    Calibrates on training pictures; proves on validation pictures, at their own size, against
    the masks of `model` itself. A file under its floor is written and marked as such.

    Raises BundleError when `output` is something else, ConversionError when a file cannot be
    made, ImageError or DataError for the pictures.
    """
    settings = settings or ExportSettings()
    require_tensorflow(keras.backend.backend())
    require_writable(output)
    require_place(output)
    grids: list[Pixels] = []
    if any(precision == "int8" for _, precision in settings.artifacts):
        grids = calibration_grids(dataset, spec, count=settings.calibration, seed=settings.seed)

    models: dict[str, bytes] = {}
    bar = progress_bar(len(settings.artifacts) + bool(grids), "converting")
    corrected = model
    if grids:
        bar.set_postfix_str("correction for int8")
        corrected = correct_channels(model, grids)
        bar.update()
    for file_format, precision in settings.artifacts:
        bar.set_postfix_str(f"{precision} {file_format}")
        source = corrected if precision == "int8" else model
        converted = _convert(source, spec, file_format, precision, grids)
        name = file_name(file_format, precision)
        models[name] = seal(converted, Contract(spec, file_format, precision))
        bar.update()
    bar.close()

    keras_segmenter = Segmenter(spec, KerasBackend(model), "Keras")
    references, keras_miou = _references(keras_segmenter, dataset, settings.check)
    files: list[BundleFile] = []
    for file_format, precision in settings.artifacts:
        name = file_name(file_format, precision)
        proof = verify(
            Segmenter(spec, open_backend(models[name], file_format), name),
            (kept.unpacked() for kept in progress(references, f"proving {name}")),
            floor=FLOORS[file_format, precision],
        )
        files.append(_entry(models[name], file_format, precision, proof))
        mark = "" if proof.passed else f"  UNDER ITS FLOOR of {proof.floor:.3%}"
        say(f"{name}: {proof.agreement:.4%} of pixels as Keras{mark}")

    golden_files, golden = _golden(keras_segmenter, dataset, settings.golden)
    bundle = Bundle(
        path=output,
        spec=spec,
        files=tuple(files),
        golden=golden,
        reference=Reference(keras_sha256, keras_miou, len(references)),
        tools={tool: _version(tool) for tool in _TOOLS},
    )
    write_bundle(bundle, models, golden_files)
    return bundle


def file_name(file_format: Format, precision: Precision) -> str:
    """What a file is called in a bundle: model-int8.tflite."""
    return f"model-{precision}.{file_format}"


def parse_artifact(name: str) -> tuple[Format, Precision]:
    """Read "tflite-int8" or "onnx-float32". Raises ConfigError with the names there are."""
    for file_format, precision in ARTIFACTS:
        if name == f"{file_format}-{precision}":
            return file_format, precision
    known = ", ".join(f"{file_format}-{precision}" for file_format, precision in ARTIFACTS)
    raise ConfigError(f"unknown format {name!r}; known are {known}")


def _convert(
    model: keras.Model,
    spec: ModelSpec,
    file_format: Format,
    precision: Precision,
    grids: Sequence[Pixels],
) -> bytes:
    match file_format:
        case "tflite":
            return to_tflite(model, spec, precision, grids)
        case "onnx":
            return to_onnx(model, spec, precision, grids)
        case _:
            assert_never(file_format)


@dataclass(frozen=True)
class _Kept:
    """A picture's reference mask and true mask as PNG: 18 to 300 times less memory."""

    name: str
    image: Path
    labels: bytes
    truth: bytes

    def unpacked(self) -> ReferenceMask:
        labels, truth = (np.asarray(read_labels(png)) for png in (self.labels, self.truth))
        # The path, not the pixels: the proof includes decoding.
        return ReferenceMask(self.name, self.image, labels, truth)


def _references(
    keras_segmenter: Segmenter, dataset: Dataset, count: int
) -> tuple[list[_Kept], float]:
    """The Keras model's masks of up to `count` validation pictures, and its mIoU on them."""
    kept, total = [], Confusion.empty(dataset.classes)
    for sample in progress(_spread(dataset.validation, count), "Keras reference"):
        picture, truth = dataset.read(sample)
        mask = keras_segmenter.segment(picture)
        total += Confusion.of(truth, mask.labels, dataset.classes)
        packed = [png_bytes(Image.fromarray(labels)) for labels in (mask.labels, truth)]
        kept.append(_Kept(sample.name, sample.image, *packed))
    return kept, total.miou


def _golden(
    keras_segmenter: Segmenter, dataset: Dataset, count: int
) -> tuple[list[tuple[bytes, bytes]], tuple[GoldenPicture, ...]]:
    """Validation pictures as PNG, which every machine decodes alike, and Keras' masks of them."""
    contents: list[tuple[bytes, bytes]] = []
    entries: list[GoldenPicture] = []
    for index, sample in enumerate(_spread(dataset.validation, count), 1):
        picture = decode(sample.image)
        picture.thumbnail((_GOLDEN_EDGE, _GOLDEN_EDGE))
        photo = png_bytes(picture)
        mask = png_bytes(keras_segmenter.segment(photo).picture("palette"))
        contents.append((photo, mask))
        entries.append(
            GoldenPicture(
                picture=f"golden/{index:02d}.png",
                mask=f"golden/{index:02d}.mask.png",
                picture_sha256=sha256(photo),
                mask_sha256=sha256(mask),
            )
        )
    return contents, tuple(entries)


def _spread(samples: Sequence[Sample], count: int) -> list[Sample]:
    """At most `count` samples at even distances."""
    if len(samples) <= count:
        return list(samples)
    return [samples[index * len(samples) // count] for index in range(count)]


def _entry(
    data: bytes, file_format: Format, precision: Precision, proof: Verification
) -> BundleFile:
    return BundleFile(
        name=proof.name,
        format=file_format,
        precision=precision,
        sha256=sha256(data),
        bytes=len(data),
        floor=proof.floor,
        agreement=proof.agreement,
        worst=proof.worst,
        mask_miou=proof.mask_miou,
        label_miou=proof.label_miou,
        pictures=proof.pictures,
    )


def _version(tool: str) -> str:
    """A tool's version; some come under other names, as tensorflow-cpu does."""
    try:
        return importlib.metadata.version(tool)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
