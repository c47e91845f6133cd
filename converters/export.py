"""Export a Keras model to a bundle of proven files."""

from __future__ import annotations

import importlib.metadata
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras

from converters.artifacts import INTEGERS, Converter, file_name
from converters.card.card import with_card
from converters.figures import file_entry, reference_entry, split_figures
from converters.freeze import require_tensorflow
from converters.golden import golden_pictures
from converters.int8.calibration import calibration_grids
from converters.int8.search import Search, SearchResult
from converters.references import HeldOut, held_out, held_out_unlabelled
from converters.settings import Artifact, ExportSettings
from converters.slow_parts import slow_parts
from unet_edge.bundle.bundle import Bundle
from unet_edge.bundle.bundle_file import FLOORS, BundleFile
from unet_edge.bundle.manifest import DataCounts
from unet_edge.bundle.writing import require_replaceable_bundle, write_bundle
from unet_edge.dataset import Dataset
from unet_edge.dataset.unlabelled import UnlabelledPictures
from unet_edge.errors import ConfigError, ConversionError
from unet_edge.evaluation.verification import Verification, verify
from unet_edge.images.placement import Pixels
from unet_edge.masks.metrics import Confusion
from unet_edge.model_files.embedded_contract import Contract, seal
from unet_edge.percent import percent
from unet_edge.runtime.backends.keras_model import KerasBackend
from unet_edge.runtime.interpreter_choice import open_backend
from unet_edge.runtime.segmenter import Segmenter
from unet_edge.spec import ModelSpec
from unet_edge.system.atomic_folders import temporary_files_beside
from unet_edge.system.board import read_processor
from unet_edge.system.files import require_writable_path
from unet_edge.system.progress import progress, progress_bar

_TOOLS = ("keras", "tensorflow", "tf2onnx", "onnx", "onnxruntime", "ai-edge-litert")


