"""Runs that start from another run: what is taken over, what starts anew, what stays the same."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from PIL import Image
from tiny_run import make_data

from unet_edge.errors import ConfigError, TrainingError
from unet_edge.runtime.segmenter import read_spec
from unet_edge.spec import ModelSpec, Normalisation
from unet_edge.training.config import read_config
from unet_edge.training.distillation import with_teacher
from unet_edge.training.graph import at_size, encoder_layers, require_size
from unet_edge.training.losses import objective
from unet_edge.training.network_builder import NetworkBuilder
from unet_edge.training.resume import resume
from unet_edge.training.run import train
from unet_edge.training.score_layers import ClassChange, centred, class_weights, score_layers
from unet_edge.training.settings.augmentation import PLAIN
from unet_edge.training.settings.distillation import Distillation
from unet_edge.training.settings.network import Network
from unet_edge.training.settings.optimisation import Optimisation
from unet_edge.training.settings.train_config import TrainConfig
from unet_edge.training.starting_run import IMPORTED, StartingRun, completed

CLASSES = ("background", "square")
SPEC = ModelSpec(
    32,
    48,
    CLASSES,
    name="mine",
    fit="stretch",
    pad_color=(9, 9, 9),
    normalisation=Normalisation(120.0, 58.0),
)


def network(classes: int = 2) -> keras.Model:
    """A network as an import makes it, of layers that ours lack: it tells bright from dark."""
    keras.utils.set_random_seed(1)
    pixels = keras.Input((None, None, 3), name="pixels")
    x: Any = layers.Rescaling(1 / 58, offset=-120 / 58, name="normalise")(pixels)
    x = layers.Conv2D(4, 1, name="first")(x)
    x = layers.BatchNormalization(scale=False, name="first_norm", trainable=False)(x)
    bright_and_dark = layers.ReLU(name="first_act")(x)
    x = layers.MaxPooling2D(2, name="pool")(bright_and_dark)
    x = layers.Conv2D(6, 3, padding="same", name="deep")(x)
    gate = layers.GlobalAveragePooling2D(keepdims=True, name="gate_pool")(x)
    gate = layers.Conv2D(6, 1, name="gate")(gate)
    x = layers.Multiply(name="gated")([x, layers.Activation("sigmoid", name="gate_act")(gate)])
    x = layers.Conv2DTranspose(4, 2, strides=2, name="up")(x)
    x = layers.Concatenate(name="join")([bright_and_dark, x])
    model = keras.Model(pixels, layers.Conv2D(classes, 1, name="scores")(x))
    kernel = np.zeros((1, 1, 3, 4), np.float32)
    kernel[..., 0], kernel[..., 1] = 1, -1
    model.get_layer("first").set_weights([kernel, np.zeros(4, np.float32)])
    scores = np.zeros((1, 1, 8, classes), np.float32)
    scores[0, 0, 1, 0] = scores[0, 0, 0, 1] = 1  # dark: class 0, bright: class 1
    model.get_layer("scores").set_weights([scores, np.zeros(classes, np.float32)])
    return model


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an imported run, which has no config.toml."""
    run = tmp_path_factory.mktemp("imported") / "mine"
    run.mkdir()
    network().save(run / "model.keras")
    (run / "spec.json").write_text(SPEC.to_json())
    return run


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("squares") / "data")


# One step of it, and the network finds nothing.
SPOILING = Optimisation(learning_rate=10.0, warmup=0.0)


def settings(data: Path, weights: Path, **changes: object) -> TrainConfig:
    given: dict[str, Any] = {
        "data": data,
        "classes": CLASSES,
        "size": SPEC.size,
        "weights": weights,
        "encoder_weights": "none",
        "network": IMPORTED,
        "steps": 2,
        "rounds": 2,
        "batch_size": 2,
        "augmentation": PLAIN,
    }
    return TrainConfig(**(given | changes))


def weights_of(path: Path) -> dict[str, np.ndarray]:
    model = keras.saving.load_model(path, compile=False)
    return {weight.path: np.asarray(weight) for weight in model.weights}


