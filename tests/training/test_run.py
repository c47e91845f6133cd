"""Training runs: what is written, that it is right, and that a broken one says so."""

from __future__ import annotations

import csv
import json
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image
from tensorboardX.proto import event_pb2

from unet_edge import Segmenter
from unet_edge.demo.cells import CLASSES, write_dataset
from unet_edge.errors import ConfigError, DataError, TrainingError, UnetEdgeError
from unet_edge.evaluation.evaluation import evaluate
from unet_edge.masks.metrics import Confusion
from unet_edge.spec import IGNORE, ModelSpec, Normalisation
from unet_edge.training.batches import grid_batches, training_batches
from unet_edge.training.config import read_config
from unet_edge.training.distillation import Student
from unet_edge.training.losses import objective
from unet_edge.training.models import build, load_encoder
from unet_edge.training.optimisation import build_optimizer
from unet_edge.training.resume import resume
from unet_edge.training.run import train
from unet_edge.training.settings.augmentation import Augmentation
from unet_edge.training.settings.distillation import Distillation
from unet_edge.training.settings.loss import Loss
from unet_edge.training.settings.network import Network
from unet_edge.training.settings.optimisation import Optimisation
from unet_edge.training.settings.train_config import TrainConfig
from unet_edge.training.train_result import TrainResult
from unet_edge.training.validation import compare_modes, validate


def short_unet(x: keras.KerasTensor, classes: int) -> keras.KerasTensor:
    """One layer of each kind that `unet_mini` has."""
    layers = keras.layers
    x = layers.Conv2D(8, 3, strides=4, padding="same", use_bias=False, name="conv")(x)
    x = layers.BatchNormalization(name="conv_bn")(x)
    x = layers.Dropout(0.2, name="drop")(layers.ReLU(6.0, name="relu")(x))
    x = layers.UpSampling2D(4, interpolation="bilinear", name="up")(x)
    return layers.Conv2D(classes, 1, name="logits", dtype="float32")(x)


@contextmanager
def short_network() -> Iterator[None]:
    """Let `unet_mini` be `short_unet`: a tenth of the time, most of which is to trace layers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("unet_edge.training.models._unet_mini", short_unet)
        yield


@pytest.fixture
def short() -> Iterator[None]:
    """For tests of what a run does with any network."""
    with short_network():
        yield


def tiny(data: Path, **changes: object) -> TrainConfig:
    settings: dict[str, object] = {
        "data": data,
        "classes": CLASSES,
        "size": (64, 64),
        "network": Network("unet_mini"),
        "encoder_weights": "none",
        "steps": 4,
        "rounds": 2,
        "batch_size": 2,
    }
    return TrainConfig(**(settings | changes))  # type: ignore[arg-type]


def read_history(run: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((run / "history.csv").read_text().splitlines()))


@pytest.fixture(scope="module")
def trained_run(sample_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the smallest separable network, trained here: everything that a run holds."""
    run = tmp_path_factory.mktemp("trained") / "cells"
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


