"""What happens at the end of each round: statistics, validation, history, best model, checkpoint.

A round validates and saves an evaluation model: the same network in float32, outside every
distribution and distillation, with the averaged weights if the run averages them. The model in
training is never changed by it.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import numpy as np

from unet_edge.dataset import Dataset, Sample
from unet_edge.dataset.split_file import SplitNames
from unet_edge.errors import TrainingError
from unet_edge.masks.metrics import Confusion
from unet_edge.runtime.segmenter import CONFIG_FILE, KERAS_MODEL, SPEC_FILE, SPLIT_FILE
from unet_edge.spec import IGNORE, ModelSpec
from unet_edge.system.files import write_atomically
from unet_edge.system.progress import progress_bar
from unet_edge.training import batch_norm
from unet_edge.training.batches import Batch, training_batches
from unet_edge.training.checkpoint import (
    Arrays,
    Checkpoint,
    model_state,
    optimizer_state,
    restore_model,
)
from unet_edge.training.distribution import undistributed
from unet_edge.training.history import (
    TENSORBOARD_FOLDER,
    RoundResult,
    write_events,
    write_history,
)
from unet_edge.training.losses import Objective
from unet_edge.training.models import build, freeze_encoder
from unet_edge.training.optimisation import Schedule
from unet_edge.training.run_log import RunLog
from unet_edge.training.settings.train_config import TrainConfig
from unet_edge.training.validation import validate

RESULT_FILE = "result.json"
LAST_MODEL = "last.keras"
PROGRESS_FOLDER = "progress"
"""Exists in a run that is not finished: its settings and, after the first round, a checkpoint."""

CHECKPOINT_FILE = "checkpoint"

# Batches over which BatchNorm statistics are re-estimated: 12 brought a stale cats model, 40
# steps into training, from 0.405 to 0.737 mIoU. 12 x 8 crops of 256 px: 6 million pixels a channel.
_STATISTICS_BATCHES = 12

# Training pictures, as inference sees them, whose loss chooses between the statistics.
_PROBE_SAMPLES = 16


class ValidationLoop:
    """Follows a run, round by round, and writes its folder unless `writes` is False."""

    def __init__(
        self,
        config: TrainConfig,
        dataset: Dataset,
        spec: ModelSpec,
        run: Path,
        objective: Objective,
        *,
        say: Callable[[str], None] = lambda _: None,
        writes: bool = True,
    ) -> None:
        self._config = config
        self._dataset = dataset
        self._spec = spec
        self._run = run
        self._objective = objective
        self._writes = writes
        self._history: list[RoundResult] = []
        self._losses: list[float] = []
        self._best: tuple[RoundResult, Confusion] | None = None
        self._best_state: Arrays = []
        self._bar = progress_bar(config.total_steps, "training")
        self.log = RunLog(
            config.total_steps,
            config.steps_per_round,
            config.batch_size,
            say,
            watched=not self._bar.disable,
        )
        self.views = _views(config, dataset, spec)
        self._probe_samples = _probe_samples(dataset)
        self.eval_model = build(config.network, len(config.classes), spec.normalisation)

    @property
    def done(self) -> int:
        """How many rounds are behind us."""
        return len(self._history)

    @property
    def probed(self) -> int:
        """Whole pictures that a round looks at besides the validation ones."""
        return len(self._probe_samples) * len(self.views)

    def time_statistics(self) -> float:
        """Seconds that a round spends on re-estimating statistics, from one of its batches."""
        pixels = next(iter(self.views.values()))[0][0]
        with undistributed():
            for _ in range(2):  # the first one loads kernels
                started = time.perf_counter()
                self.eval_model(pixels, training=True)  # every round overwrites what this changes
                spent = time.perf_counter() - started
        return spent * sum(map(len, self.views.values()))

    @property
    def exhausted(self) -> bool:
        """Whether `patience` rounds have passed without a better one."""
        patience = self._config.patience
        if not patience or self._best is None:
            return False
        return self.done - 1 - self._history.index(self._best[0]) >= patience

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint's history and best model.

        Raises TrainingError where the rounds were of another length, or there were more.
        """
        facts = checkpoint.facts
        self._history = [RoundResult(**entry) for entry in facts["history"]]
        steps, planned = self._history[-1].step, self.done * self._config.steps_per_round
        if steps != planned or steps > self._config.total_steps:
            raise TrainingError(
                f"the checkpoint is of {self.done} rounds and {steps} steps, "
                "which progress/config.toml does not lead to "
                f"({self._config.steps_per_round} steps a round, "
                f"{self._config.total_steps} in all)",
                fix="restore its steps and rounds, or train anew with --overwrite",
            )
        best = RoundResult(**facts["best"])
        self._best = (best, Confusion(np.array(facts["confusion"], np.int64)))
        self._best_state = checkpoint.best
        self._bar.update(self.done * self._config.steps_per_round)

    def step(self, loss: float) -> None:
        """Count a batch; a loss that is no number ends the run."""
        self._losses.append(loss)
        if not np.isfinite(loss):
            raise self._diverged(f"the loss is {loss} at")
        self.log.step(
            self.done * self._config.steps_per_round + len(self._losses),
            loss,
            self._best[0].validation_grid_miou if self._best else None,
        )
        self._bar.update()
        best = f"{self._best[0].validation_grid_miou:.4f}" if self._best else "-"
        self._bar.set_postfix(loss=f"{loss:.3f}", best_grid_mIoU=best, refresh=False)

    def _diverged(self, what: str) -> TrainingError:
        return TrainingError(
            f"{what} step {self.done * self._config.steps_per_round + len(self._losses)}",
            fix=(f"lower --learning-rate (now {self._config.optimisation.learning_rate:g})"),
        )

    def close(self, model: keras.Model) -> None:
        """End a round: validate the evaluation model and write everything."""
        with undistributed():
            statistics = self._update_eval_model(
                model, frozen=self.done < self._config.frozen_rounds
            )
            loss, confusion = self._score(self._dataset.validation)
        if not np.isfinite(loss):
            raise self._diverged(f"the validation loss is {loss} after")
        step = (self.done + 1) * self._config.steps_per_round
        entry = RoundResult(
            step=step,
            learning_rate=float(
                Schedule(self._config.optimisation, self._config.total_steps)(step - 1)
            ),
            loss=float(np.mean(self._losses)),
            validation_loss=loss,
            validation_grid_miou=confusion.miou,
            statistics=statistics,
        )
        self._losses = []
        self._history.append(entry)
        # "not <=": a first round whose mIoU is no number must be beaten by any that is one.
        better = (
            self._best is None
            or not entry.validation_grid_miou <= self._best[0].validation_grid_miou
        )
        if better:
            self._best = (entry, confusion)
            self._best_state = model_state(self.eval_model)
        if self._writes:
            self._write(model, entry, better)
        assert self._best is not None
        self.log.close(entry, self._best[0].validation_grid_miou)

    def best(self) -> tuple[RoundResult, Confusion]:
        """The best round; the evaluation model holds its model afterwards."""
        self._bar.close()
        assert self._best is not None, "a run has at least one round"
        restore_model(self.eval_model, self._best_state)
        return self._best

    def _update_eval_model(self, model: keras.Model, *, frozen: bool) -> str:
        """Copy the weights, averaged if they are, and choose fresh statistics; their name."""
        freeze_encoder(
            self.eval_model, frozen
        )  # frozen layers trained with the statistics they have
        # Random states too: the statistics depend on what dropout leaves out, and must come out
        # the same after an interruption.
        restore_model(self.eval_model, model_state(model))
        if self._config.optimisation.ema:
            model.optimizer.finalize_variable_values(self.eval_model.trainable_variables)
            # Copied: on JAX the averages themselves were handed over, and predictions of the
            # evaluation model would give up their memory.
            self.eval_model.set_weights(
                [np.array(weight) for weight in self.eval_model.get_weights()]
            )
        chosen = batch_norm.choose_statistics(
            self.eval_model,
            {name: [pixels for pixels, _ in views] for name, views in self.views.items()},
            lambda: self._score(self._probe_samples)[0],
        )
        freeze_encoder(self.eval_model, False)
        return chosen

    def _score(self, samples: Sequence[Sample]) -> tuple[float, Confusion]:
        return validate(
            self.eval_model,
            self._dataset,
            samples,
            self._spec,
            self._config.batch_size,
            self._objective,
        )

    def _write(self, model: keras.Model, entry: RoundResult, better: bool) -> None:
        """The round's files; the checkpoint last, since it says that the round is done."""
        assert self._best is not None
        self._run.mkdir(parents=True, exist_ok=True)
        if better:
            # The five belong together: of an earlier run, nothing stays that speaks of this one.
            (self._run / RESULT_FILE).unlink(missing_ok=True)
            save_model(self.eval_model, self._run / KERAS_MODEL)
            write_atomically(self._run / SPEC_FILE, self._spec.to_json() + "\n")
            write_atomically(self._run / CONFIG_FILE, self._config.to_toml())
            write_atomically(self._run / SPLIT_FILE, SplitNames.of(self._dataset).to_json())
        save_model(self.eval_model, self._run / LAST_MODEL)
        write_history(self._run, self._history)
        if self.done == 1:
            shutil.rmtree(self._run / TENSORBOARD_FOLDER, ignore_errors=True)  # an earlier run's
        if self._config.tensorboard:
            write_events(self._run, entry)
        facts: dict[str, Any] = {
            "history": [asdict(entry) for entry in self._history],
            "best": asdict(self._best[0]),
            "confusion": self._best[1].counts.tolist(),
            "settings": self._config.to_toml(),
        }
        Checkpoint(
            model=model_state(model),
            optimizer=optimizer_state(model.optimizer),
            best=self._best_state,
            facts=facts,
        ).write(self._run / PROGRESS_FOLDER / CHECKPOINT_FILE)


