"""The history of a run: one entry for each round, as CSV, curves and TensorBoard events."""

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
    """One line of history.csv.

    The losses are the objective's. `validation_grid_miou`, 0..1, is measured on the model's grid,
    which is fast, and chooses the best round; `TrainResult` has the mIoU at the pictures' own size.
    `statistics` names the crops of the BatchNorm statistics: augmented or plain.
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
    from tensorboardX import SummaryWriter  # needs no TensorFlow

    # Each round has a file named by its step. The default name, the time in seconds, may repeat.
    with SummaryWriter(
        str(run / TENSORBOARD_FOLDER), purge_step=entry.step, filename_suffix=f".{entry.step:08d}"
    ) as writer:
        for name, value in asdict(entry).items():
            if isinstance(value, float):
                writer.add_scalar(name, value, entry.step)
