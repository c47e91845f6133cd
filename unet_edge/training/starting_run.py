"""StartingRun: the run that another run starts from, read without Keras."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unet_edge.errors import ConfigError, TrainingError
from unet_edge.runtime.run_folder import PROGRESS_FOLDER, absence
from unet_edge.runtime.segmenter import CONFIG_FILE, KERAS_MODEL, SPEC_FILE, read_spec
from unet_edge.spec import ModelSpec
from unet_edge.system.files import sha256, write_atomically
from unet_edge.training.config import read_config
from unet_edge.training.settings.network import Network

IMPORTED = Network(architecture="imported")
"""The network of a run that `unet-edge import` made: only its model.keras describes it."""

_START_FOLDER = "start"  # in the progress folder
_CONTRACT = ("classes", "fit", "resample", "decoding", "bit_depth", "name")


@dataclass(frozen=True, eq=False)
class StartingRun:
    """The model.keras of a run as bytes, with the run's contract and network.

    `folder` is the run as the settings name it; nothing is read from there later.
    """

    folder: Path
    model: bytes
    spec: ModelSpec
    network: Network

    @property
    def sha256(self) -> str:
        """The SHA-256 of the model file, in hexadecimal digits."""
        return sha256(self.model)

    @classmethod
    def read(cls, folder: Path) -> StartingRun:
        """Read a run's folder, own or imported. Raises ConfigError and SpecError."""
        require_run(folder)
        spec, network = read_spec(folder / SPEC_FILE), network_of(folder)
        return cls(folder, _read_model(folder / KERAS_MODEL), spec, network)

    def keep(self, run: Path) -> None:
        """Copy the model and its contract into the unfinished `run`, which needs no other then."""
        kept = run / PROGRESS_FOLDER / _START_FOLDER
        write_atomically(kept / SPEC_FILE, self.spec.to_json() + "\n")
        write_atomically(kept / KERAS_MODEL, self.model)

    @classmethod
    def kept(cls, run: Path, folder: Path, network: Network, digest: str | None) -> StartingRun:
        """Read what `keep` wrote; `folder` and `network` are the settings of the unfinished run.

        Raises TrainingError if the copy is missing or damaged.
        """
        kept = run / PROGRESS_FOLDER / _START_FOLDER
        fix = "train again with --overwrite"
        if not (kept / KERAS_MODEL).is_file():
            raise TrainingError(f"{kept} has no {KERAS_MODEL}, which the run started from", fix=fix)
        start = cls(folder, _read_model(kept / KERAS_MODEL), read_spec(kept / SPEC_FILE), network)
        if start.sha256 != digest:
            raise TrainingError(
                "is damaged: its SHA-256 differs", fix=fix, subject=str(kept / KERAS_MODEL)
            )
        return start


def require_run(folder: Path) -> None:
    """Raise ConfigError unless `folder` holds a trained or an imported model."""
    if folder.is_file():
        if folder.name == KERAS_MODEL and (folder.parent / SPEC_FILE).is_file():
            raise ConfigError(
                f"--weights names the file {folder}",
                expected="it takes a run's folder",
                fix=f"pass --weights {folder.parent}",
            )
        raise ConfigError(
            f"{folder} is a model file, not a run's folder",
            fix=f"run: unet-edge import {folder} -o runs/imported; then pass "
            "--weights runs/imported",
        )
    for file in (KERAS_MODEL, SPEC_FILE):
        if not (folder / file).is_file():
            found, expected, fix = absence(
                folder,
                file,
                expected="--weights takes a folder that 'unet-edge train' or 'unet-edge import' "
                "wrote",
            )
            raise ConfigError(found, expected=expected, fix=fix)


def network_of(run: Path) -> Network:
    """The network of a run's folder. Raises ConfigError for damaged settings."""
    # An imported run has no settings of a training.
    return read_config(run).network if (run / CONFIG_FILE).is_file() else IMPORTED


def completed(given: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Complete settings, nested as in TOML, with those of the run that `weights` names.

    The network comes from the run. What its contract says is the default of classes, size, fit,
    resample, decoding, bit depth and name. Returns the settings, and a line that says what was
    taken from where. Raises ConfigError for a network that contradicts the run's.
    """
    folder = Path(given["weights"])
    require_run(folder)
    spec, network = read_spec(folder / SPEC_FILE), network_of(folder)
    _require_no_other_network(given.get("network", {}), network, folder)
    settings, taken = dict(given), [f"network {network}"]
    settings["network"] = dict(vars(network))
    contract = {name: getattr(spec, name) for name in _CONTRACT} | {"size": spec.size}
    for name, value in contract.items():
        if name in settings or value is None:
            continue
        settings[name] = list(value) if isinstance(value, tuple) else value
        taken.append(f"{name.replace('_', ' ')} {_shown(value)}")
    return settings, f"from {folder}: {', '.join(taken)}"


def _require_no_other_network(given: Mapping[str, Any], network: Network, folder: Path) -> None:
    for name, value in given.items():
        own = getattr(network, name, None)  # an unknown name is reported with the other settings
        if network.architecture == "imported" and name != "architecture":
            own = f"none, because {folder} is an imported network"
        if value != own and hasattr(network, name):
            raise ConfigError(
                f"{name} is {value}, but with --weights it is {own}"
                if network.architecture == "imported"
                else f"{name} is {value}, but the network of {folder} has {name} {own}",
                fix=f"omit --{name}, or train another network without --weights",
            )


def _shown(value: Any) -> str:
    match value:
        case (int(height), int(width)):
            return f"{height}x{width}"
        case tuple(names):
            return ",".join(names)
        case _:
            return str(value)


def _read_model(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror or error}") from error
