"""The settings of an export; this module imports neither TensorFlow nor Keras."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from unet_edge.bundle.bundle_file import FLOORS
from unet_edge.errors import ConfigError
from unet_edge.model_files.embedded_contract import Format, Precision

if TYPE_CHECKING:
    from converters.card.latency import Latency
    from converters.int8.search import Budget

Artifact = tuple[Format, Precision]
"""A kind of file."""

ARTIFACTS: tuple[Artifact, ...] = tuple(FLOORS)
"""Every kind of file that `export` can write."""

DEFAULT: tuple[Artifact, ...] = tuple(
    artifact for artifact in ARTIFACTS if artifact[1] in ("float32", "float16", "int8")
)
"""The kinds of file that `export` writes by default."""


@dataclass(frozen=True)
class ExportSettings:
    """The files to write, and the numbers of pictures to calibrate, prove and copy.

    `calibration`, `check` and `golden` count pictures.
    `license` and `latency` appear in the model card only; None if unknown.
    `full_integer` rounds every layer of int8 files, for accelerators without float arithmetic.
    `budget` starts a search that replaces the .tflite files of integers. The search may take up
    to `fine_tuning` steps of quantisation-aware training.
    """

    artifacts: tuple[Artifact, ...] = DEFAULT
    calibration: int = 100
    check: int = 64
    golden: int = 8
    seed: int = 0
    license: str | None = None
    latency: Latency | None = None
    full_integer: bool = False
    budget: Budget | None = None
    fine_tuning: int = 300

    def __post_init__(self) -> None:
        if not self.artifacts:
            raise ConfigError(
                "no format is named",
                fix=f"name at least one of {_names()}",
            )
        for name in ("calibration", "check", "golden"):
            if getattr(self, name) < 1:
                raise ConfigError(
                    f"{name} is {getattr(self, name)}",
                    expected="it must be at least 1 picture",
                )
        if self.budget and self.full_integer:
            raise ConfigError(
                "--full-integer and --min-agreement exclude each other",
                fix="leave --full-integer out: the search tries full integer by itself",
            )
        if self.license is not None and not self.license.strip():
            raise ConfigError(
                "the license is empty",
                fix="leave --license out if you do not know it",
            )


def artifact_name(artifact: Artifact) -> str:
    """The name of a kind of file, such as "tflite-int8"."""
    return "-".join(artifact)


def parse_artifact(name: str) -> Artifact:
    """Parse a name such as "tflite-int8". Raises ConfigError that lists the valid names."""
    for artifact in ARTIFACTS:
        if name == artifact_name(artifact):
            return artifact
    raise ConfigError(f"unknown format {name!r}", expected=f"it must be one of {_names()}")


def _names() -> str:
    return ", ".join(map(artifact_name, ARTIFACTS))
