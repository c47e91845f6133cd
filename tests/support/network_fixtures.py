"""A small trained network, its pictures, and the interpreters of the device."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnxruntime
import pytest
from ai_edge_litert.interpreter import Interpreter
from discs import SIZE, discs_and_squares, network
from numpy.typing import NDArray
from trained_data import DISCS, export_run

from converters.onnx.conversion import to_onnx
from converters.tflite.conversion import to_tflite
from unet_edge.model_files.embedded_contract import Format, Precision
from unet_edge.spec import ModelSpec, Normalisation
from unet_edge.training.models import build
from unet_edge.training.settings.network import Network


@pytest.fixture(scope="session")
def fresh_bundle_path(run_path: Path, sample_data: Path, once: Callable[..., Path]) -> Path:
    """The bundle of `bundle_path`, exported in this session on this machine."""
    return once("fresh-bundle", lambda path: export_run(sample_data, run_path, path))


@pytest.fixture(scope="session")
def spec() -> ModelSpec:
    return ModelSpec(SIZE, SIZE, ("background", "disc", "square"))


@pytest.fixture(scope="session")
def trained() -> Any:
    """The committed network of discs and squares: 95 % of the pixels are right."""
    model = network()
    with np.load(DISCS) as weights:
        model.set_weights([weights[name] for name in weights.files])
    return model


@pytest.fixture(scope="session")
def hard_layers() -> tuple[str, str]:
    """Two neighbouring layers of `hard` that int8 cannot compute."""
    return ("dec1_dw", "dec1_pw")


@pytest.fixture(scope="session")
def hard(trained: Any, hard_layers: tuple[str, str]) -> Any:
    """`trained` with all channels but one made 1,000 times smaller between two layers.

    The first layer's BatchNorm shrinks the channels, and the kernel behind enlarges them again: in
    float only the values that ReLU6 clips change. In int8 the tensor between has one scale, that of
    the large channel, and the other channels are rounded to 0.
    """
    model = keras.models.clone_model(trained)
    model.set_weights(trained.get_weights())
    first, second = hard_layers
    gamma, beta, mean, variance = model.get_layer(f"{first}_bn").get_weights()
    kernel = model.get_layer(second).get_weights()[0]
    scale = np.full(gamma.shape, 1 / 1000)
    scale[np.argmax(gamma)] = 1
    model.get_layer(f"{first}_bn").set_weights([gamma * scale, beta * scale, mean, variance])
    model.get_layer(second).set_weights([kernel / scale[:, None]])  # (1, 1, in, out)
    return model


@pytest.fixture(scope="session")
def calibration() -> list[NDArray[np.uint8]]:
    return list(discs_and_squares(16, seed=0)[0])


@pytest.fixture(scope="session")
def pictures() -> NDArray[np.uint8]:
    """32 pictures that neither training nor calibration saw, uint8 (32, 64, 64, 3)."""
    return discs_and_squares(32, seed=1)[0]


@pytest.fixture(scope="session")
def reference(trained: Any, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Keras' logits for `pictures`; no class is rare, so that comparing labels is meaningful."""
    logits = np.asarray(trained.predict(pictures, verbose=0))
    assert (np.bincount(logits.argmax(-1).ravel()) > 0.09 * logits[..., 0].size).all()
    return logits


@pytest.fixture(scope="session")
def untrained() -> Callable[..., Any]:
    """Builds a network with random BatchNorm statistics, so that wrong folding of them shows.

    Biases are random too, because converters make another graph if they are 0.
    """

    def make(network: Network, normalisation: Normalisation | None = None) -> Any:
        keras.utils.set_random_seed(0)
        rng = np.random.default_rng(0)
        model = build(network, 3, normalisation or Normalisation())
        for layer in model.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                gamma, beta, mean, variance = layer.get_weights()
                layer.set_weights(
                    [
                        rng.uniform(0.5, 1.5, gamma.shape),
                        rng.normal(0, 0.3, beta.shape),
                        rng.normal(0, 0.3, mean.shape),
                        rng.uniform(0.5, 1.5, variance.shape),
                    ]
                )
            elif isinstance(layer, keras.layers.Conv2D) and layer.use_bias:
                layer.bias.assign(rng.normal(0, 0.3, layer.bias.shape))
        return model

    return make


