import functools
import os
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from unet_edge.errors import ConfigError, WeightsError
from unet_edge.spec import Normalisation
from unet_edge.training.models import ALPHAS, NORMALISE, Network, build, load_encoder

SMALL = Network(alpha=0.25)

# The encoder's layers with weights that the U-Net keeps: conv1 and its BatchNorm, and 11 blocks of
# a depthwise and a pointwise convolution with one each. Blocks 12 and 13 lie behind the last skip.
ENCODER_LAYERS = 2 + 11 * 4


DEFAULT = Normalisation()


@functools.cache
def built(network, classes=2, normalisation=DEFAULT):
    return build(network, classes, normalisation)


def pixels(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


# --- architecture -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "parameters"),
    [
        (Network(), 1_869_506),
        (Network(alpha=0.75), 1_066_898),
        (Network(alpha=0.5), 487_778),
        (Network(alpha=0.25), 132_146),
        (Network(decoder="dense"), 6_499_394),
        (Network("unet_mini"), 473_506),
    ],
    ids=str,
)
def test_size_of_the_networks(network, parameters):
    # The README quotes 1.87 M, 0.49 M, 0.13 M, 6.5 M and 0.47 M.
    assert built(network).count_params() == parameters


VARIANTS = [
    SMALL,
    Network(alpha=0.25, decoder="dense"),
    Network("unet_mini"),
]


@pytest.mark.parametrize("network", VARIANTS, ids=str)
def test_every_pixel_gets_one_float_for_each_class(network):
    model = build(network, 3, DEFAULT)
    for height, width in ((32, 48), (network.stride, network.stride)):
        logits = model(pixels(2, height, width, 3), training=False)
        assert logits.shape == (2, height, width, 3)
        assert keras.backend.standardize_dtype(logits.dtype) == "float32"


@pytest.mark.parametrize("network", VARIANTS, ids=str)
def test_the_output_is_logits_not_probabilities(network):
    logits = np.asarray(built(network)(pixels(1, 32, 32, 3), training=False))
    assert (logits < 0).any()
    assert not np.allclose(logits.sum(axis=-1), 1, atol=1e-3)


@pytest.mark.parametrize("network", VARIANTS, ids=str)
def test_logits_stay_float32_in_mixed_precision(network):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = build(network, 2, Normalisation())
    finally:
        keras.config.set_dtype_policy(before)
    assert model.output.dtype == "float32"
    # It is mixed at all.
    assert "bfloat16" in {layer.compute_dtype for layer in model.layers}


def test_a_size_off_the_stride_does_not_run():
    assert (SMALL.stride, Network("unet_mini").stride) == (16, 4)
    # Each backend of Keras has an exception of its own for this.
    with pytest.raises(Exception, match=r"(?i)concat"):
        built(SMALL)(pixels(1, 40, 40, 3))


@pytest.mark.parametrize("normalisation", [Normalisation(), Normalisation(127.5, 127.5)], ids=str)
def test_the_first_layer_is_the_contracts_normalisation(normalisation):
    model = built(SMALL, 2, normalisation)
    first = keras.Model(model.input, model.get_layer(NORMALISE).output)
    every = np.arange(256, dtype=np.uint8)
    grid = np.broadcast_to(every.reshape(1, 16, 16, 1), (1, 16, 16, 3))
    found = np.asarray(first(np.ascontiguousarray(grid)))[0, ..., 0].ravel()
    exact = (every - normalisation.mean) / normalisation.std
    # The default is exact. Otherwise x * scale + offset rounds three times, at up to 2.
    tolerance = 0 if normalisation == Normalisation() else 3 * 2 * np.finfo(np.float32).eps
    assert np.abs(found - exact).max() <= tolerance


@pytest.mark.parametrize("network", VARIANTS, ids=str)
def test_every_convolution_can_swallow_its_batch_norm(network):
    # Conv -> BN -> ReLU6 folds into one operator on the device; Conv -> ReLU -> BN does not.
    convolutions = 0
    for layer in built(network).layers:
        if "conv" not in type(layer).__name__.lower() or layer.name.startswith("logits"):
            continue
        followers = [node.operation for node in layer._outbound_nodes]
        assert [type(follower).__name__ for follower in followers] == ["BatchNormalization"]
        assert not layer.use_bias
        convolutions += 1
    assert convolutions >= 10


@pytest.mark.parametrize("network", VARIANTS, ids=str)
def test_upsampling_is_bilinear(network):
    # Nearest costs five to nine XNNPACK partitions instead of one.
    found = [x for x in built(network).layers if isinstance(x, keras.layers.UpSampling2D)]
    assert found
    assert {layer.interpolation for layer in found} == {"bilinear"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"architecture": "resnet"}, "choose one of mobilenet_unet, unet_mini"),
        ({"decoder": "sparse"}, "choose one of separable, dense"),
        ({"alpha": 0.3}, "is not one of 0.25, 0.5, 0.75, 1.0"),
    ],
)
def test_unknown_networks_are_refused_with_the_choices(options, message):
    with pytest.raises(ConfigError, match=message):
        Network(**options)


# --- pretrained encoders ----------------------------------------------------------------------


