"""The course of a run: a line for each round, as CSV, curves and TensorBoard events."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from unet_edge.system.files import write_atomically
from unet_edge.training.curves import draw_curves

TENSORBOARD_FOLDER = "tensorboard"


@dataclass(frozen=True)
class RoundResult:
    """One line of history.csv: losses as the objective has them, and an mIoU.

    `validation_grid_miou`, 0..1, is measured on the model's grid, so that a round costs little; it
    chooses the best round. `TrainResult` has the mIoU at the pictures' own size. `statistics` says
    which crops BatchNorm's were estimated over: augmented or plain.
    """

    step: int
    learning_rate: float
    loss: float
    validation_loss: float
    validation_grid_miou: float
    statistics: str


def write_history(run: Path, history: Sequence[RoundResult]) -> None:
    """Write history.csv and curves.png."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(RoundResult.__dataclass_fields__), lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(entry) for entry in history)
    write_atomically(run / "history.csv", buffer.getvalue())
    draw_curves(
        run / "curves.png",
        steps=[entry.step for entry in history],
        losses={
            "training": [entry.loss for entry in history],
            "validation": [entry.validation_loss for entry in history],
        },
        miou=[entry.validation_grid_miou for entry in history],
    )


def write_events(run: Path, entry: RoundResult) -> None:
    """Append a round to the run's TensorBoard events."""
    from tensorboardX import SummaryWriter  # by itself: TensorFlow is not needed for it

    # A file a round, named by its step: by the second alone, a fast round would overwrite the last.
    with SummaryWriter(
        str(run / TENSORBOARD_FOLDER), purge_step=entry.step, filename_suffix=f".{entry.step:08d}"
    ) as writer:
        for name, value in asdict(entry).items():
            if isinstance(value, float):
                writer.add_scalar(name, value, entry.step)
