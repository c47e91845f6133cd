import keras
import numpy as np
import pytest

from unet_edge.training.batch_norm import batch_norm_layers, reestimate, set_momentum

EPSILON = 1e-3  # Keras' default

# Sums over at most 4 * 5 * 6 = 120 values in float32, squared for the variance and divided: some
# 120 roundings of 2**-24 each, a few times over. A wrong formula is off by percents.
RTOL = 1e-4


@pytest.fixture
def model():
    """BatchNorm of the pixels, a 1x1 convolution, and BatchNorm of what comes out."""
    pixels = keras.Input((None, None, 3))
    x = keras.layers.BatchNormalization(name="first", momentum=0.9)(pixels)
    x = keras.layers.Conv2D(2, 1, name="conv")(x)
    x = keras.layers.BatchNormalization(name="second", momentum=0.7)(x)
    model = keras.Model(pixels, x)
    random = np.random.default_rng(0)
    for layer in model.layers:
        layer.set_weights([random.uniform(0.5, 2, w.shape) for w in layer.get_weights()])
    return model


def batches(*sizes):
    random = np.random.default_rng(1)
    # Batches of different brightness, so that the statistics of any one of them would show.
    return [
        random.integers(20 * i, 100 + 20 * i, (n, 5, 6, 3), dtype=np.uint8)
        for i, n in enumerate(sizes)
    ]


def moments(x):
    return x.mean(axis=(0, 1, 2)), x.var(axis=(0, 1, 2))


def expected_statistics(model, data):
    """Mean over the batches of each layer's input's mean and variance, by NumPy in float64."""
    gamma, beta = (w.astype(np.float64) for w in model.get_layer("first").get_weights()[:2])
    kernel, bias = (w.astype(np.float64) for w in model.get_layer("conv").get_weights())
    first, second = [], []
    for pixels in data:
        x = pixels.astype(np.float64)
        mean, variance = moments(x)
        first.append((mean, variance))
        # In training mode a layer normalises with its own batch's statistics.
        x = (x - mean) / np.sqrt(variance + EPSILON) * gamma + beta
        second.append(moments(x @ kernel[0, 0] + bias))
    return {
        "first": [np.mean(part, axis=0) for part in zip(*first, strict=True)],
        "second": [np.mean(part, axis=0) for part in zip(*second, strict=True)],
    }


@pytest.mark.parametrize("sizes", [(4,), (4, 4, 4), (4, 4, 1)], ids=str)
def test_statistics_become_the_mean_over_the_batches(model, sizes):
    data = batches(*sizes)
    expected = expected_statistics(model, data)
    assert reestimate(model, iter(data)) == len(sizes)
    for name, (mean, variance) in expected.items():
        _, _, found_mean, found_variance = model.get_layer(name).get_weights()
        np.testing.assert_allclose(found_mean, mean, rtol=RTOL)
        np.testing.assert_allclose(found_variance, variance, rtol=RTOL)


def test_earlier_statistics_are_replaced(model):
    data = batches(4, 4)
    reestimate(model, data)
    first = model.get_weights()
    reestimate(model, batches(2, 2, 2)[2:])
    assert not all(map(np.array_equal, first, model.get_weights()))
    reestimate(model, data)
    # The second batch norm starts from the same input: bit for bit the same arithmetic.
    for before, after in zip(first, model.get_weights(), strict=True):
        assert np.array_equal(before, after)


def test_weights_that_are_learned_are_untouched(model):
    before = [w.numpy() if hasattr(w, "numpy") else np.asarray(w) for w in model.trainable_weights]
    reestimate(model, batches(4, 4))
    for old, new in zip(before, model.trainable_weights, strict=True):
        assert np.array_equal(old, np.asarray(new))


def test_the_momentum_comes_back(model):
    reestimate(model, batches(4, 4))
    assert [layer.momentum for layer in batch_norm_layers(model)] == [0.9, 0.7]


def test_the_momentum_comes_back_when_a_batch_cannot_be_read(model):
    def broken():
        yield from batches(4)
        raise OSError("unreadable picture")

    with pytest.raises(OSError, match="unreadable picture"):
        reestimate(model, broken())
    assert [layer.momentum for layer in batch_norm_layers(model)] == [0.9, 0.7]


def test_without_batches_nothing_changes(model):
    before = model.get_weights()
    assert reestimate(model, []) == 0
    assert all(map(np.array_equal, before, model.get_weights()))


@pytest.mark.parametrize(
    ("steps", "momentum"),
    # A tenth of the run: 1 / (1 - momentum) = steps / 10, between 2 and 100 steps.
    [(0, 0.5), (1, 0.5), (20, 0.5), (50, 0.8), (200, 0.95), (1000, 0.99), (100_000, 0.99)],
)
def test_momentum_remembers_a_tenth_of_the_run(model, steps, momentum):
    set_momentum(model, steps)
    found = [layer.momentum for layer in batch_norm_layers(model)]
    assert found == pytest.approx([momentum] * 2, abs=1e-12)