@pytest.mark.slow
class TestTrainedRun:
    def test_history_has_a_line_for_each_round(self, trained_run: Path) -> None:
        rows = read_history(trained_run)
        assert [row["step"] for row in rows] == ["40", "80", "120"]
        losses = [float(row["loss"]) for row in rows]
        assert losses[0] > losses[1] > losses[2] > 0

    def test_its_miou_is_the_one_that_evaluate_measures(
        self, sample_data: Path, tmp_path: Path
    ) -> None:
        """Pictures of 192 px on a grid of 64, so that the two figures differ."""
        config = tiny(sample_data, size=(64, 64), steps=4, network=Network("unet_mini"))
        result = train(config, tmp_path / "run")
        dataset = config.dataset()
        found = evaluate(Segmenter.open(tmp_path / "run"), dataset, dataset.validation)
        # Keras' sums may come in another order: 1 pixel in 100,000, under 1e-5 of the mIoU.
        assert result.validation_miou == pytest.approx(found.confusion.miou, abs=2e-5)
        assert result.validation_iou == pytest.approx(found.confusion.iou, abs=2e-5)
        assert abs(result.validation_grid_miou - result.validation_miou) > 1e-4
        written = json.loads((tmp_path / "run" / "result.json").read_text())
        assert written["validation_miou"] == result.validation_miou
        assert written["validation_grid_miou"] == result.validation_grid_miou

    def test_best_model_is_the_one_that_was_saved(self, trained_run: Path) -> None:
        config = read_config(trained_run)
        dataset = config.dataset()
        segmenter = Segmenter.open(trained_run)
        total = Confusion.empty(2)
        for sample in dataset.validation:
            picture, truth = dataset.read(sample)
            total += Confusion.of(truth, segmenter.segment(picture).labels, 2)
        rows = read_history(trained_run)
        best = max(float(row["validation_grid_miou"]) for row in rows)
        # The pictures have the grid's size, so no resampling lies between. Another batch size may
        # add in another order and flip a near-tie: 1 pixel in 100,000 moves the mIoU by < 1e-5.
        assert total.miou == pytest.approx(best, abs=2e-5)
        # Well above what brightness alone gives (0.69, tests/demo/test_cells.py).
        assert total.miou > 0.72

    def test_inference_agrees_with_training(self, trained_run: Path) -> None:
        result = json.loads((trained_run / "result.json").read_text())
        assert result["agrees"] is True
        assert result["inference_loss"] == pytest.approx(result["training_loss"], rel=0.2)

    def test_pictures_to_look_at(self, trained_run: Path) -> None:
        with Image.open(trained_run / "curves.png") as curves:
            assert curves.width > 600
        samples = sorted((trained_run / "samples").iterdir())
        assert len(samples) == 5
        with Image.open(samples[0]) as sheet:
            assert sheet.width > 3 * 192

    def test_config_can_be_read_back(self, trained_run: Path, sample_data: Path) -> None:
        config = read_config(trained_run)
        assert config.data == sample_data
        assert config.network == Network(alpha=0.25)
        assert TrainConfig.from_toml(config.to_toml(), "config.toml") == config

    def test_no_tensorboard_events_unless_asked_for(self, trained_run: Path) -> None:
        assert not (trained_run / "tensorboard").exists()


@pytest.mark.usefixtures("short")
class TestRefusals:
    def test_a_run_is_not_overwritten(self, sample_data: Path, run_path: Path) -> None:
        with pytest.raises(ConfigError, match="--overwrite"):
            train(tiny(sample_data), run_path)

    def test_a_class_without_pixels(self, sample_data: Path, tmp_path: Path) -> None:
        three = tiny(sample_data, classes=("cell", "membrane", "nucleus"), masks="index")
        with pytest.raises(DataError, match="no mask has a pixel of class 2"):
            train(three, tmp_path / "run")

    def test_a_validation_loss_that_is_not_a_number(
        self, sample_data: Path, tmp_path: Path
    ) -> None:
        # One step: the training loss is of the weights before it.
        fast = Optimisation(learning_rate=1e38, warmup=0)
        diverging = tiny(sample_data, optimisation=fast, steps=1, rounds=1)
        with pytest.raises(TrainingError, match=r"validation loss is .* lower --learning-rate"):
            train(diverging, tmp_path / "run")

    def test_training_masks_that_are_ignored_throughout(self, tmp_path: Path) -> None:
        write_dataset(tmp_path, train=4, validation=2, seed=1)
        for name in (tmp_path / "train.txt").read_text().split():
            Image.new("L", (192, 192), IGNORE).save(tmp_path / "masks" / f"{name}.png")
        with pytest.raises(DataError, match="every pixel of every training mask is ignored"):
            train(tiny(tmp_path, masks="index"), tmp_path / "run")

    def test_judges_are_chosen_among_labelled_pictures(self, tmp_path: Path) -> None:
        write_dataset(tmp_path, train=20, validation=2, seed=1)
        names = (tmp_path / "train.txt").read_text().split()
        for name in names[:-1]:
            Image.new("L", (192, 192), IGNORE).save(tmp_path / "masks" / f"{name}.png")
        result = train(tiny(tmp_path, masks="index", steps=1, rounds=1), tmp_path / "run")
        assert 0 < result.validation_miou < 1

    def test_a_teacher_that_takes_other_sizes(self, run_path: Path, sample_data: Path) -> None:
        student = tiny(
            sample_data,
            size=(36, 36),
            network=Network("unet_mini"),
            distillation=Distillation(run_path),
        )
        with pytest.raises(
            ConfigError, match=r"are 36x36 px; the teacher .* needs multiples of 16 px"
        ):
            train(student, run_path.parent / "student")

    def test_a_file_in_the_runs_place(self, sample_data: Path, tmp_path: Path) -> None:
        (tmp_path / "run").write_text("")
        with pytest.raises(ConfigError, match="is a file; choose another --output"):
            train(tiny(sample_data), tmp_path / "run")

    def test_a_loss_that_is_not_a_number(self, sample_data: Path, tmp_path: Path) -> None:
        fast = Optimisation(learning_rate=1e30)
        diverging = tiny(sample_data, optimisation=fast, steps=40, rounds=1, augment=False)
        with pytest.raises(TrainingError, match="lower --learning-rate"):
            train(diverging, tmp_path / "run")
        assert not (tmp_path / "run" / "model.keras").exists()


