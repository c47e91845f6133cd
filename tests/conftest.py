"""What many tests need: generated pictures, a trained run and a bundle, made once a session."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from unet_edge.demo.cells import CLASSES, write_dataset

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@pytest.fixture(scope="session")
def sample_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images/, masks/, train.txt and val.txt: 16 and 5 generated pictures."""
    root = tmp_path_factory.mktemp("cells")
    write_dataset(root, train=16, validation=5, seed=7)
    return root


@pytest.fixture(scope="session")
def run_path(sample_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training run: model.keras, spec.json and the rest, of the smallest separable model."""
    from unet_edge.training.augmentation import Augmentation
    from unet_edge.training.config import TrainConfig
    from unet_edge.training.models import Network
    from unet_edge.training.optimisation import Optimisation
    from unet_edge.training.run import train

    run = tmp_path_factory.mktemp("runs") / "cells"
    config = TrainConfig(
        data=sample_data,
        classes=CLASSES,
        size=(192, 192),
        crop=(96, 96),
        network=Network(alpha=0.25),
        encoder_weights="none",
        steps=120,
        rounds=3,
        optimisation=Optimisation(learning_rate=0.005),
        augmentation=Augmentation(scale=(0.8, 1.25), hue=0, any_orientation=True),
        name="cells",
    )
    train(config, run)
    return run


@pytest.fixture(scope="session")
def bundle_path(run_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete bundle of the run: five files, four golden pictures."""
    from converters.export import ExportSettings, export
    from unet_edge.files import sha256
    from unet_edge.runtime.backends.keras_model import load_keras
    from unet_edge.runtime.segmenter import read_spec
    from unet_edge.training.config import read_config

    model = run_path / "model.keras"
    bundle = export(
        load_keras(model),
        read_spec(run_path / "spec.json"),
        read_config(run_path).dataset(),
        tmp_path_factory.mktemp("bundles") / "cells",
        keras_sha256=sha256(model.read_bytes()),
        settings=ExportSettings(golden=4),
    )
    return bundle.path
