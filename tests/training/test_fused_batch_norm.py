import keras
import numpy as np
import pytest
import tensorflow as tf

from unet_edge.spec import Normalisation
from unet_edge.training.fused_batch_norm import fuse_batch_norm
from unet_edge.training.models import build
from unet_edge.training.settings.network import Network

# Sums over 4 * 6 * 7 = 168 values of order one in float32: at most 168 roundings of 2**-24, 1e-5,
# in mean and variance, and a few of these in a gradient. The biased and unbiased variances differ
# by 1/168, 6e-3.
RTOL = 1e-4


def network(**options):
    pixels = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(5, 1, name="conv")(pixels)
    x = keras.layers.BatchNormalization(name="bn", momentum=0.8, epsilon=0.01, **options)(x)
    model = keras.Model(pixels, x)
    random = np.random.default_rng(0)
    for layer in model.layers:
        layer.set_weights([random.uniform(0.5, 2, w.shape) for w in layer.get_weights()])
    return model


def trained_on(model):
    """Outputs, gradients and moving statistics of one call in training mode."""
    random = np.random.default_rng(1)
    pixels = tf.constant(random.normal(2, 1, (4, 6, 7, 3)).astype("float32"))
    target = tf.constant(random.normal(0, 1, (4, 6, 7, 5)).astype("float32"))
    with tf.GradientTape() as tape:
        outputs = model(pixels, training=True)
        loss = tf.reduce_mean((outputs - target) ** 2)
    weights = [w.value for w in model.trainable_weights]
    return [outputs, *tape.gradient(loss, weights)], [w.numpy() for w in model.weights]


# Imported networks may have layers without a scale or an offset.
@pytest.mark.parametrize("options", [{}, {"scale": False}, {"center": False}])
def test_fused_training_is_keras_own(options):
    plain, fused = network(**options), network(**options)
    fuse_batch_norm(fused)
    before = fused.get_layer("bn").get_weights()[-2]
    expected, actual = trained_on(plain), trained_on(fused)
    for a, b in zip(actual[0] + actual[1], expected[0] + expected[1], strict=True):
        np.testing.assert_allclose(a, b, rtol=RTOL, atol=RTOL)
    assert abs(fused.get_layer("bn").get_weights()[-2] - before).max() > 0.1  # statistics moved


@pytest.mark.parametrize("frozen", [False, True])
def test_inference_and_frozen_layers_use_the_moving_statistics(frozen):
    plain, fused = network(), network()
    fuse_batch_norm(fused)
    for model in (plain, fused):
        model.get_layer("bn").trainable = not frozen
    pixels = np.random.default_rng(2).normal(size=(2, 4, 4, 3)).astype("float32")
    kept = fused.get_weights()
    outputs = fused(pixels, training=frozen)
    np.testing.assert_array_equal(outputs, plain(pixels, training=False))
    for a, b in zip(fused.get_weights(), kept, strict=True):
        np.testing.assert_array_equal(a, b)


def test_built_models_train_fused_and_save_as_plain_keras(tmp_path):
    model = build(Network("unet_mini"), 2, Normalisation(127.5, 127.5))

    @tf.function
    def step(pixels):
        return model(pixels, training=True)

    graph = step.get_concrete_function(tf.TensorSpec((1, 8, 8, 3))).graph
    kinds = {op.type for op in graph.get_operations()}
    assert "FusedBatchNormV3" in kinds
    assert "SquaredDifference" not in kinds  # as Keras' moments spell the variance
    model.save(tmp_path / "model.keras")
    pixels = np.random.default_rng(3).integers(0, 256, (1, 8, 8, 3), np.uint8)
    loaded = keras.saving.load_model(tmp_path / "model.keras")  # no custom objects
    np.testing.assert_array_equal(loaded(pixels), model(pixels))