def _probe_samples(dataset: Dataset) -> list[Sample]:
    """Training pictures spread over the set, those that are ignored throughout left out."""
    samples: list[Sample] = []
    step = max(1, len(dataset.train) // _PROBE_SAMPLES)
    spread = (sample for start in range(step) for sample in dataset.train[start::step])
    for sample in spread:
        if len(samples) == _PROBE_SAMPLES:
            break
        if (dataset.read(sample)[1] != IGNORE).any():
            samples.append(sample)
    return samples


def save_model(model: keras.Model, path: Path) -> None:
    """Save a .keras file; there is the old one or the whole new one at any time."""
    aside = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        model.save(aside)  # Keras writes to names that end in .keras only
        write_atomically(path, aside.read_bytes())
    finally:
        aside.unlink(missing_ok=True)


def _views(config: TrainConfig, dataset: Dataset, spec: ModelSpec) -> dict[str, list[Batch]]:
    """Batches to estimate BatchNorm statistics over: as training draws them, and plain.

    Drawn from another seed than training's, once: the same ones judge every round.
    """
    count = min(_STATISTICS_BATCHES, config.steps_per_round)
    kinds = {"augmented": False, "plain": True} if config.augment else {"plain": True}
    views: dict[str, list[Batch]] = {}
    for name, plain in kinds.items():
        batches = training_batches(config, dataset, spec, seed=config.seed + 1, plain=plain)
        views[name] = [batches[index] for index in range(count)]
    return views
