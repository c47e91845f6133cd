"""Hostile files: each one is a clear line, and nothing that it holds is run."""

import json
import os
import pickle
import zipfile

import h5py
import keras
import numpy as np
import pytest
from keras import layers

from converters.foreign import hdf5_child
from converters.foreign.graph import build_model
from converters.foreign.reading import read_foreign
from converters.foreign.refusal import Refusal
from unet_edge.errors import ModelFileError


@pytest.fixture(scope="module")
def model():
    pixels = keras.Input((8, 8, 3), name="pixels")
    x = layers.Conv2D(2, 3, padding="same", activation="relu", name="first")(pixels)
    return keras.Model(pixels, layers.Conv2D(2, 1, name="scores")(x))


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    model.save(folder / "good.keras")
    model.save(folder / "good.h5")
    return folder


@pytest.fixture
def written(tmp_path):
    """The file that hostile code would write."""
    return tmp_path / "written"


def refusal(path, **options):
    """The one line with which a file is refused."""
    with pytest.raises(ModelFileError) as caught:
        read_foreign(path, **options)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def changed_keras(folder, target, change):
    """A copy of the good `.keras` file with another configuration."""
    with zipfile.ZipFile(folder / "good.keras") as good, zipfile.ZipFile(target, "w") as bad:
        for name in good.namelist():
            data = good.read(name)
            if name == "config.json":
                config = json.loads(data)
                change(config)
                data = json.dumps(config).encode()
            bad.writestr(name, data)
    return target


def first(config):
    """The first convolution of a configuration."""
    return config["config"]["layers"][1]


# --- Code ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["keras", "h5"])
def test_a_lambda_is_named_and_not_run(tmp_path, written, kind):
    hostile = eval(f"lambda x: open({str(written)!r}, 'w').close() or x")
    pixels = keras.Input((8, 8, 3))
    path = tmp_path / f"bad.{kind}"
    keras.Model(pixels, layers.Lambda(hostile, name="innocent")(pixels)).save(path)
    written.unlink()
    keras.models.load_model(path, compile=False, safe_mode=False)
    written.unlink()  # so the file does write it where it is trusted
    message = refusal(path)
    assert "'innocent' is a Lambda" in message
    assert "keras.Model(inputs, outputs)" in message
    assert not written.exists()


def call_of(module, kind, config):
    """A layer's class replaced by another callable."""

    def change(model):
        first(model).update({"module": module, "class_name": kind, "registered_name": kind})
        first(model)["config"] = config

    return change


HOSTILE_CLASSES = {
    # CVE-2025-1550: any callable of any module
    "os.system": call_of("os", "system", {"command": "true"}),
    "builtins.exec": call_of("builtins", "exec", {"source": "1"}),
    # CVE-2025-9906: a function of Keras that turns safe mode off
    "enable_unsafe": call_of("keras.config", "enable_unsafe_deserialization", {}),
    # CVE-2025-12060: a function of Keras that downloads and unpacks
    "get_file": call_of("keras.utils", "get_file", {"origin": "file:///etc/passwd"}),
    # Layers of Keras that load code or files
    "TFSMLayer": call_of("keras.layers", "TFSMLayer", {"filepath": "x"}),
    "TorchModuleWrapper": call_of("keras.layers", "TorchModuleWrapper", {"module": "x"}),
    # CVE-2025-12058: a vocabulary is the path of a file
    "StringLookup": call_of("keras.layers", "StringLookup", {"vocabulary": "/etc/passwd"}),
    "custom": call_of("mypackage.layers", "Attention2D", {}),
    "private": call_of("keras.src.legacy.saving", "deserialize_keras_object", {}),
}


def refused_config(folder, change):
    """The reason why the good file's configuration is refused after a change, and the fix."""
    with zipfile.ZipFile(folder / "good.keras") as good:
        config = json.loads(good.read("config.json"))
    change(config)
    with pytest.raises(Refusal) as caught:
        build_model(config, weights=1000, keras_2=False)
    return caught.value


@pytest.mark.parametrize("name", HOSTILE_CLASSES)
def test_only_layers_of_the_list_are_built(folder, name):
    refusal = refused_config(folder, HOSTILE_CLASSES[name])
    assert "layer 'first' is of the class" in refusal.reason
    assert refusal.fix.startswith("rebuild the model")


