"""tflite-runtime 2.14, LiteRT's predecessor, with NumPy 1 in a separate virtual environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray
from paths import ROOT

from converters.float_layers import stem
from converters.tflite.conversion import to_tflite
from unet_edge.model_files.embedded_contract import Precision
from unet_edge.model_files.read_graph import read_graph
from unet_edge.model_files.runtime_support import (
    TFLITE_RUNTIMES,
    TFLITE_VERSIONS,
    Release,
    runtime_support,
)
from unet_edge.spec import ModelSpec
from unet_edge.training.settings.network import Network

Pictures = NDArray[np.uint8]
Logits = NDArray[np.float32]

pytestmark = [
    pytest.mark.slow,  # installs a virtual environment from the package index
    pytest.mark.skipif(
        sys.version_info >= (3, 12) or sys.platform != "linux",
        reason="tflite-runtime 2.14 has wheels for Python 3.11 and older on Linux only",
    ),
]

# Computes the scores of every picture with our backend, in the old interpreter.
SCORES = """
import sys
import numpy as np
from unet_edge.runtime.interpreter_choice import open_backend
model = open_backend(open(sys.argv[1], "rb").read(), "tflite", 1)
assert model.name == "tflite-runtime 2.14.0", model.name
assert np.__version__.startswith("1."), np.__version__
np.save(sys.argv[3], [model.scores(picture).copy() for picture in np.load(sys.argv[2])])
"""

# Lists the files that the old interpreter refuses because of an operator's version.
REFUSED = """
import json, pathlib, sys
from tflite_runtime.interpreter import Interpreter, OpResolverType
plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
refused = []
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    try:
        Interpreter(model_content=path.read_bytes(), experimental_op_resolver_type=plain)
    except ValueError as error:
        if "Didn't find op" not in str(error):
            raise
        refused.append(path.name)
print(json.dumps(refused))
"""

# Reads which runtimes run the model, with only this checkout on Python's path.
INSPECT = """
import json, sys
from unet_edge.model_files.read_graph import read_graph
from unet_edge.model_files.runtime_support import runtime_support
graph = read_graph(open(sys.argv[1], "rb").read(), "tflite", "m")
print(json.dumps(runtime_support(graph).to_dict()["runs_on"]))
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Run code in the old environment; returns its output."""
    folder = tmp_path_factory.mktemp("tflite-runtime") / "venv"
    venv.create(folder, with_pip=True)
    pip = [folder / "bin" / "python", "-m", "pip", "install", "--disable-pip-version-check"]
    packages = ["tflite-runtime==2.14.0", "numpy<2", "pillow>=9.4"]
    subprocess.run([*pip, "--quiet", *packages], check=True, capture_output=True)

    def run(code: str, *arguments: object) -> str:
        done = subprocess.run(
            [folder / "bin" / "python", "-c", code, *map(str, arguments)],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture
def old_scores(
    python: Callable[..., str], pictures: Pictures, tmp_path: Path
) -> Callable[[bytes], NDArray[Any]]:
    """Scores (N, H, W, classes) of the pictures in tflite-runtime, with the file's type."""
    np.save(tmp_path / "pictures.npy", pictures)

    def run(data: bytes) -> NDArray[Any]:
        model, scores = tmp_path / "model.tflite", tmp_path / "scores.npy"
        model.write_bytes(data)
        assert "tflite-runtime 2.14" in json.loads(python(INSPECT, model))
        python(SCORES, model, tmp_path / "pictures.npy", scores)
        return np.asarray(np.load(scores))

    return run


def scores(data: bytes, pictures: Pictures, *, xnnpack: bool) -> Iterator[NDArray[Any]]:
    """Each picture's scores in LiteRT, with XNNPACK (the default) or with TFLite's own kernels."""
    kind = OpResolverType.AUTO if xnnpack else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(model_content=data, num_threads=1, experimental_op_resolver_type=kind)
    interpreter.allocate_tensors()
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
    for picture in pictures:
        interpreter.set_tensor(source["index"], picture[None])
        interpreter.invoke()
        yield interpreter.get_tensor(target["index"])[0]


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_float_labels_equal_litert_labels(
    trained: Any,
    spec: ModelSpec,
    pictures: Pictures,
    old_scores: Callable[[bytes], NDArray[Any]],
    precision: Precision,
) -> None:
    data = to_tflite(trained, spec, precision)
    old, new = old_scores(data), np.stack(list(scores(data, pictures, xnnpack=True)))
    # Both compute in XNNPACK's float32. Only the order of sums may change between releases:
    # test_conversion.py derives 1e-3. Measured: the same bits.
    assert abs(old - new).max() <= 1e-3
    # The floor of float32 files is 99.999 % of 131,072 pixels: one near tie may flip.
    assert (old.argmax(-1) != new.argmax(-1)).sum() <= 1


