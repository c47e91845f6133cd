"""Write tests/data/foreign again: a small network in each format of Keras 2, by its own code.

    pip install --no-deps --target FOLDER tf_keras
    PYTHONPATH=FOLDER .venv/bin/python tests/support/keras_2_files.py

The files are committed because tf_keras is not among the packages that the tests install.
"""

import shutil
import tempfile
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parents[1] / "data" / "foreign"


def main():
    """Train nothing: give every weight a value of its own, and save the model and its output."""
    import tensorflow as tf
    import tf_keras
    from tf_keras import layers

    tf_keras.utils.set_random_seed(1)
    pixels = layers.Input((16, 16, 3))
    x = pixels / 127.5 - 1.0  # TFOpLambda
    x = layers.Conv2D(4, 3, strides=2, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    skip = layers.ReLU(6.0)(x)
    nested = tf_keras.Sequential(
        [
            layers.Conv2D(4, 3, padding="same", input_shape=(8, 8, 4)),
            layers.BatchNormalization(),
            layers.LeakyReLU(0.1),
        ],
        name="nested",
    )
    nested.layers[0].trainable = False  # changes the order of the weights in the file
    x = nested(skip)
    x = layers.SeparableConv2D(4, 3, padding="same", activation="relu")(x)
    x = layers.DepthwiseConv2D(3, padding="same", kernel_regularizer="l2")(x)
    x = layers.PReLU(shared_axes=[1, 2])(x)
    x = tf.nn.relu(x) + skip
    x = tf.image.resize(x, (8, 8))
    x = layers.Conv2DTranspose(4, 3, strides=2, padding="same")(x)
    x = layers.SpatialDropout2D(0.1)(x)
    x = layers.Dropout(0.1)(x)
    x = 1.0 - tf.concat([x, x], axis=-1)
    model = tf_keras.Model(pixels, layers.Conv2D(2, 1, activation="softmax", name="scores")(x))
    random = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(weight + random.uniform(0.05, 0.2, weight.shape))
    picture = random.integers(0, 256, (1, 16, 16, 3)).astype(np.float32)
    FOLDER.mkdir(exist_ok=True)
    np.savez_compressed(
        FOLDER / "keras-2.npz", picture=picture, scores=model.predict(picture, verbose=0)
    )
    model.save(FOLDER / "keras-2.h5")
    model.save(FOLDER / "keras-2.keras")
    with tempfile.TemporaryDirectory() as folder:
        model.save(folder, save_format="tf")
        kept = FOLDER / "keras-2-savedmodel"
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(Path(folder) / "variables", kept / "variables")
        shutil.copy(Path(folder) / "keras_metadata.pb", kept)
        # The graph is never loaded, so it is not committed.
        (kept / "saved_model.pb").write_bytes(b"")


if __name__ == "__main__":
    main()