@pytest.mark.parametrize("where", [first, lambda config: config])
def test_a_class_of_a_file_cannot_write_lines_or_colours(folder, where):
    def change(config):
        where(config).update(registered_name="\x1b[31mred\nerror: " + "x" * 10**6)

    reason = refused_config(folder, change).reason
    assert "of the class '\\x1b[31mred\\nerror" in reason
    assert len(reason) < 500


def test_an_operation_that_is_not_among_the_known_is_not_called_foreign(folder):
    refusal = refused_config(folder, call_of("keras.src.ops.numpy", "Einsum", {}))
    assert "'first' is the operation Einsum, which is not among" in refusal.reason


def setting(key, value):
    def change(config):
        first(config)["config"][key] = value

    return change


def function(module, name):
    return {"module": module, "class_name": "function", "config": name, "registered_name": name}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (setting("activation", function("os", "system")), "the activation 'system'"),
        (setting("activation", function("keras.utils", "get_file")), "the activation 'get_file'"),
        (setting("activation", {"class_name": "__lambda__", "config": {}}), "the activation"),
        (setting("activation", "my_relu"), "the activation 'my_relu'"),
        (setting("activation", 7), "the activation '7'"),
        (setting("filters", {"class_name": "__lambda__", "config": {}}), "not a plain value"),
        (setting("filters", 10**30), "not a plain value"),
        (setting("kernel_size", [[[[[[[3]]]]]]]), "not a plain value"),
        (setting("unknown", "x"), "'unknown', a setting that Keras"),
        (setting("dtype", {"class_name": "QuantizedDTypePolicy", "config": {}}), "the data type"),
        (setting("padding", "sideways"), "cannot be built"),
        (setting("filters", -1), "cannot be built"),
    ],
)
def test_only_plain_settings_reach_a_layer(folder, change, reason):
    assert reason in refused_config(folder, change).reason


def test_initialisers_and_regularisers_of_a_file_are_not_built(folder, tmp_path, model):
    hostile = {"module": "os", "class_name": "system", "config": {"command": "true"}}

    def change(config):
        for key in ("kernel_initializer", "kernel_regularizer", "bias_constraint"):
            first(config)["config"][key] = hostile
        config["compile_config"] = {"optimizer": hostile}
        first(config)["build_config"] = {"input_shape": [10**9]}

    path = changed_keras(folder, tmp_path / "custom_loss.keras", change)
    picture = np.ones((1, 8, 8, 3), np.float32)
    found = read_foreign(path).model.predict(picture, verbose=0)
    np.testing.assert_allclose(found, model.predict(picture, verbose=0), atol=1e-6)


def test_a_subclassed_model_is_told_how_to_be_rebuilt(folder):
    def change(config):
        config.update(module="keras_hub", class_name="DeepLabV3", registered_name="hub>DeepLabV3")

    refusal = refused_config(folder, change)
    assert "of the class 'hub>DeepLabV3'" in refusal.reason
    assert "keras.Model(inputs, outputs)" in refusal.fix


@pytest.mark.parametrize("name", ["model.pkl", "model.h5", "model.keras"])
def test_a_pickle_is_not_loaded(tmp_path, written, name):
    class Hostile:
        def __reduce__(self):
            return os.mkdir, (str(written),)

    (tmp_path / name).write_bytes(pickle.dumps(Hostile()))
    assert "is a pickle" in refusal(tmp_path / name)
    assert not written.exists()


# --- Sizes --------------------------------------------------------------------------------------


def test_a_layer_cannot_ask_for_more_weights_than_the_file_holds(folder):
    refusal = refused_config(folder, setting("filters", 2**30))
    assert "'first' needs more weights than the file holds" in refusal.reason


