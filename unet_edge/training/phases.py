"""The phases of a run: training with the encoder frozen, then training of the whole model."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import closing

import keras

from unet_edge.system.timing import StageClock
from unet_edge.training.batches import Batch, TrainingBatches
from unet_edge.training.checkpoint import Checkpoint, restore_optimizer
from unet_edge.training.losses import Objective
from unet_edge.training.optimisation import build_optimizer
from unet_edge.training.pace import measure_pace, short_try
from unet_edge.training.rounds import ValidationLoop
from unet_edge.training.settings.train_config import TrainConfig

_LEAST_ESTIMATED = 20  # steps of a run whose time is estimated, which takes four steps


def run_phases(
    model: keras.Model,
    loss: Objective | None,
    config: TrainConfig,
    batches: TrainingBatches,
    rounds: ValidationLoop,
    checkpoint: Checkpoint | None,
) -> StageClock:
    """Train the remaining rounds; return the times of waiting for data and of training steps.

    Each phase has an optimiser of its own.
    """
    clock: StageClock | None = None
    steps = config.steps_per_round
    bounds = [0, config.frozen_rounds, config.total_rounds]
    for first, last in itertools.pairwise(bounds):
        if not first <= rounds.done < last or rounds.exhausted:
            continue
        rounds.eval_model.builder.freeze(model, frozen=last <= config.frozen_rounds)
        optimizer = build_optimizer(config.optimisation, config.total_steps, first * steps)
        model.compile(optimizer=optimizer, loss=loss)
        if checkpoint is not None and rounds.done > first:
            model.optimizer.build(model.trainable_variables)
            restore_optimizer(model.optimizer, checkpoint.optimizer)
        if clock is None:
            clock = StageClock()
            if config.total_steps - rounds.done * steps >= _LEAST_ESTIMATED:
                _report_pace(model, config, batches, rounds)
        with closing(batches.stream(rounds.done * steps, last * steps)) as stream:
            while rounds.done < last and not rounds.exhausted:
                for _ in range(steps):
                    rounds.step(_train_on(model, stream, clock))
                rounds.close(model)
    return clock or StageClock()


def _report_pace(
    model: keras.Model, config: TrainConfig, batches: TrainingBatches, rounds: ValidationLoop
) -> None:
    pace = measure_pace(
        model,
        config,
        batches.dataset,
        batches.spec,
        batches,
        probed=rounds.eval_model.probed,
        statistics=rounds.eval_model.time_statistics(),
    )
    rounds.log.begin(rounds.done * config.steps_per_round, pace, short_try(config))


def _train_on(model: keras.Model, stream: Iterator[Batch], clock: StageClock) -> float:
    """Train on the next batch and return its loss."""
    # fit() is not used: its iterators restart at every epoch, differently on each backend. A
    # resumed run must train on the same batches.
    clock.start()
    pixels, labels = next(stream)
    clock("data")
    model.reset_metrics()
    loss = float(model.train_on_batch(pixels, labels, return_dict=True)["loss"])
    clock("step")
    return loss


def data_wait(clock: StageClock) -> float:
    """The share of the training time, 0..1, in which the model waited for data."""
    # Without the first step, which compiles.
    waited, trained = (sum(clock.laps.get(stage, ())[1:]) for stage in ("data", "step"))
    return waited / (waited + trained) if trained else 0.0
