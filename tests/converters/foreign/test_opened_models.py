"""The function of docs/own-models.md, which opens Lambdas and layers of other code."""

from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers, ops

from converters.foreign.reading import read_foreign

PAGE = Path(__file__).parents[3] / "docs" / "own-models.md"


class Gate(layers.Layer):
    """A layer of Keras' own layers, as those of keras-hub are."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.weigh = layers.Conv2D(1, 1, activation="sigmoid")

    def call(self, x):
        return x * self.weigh(x)


class GatedSum(layers.Layer):
    """Two inputs, and a layer of the kind above inside."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.gate = Gate()

    def call(self, maps):
        return maps[0] + self.gate(maps[1])


class Backbone(keras.Model):
    """A functional model as keras-hub makes its own: a class that builds its graph."""

    def __init__(self):
        x = keras.Input((None, None, 3))
        deep = layers.Conv2D(4, 3, padding="same")(x)
        super().__init__(x, GatedSum()([layers.Conv2D(4, 1)(x), deep]))


class WithoutGraph(keras.Model):
    def __init__(self):
        super().__init__()
        self.gate, self.scores = Gate(), layers.Conv2D(2, 1)

    def call(self, x):
        return self.scores(self.gate(x))


def functional():
    pixels = keras.Input((8, 8, 3))
    x = Backbone()(layers.Lambda(lambda pixel: pixel / 255.0)(pixels))
    return keras.Model(pixels, layers.Conv2D(2, 1, activation="softmax")(x))


def subclassed():
    pixels = keras.Input((8, 8, 3))
    model = WithoutGraph()
    model(ops.zeros((1, 8, 8, 3)))
    return keras.Model(pixels, model.call(pixels))


@pytest.mark.parametrize("make", [functional, subclassed])
def test_an_opened_model_is_read_and_computes_the_same(make, tmp_path, monkeypatch):
    (code,) = PAGE.read_text("utf-8").split("```python\n")[1:]
    model = make()
    monkeypatch.chdir(tmp_path)  # the code saves there
    exec(code.partition("```")[0], {"model": model})
    read = read_foreign(tmp_path / "opened.keras").model
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 8, 8, 3)).astype(np.float32)
    expected = ops.convert_to_numpy(model(pixels))
    found = ops.convert_to_numpy(read(pixels))
    # The same operations in the same order: what differs is how TensorFlow blocks the sums, some
    # 2**-22 of values below 2**9.
    np.testing.assert_allclose(found, expected, rtol=0, atol=2**-12)
