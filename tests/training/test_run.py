"""Training runs: what is written, that it is right, and that a broken one says so."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from unet_edge import Segmenter
from unet_edge.demo.cells import CLASSES
from unet_edge.errors import ConfigError, DataError, TrainingError
from unet_edge.metrics import Confusion
from unet_edge.spec import IGNORE, ModelSpec
from unet_edge.training.batches import grid_batches
from unet_edge.training.config import TrainConfig, read_config
from unet_edge.training.losses import Loss, objective
from unet_edge.training.models import Network, build
from unet_edge.training.optimisation import Optimisation
from unet_edge.training.run import TrainResult, train
from unet_edge.training.validation import compare_modes, validate


def tiny(data: Path, **changes: object) -> TrainConfig:
    settings: dict[str, object] = {
        "data": data,
        "classes": CLASSES,
        "size": (64, 64),
        "network": Network(alpha=0.25),
        "encoder_weights": "none",
        "steps": 4,
        "rounds": 2,
        "batch_size": 2,
    }
    return TrainConfig(**(settings | changes))  # type: ignore[arg-type]


def read_history(run: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((run / "history.csv").read_text().splitlines()))


class TestTrainedRun:
    def test_history_has_a_line_for_each_round(self, run_path: Path) -> None:
        rows = read_history(run_path)
        assert [row["step"] for row in rows] == ["40", "80", "120"]
        losses = [float(row["loss"]) for row in rows]
        assert losses[0] > losses[1] > losses[2] > 0

    def test_best_model_is_the_one_that_was_saved(self, run_path: Path) -> None:
        config = read_config(run_path)
        dataset = config.dataset()
        segmenter = Segmenter.open(run_path)
        total = Confusion.empty(2)
        for sample in dataset.validation:
            picture, truth = dataset.read(sample)
            total += Confusion.of(truth, segmenter.segment(picture).labels, 2)
        rows = read_history(run_path)
        best = max(float(row["validation_miou"]) for row in rows)
        # The pictures have the grid's size, so no resampling lies between. Another batch size may
        # add in another order and flip a near-tie: 1 pixel in 100,000 moves the mIoU by < 1e-5.
        assert total.miou == pytest.approx(best, abs=2e-5)
        # Well above what brightness alone gives (0.69, tests/demo/test_cells.py).
        assert total.miou > 0.72

    def test_inference_agrees_with_training(self, run_path: Path) -> None:
        result = json.loads((run_path / "result.json").read_text())
        assert result["agrees"] is True
        assert result["inference_loss"] == pytest.approx(result["training_loss"], rel=0.2)

    def test_pictures_to_look_at(self, run_path: Path) -> None:
        with Image.open(run_path / "curves.png") as curves:
            assert curves.width > 600
        samples = sorted((run_path / "samples").iterdir())
        assert len(samples) == 5
        with Image.open(samples[0]) as sheet:
            assert sheet.width > 3 * 192

    def test_config_can_be_read_back(self, run_path: Path, sample_data: Path) -> None:
        config = read_config(run_path)
        assert config.data == sample_data
        assert config.network == Network(alpha=0.25)
        assert TrainConfig.from_toml(config.to_toml(), "config.toml") == config


class TestRefusals:
    def test_a_run_is_not_overwritten(self, sample_data: Path, run_path: Path) -> None:
        with pytest.raises(ConfigError, match="--overwrite"):
            train(tiny(sample_data), run_path)

    def test_a_class_without_pixels(self, sample_data: Path, tmp_path: Path) -> None:
        three = tiny(sample_data, classes=("cell", "membrane", "nucleus"), masks="index")
        with pytest.raises(DataError, match="no pixel of any mask is of class 2"):
            train(three, tmp_path / "run")

    def test_a_loss_that_is_no_number(self, sample_data: Path, tmp_path: Path) -> None:
        fast = Optimisation(learning_rate=1e30)
        diverging = tiny(sample_data, optimisation=fast, steps=40, rounds=1, augment=False)
        with pytest.raises(TrainingError, match="lower --learning-rate"):
            train(diverging, tmp_path / "run")
        assert not (tmp_path / "run" / "model.keras").exists()


def brief(data: Path, seed: int) -> TrainConfig:
    return tiny(data, seed=seed, network=Network("unet_mini"), size=(32, 32), rounds=1)


class TestDeterminism:
    @pytest.mark.slow
    def test_the_same_seed_gives_the_same_run(self, sample_data: Path, tmp_path: Path) -> None:
        for name in ("a", "b"):
            train(brief(sample_data, seed=3), tmp_path / name)
        train(brief(sample_data, seed=4), tmp_path / "c")
        first, second, other = (read_history(tmp_path / name) for name in "abc")
        # Threads add in no fixed order: float32 sums of 10^4 terms differ by up to about 1e-4.
        for a, b in zip(first, second, strict=True):
            assert float(a["loss"]) == pytest.approx(float(b["loss"]), rel=1e-3)
        assert float(first[0]["loss"]) != pytest.approx(float(other[0]["loss"]), rel=1e-3)


class TestValidation:
    def test_padding_counts_for_nothing(self, tmp_path: Path) -> None:
        """A wide picture in a square grid: loss and confusion over its own pixels alone."""
        for folder in ("images", "masks"):
            (tmp_path / folder).mkdir()
        random = np.random.default_rng(0)
        for name in ("a", "b"):
            pixels = random.integers(0, 255, (16, 64, 3), np.uint8)
            labels = random.integers(0, 2, (16, 64), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / f"{name}.png")
            Image.fromarray(labels).save(tmp_path / "masks" / f"{name}.png")
        config = tiny(tmp_path, masks="index")
        dataset, spec = config.dataset(), config.spec()
        model = build(config.network, 2, spec.normalisation)
        loss, confusion = validate(model, dataset, dataset.validation, spec, 2, objective(Loss()))

        ((pixels, labels),) = grid_batches(dataset, dataset.validation, spec, 2)
        assert (labels == IGNORE).sum() == 64 * 48
        logits = np.asarray(model(pixels), np.float64)
        valid = labels != IGNORE
        chosen = np.take_along_axis(logits, labels[..., None] % 255, axis=-1)[..., 0]
        expected = (np.log(np.exp(logits).sum(-1)) - chosen)[valid].mean()
        # float32 log-sum-exp against float64: relative 2^-24 a term, a few terms.
        assert loss == pytest.approx(expected, rel=1e-5)
        assert confusion.pixels == 64 * 16


class TestInferenceCheck:
    def test_stale_statistics_are_found(self, run_path: Path) -> None:
        """The tutorial's failure, made on purpose: a good model with forgotten statistics."""
        config = read_config(run_path)
        dataset, spec = config.dataset(), config.spec()
        model = keras.saving.load_model(run_path / "model.keras", compile=False)
        batches = list(grid_batches(dataset, dataset.train[:4], spec, 4))
        training, inference = compare_modes(model, batches, objective(Loss()))
        assert result_of(training, inference).agrees

        for layer in model.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                gamma, beta, mean, variance = layer.get_weights()
                layer.set_weights([gamma, beta, mean * 0, variance * 0 + 1])
        training_after, inference_after = compare_modes(model, batches, objective(Loss()))
        # Batch statistics do not care what the moving ones are.
        assert training_after == pytest.approx(training, rel=1e-5)
        assert not result_of(training_after, inference_after).agrees


def result_of(training: float, inference: float) -> TrainResult:
    return TrainResult(Path("run"), 1, 0.5, (0.5, 0.5), training, inference, 0.0)


def test_spec_of_a_config() -> None:
    spec = tiny(Path("data"), name="cells", size=(32, 48)).spec()
    assert spec == ModelSpec(height=32, width=48, classes=CLASSES, name="cells")
