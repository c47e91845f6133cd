"""Export: a Keras model to a bundle of proven files."""

from __future__ import annotations

import importlib.metadata
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import assert_never, get_args

import keras

from converters.card.card import with_card
from converters.float_layers import float_layers_of
from converters.freeze import require_tensorflow
from converters.golden import golden_pictures
from converters.int8.calibration import calibration_grids
from converters.int8.correction import correct_channels
from converters.int8.fitting import fit_to_int8
from converters.int8.kernels import Rounding
from converters.int8.search import Found, Search
from converters.onnx.conversion import to_onnx
from converters.references import HeldOut, held_out
from converters.settings import ExportSettings
from converters.tflite.conversion import dynamic_float_layers, to_tflite
from unet_edge.bundle.bundle import Bundle
from unet_edge.bundle.bundle_file import FLOORS, BundleFile
from unet_edge.bundle.manifest import DataCounts, Quality, Reference, SplitFigures
from unet_edge.bundle.writing import require_replaceable_bundle, write_bundle
from unet_edge.dataset import Dataset
from unet_edge.errors import ConfigError, ConversionError
from unet_edge.evaluation.verification import Verification, verify
from unet_edge.images.placement import Pixels
from unet_edge.masks.metrics import Confusion
from unet_edge.model_files.embedded_contract import Contract, Format, Precision, seal
from unet_edge.percent import percent
from unet_edge.runtime.backends.keras_model import KerasBackend
from unet_edge.runtime.interpreter_choice import open_backend
from unet_edge.runtime.segmenter import Segmenter
from unet_edge.spec import ModelSpec
from unet_edge.system.atomic_folders import temporary_files_beside
from unet_edge.system.board import read_processor
from unet_edge.system.files import require_writable_path, sha256
from unet_edge.system.progress import progress, progress_bar

INTEGERS: tuple[Precision, ...] = ("int8", "int16x8", "dynamic")
"""Files with int8 weights: made of the corrected model, and what a search replaces."""

_TOOLS = ("keras", "tensorflow", "tf2onnx", "onnx", "onnxruntime", "ai-edge-litert")


