"""TrainConfig: every setting of a training run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unet_edge.dataset.settings import Reading
from unet_edge.errors import ConfigError
from unet_edge.spec import Decoding, Fit, ModelSpec, Resample
from unet_edge.system.counting import counted
from unet_edge.training.settings.augmentation import Augmentation
from unet_edge.training.settings.distillation import Distillation
from unet_edge.training.settings.loss import Loss
from unet_edge.training.settings.network import Network, require_grid
from unet_edge.training.settings.optimisation import Optimisation

if TYPE_CHECKING:
    from unet_edge.dataset import Dataset, Progress
    from unet_edge.dataset.split_file import SplitNames


@dataclass(frozen=True)
class _Pictures:
    data: Path
    classes: tuple[str, ...] = ("background", "object")
    size: tuple[int, int] = (256, 256)
    crop: tuple[int, int] | None = None


# Fields come in the order of the bases from right to left, and so does the TOML.
@dataclass(frozen=True)
class TrainConfig(Reading, _Pictures):
    """Settings of one run; sizes are (height, width) px.

    Training uses crops of size `crop` (None: `size`); validation and inference use `size`.
    `weights` is the folder of a run, trained or imported, from which this one starts, with the same
    `network`; `weights_sha256` is the digest of that run's model. `encoder_weights` is "imagenet",
    "none" or a weights file, and "none" with `weights`. `steps` is the number of batches:
    data sets differ too much in size to count epochs. The run is validated `rounds` times, and
    stops early after `patience` rounds without an improvement (0: never). Without `augment`,
    training sees whole pictures, as inference does.
    """

    name: str = "model"
    fit: Fit = "letterbox"
    resample: Resample = "bilinear"
    decoding: Decoding = "scaled"
    bit_depth: int | None = None
    weights: Path | None = None
    weights_sha256: str | None = None
    encoder_weights: str = "imagenet"
    steps: int = 1500
    rounds: int = 15
    patience: int = 0
    batch_size: int = 8
    augment: bool = True
    tensorboard: bool = False
    seed: int = 0
    network: Network = field(default_factory=Network)
    loss: Loss = field(default_factory=Loss)
    optimisation: Optimisation = field(default_factory=Optimisation)
    augmentation: Augmentation = field(default_factory=Augmentation)
    distillation: Distillation | None = None

    def __post_init__(self) -> None:
        for label, value in (
            ("steps", self.steps),
            ("rounds", self.rounds),
            ("batch size", self.batch_size),
        ):
            if value < 1:
                raise ConfigError(f"{label} is {value}", expected="it must be at least 1")
        for label, value in (("patience", self.patience), ("seed", self.seed)):
            if value < 0:
                raise ConfigError(f"{label} is {value}", expected="it must be at least 0")
        if self.ignore is not None and not 0 <= self.ignore <= 255:
            raise ConfigError(
                f"ignore is {self.ignore}", expected="it must be a mask value, 0 to 255"
            )
        if self.weights and self.encoder_weights != "none":
            raise ConfigError(
                f"encoder_weights is {self.encoder_weights}, but all weights come from "
                f"{self.weights}",
                fix="omit one of --weights and --encoder-weights",
            )
        if self.network.architecture == "imported" and not self.weights:
            raise ConfigError(
                "an imported network is built from its run alone", fix="pass --weights RUN"
            )
        if self.loss.class_weights and len(self.loss.class_weights) != len(self.classes):
            raise ConfigError(
                f"{counted(len(self.loss.class_weights), 'class weight')} for "
                f"{len(self.classes)} classes"
            )
        if self.crop and not self.augment:
            raise ConfigError(
                "a crop is given, but --no-augment trains on whole pictures",
                fix="omit one of --crop and --no-augment",
            )
        for label, size in (("size", self.size), ("crop", self.crop_size)):
            require_grid(label, size, self.network.architecture)

    @property
    def crop_size(self) -> tuple[int, int]:
        """The size of the pictures that the network is trained on, (height, width) px."""
        return self.crop or self.size

    @property
    def steps_per_round(self) -> int:
        """Batches between two validations, rounded up so that no run is too short."""
        return -(-self.steps // self.rounds)

    @property
    def total_rounds(self) -> int:
        """The number of rounds: fewer than `rounds` if fewer contain all steps."""
        return -(-self.steps // self.steps_per_round)

    @property
    def total_steps(self) -> int:
        """The number of batches: `steps`, rounded up to whole rounds."""
        return self.steps_per_round * self.total_rounds

    @property
    def frozen_rounds(self) -> int:
        """The number of first rounds in which the encoder is frozen."""
        share = self.optimisation.freeze
        return max(1, round(share * self.total_rounds)) if share else 0

    def spec(self) -> ModelSpec:
        """The contract of the model that this run trains."""
        return ModelSpec(
            height=self.size[0],
            width=self.size[1],
            classes=self.classes,
            name=self.name,
            fit=self.fit,
            resample=self.resample,
            decoding=self.decoding,
            bit_depth=self.bit_depth,
        )

    def dataset(
        self, split: SplitNames | None = None, progress: Progress = lambda samples, _: samples
    ) -> Dataset:
        """The run's data, split as `split` says or as the settings do. Raises DataError."""
        from unet_edge.dataset import find_dataset

        # Not the run's seed: every run of the same data validates on the same pictures.
        return find_dataset(
            self.data, classes=self.classes, split=split, progress=progress, **self.reading()
        )

    @property
    def network_text(self) -> str:
        """The network in words, with the run that it was trained from."""
        if self.weights is None:
            return str(self.network)
        digest = f" (model.keras {self.weights_sha256[:12]})" if self.weights_sha256 else ""
        return f"{self.network}; started from the run {self.weights.name}{digest}"

    def to_toml(self) -> str:
        """The settings as TOML text, without the settings that are None."""
        from unet_edge.training.toml import dump_toml  # cattrs is in the train extra

        return dump_toml(self)

    @classmethod
    def from_toml(
        cls, text: str, source: str, changes: dict[str, Any] | None = None
    ) -> TrainConfig:
        """Read settings from TOML and replace those in `changes`, nested as in TOML.

        Raises ConfigError that names `source` and each invalid setting.
        """
        from unet_edge.training.toml import load_toml, merged

        return cls.from_dict(merged(load_toml(text, source), changes or {}), source)

    @classmethod
    def from_dict(cls, data: dict[str, Any], source: str) -> TrainConfig:
        """Make settings from plain values, nested as in TOML. Raises ConfigError as from_toml."""
        from unet_edge.training.toml import structure

        return structure(data, cls, source)
