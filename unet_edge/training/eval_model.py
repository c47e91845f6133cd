"""EvalModel: the model that a round validates and saves."""

from __future__ import annotations

import time
from collections.abc import Sequence

import keras
import numpy as np

from unet_edge.dataset import Dataset, Sample
from unet_edge.masks.metrics import Confusion
from unet_edge.spec import IGNORE, ModelSpec
from unet_edge.training import batch_norm
from unet_edge.training.batches import Batch, training_batches
from unet_edge.training.checkpoint import model_state, restore_model
from unet_edge.training.distribution import undistributed
from unet_edge.training.losses import Objective
from unet_edge.training.network_builder import NetworkBuilder
from unet_edge.training.settings.train_config import TrainConfig
from unet_edge.training.validation import validate

# Batches over which BatchNorm statistics are re-estimated: 12 brought a cats model with stale
# statistics from 0.405 to 0.737 mIoU (docs/decisions/029-batch-norm.md). 12 x 8 crops of 256 px are
# 6 million pixels a channel.
_STATISTICS_BATCHES = 12

# Training pictures, as inference sees them, whose loss chooses the statistics.
_PROBE_SAMPLES = 16


class EvalModel:
    """The network in float32, outside every distribution and distillation.

    It has the averaged weights if the run averages them. `update` copies the weights of the model
    in training, and does not change that model.
    """

    def __init__(
        self,
        config: TrainConfig,
        dataset: Dataset,
        spec: ModelSpec,
        objective: Objective,
        builder: NetworkBuilder,
    ) -> None:
        self._config = config
        self._dataset = dataset
        self._spec = spec
        self._objective = objective
        self.builder = builder
        self.views = _views(config, dataset, spec)
        self._probe_samples = _probe_samples(dataset)
        self.model = builder.build()

    @property
    def probed(self) -> int:
        """The number of pictures that `update` scores."""
        return len(self._probe_samples) * len(self.views)

    def time_statistics(self) -> float:
        """Measure the seconds that `update` spends on statistics, by one of its batches."""
        pixels = next(iter(self.views.values()))[0][0]
        with undistributed():
            for _ in range(2):  # the first one loads kernels
                started = time.perf_counter()
                self.model(pixels, training=True)  # changes statistics, which `update` overwrites
                seconds = time.perf_counter() - started
        return seconds * sum(map(len, self.views.values()))

    def adopt(self, model: keras.Model) -> None:
        """Copy the weights of `model` with the statistics that it has."""
        restore_model(self.model, model_state(model))

    def update(self, model: keras.Model, *, frozen: bool) -> str:
        """Copy the weights of `model` and re-estimate the statistics; return their views' name.

        With `frozen`, the encoder keeps its statistics.
        """
        # Frozen layers were trained with the statistics they have.
        self.builder.freeze(self.model, frozen)
        # Random states too: the statistics depend on what dropout leaves out, and must be the same
        # in a resumed run.
        restore_model(self.model, model_state(model))
        if self._config.optimisation.ema:
            model.optimizer.finalize_variable_values(self.model.trainable_variables)
            # Copied, because on JAX the model now shares the memory of the optimiser's averages,
            # and its predictions would release it.
            self.model.set_weights([np.array(weight) for weight in self.model.get_weights()])
        statistics = batch_norm.choose_statistics(
            self.model,
            {name: [pixels for pixels, _ in views] for name, views in self.views.items()},
            lambda: self.score(self._probe_samples)[0],
        )
        self.builder.freeze(self.model, False)
        return statistics

    def score(self, samples: Sequence[Sample]) -> tuple[float, Confusion]:
        """Compute the mean loss and the confusion over samples on the grid."""
        return validate(
            self.model,
            self._dataset,
            samples,
            self._spec,
            self._config.batch_size,
            self._objective,
        )


def _probe_samples(dataset: Dataset) -> list[Sample]:
    """Choose training pictures spread over the set, without those ignored completely."""
    samples: list[Sample] = []
    step = max(1, len(dataset.train) // _PROBE_SAMPLES)
    spread = (sample for start in range(step) for sample in dataset.train[start::step])
    for sample in spread:
        if len(samples) == _PROBE_SAMPLES:
            break
        if (dataset.read(sample)[1] != IGNORE).any():
            samples.append(sample)
    return samples


def _views(config: TrainConfig, dataset: Dataset, spec: ModelSpec) -> dict[str, list[Batch]]:
    """Draw the batches over which statistics are estimated: augmented ones and plain ones."""
    # Drawn once, so that every round is judged by the same batches, and with a seed other than
    # training's.
    count = min(_STATISTICS_BATCHES, config.steps_per_round)
    kinds = {"augmented": False, "plain": True} if config.augment else {"plain": True}
    views: dict[str, list[Batch]] = {}
    for name, plain in kinds.items():
        batches = training_batches(config, dataset, spec, seed=config.seed + 1, plain=plain)
        views[name] = [batches[index] for index in range(count)]
    return views
