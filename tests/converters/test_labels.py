"""Files whose output is labels: their masks equal those of the file with scores, ties included."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from converters.onnx.conversion import to_onnx
from converters.tflite.check import operators, partitions
from converters.tflite.conversion import to_tflite
from unet_edge.errors import BackendError
from unet_edge.model_files.embedded_contract import Contract, Format, Precision, seal
from unet_edge.model_files.read_graph import TensorInfo, read_graph
from unet_edge.model_files.runtime_support import runtime_support
from unet_edge.runtime.argmax import to_labels
from unet_edge.runtime.interpreter_choice import open_backend
from unet_edge.runtime.segmenter import Segmenter
from unet_edge.spec import ModelSpec, Normalisation, Output
from unet_edge.training.models import build
from unet_edge.training.settings.network import Network

Pictures = NDArray[np.uint8]

KINDS: list[tuple[Format, Precision]] = [
    (file_format, precision)
    for file_format in ("tflite", "onnx")
    for precision in ("float32", "float16", "int8")
]


def convert(
    model: Any, spec: ModelSpec, kind: tuple[Format, Precision], grids: list[Pictures]
) -> bytes:
    to = {"tflite": to_tflite, "onnx": to_onnx}[kind[0]]
    converted: bytes = to(model, spec, kind[1], grids if kind[1] == "int8" else ())
    return converted


@pytest.fixture(scope="module")
def made(
    trained: Any,
    spec: ModelSpec,
    two_classes: tuple[Any, ModelSpec],
    calibration: list[Pictures],
) -> Callable[..., bytes]:
    """Convert the trained network, or the one with two classes; each file is converted once."""
    files: dict[tuple[object, ...], bytes] = {}

    def make(classes: int, kind: tuple[Format, Precision], output: Output) -> bytes:
        model, contract = (trained, spec) if classes == 3 else two_classes
        key = (classes, kind, output)
        if key not in files:
            files[key] = convert(model, replace(contract, output=output), kind, calibration[:4])
        return files[key]

    return make


@pytest.fixture(scope="module")
def two_classes(pictures: Pictures) -> tuple[Any, ModelSpec]:
    """Random weights, with a bias that gives each class half of the pixels."""
    keras.utils.set_random_seed(5)
    model = build(Network(alpha=0.25), 2, Normalisation())
    scores = np.asarray(model.predict(pictures[:8], verbose=0))
    model.get_layer("logits_half").bias.assign(
        [float(np.median(scores[..., 1] - scores[..., 0])), 0.0]
    )
    return model, ModelSpec(*pictures.shape[1:3], ("background", "thing"))


@pytest.mark.parametrize(
    ("classes", "kind"),
    [
        # Without slow tests, three classes in int8 represent the others.
        pytest.param(
            classes,
            kind,
            id=f"{classes}-{'-'.join(kind)}",
            marks=[] if (classes, kind[1]) == (3, "int8") else pytest.mark.slow,
        )
        for classes in (2, 3)
        for kind in KINDS
    ],
)
def test_masks_equal_those_of_the_file_with_scores(
    made: Callable[..., bytes],
    spec: ModelSpec,
    pictures: Pictures,
    kind: tuple[Format, Precision],
    classes: int,
) -> None:
    with_scores = open_backend(made(classes, kind, "logits"), kind[0], 1)
    data = made(classes, kind, "labels")
    backend = open_backend(data, kind[0], 1)
    masks = []
    for picture in pictures[:8]:
        labels = backend.labels(picture)
        assert (labels.dtype, labels.shape) == (np.uint8, spec.size)
        scores = with_scores.scores(picture)
        np.testing.assert_array_equal(labels, to_labels(scores))
        np.testing.assert_array_equal(labels, np.argmax(scores, axis=-1))
        np.testing.assert_array_equal(labels, with_scores.labels(picture))
        masks.append(labels.copy())
    assert (np.bincount(np.ravel(masks), minlength=classes) > 0.05 * np.size(masks)).all()
    with pytest.raises(BackendError, match=r"no scores; run: unet-edge export RUN \(without"):
        backend.scores(pictures[0])

    graph = read_graph(data, kind[0], "m")
    assert graph.outputs == (TensorInfo("labels", "uint8", (1, *spec.size)),)
    oldest = {"tflite": "tflite-runtime 2.14", "onnx": "onnxruntime 1.8 or later"}[kind[0]]
    assert str(runtime_support(graph).runs_on[0]) == oldest
    if kind[0] == "tflite":
        assert partitions(data) == 1
        counts = operators(data)
        assert (counts["ARG_MAX"], counts["CAST"]) == (1, 1)


@pytest.mark.parametrize("kind", KINDS, ids="-".join)
@pytest.mark.parametrize(
    ("bias", "winner"), [((0, 0), 0), ((0, 0, 0), 0), ((-1, 2, 2), 1), ((3, 2, 3), 0)]
)
def test_on_a_tie_the_first_class_wins(
    pictures: Pictures, kind: tuple[Format, Precision], bias: tuple[float, ...], winner: int
) -> None:
    layers = keras.layers
    pixels = keras.Input((None, None, 3), name="pixels")
    x = layers.Rescaling(1 / 128, offset=-1, name="normalise")(pixels)
    x = layers.ReLU(6.0)(layers.Conv2D(4, 3, padding="same")(x))
    last = layers.Conv2D(len(bias), 1, name="logits")
    model = keras.Model(pixels, last(x))
    last.set_weights([np.zeros(last.kernel.shape), np.array(bias, np.float32)])
    spec = ModelSpec(*pictures.shape[1:3], tuple("abc"[: len(bias)]), output="labels")
    data = convert(model, spec, kind, list(pictures[:2]))
    labels = open_backend(data, kind[0], 1).labels(pictures[0])
    # int8 shifts both scores of two classes by half a step, so they still tie.
    assert (labels == winner).all()


@pytest.mark.parametrize("fit", ["letterbox", "stretch"])
@pytest.mark.parametrize("kind", [("tflite", "int8"), ("onnx", "float32")], ids="-".join)
def test_pictures_of_any_size_get_the_same_masks(
    made: Callable[..., bytes],
    spec: ModelSpec,
    kind: tuple[Format, Precision],
    fit: Any,
    tmp_path: Any,
) -> None:
    rng = np.random.default_rng(0)
    masks = []
    for output in ("logits", "labels"):
        contract: Any = replace(spec, fit=fit, output=output)
        path = tmp_path / f"{output}.{kind[0]}"
        path.write_bytes(seal(made(3, kind, output), Contract(contract, *kind)))
        masks.append(Segmenter.open(path, threads=1))
    assert masks[1].spec.output == "labels"
    for height, width in ((64, 64), (48, 90), (131, 77), (1, 200)):
        photo = rng.integers(0, 256, (height, width, 3), np.uint8)
        first, second = (segmenter.segment(photo).labels for segmenter in masks)
        assert first.shape == (height, width)
        np.testing.assert_array_equal(first, second)


@pytest.mark.slow
def test_the_same_model_gives_the_same_bytes(
    made: Callable[..., bytes], two_classes: tuple[Any, ModelSpec]
) -> None:
    model, spec = two_classes
    spec = replace(spec, output="labels")
    for kind in KINDS[:1] + KINDS[3:4]:
        assert convert(model, spec, kind, []) == made(2, kind, "labels")
