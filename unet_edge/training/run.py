"""A training run, from settings to a folder with a model that is ready for export."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import keras

from unet_edge.dataset import Dataset, check_dataset
from unet_edge.dataset.split_file import SplitNames
from unet_edge.errors import ConfigError, TrainingError
from unet_edge.runtime.run_folder import PROGRESS_FOLDER
from unet_edge.runtime.segmenter import BUNDLE_FOLDER, SPLIT_FILE
from unet_edge.spec import ModelSpec
from unet_edge.system.counting import counted
from unet_edge.system.files import json_text, require_writable_path, write_atomically
from unet_edge.system.printable import printable
from unet_edge.system.progress import progress
from unet_edge.system.timing import StageClock
from unet_edge.training import batch_norm
from unet_edge.training.batches import training_batches
from unet_edge.training.checkpoint import Checkpoint, restore_model
from unet_edge.training.class_weights import balanced_weights
from unet_edge.training.distillation import with_teacher
from unet_edge.training.distribution import Machines, data_parallel, part_of
from unet_edge.training.losses import Objective, objective
from unet_edge.training.models import load_encoder
from unet_edge.training.network_builder import NetworkBuilder
from unet_edge.training.phases import data_wait, run_phases
from unet_edge.training.precision import choose_precision, dtype_policy
from unet_edge.training.rounds import ValidationLoop
from unet_edge.training.run_files import (
    RESULT_FILE,
    SAMPLES_FOLDER,
    begin_progress,
    end_progress,
    require_free_folder,
)
from unet_edge.training.run_lock import RunLock
from unet_edge.training.samples import save_samples
from unet_edge.training.settings.train_config import TrainConfig
from unet_edge.training.starting_run import StartingRun
from unet_edge.training.train_result import TrainResult
from unet_edge.training.validation import compare_modes, score_at_own_size

Say = Callable[[str], None]
"""Gets one line of progress for people."""


def train(
    config: TrainConfig,
    run: Path,
    *,
    overwrite: bool = False,
    machines: Machines | None = None,
    say: Say = lambda _: None,
) -> TrainResult:
    """Train a model and write `run`: model.keras (best), last.keras, history, curves, samples.

    Each round saves the best model so far, by validation mIoU. So an interrupted run has a usable
    model, and `resume` can finish it. `say` gets each line of progress. `machines` makes this one
    process of several. With `config.weights`, nothing is read from that run after the start.

    Raises ConfigError, DataError, WeightsError, or TrainingError if the loss is not finite.
    """
    # The first of several processes makes the folder, maybe before another one looks.
    require_free_folder(run, overwrite=overwrite, leads=leads(machines))
    require_writable_path(run)
    with RunLock(run) as lock:
        if run.is_dir() and leads(machines):
            lock.acquire()
        if (run / BUNDLE_FOLDER).exists():
            say(f"{run / BUNDLE_FOLDER} is of the earlier model: export again after this run")
        start = None if config.weights is None else _starting_run(config, config.weights)
        return fit(config, run, start, None, lock, machines, say)


def _starting_run(config: TrainConfig, folder: Path) -> StartingRun:
    """Read the run that `config` starts from. Raises ConfigError if it is not the one meant."""
    start = StartingRun.read(folder)
    if config.network != start.network:
        raise ConfigError(
            f"the network is {config.network}, but that of {folder} is {start.network}",
            fix="train with the network of the run that --weights names",
        )
    if config.weights_sha256 not in (None, start.sha256):
        raise ConfigError(
            f"the model of {folder} has the SHA-256 {start.sha256}",
            expected=f"weights_sha256 is {config.weights_sha256}",
            fix="omit weights_sha256 to start from the model that is there now",
        )
    return start


def leads(machines: Machines | None) -> bool:
    """Whether this process is the only one or the first one, which writes the run's folder."""
    return machines is None or machines.process == 0


def fit(
    config: TrainConfig,
    run: Path,
    start: StartingRun | None,
    checkpoint: Checkpoint | None,
    lock: RunLock,
    machines: Machines | None,
    say: Say,
) -> TrainResult:
    """Train from the beginning or from a checkpoint, and write the run's folder."""
    if start is not None:
        config = replace(config, weights_sha256=start.sha256)
    spec, dataset = _spec(config, start), _dataset(config, run, checkpoint)
    builder = NetworkBuilder(config, spec, start)
    _check_data(dataset, run, say)
    part = part_of(machines, config.batch_size)
    _require_equal_decisions(config, machines)
    writes = leads(machines)
    precision = choose_precision(config, builder.build, say)
    # The choice becomes a setting, because a resumed run must not choose again.
    config = replace(config, optimisation=replace(config.optimisation, precision=precision))
    target = _objective(config, dataset, say)
    rounds = ValidationLoop(
        config, dataset, spec, run, target, builder=builder, say=say, writes=writes
    )

    with data_parallel() as devices:
        _require_even_shares(config.batch_size, devices)
        if devices > 1:
            say(f"training on {devices} devices")
        model = _initial_model(config, builder, start, checkpoint, say)
        if checkpoint is not None:
            rounds.restore(checkpoint)
            say(f"continuing after round {rounds.done} of {config.total_rounds}")
        elif start is not None:
            rounds.score_start(model, new_classes=len(builder.change.new))
        say(f"model: {config.network.architecture}, {model.count_params() / 1e6:.2f} M parameters")
        batch_norm.set_momentum(model, config.steps)
        trained, loss = with_teacher(model, config, spec, target)
        if writes:
            run.mkdir(parents=True, exist_ok=True)
            lock.acquire()
            begin_progress(run, config, dataset, start, keep_checkpoint=checkpoint is not None)
        batches = training_batches(config, dataset, spec, seed=config.seed, part=part)
        try:
            clock = run_phases(trained, loss, config, batches, rounds, checkpoint)
        except TrainingError:
            if writes and not rounds.done:  # no round to resume from, with unsuitable settings
                end_progress(run)
            raise

    result = _result(config, run, dataset, spec, rounds, target, clock)
    if writes:
        save_samples(rounds.eval_model.model, dataset, spec, run / SAMPLES_FOLDER)
        write_atomically(run / RESULT_FILE, json_text(result.to_dict()))
        end_progress(run)
    if not result.agrees:
        say(
            f"WARNING: inference disagrees with training: its loss is {result.inference_loss:.3f} "
            f"instead of {result.training_loss:.3f} on the same pictures, and exports will behave "
            "like inference. More steps or a larger batch make BatchNorm statistics more stable."
        )
    return result