@pytest.fixture(scope="session")
def converted(
    untrained: Callable[..., Any],
    spec: ModelSpec,
    calibration: list[NDArray[np.uint8]],
    once: Callable[..., Path],
) -> Callable[[Network, Format, Precision], bytes]:
    """Converts an `untrained` network to a file, once for all tests."""

    def convert(network: Network, file_format: Format, precision: Precision) -> bytes:
        grids = calibration[:4] if precision == "int8" else ()
        to: Any = {"tflite": to_tflite, "onnx": to_onnx}[file_format]
        name = re.sub(r"\W+", "-", f"{network}, {precision}") + f".{file_format}"
        file = once(
            name, lambda path: path.write_bytes(to(untrained(network), spec, precision, grids))
        )
        return file.read_bytes()

    return convert


class _Igamma(keras.layers.Layer):
    def call(self, x: Any) -> Any:
        import tensorflow as tf

        return tf.math.igamma(tf.ones_like(x), x)


@pytest.fixture(scope="session")
def with_igamma() -> Any:
    """A network that cannot be exported: neither format has the operator of its layer."""
    layers = keras.layers
    pixels = keras.Input((64, 64, 3))
    x = layers.Rescaling(1 / 128, offset=-1, name="normalise")(pixels)
    return keras.Model(pixels, layers.Conv2D(3, 1)(_Igamma(name="strange")(x)))


@pytest.fixture(scope="session")
def run_tflite() -> Callable[..., NDArray[np.float32]]:
    """Runs a .tflite file's bytes on pictures; a quantised output is dequantised."""

    def run(data: bytes, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        interpreter = Interpreter(model_content=data)
        interpreter.allocate_tensors()
        (source,) = interpreter.get_input_details()
        (target,) = interpreter.get_output_details()
        logits = []
        for picture in pictures:
            interpreter.set_tensor(source["index"], picture[np.newaxis])
            interpreter.invoke()
            logits.append(interpreter.get_tensor(target["index"])[0])
        if target["dtype"] == np.float32:
            return np.stack(logits)
        scale, zero_point = target["quantization"]
        return (np.stack(logits).astype(np.float32) - zero_point) * np.float32(scale)

    return run


@pytest.fixture(scope="session")
def run_onnx() -> Callable[..., NDArray[np.float32]]:
    """Runs an .onnx file's bytes on pictures."""

    def run(data: bytes, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
        outputs = [session.run(["logits"], {"pixels": picture[None]})[0] for picture in pictures]
        return np.concatenate(outputs)

    return run


@pytest.fixture(scope="session")
def assert_int8_close() -> Callable[[NDArray[np.float32], NDArray[np.float32]], None]:
    """Asserts that int8 logits differ by no more than the noise of rounding to 8 bits.

    Noise: the largest weight of a Gaussian kernel is about 3.5 deviations. So its step is 3.5 / 127
    of a deviation, and the noise of rounding step / sqrt(12), 0.8 %. For ReLU6 activations of rms 1
    the noise is 6 / 255 / sqrt(12), 0.7 %. Thirty layers have sqrt(30) * sqrt(0.8² + 0.7²) % = 6 %;
    the limit is 10 %. One scale for a full depthwise layer gives more than 50 %.

    Labels: noise of 10 % on two scores changes their difference by sqrt(2) * 10 %. If the
    difference is above three such deviations, 99.7 % of the labels stay.
    """

    def check(logits: NDArray[np.float32], reference: NDArray[np.float32]) -> None:
        rms = np.sqrt((reference**2).mean())
        assert np.sqrt(((logits - reference) ** 2).mean()) <= 0.1 * rms
        best = np.sort(reference, axis=-1)
        sure = best[..., -1] - best[..., -2] > 3 * np.sqrt(2) * 0.1 * rms
        assert sure.mean() > 0.8
        same = logits.argmax(-1) == reference.argmax(-1)
        assert same[sure].mean() >= 0.997

    return check
