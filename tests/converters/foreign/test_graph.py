"""Building a model from a configuration: what Keras 2.2 wrote, and graphs that are malformed."""

import copy

import numpy as np
import pytest

from converters.foreign.graph import build_model
from converters.foreign.h5_weights import StoredWeight, assign
from converters.foreign.refusal import Refusal


def layer(kind, name, inputs, **config):
    """One layer as Keras 2.2 wrote it."""
    nodes = [[[source, 0, 0, {}] for source in inputs]] if inputs else []
    config = {"name": name, "trainable": True, **config}
    return {"class_name": kind, "name": name, "config": config, "inbound_nodes": nodes}


def conv(name, inputs, filters, **config):
    scaling = {"scale": 1.0, "mode": "fan_avg", "distribution": "uniform", "seed": None}
    return layer(
        "Conv2D",
        name,
        inputs,
        filters=filters,
        kernel_size=[1, 1],
        strides=[1, 1],
        padding="valid",
        data_format="channels_last",
        dilation_rate=[1, 1],
        activation="linear",
        use_bias=True,
        kernel_initializer={"class_name": "VarianceScaling", "config": scaling},
        bias_initializer={"class_name": "Zeros", "config": {}},
        **config,
    )


def keras_2_2():
    """A functional model around a nested Sequential, whose configuration was a plain list."""
    inner = conv("conv2d_2", [], 2, batch_input_shape=[None, 4, 4, 2])
    nested = {
        "class_name": "Sequential",
        "name": "sequential_1",
        "config": [{key: inner[key] for key in ("class_name", "config")}],
        "inbound_nodes": [[["relu", 0, 0, {}]], [["again", 0, 0, {}]]],
    }
    return {
        "class_name": "Model",
        "config": {
            "name": "model_1",
            "layers": [
                layer(
                    "InputLayer",
                    "input_1",
                    [],
                    batch_input_shape=[None, 4, 4, 3],
                    dtype="float32",
                    sparse=False,
                ),
                conv("stem/conv", ["input_1"], 2),
                layer("Activation", "relu", ["stem/conv"], activation="relu6"),
                nested,
                layer("LeakyReLU", "again", [], alpha={"type": "ndarray", "value": 0.5})
                | {"inbound_nodes": [[["sequential_1", 1, 0, {}]]]},
                layer("Add", "add_1", [])
                | {"inbound_nodes": [[["sequential_1", 2, 0, {}], ["relu", 0, 0, {}]]]},
            ],
            "input_layers": [["input_1", 0, 0]],
            "output_layers": [["add_1", 0, 0]],
        },
    }


def test_a_model_of_keras_2_2_computes_what_its_configuration_says():
    random = np.random.default_rng(0)
    stem, inner = random.normal(size=(3, 2)), random.normal(size=(2, 2))
    bias = np.array([1.0, -1.0])
    model = build_model(keras_2_2(), 20, keras_2=True)
    stored = {
        # TensorFlow 1 numbered a scope that a program entered twice: conv2d_2_1.
        "stem_conv": [
            StoredWeight("conv", "kernel", stem[None, None]),
            StoredWeight("conv", "bias", bias),
        ],
        "sequential_1": [
            StoredWeight("conv2d_2_1", "kernel", inner[None, None]),
            StoredWeight("conv2d_2_1", "bias", bias),
        ],
    }
    assign(model, stored)
    pixels = random.normal(size=(1, 4, 4, 3))
    x = np.clip(pixels @ stem + bias, 0, 6)
    once = x @ inner + bias
    once = np.where(once > 0, once, 0.5 * once)
    expected = once @ inner + bias + x
    (found,) = model.predict(pixels, verbose=0)
    np.testing.assert_allclose(found, expected[0], atol=1e-5)  # values up to 10 in float32


def edited(edit):
    config = copy.deepcopy(keras_2_2())
    edit(config["config"]["layers"], config["config"])
    return config


def hard_sigmoid(layers, _):
    layers[2]["config"]["activation"] = "hard_sigmoid"


def unknown_input(layers, _):
    layers[1]["inbound_nodes"] = [[["nowhere", 0, 0, {}]]]


def circle(layers, _):
    layers[1]["inbound_nodes"] = [[["relu", 0, 0, {}]]]


def as_in_training(layers, _):
    layers[2]["inbound_nodes"] = [[["stem/conv", 0, 0, {"training": True}]]]


def two_of_a_name(layers, _):
    layers.append(layers[1])


def no_such_output(_, config):
    config["output_layers"] = [["add_1", 7, 0]]


def tensorflow_function(layers, _):
    layers[2].update(
        class_name="TFOpLambda",
        config={"name": "relu", "function": "io.read_file"},
        inbound_nodes=[["stem/conv", 0, 0, {}]],
    )


def first_version_of_resize(layers, _):
    # It puts pixels at corners: 0.8 off for values of about 1 where tf.image.resize doubles a size.
    layers[2].update(
        class_name="TFOpLambda",
        config={"name": "relu", "function": "compat.v1.image.resize"},
        inbound_nodes=[["stem/conv", 0, 0, {"size": [8, 8]}]],
    )


def resized(**arguments):
    def edit(layers, _):
        layers[2].update(
            class_name="TFOpLambda",
            config={"name": "relu", "function": "image.resize"},
            inbound_nodes=[["stem/conv", 0, 0, {"size": [4, 4], **arguments}]],
        )

    return edit


def test_a_resize_of_tensorflow_2_is_read_with_its_defaults_given():
    edit = resized(preserve_aspect_ratio=False, antialias=False, method="bilinear")
    assert build_model(edited(edit), 100, keras_2=True).output_shape == (None, 4, 4, 2)


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (hard_sigmoid, "hard_sigmoid of Keras 2, which Keras 3 computes differently"),
        (unknown_input, "refers to 'nowhere', which is not a layer"),
        (circle, "'stem_conv' waits for tensors"),
        (as_in_training, "'relu' is called as in training"),
        (two_of_a_name, "two layers have the name 'stem_conv'"),
        (no_such_output, "the model's end refers to call 7 of 'add_1'"),
        (tensorflow_function, "'relu' is tf.io.read_file"),
        (first_version_of_resize, "'relu' is tf.compat.v1.image.resize"),
        (resized(preserve_aspect_ratio=True), "resize with preserve_aspect_ratio"),
    ],
)
def test_a_graph_that_cannot_be_built_is_refused(edit, reason):
    with pytest.raises(Refusal) as caught:
        build_model(edited(edit), 100, keras_2=True)
    assert reason in caught.value.reason
