"""The measured figures of an export, as the manifest holds them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from converters.references import HeldOut
from unet_edge.bundle.bundle_file import BundleFile
from unet_edge.bundle.manifest import Quality, Reference, SplitFigures
from unet_edge.evaluation.verification import Verification, verify
from unet_edge.masks.metrics import Confusion
from unet_edge.model_files.embedded_contract import Format, Precision
from unet_edge.runtime.interpreter_choice import open_backend
from unet_edge.runtime.segmenter import Segmenter
from unet_edge.spec import ModelSpec
from unet_edge.system.files import sha256
from unet_edge.system.progress import progress


def file_entry(
    data: bytes,
    file_format: Format,
    precision: Precision,
    proof: Verification,
    float_layers: tuple[str, ...],
) -> BundleFile:
    """The entry of a proven file."""
    quality = None if proof.against_truth is None else _quality(proof.against_truth)
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
        label_miou=None if quality is None else quality.label_miou,
        pictures=proof.pictures,
        label_iou=None if quality is None else quality.label_iou,
        golden_agreement=None,  # the card measures it
        float_layers=float_layers,
        measured_by=proof.backend,
    )


def reference_entry(
    pictures: Sequence[HeldOut],
    confusion: Confusion | None,
    *,
    keras_sha256: str,
    network: str | None,
    parameters: int,
) -> Reference:
    """The entry of the Keras model, measured on `pictures`; `confusion` is None without labels."""
    mious = (picture.miou for picture in pictures if not math.isnan(picture.miou))
    quality = None if confusion is None else _quality(confusion)
    return Reference(
        keras_sha256=keras_sha256,
        label_miou=None if quality is None else quality.label_miou,
        pictures=len(pictures),
        label_iou=None if quality is None else quality.label_iou,
        worst_miou=min(mious, default=None),
        network=network,
        parameters=parameters,
    )


def split_figures(
    pictures: Sequence[HeldOut],
    confusion: Confusion,
    count: int,
    spec: ModelSpec,
    files: Sequence[BundleFile],
    models: Mapping[str, bytes],
) -> SplitFigures:
    """Measure every file on `pictures`, out of `count` test pictures of the data set.

    `confusion` is the Keras model's over `pictures`. `models` has the files' bytes by name.
    """
    qualities = []
    for entry in files:
        segmenter = Segmenter(spec, open_backend(models[entry.name], entry.format), entry.name)
        shown = progress(pictures, f"{entry.name} on test pictures")
        proof = verify(segmenter, (picture.unpacked() for picture in shown), floor=0.0)
        assert proof.against_truth is not None, "every picture of a split has a mask"
        qualities.append(_quality(proof.against_truth, proof.agreement))
    return SplitFigures(len(pictures), count, _quality(confusion), tuple(qualities))


def _quality(truth: Confusion, agreement: float | None = None) -> Quality:
    return Quality(_or_none(truth.miou), tuple(map(_or_none, truth.iou)), agreement)


def _or_none(value: float) -> float | None:
    """The value, or None for nan: JSON has no nan, which is the IoU of a class without pixels."""
    return None if math.isnan(value) else value
