"""`unet-edge import --guess`: its pictures, its table, and the contract that fits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from converters.foreign.import_settings import ImportSettings
from unet_edge.cli.import_report import print_guess
from unet_edge.cli.output import print_json, print_note
from unet_edge.dataset import Dataset, Sample, find_dataset
from unet_edge.errors import UnetEdgeError
from unet_edge.system.counting import counted
from unet_edge.system.progress import progress

if TYPE_CHECKING:
    from converters.foreign.guessing import Guess
    from converters.foreign.import_model import OpenedModel

_MOST_PICTURES = 16  # pictures that ten contracts are scored on


def guess_data(
    data: Path, classes: tuple[str, ...], rules: dict[str, Any]
) -> tuple[Dataset, list[Sample]]:
    """The data set of a guess, and the pictures to score, spread evenly over all of them."""
    dataset = find_dataset(
        data, classes=classes, progress=progress, fixed_classes=True, split_by="pictures", **rules
    )
    for note in dataset.notes:
        if not note.startswith("split:"):
            print_note(note)
    samples = [sample for part in dataset.splits.values() for sample in part]
    step = max(1, len(samples) / _MOST_PICTURES)
    count = min(len(samples), _MOST_PICTURES)
    return dataset, [samples[int(index * step)] for index in range(count)]


def guessed_settings(
    opened: OpenedModel,
    settings: ImportSettings,
    data: tuple[Dataset, list[Sample]],
    *,
    as_json: bool,
) -> tuple[ImportSettings, Guess]:
    """Score the candidates, print the table, and return the settings with the best one.

    Raises ConversionError if none is clearly best.
    """
    from converters.foreign.guessing import candidates, guess_contract, require_guess, with_guess

    given = click.get_current_context().params
    contracts = candidates(given["input_range"], given["color_order"])
    dataset, samples = data
    print_note(
        f"scoring {counted(len(contracts), 'contract')} on {counted(len(samples), 'picture')}"
    )
    guess = guess_contract(opened, settings, dataset, progress(samples, "scoring"), contracts)
    if not as_json:
        print_guess(guess)
    try:
        best = require_guess(guess)
    except UnetEdgeError:
        if as_json:
            print_json({"run": None, "guess": guess.to_dict()})
        raise
    return with_guess(settings, best), guess
