"""Damaged files: a model or one clear line, never a traceback and never a dead process."""

import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from converters.foreign.reading import read_foreign
from unet_edge.errors import ModelFileError

DATA = Path(__file__).parents[2] / "data" / "foreign"
ROUNDS = 12  # of each kind; thousands ran once, and those that killed the HDF5 library led here


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("damaged")
    pixels = keras.Input((8, 8, 3))
    x = layers.Conv2D(2, 3, padding="same", activation="relu")(pixels)
    model = keras.Model(pixels, layers.Conv2D(2, 1)(layers.BatchNormalization()(x)))
    model.save(folder / "model.keras")
    model.save(folder / "model.h5")
    return {kind: (folder / f"model.{kind}").read_bytes() for kind in ("keras", "h5")}, model


def damaged(data, random):
    data = bytearray(data)
    if random.random() < 0.3:
        return data[: random.integers(len(data))]
    for _ in range(random.integers(1, 8)):
        data[random.integers(len(data))] = random.integers(256)
    return data


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["keras", "h5"])
def test_damage_is_refused_or_changes_nothing_but_weights(files, tmp_path, kind):
    contents, model = files
    random = np.random.default_rng(3)
    path = tmp_path / f"bad.{kind}"
    refused = []
    for _ in range(ROUNDS):
        path.write_bytes(damaged(contents[kind], random))
        try:
            found = read_foreign(path).model
        except ModelFileError as error:
            refused.append(str(error))
            continue
        assert found.output_shape == model.output_shape
        if kind == "keras":  # its archive has checksums, HDF5 has none
            for expected, weight in zip(model.weights, found.weights, strict=True):
                assert np.array_equal(expected, weight)
    assert refused
    assert all("\n" not in line for line in refused)


def test_a_file_that_kills_the_hdf5_library_is_damaged(files, tmp_path, monkeypatch):
    monkeypatch.setattr("converters.foreign.hdf5_content.MODULE", "tests_that_abort")
    (tmp_path / "tests_that_abort.py").write_text("import os\nos.abort()\n")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "model.h5").write_bytes(files[0]["h5"])
    with pytest.raises(ModelFileError, match="reading it as HDF5 died with signal SIGABRT"):
        read_foreign(tmp_path / "model.h5")


@pytest.mark.slow
@pytest.mark.parametrize("place", [0.1, 0.9])
def test_a_damaged_checkpoint_does_not_end_the_process(tmp_path, place):
    # TensorFlow ends the process on some damage, so a child reads the checkpoint first.
    folder = tmp_path / "model"
    shutil.copytree(DATA / "keras-2-savedmodel", folder)
    index = folder / "variables" / "variables.index"
    data = bytearray(index.read_bytes())
    start = int(place * len(data))
    data[start : start + 16] = b"\xff" * 16
    index.write_bytes(data)
    with pytest.raises(ModelFileError, match=r"checkpoint|damaged|variables"):
        read_foreign(folder)