class TestSettings:
    def test_network_and_contract_come_from_the_run(self, imported: Path) -> None:
        found, line = completed({"data": "d", "weights": str(imported), "fit": "letterbox"})
        config = TrainConfig.from_dict(found | {"encoder_weights": "none"}, "the options")
        assert config.network == Network("imported")
        assert (config.classes, config.size, config.name) == (CLASSES, (32, 48), "mine")
        assert config.fit == "letterbox"
        assert line == (
            f"from {imported}: network imported, classes background,square, resample bilinear, "
            "decoding full, name mine, size 32x48"
        )

    def test_what_is_given_is_kept(self, run_path: Path) -> None:
        given = {
            "weights": str(run_path),
            "classes": ["a", "b"],
            "size": [96, 96],
            "network": {"alpha": 0.25},
        }
        found, _ = completed(given)
        assert {name: found[name] for name in ("classes", "size")} == {
            "classes": ["a", "b"],
            "size": [96, 96],
        }
        assert found["network"] == vars(Network(alpha=0.25))

    def test_another_network_is_refused(self, run_path: Path, imported: Path) -> None:
        given = {"weights": str(run_path), "network": {"encoder": "mobilenet_v2"}}
        with pytest.raises(ConfigError) as error:
            completed(given)
        assert str(error.value) == (
            f"encoder is mobilenet_v2, but the network of {run_path} has encoder mobilenet_v1; "
            "omit --encoder, or train another network without --weights"
        )
        with pytest.raises(ConfigError, match=r"alpha is 0.5, but .*mine is an imported network"):
            completed({"weights": str(imported), "network": {"alpha": 0.5}})

    def test_it_needs_no_weights_of_an_encoder(self, imported: Path) -> None:
        with pytest.raises(ConfigError, match="omit one of --weights and --encoder-weights"):
            settings(Path("d"), imported, encoder_weights="imagenet")
        with pytest.raises(ConfigError, match="is built from its run alone; pass --weights RUN"):
            TrainConfig(data=Path("d"), network=IMPORTED)

    @pytest.mark.parametrize(
        ("name", "says"),
        [
            ("mine/model.keras", "it takes a run's folder; pass --weights .*mine$"),
            ("net.h5", r"run: unet-edge import .*net\.h5 -o runs/imported"),
            ("nowhere", "no such folder: .*nowhere"),
            (".", r"has no model\.keras; --weights takes a folder that 'unet-edge train' or"),
        ],
    )
    def test_what_is_no_runs_folder(
        self, imported: Path, tmp_path: Path, name: str, says: str
    ) -> None:
        shutil.copytree(imported, tmp_path / "mine")
        (tmp_path / "net.h5").touch()
        with pytest.raises(ConfigError, match=says):
            completed({"weights": str(tmp_path / name)})

    def test_the_summary_names_the_start(self) -> None:
        config = settings(Path("d"), Path("/runs/cats"), weights_sha256="ab" * 32)
        assert config.network_text == (
            "imported; started from the run cats (model.keras abababababab)"
        )


