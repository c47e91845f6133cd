"""Pretrained weights: every layer, of the right encoder, seeing what keras.applications sees."""

import os
import re
import shutil
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from unet_edge.errors import WeightsError
from unet_edge.spec import Normalisation
from unet_edge.training.models import build, load_encoder
from unet_edge.training.pretrained import encoder_weights
from unet_edge.training.settings.network import Network

V1 = Network(alpha=0.25)
V2 = Network(encoder="mobilenet_v2", alpha=0.35)
V3_SMALL = Network(encoder="mobilenet_v3_small", alpha=0.75)
V3_LARGE = Network(encoder="mobilenet_v3_large", alpha=0.75)
NETWORKS = [V1, V2, V3_SMALL, V3_LARGE]

APPLICATIONS = {
    "mobilenet_v1": keras.applications.MobileNet,
    "mobilenet_v2": keras.applications.MobileNetV2,
    "mobilenet_v3_small": keras.applications.MobileNetV3Small,
    "mobilenet_v3_large": keras.applications.MobileNetV3Large,
}

# The encoder's layers with weights that the U-Net keeps; each convolution has a BatchNorm, save
# those of squeeze and excitation. What lies behind the last skip, at 1/16, is left out.
ENCODER_LAYERS = {
    V1: 2 * (1 + 11 * 2),  # conv1; 11 blocks of depthwise and pointwise
    # Conv1; a block of depthwise and project; 12 with expand; the expand of the next
    V2: 2 * (1 + 2 + 12 * 3 + 1),
    V3_SMALL: 2 * (1 + 2 + 7 * 3 + 1) + 6 * 2,  # six of the eight whole blocks squeeze
    V3_LARGE: 2 * (1 + 2 + 11 * 3 + 1) + 5 * 2,  # five of the twelve
}

LAYOUTS = ["encoder.weights.h5", "encoder.h5"]


