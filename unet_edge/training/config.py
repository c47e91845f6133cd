"""TrainConfig: every setting of a training run, written into the run's folder."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path

from unet_edge.dataset import Dataset, find_dataset
from unet_edge.errors import ConfigError
from unet_edge.spec import Fit, ModelSpec, Resample
from unet_edge.training.augmentation import Augmentation
from unet_edge.training.models import Network

CONFIG_FILE = "config.json"


@dataclass(frozen=True)
class TrainConfig:
    """Settings of one run; sizes in px as (height, width).

    `crop` is the size trained on (None: the model's own size); validation and inference use
    `size`. `encoder` is "imagenet", "none" or a weights file. Length is counted in `steps`
    (batches), because an epoch of a few dozen pictures means little; the run is validated
    `rounds` times. `augmentation` None trains on whole pictures as inference sees them.
    """

    data: Path
    classes: tuple[str, ...] = ("background", "object")
    size: tuple[int, int] = (256, 256)
    crop: tuple[int, int] | None = None
    masks: str = "auto"
    ignore: int | None = None
    train_list: Path | None = None
    validation_list: Path | None = None
    name: str = "model"
    fit: Fit = "letterbox"
    resample: Resample = "bilinear"
    network: Network = field(default_factory=Network)
    encoder: str = "imagenet"
    steps: int = 1500
    rounds: int = 15
    batch_size: int = 8
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    augmentation: Augmentation | None = field(default_factory=Augmentation)
    seed: int = 0

    def __post_init__(self) -> None:
        for label, value in (("steps", self.steps), ("batch size", self.batch_size)):
            if value < 1:
                raise ConfigError(f"{label} {value} must be at least 1")
        if not 1 <= self.rounds <= self.steps:
            raise ConfigError(
                f"rounds {self.rounds} must be 1 to the number of steps, {self.steps}"
            )
        if not self.learning_rate > 0:
            raise ConfigError(f"learning rate {self.learning_rate} must be above 0")
        if self.crop and self.augmentation is None:
            raise ConfigError("a crop is an augmentation: it cannot be given with --no-augment")
        stride = self.network.stride
        for label, size in (("size", self.size), ("crop", self.crop_size)):
            if any(edge < 1 or edge % stride for edge in size):
                raise ConfigError(
                    f"{label} {size[0]}x{size[1]} must be multiples of {stride} px for "
                    f"{self.network.architecture}"
                )

    @property
    def crop_size(self) -> tuple[int, int]:
        """What the network is trained on, (height, width) px."""
        return self.crop or self.size

    @property
    def steps_per_round(self) -> int:
        """Batches between two validations, rounded up: a run is never shorter than asked."""
        return -(-self.steps // self.rounds)

    def spec(self) -> ModelSpec:
        """The contract of the model that this run trains."""
        return ModelSpec(
            height=self.size[0],
            width=self.size[1],
            classes=self.classes,
            name=self.name,
            fit=self.fit,
            resample=self.resample,
        )

    def dataset(self) -> Dataset:
        """The run's data. Raises DataError."""
        return find_dataset(
            self.data,
            classes=self.classes,
            masks=self.masks,
            ignore=self.ignore,
            train_list=self.train_list,
            validation_list=self.validation_list,
        )

    def to_json(self) -> str:
        """The settings as JSON text."""
        return json.dumps(dataclasses.asdict(self), indent=2, default=str) + "\n"

    @classmethod
    def from_json(cls, text: str) -> TrainConfig:
        """Read settings that `to_json` wrote. Raises ConfigError when they are not."""
        try:
            data = json.loads(text)
            for key in ("classes", "size", "crop"):
                data[key] = tuple(data[key]) if data[key] else None
            for key in ("data", "train_list", "validation_list"):
                data[key] = Path(data[key]) if data[key] else None
            data["network"] = Network(**data["network"])
            if data["augmentation"]:
                scale = tuple(data["augmentation"].pop("scale"))
                data["augmentation"] = Augmentation(scale=scale, **data["augmentation"])
            return cls(**data)
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"the run's config.json is malformed: {error!r}") from error


def read_config(run: Path) -> TrainConfig:
    """The settings of a training run. Raises ConfigError when the folder is none."""
    try:
        return TrainConfig.from_json((run / CONFIG_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"{run} is no training run: it has no {CONFIG_FILE}; 'unet-edge train' makes runs"
        ) from None
