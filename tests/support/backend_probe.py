"""A program of test_keras_backends.py, because Keras reads KERAS_BACKEND when it is imported.

python backend_probe.py RUN OUT.npz writes the logits of the run's model on a validation grid, the
losses of two steps of plain gradient descent, and how the first step changed the weights.
"""

import sys
from pathlib import Path

import keras
import numpy as np

from unet_edge.runtime.backends.keras_model import KerasBackend, load_keras
from unet_edge.training.batches import place_sample, training_batches
from unet_edge.training.checkpoint import model_state
from unet_edge.training.config import read_config
from unet_edge.training.losses import objective
from unet_edge.training.settings.loss import Loss


def main(run: Path, out: Path) -> None:
    config = read_config(run)
    dataset, spec = config.dataset(), config.spec()
    model = load_keras(run / "model.keras")
    pixels, _ = place_sample(dataset, dataset.validation[0], spec)
    logits = KerasBackend(model).scores(pixels)
    model.compile(
        optimizer=keras.optimizers.SGD(1e-3), loss=objective(Loss(dice=1.0, focal=0.5), [1.0, 2.0])
    )
    batches = training_batches(config, dataset, spec, seed=5)
    states, losses = [flat(model)], []
    for index in range(2):
        model.reset_metrics()
        losses.append(float(model.train_on_batch(*batches[index], return_dict=True)["loss"]))
        states.append(flat(model))
    np.savez(
        out,
        backend=keras.backend.backend(),
        logits=np.asarray(logits),
        losses=np.array(losses),
        moved=states[1] - states[0],
    )


def flat(model: keras.Model) -> np.ndarray:
    return np.concatenate([array.ravel().astype(np.float64) for array in model_state(model)])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
