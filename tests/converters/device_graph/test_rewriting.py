"""A rewritten model computes the same scores, from fewer and faster operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from converters.device_graph.rewriting import for_device
from converters.onnx.conversion import to_onnx
from converters.tflite.check import operators, partitions
from converters.tflite.conversion import to_tflite
from unet_edge.spec import ModelSpec, Normalisation
from unet_edge.training.settings.network import Network

Body = Callable[[Any], Any]


def model(body: Body, size: tuple[int | None, int | None] = (12, 20)) -> keras.Model:
    """A model of a convolution, `body` and two scores, with random weights and statistics."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    pixels = keras.Input((*size, 3), name="pixels")
    x = layers.Rescaling(1 / 128, offset=-1, name="normalise")(pixels)
    x = body(layers.Conv2D(16, 3, padding="same", activation="relu", name="first")(x))
    made = keras.Model(pixels, layers.Conv2D(2, 1, name="logits")(x))
    for layer in made.layers:
        layer.set_weights(
            [
                array if array.ndim > 1 else rng.uniform(0.3, 1.5, array.shape)
                for array in layer.get_weights()
            ]
        )
    return made


def kinds(of: keras.Model) -> list[str]:
    """The classes of the layers between the first convolution and the scores."""
    names = [type(layer).__name__ for layer in of.layers]
    return names[3:-1]


def rewritten(original: keras.Model, *, size: tuple[int, int] = (12, 20)) -> keras.Model:
    """The model for .tflite files, after comparing all scores at `size`."""
    result = for_device(original, "tflite")
    pixels = np.random.default_rng(1).integers(0, 256, (2, *size, 3)).astype(np.float32)
    expected = np.asarray(original(pixels))
    # Sums of at most 9 * 32 products of values near 1: float32 rounds each to 2**-24 of itself.
    np.testing.assert_allclose(np.asarray(result(pixels)), expected, rtol=1e-4, atol=2e-5)
    return result


def conv(x: Any, channels: int = 8, size: int = 3, **settings: Any) -> Any:
    return layers.Conv2D(channels, size, padding=settings.pop("padding", "same"), **settings)(x)


def join_and_convolve(x: Any) -> Any:
    low = layers.BatchNormalization(name="behind")(layers.MaxPooling2D(2)(x))
    joined = layers.Concatenate()([layers.UpSampling2D(2)(low), x])
    joined = layers.ZeroPadding2D(1)(joined)
    return layers.ReLU()(layers.BatchNormalization()(conv(joined, padding="valid")))


PHASES = ["ZeroPadding2D", "Conv2D", "DepthToSpace", "Cropping2D"]

