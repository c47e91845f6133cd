"""Weights alone: the tutorial's two networks, from the files of Keras 2 and Keras 3."""

import h5py
import keras
import numpy as np
import pytest

from converters.foreign.reading import read_foreign
from converters.foreign.tutorial_networks import build_tutorial_network
from unet_edge.errors import ModelFileError

MOBILENET, MINI = "tutorial-mobilenet-unet", "tutorial-unet-mini"


@pytest.fixture(scope="module")
def networks():
    """Both networks with a weight of its own everywhere."""
    random = np.random.default_rng(0)
    networks = {name: build_tutorial_network(name, 2, (32, 32)) for name in (MOBILENET, MINI)}
    for model in networks.values():
        for weight in model.weights:
            weight.assign(weight + random.uniform(0.01, 0.1, weight.shape).astype(np.float32))
    return networks


def save_as_keras_2(model, path, first=8, edit=lambda file: None):
    """`save_weights` of Keras 2, in a program that had made `first` convolutions before."""
    count = {"conv2d": first, "batch_normalization": first}

    def name_of(layer):
        kind = layer.name.rstrip("0123456789").rstrip("_")
        if kind not in count:
            return layer.name
        count[kind] += 1
        return f"{kind}_{count[kind]}"

    with h5py.File(path, "w") as file:
        names = {layer: name_of(layer) for layer in model.layers}
        file.attrs["layer_names"] = [name.encode() for name in names.values()]
        file.attrs["backend"] = b"tensorflow"
        file.attrs["keras_version"] = b"2.2.4"
        for layer, name in names.items():
            group = file.create_group(name)
            renamed = {"kernel": "depthwise_kernel"} if "conv_dw" in name else {}
            weights = {
                f"{name}/{renamed.get(weight.name, weight.name)}:0": weight.numpy()
                for weight in layer.weights
            }
            group.attrs["weight_names"] = [key.encode() for key in weights]
            for key, value in weights.items():
                group[key] = value
        edit(file)


@pytest.mark.parametrize(("name", "parameters"), [(MOBILENET, 6_500_482), (MINI, 471_586)])
def test_the_networks_have_the_tutorials_size(networks, name, parameters):
    assert networks[name].count_params() == parameters  # its table: 6.50 M and 0.47 M
    assert build_tutorial_network(name, 2).output_shape == (None, None, None, 2)


def test_the_tutorials_convolutions_see_the_pixels_of_symmetric_padding(networks):
    encoder = keras.Model(networks[MOBILENET].input, networks[MOBILENET].get_layer("conv1").output)
    picture = np.random.default_rng(1).normal(size=(1, 32, 32, 3)).astype(np.float32)
    kernel = networks[MOBILENET].get_layer("conv1").get_weights()[0]
    # The first output sees rows and columns -1 to 1; keras.applications today sees 0 to 2.
    expected = np.einsum("ijc,ijcd->d", picture[0, :2, :2], kernel[1:, 1:])
    found = encoder.predict(picture, verbose=0)[0, 0, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)  # float32 sums of 12 products


@pytest.mark.parametrize(
    ("name", "layout"),
    [(MOBILENET, "keras 2"), (MOBILENET, "keras 3"), (MINI, "complete model"), (MINI, "keras 2")],
)
def test_every_layer_gets_its_weights(networks, tmp_path, name, layout):
    path = tmp_path / "last.weights.h5"
    if layout == "keras 3":
        networks[name].save_weights(path)
    elif layout == "keras 2":
        save_as_keras_2(networks[name], path)
    else:
        networks[name].save(tmp_path / "last.h5")
        path = tmp_path / "last.h5"
    foreign = read_foreign(path, architecture=name, classes=2)
    assert foreign.kind == "weights"
    assert foreign.model.input_shape == (None, None, None, 3)
    for expected, found in zip(networks[name].weights, foreign.model.weights, strict=True):
        assert np.array_equal(expected, found)


def names(file):
    """The layers' names, as bytes."""
    return [name.encode() if isinstance(name, str) else name for name in file.attrs["layer_names"]]


def extra_layer(file):
    file.attrs["layer_names"] = [*names(file), b"another"]
    file.create_group("another").attrs["weight_names"] = [b"another/kernel:0"]
    file["another/another/kernel:0"] = np.zeros((1, 1, 3, 3))


def last_layer_is_missing(file):
    file.attrs["layer_names"] = names(file)[:-1]


def weight_is_missing(file):
    del file["conv2d_9/conv2d_9/bias:0"]


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (extra_layer, "its layer 'another' is not in the network"),
        (last_layer_is_missing, "it ends before a Conv2D"),
        (weight_is_missing, "the weight 'conv2d_9/bias:0' of '/conv2d_9' is missing"),
    ],
)
def test_the_first_layer_that_does_not_match_is_named(networks, tmp_path, edit, reason):
    save_as_keras_2(networks[MINI], tmp_path / "bad.h5", edit=edit)
    with pytest.raises(ModelFileError, match=reason):
        read_foreign(tmp_path / "bad.h5", architecture=MINI, classes=2)


def another_encoder(file):
    file.attrs["layer_names"] = [name.replace(b"conv_pw_3", b"conv_pwx3") for name in names(file)]
    for name in ("", "_bn", "_relu"):
        file.move(f"conv_pw_3{name}", f"conv_pwx3{name}")


def test_the_encoders_layers_have_their_names(networks, tmp_path):
    save_as_keras_2(networks[MOBILENET], tmp_path / "bad.h5", edit=another_encoder)
    with pytest.raises(ModelFileError, match=r"'conv_pwx3' has .* the network has 'conv_pw_3'"):
        read_foreign(tmp_path / "bad.h5", architecture=MOBILENET, classes=2)


def test_other_classes_and_other_networks_are_named(networks, tmp_path):
    path = tmp_path / "mini.weights.h5"
    networks[MINI].save_weights(path)
    with pytest.raises(ModelFileError, match=r"kernel \(1, 1, 32, 2\) where .* \(1, 1, 32, 3\)"):
        read_foreign(path, architecture=MINI, classes=3)
    with pytest.raises(ModelFileError, match="is not of tutorial-mobilenet-unet"):
        read_foreign(path, architecture=MOBILENET, classes=2)
    with pytest.raises(ModelFileError, match="--classes"):
        read_foreign(path, architecture=MINI)