def test_a_bomb_in_the_archive_is_not_unpacked(folder, tmp_path):
    with zipfile.ZipFile(tmp_path / "bad.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("metadata.json", "{}")
        archive.writestr("model.weights.h5", bytes(10**7))
    assert "model.weights.h5 in it unpacks to 10,000,000 bytes" in refusal(tmp_path / "bad.keras")


def test_json_of_absurd_depth_is_refused(folder, tmp_path):
    for depth in (200, 100_000):
        with zipfile.ZipFile(tmp_path / "bad.keras", "w") as archive:
            archive.writestr("config.json", '{"a":' * depth + "1" + "}" * depth)
            archive.writestr("metadata.json", "{}")
            archive.writestr("model.weights.h5", b"")
        assert "config.json" in refusal(tmp_path / "bad.keras")


def test_nested_models_of_absurd_depth_are_refused(folder):
    def change(config):
        for _ in range(15):
            inner = {"name": "nested", "layers": [dict(config)]}
            config.update(class_name="Sequential", registered_name=None, config=inner)

    assert "nest more than" in refused_config(folder, change).reason


# --- HDF5 that points out of its file -----------------------------------------------------------


def external_link(file, other):
    del file["model_weights/first"]
    file["model_weights/first"] = h5py.ExternalLink(str(other), "/first")


def soft_link(file, _):
    del file["model_weights/first"]
    file["model_weights/first"] = h5py.SoftLink("/model_weights/scores")


def external_data(file, other):
    file.create_dataset("model_weights/x", (10,), "f4", external=[(str(other), 0, 40)])


def virtual_data(file, other):
    layout = h5py.VirtualLayout((10,), "f4")
    layout[:] = h5py.VirtualSource(str(other), "x", (10,))
    file.create_virtual_dataset("model_weights/x", layout)


def shape_bomb(file, _):
    file.create_dataset("model_weights/x", (2**31,), "f4", chunks=(1024,), compression="gzip")


def text_data(file, _):
    file["model_weights/x"] = "not a number"


def a_group_in_itself(file, _):
    file["model_weights/first/again"] = file["model_weights"]


def not_a_number(file, _):
    name = next(name for name in file["model_weights/first/first"] if "bias" in name)
    file["model_weights/first/first"][name][...] = np.nan


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (external_link, "is a link to elsewhere"),
        (soft_link, "is a link to elsewhere"),
        (external_data, "in another file"),
        (virtual_data, "in another file"),
        (shape_bomb, "bytes that it does not hold"),
        (text_data, "does not hold numbers"),
        (a_group_in_itself, "more than once"),
        (not_a_number, "not finite numbers"),
    ],
)
def test_hdf5_keeps_to_its_file(folder, tmp_path, change, reason):
    other = tmp_path / "secret.h5"
    with h5py.File(other, "w") as file:
        file["x"] = np.arange(10, dtype="f4")
    path = tmp_path / "bad.h5"
    path.write_bytes((folder / "good.h5").read_bytes())
    with h5py.File(path, "a") as file:
        change(file, other)
    assert reason in refusal(path)


def test_bytes_count_as_the_numbers_that_they_become(tmp_path, monkeypatch):
    monkeypatch.setattr(hdf5_child, "_MOST_BYTES", 2000)
    with h5py.File(tmp_path / "bytes.h5", "w") as file:
        file["weights"] = np.zeros(501, np.uint8)
        with pytest.raises(Refusal, match="declares more than 2,000 bytes"):
            hdf5_child._checked_tree(file)


# --- Files of other kinds -----------------------------------------------------------------------


def test_files_of_other_kinds_say_what_they_are(tmp_path):
    def of(name, content):
        path = tmp_path / name
        path.write_bytes(content)
        return refusal(path)

    assert "already a TFLite file" in of("a.tflite", b"\x1c\0\0\0TFL3" + bytes(100))
    assert "already an ONNX file" in of("a.onnx", b"\x08\x07\x12\x07pytorch")
    assert "is empty" in of("a.keras", b"")
    assert "not a Keras model" in of("a.h5", b"not a model at all")
    assert "holds no weights" in of("model.json", b"{}")
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("a/data.pkl", pickle.dumps({}))
    assert "is a PyTorch file" in refusal(tmp_path / "a.pt")
    assert "folder without a model" in refusal(tmp_path)
    assert "is not there" in refusal(tmp_path / "missing.keras")


def test_a_savedmodel_without_its_architecture_is_refused(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"\x08\x01")
    message = refusal(tmp_path)
    assert "never run" in message
    assert "model.save('model.keras')" in message


def test_weights_alone_ask_for_their_architecture(model, tmp_path):
    model.save_weights(tmp_path / "model.weights.h5")
    assert "--architecture tutorial-mobilenet-unet" in refusal(tmp_path / "model.weights.h5")


def test_a_whole_keras_file_needs_no_architecture(folder):
    message = refusal(folder / "good.keras", architecture="tutorial-unet-mini", classes=2)
    assert "leave --architecture out" in message