def pixels(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def application(network, **options):
    """A network of keras.applications whose every weight differs from a fresh one's."""
    keras.utils.set_random_seed(1)
    model = APPLICATIONS[network.encoder](
        alpha=network.alpha, include_top=False, weights=None, **options
    )
    random = np.random.default_rng(1)
    for layer in model.layers:
        weights = [w + random.uniform(0.01, 0.1, w.shape) for w in layer.get_weights()]
        layer.set_weights(weights)
    return model


def save_legacy(model, path, rename=lambda name: name):
    """The HDF5 layout of Keras 1 and 2, in which keras-applications publishes its files."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [rename(layer.name).encode() for layer in model.layers]
        for layer in model.layers:
            group = file.require_group(rename(layer.name))
            names = [f"{rename(layer.name)}/{weight.name}:0" for weight in layer.weights]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, value in zip(names, layer.get_weights(), strict=True):
                group[name] = value


def published_v3_name(name):
    """What Keras 2 called a layer: expanded_conv_3/squeeze_excite/Conv_1, Conv_1/BatchNorm."""
    name = re.sub(r"^(expanded_conv(_\d+)?)_(?=[a-z])", r"\1/", name)
    name = name.replace("squeeze_excite_conv", "squeeze_excite/Conv")
    name = re.sub(r"^conv", "Conv", name)
    return re.sub(r"_bn$", "/BatchNorm", name)


@pytest.fixture(scope="module")
def donors():
    return {network: application(network, input_shape=(224, 224, 3)) for network in NETWORKS}


@pytest.fixture(scope="module")
def folders(donors, tmp_path_factory):
    """Each donor's weights in both layouts."""
    folders = {}
    for network, donor in donors.items():
        folder = folders[network] = tmp_path_factory.mktemp(network.encoder)
        donor.save_weights(folder / "encoder.weights.h5")
        save_legacy(donor, folder / "encoder.h5")
    return folders


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_every_layer_of_the_encoder_is_loaded(donors, folders, network, layout):
    model = build(network, 2, Normalisation())
    fresh = {layer.name: layer.get_weights() for layer in model.layers}
    assert load_encoder(model, network, folders[network] / layout) == ENCODER_LAYERS[network]
    given = {layer.name: layer.get_weights() for layer in donors[network].layers}
    for layer in model.layers:
        expected = given.get(layer.name) or fresh[layer.name]  # the decoder keeps its own
        for found, wanted in zip(layer.get_weights(), expected, strict=True):
            assert np.array_equal(found, wanted)


def test_the_slashes_of_the_published_v3_files_are_understood(donors, tmp_path):
    save_legacy(donors[V3_SMALL], tmp_path / "published.h5", rename=published_v3_name)
    with h5py.File(tmp_path / "published.h5") as file:
        names = set(file.attrs["layer_names"])
    # As in the source of keras-applications 1.0.8, which wrote the files.
    assert {"Conv", "Conv/BatchNorm", "expanded_conv/squeeze_excite/Conv_1"} <= names
    assert {"expanded_conv_3/expand/BatchNorm", "expanded_conv/depthwise", "Conv_1"} <= names
    model = build(V3_SMALL, 2, Normalisation())
    assert load_encoder(model, V3_SMALL, tmp_path / "published.h5") == ENCODER_LAYERS[V3_SMALL]


def test_a_complete_model_in_the_legacy_layout_is_accepted(donors, tmp_path):
    save_legacy(donors[V1], tmp_path / "weights.h5")
    with h5py.File(tmp_path / "weights.h5") as old, h5py.File(tmp_path / "model.h5", "w") as new:
        old.copy(old, new, "model_weights")
    assert load_encoder(build(V1, 2, Normalisation()), V1, tmp_path / "model.h5") == 46


@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_a_loaded_encoder_sees_what_keras_applications_sees(network, tmp_path):
    # The tutorial padded stride-2 convolutions on the other side: every filter was a pixel off.
    v3 = {"include_preprocessing": False} if "v3" in network.encoder else {}
    donor = application(network, input_tensor=keras.Input((96, 64, 3)), **v3)
    donor.save_weights(tmp_path / "encoder.weights.h5")
    model = build(network, 2, Normalisation())
    load_encoder(model, network, tmp_path / "encoder.weights.h5")
    # Each skip is what a halving depthwise convolution reads, behind its padding.
    inputs = []
    for layer in donor.layers:
        if isinstance(layer, keras.layers.DepthwiseConv2D) and tuple(layer.strides) == (2, 2):
            source = layer.input._keras_history.operation
            padding = isinstance(source, keras.layers.ZeroPadding2D)
            inputs.append(source.input if padding else layer.input)
    theirs = keras.Model(donor.input, inputs)
    joins = [model.get_layer(f"join{scale}").input[1] for scale in (1, 2, 3)]
    ours = keras.Model(model.input, [*joins, model.get_layer("dec4_dw").input])
    photo = pixels(1, 96, 64, 3)
    # What the weights were trained on is x / 127.5 - 1: [-1, 1], as ours to 1/255.
    expected = theirs((photo.astype(np.float32) - 128) / 128, training=False)
    found = ours(photo, training=False)
    assert len(expected) == len(found) == 4
    for scale, (ours_at, theirs_at) in enumerate(zip(found, expected, strict=True), 1):
        ours_at, theirs_at = np.asarray(ours_at), np.asarray(theirs_at)
        assert ours_at.shape[1:3] == (96 >> scale, 64 >> scale)
        assert theirs_at.std() > 0
        # The same operators on the same numbers; a convolution's sum of some hundred products
        # may be taken in another order, and some 40 of them follow one another.
        tolerance = 40 * 128 * np.finfo(np.float32).eps * max(1, abs(theirs_at).max())
        assert abs(ours_at - theirs_at).max() <= tolerance


@pytest.mark.parametrize("layout", LAYOUTS)
def test_weights_of_another_alpha_are_refused(folders, layout):
    network = Network(alpha=0.5)
    model = build(network, 2, Normalisation())
    with pytest.raises(WeightsError, match=r"mobilenet_v1 weights for alpha 0\.5"):
        load_encoder(model, network, folders[V1] / layout)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("network", "other"), [(V1, V2), (V2, V1), (V3_SMALL, V3_LARGE), (V3_LARGE, V3_SMALL)], ids=str
)
def test_weights_of_another_encoder_are_refused(folders, network, other, layout):
    model = build(network, 2, Normalisation())
    before = model.get_weights()
    with pytest.raises(WeightsError, match=f"does not contain {network.encoder} weights"):
        load_encoder(model, network, folders[other] / layout)
    for old, new in zip(before, model.get_weights(), strict=True):
        assert np.array_equal(old, new)