def mobilenet(alpha=0.25):
    """A MobileNet whose every weight differs from a fresh one's."""
    model = keras.applications.MobileNet(
        input_shape=(224, 224, 3), alpha=alpha, include_top=False, weights=None
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
            group = file.create_group(rename(layer.name))
            names = [f"{layer.name}/{weight.name}:0" for weight in layer.weights]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, value in zip(names, layer.get_weights(), strict=True):
                group[name] = value


@pytest.fixture(scope="module")
def donor():
    return mobilenet()


@pytest.fixture(scope="module")
def files(donor, tmp_path_factory):
    """The donor's weights in both layouts."""
    folder = tmp_path_factory.mktemp("weights")
    donor.save_weights(folder / "encoder.weights.h5")
    save_legacy(donor, folder / "encoder.h5")
    return folder


LAYOUTS = ["encoder.weights.h5", "encoder.h5"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layer_of_the_encoder_is_loaded(donor, files, layout):
    model = build(SMALL, 2, Normalisation())
    fresh = {layer.name: layer.get_weights() for layer in model.layers}
    assert load_encoder(model, SMALL, files / layout) == ENCODER_LAYERS
    given = {layer.name: layer.get_weights() for layer in donor.layers}
    for layer in model.layers:
        expected = given.get(layer.name) or fresh[layer.name]  # the decoder keeps its own
        for found, wanted in zip(layer.get_weights(), expected, strict=True):
            assert np.array_equal(found, wanted)


def test_a_loaded_encoder_sees_what_mobilenet_sees(donor, files):
    # The tutorial padded stride-2 convolutions on the other side: every filter was a pixel off.
    model = build(SMALL, 2, Normalisation())
    load_encoder(model, SMALL, files / "encoder.weights.h5")
    deepest = "conv_pw_11_relu"
    ours = keras.Model(model.input, model.get_layer(deepest).output)
    theirs = keras.Model(donor.input, donor.get_layer(deepest).output)
    photo = pixels(1, 224, 224, 3)
    expected = np.asarray(theirs((photo.astype(np.float32) - 128) / 128, training=False))
    found = np.asarray(ours(photo, training=False))
    assert expected.std() > 0
    # The same operators on the same numbers; a convolution's sum of up to 128 products may be
    # taken in another order, and 23 of them follow one another.
    tolerance = 23 * 128 * np.finfo(np.float32).eps * max(1, expected.max())
    assert np.abs(found - expected).max() <= tolerance


@pytest.mark.parametrize("layout", LAYOUTS)
def test_weights_of_another_alpha_are_refused(files, layout):
    network = Network(alpha=0.5)
    with pytest.raises(WeightsError, match=r"alpha 0\.5"):
        load_encoder(built(network), network, files / layout)


def test_a_file_without_one_layer_of_mobilenet_is_refused(donor, tmp_path):
    save_legacy(donor, tmp_path / "other.h5", rename=lambda name: f"resnet_{name}")
    with pytest.raises(WeightsError, match=r"no layer of .* fits MobileNet with alpha 0.25"):
        load_encoder(built(SMALL), SMALL, tmp_path / "other.h5")


def test_the_weights_of_another_network_are_refused(tmp_path):
    other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    other.save_weights(tmp_path / "other.weights.h5")
    with pytest.raises(WeightsError, match="MobileNet"):
        load_encoder(built(SMALL), SMALL, tmp_path / "other.weights.h5")


@pytest.mark.parametrize("name", ["absent.weights.h5", "absent.h5", "."])
def test_a_missing_file_is_named(tmp_path, name):
    with pytest.raises(WeightsError, match="no such weights file"):
        load_encoder(built(SMALL), SMALL, tmp_path / name)


@pytest.mark.parametrize("name", ["broken.weights.h5", "broken.h5", "broken.txt"])
@pytest.mark.parametrize("content", [b"", b"no weights"])
def test_a_broken_file_is_named(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=rf"{name} does not hold MobileNet weights"):
        load_encoder(built(SMALL), SMALL, tmp_path / name)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_truncated_file_is_named(files, tmp_path, layout):
    data = (files / layout).read_bytes()
    (tmp_path / layout).write_bytes(data[: len(data) // 2])
    with pytest.raises(WeightsError, match=layout):
        load_encoder(built(SMALL), SMALL, tmp_path / layout)


def test_a_download_that_fails_says_what_else_to_do(monkeypatch):
    def offline(**_):
        raise Exception("URL fetch failure")

    monkeypatch.setattr(keras.applications, "MobileNet", offline)
    with pytest.raises(WeightsError, match=r"URL fetch failure.*--encoder FILE"):
        load_encoder(built(SMALL), SMALL, "imagenet")


def test_unet_mini_has_no_encoder_to_load(files):
    network = Network("unet_mini")
    with pytest.raises(WeightsError, match="unet_mini has no pretrained encoder"):
        load_encoder(built(network), network, files / "encoder.h5")


@pytest.mark.parametrize(
    ("alpha", "name"),
    [(0.25, "mobilenet_2_5_224_tf_no_top.h5"), (1.0, "mobilenet_1_0_224_tf_no_top.weights.h5")],
)
def test_the_published_weights_load(alpha, name):
    folder = os.environ.get("UNET_EDGE_DATA")
    if not folder:
        pytest.skip("UNET_EDGE_DATA does not name a folder with weights/")
    assert alpha in ALPHAS
    network = Network(alpha=alpha)
    model = build(network, 2, Normalisation())
    assert load_encoder(model, network, Path(folder) / "weights" / name) == ENCODER_LAYERS
