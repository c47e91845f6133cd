import functools

import keras
import numpy as np
import pytest

from unet_edge.errors import ConfigError
from unet_edge.spec import Normalisation
from unet_edge.training.models import NORMALISE, build
from unet_edge.training.settings.network import ALPHAS, Network

SMALL = Network(alpha=0.25)
V2 = Network(encoder="mobilenet_v2", alpha=0.35)
V3_SMALL = Network(encoder="mobilenet_v3_small", alpha=0.75)
V3_LARGE = Network(encoder="mobilenet_v3_large", alpha=0.75)

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
        (Network(encoder="mobilenet_v2"), 869_810),
        (V2, 136_130),
        (Network(encoder="mobilenet_v3_small"), 360_962),
        (Network(encoder="mobilenet_v3_large"), 1_159_730),
    ],
    ids=str,
)
def test_size_of_the_networks(network, parameters):
    # The committed training tables quote 1.87 M, 0.49 M, 0.13 M and 6.5 M.
    assert built(network).count_params() == parameters


VARIANTS = [
    SMALL,
    Network(alpha=0.25, decoder="dense"),
    Network("unet_mini"),
    V2,
    V3_SMALL,
    V3_LARGE,
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
        if "squeeze_excite" in layer.name:
            continue  # has a bias of its own and no BatchNorm
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
        ({"encoder": "vgg"}, "choose one of mobilenet_v1, mobilenet_v2, mobilenet_v3_small"),
        ({"alpha": 0.3}, "mobilenet_v1 has no alpha 0.3; choose one of 0.25, 0.5, 0.75, 1.0"),
        ({"encoder": "mobilenet_v2", "alpha": 0.25}, "choose one of 0.35, 0.5, 0.75, 1.0, 1.3"),
        ({"encoder": "mobilenet_v3_small", "alpha": 0.5}, "choose one of 0.75, 1.0"),
    ],
)
def test_unknown_networks_are_refused_with_the_choices(options, message):
    with pytest.raises(ConfigError, match=message):
        Network(**options)


@pytest.mark.parametrize("encoder", ["mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large"])
def test_the_alphas_are_those_that_keras_publishes(encoder):
    names = {
        "mobilenet_v2": "MobileNetV2",
        "mobilenet_v3_small": "MobileNetV3Small",
        "mobilenet_v3_large": "MobileNetV3Large",
    }
    application = getattr(keras.applications, names[encoder])
    for alpha in (0.25, 0.35, 0.5, 0.75, 1.0, 1.3, 1.4, 1.5):
        if alpha not in ALPHAS[encoder]:
            with pytest.raises(ValueError, match="alpha"):
                application((224, 224, 3), alpha=alpha, include_top=False, weights="imagenet")


@pytest.mark.parametrize("encoder", ALPHAS)
def test_every_alpha_builds_channels_in_eights(encoder):
    for alpha in ALPHAS[encoder]:
        network = Network(encoder=encoder, alpha=alpha)
        kernels = [
            layer.kernel.shape[-1]
            for layer in built(network).layers
            if type(layer) is keras.layers.Conv2D and not layer.name.startswith("logits")
        ]
        assert {width % 8 for width in kernels} == {0}