def brief(data: Path, seed: int) -> TrainConfig:
    return tiny(data, seed=seed, network=Network("unet_mini"), size=(32, 32), rounds=1)


@pytest.mark.usefixtures("short")
class TestDeterminism:
    def test_the_same_seed_gives_the_same_run(self, sample_data: Path, tmp_path: Path) -> None:
        for name in ("a", "b"):
            train(brief(sample_data, seed=3), tmp_path / name)
        train(brief(sample_data, seed=4), tmp_path / "c")
        first, second, other = (read_history(tmp_path / name) for name in "abc")
        # Threads add in no fixed order: float32 sums of 10^4 terms differ by up to about 1e-4.
        for a, b in zip(first, second, strict=True):
            assert float(a["loss"]) == pytest.approx(float(b["loss"]), rel=1e-3)
        assert float(first[0]["loss"]) != pytest.approx(float(other[0]["loss"]), rel=1e-3)


@pytest.mark.usefixtures("short")
class TestValidation:
    def test_padding_is_not_scored(self, tmp_path: Path) -> None:
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
    return TrainResult(Path("run"), 1, 0.5, (0.5, 0.5), 0.5, training, inference, 0.0)


def test_spec_of_a_config() -> None:
    spec = tiny(Path("data"), name="cells", size=(32, 48)).spec()
    assert spec == ModelSpec(height=32, width=48, classes=CLASSES, name="cells", decoding="scaled")


# --- settings that change how a run goes ------------------------------------------------------


def weights_of(path: Path) -> dict[str, np.ndarray]:
    """Every weight of a saved model by its layer and name."""
    model = keras.saving.load_model(path, compile=False)
    return {weight.path: np.asarray(weight) for weight in model.weights}


