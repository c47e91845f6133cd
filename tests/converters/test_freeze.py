"""What is told of an error of TensorFlow and Keras."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from converters.freeze import reason


def test_the_reason_of_a_failing_layer_is_not_that_it_was_called():
    layer = keras.layers.Concatenate()
    layer.build([(1, 2, 2, 3), (1, 2, 2, 3)])
    layer.call = _fails
    sides = [np.zeros((1, 2, 2, 3)), np.zeros((1, 2, 2, 3))]
    with pytest.raises(Exception, match="Exception encountered when calling") as caught:
        layer(sides)
    assert reason(caught.value) == "the sides do not fit"


def test_the_reason_is_the_first_line_or_the_kind():
    assert reason(ValueError("\n  first\nsecond")) == "first"
    assert reason(KeyboardInterrupt()) == "KeyboardInterrupt"


def _fails(inputs):
    raise tf.errors.InvalidArgumentError(None, None, "the sides do not fit")
