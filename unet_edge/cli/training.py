"""Commands that train, with Keras and a backend for it: train and resume."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from unet_edge.cli.assignments import set_option
from unet_edge.cli.group import Interrupted, need
from unet_edge.cli.options import json_option, path_type
from unet_edge.cli.output import print_json, print_note, print_table
from unet_edge.cli.sections import SectionedCommand
from unet_edge.cli.settings import OPTIONS, SECTIONS, nested, train_settings
from unet_edge.errors import ConfigError, UnetEdgeError
from unet_edge.runtime.run_folder import CHECKPOINT_FILE, PROGRESS_FOLDER
from unet_edge.system.printable import printable

if TYPE_CHECKING:
    from unet_edge.training.distribution import Machines
    from unet_edge.training.settings.train_config import TrainConfig
    from unet_edge.training.train_result import TrainResult

_SETTINGS_MODULES = ("cattrs", "tomli_w")
_MODULES = ("keras", "matplotlib", *_SETTINGS_MODULES)


def _machine_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--process", type=int, help="Number of this process, from 0."),
        click.option("--processes", type=int, help="Number of processes that share the run."),
        click.option(
            "--coordinator",
            metavar="HOST:PORT",
            help="Address of the first process, to share the run among processes or machines "
            "(KERAS_BACKEND=jax).",
        ),
    ):
        command = option(command)
    return command


_SECTIONS = {
    "Run": ("output", "overwrite", "config", "assignments", "as_json"),
    **{title: [each.parameter for each in settings] for title, settings in SECTIONS.items()},
    "Several machines": ("coordinator", "processes", "process"),
}
_COMMON = (
    "classes",
    "masks",
    "size",
    "crop",
    "weights",
    "network__encoder",
    "network__alpha",
    "steps",
    "augmentation__any_orientation",
    "output",
    "overwrite",
    "config",
    "assignments",
)


@click.command(
    cls=SectionedCommand,
    common=_COMMON,
    sections=_SECTIONS,
)
@click.argument("data", type=path_type(), required=False)
@click.option(
    "--output",
    "-o",
    type=path_type(),
    default=Path("runs/model"),
    show_default=True,
    help="The run's folder.",
)
@click.option(
    "--config",
    type=path_type(),
    help="TOML file of settings, e.g. a run's config.toml. Options override it.",
)
@set_option
@train_settings
@_machine_options
@click.option("--overwrite", is_flag=True, help="Replace the model of an earlier run.")
@json_option
def train(
    data: Path | None,
    output: Path,
    config: Path | None,
    assignments: tuple[str, ...],
    coordinator: str | None,
    processes: int | None,
    process: int | None,
    overwrite: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Train a model on the pictures and masks in DATA.

    DATA holds images/ and masks/ (or Images/ and Labels/, or JPEGImages/ and
    SegmentationClass/), with train.txt and val.txt if you have a split. The run's folder gets
    every setting as config.toml, and --config repeats a run with it. 'unet-edge resume' finishes
    an interrupted run.

    \b
    Examples:
      unet-edge train cats --classes background,cat
      unet-edge train cells --size 512 --crop 256 --masks 'binary<=127' \\
          --classes cell,membrane --any-orientation -o runs/cells
      unet-edge train --config runs/cells/config.toml --seed 1 -o runs/cells-1
      unet-edge train cats --alpha 0.25 --teacher runs/cats -o runs/small-cats
      unet-edge train cats --set optimisation.learning_rate=0.0005
      unet-edge train new-cats --weights runs/cats -o runs/cats-2
    """
    need("train", _SETTINGS_MODULES)
    given = nested(settings | {"data": data}, assignments)
    if given.get("network", {}).get("architecture") == "unet_mini":
        given.setdefault("encoder_weights", "none")
    if "distillation" in given and "teacher" not in given["distillation"] and config is None:
        raise ConfigError(
            "--distill-weight and --distill-temperature need a --teacher", fix="add --teacher RUN"
        )
    if config is None and "data" not in given:
        raise ConfigError(
            "no data is named", fix="name a folder with pictures and masks, or a --config with data"
        )
    chosen = _chosen(given, config)
    _check_before_loading(chosen, output, overwrite=overwrite, leads=not process)
    need("train", _MODULES)
    from unet_edge.training.run import train as run_training

    machines = _machines(coordinator, processes, process)
    with _resumable(output, new=True):
        result = run_training(
            chosen, output, overwrite=overwrite, machines=machines, say=print_note
        )
    if not process:
        _report(result, chosen.classes, as_json)


@click.command()
@click.argument("run", type=path_type())
@_machine_options
@json_option
def resume(
    run: Path,
    coordinator: str | None,
    processes: int | None,
    process: int | None,
    as_json: bool,
) -> None:
    """Finish an interrupted training RUN, as if nothing had interrupted it.

    Training continues after the last complete round. On the CPU of one machine, the result is that
    of an uninterrupted run. Several processes need the run's folder on each machine.

    \b
    Example:
      unet-edge resume runs/cats
    """
    need("train", _SETTINGS_MODULES)
    _check_before_resuming(run, leads=not process)
    need("train", _MODULES)
    from unet_edge.training.config import read_config
    from unet_edge.training.resume import resume as resume_training

    machines = _machines(coordinator, processes, process)
    with _resumable(run, new=False):
        result = resume_training(run, machines=machines, say=print_note)
    if not process:
        _report(result, read_config(run).classes, as_json)