def _spec(config: TrainConfig, start: StartingRun | None) -> ModelSpec:
    """The contract of the run; its pixels are normalised as those of the run it starts from."""
    spec = config.spec()
    if start is None:
        return spec
    palette = start.spec.palette if spec.classes == start.spec.classes else spec.palette
    return replace(
        spec,
        normalisation=start.spec.normalisation,
        pad_color=start.spec.pad_color,
        palette=palette,
    )


def _dataset(config: TrainConfig, run: Path, checkpoint: Checkpoint | None) -> Dataset:
    """The run's data; a resumed run keeps the split that it began with."""
    path = run / PROGRESS_FOLDER / SPLIT_FILE
    if checkpoint is not None and path.is_file():
        return config.dataset(SplitNames.read(path), progress)
    return config.dataset(progress=progress)


def _check_data(dataset: Dataset, run: Path, say: Say) -> None:
    for note in dataset.notes:
        say(printable(note))
    if dataset.test:
        command = shlex.join(["evaluate", str(run), "--data", str(dataset.root), "--split", "test"])
        count = counted(len(dataset.test), "test picture")
        say(printable(f"to score the {count}: unet-edge {command}"))
    pictures = sum(len(split) for split in dataset.splits.values())
    say(f"checking {counted(pictures, 'picture')} and masks")
    check_dataset(dataset, progress)


def _require_equal_decisions(config: TrainConfig, machines: Machines | None) -> None:
    """Raise ConfigError for settings by which several processes might decide differently."""
    if machines is not None and (config.optimisation.precision == "auto" or config.patience):
        raise ConfigError(
            "several processes may decide differently on --precision auto and on --patience",
            fix="pass another --precision, and no --patience",
        )


def _require_even_shares(batch_size: int, devices: int) -> None:
    if batch_size % devices:
        raise ConfigError(
            f"a batch of {batch_size} cannot be shared evenly by {devices} devices",
            fix=f"choose a multiple of {devices} as --batch-size",
        )


def _initial_model(
    config: TrainConfig,
    builder: NetworkBuilder,
    start: StartingRun | None,
    checkpoint: Checkpoint | None,
    say: Say,
) -> keras.Model:
    """Build the model, with the weights of a checkpoint, a run or a pretrained encoder."""
    keras.utils.set_random_seed(config.seed)
    with dtype_policy(config.optimisation.precision):
        model = builder.build()
    if checkpoint is not None:
        restore_model(model, checkpoint.model)
    elif start is not None:
        for line in builder.load_start(model):
            say(printable(line))
    else:
        _load_encoder(model, config, say)
    return model


def _load_encoder(model: keras.Model, config: TrainConfig, say: Say) -> None:
    if config.encoder_weights == "none":
        if config.frozen_rounds:
            say("WARNING: the encoder is frozen with random weights, since none are loaded")
        return
    loaded = load_encoder(model, config.network, config.encoder_weights)
    say(f"encoder: {counted(loaded, 'layer')} loaded from {config.encoder_weights}")


def _objective(config: TrainConfig, dataset: Dataset, say: Say) -> Objective:
    weights: tuple[float, ...] | None = config.loss.class_weights or None
    if config.loss.balanced:
        weights = balanced_weights(dataset)
        shown = ", ".join(f"{n} {w:.2f}" for n, w in zip(config.classes, weights, strict=True))
        say(f"class weights: {shown}")
    return objective(config.loss, weights)


def _result(
    config: TrainConfig,
    run: Path,
    dataset: Dataset,
    spec: ModelSpec,
    rounds: ValidationLoop,
    target: Objective,
    clock: StageClock,
) -> TrainResult:
    """Score the best model; the evaluation model has its weights afterwards."""
    entry, on_grid = rounds.best()
    model = rounds.eval_model.model
    # Frozen layers of the best round were trained with the statistics they have.
    frozen = 0 < entry.step <= config.frozen_rounds * config.steps_per_round
    rounds.eval_model.builder.freeze(model, frozen)
    # The statistics of the start are of the pictures of another run.
    views = rounds.eval_model.views.get(entry.statistics, rounds.eval_model.views["plain"])
    training_loss, inference_loss = compare_modes(model, views, target)
    confusion = score_at_own_size(model, dataset, dataset.validation, spec)
    return TrainResult(
        run=run,
        best_step=entry.step,
        validation_miou=confusion.miou,
        validation_iou=confusion.iou,
        validation_grid_miou=on_grid.miou,
        training_loss=training_loss,
        inference_loss=inference_loss,
        data_wait=data_wait(clock),
        start_grid_miou=rounds.start_miou,
    )
