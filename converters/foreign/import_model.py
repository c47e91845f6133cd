"""Make a run's folder of a model that other training code made."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras

from converters.foreign.canonical import Canonical, canonicalise
from converters.foreign.description import ModelDescription, describe
from converters.foreign.import_settings import ImportSettings
from converters.foreign.reading import ForeignModel, read_foreign
from unet_edge.errors import ConfigError
from unet_edge.runtime.backends.keras_model import KerasBackend
from unet_edge.runtime.imported import (
    Found,
    Imported,
    InputContract,
    ProvenRewrite,
    Source,
)
from unet_edge.runtime.run_folder import IMPORTED_FILE
from unet_edge.runtime.segmenter import KERAS_MODEL, SPEC_FILE, Segmenter
from unet_edge.spec import ModelSpec
from unet_edge.system.atomic_folders import folder_written_atomically
from unet_edge.system.captured_output import captured_output
from unet_edge.system.files import write_atomically
from unet_edge.training.run_files import save_model

_TOOLS = ("keras", "tensorflow", "h5py", "numpy")
_BLOCK = 2**20  # bytes read at a time


@dataclass(frozen=True)
class OpenedModel:
    """A foreign model, what was found in it, and the size of its grid, (height, width) px."""

    foreign: ForeignModel
    found: ModelDescription
    size: tuple[int, int]


@dataclass(frozen=True)
class ImportedModel:
    """An import before it is written: the canonical model, its contract and its record."""

    model: keras.Model
    spec: ModelSpec
    record: Imported

    def segmenter(self) -> Segmenter:
        """The imported model, to segment pictures with."""
        return Segmenter(self.spec, KerasBackend(self.model), KERAS_MODEL)


def open_foreign(path: Path, settings: ImportSettings) -> OpenedModel:
    """Open a model file, running nothing in it, and compare it with the settings.

    Raises ModelFileError for a file that cannot be read, ConversionError for a model that is not
    a segmentation model, ConfigError for a size that is missing or that the model does not take.
    """
    with captured_output():  # TensorFlow prints on standard error
        foreign = read_foreign(
            path,
            architecture=settings.architecture,
            classes=len(settings.classes) if settings.architecture else None,
            size=settings.size if settings.architecture else None,
        )
        found = describe(foreign.model, settings.output)
    return OpenedModel(foreign, found, _size(path, found.size, settings))


def canonical_of(opened: OpenedModel, settings: ImportSettings) -> Canonical:
    """The canonical form of an opened model. Raises ConversionError and ConfigError."""
    with captured_output():
        return canonicalise(
            opened.foreign.model,
            settings.scaling,
            size=opened.size,
            classes=len(settings.classes),
            output=settings.output,
        )


def contract(opened: OpenedModel, canonical: Canonical, settings: ImportSettings) -> ModelSpec:
    """The contract of an imported model. Raises SpecError for invalid class names."""
    height, width = opened.size
    return ModelSpec(
        height=height,
        width=width,
        classes=settings.classes,
        name=settings.name,
        fit=settings.fit,
        resample=settings.resample,
        normalisation=canonical.normalisation,
    )


def imported_model(path: Path, opened: OpenedModel, settings: ImportSettings) -> ImportedModel:
    """Rewrite an opened model into its canonical form, with the contract and the record."""
    canonical = canonical_of(opened, settings)
    scaling, found = settings.scaling, opened.found
    output = next(each for each in found.outputs if each.name == found.output)
    record = Imported(
        source=Source(path.name, file_digest(path), opened.foreign.kind, settings.architecture),
        input=InputContract(settings.range_name, scaling.mean, scaling.std, scaling.color_order),
        found=Found(
            input_shape=found.inputs[0].shape,
            output_shape=output.shape,
            output=found.output,
            last_activation=found.last_activation,
            layers=found.layers,
            parameters=found.parameters,
        ),
        assumed=settings.assumed,
        rewrites=tuple(
            ProvenRewrite(each.what, float(each.largest_difference)) for each in canonical.rewrites
        ),
        tools={tool: version for tool in _TOOLS if (version := _version(tool))},
    )
    return ImportedModel(canonical.model, contract(opened, canonical, settings), record)


def write_run(
    run: Path, imported: ImportedModel, extras: Callable[[Path], None] = lambda _: None
) -> None:
    """Write a run's folder in one step; `extras` may add files to the new folder.

    Raises OSError.
    """
    with folder_written_atomically(run) as folder:
        save_model(imported.model, folder / KERAS_MODEL)
        write_atomically(folder / SPEC_FILE, imported.spec.to_json() + "\n")
        write_atomically(folder / IMPORTED_FILE, imported.record.to_json())
        extras(folder)


def file_digest(path: Path) -> str:
    """The SHA-256 of a file, or of a folder's names and digests, in hexadecimal."""
    if path.is_dir():
        lines = (
            f"{file_digest(each)}  {each.relative_to(path).as_posix()}\n"
            for each in sorted(path.rglob("*"))
            if each.is_file()
        )
        return hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _size(path: Path, own: tuple[int, int] | None, settings: ImportSettings) -> tuple[int, int]:
    """The grid's size: the model's own, or the given one. Raises ConfigError."""
    size = settings.size or own
    if size is None:
        raise ConfigError(
            f"{path} takes pictures of any size",
            expected="a device needs one",
            fix="give the size that it was trained on with --size, such as --size 256",
        )
    if own is not None and size != own:
        raise ConfigError(
            f"--size is {size[0]}x{size[1]}",
            expected=f"{path} takes {own[0]}x{own[1]} px only",
            fix="leave --size out",
        )
    return size


def _version(tool: str) -> str | None:
    try:
        return importlib.metadata.version(tool)
    except importlib.metadata.PackageNotFoundError:
        return None
