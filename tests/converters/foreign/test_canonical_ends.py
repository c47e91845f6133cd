"""The end of a canonical model, its size, precision and names, and what is refused."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers, ops

from converters.foreign.canonical import canonicalise
from converters.foreign.description import describe
from converters.foreign.input_scaling import InputScaling
from converters.layers import convolutions, outputs, readers
from unet_edge.errors import ConfigError, ConversionError

SIZE = (16, 24)
UNIT = InputScaling.named("0..1")
PIXELS = np.random.default_rng(5).integers(0, 256, (2, *SIZE, 3), dtype=np.uint8)

# See test_canonical.py.
ROUNDING = 2.0**-16


def foreign(*parts, shape=(*SIZE, 3), name="foreign"):
    pixels = keras.Input(shape)
    x = pixels
    for part in parts:
        x = part(x)
    model = keras.Model(pixels, x, name=name)
    random = np.random.default_rng(0)
    for weight in model.weights:
        values = random.normal(size=weight.shape, scale=0.4)
        weight.assign(np.abs(values) + 0.1 if "variance" in weight.path else values)
    return model


def canonical(model, classes, size=SIZE, output=None):
    return canonicalise(model, UNIT, size=size, classes=classes, output=output)


def conv(channels, kernel=3, **options):
    return layers.Conv2D(channels, kernel, **{"padding": "same", **options})


def close(found, right):
    found, right = np.asarray(found), np.asarray(right)
    assert found.shape == right.shape
    assert np.abs(found - right).max() <= ROUNDING * np.abs(right).max()


def given(model):
    return np.asarray(model((PIXELS / 255).astype(np.float32)))


def test_class_1_of_one_sigmoid_is_where_it_is_above_a_half():
    model = foreign(conv(4), conv(1, activation="sigmoid"))
    logits = np.asarray(canonical(model, 2).model(PIXELS))
    mask = given(model)[..., 0] > 0.5
    assert 0 < mask.mean() < 1
    np.testing.assert_array_equal(logits.argmax(-1) == 1, mask)
    assert not logits[..., 0].any()


@pytest.mark.parametrize(
    "behind",
    [
        [layers.MaxPooling2D(2), layers.UpSampling2D(2, interpolation="bilinear")],
        [layers.AveragePooling2D(2), layers.Resizing(*SIZE)],
        [layers.ZeroPadding2D(2), layers.Cropping2D(2)],
        [layers.Dropout(0.5)],
        [layers.Activation("linear", dtype="float32")],
        [lambda x: ops.cast(x, "float32")],
    ],
)
@pytest.mark.parametrize("activation", ["sigmoid", "hard_sigmoid"])
def test_probabilities_that_are_resized_are_class_1_above_a_half(activation, behind):
    model = foreign(conv(4), conv(1, activation=activation), *behind)
    found, probabilities = canonical(model, 2), given(model)[..., 0]
    mask = probabilities > 0.5
    assert 0 < mask.mean() < 1
    clear = np.abs(probabilities - 0.5) > ROUNDING
    labels = np.asarray(found.model(PIXELS)).argmax(-1)
    np.testing.assert_array_equal(labels[clear] == 1, mask[clear])
    assert any("class 1 is where the sigmoid is above 0.5" in each.what for each in found.rewrites)


def test_resized_sigmoids_have_a_background_where_none_is_above_a_half():
    centred, scores = layers.Rescaling(2.0, -1.0), conv(2, strides=2, activation="sigmoid")
    model = foreign(centred, scores, layers.UpSampling2D(2))
    probabilities = given(model)
    expected = np.where(probabilities.max(-1) > 0.5, probabilities.argmax(-1) + 1, 0)
    assert set(np.unique(expected)) == {0, 1, 2}
    found = np.asarray(canonical(model, 3).model(PIXELS)).argmax(-1)
    first, second = np.moveaxis(probabilities, -1, 0)
    ties = np.abs([first - 0.5, second - 0.5, first - second]).min(0) <= ROUNDING
    np.testing.assert_array_equal(found[~ties], expected[~ties])


@pytest.mark.parametrize("behind", [lambda x: 2 * x, lambda x: x + ops.sigmoid(x)])
def test_a_sigmoid_that_is_changed_has_no_threshold(behind):
    model = foreign(conv(1, activation="sigmoid"), behind)
    with pytest.raises(ConversionError, match=r"a sigmoid that the layer .* changes"):
        canonical(model, 2)
    logits = foreign(conv(4, activation="sigmoid"), conv(1), lambda x: 2 * x)
    assert canonical(logits, 2).model.output_shape[-1] == 2


@pytest.mark.parametrize(
    "behind", [layers.Dropout(0.5), layers.Activation("linear"), layers.SpatialDropout2D(0.5)]
)
def test_a_softmax_is_the_last_activation_in_front_of_layers_that_do_nothing(behind):
    model = foreign(conv(3, activation="softmax"), behind)
    assert describe(model).last_activation == "softmax"
    logits = np.asarray(canonical(model, 3).model(PIXELS))
    np.testing.assert_array_equal(logits.argmax(-1), given(model).argmax(-1))


def test_a_sigmoid_of_exactly_a_half_is_class_0():
    model = foreign(conv(1, activation="sigmoid"))
    model.set_weights([np.zeros_like(weight) for weight in model.get_weights()])
    logits = np.asarray(canonical(model, 2).model(PIXELS))
    assert (given(model) == 0.5).all()
    assert not logits.argmax(-1).any()


@pytest.mark.parametrize(
    "end",
    [
        [conv(4), layers.Conv2DTranspose(1, 3, padding="same"), ops.sigmoid],
        [conv(1), layers.ReLU(), layers.Activation("sigmoid")],
        [conv(1), layers.MaxPooling2D(2), layers.UpSampling2D(2), layers.Activation("sigmoid")],
    ],
    ids=["transposed", "not a convolution", "resized"],
)
def test_one_channel_of_any_last_layer_becomes_two(end):
    model = foreign(*end)
    logits = np.asarray(canonical(model, 2).model(PIXELS))
    assert not logits[..., 0].any()
    close(1 / (1 + np.exp(-logits[..., 1:])), given(model))


def test_sigmoids_of_several_channels_are_judged_by_the_largest():
    model = foreign(conv(3, activation="sigmoid"))
    result = canonical(model, 3)
    np.testing.assert_array_equal(
        np.asarray(result.model(PIXELS)).argmax(-1), given(model).argmax(-1)
    )
    assert any("none or several are above 0.5" in each.what for each in result.rewrites)


def test_sigmoids_with_one_more_class_have_a_background():
    model = foreign(conv(2, activation="sigmoid"))
    labels = np.asarray(canonical(model, 3).model(PIXELS)).argmax(-1)
    scores = given(model)
    background = (scores <= 0.5).all(-1)
    assert 0 < background.mean() < 1
    np.testing.assert_array_equal(labels, np.where(background, 0, 1 + scores.argmax(-1)))


def test_softmax_over_rows_of_pixels_becomes_logits_of_the_pictures_size():
    model = foreign(
        conv(3, strides=2, name="scores"), layers.Reshape((-1, 3)), layers.Activation("softmax")
    )
    scores = keras.Model(model.input, model.get_layer("scores").output)
    result = canonical(model, 3)
    assert result.model.input_shape == (None, None, None, 3)
    close(result.model(PIXELS), layers.UpSampling2D(2, interpolation="bilinear")(given(scores)))
    assert any("1/2 of the resolution" in each.what for each in result.rewrites)
    assert describe(model).channels == 3
    assert describe(model).last_activation == "softmax"


@pytest.mark.parametrize("policy", ["float16", "bfloat16", "mixed_bfloat16"])
def test_half_precision_becomes_float32_with_the_same_weights(policy):
    def part(x):
        x = conv(4, dtype=policy, name="first")(x)
        return conv(2, 1, dtype=policy, name="last")(layers.BatchNormalization(dtype=policy)(x))

    model = foreign(part)
    result = canonical(model, 2)
    assert {layer.compute_dtype for layer in result.model.layers} == {"float32"}
    for name in ("first", "last"):
        old, new = (each.get_layer(name).get_weights() for each in (model, result.model))
        for before, after in zip(old, new, strict=True):
            np.testing.assert_array_equal(after, before.astype(np.float32))
    assert any("compute in float32" in each.what for each in result.rewrites)


def test_names_do_not_depend_on_what_the_process_built_before():
    def build():
        return foreign(conv(4, activation="relu"), conv(2), lambda x: x + 1.0)

    first, second = canonical(build(), 2).model, canonical(build(), 2).model
    names = [layer.name for layer in first.layers]
    assert names == ["pixels", "normalise", "conv2d", "conv2d_relu", "conv2d_1", "add"]
    assert first.to_json() == second.to_json()


def test_names_become_plain_and_unique():
    inner = keras.Sequential([conv(4, name="block-1.conv")], name="a")
    model = foreign(inner, conv(4, name="block-1-conv"), conv(2, name="normalise"))
    names = [layer.name for layer in canonical(model, 2).model.layers]
    assert names == ["pixels", "normalise", "block_1_conv", "block_1_conv_2", "normalise_2"]


def test_a_layer_that_is_used_twice_becomes_two_with_the_same_weights():
    shared = conv(3, name="shared")
    model = foreign(shared, shared, conv(2, name="last"))
    result = canonical(model, 2)
    first, second = (result.model.get_layer(name) for name in ("shared", "shared_2"))
    np.testing.assert_array_equal(first.kernel[:, :, 0], second.kernel[:, :, 0])
    close(result.model(PIXELS), given(model))
    assert any("copies: shared" in each.what for each in result.rewrites)


def test_a_reshape_that_holds_a_size_names_the_models_own():
    model = foreign(conv(4, strides=2), layers.Reshape((*SIZE, 1)), conv(2))
    with pytest.raises(ConfigError, match="choose --size 16x24"):
        canonical(model, 2, size=(32, 48))


def test_a_size_that_no_device_has_the_memory_for_is_refused_before_it_is_computed():
    free = foreign(conv(8), conv(2), shape=(None, None, 3))
    with pytest.raises(ConfigError, match="648,000,000 values for a picture of 9000x9000 px"):
        canonical(free, 2, size=(9000, 9000))
    pixels = keras.Input((2**15, 2**15, 3))  # as a file of a kilobyte can say
    own = keras.Model(pixels, conv(2)(pixels))
    with pytest.raises(ConfigError, match="save the model with a smaller input"):
        canonical(own, 2, size=(2**15, 2**15))


class Own(layers.Layer):
    def call(self, x):
        return 2 * x


def test_a_batchnorm_behind_a_resizing_stays_in_inference(tmp_path):
    model = foreign(
        conv(4, strides=2), layers.Resizing(*SIZE), layers.BatchNormalization(), conv(2)
    )
    right = model((PIXELS / 255).astype(np.float32), training=False)
    result = canonical(model, 2).model
    result.save(tmp_path / "canonical.keras")
    read = keras.models.load_model(tmp_path / "canonical.keras")
    for _ in range(2):  # a call in training would also change the moving averages
        close(read(PIXELS), right)
        close(result(PIXELS), right)
    before = read.get_weights()
    read(PIXELS, training=True)
    assert any(not np.array_equal(*pair) for pair in zip(before, read.get_weights(), strict=True))


def test_the_converters_walk_over_a_canonical_model():
    model = foreign(conv(4, name="a"), layers.ReLU(), conv(2, name="b"))
    result = canonical(model, 2).model
    assert [layer.name for layer in convolutions(result)] == ["a", "b"]
    assert [layer.name for layer in readers(result)(result.get_layer("a"))] == ["re_lu"]
    *_, (last, values) = outputs(result, PIXELS.astype(np.float32))
    assert last.name == "b"
    np.testing.assert_array_equal(values, result(PIXELS))


def test_a_graph_without_sizes_takes_any_and_others_their_own():
    free = canonical(foreign(conv(2, strides=2), layers.UpSampling2D(2)), 2).model
    assert free.input_shape == (None, None, None, 3)
    pooled = foreign(layers.AveragePooling2D(SIZE), layers.UpSampling2D(SIZE), conv(2, name="last"))
    assert canonical(pooled, 2).model.input_shape == (None, *SIZE, 3)
    with pytest.raises(ConfigError, match="16x24"):
        canonical(pooled, 2, size=(32, 48))


def test_a_size_that_does_not_fit_names_one_that_does():
    def skip(x):
        y = conv(2, strides=2)(conv(2, strides=2)(x))
        return layers.Concatenate()([layers.UpSampling2D(4)(y), x])

    model = foreign(skip, conv(2), shape=(None, None, 3))
    with pytest.raises(ConfigError, match=r"multiples of 4; choose --size 20x24"):
        canonical(model, 2, size=(18, 24))


def two_inputs():
    a, b = keras.Input((*SIZE, 3)), keras.Input((*SIZE, 3))
    return keras.Model([a, b], conv(2)(layers.Add()([a, b])))


def two_outputs():
    pixels = keras.Input((*SIZE, 3))
    return keras.Model(pixels, [conv(2, name="mask")(pixels), conv(4, name="boxes")(pixels)])


class Graphless(keras.Model):
    def __init__(self):
        super().__init__(name="graphless")
        self.conv = conv(2)

    def call(self, x):
        return self.conv(x)


REFUSED = {
    "classifier": (
        lambda: foreign(layers.GlobalAveragePooling2D(), layers.Dense(5)),
        "a classifier",
    ),
    "labels": (lambda: foreign(conv(2), lambda x: ops.argmax(x, axis=-1)), "labels instead"),
    "rows": (lambda: foreign(layers.Reshape((-1, 6)), layers.Dense(2)), "without height and"),
    "two inputs": (two_inputs, "2 inputs"),
    "two outputs": (two_outputs, "mask, boxes; .*--output-name mask"),
    "grey": (lambda: foreign(conv(2), shape=(*SIZE, 1)), "1 channel"),
    "four channels": (lambda: foreign(conv(2), shape=(*SIZE, 4)), "4 channels"),
    "channels first": (lambda: foreign(layers.ReLU(), shape=(3, *SIZE)), "channels first"),
    "sequence": (lambda: foreign(layers.LSTM(2), shape=(8, 3)), "expected a picture"),
    "no graph": (Graphless, "without a graph"),
    "own layer": (lambda: foreign(Own(), conv(2)), "Own of .* has no counterpart"),
    "no input": (lambda: keras.Sequential([conv(2)]), "without the shape of its input"),
    "valid padding": (lambda: foreign(conv(2, padding="valid")), "14x22 px"),
    "layer norm": (lambda: foreign(conv(2), layers.LayerNormalization()), "LayerNormalization"),
    "softmax inside": (lambda: foreign(conv(2, activation="softmax"), conv(2)), "is a softmax"),
    "activation": (lambda: foreign(conv(2, activation="log_softmax")), "log_softmax"),
    "relu of 1": (lambda: foreign(conv(2), layers.ReLU(1.0)), "cuts at"),
    "bicubic": (
        lambda: foreign(conv(2), layers.UpSampling2D(2, interpolation="bicubic")),
        "bilinear",
    ),
    "power": (lambda: foreign(conv(2), lambda x: x**3.0), "Power"),
    "nothing": (lambda: foreign(layers.Dropout(0.5)), "gives its own input back"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_a_device_cannot_run_is_refused_with_its_reason(kind):
    make, reason = REFUSED[kind]
    with pytest.raises(ConversionError, match=reason):
        canonical(make(), 3 if kind == "nothing" else 2)


@pytest.mark.parametrize(("channels", "classes"), [(3, 2), (3, 4), (1, 3)])
def test_a_wrong_number_of_classes_is_refused(channels, classes):
    activation = "softmax" if channels > 1 else "sigmoid"
    expected = max(channels, 2)
    with pytest.raises(ConfigError, match=f"expected {expected}"):
        canonical(foreign(conv(channels, activation=activation)), classes)


@pytest.mark.parametrize("activation", [None, "softmax"])  # a softmax is a rewrite, compared first
def test_a_model_that_diverged_in_training_is_refused(activation):
    model = foreign(conv(2, activation=activation))
    model.set_weights([np.full_like(weight, np.nan) for weight in model.get_weights()])
    with pytest.raises(ConversionError, match="not numbers"):
        canonical(model, 2)


def test_an_output_can_be_an_output_or_a_layer():
    model = two_outputs()
    assert canonical(model, 4, output="boxes").model.output_shape[-1] == 4
    inner = foreign(conv(3, name="scores"), conv(5, name="more"))
    assert [layer.name for layer in canonical(inner, 3, output="scores").model.layers] == [
        "pixels",
        "normalise",
        "scores",
    ]
    assert describe(inner, "scores").output == "scores"
    with pytest.raises(ConversionError, match="no layer named 'none'"):
        describe(inner, "none")


def test_a_description_counts_layers_of_nested_models():
    inner = keras.Sequential([conv(4), layers.BatchNormalization()])
    model = foreign(inner, conv(2, 1, activation="softmax", name="scores"))
    found = describe(model)
    assert (found.layers, found.parameters) == (3, 3 * 9 * 4 + 4 + 16 + 4 * 2 + 2)
    assert found.lines()[-2:] == [
        "last activation: softmax",
        "layers: 3, parameters: 138, float32",
    ]
    assert found.as_dict()["outputs"] == [
        {"name": "scores", "shape": [None, *SIZE, 2], "dtype": "float32"}
    ]


@pytest.mark.parametrize("scale", [0.0, [1.0, 1.0, 0.0]])
def test_a_scaling_that_loses_a_channel_is_refused(scale):
    with pytest.raises(ConversionError, match="by 0, or by no finite number"):
        canonical(foreign(layers.Rescaling(scale), conv(2)), 2)


def test_borders_that_are_cut_off_are_no_lower_resolution():
    # 24 px less 16 are 8, a third of 24: no stride of 2 gives that.
    cut = foreign(conv(4, 17, padding="valid"), conv(2), shape=(24, 24, 3))
    with pytest.raises(ConversionError, match="has to be trained with padding 'same'"):
        canonical(cut, 2, size=(24, 24))


def test_borders_that_cut_off_just_a_half_are_no_lower_resolution():
    cut = foreign(conv(4, 13, padding="valid"), conv(2), shape=(24, 24, 3))
    assert cut.output_shape == (None, 12, 12, 2)
    with pytest.raises(ConversionError, match="has to be trained with padding 'same'"):
        canonical(cut, 2, size=(24, 24))


def test_a_lower_resolution_comes_from_strides_of_every_kind():
    down = (conv(4, strides=2), layers.MaxPooling2D(2), layers.DepthwiseConv2D(3, 2, "same"))
    up = (layers.Conv2DTranspose(4, 3, 2, "same"), layers.UpSampling2D((2, 2)), layers.Dropout(0.1))
    found = canonical(foreign(*down, *up, conv(2), shape=(32, 32, 3)), 2, size=(32, 32))
    assert found.model(np.zeros((1, 32, 32, 3))).shape == (1, 32, 32, 2)
    assert any("1/2 of the resolution" in each.what for each in found.rewrites)


def test_statistics_of_the_input_in_a_half_precision_model_are_folded():
    policy = keras.mixed_precision.DTypePolicy("mixed_float16")
    normal = layers.Normalization(
        mean=[0.25, 0.5, 0.75], variance=[0.0625, 0.25, 1.0], dtype=policy
    )
    model = foreign(normal, conv(4, dtype=policy), conv(2, dtype=policy))
    single = foreign(layers.Normalization(mean=[0.25, 0.5, 0.75], variance=[0.0625, 0.25, 1.0]),
                     conv(4), conv(2))  # fmt: skip
    close(canonical(model, 2).model(PIXELS.astype(np.float32)), given(single))


def test_a_side_that_is_fixed_is_named():
    half = foreign(conv(4), conv(2), shape=(None, 64, 3))
    with pytest.raises(ConfigError, match=r"takes pictures of anyx64 px.*--size 32x64"):
        canonical(half, 2, size=(32, 32))
    assert canonical(half, 2, size=(32, 64)).model is not None


def test_constants_along_a_side_are_not_those_of_channels():
    pixels = keras.Input((16, 32, 3))
    x = conv(32)(pixels)
    scaled = x * ops.convert_to_tensor(np.arange(1, 33, dtype=np.float32).reshape(1, 32, 1))
    model = keras.Model(pixels, conv(2)(scaled))
    with pytest.raises(ConversionError, match="not one number for each channel"):
        canonical(model, 2, size=(16, 32))