def export(
    model: keras.Model,
    spec: ModelSpec,
    dataset: Dataset | UnlabelledPictures,
    output: Path,
    *,
    keras_sha256: str,
    network: str | None = None,
    trained_here: bool = True,
    settings: ExportSettings | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Bundle:
    """Convert `model`, prove the files and write a bundle to `output`.

    Calibrates on training pictures. Proves each file on validation pictures at their own size,
    against the masks of `model` itself. Pictures without masks prove the same agreement, and give
    no mIoU. A file under its floor is written and marked. `network` describes the model in the
    card. `trained_here` says that the pictures are those of the model's own training. `say` gets a
    line of text on each file. Replaces an older bundle at `output`. An export that is killed leaves
    the older bundle or none, and the next export removes its temporary files.

    Raises BundleError when `output` is not a bundle, ConversionError when a file cannot be
    converted, ConfigError for settings that exclude each other, and ImageError or DataError for
    the pictures.
    """
    settings = settings or ExportSettings()
    require_tensorflow(keras.backend.backend())
    if settings.budget and spec.output != "logits":
        raise ConfigError(
            "--labels and --min-agreement exclude each other",
            expected="the search of --min-agreement compares scores",
            fix="export with --labels or with --min-agreement",
        )
    unlabelled = isinstance(dataset, UnlabelledPictures)
    if unlabelled and settings.budget and settings.budget.max_miou_drop is not None:
        raise _no_labels()
    require_replaceable_bundle(output)
    require_writable_path(output)
    with temporary_files_beside(output):
        exporter = _Exporter(model, spec, dataset, settings, say)
        return exporter.export(output, keras_sha256, network, trained_here=trained_here)


@dataclass(frozen=True)
class _File:
    """A converted file, sealed with its contract; `floor` is the least agreement, 0..1."""

    artifact: Artifact
    data: bytes
    float_layers: tuple[str, ...]
    floor: float

    @property
    def name(self) -> str:
        return file_name(self.artifact)


@dataclass(frozen=True)
class _Exporter:
    """The steps of an export, with what all of them need."""

    model: keras.Model
    spec: ModelSpec
    dataset: Dataset | UnlabelledPictures
    settings: ExportSettings
    say: Callable[[str], None]

    def export(
        self, output: Path, keras_sha256: str, network: str | None, *, trained_here: bool
    ) -> Bundle:
        dataset, settings = self.dataset, self.settings
        grids = self._calibration_grids()
        pictures, confusion = self._held_out()
        keras_miou = math.nan if confusion is None else confusion.miou
        # Before a search, which takes hours: a damaged test picture must not end it.
        tests = self._tests()
        search = self._search(grids, pictures, keras_miou) if settings.budget else None
        files = self._files(grids, search)
        proofs = self._proofs(files, pictures, keras_miou)
        entries = tuple(
            self._entry(file, proofs[file.name]) for file in files if file.name in proofs
        )
        models = {file.name: file.data for file in files if file.name in proofs}
        golden_files, golden = golden_pictures(
            Segmenter(self.spec, KerasBackend(self.model), "Keras"),
            pictures,
            {name: proof.shares for name, proof in proofs.items()},
            settings.golden,
        )
        bundle = Bundle(
            path=output,
            spec=self.spec,
            files=entries,
            golden=golden,
            reference=reference_entry(
                pictures,
                confusion,
                keras_sha256=keras_sha256,
                network=network,
                parameters=self.model.count_params(),
            ),
            tools={tool: _version(tool) for tool in _TOOLS},
            data=DataCounts(
                len(dataset.train) if trained_here else 0, len(dataset.validation), len(grids)
            ),
            license=settings.license,
            search=None if search is None else search.record(),
            processor=read_processor(),
            test=None
            if tests is None
            else split_figures(*tests, len(dataset.test), self.spec, entries, models),
        )
        bundle, card = with_card(bundle, models, golden_files, settings.latency)
        return write_bundle(bundle, models, golden_files, card)

    def _calibration_grids(self) -> list[Pixels]:
        """The calibration pictures; none if no file needs them."""
        settings = self.settings
        precisions = {precision for _, precision in settings.artifacts}
        if not settings.budget and precisions.isdisjoint(INTEGERS):
            return []
        count, seed = settings.calibration, settings.seed
        return calibration_grids(self.dataset, self.spec, count=count, seed=seed)

    def _held_out(self) -> tuple[list[HeldOut], Confusion | None]:
        """The pictures to prove on, and the confusion over them, None without labels."""
        count = self.settings.check
        if isinstance(self.dataset, UnlabelledPictures):
            return held_out_unlabelled(self.model, self.spec, self.dataset, count), None
        return held_out(self.model, self.spec, self.dataset, count)

    def _tests(self) -> tuple[list[HeldOut], Confusion] | None:
        """The test pictures, and the confusion over them; None without any."""
        if isinstance(self.dataset, UnlabelledPictures) or not self.dataset.test:
            return None
        return held_out(self.model, self.spec, self.dataset, self.settings.check, "test")

    def _search(
        self, grids: Sequence[Pixels], pictures: Sequence[HeldOut], keras_miou: float
    ) -> SearchResult:
        """Search for a file within the budget; raises ConversionError if there is none."""
        budget = self.settings.budget
        assert budget is not None
        if budget.max_miou_drop is not None and math.isnan(keras_miou):
            raise _no_labels()
        result = Search(
            self.model,
            self.spec,
            grids,
            lambda label: (picture.unpacked() for picture in progress(pictures, label)),
            keras_miou,
            budget,
            fine_tune_steps=self.settings.fine_tuning,
            say=self.say,
        ).run()
        if result.kept is None:
            closest = max(result.candidates, key=lambda candidate: candidate.agreement)
            raise ConversionError(
                f"no .tflite file holds the budget; the closest, {closest.recipe}, agrees with "
                f"Keras on {percent(closest.agreement)} % of the pixels",
                fix="lower --min-agreement, or allow a larger --max-miou-drop",
            )
        return result

    def _files(self, grids: Sequence[Pixels], search: SearchResult | None) -> list[_File]:
        """Convert every file; the result of a search comes first."""
        settings = self.settings
        files: list[_File] = []
        artifacts = list(dict.fromkeys(settings.artifacts))
        if search is not None:
            files.append(self._search_file(search))
            replaced = [("tflite", precision) for precision in INTEGERS]
            artifacts = [
                artifact
                for artifact in artifacts
                if artifact not in replaced and artifact != files[0].artifact
            ]
        converter = Converter(self.model, self.spec, grids, full_integer=settings.full_integer)
        bar = progress_bar(len(artifacts), "converting")
        for artifact in artifacts:
            bar.set_postfix_str(file_name(artifact))
            data, float_layers = converter.convert(artifact)
            floor = settings.budget.min_agreement if settings.budget else FLOORS[artifact]
            files.append(_File(artifact, self._sealed(data, artifact), float_layers, floor))
            bar.update()
        bar.close()
        return files

    def _search_file(self, search: SearchResult) -> _File:
        kept = search.kept
        assert kept is not None, "_search raises if no file holds the budget"
        assert search.data is not None
        artifact: Artifact = ("tflite", kept.precision)
        data = self._sealed(search.data, artifact)
        return _File(artifact, data, kept.float_layers, search.budget.min_agreement)

    def _sealed(self, data: bytes, artifact: Artifact) -> bytes:
        return seal(data, Contract(self.spec, *artifact))

    def _proofs(
        self, files: Sequence[_File], pictures: Sequence[HeldOut], keras_miou: float
    ) -> dict[str, Verification]:
        """Prove each file on the held-out pictures, by name; leaves out those over the budget."""
        budget = self.settings.budget
        proofs: dict[str, Verification] = {}
        for file in files:
            shown = progress(pictures, f"proving {file.name}")
            proof = verify(
                Segmenter(self.spec, open_backend(file.data, file.artifact[0]), file.name),
                (picture.unpacked() for picture in shown),
                floor=file.floor,
            )
            share = f"{file.name}: {percent(proof.agreement)} % of pixels as Keras"
            if budget and not budget.holds(proof, keras_miou):
                self.say(f"{share}, misses the budget, left out")
                continue
            mark = "" if proof.passed else f"  UNDER ITS FLOOR of {percent(proof.floor)} %"
            self.say(f"{share}{mark}")
            if slow := slow_parts(file.data, file.artifact):
                self.say(f"{file.name}: {slow}")
            proofs[file.name] = proof
        return proofs

    def _entry(self, file: _File, proof: Verification) -> BundleFile:
        return file_entry(file.data, *file.artifact, proof, file.float_layers)


def _no_labels() -> ConfigError:
    return ConfigError(
        "no held-out picture has true labels",
        expected="--max-miou-drop needs true labels",
        fix="leave --max-miou-drop out",
    )


def _version(tool: str) -> str:
    """A tool's version; "unknown" if it is installed under another name, as tensorflow-cpu is."""
    try:
        return importlib.metadata.version(tool)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
