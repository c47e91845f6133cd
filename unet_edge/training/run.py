"""A training run, from settings to a folder with a model that is fit to export."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import keras

from unet_edge.dataset import Dataset, check_dataset
from unet_edge.dataset.split_file import SplitNames
from unet_edge.errors import ConfigError, TrainingError
from unet_edge.runtime.segmenter import BUNDLE_FOLDER, CONFIG_FILE, KERAS_MODEL, SPLIT_FILE
from unet_edge.spec import ModelSpec
from unet_edge.system.files import json_text, require_writable_path, write_atomically
from unet_edge.system.printable import printable
from unet_edge.system.progress import progress
from unet_edge.system.timing import StageClock
from unet_edge.training import batch_norm
from unet_edge.training.batches import Batch, training_batches
from unet_edge.training.checkpoint import Checkpoint, restore_model, restore_optimizer
from unet_edge.training.class_weights import balanced_weights
from unet_edge.training.config import load_run_config
from unet_edge.training.distillation import with_teacher
from unet_edge.training.distribution import Machines, data_parallel, part_of
from unet_edge.training.losses import Objective, objective
from unet_edge.training.models import build, freeze_encoder, load_encoder
from unet_edge.training.optimisation import build_optimizer
from unet_edge.training.pace import measure_pace
from unet_edge.training.precision import choose_precision, dtype_policy
from unet_edge.training.rounds import (
    CHECKPOINT_FILE,
    PROGRESS_FOLDER,
    RESULT_FILE,
    ValidationLoop,
)
from unet_edge.training.run_lock import RunLock
from unet_edge.training.samples import save_samples
from unet_edge.training.settings.train_config import TrainConfig
from unet_edge.training.toml import flattened, load_toml
from unet_edge.training.validation import compare_modes, score_at_own_size

# Inference may cost this much more loss than training before we say that they disagree. Three
# re-estimated models (membranes, cats, generated cells) measured 0.91 to 0.99 times; the cells'
# with its statistics reset, 3.5 times.
_LOSS_RATIO = 1.5
_LOSS_SLACK = 0.05

_WORTH_AN_ESTIMATE = 20  # steps; measuring takes four

Say = Callable[[str], None]


@dataclass(frozen=True)
class TrainResult:
    """What a run came to.

    `validation_miou` and `validation_iou`, 0..1, are measured at the pictures' own size, as
    `unet-edge evaluate` and `export` do. `validation_grid_miou` is measured on the model's grid;
    it chose the best round.
    `training_loss` and `inference_loss` are of the best model over the same training crops with
    batch statistics and with the re-estimated moving statistics; they agree in a sound model.
    `data_wait` is the share of the training time, 0..1, in which the model waited for data.
    """

    run: Path
    best_step: int
    validation_miou: float
    validation_iou: tuple[float, ...]
    validation_grid_miou: float
    training_loss: float
    inference_loss: float
    data_wait: float

    @property
    def agrees(self) -> bool:
        """Whether inference does about as well as training on the same pictures."""
        return self.inference_loss <= self.training_loss * _LOSS_RATIO + _LOSS_SLACK

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {**asdict(self), "run": self.run.name, "agrees": self.agrees}


def train(
    config: TrainConfig,
    run: Path,
    *,
    overwrite: bool = False,
    machines: Machines | None = None,
    say: Say = lambda _: None,
) -> TrainResult:
    """Train a model and write `run`: model.keras (best), last.keras, history, curves, samples.

    The best model so far (by validation mIoU) is saved at every round, so an interrupted run
    leaves a usable one, and `resume` can finish it. `say` gets one line for each thing worth
    knowing. `machines` makes this one process of several.

    Raises ConfigError, DataError, WeightsError, or TrainingError when the loss is not a number.
    """
    if run.exists() and not run.is_dir():
        raise ConfigError(
            f"{run} is a file",
            fix="choose another --output",
        )
    progress_folder = run / PROGRESS_FOLDER
    # The first of several processes makes the folder, maybe before another one looks.
    leads = machines is None or machines.process == 0
    if progress_folder.is_dir() and not overwrite and leads:
        raise ConfigError(
            f"{run} holds an unfinished run",
            fix=(
                f"finish it with 'unet-edge resume {run}', choose another --output or "
                "pass --overwrite"
            ),
        )
    if (run / KERAS_MODEL).exists() and not overwrite:
        raise ConfigError(
            f"{run} already holds a trained model",
            fix="choose another --output or pass --overwrite",
        )
    foreign = run.is_dir() and any(not path.name.startswith(".") for path in run.iterdir())
    if foreign and not (run / CONFIG_FILE).is_file() and not progress_folder.is_dir():
        raise ConfigError(
            f"{run} holds other things than a run",
            fix="choose another --output",
        )
    require_writable_path(run)
    with RunLock(run) as lock:
        if run.is_dir() and leads:
            lock.acquire()
        if (run / BUNDLE_FOLDER).exists():
            say(f"{run / BUNDLE_FOLDER} is of the earlier model: export again after this run")
        return _fit(config, run, None, lock, machines, say)


def resume(
    run: Path, *, machines: Machines | None = None, say: Say = lambda _: None
) -> TrainResult:
    """Finish an interrupted run from its last whole round, as if it had not been interrupted.

    Raises ConfigError when there is nothing to finish, else as `train`.
    """
    progress_folder = run / PROGRESS_FOLDER
    with RunLock(run) as lock:
        if run.is_dir() and (machines is None or machines.process == 0):
            lock.acquire()
        if not (progress_folder / CONFIG_FILE).is_file():
            finished = (run / RESULT_FILE).is_file()
            raise ConfigError(f"{run} is " + ("finished" if finished else "no unfinished run"))
        config = load_run_config(progress_folder / CONFIG_FILE)
        checkpoint = None
        if (path := progress_folder / CHECKPOINT_FILE).is_file():
            checkpoint = Checkpoint.read(path)
            _require_same_settings(config, checkpoint, progress_folder / CONFIG_FILE)
        return _fit(config, run, checkpoint, lock, machines, say)


# Settings that say where things are, or what is written beside the model.
_MAY_CHANGE = {
    *("data", "train_list", "validation_list", "test_list", "encoder_weights", "tensorboard"),
    "distillation.teacher",
}


def _require_same_settings(config: TrainConfig, checkpoint: Checkpoint, path: Path) -> None:
    """Raise ConfigError where config.toml was changed since the run began."""
    if "settings" not in checkpoint.facts:
        raise TrainingError(
            f"{path.parent} holds a checkpoint without the settings it was made with",
            fix="train anew with --overwrite",
        )
    began = flattened(load_toml(checkpoint.facts["settings"], "the checkpoint"))
    now = flattened(load_toml(config.to_toml(), str(path)))
    changed = [
        f"{place} was {began.get(place, 'not set')}, now {now.get(place, 'not set')}"
        for place in sorted(began.keys() | now.keys())
        if began.get(place) != now.get(place) and place not in _MAY_CHANGE
    ]
    if changed:
        raise ConfigError(
            f"{path} was changed since the run began: {'; '.join(changed)}",
            fix=(
                f"restore it, or train anew with 'unet-edge train --config {path}' "
                "and another --output"
            ),
        )


def _fit(
    config: TrainConfig,
    run: Path,
    checkpoint: Checkpoint | None,
    lock: RunLock,
    machines: Machines | None,
    say: Say,
) -> TrainResult:
    spec, dataset = config.spec(), _dataset(config, run, checkpoint)
    for note in dataset.notes:
        say(printable(note))
    pictures = sum(len(split) for split in dataset.splits.values())
    say(f"checking {pictures} pictures and masks")
    check_dataset(dataset, progress)
    part = part_of(machines, config.batch_size)
    if machines is not None and (config.optimisation.precision == "auto" or config.patience):
        raise ConfigError(
            "several processes must agree on everything: neither --precision auto nor --patience"
        )
    writes = machines is None or machines.process == 0
    # What "auto" chose is a setting from here on: a resumed or repeated run must not choose anew.
    precision = choose_precision(config, spec.normalisation, say)
    config = replace(config, optimisation=replace(config.optimisation, precision=precision))
    target = _objective(config, dataset, say)
    rounds = ValidationLoop(config, dataset, spec, run, target, say=say, writes=writes)

    with data_parallel() as devices:
        if config.batch_size % devices:
            raise ConfigError(
                f"a batch of {config.batch_size} cannot be shared evenly by {devices} devices"
            )
        if devices > 1:
            say(f"training on {devices} devices")
        keras.utils.set_random_seed(config.seed)
        with dtype_policy(precision):
            model = build(config.network, len(config.classes), spec.normalisation)
        if checkpoint is None:
            _load_encoder(model, config, say)
        else:
            restore_model(model, checkpoint.model)
            rounds.restore(checkpoint)
            say(f"going on after round {rounds.done} of {config.total_rounds}")
        say(f"model: {config.network.architecture}, {model.count_params() / 1e6:.2f} M parameters")
        batch_norm.set_momentum(model, config.steps)
        trained, loss = with_teacher(model, config, spec, target)
        if writes:
            run.mkdir(parents=True, exist_ok=True)
            lock.acquire()
            if checkpoint is None:  # what an earlier run left is not this one's
                (run / PROGRESS_FOLDER / CHECKPOINT_FILE).unlink(missing_ok=True)
            split = SplitNames.of(dataset).to_json()
            write_atomically(run / PROGRESS_FOLDER / SPLIT_FILE, split)
            write_atomically(run / PROGRESS_FOLDER / CONFIG_FILE, config.to_toml())
        try:
            clock = _run_phases(trained, loss, config, dataset, spec, part, rounds, checkpoint)
        except TrainingError:
            if writes and not rounds.done:  # nothing to resume, and the settings are no good
                _end(run)
            raise

    entry, on_grid = rounds.best()
    # What was frozen in the best round trained with the statistics it has.
    freeze_encoder(rounds.eval_model, entry.step <= config.frozen_rounds * config.steps_per_round)
    training_loss, inference_loss = compare_modes(
        rounds.eval_model, rounds.views[entry.statistics], target
    )
    confusion = score_at_own_size(rounds.eval_model, dataset, dataset.validation, spec)
    result = TrainResult(
        run=run,
        best_step=entry.step,
        validation_miou=confusion.miou,
        validation_iou=confusion.iou,
        validation_grid_miou=on_grid.miou,
        training_loss=training_loss,
        inference_loss=inference_loss,
        data_wait=_data_wait(clock),
    )
    if writes:
        save_samples(rounds.eval_model, dataset, spec, run / "samples")
        write_atomically(run / RESULT_FILE, json_text(result.to_dict()))
        _end(run)
    if not result.agrees:
        say(
            f"WARNING: inference disagrees with training: loss {result.inference_loss:.3f} "
            f"against {result.training_loss:.3f} on the same pictures; exports will look like "
            "the former. More steps or a larger batch steady the BatchNorm statistics."
        )
    return result


def _dataset(config: TrainConfig, run: Path, checkpoint: Checkpoint | None) -> Dataset:
    """The run's data; of a run that goes on, split as it was when the run began."""
    path = run / PROGRESS_FOLDER / SPLIT_FILE
    if checkpoint is not None and path.is_file():
        return config.dataset(SplitNames.read(path), progress)
    return config.dataset(progress=progress)


