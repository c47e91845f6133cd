"""A training run, from settings to a folder with a model that is fit to export."""

from __future__ import annotations

import csv
import dataclasses
import io
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from unet_edge.dataset import Dataset, Sample, check_dataset
from unet_edge.errors import ConfigError, TrainingError
from unet_edge.files import json_text, require_place, write_atomically
from unet_edge.metrics import Confusion
from unet_edge.progress import progress, progress_bar
from unet_edge.runtime.segmenter import KERAS_MODEL, SPEC_FILE
from unet_edge.spec import ModelSpec
from unet_edge.training import batch_norm
from unet_edge.training.augmentation import PLAIN
from unet_edge.training.batches import Batch, TrainingBatches
from unet_edge.training.config import CONFIG_FILE, TrainConfig
from unet_edge.training.curves import draw_curves
from unet_edge.training.models import build, load_encoder
from unet_edge.training.samples import save_samples
from unet_edge.training.validation import compare_modes, masked_cross_entropy, validate

RESULT_FILE = "result.json"
BUNDLE_FOLDER = "bundle"

# Batches over which BatchNorm statistics are re-estimated: 12 brought a stale cats model, 40
# steps into training, from 0.405 to 0.737 mIoU. 12 x 8 crops of 256 px: 6 million pixels a channel.
_STATISTICS_BATCHES = 12

# Training pictures, as inference sees them, whose loss chooses between the statistics.
_JUDGES = 16

# Inference may cost this much more loss than training before we say that they disagree. Three
# re-estimated models (membranes, cats, generated cells) measured 0.91 to 0.99 times; the cells'
# with its statistics reset, 3.5 times.
_LOSS_RATIO = 1.5
_LOSS_SLACK = 0.05

Say = Callable[[str], None]


@dataclass(frozen=True)
class RoundResult:
    """One line of history.csv: losses in nats per pixel, mIoU 0..1 on the inference grid.

    `statistics` says which crops BatchNorm's were estimated over: augmented or plain.
    """

    step: int
    loss: float
    validation_loss: float
    validation_miou: float
    statistics: str


@dataclass(frozen=True)
class TrainResult:
    """What a run came to.

    `training_loss` and `inference_loss` are of the best model over the same training crops with
    batch statistics and with the re-estimated moving statistics; they agree in a sound model.
    """

    run: Path
    best_step: int
    validation_miou: float
    validation_iou: tuple[float, ...]
    training_loss: float
    inference_loss: float

    @property
    def agrees(self) -> bool:
        """Whether inference does about as well as training on the same pictures."""
        return self.inference_loss <= self.training_loss * _LOSS_RATIO + _LOSS_SLACK

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {**asdict(self), "run": self.run.name, "agrees": self.agrees}


def train(
    config: TrainConfig, run: Path, *, overwrite: bool = False, say: Say = lambda _: None
) -> TrainResult:
    """Train a model and write `run`: model.keras, spec.json, history, curves, samples.

    The best model so far (by validation mIoU) is saved at every round, so an interrupted run
    leaves a usable one. `say` gets one line for each thing worth knowing.

    Raises ConfigError, DataError, WeightsError, or TrainingError when the loss is not a number.
    """
    if (run / KERAS_MODEL).exists() and not overwrite:
        raise ConfigError(
            f"{run} already holds a trained model; choose another --output or pass --overwrite"
        )
    foreign = run.is_dir() and any(not path.name.startswith(".") for path in run.iterdir())
    if foreign and not (run / CONFIG_FILE).is_file():
        raise ConfigError(f"{run} holds other things than a run; choose another --output")
    require_place(run)
    spec = config.spec()
    dataset = config.dataset()
    for note in dataset.notes:
        say(note)
    check_dataset(dataset, progress)

    keras.utils.set_random_seed(config.seed)
    model = build(config.network, len(config.classes), spec.normalisation)
    if config.encoder != "none":
        loaded = load_encoder(model, config.network, config.encoder)
        say(f"encoder: {loaded} layers loaded from {config.encoder}")
    say(f"model: {config.network.architecture}, {model.count_params() / 1e6:.2f} M parameters")
    batch_norm.set_momentum(model, config.steps)
    model.compile(
        optimizer=keras.optimizers.AdamW(_schedule(config), weight_decay=config.weight_decay),
        loss=masked_cross_entropy(),
    )
    if (run / BUNDLE_FOLDER).exists():
        say(f"{run / BUNDLE_FOLDER} is of the earlier model: export again after this run")
    watch = _Rounds(config, dataset, spec, run)
    model.fit(
        _batches(config, dataset, spec, config.seed, workers=2, max_queue_size=8),
        epochs=config.rounds,
        verbose=0,
        callbacks=[watch],
    )
    result = watch.finish()
    if not result.agrees:
        say(
            f"WARNING: inference disagrees with training: loss {result.inference_loss:.3f} "
            f"against {result.training_loss:.3f} on the same pictures; exports will look like "
            "the former. More steps or a larger batch steady the BatchNorm statistics."
        )
    return result