@pytest.fixture(scope="module")
def stopped(sample_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that learns nothing and so loses patience, with TensorBoard events.

    It replaces a run whose rounds were shorter.
    """
    run = tmp_path_factory.mktemp("stopped") / "run"
    events = run / "tensorboard"
    events.mkdir(parents=True)
    (run / "config.toml").touch()
    (events / "events.out.tfevents.1.earlier").write_bytes(b"an earlier run's")
    # A step of 1e-12 changes no float32 weight, so no round is better than the first.
    config = tiny(
        sample_data,
        size=(32, 32),
        steps=12,
        rounds=6,
        patience=2,
        tensorboard=True,
        optimisation=Optimisation("sgd", learning_rate=1e-12, weight_decay=0),
    )
    with short_network():
        train(config, run, overwrite=True)
    return run


class TestPatience:
    def test_a_run_ends_after_so_many_rounds_without_a_better_one(self, stopped: Path) -> None:
        rows = read_history(stopped)
        assert [row["step"] for row in rows] == ["2", "4", "6"]
        assert len({row["validation_grid_miou"] for row in rows}) == 1
        assert json.loads((stopped / "result.json").read_text())["best_step"] == 2

    def test_it_is_finished(self, stopped: Path) -> None:
        assert not (stopped / "progress").exists()
        with pytest.raises(ConfigError, match="is finished"):
            resume(stopped)


class TestTensorBoard:
    def test_events_hold_every_figure_of_every_round(self, stopped: Path) -> None:
        found: dict[str, dict[int, float]] = {}
        files = sorted((stopped / "tensorboard").iterdir())
        for event in (event for file in files for event in read_events(file)):
            for value in event.summary.value:
                found.setdefault(value.tag, {})[event.step] = value.simple_value
        rows = read_history(stopped)
        names = ["learning_rate", "loss", "validation_grid_miou", "validation_loss"]
        assert sorted(found) == names
        for name in names:
            written = {int(row["step"]): float(row[name]) for row in rows}
            assert found[name] == pytest.approx(written, rel=2**-23)  # events are float32


def read_events(path: Path) -> list[event_pb2.Event]:
    """TFRecords: length (8 bytes), its checksum (4), the event, its checksum (4)."""
    data, events = path.read_bytes(), []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        events.append(event_pb2.Event.FromString(data[12 : 12 + length]))
        data = data[16 + length :]
    return events


class TestFreeze:
    @pytest.fixture(scope="class")
    def encoder(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        """Weights and statistics that no fresh MobileNet has."""
        model = keras.applications.MobileNet(
            input_shape=(224, 224, 3), alpha=0.25, include_top=False, weights=None
        )
        random = np.random.default_rng(1)
        for layer in model.layers:
            changed = [w + random.uniform(0.01, 0.1, w.shape) for w in layer.get_weights()]
            layer.set_weights(changed)
        path = tmp_path_factory.mktemp("encoder") / "encoder.weights.h5"
        model.save_weights(path)
        return path

    @pytest.mark.slow
    @pytest.mark.parametrize("rounds", [1, 2])
    def test_the_encoder_stays_while_the_decoder_moves_then_moves_too(
        self, sample_data: Path, tmp_path: Path, encoder: Path, rounds: int
    ) -> None:
        # Half of a run: all of one round, or the first of two.
        config = tiny(
            sample_data,
            size=(32, 32),
            network=Network(alpha=0.25),
            steps=2 * rounds,
            rounds=rounds,
            encoder_weights=str(encoder),
            optimisation=Optimisation(learning_rate=0.01, freeze=0.5),
        )
        train(config, tmp_path / "run")
        keras.utils.set_random_seed(config.seed)
        model = build(config.network, 2, config.spec().normalisation)
        load_encoder(model, config.network, encoder)
        before = {weight.path: np.asarray(weight) for weight in model.weights}
        after = weights_of(tmp_path / "run" / "last.keras")
        moved = {path for path, weight in after.items() if (weight != before[path]).any()}
        decoder = {path for path in after if path.startswith(("dec", "logits"))}
        assert decoder < after.keys()
        expected = decoder if rounds == 1 else after.keys()
        # A bias of the logits alone may stand still by chance: nothing may but what is frozen.
        assert moved == expected


@pytest.mark.usefixtures("short")
class TestAveraging:
    def test_the_average_of_the_weights_is_saved_not_the_last(
        self, sample_data: Path, tmp_path: Path
    ) -> None:
        # A memory of half of four steps: momentum 1/2.
        settings = Optimisation("sgd", learning_rate=0.1, schedule="constant", ema=0.5)
        size, network = (16, 16), Network("unet_mini")
        config = tiny(sample_data, size=size, network=network, rounds=1, optimisation=settings)
        train(config, tmp_path / "run")
        saved = weights_of(tmp_path / "run" / "model.keras")

        # The same run by hand.
        dataset, spec = config.dataset(), config.spec()
        keras.utils.set_random_seed(config.seed)
        model = build(config.network, 2, spec.normalisation)
        plain = replace(settings, ema=0.0)
        model.compile(optimizer=build_optimizer(plain, 4), loss=objective(config.loss))
        batches = training_batches(config, dataset, spec, seed=config.seed)
        average: dict[str, np.ndarray] = {}
        for step in range(4):
            model.train_on_batch(*batches[step])
            for weight in model.trainable_weights:
                now = np.asarray(weight)
                average[weight.path] = (average.get(weight.path, now) + now) / 2
        last = {weight.path: np.asarray(weight) for weight in model.trainable_weights}
        for path, expected in average.items():
            # The same steps; threads may add in another order: 2**-24 of sums of 10^3 terms.
            np.testing.assert_allclose(saved[path], expected, rtol=1e-4, atol=1e-5)
        apart = max(np.abs(last[path] - average[path]).max() for path in average)
        assert apart > 1e-3


@pytest.mark.usefixtures("short")
class TestPrecision:
    def test_a_run_in_mixed_precision_saves_a_float32_model(
        self, sample_data: Path, tmp_path: Path
    ) -> None:
        mixed = Optimisation(precision="mixed_bfloat16")
        network = Network("unet_mini")
        config = tiny(sample_data, size=(32, 32), steps=2, network=network, optimisation=mixed)
        train(config, tmp_path / "run")
        for name in ("model.keras", "last.keras"):
            model = keras.saving.load_model(tmp_path / "run" / name, compile=False)
            assert {layer.dtype_policy.name for layer in model.layers} == {"float32"}
            assert all(np.isfinite(weight).all() for weight in model.get_weights())
        assert read_config(tmp_path / "run") == config

    def test_the_choice_of_auto_is_a_setting_of_the_run(
        self, sample_data: Path, tmp_path: Path
    ) -> None:
        lines: list[str] = []
        network = Network("unet_mini")
        auto = Optimisation(precision="auto")
        config = tiny(sample_data, size=(16, 16), steps=1, network=network, optimisation=auto)
        train(config, tmp_path / "run", say=lines.append)
        chosen = read_config(tmp_path / "run").optimisation.precision
        assert chosen in ("float32", "mixed_bfloat16")
        assert [line for line in lines if line.startswith(f"precision: {chosen} ")]


class TestDistillation:
    def test_a_small_network_learns_from_a_run(
        self, short: None, sample_data: Path, run_path: Path, tmp_path: Path
    ) -> None:
        network = Network("unet_mini")
        lesson = Distillation(run_path, weight=1.0)
        config = tiny(sample_data, size=(32, 32), steps=2, network=network, distillation=lesson)
        result = train(config, tmp_path / "run")
        # The student alone is saved, and validated against masks, not against the teacher.
        model = keras.saving.load_model(tmp_path / "run" / "model.keras", compile=False)
        assert model.count_params() == build(network, 2, Normalisation()).count_params()
        assert result.validation_grid_miou == max(
            float(row["validation_grid_miou"]) for row in read_history(tmp_path / "run")
        )

    def test_the_student_keeps_the_order_of_the_networks_layers(self) -> None:
        # A checkpoint is taken from the one and put back into the other.
        for network in (Network(alpha=0.25), Network("unet_mini")):
            model = build(network, 2, Normalisation())
            assert Student(model.inputs, model.outputs[0]).layers == model.layers

    def test_a_teacher_of_other_classes_is_refused(
        self, sample_data: Path, run_path: Path, tmp_path: Path
    ) -> None:
        lesson = Distillation(run_path)
        config = tiny(sample_data, classes=("cell", "wall"), distillation=lesson)
        with pytest.raises(ConfigError, match=r"has the classes .*membrane.*; expected .*wall"):
            train(config, tmp_path / "run")
        assert not (tmp_path / "run").exists(), "refused before anything is written"

    def test_a_teacher_that_is_not_a_run_is_refused(
        self, sample_data: Path, tmp_path: Path
    ) -> None:
        config = tiny(sample_data, distillation=Distillation(tmp_path / "nobody"))
        with pytest.raises(UnetEdgeError, match="nobody"):
            train(config, tmp_path / "run")
        assert not (tmp_path / "run").exists(), "refused before anything is written"


@pytest.mark.usefixtures("short")
class TestBalanced:
    def test_the_weights_are_reported_and_used(self, sample_data: Path, tmp_path: Path) -> None:
        lines: list[str] = []
        settings = {"size": (16, 16), "steps": 1, "network": Network("unet_mini")}
        config = tiny(sample_data, loss=Loss(balanced=True), **settings)
        train(config, tmp_path / "balanced", say=lines.append)
        (line,) = (line for line in lines if line.startswith("class weights: "))
        assert re.fullmatch(r"class weights: cell \d\.\d\d, membrane \d\.\d\d", line)
        train(tiny(sample_data, **settings), tmp_path / "plain")
        first, second = (read_history(tmp_path / name)[0] for name in ("balanced", "plain"))
        assert float(first["loss"]) != pytest.approx(float(second["loss"]), rel=1e-3)


@pytest.mark.usefixtures("short")
class TestOverwriting:
    def test_an_unfinished_runs_checkpoint_does_not_become_the_new_ones(
        self, sample_data: Path, tmp_path: Path
    ) -> None:
        run = tmp_path / "run"
        (run / "progress").mkdir(parents=True)
        (run / "progress" / "checkpoint").write_bytes(b"an earlier run's")
        settings = {"size": (16, 16), "network": Network("unet_mini"), "rounds": 1, "steps": 40}
        fast = Optimisation(learning_rate=1e30)
        diverging = tiny(sample_data, optimisation=fast, **settings)
        with pytest.raises(ConfigError, match="holds an unfinished run"):
            train(diverging, run)
        with pytest.raises(TrainingError, match="the loss is nan"):
            train(diverging, run, overwrite=True)
        # Nothing is left that would block another try or be resumed with these settings.
        assert not (run / "progress").exists()
