"""`unet-edge import` as its user meets it, and every command that takes the folder afterwards."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from command_line import refused, run, run_json
from PIL import Image
from red_discs import CLASSES, foreign_model, make_photo, write_data, write_photos

from unet_edge.bundle.json_schema import KEYWORDS, first_error
from unet_edge.cli import main
from unet_edge.errors import ModelFileError
from unet_edge.runtime.imported import imported_schema, read_imported

CONTRACT = ("--classes", ",".join(CLASSES), "--input-range", "-1..1")


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("foreign") / "discs.h5"
    foreign_model().save(path)
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data") / "discs")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("photos") / "own")


@pytest.fixture(scope="module")
def imported(model_file: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run's folder of an import with a photo tried."""
    path = tmp_path_factory.mktemp("runs") / "mine"
    text = run("import", model_file, "-o", path, *CONTRACT, "--try", photos / "photo-00.png")
    (path.parent / "output.txt").write_text(text)
    return path


class TestContract:
    """Nothing is guessed: what is missing is one error, before anything slow."""

    @pytest.fixture
    def unread(self, tmp_path: Path) -> Path:
        """A file that begins as HDF5, and would fail if it were read."""
        path = tmp_path / "unet.h5"
        path.write_bytes(b"\x89HDF\r\n\x1a\n")
        return path

    def test_everything_missing_is_one_error_with_the_command(self, unread: Path) -> None:
        line = refused("import", unread, "-o", "runs/mine")
        assert "lacks --classes (names, class 0 first), --input-range (one of -1..1, 0..1, " in line
        assert line.count("error:") == 1
        assert line.strip().endswith(
            f"run: unet-edge import {unread} -o runs/mine --classes background,THING "
            "--input-range RANGE"
        )

    def test_a_size_that_the_network_cannot_have_is_named(self, unread: Path) -> None:
        line = refused(
            "import", unread, "--classes", "sky,tree", "--input-range", "0..1",
            "--architecture", "tutorial-mobilenet-unet", "--size", "100x320",
        )  # fmt: skip
        assert line.strip().endswith(
            "error: --size is 100x320; tutorial-mobilenet-unet takes multiples of 16 px; give the "
            "size that it was trained on, such as --size 96x320"
        )

    def test_the_command_keeps_what_was_given(self, unread: Path) -> None:
        line = refused("import", unread, "--classes", "sky,tree", "--fit", "letterbox")
        assert "lacks --input-range" in line
        assert "--classes sky,tree --fit letterbox --input-range RANGE" in line

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            (["--mean", "127.5"], "lacks --classes (names, class 0 first), --std"),
            (["--guess"], "lacks --classes (names, class 0 first), --data (pictures with masks)"),
            (
                ["--architecture", "tutorial-unet-mini"],
                "--input-range RANGE --size SIZE",
            ),
            (["--input-range", "0..1", "--std", "3"], "--input-range and --std exclude each other"),
            (["--guess", "--mean", "3"], "--guess and --mean exclude each other"),
            (["--data", "cats"], "--data is given without --guess"),
            (["--masks", "index"], "--masks is given without --guess"),
            ([*CONTRACT, "--try", "none.jpg"], "no such photo: none.jpg"),
            (["--classes", "a,a", "--input-range", "0..1"], "class names repeat: a, a"),
            (["--classes", "a,b", "--mean", "1,2", "--std", "1"], "the input's mean is '1,2'"),
        ],
    )
    def test_options_that_do_not_fit(self, unread: Path, options: list[str], says: str) -> None:
        assert says in refused("import", unread, *options)

    def test_no_model(self, tmp_path: Path) -> None:
        assert "no such model file" in refused("import", tmp_path / "none.keras", *CONTRACT)

    def test_a_file_that_is_no_keras_model(self, tmp_path: Path) -> None:
        (tmp_path / "model.pkl").write_bytes(b"\x80\x04pickle")
        assert "is a pickle" in refused("import", tmp_path / "model.pkl", *CONTRACT)


