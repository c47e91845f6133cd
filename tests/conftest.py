"""What many tests need, made once a session: generated pictures, a run, a bundle, small files."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unet_edge.demo.cells import CLASSES, write_dataset

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# A shell's background jobs, as CI may be one, hand down an ignored SIGINT: heed it again, here and
# in what tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def sample_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images/, masks/, train.txt and val.txt: 16 and 5 generated pictures."""
    root = tmp_path_factory.mktemp("cells")
    write_dataset(root, train=16, validation=5, seed=7)
    return root


@pytest.fixture(scope="session")
def run_path(sample_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training run: model.keras, spec.json and the rest, of the smallest separable model."""
    pytest.importorskip("keras", reason="no Keras to train with, as on a Raspberry Pi")
    from unet_edge.training.augmentation import Augmentation
    from unet_edge.training.config import TrainConfig
    from unet_edge.training.models import Network
    from unet_edge.training.optimisation import Optimisation
    from unet_edge.training.run import train

    run = tmp_path_factory.mktemp("runs") / "cells"
    config = TrainConfig(
        data=sample_data,
        classes=CLASSES,
        size=(192, 192),
        crop=(96, 96),
        network=Network(alpha=0.25),
        encoder_weights="none",
        steps=120,
        rounds=3,
        optimisation=Optimisation(learning_rate=0.005),
        augmentation=Augmentation(scale=(0.8, 1.25), hue=0, any_orientation=True),
        name="cells",
    )
    train(config, run)
    return run


@pytest.fixture(scope="session")
def bundle_path(run_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete bundle of the run: six files, four golden pictures."""
    from converters.export import ExportSettings, export
    from unet_edge.files import sha256
    from unet_edge.runtime.backends.keras_model import load_keras
    from unet_edge.runtime.segmenter import read_spec
    from unet_edge.training.config import read_config

    model = run_path / "model.keras"
    bundle = export(
        load_keras(model),
        read_spec(run_path / "spec.json"),
        read_config(run_path).dataset(),
        tmp_path_factory.mktemp("bundles") / "cells",
        keras_sha256=sha256(model.read_bytes()),
        settings=ExportSettings(golden=4),
    )
    return bundle.path


def _tensor(name: str, kind: int, scales: list[float], buffer: int) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    tensor = schema.TensorT()
    tensor.name, tensor.type, tensor.buffer = name, kind, buffer
    tensor.shape = np.array([1, 2, 2, 3], np.int32)
    if scales:
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale = np.array(scales, np.float32)
        tensor.quantization.quantizedDimension = 3 if len(scales) > 1 else 0
        tensor.quantization.zeroPoint = np.array([7] * len(scales), np.int64)
    return tensor


@pytest.fixture(scope="session")
def tflite() -> Callable[..., bytes]:
    """A file of the operators (name, version), each from `pixels` and `kernel` to `logits`."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    def make(
        *operators: tuple[str, int],
        kernel: str = "INT8",
        scales: tuple[float, ...] = (0.5, 0.25, 0.125),
        custom: str | None = None,
        min_runtime_version: bytes | None = None,
    ) -> bytes:
        graph, model = schema.SubGraphT(), schema.ModelT()
        graph.tensors = [
            _tensor("pixels", schema.TensorType.UINT8, [0.5], 0),
            _tensor("kernel", getattr(schema.TensorType, kernel), list(scales), 1),
            _tensor("logits", schema.TensorType.FLOAT32, [], 0),
        ]
        graph.inputs, graph.outputs = np.array([0], np.int32), np.array([2], np.int32)
        graph.operators, model.operatorCodes = [], []
        for index, (name, version) in enumerate(operators):
            code, operator = schema.OperatorCodeT(), schema.OperatorT()
            code.builtinCode = getattr(schema.BuiltinOperator, name)
            code.deprecatedBuiltinCode = min(code.builtinCode, 127)
            code.version, code.customCode = version, custom
            operator.opcodeIndex = index
            operator.inputs = np.array([0, 1], np.int32)
            operator.outputs = np.array([2], np.int32)
            model.operatorCodes.append(code)
            graph.operators.append(operator)
        filled = schema.BufferT()
        filled.data = np.arange(12, dtype=np.uint8)
        model.version, model.subgraphs, model.buffers = 3, [graph], [schema.BufferT(), filled]
        if min_runtime_version is not None:
            entry, text = schema.MetadataT(), schema.BufferT()
            entry.name, entry.buffer = "min_runtime_version", 2
            text.data = np.frombuffer(min_runtime_version, np.uint8)
            model.metadata = [entry]
            model.buffers.append(text)
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    return make