def export(
    model: keras.Model,
    spec: ModelSpec,
    dataset: Dataset,
    output: Path,
    *,
    keras_sha256: str,
    network: str | None = None,
    settings: ExportSettings | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Bundle:
    """Convert, prove and write a bundle to `output`, replacing an older bundle there.

    Calibrates on training pictures; proves on validation pictures, at their own size, against
    the masks of `model` itself. A file under its floor is written and marked as such.
    `network` describes the model in the card. Killed at any moment, it leaves the bundle of
    before or none, and the next export clears up.

    Raises BundleError when `output` is something else, ConversionError when a file cannot be
    made, ConfigError for settings that exclude each other, ImageError or DataError for the
    pictures.
    """
    settings = settings or ExportSettings()
    require_tensorflow(keras.backend.backend())
    if settings.budget and spec.output != "logits":
        raise ConfigError(
            "a search compares scores",
            fix="export with --labels or with --min-agreement",
        )
    require_replaceable_bundle(output)
    require_writable_path(output)
    with temporary_files_beside(output):
        return _export(model, spec, dataset, output, keras_sha256, network, settings, say)


def _export(
    model: keras.Model,
    spec: ModelSpec,
    dataset: Dataset,
    output: Path,
    keras_sha256: str,
    network: str | None,
    settings: ExportSettings,
    say: Callable[[str], None],
) -> Bundle:
    precisions = {precision for _, precision in settings.artifacts}
    grids: list[Pixels] = []
    if settings.budget or precisions & set(INTEGERS):
        grids = calibration_grids(dataset, spec, count=settings.calibration, seed=settings.seed)
    keras_segmenter = Segmenter(spec, KerasBackend(model), "Keras")
    references, reference = held_out(model, spec, dataset, settings.check)
    # Here: a damaged picture should not be found after hours of a search.
    tests = held_out(model, spec, dataset, settings.check, "test") if dataset.test else None
    artifacts, floors = list(settings.artifacts), dict(FLOORS)
    models: dict[str, bytes] = {}
    found: Found | None = None
    if settings.budget:
        found = _searched(model, spec, grids, references, reference, settings, say)
        kept = found.kept
        assert kept is not None, "_searched raises where nothing holds"
        assert found.data is not None
        artifacts = [a for a in artifacts if a[0] != "tflite" or a[1] not in INTEGERS]
        artifacts = list(dict.fromkeys([("tflite", kept.precision), *artifacts]))
        floors = dict.fromkeys(FLOORS, settings.budget.min_agreement)
        contract = Contract(spec, "tflite", kept.precision)
        models[file_name("tflite", kept.precision)] = seal(found.data, contract)

    open_artifacts = [a for a in artifacts if file_name(*a) not in models]
    in_float = {
        file_format: () if settings.full_integer else float_layers_of(model, file_format)
        for file_format in get_args(Format)
    }
    bar = progress_bar(len(open_artifacts), "converting")
    for file_format, precision in open_artifacts:
        bar.set_postfix_str(f"{precision} {file_format}")
        stays = in_float[file_format] if precision == "int8" else ()
        source = _prepared(model, file_format, precision, grids, stays)
        converted = _convert(source, spec, file_format, precision, grids, stays)
        name = file_name(file_format, precision)
        models[name] = seal(converted, Contract(spec, file_format, precision))
        bar.update()
    bar.close()

    files: list[BundleFile] = []
    agreements: dict[str, Sequence[float]] = {}
    for file_format, precision in artifacts:
        name = file_name(file_format, precision)
        proof = verify(
            Segmenter(spec, open_backend(models[name], file_format), name),
            (kept.unpacked() for kept in progress(references, f"proving {name}")),
            floor=floors[file_format, precision],
        )
        if settings.budget and not settings.budget.holds(proof, reference.miou):
            share = percent(proof.agreement)
            say(f"{name}: {share} % of pixels as Keras, misses the budget, left out")
            del models[name]
            continue
        stays = in_float[file_format] if precision == "int8" else ()
        if found and found.kept and (file_format, precision) == ("tflite", "int8"):
            stays = found.kept.float_layers
        files.append(_entry(models[name], file_format, precision, proof, stays))
        agreements[name] = proof.shares
        mark = "" if proof.passed else f"  UNDER ITS FLOOR of {percent(proof.floor)} %"
        say(f"{name}: {percent(proof.agreement)} % of pixels as Keras{mark}")

    golden_files, golden = golden_pictures(keras_segmenter, references, agreements, settings.golden)
    bundle = Bundle(
        path=output,
        spec=spec,
        files=tuple(files),
        golden=golden,
        reference=Reference(
            keras_sha256=keras_sha256,
            label_miou=_figure(reference.miou),
            pictures=len(references),
            label_iou=tuple(map(_figure, reference.iou)),
            worst_miou=min(
                (each.miou for each in references if not math.isnan(each.miou)), default=None
            ),
            network=network,
            parameters=model.count_params(),
        ),
        tools={tool: _version(tool) for tool in _TOOLS},
        data=DataCounts(len(dataset.train), len(dataset.validation), len(grids)),
        license=settings.license,
        search=None if found is None else found.record(),
        processor=read_processor(),
        test=_test_figures(tests, len(dataset.test), spec, files, models) if tests else None,
    )
    bundle, card = with_card(bundle, models, golden_files, settings.latency)
    return write_bundle(bundle, models, golden_files, card)


def _searched(
    model: keras.Model,
    spec: ModelSpec,
    grids: Sequence[Pixels],
    references: Sequence[HeldOut],
    reference: Confusion,
    settings: ExportSettings,
    say: Callable[[str], None],
) -> Found:
    """A search that kept a file; raises ConversionError when nothing holds the budget."""
    assert settings.budget
    if settings.budget.max_miou_drop is not None and math.isnan(reference.miou):
        raise ConfigError(
            "--max-miou-drop needs true labels",
            expected="no held-out picture has any",
        )
    found = Search(
        model,
        spec,
        grids,
        lambda label: (kept.unpacked() for kept in progress(references, label)),
        reference.miou,
        settings.budget,
        fine_tune_steps=settings.fine_tuning,
        say=say,
    ).run()
    if found.kept is None:
        closest = max(found.candidates, key=lambda candidate: candidate.agreement)
        raise ConversionError(
            "no .tflite file holds the budget",
            fix=(
                f"the closest, {closest.recipe}, agrees with Keras on "
                f"{percent(closest.agreement)} % of the pixels: lower "
                "--min-agreement, or allow a larger --max-miou-drop"
            ),
        )
    return found


def file_name(file_format: Format, precision: Precision) -> str:
    """What a file is called in a bundle: model-int8.tflite."""
    return f"model-{precision}.{file_format}"


def _prepared(
    model: keras.Model,
    file_format: Format,
    precision: Precision,
    grids: Sequence[Pixels],
    float_layers: tuple[str, ...],
) -> keras.Model:
    """The model that a file of this precision is converted from, so that it comes close."""
    match precision:
        case "int8":
            rounding: Rounding = "bounded" if file_format == "onnx" else "plain"
            return fit_to_int8(model, grids, float_layers, rounding=rounding)
        case "dynamic":
            return correct_channels(model, grids, dynamic_float_layers(model))
        case "int16x8":
            return correct_channels(model, grids)
        case "float32" | "float16":
            return model
        case _:
            assert_never(precision)


def _convert(
    model: keras.Model,
    spec: ModelSpec,
    file_format: Format,
    precision: Precision,
    grids: Sequence[Pixels],
    float_layers: tuple[str, ...],
) -> bytes:
    match file_format:
        case "tflite":
            layers = float_layers if precision == "int8" else None
            return to_tflite(model, spec, precision, grids, float_layers=layers)
        case "onnx":
            return to_onnx(model, spec, precision, grids, float_layers=float_layers)
        case _:
            assert_never(file_format)


def _entry(
    data: bytes,
    file_format: Format,
    precision: Precision,
    proof: Verification,
    float_layers: tuple[str, ...],
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
        label_miou=None if proof.against_truth is None else _figure(proof.against_truth.miou),
        pictures=proof.pictures,
        label_iou=(
            None if proof.against_truth is None else tuple(map(_figure, proof.against_truth.iou))
        ),
        golden_agreement=None,  # the card measures it
        float_layers=float_layers,
        measured_by=proof.backend,
    )


def _test_figures(
    tests: tuple[Sequence[HeldOut], Confusion],
    of: int,
    spec: ModelSpec,
    files: Sequence[BundleFile],
    models: dict[str, bytes],
) -> SplitFigures:
    """Figures of Keras and of every file over the test pictures in `tests`, of `of` in all."""
    references, reference = tests
    qualities = []
    for entry in files:
        segmenter = Segmenter(spec, open_backend(models[entry.name], entry.format), entry.name)
        shown = progress(references, f"{entry.name} on test pictures")
        proof = verify(segmenter, (kept.unpacked() for kept in shown), floor=0.0)
        assert proof.against_truth is not None, "every picture of a split has a mask"
        qualities.append(_quality(proof.against_truth, proof.agreement))
    return SplitFigures(len(references), of, _quality(reference), tuple(qualities))


def _quality(truth: Confusion, agreement: float | None = None) -> Quality:
    return Quality(_figure(truth.miou), tuple(map(_figure, truth.iou)), agreement)


def _figure(value: float) -> float | None:
    """JSON has no nan, which an IoU of nothing is."""
    return None if math.isnan(value) else value


def _version(tool: str) -> str:
    """A tool's version; some come under other names, as tensorflow-cpu does."""
    try:
        return importlib.metadata.version(tool)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