class TestOtherClasses:
    PIXELS = np.random.default_rng(0).integers(0, 255, (1, 8, 8, 3), np.uint8)

    def built(self, imported: Path, classes: tuple[str, ...]) -> tuple[keras.Model, list[str]]:
        config = settings(Path("d"), imported, classes=classes)
        builder = NetworkBuilder(config, config.spec(), StartingRun.read(imported))
        model = builder.build()
        return model, builder.load_start(model)

    def test_equal_names_keep_their_scores_and_new_ones_lie_between(self, imported: Path) -> None:
        model, lines = self.built(imported, ("square", "hole", "background"))
        before, after = network()(self.PIXELS), np.asarray(model(self.PIXELS))
        # The same products in the same order: equal but for fused multiply-adds of other widths.
        np.testing.assert_allclose(after[..., [2, 0]], before, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(after[..., 1], np.mean(before, -1), rtol=1e-5, atol=1e-5)
        assert lines == [
            f"starting from {imported}: 5 layers taken over, scores for other classes",
            "classes taken over (2): square, background",
            "classes that start anew (1): hole",
        ]

    def test_without_an_equal_name_scores_start_at_random_and_balanced(
        self, imported: Path
    ) -> None:
        model, lines = self.built(imported, ("a", "b", "c"))
        kernel, bias = model.get_layer("scores").get_weights()
        # Glorot's uniform distribution of 8 + 3 channels has this deviation.
        assert 0.5 < kernel.std() / (2 / 11) ** 0.5 < 1.5
        # Sums of eight numbers below 1, in float32.
        np.testing.assert_allclose(kernel.sum((0, 1, 2)), 0, atol=1e-6)
        assert not bias.any()
        assert lines[1:] == [
            "classes that start anew (3): a, b, c",
            "classes left out (2): background, square",
        ]

    def test_a_layer_that_was_frozen_elsewhere_is_trained(self, imported: Path) -> None:
        model, _ = self.built(imported, CLASSES)
        assert model.get_layer("first_norm").trainable

    def test_scores_of_several_scales_all_change(self) -> None:
        pixels = keras.Input((8, 8, 3))
        fine = layers.Conv2D(2, 1, name="fine")(pixels)
        coarse = layers.Conv2D(2, 3, strides=2, padding="same", name="coarse")(pixels)
        coarse = layers.Conv2DTranspose(2, 2, strides=2, name="larger")(coarse)
        summed = layers.Add(name="sum")([fine, coarse])
        normed = layers.BatchNormalization(name="norm")(summed)
        found = score_layers(keras.Model(pixels, normed))
        assert found.keys() == {"fine", "larger", "sum", "norm"}
        change = ClassChange.between(("a", "b"), ("b", "c"))
        kernel = found["larger"].get_weights()[0]  # (2, 2, out, in)
        changed = class_weights(found["larger"], change)[0]
        np.testing.assert_array_equal(changed[:, :, 0], kernel[:, :, 1])
        np.testing.assert_allclose(changed[:, :, 1], kernel.mean(2), rtol=1e-6)

    def test_a_transposed_convolution_is_balanced_for_each_class(self) -> None:
        layer = layers.Conv2DTranspose(3, 2)
        layer.build((None, 4, 4, 5))
        kernel = centred(layer)[0]  # (2, 2, out, in)
        # Sums of twenty numbers below 1, in float32.
        np.testing.assert_allclose(kernel.sum((0, 1, 3)), 0, atol=1e-5)
        assert kernel.std() > 0

    def test_classes_that_are_mixed_cannot_change(self) -> None:
        pixels = keras.Input((8, 8, 3))
        half = layers.Conv2D(1, 1, name="half")(pixels)
        joined = layers.Concatenate(name="joined")([half, half])
        with pytest.raises(ConfigError, match="come from its layer joined"):
            score_layers(keras.Model(pixels, joined))
        # One sigmoid as two scores: another class would be a multiple of them.
        two = layers.Conv2D(2, 1, name="two")(half)
        with pytest.raises(ConfigError, match="come from its layer two"):
            score_layers(keras.Model(pixels, two))


class TestGraph:
    def test_a_network_takes_the_sizes_that_its_maps_can_halve(self) -> None:
        model = network()
        assert at_size(model, (32, 48)) is not None
        with pytest.raises(ConfigError, match=r"is 31x48; .* 32x48 px, for ex.*--size 32x48$"):
            require_size(model, (31, 48), "size", "mine")

    def test_a_fixed_input_takes_its_own_size_alone(self) -> None:
        pixels = keras.Input((8, 8, 3))
        model = keras.Model(pixels, layers.Conv2D(2, 1)(pixels))
        require_size(model, (8, 8), "size", "mine")
        with pytest.raises(ConfigError, match="crop is 16x8; the network of mine takes 8x8 px"):
            require_size(model, (16, 8), "crop", "mine")

    def test_the_encoder_ends_at_the_lowest_resolution(self) -> None:
        sized = at_size(network(), (16, 16))
        assert sized is not None
        assert encoder_layers(sized) - {"pixels", sized.layers[0].name} == {
            *("normalise", "first", "first_norm", "first_act", "pool", "deep"),
            *("gate_pool", "gate", "gate_act", "gated"),
        }

    def test_pooling_to_one_value_is_no_resolution(self) -> None:
        """As in keras.io's DeepLab, with a fixed size."""
        pixels = keras.Input((8, 8, 3), name="pixels")
        x = layers.Conv2D(4, 3, strides=2, padding="same", name="half")(pixels)
        pooled = layers.AveragePooling2D(4, name="pooled")(x)
        pooled = layers.UpSampling2D(4, name="spread")(layers.Conv2D(4, 1, name="seen")(pooled))
        x = layers.Concatenate(name="join")([x, pooled])
        x = layers.UpSampling2D(2, name="up")(x)
        sized = at_size(keras.Model(pixels, layers.Conv2D(2, 1, name="scores")(x)), (8, 8))
        assert sized is not None
        found = encoder_layers(sized) - {sized.layers[0].name}
        assert found == {"half", "pooled", "seen", "spread", "join"}

    def test_a_network_of_one_resolution_has_no_encoder(self) -> None:
        pixels = keras.Input((8, 8, 3))
        assert not encoder_layers(keras.Model(pixels, layers.Conv2D(2, 1)(pixels)))


@pytest.fixture(scope="module")
def spoiled(
    imported: Path, squares: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[str]]:
    """A run that only spoils what it starts from, and its lines."""
    run, lines = tmp_path_factory.mktemp("spoiled") / "run", list[str]()
    train(settings(squares, imported, optimisation=SPOILING), run, say=lines.append)
    return run, lines


class TestNeverWorse:
    def test_the_start_is_scored_before_training(self, spoiled: tuple[Path, list[str]]) -> None:
        run, lines = spoiled
        result = json.loads((run / "result.json").read_text())
        score = result["start_grid_miou"]
        assert f"before training, the start scores {score:.4f} grid mIoU" in lines
        assert score > 0.95  # squares of 190 on a ground of 60, told apart at 120

    def test_the_model_is_the_start_if_no_round_is_better(
        self, spoiled: tuple[Path, list[str]], imported: Path
    ) -> None:
        run, _ = spoiled
        result = json.loads((run / "result.json").read_text())
        assert result["best_step"] == 0
        assert result["validation_grid_miou"] == result["start_grid_miou"]
        found, expected = weights_of(run / "model.keras"), weights_of(imported / "model.keras")
        assert found.keys() == expected.keys()
        assert all((found[path] == expected[path]).all() for path in found)
        last = weights_of(run / "last.keras")
        assert any((last[path] != expected[path]).any() for path in last)

    def test_pixels_are_normalised_as_in_the_start(
        self, spoiled: tuple[Path, list[str]], imported: Path
    ) -> None:
        run, _ = spoiled
        found = read_spec(run / "spec.json")
        assert (found.normalisation, found.pad_color) == (SPEC.normalisation, SPEC.pad_color)
        config = read_config(run)
        assert config.weights == imported
        assert config.weights_sha256 == StartingRun.read(imported).sha256

    def test_another_model_in_the_starts_place_is_found(
        self, spoiled: tuple[Path, list[str]], imported: Path, tmp_path: Path
    ) -> None:
        moved = Path(shutil.copytree(imported, tmp_path / "mine"))
        network(classes=2).save(moved / "model.keras")  # other bytes: a ZIP file has times
        (moved / "model.keras").write_bytes((moved / "model.keras").read_bytes() + b"\0")
        config = settings(Path("d"), moved, weights_sha256=read_config(spoiled[0]).weights_sha256)
        with pytest.raises(ConfigError, match="omit weights_sha256 to start from the model"):
            train(config, tmp_path / "run")


def test_a_frozen_encoder_stays_while_scores_of_new_classes_learn(
    imported: Path, squares: Path, tmp_path: Path
) -> None:
    data = Path(shutil.copytree(squares, tmp_path / "data"))
    for path in (data / "masks").iterdir():
        labels = np.array(Image.open(path))
        labels[:8, :8] = 2
        Image.fromarray(labels).save(path)
    config = settings(
        data,
        imported,
        classes=("background", "square", "corner"),
        rounds=1,
        optimisation=Optimisation(learning_rate=0.01, freeze=0.5, precision="mixed_bfloat16"),
    )
    lines: list[str] = []
    train(config, tmp_path / "run", say=lines.append)
    assert any(line.endswith("with 1 new class") for line in lines)
    before, after = (weights_of(f / "model.keras") for f in (imported, tmp_path / "run"))
    frozen = {path for path in before if path.startswith(("first", "deep", "gate"))}
    assert len(frozen) == 9
    assert all((before[path] == after[path]).all() for path in frozen)
    assert (before["up/kernel"] != after["up/kernel"]).any()
    assert after["scores/kernel"].shape == (1, 1, 8, 3)
    assert after["scores/kernel"].dtype == np.float32


def test_a_teacher_may_be_imported(imported: Path) -> None:
    lesson = Distillation(imported, weight=1.0)
    config = settings(Path("d"), imported, size=(8, 8), distillation=lesson)
    student, _ = with_teacher(network(), config, SPEC, objective(config.loss))
    pixels, labels = np.zeros((1, 8, 8, 3), np.uint8), np.zeros((1, 8, 8), np.uint8)
    # Its own scores: nothing to learn, up to the rounding of a log-softmax.
    loss = student.compute_loss(x=pixels, y=labels, y_pred=network()(pixels))
    assert float(loss) == pytest.approx(0, abs=1e-6)
    config = settings(Path("d"), imported, size=(7, 8), distillation=lesson)
    with pytest.raises(ConfigError, match=r"the crop is 7x8; .*the teacher .*mine takes 8x8 px"):
        with_teacher(network(), config, SPEC, objective(config.loss))


KILLED = """
import os, signal, sys
from pathlib import Path
from unet_edge.training.config import load_run_config
from unet_edge.training.run import train

def say(line):
    if line.startswith("round 1 of 2"):
        os.kill(os.getpid(), signal.SIGKILL)

train(load_run_config(Path(sys.argv[1])), Path(sys.argv[2]), say=say)
"""


@pytest.mark.slow
def test_a_killed_run_needs_no_other_run_to_go_on(
    imported: Path, squares: Path, spoiled: tuple[Path, list[str]], tmp_path: Path
) -> None:
    whole, start = spoiled[0], Path(shutil.copytree(imported, tmp_path / "start"))
    config = settings(squares, start, optimisation=SPOILING)
    (tmp_path / "config.toml").write_text(config.to_toml())
    run = tmp_path / "killed"
    command = [sys.executable, "-c", KILLED, str(tmp_path / "config.toml"), str(run)]
    assert subprocess.run(command, capture_output=True).returncode == -signal.SIGKILL

    kept = run / "progress" / "start" / "model.keras"
    assert kept.read_bytes() == (start / "model.keras").read_bytes()
    shutil.rmtree(start)
    damaged = Path(shutil.copytree(run, tmp_path / "damaged"))
    (damaged / "progress" / "start" / "model.keras").write_bytes(b"PK")
    with pytest.raises(TrainingError, match="is damaged: its SHA-256 differs"):
        resume(damaged)
    resume(run)
    for name in ("history.csv", "spec.json"):
        assert (run / name).read_bytes() == (whole / name).read_bytes()
    # The result is the start itself, which each round has made worse.
    for name in ("model.keras", "last.keras"):
        found, expected = (weights_of(folder / name) for folder in (run, whole))
        assert all((found[path] == expected[path]).all() for path in expected)
    results = [json.loads((f / "result.json").read_text()) for f in (run, whole)]
    for result in results:
        del result["run"], result["data_wait"]
    assert results[0] == results[1]
    assert results[0]["best_step"] == 0
