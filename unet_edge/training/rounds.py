"""ValidationLoop: validates a run at the end of each round, and writes the run's folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import numpy as np

from unet_edge.dataset import Dataset
from unet_edge.dataset.split_file import SplitNames
from unet_edge.errors import TrainingError
from unet_edge.masks.metrics import Confusion
from unet_edge.runtime.run_folder import CHECKPOINT_FILE, PROGRESS_FOLDER
from unet_edge.runtime.segmenter import CONFIG_FILE, KERAS_MODEL, SPEC_FILE, SPLIT_FILE
from unet_edge.spec import ModelSpec
from unet_edge.system.counting import counted
from unet_edge.system.files import write_atomically
from unet_edge.system.progress import progress_bar
from unet_edge.training.checkpoint import (
    Arrays,
    Checkpoint,
    model_state,
    optimizer_state,
    restore_model,
)
from unet_edge.training.distribution import undistributed
from unet_edge.training.eval_model import EvalModel
from unet_edge.training.history import (
    TENSORBOARD_FOLDER,
    RoundResult,
    write_events,
    write_history,
)
from unet_edge.training.losses import Objective
from unet_edge.training.network_builder import NetworkBuilder
from unet_edge.training.optimisation import Schedule
from unet_edge.training.run_files import (
    LAST_MODEL,
    RESULT_FILE,
    save_model,
)
from unet_edge.training.run_log import RunLog
from unet_edge.training.settings.train_config import TrainConfig


class ValidationLoop:
    """Follows a run round by round, and writes its folder unless `writes` is False.

    Each round updates, validates and saves `eval_model`. The model in training never changes.
    """

    def __init__(
        self,
        config: TrainConfig,
        dataset: Dataset,
        spec: ModelSpec,
        run: Path,
        objective: Objective,
        *,
        builder: NetworkBuilder,
        say: Callable[[str], None] = lambda _: None,
        writes: bool = True,
    ) -> None:
        self._config = config
        self._dataset = dataset
        self._spec = spec
        self._run = run
        self._writes = writes
        self._history: list[RoundResult] = []
        self._losses: list[float] = []
        self._best: tuple[RoundResult, Confusion] | None = None
        self._best_state: Arrays = []
        self.start_miou: float | None = None
        self._bar = progress_bar(config.total_steps, "training")
        self.log = RunLog(
            config.total_steps,
            config.steps_per_round,
            config.batch_size,
            say,
            watched=not self._bar.disable,
        )
        self.eval_model = EvalModel(config, dataset, spec, objective, builder)
        self._say = say

    @property
    def done(self) -> int:
        """The number of finished rounds."""
        return len(self._history)

    @property
    def exhausted(self) -> bool:
        """Whether `patience` rounds have passed without an improvement."""
        patience = self._config.patience
        if not patience or self._best is None:
            return False
        best = self._best[0].step // self._config.steps_per_round  # 0: the start
        return self.done - best >= patience

    @property
    def _step(self) -> int:
        """The number of finished steps."""
        return self.done * self._config.steps_per_round + len(self._losses)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Restore the history and the best model of a checkpoint.

        Raises TrainingError if its rounds had another length, or if it has more rounds.
        """
        facts = checkpoint.facts
        self._history = [RoundResult(**entry) for entry in facts["history"]]
        steps, planned = self._history[-1].step, self.done * self._config.steps_per_round
        if steps != planned or steps > self._config.total_steps:
            raise TrainingError(
                f"the checkpoint has {self.done} rounds and {steps} steps",
                expected=(
                    f"progress/config.toml has {self._config.steps_per_round} steps a round and "
                    f"{self._config.total_steps} steps in total"
                ),
                fix="restore its steps and rounds, or train again with --overwrite",
            )
        best = RoundResult(**facts["best"])
        self._best = (best, Confusion(np.array(facts["confusion"], np.int64)))
        self._best_state = checkpoint.best
        self.start_miou = facts.get("start_miou")
        self._bar.update(self._step)

    def score_start(self, model: keras.Model, *, new_classes: int) -> None:
        """Score the weights that a run starts from, before its first step.

        Without new classes, they compete with the rounds: the result is never worse than they are.
        """
        with undistributed():
            self.eval_model.adopt(model)
            loss, confusion = self.eval_model.score(self._dataset.validation)
        self.start_miou = confusion.miou
        line = f"before training, the start scores {confusion.miou:.4f} grid mIoU"
        if new_classes:
            self._say(f"{line} with {counted(new_classes, 'new class')}")
            return
        self._say(line)
        # It was not trained on this run's batches, so its loss on them is not known.
        entry = RoundResult(0, 0.0, float("nan"), loss, confusion.miou, "start")
        self._best = (entry, confusion)
        self._best_state = model_state(self.eval_model.model)

    def step(self, loss: float) -> None:
        """Record a training step. Raises TrainingError for a loss that is not finite."""
        self._losses.append(loss)
        if not np.isfinite(loss):
            raise self._diverged(f"the loss is {loss} at")
        best = self._best[0].validation_grid_miou if self._best else None
        self.log.step(self._step, loss, best)
        self._bar.update()
        shown = "-" if best is None else f"{best:.4f}"
        self._bar.set_postfix(loss=f"{loss:.3f}", best_grid_mIoU=shown, refresh=False)

    def _diverged(self, problem: str) -> TrainingError:
        return TrainingError(
            f"{problem} step {self._step}",
            fix=f"lower --learning-rate (now {self._config.optimisation.learning_rate:g})",
        )

    def close(self, model: keras.Model) -> None:
        """End a round: validate the evaluation model and write the run's files."""
        with undistributed():
            frozen = self.done < self._config.frozen_rounds
            statistics = self.eval_model.update(model, frozen=frozen)
            loss, confusion = self.eval_model.score(self._dataset.validation)
        if not np.isfinite(loss):
            raise self._diverged(f"the validation loss is {loss} after")
        step = (self.done + 1) * self._config.steps_per_round
        schedule = Schedule(self._config.optimisation, self._config.total_steps)
        entry = RoundResult(
            step=step,
            learning_rate=float(schedule(step - 1)),
            loss=float(np.mean(self._losses)),
            validation_loss=loss,
            validation_grid_miou=confusion.miou,
            statistics=statistics,
        )
        self._losses = []
        self._history.append(entry)
        # "not <=": any number must beat a first round whose mIoU is nan.
        improved = (
            self._best is None
            or not entry.validation_grid_miou <= self._best[0].validation_grid_miou
        )
        if improved:
            self._best = (entry, confusion)
            self._best_state = model_state(self.eval_model.model)
        if self._writes:
            self._write(model, entry, improved=improved)
        assert self._best is not None
        self.log.close(entry, self._best[0].validation_grid_miou)

    def best(self) -> tuple[RoundResult, Confusion]:
        """Return the best round, and restore its model to the evaluation model."""
        self._bar.close()
        assert self._best is not None, "a run has at least one round"
        restore_model(self.eval_model.model, self._best_state)
        return self._best

    def _write(self, model: keras.Model, entry: RoundResult, *, improved: bool) -> None:
        """Write the round's files, the checkpoint last: it means that the round is complete."""
        assert self._best is not None
        self._run.mkdir(parents=True, exist_ok=True)
        if improved:
            self._write_best()
        elif self.done == 1:
            self._write_start()
        save_model(self.eval_model.model, self._run / LAST_MODEL)
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
            "start_miou": self.start_miou,
        }
        Checkpoint(
            model=model_state(model),
            optimizer=optimizer_state(model.optimizer),
            best=self._best_state,
            facts=facts,
        ).write(self._run / PROGRESS_FOLDER / CHECKPOINT_FILE)

    def _write_start(self) -> None:
        """Write the start, which the first round did not improve, as the best model."""
        state = model_state(self.eval_model.model)
        restore_model(self.eval_model.model, self._best_state)
        self._write_best()
        restore_model(self.eval_model.model, state)

    def _write_best(self) -> None:
        """Write the best model with its contract, settings and split."""
        (self._run / RESULT_FILE).unlink(missing_ok=True)  # an earlier model's
        save_model(self.eval_model.model, self._run / KERAS_MODEL)
        write_atomically(self._run / SPEC_FILE, self._spec.to_json() + "\n")
        write_atomically(self._run / CONFIG_FILE, self._config.to_toml())
        write_atomically(self._run / SPLIT_FILE, SplitNames.of(self._dataset).to_json())
