"""Reading foreign models: the model that is read computes what the saved one computed."""

from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers, ops

from converters.foreign.reading import read_foreign
from unet_edge.errors import ModelFileError

DATA = Path(__file__).parents[2] / "data" / "foreign"
# The same layers of the same Keras compute on the same weights, so outputs are equal but for the
# order of float32 sums, which threads may change: 1e-6 of outputs of at most 1 is 8 roundings.
TOLERANCE = 1e-6


def randomise(model):
    """Give every weight a value that an untrained layer does not have."""
    random = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(weight + random.uniform(0.02, 0.2, weight.shape))


def every_construct():
    """A model of nested and shared models, operations, constants, two outputs, dropout."""
    inside = keras.Input((16, 16, 4))
    x = layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same")(inside))
    encoder = keras.Model(inside, [x, layers.ReLU()(x)], name="encoder")
    twice = keras.Sequential([layers.Conv2D(4, 3, padding="same"), layers.LeakyReLU(0.1)])
    pixels = keras.Input((32, 32, 3))
    x = layers.RandomFlip()(pixels)
    x = layers.Rescaling(1 / 127.5, -1.0)(x)
    x = layers.Conv2D(4, 3, 2, padding="same", kernel_regularizer="l2")(x)
    x = layers.Conv2D(4, 1, activation=layers.LeakyReLU(0.3), dtype="mixed_bfloat16")(x)
    first, _ = encoder(x)
    second, third = encoder(first)
    x = twice(first * 2.0 + second - ops.sigmoid(third))
    x = layers.Add()([x, twice(x)])
    x = layers.SeparableConv2D(4, 3, padding="same", activation="relu")(x)
    x = layers.PReLU(shared_axes=[1, 2])(layers.DepthwiseConv2D(3, padding="same")(x))
    x = x[:, :, ::1, :] * ops.hard_sigmoid(ops.mean(x, axis=[1, 2], keepdims=True))
    x = x + np.arange(4, dtype="float32")
    x = layers.GroupNormalization(2)(layers.Dropout(0.3)(x))
    x = ops.image.resize(layers.Conv2DTranspose(4, 3, strides=2, padding="same")(x), (32, 32))
    mask = layers.Conv2D(2, 1, activation="softmax", name="mask")(x)
    model = keras.Model(pixels, {"mask": mask, "edge": layers.Conv2D(1, 1, name="edge")(x)})
    randomise(model)
    return model


@pytest.fixture(scope="module")
def picture():
    return np.random.default_rng(1).integers(0, 256, (1, 32, 32, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def saved(tmp_path_factory, picture):
    folder = tmp_path_factory.mktemp("saved")
    model = every_construct()
    model.save(folder / "model.keras")
    model.save(folder / "model.h5")
    return folder, model.predict(picture, verbose=0)


@pytest.mark.parametrize("kind", ["keras", "h5"])
def test_a_file_of_keras_3_computes_what_the_saved_model_did(saved, picture, kind):
    folder, expected = saved
    foreign = read_foreign(folder / f"model.{kind}")
    found = foreign.model.predict(picture, verbose=0)
    assert foreign.kind == kind
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=TOLERANCE, rtol=TOLERANCE)
    assert "encoder" in {layer.name for layer in foreign.model.layers}


@pytest.mark.parametrize(
    ("name", "kind"),
    [("keras-2.h5", "h5"), ("keras-2.keras", "keras"), ("keras-2-savedmodel", "savedmodel")],
)
def test_a_file_of_keras_2_computes_what_keras_2_did(name, kind):
    stored = np.load(DATA / "keras-2.npz")
    foreign = read_foreign(DATA / name)
    assert foreign.kind == kind
    found = foreign.model.predict(stored["picture"], verbose=0)
    np.testing.assert_allclose(found, stored["scores"], atol=TOLERANCE)


def test_the_content_decides_the_kind_not_the_name(saved, tmp_path):
    (tmp_path / "model.h5").write_bytes((saved[0] / "model.keras").read_bytes())
    assert read_foreign(tmp_path / "model.h5").kind == "keras"


def test_weights_of_another_model_are_refused(tmp_path):
    def model(channels):
        pixels = keras.Input((8, 8, 3))
        return keras.Model(pixels, layers.Conv2D(channels, 3, name="only")(pixels))

    import h5py

    model(4).save(tmp_path / "four.h5")
    model(5).save(tmp_path / "five.h5")
    with h5py.File(tmp_path / "four.h5") as four, h5py.File(tmp_path / "five.h5", "a") as five:
        five.attrs["model_config"] = four.attrs["model_config"]
    with pytest.raises(ModelFileError, match=r"kernel of layer 'only' .*\(3, 3, 3, 5\)"):
        read_foreign(tmp_path / "five.h5")