def _end(run: Path) -> None:
    """Remove what makes a run unfinished; renamed first, so that no half of it is met."""
    gone = run / f".{PROGRESS_FOLDER}-{os.getpid()}"
    (run / PROGRESS_FOLDER).rename(gone)
    shutil.rmtree(gone)


def _run_phases(
    model: keras.Model,
    loss: Objective | None,
    config: TrainConfig,
    dataset: Dataset,
    spec: ModelSpec,
    part: slice,
    rounds: ValidationLoop,
    checkpoint: Checkpoint | None,
) -> StageClock:
    """Train with the encoder frozen, then whole; each phase has an optimiser of its own."""
    batches = training_batches(config, dataset, spec, seed=config.seed, part=part)
    clock: StageClock | None = None
    bounds = [0, config.frozen_rounds, config.total_rounds]
    for first, last in itertools.pairwise(bounds):
        if not first <= rounds.done < last or rounds.exhausted:
            continue
        freeze_encoder(model, frozen=last <= config.frozen_rounds)
        optimizer = build_optimizer(
            config.optimisation, config.total_steps, first * config.steps_per_round
        )
        model.compile(optimizer=optimizer, loss=loss)
        if checkpoint is not None and rounds.done > first:
            model.optimizer.build(model.trainable_variables)
            restore_optimizer(model.optimizer, checkpoint.optimizer)
        if clock is None:
            clock = StageClock()
            if config.total_steps - rounds.done * config.steps_per_round >= _WORTH_AN_ESTIMATE:
                probed, statistics = rounds.probed, rounds.time_statistics()
                pace = measure_pace(
                    model, config, dataset, spec, batches, probed=probed, statistics=statistics
                )
                rounds.log.begin(rounds.done * config.steps_per_round, pace)
        steps = config.steps_per_round
        with closing(batches.stream(rounds.done * steps, last * steps)) as stream:
            while rounds.done < last and not rounds.exhausted:
                for _ in range(steps):
                    rounds.step(_train_on(model, stream, clock))
                rounds.close(model)
    return clock or StageClock()


