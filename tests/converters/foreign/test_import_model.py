"""What an import opens, and what it refuses, before it writes anything."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from red_discs import CLASSES, foreign_model

from converters.foreign.import_model import file_digest, imported_model, open_foreign, write_run
from converters.foreign.import_settings import ImportSettings
from converters.foreign.input_scaling import InputScaling
from unet_edge.errors import ConfigError
from unet_edge.runtime.imported import read_imported


def settings(**changes: Any) -> ImportSettings:
    return ImportSettings(
        **{
            "classes": CLASSES,
            "scaling": InputScaling.named("-1..1"),
            "range_name": "-1..1",
            "name": "discs",
        }
        | changes
    )


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("foreign") / "discs.keras"
    foreign_model().save(path)
    return path


def test_the_model_has_its_own_size(model_file: Path) -> None:
    assert open_foreign(model_file, settings()).size == (32, 32)
    assert open_foreign(model_file, settings(size=(32, 32))).size == (32, 32)


def test_another_size_than_the_model_takes_is_refused(model_file: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        open_foreign(model_file, settings(size=(64, 32)))
    assert "--size is 64x32" in str(caught.value)
    assert "takes 32x32 px only; leave --size out" in str(caught.value)


def test_a_model_of_any_size_needs_one(tmp_path: Path) -> None:
    import keras

    pixels = keras.Input((None, None, 3))
    model = keras.Model(pixels, keras.layers.Conv2D(2, 1, activation="softmax")(pixels))
    model.save(tmp_path / "any.keras")
    with pytest.raises(ConfigError, match="takes pictures of any size; a device needs one"):
        open_foreign(tmp_path / "any.keras", settings())
    assert open_foreign(tmp_path / "any.keras", settings(size=(24, 40))).size == (24, 40)


def test_a_run_is_written_and_its_record_read_again(model_file: Path, tmp_path: Path) -> None:
    chosen = settings(fit="letterbox", assumed=("--resample bilinear",))
    imported = imported_model(model_file, open_foreign(model_file, chosen), chosen)
    write_run(tmp_path / "mine", imported)
    assert read_imported(tmp_path / "mine") == imported.record
    assert imported.record.source.kind == "keras"
    assert imported.record.network.startswith("imported from discs.keras (")
    assert imported.spec.fit == "letterbox"
    assert imported.spec.classes == CLASSES


def test_the_digest_of_a_folder_is_over_names_and_digests(tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph")
    (folder / "variables" / "data").write_bytes(b"weights")
    lines = "".join(
        f"{hashlib.sha256(content).hexdigest()}  {name}\n"
        for name, content in (("saved_model.pb", b"graph"), ("variables/data", b"weights"))
    )
    assert file_digest(folder) == hashlib.sha256(lines.encode()).hexdigest()
    (folder / "variables" / "data").rename(folder / "data")
    assert file_digest(folder) != hashlib.sha256(lines.encode()).hexdigest()