def test_int8_equals_litert_without_xnnpack_and_stays_within_int8_noise_with_it(
    trained: Any,
    spec: ModelSpec,
    calibration: list[Pictures],
    pictures: Pictures,
    old_scores: Callable[[bytes], NDArray[Any]],
    assert_int8_close: Callable[[Logits, Logits], None],
) -> None:
    # Only the stem in float, so that the scores are integers.
    data = to_tflite(trained, spec, "int8", calibration, float_layers=stem(trained))
    old = old_scores(data)
    # On x86, tflite-runtime has no XNNPACK for int8. TFLite's own kernels are the same, but their
    # choice by processor has changed: the scores are equal on AMD EPYC with AVX2 and with AVX-512
    # VNNI; on an Intel Xeon with AMX, 3 of 393,216 differ by one step. One step in a share of 1e-4
    # of the values is sqrt(12e-4) = 0.03 of the noise of rounding to 8 bits.
    plain = np.stack(list(scores(data, pictures, xnnpack=False)))
    apart = np.abs(old.astype(int) - plain)
    assert apart.max() <= 1
    assert (apart > 0).mean() < 1e-4
    # XNNPACK rounds differently, always by one step. On equal inputs, these shares of the values
    # differ: 5.9 % after RESIZE_BILINEAR (all one higher), 0.25 % after DEPTHWISE_CONV_2D and
    # 0.17 % after CONV_2D (all one lower). One step in a share p of the values is sqrt(12 p) of the
    # noise of rounding to 8 bits: 0.84 at most. So the two differ no more than int8 and float, for
    # which assert_int8_close derives its limits.
    new = np.stack(list(scores(data, pictures, xnnpack=True)))
    (port,) = read_graph(data, "tflite", "m").outputs
    assert port.scale is not None
    assert port.zero_point is not None
    real = [(raw.astype(np.float32) - port.zero_point) * port.scale for raw in (old, new)]
    assert_int8_close(*real)
    # Both runtimes have the floor of int8 files, 99.5 % of Keras' labels, so 99 % must be equal.
    assert (old.argmax(-1) == new.argmax(-1)).mean() >= 0.99


def test_v3_in_int8_too(
    untrained: Callable[..., Any],
    spec: ModelSpec,
    calibration: list[Pictures],
    pictures: Pictures,
    old_scores: Callable[[bytes], NDArray[Any]],
) -> None:
    """The network is untrained, so the test compares scores, not labels."""
    model = untrained(Network(encoder="mobilenet_v3_small", alpha=0.75))
    data = to_tflite(model, spec, "int8", calibration, float_layers=stem(model))
    for old, new in zip(old_scores(data), scores(data, pictures, xnnpack=False), strict=True):
        # Between the releases, MEAN changed (11 % of its values, by one step of 8 bits), and
        # DEPTHWISE_CONV_2D (2 of 100,000). A gate's mean scales a whole channel, so it can change
        # scores by a step. Measured: one step in 0.14 % of the scores; V3-Large has two.
        assert abs(old.astype(int) - new.astype(int)).max() <= 2


def test_tflite_runtime_accepts_the_versions_of_the_table(
    python: Callable[..., str], tmp_path: Path, tflite: Callable[..., bytes]
) -> None:
    column = TFLITE_RUNTIMES.index(Release("tflite-runtime", "2.14"))
    newer = []
    for name, row in TFLITE_VERSIONS.items():
        for number in range(1, row[column] + 2):
            (tmp_path / f"{name}.{number}").write_bytes(tflite((name, number)))
        newer.append(f"{name}.{row[column] + 1}")
    assert json.loads(python(REFUSED, tmp_path)) == sorted(newer)
    # runtime_support says the same of the refused files.
    for name in newer:
        support = runtime_support(read_graph((tmp_path / name).read_bytes(), "tflite", name))
        assert Release("tflite-runtime", "2.14") in support.refused_by
