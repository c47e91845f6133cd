"""Fixtures of many tests, made once a session: pictures, a run, a bundle, small files."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trained_data import BUNDLE, RUN, write_pictures

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# A background job of a shell, such as CI, inherits an ignored SIGINT. This process and those that
# tests start need the default.
signal.signal(signal.SIGINT, signal.default_int_handler)


# Test processes share the processors, so each process and its children compute with one thread. Set
# in the process that starts the workers, since libraries read these variables when imported.
ONE_THREAD = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "TF_NUM_INTEROP_THREADS",
    "TF_NUM_INTRAOP_THREADS",
)


def pytest_configure(config: pytest.Config) -> None:
    """Share the processors among pytest-xdist's workers."""
    if config.getoption("numprocesses", None):
        for name in ONE_THREAD:
            os.environ.setdefault(name, "1")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run files with slow tests first, so that no worker begins one when others have finished."""
    for item in items:
        if "fresh_bundle_path" in getattr(item, "fixturenames", ()):  # exports a bundle
            item.add_marker(pytest.mark.slow)
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes a file or folder in the first of pytest-xdist's workers, for all of them."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent

    def once(name: str, make: Callable[[Path], object]) -> Path:
        with (folder / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (folder / name).exists():
                make(folder / f"{name}.unfinished")
                (folder / f"{name}.unfinished").rename(folder / name)
        return folder / name

    return once


@pytest.fixture(scope="session")
def sample_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images/, masks/, train.txt and val.txt: 16 and 5 generated pictures."""
    return write_pictures(tmp_path_factory.mktemp("cells"))


@pytest.fixture(scope="session")
def run_path(sample_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the committed run: a trained model, its settings and result."""
    pytest.importorskip("keras", reason="no Keras to read a model with, as on a Raspberry Pi")
    from unet_edge.training.config import read_config

    run = tmp_path_factory.mktemp("runs") / "cells"
    shutil.copytree(RUN, run)
    config = replace(read_config(run), data=sample_data)
    (run / "config.toml").write_text(config.to_toml(), encoding="utf-8")
    return run


@pytest.fixture(scope="session")
def bundle_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the committed bundle, exported from the run: six files, four golden pictures.

    Its figures were measured on another machine. Tests of the export, and tests that measure such
    a figure again, take `fresh_bundle_path`.
    """
    if not BUNDLE.is_dir():
        pytest.skip("no committed bundle, as on an emulated Raspberry Pi")
    return Path(shutil.copytree(BUNDLE, tmp_path_factory.mktemp("bundles") / "cells"))


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
    """Makes a file of operators (name, version), each from `pixels` and `kernel` to `logits`."""
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
            # Of a transposed convolution, the pixels come third, and its output's shape first.
            inputs = [0, 1, 0] if name == "TRANSPOSE_CONV" else [0, 1]
            operator.inputs = np.array(inputs, np.int32)
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
