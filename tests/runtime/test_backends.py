import subprocess
import sys
import textwrap
import zipfile

import numpy as np
import pytest
from tiny_models import CLASSES, H, W, tiny_onnx, tiny_tflite

from unet_edge.errors import BackendError, ModelFileError, SpecError
from unet_edge.runtime.interpreter_choice import open_backend
from unet_edge.runtime.interpreters import install_command, interpreter_named
from unet_edge.runtime.segmenter import Segmenter
from unet_edge.spec import ModelSpec

# --- interpreters -----------------------------------------------------------------------------

MODELS = {"tflite": tiny_tflite, "onnx": tiny_onnx}


@pytest.mark.parametrize("file_format", MODELS)
@pytest.mark.parametrize("threads", [None, 1, 2])
def test_a_backend_turns_a_grid_into_scores(file_format, threads):
    backend = open_backend(MODELS[file_format](), file_format, threads)
    assert {"tflite": "ai-edge-litert ", "onnx": "onnxruntime "}[file_format] in backend.name
    for start in (0, 100):  # twice: the second call must not see the first
        pixels = (np.arange(H * W * CLASSES).reshape(H, W, CLASSES) + start).astype(np.uint8)
        scores = backend.scores(pixels)
        # The tiny model's (p - 128) / 128 is exact in float32.
        assert scores.dtype == np.float32
        assert np.array_equal(scores, (pixels.astype(np.float32) - 128) / 128)


@pytest.mark.parametrize(
    ("file_format", "fixes"),
    [("tflite", "upgrade 'ai-edge-litert>="), ("onnx", "upgrade 'onnxruntime>=")],
)
@pytest.mark.parametrize("cut", [0.3, 0.7])
def test_the_error_of_a_model_that_cannot_run_names_an_upgrade(file_format, fixes, cut):
    model = MODELS[file_format]()
    with pytest.raises(BackendError, match=rf"cannot run this model: .*{fixes}") as raised:
        open_backend(model[: int(len(model) * cut)], file_format)
    assert "\n" not in str(raised.value)


BARE = """
    import sys

    class Blocker:
        def find_spec(self, name, path=None, target=None):
            if name.split(".")[0] in BLOCKED:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    BLOCKED = sys.argv[1].split(",")
    sys.meta_path.insert(0, Blocker())
    from unet_edge.errors import BackendError
    from unet_edge.runtime.interpreter_choice import open_backend
    try:
        open_backend(b"", sys.argv[2])
    except BackendError as error:
        print(error)
"""


def bare(code, *arguments):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


@pytest.mark.parametrize(
    ("blocked", "file_format", "package"),
    [
        ("ai_edge_litert,tflite_runtime", "tflite", "ai-edge-litert"),
        ("onnxruntime", "onnx", "onnxruntime"),
    ],
)
def test_without_an_interpreter_the_error_names_the_install_command(blocked, file_format, package):
    message = bare(BARE, blocked, file_format)
    assert f"{package} is not installed; " in message
    assert message.endswith(f"run: {install_command(interpreter_named(package))}")


def test_an_interpreter_that_fails_to_start_is_skipped_and_named():
    # Under NumPy 2, tflite-runtime raises SystemError only when an interpreter is built.
    code = BARE.replace(
        "    from unet_edge.errors",
        """
    import types

    def refuse(**_):
        raise SystemError("initialization of _interpreter raised unreported exception")

    fake = types.ModuleType("tflite_runtime.interpreter")
    fake.Interpreter = refuse
    sys.modules["tflite_runtime"] = types.ModuleType("tflite_runtime")
    sys.modules["tflite_runtime.interpreter"] = fake
    from unet_edge.errors""",
        1,
    )
    message = bare(code, "ai_edge_litert", "tflite")
    assert "ai-edge-litert is not installed; tflite-runtime does not work with NumPy 2" in message
    assert message.endswith("or keep tflite-runtime with: pip install 'numpy<2'")
    assert install_command(interpreter_named("ai-edge-litert")) in message
    assert "\n" not in message


# --- Keras ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def keras_file(tmp_path_factory):
    """A Keras model of one layer: (p - 128) / 128, for three channels."""
    keras = pytest.importorskip("keras")
    pixels = keras.Input((None, None, CLASSES), name="pixels")
    model = keras.Model(pixels, keras.layers.Rescaling(1 / 128, offset=-1.0)(pixels))
    path = tmp_path_factory.mktemp("keras") / "model.keras"
    model.save(path)
    return path


def test_the_keras_backend_scores_like_the_others(keras_file):
    from unet_edge.runtime.backends.keras_model import KerasBackend, load_keras

    backend = KerasBackend(load_keras(keras_file))
    assert backend.name.startswith("keras 3")
    pixels = np.arange(H * W * CLASSES, dtype=np.uint8).reshape(H, W, CLASSES)
    scores = backend.scores(pixels)
    assert scores.dtype == np.float32
    assert np.array_equal(scores, (pixels.astype(np.float32) - 128) / 128)


def test_a_keras_file_opens_with_the_contract_beside_it(keras_file, tmp_path):
    spec = ModelSpec(H, W, ("a", "b", "c"))
    run = tmp_path / "run"
    run.mkdir()
    (run / "model.keras").write_bytes(keras_file.read_bytes())
    with pytest.raises(SpecError, match=r"run has no spec\.json; .*'unet-edge train' wrote"):
        Segmenter.open(run)
    (run / "spec.json").write_text(spec.to_json(), encoding="utf-8")
    photo = np.zeros((2 * H, 2 * W, 3), np.uint8)
    photo[..., 1] = 200
    for path in (run, run / "model.keras"):
        segmenter = Segmenter.open(path)
        assert segmenter.spec == spec
        assert (segmenter.segment(photo).labels == 1).all()


def test_the_error_names_a_file_that_is_not_a_keras_model(keras_file, tmp_path):
    from unet_edge.runtime.backends.keras_model import load_keras

    with pytest.raises(ModelFileError, match=r"no such model file: .*absent\.keras"):
        load_keras(tmp_path / "absent.keras")
    (tmp_path / "model.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    with pytest.raises(ModelFileError, match=r"model\.h5 is not a \.keras file"):
        load_keras(tmp_path / "model.h5")
    data = keras_file.read_bytes()
    broken = {
        "empty": b"",
        "text": b"hello",
        "cut": data[: len(data) // 2],
        "zip": b"PK\x05\x06" + bytes(18),
        "flipped": data.replace(b"Rescaling", b"Rescalinh"),
    }
    for name, content in broken.items():
        path = tmp_path / f"{name}.keras"
        path.write_bytes(content)
        with pytest.raises(ModelFileError, match=rf"{name}\.keras is damaged or not a Keras model"):
            load_keras(path)


def test_a_keras_file_with_code_is_refused(tmp_path):
    keras = pytest.importorskip("keras")
    from unet_edge.runtime.backends.keras_model import load_keras

    pixels = keras.Input((None, None, 3))
    model = keras.Model(pixels, keras.layers.Lambda(lambda x: x * 2)(pixels))
    model.save(tmp_path / "model.keras")
    assert zipfile.is_zipfile(tmp_path / "model.keras")
    with pytest.raises(ModelFileError, match="damaged or not a Keras model"):
        load_keras(tmp_path / "model.keras")