CASES: dict[str, tuple[Body, list[str]]] = {
    "padding": (
        lambda x: conv(layers.ZeroPadding2D(2)(x), padding="valid", dilation_rate=2),
        ["Conv2D"],
    ),
    "padding-of-a-stride": (
        lambda x: layers.UpSampling2D(2, interpolation="bilinear")(
            conv(layers.ZeroPadding2D(1)(x), padding="valid", strides=2)
        ),
        ["ZeroPadding2D", "Conv2D", "UpSampling2D"],
    ),
    "nearest": (
        lambda x: layers.ReLU()(conv(layers.UpSampling2D(2)(layers.MaxPooling2D(2)(x)))),
        ["MaxPooling2D", "ZeroPadding2D", "Conv2D", "ReLU", "DepthToSpace", "Cropping2D"],
    ),
    "nearest-by-4": (
        lambda x: conv(layers.UpSampling2D(4)(layers.MaxPooling2D(4)(x)), size=5),
        ["MaxPooling2D", *PHASES],
    ),
    "nearest-valid": (
        lambda x: conv(layers.UpSampling2D(2)(layers.MaxPooling2D(2)(x)), padding="valid"),
        ["MaxPooling2D", "Conv2D", "DepthToSpace"],
    ),
    "nearest-with-a-skip": (
        join_and_convolve,
        ["MaxPooling2D", "DepthwiseConv2D", *PHASES, "Conv2D", "Add", "ReLU"],
    ),
    "nearest-then-depthwise": (
        lambda x: layers.DepthwiseConv2D(3, padding="same")(
            layers.UpSampling2D((2, 4))(layers.MaxPooling2D((2, 4))(x))
        ),
        ["MaxPooling2D", "NearestResize", "DepthwiseConv2D"],
    ),
    "nearest-then-pointwise": (
        lambda x: layers.Add()(
            [
                layers.ReLU()(layers.UpSampling2D(2)(layers.MaxPooling2D(2)(x))),
                conv(layers.UpSampling2D(2)(layers.AveragePooling2D(2)(x)), 16, 1),
            ]
        ),
        # The upsampling comes last, behind the scores' convolution.
        ["MaxPooling2D", "AveragePooling2D", "ReLU", "Conv2D", "Add", "Conv2D"],
    ),
    "transposed-2": (
        lambda x: layers.ReLU()(layers.Conv2DTranspose(8, 2, strides=2)(layers.MaxPooling2D(2)(x))),
        ["MaxPooling2D", "Conv2D", "ReLU", "DepthToSpace"],
    ),
    "transposed-3": (
        lambda x: layers.BatchNormalization()(
            layers.Conv2DTranspose(8, 3, strides=2, padding="same", use_bias=False)(
                layers.MaxPooling2D(2)(x)
            )
        ),
        ["MaxPooling2D", "ZeroPadding2D", "Conv2D", "DepthToSpace"],
    ),
    "transposed-4": (
        lambda x: layers.Conv2DTranspose(8, 4, strides=2, padding="same")(
            layers.MaxPooling2D(2)(x)
        ),
        ["MaxPooling2D", *PHASES],
    ),
    "transposed-3-valid": (
        lambda x: layers.Conv2DTranspose(8, 3, strides=2)(layers.MaxPooling2D(2)(x)),
        ["MaxPooling2D", "ZeroPadding2D", "Conv2D", "DepthToSpace", "Cropping2D"],
    ),
    "transposed-by-1": (
        lambda x: layers.Conv2DTranspose(8, 3, padding="same")(x),
        ["Conv2D"],
    ),
    "transposed-wide": (
        lambda x: layers.BatchNormalization()(
            layers.Conv2DTranspose(8, 6, strides=2, padding="same")(layers.MaxPooling2D(2)(x))
        ),
        ["MaxPooling2D", "Conv2DTranspose"],
    ),
    "groups": (lambda x: conv(x, 8, groups=4), ["GroupedConv2D"]),
    # BatchNorm goes into convolutions that pad nothing: here two, one of them through a join.
    "folded": (
        lambda x: layers.Concatenate()(
            [
                conv(y := layers.BatchNormalization()(layers.MaxPooling2D(2)(x)), size=1),
                conv(layers.Concatenate()([layers.MaxPooling2D(2)(x), y]), size=1),
            ]
        ),
        ["MaxPooling2D", "MaxPooling2D", "Concatenate", "Conv2D", "Conv2D", "Concatenate"],
    ),
    "folded-into-depthwise": (
        lambda x: layers.DepthwiseConv2D(3, depth_multiplier=2)(
            layers.BatchNormalization()(layers.ReLU()(x))
        ),
        ["ReLU", "DepthwiseConv2D"],
    ),
    "not-folded-at-borders": (
        lambda x: conv(layers.BatchNormalization()(layers.ReLU()(x))),
        ["ReLU", "DepthwiseConv2D", "Conv2D"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_scores_stay_and_layers_become_these(case: str) -> None:
    body, expected = CASES[case]
    found = kinds(rewritten(model(body)))
    assert sorted(found) == sorted(expected)


def test_a_rewritten_model_takes_every_size_that_the_original_takes() -> None:
    original = model(join_and_convolve, (None, None))
    rewritten(original, size=(6, 10))
    rewritten(original, size=(2, 2))


def test_names_that_rules_give_may_be_those_of_the_model() -> None:
    def body(x: Any) -> Any:
        joined = join_and_convolve(x)
        # Both kinds of rules name new layers after those that they replace.
        taken = [f"{layer.name}_sum" for layer in keras.Model(x, joined).layers]
        for name in taken:
            joined = layers.ReLU(name=name)(conv(joined))
        return joined

    found = rewritten(model(body))
    names = [layer.name for layer in found.layers]
    assert len(set(names)) == len(names)


def test_models_of_ours_stay_as_they_are(untrained: Callable[..., Any]) -> None:
    for network in (
        Network(decoder="dense"),
        Network(encoder="mobilenet_v3_small"),
        Network(architecture="unet_mini"),
    ):
        ours = untrained(network)
        assert for_device(ours, "tflite") is ours
        assert for_device(ours, "onnx") is ours


def test_files_of_a_rewritten_model_have_one_partition_and_its_scores(
    run_tflite: Callable[..., Any], run_onnx: Callable[..., Any]
) -> None:
    def body(x: Any) -> Any:
        x = layers.Activation("gelu")(conv(join_and_convolve(x), groups=4))
        return layers.Conv2DTranspose(8, 2, strides=2)(layers.AveragePooling2D(2)(x))

    original = model(body)
    spec = ModelSpec(12, 20, ("background", "disc"), normalisation=Normalisation(128, 128))
    pictures = np.random.default_rng(2).integers(0, 256, (2, 12, 20, 3), np.uint8)
    expected = np.asarray(original(pictures.astype(np.float32)))
    data = to_tflite(for_device(original, "tflite"), spec, "float32")
    assert partitions(data) == 1
    assert not {"TILE", "EXPAND_DIMS", "SHAPE", "TRANSPOSE_CONV"} & set(operators(data))
    np.testing.assert_allclose(run_tflite(data, pictures), expected, rtol=1e-4, atol=5e-5)
    data = to_onnx(for_device(original, "onnx"), spec, "float32")
    np.testing.assert_allclose(run_onnx(data, pictures), expected, rtol=1e-4, atol=5e-5)
