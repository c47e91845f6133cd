"""TrainResult: the scores of a finished run."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

# Inference may have this much more loss than training before they count as different. Three
# re-estimated models (membranes, cats, generated cells) had 0.91 to 0.99 times the training loss;
# the cells' model with reset statistics had 3.5 times.
_LOSS_RATIO = 1.5
_LOSS_SLACK = 0.05


@dataclass(frozen=True)
class TrainResult:
    """The scores of a run's best model.

    `validation_miou` and `validation_iou`, 0..1, are measured at the pictures' own size, as
    `unet-edge evaluate` and `export` do. `validation_grid_miou` is measured on the model's grid;
    it chose the best round. `training_loss` and `inference_loss` are measured over the same
    training crops, with batch statistics and with the re-estimated moving statistics. `data_wait`
    is the share of the training time, 0..1, in which the model waited for data. `start_grid_miou`
    is the grid mIoU, before the first step, of a run that starts from another one. `best_step` is 0
    if no round was better than this start.
    """

    run: Path
    best_step: int
    validation_miou: float
    validation_iou: tuple[float, ...]
    validation_grid_miou: float
    training_loss: float
    inference_loss: float
    data_wait: float
    start_grid_miou: float | None = None

    @property
    def agrees(self) -> bool:
        """Whether the loss at inference is close to the training loss on the same crops."""
        return self.inference_loss <= self.training_loss * _LOSS_RATIO + _LOSS_SLACK

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "run": self.run.name, "agrees": self.agrees}
