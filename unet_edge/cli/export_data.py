"""The pictures of an export: the run's own, another data set's, or photos without masks."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path
from typing import Any, NamedTuple

from unet_edge.cli.output import print_note
from unet_edge.dataset import Dataset, find_dataset
from unet_edge.dataset.unlabelled import (
    UnlabelledPictures,
    find_unlabelled,
    looks_unlabelled,
    sign_of_masks,
)
from unet_edge.errors import ConfigError, DataError
from unet_edge.images.listing import is_picture
from unet_edge.runtime.run_folder import is_imported
from unet_edge.spec import ModelSpec
from unet_edge.system.progress import progress


class ExportData(NamedTuple):
    """The pictures of an export, and whether the model was trained on their training split."""

    pictures: Dataset | UnlabelledPictures
    trained_here: bool


def require_data_options(
    run: Path, data: Path | None, *, unlabelled: bool, rules: dict[str, Any]
) -> None:
    """Raise ConfigError for options that say how --data is read where it is not given."""
    given = [name for name, value in rules.items() if value is not None]
    if data is None and is_imported(run):
        command = shlex.join(["unet-edge", "export", str(run), "--data", "PICTURES"])
        raise ConfigError(
            f"{run} is an imported model, which has no pictures of its own",
            expected="an export needs some to calibrate and to prove the files, with or without "
            "masks",
            fix=f"run: {command}",
        )
    if data is None and (unlabelled or given):
        raise ConfigError(
            "options that say how --data is read are given without --data",
            fix="add --data, or leave them out: the run knows how its own data is read",
        )
    if unlabelled and given:
        raise ConfigError(
            "--unlabelled and options that say how masks are read exclude each other",
            fix="leave one out",
        )


def export_data(
    run: Path, spec: ModelSpec, data: Path | None, *, unlabelled: bool, rules: dict[str, Any]
) -> ExportData:
    """The run's data set, or the pictures at `data`, read as the run and `rules` say.

    A folder that only holds photos counts as unlabelled; see `looks_unlabelled`. Raises ConfigError
    and DataError.
    """
    given = {name: value for name, value in rules.items() if value is not None}
    if data is not None and (unlabelled or (not given and looks_unlabelled(data))):
        pictures = find_unlabelled(data, progress)
        for note in pictures.notes:
            print_note(note)
        return ExportData(pictures, trained_here=False)
    try:
        if is_imported(run):
            assert data is not None, "require_data_options raises without it"
            return ExportData(_other_data(data, spec, given), trained_here=False)
        return ExportData(_run_data(run, data, given), trained_here=True)
    except DataError as error:
        if data is None or not _holds_pictures(data) or (sign := sign_of_masks(data)) is None:
            raise
        raise DataError(
            error.found,
            expected=error.expected,
            fix=f"{error.fix}, or pass --unlabelled to use its pictures without masks ({sign})",
            subject=error.subject,
        ) from error


def _other_data(data: Path, spec: ModelSpec, given: dict[str, Any]) -> Dataset:
    """A data set for an imported model, without its test split.

    The model may have been trained on those pictures, so that the card must not quote them.
    """
    dataset = find_dataset(
        data, classes=spec.classes, progress=progress, fixed_classes=True, **given
    )
    names = ", ".join(f"{index} {name}" for index, name in enumerate(spec.classes))
    for note in (*dataset.notes, f"classes, as the model counts them: {names}"):
        print_note(note)
    return dataclasses.replace(dataset, test=())


def _run_data(run: Path, data: Path | None, given: dict[str, Any]) -> Dataset:
    """The run's data set, or the pictures at `data`, read as the run read its own."""
    from unet_edge.training.config import read_config, run_dataset

    config = read_config(run)
    if not given and (data is None or data.resolve() == config.data.resolve()):
        return run_dataset(run)
    # The lists name the run's own pictures.
    config = dataclasses.replace(
        config,
        **{"data": data, "train_list": None, "validation_list": None, "test_list": None} | given,
    )
    # The run may have trained on these test pictures, so the model card must not quote them.
    return dataclasses.replace(config.dataset(progress=progress), test=())


def _holds_pictures(data: Path) -> bool:
    return data.is_dir() and any(is_picture(child) for child in data.iterdir())