def test_a_file_with_other_names_or_without_one_layer_is_refused(donors, tmp_path):
    model = build(V1, 2, Normalisation())
    save_legacy(donors[V1], tmp_path / "other.h5", rename=lambda name: f"resnet_{name}")
    with pytest.raises(WeightsError, match="0 of 54 layers fit"):
        load_encoder(model, V1, tmp_path / "other.h5")
    save_legacy(
        donors[V1], tmp_path / "less.h5", rename=lambda name: name.replace("conv_dw_7", "x")
    )
    with pytest.raises(WeightsError, match="52 of 54 layers fit"):
        load_encoder(model, V1, tmp_path / "less.h5")


def test_the_weights_of_another_network_are_refused(tmp_path):
    other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    other.save_weights(tmp_path / "other.weights.h5")
    with pytest.raises(WeightsError, match="does not contain mobilenet_v1 weights"):
        load_encoder(build(V1, 2, Normalisation()), V1, tmp_path / "other.weights.h5")


@pytest.mark.parametrize("name", ["absent.weights.h5", "absent.h5", "."])
def test_a_missing_file_is_named(tmp_path, name):
    with pytest.raises(WeightsError, match="no such weights file"):
        encoder_weights("mobilenet_v1", 0.25, tmp_path / name)


@pytest.mark.parametrize("name", ["broken.weights.h5", "broken.h5", "broken.txt"])
@pytest.mark.parametrize("content", [b"", b"no weights"])
def test_a_file_that_is_not_hdf5_is_named(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=rf"{name} is not an HDF5 file; weights are a"):
        encoder_weights("mobilenet_v1", 0.25, tmp_path / name)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["renamed.h5", "renamed.weights.h5", "renamed"])
def test_the_content_decides_about_the_layout_not_the_name(folders, tmp_path, layout, name):
    shutil.copy(folders[V1] / layout, tmp_path / name)
    model = build(V1, 2, Normalisation())
    assert load_encoder(model, V1, tmp_path / name) == ENCODER_LAYERS[V1]


def test_an_hdf5_file_without_weights_is_named(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["table"] = np.zeros(3)
    with pytest.raises(WeightsError, match=r"other\.h5 does not contain mobilenet_v1 weights"):
        encoder_weights("mobilenet_v1", 0.25, tmp_path / "other.h5")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_truncated_file_is_named(folders, tmp_path, layout):
    data = (folders[V1] / layout).read_bytes()
    (tmp_path / layout).write_bytes(data[: len(data) // 2])
    with pytest.raises(WeightsError, match=layout):
        encoder_weights("mobilenet_v1", 0.25, tmp_path / layout)


@pytest.mark.parametrize("encoder", APPLICATIONS)
def test_a_failed_download_suggests_a_file(monkeypatch, encoder):
    def offline(**_):
        raise Exception("URL fetch failure")

    monkeypatch.setattr(keras.applications, APPLICATIONS[encoder].__name__, offline)
    with pytest.raises(WeightsError, match=r"URL fetch failure.*--encoder-weights FILE\.h5, or"):
        encoder_weights(encoder, 1.0, "imagenet")


def test_unet_mini_has_no_encoder_to_load(tmp_path):
    network = Network("unet_mini")
    model = build(network, 2, Normalisation())
    with pytest.raises(WeightsError, match="unet_mini has no pretrained encoder"):
        load_encoder(model, network, tmp_path / "encoder.h5")


@pytest.mark.parametrize(
    ("alpha", "name"),
    [(0.25, "mobilenet_2_5_224_tf_no_top.h5"), (1.0, "mobilenet_1_0_224_tf_no_top.weights.h5")],
)
def test_the_published_weights_load(alpha, name):
    folder = os.environ.get("UNET_EDGE_DATA")
    if not folder:
        pytest.skip("UNET_EDGE_DATA does not name a folder with weights/")
    network = Network(alpha=alpha)
    model = build(network, 2, Normalisation())
    assert load_encoder(model, network, Path(folder) / "weights" / name) == ENCODER_LAYERS[V1]