class TestSeveralOutputs:
    """An error names options, and those options help."""

    @pytest.fixture(scope="class")
    def two_outputs(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        pixels = keras.Input((16, 16, 3))
        scores = keras.layers.Conv2D(2, 1, name="scores")(pixels)
        labels = keras.ops.argmax(scores, axis=-1)
        path = tmp_path_factory.mktemp("several") / "two.keras"
        keras.Model(pixels, [scores, labels]).save(path)
        return path

    def test_the_option_of_the_error_chooses_an_output(
        self, two_outputs: Path, tmp_path: Path
    ) -> None:
        line = refused("import", two_outputs, "-o", tmp_path / "run", *CONTRACT)
        assert "2 outputs: scores, argmax" in line
        (option,) = re.findall(r"--\S+ scores", line)
        run("import", two_outputs, "-o", tmp_path / "run", *CONTRACT, *option.split())
        assert (tmp_path / "run" / "model.keras").is_file()

    def test_labels_send_to_the_layer_in_front(self, two_outputs: Path, tmp_path: Path) -> None:
        arguments = ("import", two_outputs, "-o", tmp_path / "run", *CONTRACT)
        line = refused(*arguments, "--output-name", "argmax")
        assert "labels instead of scores" in line
        assert "name the layer in front of the arg-max with --output-name" in line
        assert not (tmp_path / "run").exists()


class TestFolder:
    def test_what_an_import_prints(self, imported: Path) -> None:
        text = (imported.parent / "output.txt").read_text()
        assert "found, in discs.h5 (h5):" in text
        assert "last activation: sigmoid" in text
        assert (
            "assumed: --color-order rgb, --fit stretch, --resample bilinear, --name discs" in text
        )
        assert "the model takes (pixel - 127.5) / 127.5, channels red, green, blue" in text
        assert "  XNNPACK runs all of them, in 1 partition\n" in text
        assert "  runs on: tflite-runtime 2.14, ai-edge-litert 1.2 or later\n" in text
        assert f"look at {imported / 'try.png'}" in text
        assert f"next: unet-edge export {imported} --data PICTURES" in text

    def test_the_record_says_where_the_model_came_from(
        self, imported: Path, model_file: Path
    ) -> None:
        from converters.foreign.import_model import file_digest

        record = read_imported(imported)
        assert record.source.name == "discs.h5"
        assert record.source.sha256 == file_digest(model_file)
        assert record.input.range == "-1..1"
        assert record.input.mean == (127.5, 127.5, 127.5)
        assert record.found.input_shape == (None, 32, 32, 3)
        assert record.rewrites
        # Logits of up to 20, in float32: 2^-23 of 20, over four layers.
        assert max(rewrite.largest_difference for rewrite in record.rewrites) < 1e-4

    def test_it_has_no_settings_and_no_split_of_a_training(self, imported: Path) -> None:
        names = {path.name for path in imported.iterdir()} - {"bundle"}
        assert names == {"model.keras", "spec.json", "imported.json", "try.png"}

    def test_the_masks_are_those_of_the_foreign_model(self, imported: Path, photos: Path) -> None:
        from unet_edge.runtime.segmenter import Segmenter

        photo = np.asarray(Image.open(photos / "photo-03.png").resize((32, 32)))
        probability = foreign_model().predict(photo[None] / 127.5 - 1, verbose=0)[0, ..., 0]
        mask = Segmenter.open(imported).segment(photo).labels
        assert (mask == (probability > 0.5)).mean() == 1
        assert 0.02 < mask.mean() < 0.5

    def test_the_try_has_a_legend_beside_the_photo(self, imported: Path) -> None:
        with Image.open(imported / "try.png") as picture:
            assert picture.height == 48
            assert picture.width > 48

    def test_a_second_import_needs_overwrite(self, imported: Path, model_file: Path) -> None:
        line = refused("import", model_file, "-o", imported, *CONTRACT)
        assert "already holds an imported model; choose another --output or pass --overwrite" in (
            line
        )

    def test_files_of_another_kind_are_never_replaced(
        self, imported: Path, model_file: Path, tmp_path: Path
    ) -> None:
        for name in ("spec.json", "imported.json"):
            shutil.copy(imported / name, tmp_path)
        (tmp_path / "notes.txt").write_text("mine")
        line = refused("import", model_file, "-o", tmp_path, *CONTRACT, "--overwrite")
        assert "holds notes.txt beside an imported model" in line

    def test_a_training_run_is_never_replaced(self, model_file: Path, run_path: Path) -> None:
        line = refused("import", model_file, "-o", run_path, *CONTRACT, "--overwrite")
        assert "holds files that are not an import's" in line

    def test_an_interrupted_import_leaves_nothing(
        self, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from converters.foreign import import_model

        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(import_model, "write_atomically", interrupt)
        done = CliRunner().invoke(
            main, ["import", str(model_file), "-o", str(tmp_path / "mine"), *CONTRACT]
        )
        assert done.exit_code == 130
        assert "interrupted; nothing was written" in done.output
        assert list(tmp_path.iterdir()) == []

    def test_a_record_that_was_changed_is_refused(self, imported: Path, tmp_path: Path) -> None:
        record = json.loads((imported / "imported.json").read_text())
        for name, value, says in (
            ("schema", 2, "has schema 2; this version reads up to 1"),
            ("input", record["input"] | {"std": [1, 0, 1]}, "input.std[1] is 0; more than 0"),
        ):
            (tmp_path / "imported.json").write_text(json.dumps(record | {name: value}))
            with pytest.raises(ModelFileError) as caught:
                read_imported(tmp_path)
            assert says in str(caught.value)

    def test_the_schema_is_published(self, imported: Path) -> None:
        schema = json.loads(run("import", "--schema"))
        assert schema == imported_schema()
        assert first_error(json.loads((imported / "imported.json").read_text()), schema) is None

        def keywords(value: Any, *, names: bool = False) -> set[str]:
            if not isinstance(value, dict):
                return set()
            found = set() if names else set(value)
            for key, each in value.items():
                found |= keywords(each, names=not names and key in ("properties", "$defs"))
            return found

        assert keywords(schema) <= KEYWORDS  # others would be ignored


class TestCommandsOnTheFolder:
    def test_export_needs_pictures(self, imported: Path) -> None:
        line = refused("export", imported)
        assert "is an imported model, which has no pictures of its own" in line
        assert line.strip().endswith(f"run: unet-edge export {imported} --data PICTURES")

    def test_resume_says_how_to_train_on(self, imported: Path) -> None:
        line = refused("resume", imported)
        assert "which has no training to resume; run: unet-edge train DATA --weights" in line

    def test_train_does_not_replace_it(self, imported: Path, data: Path) -> None:
        line = refused("train", data, "-o", imported, "--classes", "a,b", "--overwrite")
        assert "holds an imported model; choose another --output" in line

    def test_it_has_no_settings_of_a_training(self, imported: Path) -> None:
        from unet_edge.errors import ConfigError
        from unet_edge.training.config import read_config

        with pytest.raises(ConfigError, match="which has no settings of a training"):
            read_config(imported)

    def test_inspect_shows_the_source(self, imported: Path, tmp_path: Path) -> None:
        for name in ("model.keras", "spec.json", "imported.json"):
            shutil.copy(imported / name, tmp_path)
        assert run_json("inspect", tmp_path)["imported"]["source"]["name"] == "discs.h5"
        assert "imported: name    discs.h5" in run("inspect", tmp_path)

    def test_evaluate_reads_masks_as_its_options_say(self, imported: Path, data: Path) -> None:
        report = run_json("evaluate", imported, "--data", data, "--masks", "index")
        # The model sees 32 px of 48: its discs are right but for their edges.
        assert report["miou"] > 0.8

    @pytest.mark.parametrize("name", ["discs.h5", "discs.keras"])
    def test_a_model_that_is_not_imported_is_named_with_the_command(
        self, model_file: Path, photos: Path, tmp_path: Path, name: str
    ) -> None:
        model = shutil.copy(model_file, tmp_path / name)
        photo = photos / "photo-00.png"
        for command in (
            ("export", model),
            ("inspect", model),
            ("segment", model, photo, "-o", tmp_path / "out"),
            ("evaluate", model, "--data", tmp_path),
        ):
            line = refused(*command)
            assert line.strip().endswith(f"run: unet-edge import {model} -o runs/discs")


class TestDevice:
    """What stays slow is said before anything is exported."""

    def test_operators_without_a_fast_kernel_are_named(self, tmp_path: Path) -> None:
        import keras
        from keras import layers

        pixels = keras.Input((16, 16, 3))
        x = layers.Conv2D(4, 3, padding="same", activation="relu")(pixels)
        low = layers.MaxPooling2D()(x)
        # Added to, so that no convolution takes in the upsampling.
        x = layers.ReLU()(layers.Add()([x, layers.UpSampling2D()(low)]))
        x = layers.Conv2D(2, 1)(x)
        keras.Model(pixels, x).save(tmp_path / "slow.keras")
        given = ("import", tmp_path / "slow.keras", "-o", tmp_path / "run", *CONTRACT)
        device = run_json(*given)["device"]
        assert device["slow"] == {"RESIZE_NEAREST_NEIGHBOR": 1}
        assert device["partitions"] == 2
        assert device["operators"]["RESIZE_NEAREST_NEIGHBOR"] == 1
        text = run(*given, "--overwrite")
        assert (
            "  slow: XNNPACK has no kernel for RESIZE_NEAREST_NEIGHBOR (1); it runs the rest in "
            "2 partitions\n" in text
        )

    def test_a_model_that_does_not_convert_is_imported_and_says_so(
        self, imported: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        import keras

        from converters.foreign.import_model import ImportedModel
        from unet_edge.cli.import_device import device_graph, print_device_graph
        from unet_edge.spec import ModelSpec

        model = keras.saving.load_model(imported / "model.keras")
        other = ModelSpec(height=32, width=32, classes=("a", "b", "c"))  # the model has two
        graph = device_graph(ImportedModel(model, other, read_imported(imported)))
        print_device_graph(graph)
        assert capsys.readouterr().out.startswith(
            "no .tflite file can be made: the converted output has shape "
        )


def test_an_export_below_its_floor_names_the_next_steps(imported: Path) -> None:
    from unet_edge.cli.workstation import _next_steps

    given = ["--data", "photos", "--masks", "binary>127"]
    lines = _next_steps(imported, ["model-int8.tflite"], [], given, searched=False)
    assert lines[-1].startswith(
        "for a better file: train longer where the model was trained, and import it again, or "
        f"search for a better .tflite file: unet-edge export {imported} --data photos "
        "--masks 'binary>127' --min-agreement 0.998"
    )


class TestGuess:
    def test_the_right_contract_is_clearly_best(
        self, model_file: Path, data: Path, tmp_path: Path
    ) -> None:
        found = run_json(
            "import", model_file, "-o", tmp_path / "mine", "--classes", ",".join(CLASSES),
            "--guess", "--data", data,
        )  # fmt: skip
        guess, best = found["guess"], found["guess"]["candidates"][0]
        assert (best["range"], best["color_order"]) == ("-1..1", "rgb")
        assert len(guess["candidates"]) == 10
        assert guess["lead"] > 0.1
        assert guess["confidence"] == 1
        assert found["imported"]["input"]["range"] == "-1..1"
        assert not [each for each in found["imported"]["assumed"] if "color" in each]

    def test_grey_pictures_do_not_tell_and_nothing_is_written(
        self, model_file: Path, tmp_path: Path
    ) -> None:
        grey = write_data(tmp_path / "grey", 5, grey=True)
        done = CliRunner().invoke(
            main,
            ["import", str(model_file), "-o", str(tmp_path / "mine"), "--classes",
             ",".join(CLASSES), "--guess", "--data", str(grey)],
        )  # fmt: skip
        assert done.exit_code == 1
        assert "input range    color order" in done.output  # the table
        assert "error: no contract is clearly best" in done.output
        assert not (tmp_path / "mine").exists()


class TestExportWithoutMasks:
    def test_half_labelled_folders_stay_errors(
        self, imported: Path, data: Path, photos: Path, tmp_path: Path
    ) -> None:
        half = shutil.copytree(data, tmp_path / "half")
        (half / "masks" / "03.png").unlink()
        assert "03.png: has no mask" in refused("export", imported, "--data", half)
        beside = shutil.copytree(photos, tmp_path / "beside")
        shutil.copy(data / "masks" / "00.png", beside / "photo-00_mask.png")
        line = refused("export", imported, "--data", beside)
        assert "or pass --unlabelled to use its pictures without masks" in line
        assert "(photo-00_mask.png may be a mask)" in line

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            (["--unlabelled"], "without --data"),
            (["--masks", "index"], "without --data"),
        ],
    )
    def test_options_without_data(self, run_path: Path, options: list[str], says: str) -> None:
        assert says in refused("export", run_path, *options)

    def test_unlabelled_and_a_mask_rule_exclude_each_other(
        self, run_path: Path, photos: Path
    ) -> None:
        line = refused("export", run_path, "--data", photos, "--unlabelled", "--masks", "index")
        assert "exclude each other" in line

    def test_points_of_miou_cannot_be_asked_for(self, run_path: Path, photos: Path) -> None:
        line = refused(
            "export", run_path, "--data", photos, "--min-agreement", 0.99, "--max-miou-drop", 1
        )
        assert "no held-out picture has true labels; --max-miou-drop needs true labels" in line

    @pytest.mark.slow
    def test_an_imported_model_goes_all_the_way(
        self, imported: Path, photos: Path, data: Path, tmp_path: Path
    ) -> None:
        """Every default format, from a .h5 and ten photos without masks to masks of the bundle."""
        table = run("export", imported, "--data", photos)
        assert "label mIoU" not in table
        assert "no picture had true labels" in table
        assert "proven on 5 held-out pictures" in table

        bundle = imported / "bundle"
        manifest = json.loads((bundle / "bundle.json").read_text())
        assert [file["name"] for file in manifest["files"]] == [
            f"model-{precision}.{suffix}"
            for suffix in ("tflite", "onnx")
            for precision in ("float32", "float16", "int8")
        ]
        assert all(file["agreement"] >= file["floor"] for file in manifest["files"])
        assert manifest["data"] == {"train": 0, "validation": 5, "calibration": 5}
        figures = [*manifest["files"], manifest["reference"]]
        assert {figure["label_miou"] for figure in figures} == {None}
        assert manifest["reference"]["worst_miou"] is None
        assert "NaN" not in (bundle / "bundle.json").read_text()
        assert {g["chosen"]["reason"] for g in manifest["golden"]} <= {
            "agreement", "near-ties", "typical",
        }  # fmt: skip
        assert manifest["reference"]["network"].startswith("imported from discs.h5")

        card = (bundle / "README.md").read_text()
        assert "mIoU" not in card
        assert "nan" not in card
        assert "the pictures of this export had no true labels" in card
        assert "Trained on" not in card
        assert "5 other pictures scaled the calibrated files" in card

        assert all(file["passed"] for file in run_json("verify", bundle)["files"])
        run("segment", bundle, photos / "photo-00.png", "-o", tmp_path / "masks")
        labels = np.asarray(Image.open(next((tmp_path / "masks").glob("*.png"))))
        assert set(np.unique(labels)) == {0, 1}
        report = run_json("evaluate", imported, "--data", data, "--all-files")
        assert min(file["agreement"] for file in report["files"]) > 0.99


def test_the_pictures_show_the_contract() -> None:
    """The discs that count are a tenth of a picture, so that a wrong contract costs mIoU."""
    _, labels = make_photo(0)
    assert 0.05 < labels.mean() < 0.15
