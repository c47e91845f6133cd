"""Networks of other projects, trained, saved by their own calls, imported, exported and proven."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import run as unet_edge
from foreign_models.training import discs, trained
from foreign_models.zoo import NETWORKS, ForeignNetwork, network
from PIL import Image

from converters.export import export
from converters.foreign.import_model import imported_model, open_foreign
from converters.foreign.import_settings import ImportSettings
from converters.foreign.input_scaling import InputScaling
from converters.settings import DEFAULT, ExportSettings
from unet_edge import Bundle, Segmenter
from unet_edge.bundle.bundle_file import BundleFile
from unet_edge.dataset.unlabelled import find_unlabelled

SIZE = 64
CLASSES = ("background", "disc")

UNDECIDED = {"float32": 0.0, "float16": 0.05}
"""Margins between the two scores that a precision need not tell apart, in standard deviations.

Networks of these widths differ by 0.013 at most in float16 after a few steps.
"""

LEAST_INT8 = 0.9
"""The least share of equal pixels in int8, whose mistakes have any margin in networks that were
trained for a few steps: 0.95 and more were measured. Other colours or borders would show in the
other files, too, which come from the same graph."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for index, picture in enumerate(discs(8, SIZE, seed=1)[0]):
        Image.fromarray(picture).save(folder / f"{index}.png")
    return folder


def bundle_of(entry: ForeignNetwork, path: Path, photos: Path, output: Path) -> Bundle:
    """Import the file and export it to all default formats, without true masks."""
    settings = ImportSettings(
        classes=CLASSES,
        scaling=InputScaling.named(entry.input_range),
        range_name=entry.input_range,
        name=entry.name,
        size=(SIZE, SIZE) if entry.architecture else None,
        architecture=entry.architecture,
    )
    imported = imported_model(path, open_foreign(path, settings), settings)
    return export(
        imported.model,
        imported.spec,
        find_unlabelled(photos),
        output,
        keras_sha256="0" * 64,
        trained_here=False,
        settings=ExportSettings(golden=1),
    )


@pytest.mark.parametrize(
    "entry", [each for each in NETWORKS if each.name != "vgg-unet"], ids=lambda entry: entry.name
)
def test_every_file_of_an_imported_network_gives_its_masks(
    entry: ForeignNetwork, photos: Path, tmp_path: Path
) -> None:
    model = trained(entry, width=entry.tiny, size=SIZE)
    path = entry.save(model, tmp_path)
    bundle = bundle_of(entry, path, photos, tmp_path / "bundle")
    assert [(file.format, file.precision) for file in bundle.files] == list(DEFAULT)
    for file in bundle.files:
        if file.precision == "float32":
            assert file.agreement == 1.0
        require_masks_of(entry, model, tmp_path / "bundle", file)


def test_a_network_goes_through_the_command_line(photos: Path, tmp_path: Path) -> None:
    entry = network("vgg-unet")
    model = trained(entry, width=entry.tiny, size=SIZE)
    path, run = entry.save(model, tmp_path), tmp_path / "run"
    unet_edge("import", path, "-o", run, "--classes", ",".join(CLASSES), "--input-range", "caffe")
    unet_edge("export", run, "--data", photos, "--golden", "2")
    unet_edge("verify", run / "bundle")
    for file in Bundle.open(run / "bundle").files:
        require_masks_of(entry, model, run / "bundle", file)


def require_masks_of(entry: ForeignNetwork, model: Any, bundle: Path, file: BundleFile) -> None:
    """A file's masks are those of `model` itself, before anything was rewritten.

    Left out are pixels whose scores are close to each other, by the file's precision.
    """
    pixels, truth = discs(4, SIZE, seed=2)
    logits = entry.logits(model, pixels)
    expected = logits.argmax(-1)
    # The network must have learnt something, or equal masks would say little: 0.82 to 0.99 were
    # measured, and a few steps end elsewhere on another processor.
    assert (expected == truth).mean() > 0.7
    assert 0.05 < expected.mean() < 0.5
    segmenter = Segmenter.open(bundle, file=file.name)
    labels = np.stack([segmenter.segment(Image.fromarray(each)).labels for each in pixels])
    if file.precision == "int8":
        assert (labels == expected).mean() > LEAST_INT8
        return
    margin = logits[..., 1] - logits[..., 0]
    # The network's own pass may round otherwise: float32 by some 1e-6 of values of about ten in
    # each of up to a hundred layers, and float16, which its policy computes in, by 1e-3.
    rounding = 1e-3 if entry.policy == "float32" else 0.3
    undecided = abs(margin) < rounding + UNDECIDED[file.precision] * margin.std()
    assert undecided.mean() < 0.2
    np.testing.assert_array_equal(labels[~undecided], expected[~undecided])
