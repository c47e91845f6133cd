"""Models of other training code as canonical models: scaling, colours, borders, classes, layers."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers, ops

from converters.foreign.canonical import canonicalise
from converters.foreign.input_scaling import INPUT_RANGES, InputScaling
from converters.tflite.conversion import to_tflite
from unet_edge.spec import ModelSpec

SIZE = (16, 24)
RANDOM = np.random.default_rng(5)
PIXELS = RANDOM.integers(0, 256, (2, *SIZE, 3), dtype=np.uint8)

# Both models round in float32, in another order: 2**-24 of the terms of each sum, whose values
# here are at most 2**8 times the result. A wrong order, mean or border is a thousand times more.
ROUNDING = 2.0**-16


def foreign(*parts, size=SIZE, seed=0):
    """A functional model of `parts`, functions of a tensor, with random weights."""
    pixels = keras.Input((*size, 3))
    x = pixels
    for part in parts:
        x = part(x)
    return randomised(keras.Model(pixels, x), seed)


def randomised(model, seed=0):
    random = np.random.default_rng(seed)
    for weight in model.weights:
        values = random.normal(size=weight.shape, scale=0.4)
        weight.assign(np.abs(values) + 0.1 if "variance" in weight.path else values)
    return model


def scaled(pixels, scaling):
    values = (pixels - np.array(scaling.mean)) / np.array(scaling.std)
    return (values if scaling.color_order == "rgb" else values[..., ::-1]).astype(np.float32)


def close(found, right):
    found, right = np.asarray(found), np.asarray(right)
    assert found.shape == right.shape
    assert np.abs(found - right).max() <= ROUNDING * np.abs(right).max()


def names(model):
    return [layer.name for layer in model.layers]


def plain(**first):
    convolution = layers.Conv2D(6, 3, name="first", **{"padding": "same", **first})
    return foreign(convolution, layers.ReLU(name="relu"), layers.Conv2D(3, 1, name="last"))


@pytest.fixture(scope="module")
def plain_model():
    return plain()


@pytest.mark.parametrize("order", ["rgb", "bgr"])
@pytest.mark.parametrize("name", INPUT_RANGES)
def test_each_range_and_colour_order_gives_the_models_own_logits(plain_model, name, order):
    scaling = InputScaling.named(name, order)
    canonical = canonicalise(plain_model, scaling, size=SIZE, classes=3)
    close(canonical.model(PIXELS), plain_model(scaled(PIXELS, scaling)))
    # With zero where a pixel has a value, borders stay right without a layer for the scaling.
    kept = name in ("-1..1", "caffe", "imagenet")
    middle = ["scale_input"] if kept else []
    assert names(canonical.model) == ["pixels", "normalise", *middle, "first", "relu", "last"]
    mean = {"0..1": (0, 255), "0..255": (0, 1)}.get(name, (128, 128))
    normalisation = canonical.normalisation
    assert (normalisation.mean, normalisation.std) == pytest.approx(mean)


@pytest.mark.parametrize("name", INPUT_RANGES)
def test_float32_tflite_of_each_range_gives_the_masks_of_the_foreign_model(
    plain_model, run_tflite, name
):
    scaling = InputScaling.named(name)
    canonical = canonicalise(plain_model, scaling, size=SIZE, classes=3)
    spec = ModelSpec(*SIZE, ("a", "b", "c"), normalisation=canonical.normalisation)
    given = run_tflite(to_tflite(canonical.model, spec, "float32"), PIXELS)
    mask = np.asarray(plain_model(scaled(PIXELS, scaling))).argmax(-1)
    # 768 pixels: 99.99 % of them is all of them.
    np.testing.assert_array_equal(given.argmax(-1), mask)


def test_an_offset_is_folded_where_nothing_is_padded():
    model = foreign(
        layers.Conv2D(4, 3, use_bias=False, name="first"),
        layers.Conv2DTranspose(2, 3, name="last"),
    )
    scaling = InputScaling.named("caffe")
    canonical = canonicalise(model, scaling, size=SIZE, classes=2)
    assert names(canonical.model) == ["pixels", "normalise", "first", "last"]
    close(canonical.model(PIXELS), model(scaled(PIXELS, scaling)))


def test_padding_in_a_layer_of_its_own_counts_as_a_border():
    model = foreign(layers.ZeroPadding2D(1), layers.Conv2D(2, 3, name="first"))
    for name, kept in (("imagenet", True), ("0..1", False)):
        scaling = InputScaling.named(name, "bgr")
        canonical = canonicalise(model, scaling, size=SIZE, classes=2)
        assert ("scale_input" in names(canonical.model)) is kept
        close(canonical.model(PIXELS), model(scaled(PIXELS, scaling)))


def test_a_std_for_each_channel_is_folded_if_the_mean_is_a_pixel_value(plain_model):
    scaling = InputScaling((128, 128, 128), (50, 60, 70), "bgr")
    canonical = canonicalise(plain_model, scaling, size=SIZE, classes=3)
    assert "scale_input" not in names(canonical.model)
    assert canonical.normalisation.mean == 128
    close(canonical.model(PIXELS), plain_model(scaled(PIXELS, scaling)))


def test_scalings_at_the_models_start_join_that_of_the_input():
    model = foreign(
        lambda x: (x / 255.0)[..., ::-1],
        layers.Normalization(mean=[0.4, 0.5, 0.6], variance=[0.04, 0.05, 0.06]),
        layers.Rescaling(2.0, offset=1.0),
        layers.Conv2D(2, 3, padding="same", name="first"),
    )
    canonical = canonicalise(model, InputScaling.named("0..255"), size=SIZE, classes=2)
    assert names(canonical.model) == ["pixels", "normalise", "scale_input", "first"]
    close(canonical.model(PIXELS), model(PIXELS.astype(np.float32)))


def test_preprocessing_of_keras_applications_inside_the_model_joins_the_inputs():
    # It takes the channels apart, stacks them as blue, green, red, and subtracts three means.
    model = foreign(
        keras.applications.resnet50.preprocess_input,
        layers.Conv2D(2, 3, padding="same", name="first"),
    )
    canonical = canonicalise(model, InputScaling.named("0..255"), size=SIZE, classes=2)
    assert names(canonical.model) == ["pixels", "normalise", "scale_input", "first"]
    caffe = canonicalise(
        foreign(layers.Conv2D(2, 3, padding="same", name="first")),
        InputScaling.named("caffe"),
        size=SIZE,
        classes=2,
    )
    close(canonical.model(PIXELS), model(PIXELS.astype(np.float32), training=False))
    close(canonical.model(PIXELS), caffe.model(PIXELS))


def test_a_rescaling_inside_the_model_can_be_the_contracts():
    model = foreign(layers.Rescaling(1 / 255), layers.Conv2D(2, 3, padding="same", name="first"))
    canonical = canonicalise(model, InputScaling.named("0..255"), size=SIZE, classes=2)
    assert names(canonical.model) == ["pixels", "normalise", "first"]
    assert (canonical.normalisation.mean, canonical.normalisation.std) == pytest.approx((0, 255))


def squeeze_and_excite(x):
    gate = layers.GlobalAveragePooling2D()(x)
    gate = layers.Dense(4, activation="sigmoid")(layers.Reshape((1, 1, 4))(gate))
    return layers.Multiply()([x, gate])


def vector_gate(x):
    gate = ops.hard_sigmoid(ops.mean(x, axis=(1, 2)))
    return x * gate[:, None, None, :]


def joined(kind):
    return lambda x: kind()([layers.Conv2D(4, 1)(x), x])


def again(x):
    return layers.UpSampling2D(2, interpolation="nearest")(x)


# Each on a map of 4 channels, at half of the resolution.
PARTS = {
    "depthwise": lambda x: layers.DepthwiseConv2D(3, padding="same", activation="relu6")(x),
    "separable": lambda x: layers.SeparableConv2D(
        4, 3, padding="same", depth_multiplier=2, activation="relu"
    )(x),
    "dilated": layers.Conv2D(4, 3, padding="same", dilation_rate=2),
    "grouped": lambda x: layers.Conv2D(4, 3, padding="same", groups=2, activation="tanh")(x),
    "dense": lambda x: layers.Dense(4, activation="swish")(x),
    "transposed": lambda x: layers.MaxPooling2D(2)(
        layers.Conv2DTranspose(4, 3, strides=2, padding="same", activation="elu")(x)
    ),
    "batch norm": lambda x: layers.BatchNormalization()(x),
    "leaky": lambda x: layers.LeakyReLU(0.1)(x),
    "prelu": lambda x: layers.PReLU(shared_axes=[1, 2])(x),
    "hard swish": lambda x: layers.Activation("hard_swish")(x),
    "gelu": lambda x: keras.activations.gelu(x),
    "add": joined(layers.Add),
    "subtract": joined(layers.Subtract),
    "multiply": joined(layers.Multiply),
    "average": joined(layers.Average),
    "maximum": joined(layers.Maximum),
    "minimum": joined(layers.Minimum),
    "concatenate": joined(layers.Concatenate),
    "max pool": lambda x: again(layers.MaxPooling2D(2, padding="same")(x)),
    "average pool": lambda x: again(layers.AveragePooling2D(3, strides=2, padding="same")(x)),
    "upsampling": lambda x: layers.UpSampling2D(2, interpolation="bilinear")(
        layers.MaxPooling2D(2)(x)
    ),
    "resizing": lambda x: layers.Resizing(8, 12)(layers.MaxPooling2D(2)(x)),
    "cropping": lambda x: layers.Cropping2D(((1, 0), (0, 2)))(
        layers.ZeroPadding2D(((0, 1), (2, 0)))(x)
    ),
    "squeeze and excite": squeeze_and_excite,
    "vector gate": vector_gate,
    "constants": lambda x: 1.5 - x * np.array([1, 2, 3, 4], np.float32) / 2,
    "operations": lambda x: ops.pad(
        ops.concatenate([ops.relu(x), ops.silu(x)[:, 1:, :-1]][:1], axis=-1)[:, 1:],
        ((0, 0), (1, 0), (0, 0), (0, 0)),
    ),
    "image.resize": lambda x: ops.image.resize(ops.max_pool(x, 2), (8, 12)),
    "dropout": lambda x: layers.GaussianNoise(1.0)(layers.Dropout(0.5)(x)),
    "sequential": lambda x: keras.Sequential(
        [layers.Conv2D(4, 3, padding="same"), layers.BatchNormalization(), layers.ReLU()]
    )(x),
    "layer as activation": lambda x: layers.Conv2D(4, 1, activation=layers.LeakyReLU(0.3))(x),
}


@pytest.fixture(scope="module")
def zoo():
    """One model with every part as an output, and what each gives."""
    pixels = keras.Input((*SIZE, 3))
    half = layers.Conv2D(4, 3, strides=2, padding="same", name="half")(pixels)
    heads = [
        layers.Conv2D(2, 1, name=f"head_{number}")(part(half))
        for number, part in enumerate(PARTS.values())
    ]
    model = randomised(keras.Model(pixels, heads))
    return model, model(scaled(PIXELS, InputScaling.named("0..1")), training=False)


@pytest.mark.parametrize("part", PARTS)
def test_each_layer_of_the_vocabulary_computes_the_same(zoo, part):
    model, given = zoo
    number = list(PARTS).index(part)
    scaling = InputScaling.named("0..1")
    canonical = canonicalise(model, scaling, size=SIZE, classes=2, output=f"head_{number}")
    right = layers.UpSampling2D(2, interpolation="bilinear")(given[number])
    close(canonical.model(PIXELS), right)
    last = canonical.rewrites[-1]
    assert last.what == "the complete model, in float32"
    assert last.largest_difference <= ROUNDING * np.abs(right).max()
    for layer in canonical.model.layers:
        assert getattr(layer, "activation", keras.activations.linear) is (
            keras.activations.linear
        ) or isinstance(layer, layers.Activation)