def _train_on(model: keras.Model, stream: Iterator[Batch], clock: StageClock) -> float:
    """Train on the next batch; its loss."""
    # Not fit(): its iterators draw batches ahead and anew at every epoch, differently on each
    # backend, and a run that goes on after an interruption must see the very same ones.
    clock.start()
    pixels, labels = next(stream)
    clock("data")
    model.reset_metrics()
    loss = float(model.train_on_batch(pixels, labels, return_dict=True)["loss"])
    clock("step")
    return loss


def _data_wait(clock: StageClock) -> float:
    # Without the first step, which compiles.
    waited, trained = (sum(clock.laps.get(stage, ())[1:]) for stage in ("data", "step"))
    return waited / (waited + trained) if trained else 0.0


def _objective(config: TrainConfig, dataset: Dataset, say: Say) -> Objective:
    weights: tuple[float, ...] | None = config.loss.class_weights or None
    if config.loss.balanced:
        weights = balanced_weights(dataset)
        shown = ", ".join(f"{n} {w:.2f}" for n, w in zip(config.classes, weights, strict=True))
        say(f"class weights: {shown}")
    return objective(config.loss, weights)


def _load_encoder(model: keras.Model, config: TrainConfig, say: Say) -> None:
    if config.encoder_weights == "none":
        if config.frozen_rounds:
            say("WARNING: the encoder is frozen with random weights, since none are loaded")
        return
    loaded = load_encoder(model, config.network, config.encoder_weights)
    say(f"encoder: {loaded} layers loaded from {config.encoder_weights}")