def _schedule(config: TrainConfig) -> keras.optimizers.schedules.LearningRateSchedule:
    """Cosine decay to zero after a linear warm-up over the first twentieth."""
    steps = config.steps_per_round * config.rounds
    warmup = max(1, steps // 20)
    return keras.optimizers.schedules.CosineDecay(
        0.0,
        max(1, steps - warmup),
        warmup_target=config.learning_rate,
        warmup_steps=warmup,
    )


def _batches(
    config: TrainConfig, dataset: Dataset, spec: ModelSpec, seed: int, **options: int
) -> TrainingBatches:
    return TrainingBatches(
        dataset,
        spec,
        crop=config.crop_size,
        batch_size=config.batch_size,
        steps=config.steps_per_round,
        augmentation=config.augmentation,
        seed=seed,
        **options,
    )


def _views(config: TrainConfig, dataset: Dataset, spec: ModelSpec) -> dict[str, list[Batch]]:
    """Batches to estimate BatchNorm statistics over: as training draws them, and plain.

    Drawn from another seed than training's, once: the same ones judge every round.
    """
    kinds = {"augmented": config}
    if config.augmentation is not None:
        kinds["plain"] = dataclasses.replace(config, augmentation=PLAIN)
    count = min(_STATISTICS_BATCHES, config.steps_per_round)
    drawn = {name: _batches(kind, dataset, spec, config.seed + 1) for name, kind in kinds.items()}
    return {name: [batches[i] for i in range(count)] for name, batches in drawn.items()}


class _Rounds(keras.callbacks.Callback):
    """At the end of each round: fresh statistics, validation, history, best model."""

    def __init__(self, config: TrainConfig, dataset: Dataset, spec: ModelSpec, run: Path) -> None:
        super().__init__()
        self._config = config
        self._dataset = dataset
        self._spec = spec
        self._run = run
        self._history: list[RoundResult] = []
        self._best: tuple[RoundResult, Confusion] | None = None
        self._best_weights: list[np.ndarray] = []
        self._bar = progress_bar(config.steps_per_round * config.rounds, "training")
        self._views = _views(config, dataset, spec)
        step = max(1, len(dataset.train) // _JUDGES)
        self._judges = dataset.train[::step][:_JUDGES]

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        loss = (logs or {}).get("loss", float("nan"))
        if not np.isfinite(loss):
            raise TrainingError(
                f"the loss is {loss} at step {self._bar.n + 1}; lower --learning-rate "
                f"(now {self._config.learning_rate:g})"
            )
        self._bar.update()
        best = f"{self._best[0].validation_miou:.4f}" if self._best else "-"
        self._bar.set_postfix(loss=f"{loss:.3f}", best_mIoU=best, refresh=False)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        statistics = batch_norm.choose_statistics(
            self.model,
            {name: [pixels for pixels, _ in views] for name, views in self._views.items()},
            lambda: self._score(self._judges)[0],
        )
        loss, confusion = self._score(self._dataset.validation)
        entry = RoundResult(
            step=(epoch + 1) * self._config.steps_per_round,
            loss=float((logs or {})["loss"]),
            validation_loss=loss,
            validation_miou=confusion.miou,
            statistics=statistics,
        )
        self._history.append(entry)
        # "not <=": a first round whose mIoU is no number must be beaten by any that is one.
        if self._best is None or not entry.validation_miou <= self._best[0].validation_miou:
            self._best = (entry, confusion)
            self._best_weights = self.model.get_weights()
            self._save()
        _write_history(self._run / "history.csv", self._history)
        draw_curves(
            self._run / "curves.png",
            steps=[e.step for e in self._history],
            losses={
                "training": [e.loss for e in self._history],
                "validation": [e.validation_loss for e in self._history],
            },
            miou=[e.validation_miou for e in self._history],
        )

    def finish(self) -> TrainResult:
        """Write samples and the result of the best round's model."""
        self._bar.close()
        assert self._best is not None, "fit() ran at least one round"
        entry, confusion = self._best
        self.model.set_weights(self._best_weights)
        training_loss, inference_loss = compare_modes(self.model, self._views[entry.statistics])
        save_samples(self.model, self._dataset, self._spec, self._run / "samples")
        result = TrainResult(
            run=self._run,
            best_step=entry.step,
            validation_miou=confusion.miou,
            validation_iou=confusion.iou,
            training_loss=training_loss,
            inference_loss=inference_loss,
        )
        write_atomically(self._run / RESULT_FILE, json_text(result.to_dict()))
        return result

    def _score(self, samples: Sequence[Sample]) -> tuple[float, Confusion]:
        return validate(self.model, self._dataset, samples, self._spec, self._config.batch_size)

    def _save(self) -> None:
        """Save the model without its optimiser, aside and renamed."""
        config = self._config
        plain = build(config.network, len(config.classes), self._spec.normalisation)
        plain.set_weights(self._best_weights)
        aside = self._run / f".{os.getpid()}.{KERAS_MODEL}"
        self._run.mkdir(parents=True, exist_ok=True)
        try:
            plain.save(aside)
            # The four belong together: of an earlier run, nothing stays that speaks of this one.
            (self._run / RESULT_FILE).unlink(missing_ok=True)
            aside.replace(self._run / KERAS_MODEL)
            write_atomically(self._run / SPEC_FILE, self._spec.to_json() + "\n")
            write_atomically(self._run / CONFIG_FILE, config.to_json())
        finally:
            aside.unlink(missing_ok=True)


def _write_history(path: Path, history: list[RoundResult]) -> None:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(RoundResult.__dataclass_fields__), lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(entry) for entry in history)
    write_atomically(path, buffer.getvalue())