def _chosen(given: dict[str, Any], file: Path | None) -> TrainConfig:
    """The settings of a new run: options, then a file, then the run that `weights` names."""
    from unet_edge.training.config import load_settings
    from unet_edge.training.settings.train_config import TrainConfig
    from unet_edge.training.starting_run import completed
    from unet_edge.training.toml import merged

    settings = given if file is None else merged(load_settings(file), given)
    if isinstance(settings.get("weights"), str):
        if given.get("encoder_weights", "none") != "none":
            raise ConfigError(
                "--encoder-weights is given, but with --weights all weights come from the run",
                fix="omit one of them",
            )
        if "weights" in given:  # what the file says is of another start
            settings = {**settings, "encoder_weights": "none"}
            if "weights_sha256" not in given:
                settings.pop("weights_sha256", None)
        settings, line = completed({"encoder_weights": "none", **settings})
        print_note(printable(line))
    return TrainConfig.from_dict(settings, OPTIONS if file is None else str(file))


def _check_before_loading(config: TrainConfig, run: Path, *, overwrite: bool, leads: bool) -> None:
    """Raise the errors of a new run that are found without Keras, whose import takes long."""
    from unet_edge.dataset.missing_layout import require_data_folder
    from unet_edge.runtime.segmenter import SPEC_FILE, read_spec
    from unet_edge.training.run_files import require_free_folder
    from unet_edge.training.starting_run import require_run
    from unet_edge.training.weights_file import require_weights_file

    require_data_folder(config.data)
    if leads:
        _require_unlocked(run)
    require_free_folder(run, overwrite=overwrite, leads=leads)
    if config.encoder_weights not in ("imagenet", "none"):
        require_weights_file(Path(config.encoder_weights))
    if config.weights is not None:
        require_run(config.weights)
    if config.distillation is not None:
        read_spec(config.distillation.teacher / SPEC_FILE)


def _check_before_resuming(run: Path, *, leads: bool) -> None:
    """Raise the errors of an unfinished run that are found without Keras."""
    from unet_edge.dataset.missing_layout import require_data_folder
    from unet_edge.training.run_files import require_unfinished

    if leads:
        _require_unlocked(run)
    require_unfinished(run)
    require_data_folder(_unfinished_config(run).data)


def _require_unlocked(run: Path) -> None:
    """Raise ConfigError if another process is training in the folder."""
    from unet_edge.training.run_lock import RunLock

    with RunLock(run) as lock:
        if run.is_dir():
            lock.acquire()


@contextmanager
def _resumable(run: Path, *, new: bool) -> Iterator[None]:
    """After Ctrl-C, say what is kept of a run and how to finish it.

    A `new` run may not have begun yet: what the folder holds is then of an earlier run.
    """
    from unet_edge.runtime.segmenter import CONFIG_FILE

    settings = run / PROGRESS_FOLDER / CONFIG_FILE
    before = settings.stat().st_mtime_ns if new and settings.is_file() else None
    try:
        yield
    except KeyboardInterrupt:
        if not settings.is_file() or settings.stat().st_mtime_ns == before:
            raise
        raise Interrupted(_kept(run)) from None


def _kept(run: Path) -> str:
    """How many rounds of an unfinished run are kept, and the command that finishes it."""
    from unet_edge.training.checkpoint import Checkpoint

    command = printable(shlex.join(["unet-edge", "resume", str(run)]))
    checkpoint = run / PROGRESS_FOLDER / CHECKPOINT_FILE
    if not checkpoint.is_file():
        return f"no round was finished; to begin again: {command}"
    try:
        done, total = Checkpoint.read(checkpoint).rounds, _unfinished_config(run).total_rounds
    except UnetEdgeError:  # a damaged file; the command names it
        return f"finish it with: {command}"
    return f"kept: round {done} of {total}; finish it with: {command}"


def _unfinished_config(run: Path) -> TrainConfig:
    from unet_edge.runtime.segmenter import CONFIG_FILE
    from unet_edge.training.config import load_run_config

    return load_run_config(run / PROGRESS_FOLDER / CONFIG_FILE)


def _machines(
    coordinator: str | None, processes: int | None, process: int | None
) -> Machines | None:
    """Join the other processes; None if this process trains alone."""
    given = [value for value in (coordinator, processes, process) if value is not None]
    if not given:
        return None
    if coordinator is None or processes is None or process is None:
        raise ConfigError(
            "--coordinator, --processes and --process belong together", fix="give all three or none"
        )
    from unet_edge.training.distribution import Machines, join

    machines = Machines(coordinator, processes, process)
    join(machines)
    return machines


def _report(result: TrainResult, classes: tuple[str, ...], as_json: bool) -> None:
    if as_json:
        print_json(result.to_dict())
        return
    rows = list(zip(classes, result.validation_iou, strict=True))
    print_table([*rows, ("mean", result.validation_miou)], ["class", "validation IoU"])
    click.echo(
        "measured at the pictures' own size, as 'unet-edge evaluate' does; mIoU on the model's "
        f"grid, which chose the round: {result.validation_grid_miou:.4f}"
    )
    if result.start_grid_miou is not None:
        click.echo(f"mIoU on the model's grid before training: {result.start_grid_miou:.4f}")
    if not result.best_step:
        click.echo("no round was better than the start: the model is that of the run it began with")
    click.echo(f"best at step {result.best_step}; look at {result.run / 'samples'}")
    click.echo(f"next: unet-edge export {result.run}")
