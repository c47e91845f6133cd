"""The stored choice of a tuning: when opening a bundle uses it, and when it does not."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import pytest
from paths import ROOT
from sealing import seal_manifest

from unet_edge.bundle.bundle import Bundle
from unet_edge.errors import BackendError, BundleError, ConfigError
from unet_edge.runtime.interpreters import installed_versions
from unet_edge.runtime.segmenter import Segmenter
from unet_edge.runtime.tuning_cache import (
    TUNING,
    Tuned,
    bundle_key,
    delete_tuning,
    describe,
    load_tuning,
    save_tuning,
    this_machine,
    writable_path,
)
from unet_edge.system.board import read_processor

CHOSEN = "model-float16.onnx"  # neither the preferred file nor the preferred format


@pytest.fixture(autouse=True)
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's settings, empty."""
    folder = tmp_path / "settings"
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder))
    return folder


@pytest.fixture
def bundle(bundle_path: Path, tmp_path: Path) -> Bundle:
    shutil.copytree(bundle_path, tmp_path / "bundle")
    return Bundle.open(tmp_path / "bundle")


@pytest.fixture
def first(bundle: Bundle) -> str:
    """The file that is opened without a choice."""
    name = bundle.preferred()[0].name
    assert name.endswith(".tflite")
    return name


@pytest.fixture
def tuned(bundle: Bundle) -> Tuned:
    """A choice of `tune` on this machine."""
    installed = installed_versions()
    return Tuned(
        file=CHOSEN,
        backend="onnxruntime",
        threads=1,
        interpreter=f"onnxruntime {installed['onnxruntime']}",
        bundle=bundle_key(bundle),
        machine=this_machine(),
        installed=installed,
        date="2026-11-23T12:00:00+00:00",
    )


def save(bundle: Bundle, tuned: Tuned) -> Path:
    path = bundle.path / TUNING
    save_tuning(bundle, tuned, path, [])
    return path


def threads_of(segmenter: Segmenter) -> int:
    session = segmenter.backend._session  # type: ignore[attr-defined]
    return int(session.get_session_options().intra_op_num_threads)


def test_opening_a_bundle_uses_the_choice(bundle: Bundle, tuned: Tuned, first: str) -> None:
    assert Segmenter.open(bundle.path).name == first
    save(bundle, tuned)
    segmenter = Segmenter.open(bundle.path)
    assert (segmenter.name, segmenter.backend.name) == (CHOSEN, tuned.interpreter)
    assert segmenter.digest == bundle.file(CHOSEN).sha256
    assert threads_of(segmenter) == 1
    save(bundle, replace(tuned, threads=2))
    assert threads_of(Segmenter.open(bundle.path)) == 2


def test_arguments_win_over_the_choice(bundle: Bundle, tuned: Tuned, first: str) -> None:
    save(bundle, tuned)
    segmenter = Segmenter.open(bundle.path, threads=3)
    assert (segmenter.name, threads_of(segmenter)) == (CHOSEN, 3)
    assert Segmenter.open(bundle.path, file="model-float32.tflite").name == "model-float32.tflite"
    assert Segmenter.open(bundle.path, backend="ai-edge-litert").name == first
    # The choice is a file with an interpreter: naming one of the two is another choice.
    assert Segmenter.open(bundle.path, backend="onnxruntime").name == "model-int8.onnx"


def test_the_choice_is_not_part_of_the_bundle(bundle: Bundle, tuned: Tuned) -> None:
    before = Bundle.open(bundle.path)
    path = save(bundle, tuned)
    assert Bundle.open(bundle.path) == before
    assert json.loads(path.read_text())["file"] == CHOSEN
    stored = load_tuning(bundle)
    assert stored is not None
    assert (stored.path, stored.tuned, stored.stale) == (path, tuned, None)
    assert not list(bundle.path.glob(".*")), "no temporary file is left"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            {"machine": {"model": "Raspberry Pi 5", "architecture": "aarch64", "processors": 4}},
            "it was measured on Raspberry Pi 5 with 4 processors, this is ",
        ),
        ({"bundle": "0" * 64}, "the bundle was exported again since"),
        ({"file": "model-int4.tflite"}, "has no model-int4.tflite that onnxruntime may run"),
        (
            {"backend": "ai-edge-litert", "interpreter": "ai-edge-litert 2.3.0"},
            f"has no {CHOSEN} that ai-edge-litert may run",
        ),
    ],
)
def test_a_choice_for_something_else_is_not_used(
    bundle: Bundle, tuned: Tuned, change: dict[str, Any], reason: str, first: str
) -> None:
    path = save(bundle, replace(tuned, **change))
    assert Segmenter.open(bundle.path).name == first
    line = describe(bundle)
    assert line.startswith(f"{path} is not used: ")
    assert reason in line
    assert line.endswith(f"'unet-edge tune {bundle.path}' measures here")


def test_another_export_into_the_same_folder(bundle: Bundle, tuned: Tuned, first: str) -> None:
    save(bundle, tuned)
    data = json.loads((bundle.path / "bundle.json").read_text())
    data["files"][0]["floor"] -= 0.001
    seal_manifest(bundle.path, data)
    assert Segmenter.open(bundle.path).name == first
    assert "exported again" in describe(Bundle.open(bundle.path))


def test_a_choice_below_its_floor_is_not_used(bundle: Bundle, tuned: Tuned, first: str) -> None:
    data = json.loads((bundle.path / "bundle.json").read_text())
    (entry,) = [entry for entry in data["files"] if entry["name"] == CHOSEN]
    entry["floor"], entry["agreement"] = 0.999, 0.998
    # It missed the floor on this kind of processor. On another it would count again.
    data["processor"] = asdict(read_processor())
    seal_manifest(bundle.path, data)
    again = Bundle.open(bundle.path)
    save(again, replace(tuned, bundle=bundle_key(again)))
    assert Segmenter.open(bundle.path).name == first


def test_another_version_of_the_interpreter(bundle: Bundle, tuned: Tuned, first: str) -> None:
    installed = {**tuned.installed, "onnxruntime": "1.17.0"}
    old = replace(tuned, interpreter="onnxruntime 1.17.0", installed=installed)
    path = save(bundle, old)
    assert Segmenter.open(bundle.path).name == first
    now = tuned.installed["onnxruntime"]
    assert describe(bundle) == (
        f"{path} is not used: since then onnxruntime {now} was installed over 1.17.0; "
        f"'unet-edge tune {bundle.path}' measures again"
    )


def test_an_interpreter_that_was_removed(bundle: Bundle, tuned: Tuned, first: str) -> None:
    if "tflite-runtime" in tuned.installed:
        pytest.skip("tflite-runtime is installed here")
    save(
        bundle,
        replace(
            tuned,
            file=first,
            backend="tflite-runtime",
            interpreter="tflite-runtime 2.14.0",
            installed={**tuned.installed, "tflite-runtime": "2.14.0"},
        ),
    )
    assert Segmenter.open(bundle.path).backend.name.startswith("ai-edge-litert")
    assert "since then tflite-runtime 2.14.0 was removed" in describe(bundle)


def test_an_interpreter_that_was_installed_later_is_reported_and_changes_nothing(
    bundle: Bundle, tuned: Tuned
) -> None:
    installed = {"onnxruntime": tuned.installed["onnxruntime"]}
    save(bundle, replace(tuned, installed=installed))
    assert Segmenter.open(bundle.path).name == CHOSEN
    litert = tuned.installed["ai-edge-litert"]
    assert describe(bundle).startswith(
        f"tuned on 2026-11-23: {CHOSEN} by {tuned.interpreter} on 1 thread; since then "
        f"ai-edge-litert {litert} was installed; 'unet-edge tune "
    )


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff\xfe",
        b"[" * 100_000,
        b"{}",
        b"[1]",
        b"null",
        b'{"kind": "unet-edge tuning", "schema": 1}',
        b'{"kind": "unet-edge tuning", "schema": 2}',
    ],
)
def test_a_damaged_file_is_not_used(bundle: Bundle, text: bytes, first: str) -> None:
    (bundle.path / TUNING).write_bytes(text)
    assert Segmenter.open(bundle.path).name == first
    assert "it is damaged, or of a newer unet-edge" in describe(bundle)


@pytest.mark.parametrize("field", [field.name for field in fields(Tuned)])
@pytest.mark.parametrize("value", [None, [], -1, 1.5, True, "absent"])
def test_a_file_with_a_field_of_another_type_is_not_used(
    bundle: Bundle, tuned: Tuned, field: str, value: object, first: str
) -> None:
    path = save(bundle, tuned)
    data = json.loads(path.read_text())
    data[field] = value
    path.write_text(json.dumps(data))
    if (field, value) == ("date", "absent"):  # for people only
        return
    assert Segmenter.open(bundle.path).name == first
    assert "is not used" in describe(bundle)


def test_without_a_stored_choice(bundle: Bundle) -> None:
    assert load_tuning(bundle) is None
    assert describe(bundle).startswith("not tuned on this machine: 'unet-edge tune ")
    assert delete_tuning(bundle) == []


def test_a_choice_in_the_settings_comes_first_and_goes_when_the_folder_is_writable(
    bundle: Bundle, tuned: Tuned, settings: Path
) -> None:
    in_bundle = save(bundle, tuned)
    # A write-protected folder has its choice here: see the test with another user.
    name = hashlib.sha256(str(bundle.path).encode()).hexdigest()[:16]
    in_settings = settings / "unet-edge" / f"tuning-{name}.json"
    save_tuning(bundle, replace(tuned, file="model-float32.onnx"), in_settings, [])
    assert Segmenter.open(bundle.path).name == "model-float32.onnx"
    save_tuning(bundle, tuned, in_bundle, [])
    assert not in_settings.exists()
    assert Segmenter.open(bundle.path).name == CHOSEN
    assert delete_tuning(bundle) == [in_bundle]


def test_a_bundle_that_has_no_file_for_the_interpreter(
    bundle: Bundle, bundle_path: Path, first: str
) -> None:
    data = json.loads((bundle.path / "bundle.json").read_text())
    data["files"] = [entry for entry in data["files"] if entry["format"] == "tflite"]
    seal_manifest(bundle.path, data)
    with pytest.raises(BackendError, match=r"reads \.onnx files, .*--formats onnx-float32"):
        Segmenter.open(bundle.path, backend="onnxruntime")
    with pytest.raises(ConfigError, match=r"reads \.onnx files, but this is a \.tflite"):
        Segmenter.open(bundle.path, file=first, backend="onnxruntime")
    with pytest.raises(
        ConfigError, match="it must be one of ai-edge-litert, tflite-runtime, onnxruntime"
    ):
        Segmenter.open(bundle.path, backend="torch")  # type: ignore[arg-type]
    with pytest.raises(BundleError, match=r"holds no model-int8\.onnx"):
        Segmenter.open(bundle.path, file="model-int8.onnx")


def test_only_keras_runs_a_training_run(run_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^Keras runs .*, not openvino; leave out the backend$"):
        Segmenter.open(run_path, backend="openvino")


def test_opening_a_tuned_bundle_loads_one_more_small_module(bundle: Bundle, tuned: Tuned) -> None:
    code = (
        "import sys\nfrom unet_edge import Segmenter\nSegmenter.open(sys.argv[1])\n"
        "print(*(name for name in sys.modules if name.startswith('unet_edge')))"
    )

    def loaded() -> set[str]:
        done = subprocess.run(
            [sys.executable, "-c", code, str(bundle.path)],
            capture_output=True,
            check=True,
            text=True,
            cwd=ROOT,
        )
        return set(done.stdout.split())

    before = loaded()
    save(bundle, tuned)
    after = loaded()
    files, backends = "unet_edge.model_files", "unet_edge.runtime.backends"
    ort = {f"{backends}.ort", f"{backends}.int8_sums"}
    onnx = {*ort, f"{files}.onnx_tensors", f"{files}.onnx_graph", f"{files}.onnx_messages"}
    assert after - before == onnx
    assert before - after == {f"{backends}.litert", f"{files}.tflite_graph", f"{files}.flatbuffer"}


PLACE = """
import hashlib, os, sys, tempfile  # now: perhaps only root may read the standard library
from unet_edge.bundle.bundle import Bundle
from unet_edge.errors import OutputError
from unet_edge.runtime.tuning_cache import writable_path
bundle = Bundle.open(sys.argv[1])
if os.getuid() == 0:
    os.setuid(65534)  # root may write everywhere
try:
    print(writable_path(bundle))
except OutputError as error:
    print("error:", error)
"""


def path_for_user(bundle: Path, home: str) -> str:
    """The path for a user who is not root."""
    environment = {**os.environ, "HOME": home}
    environment.pop("XDG_CONFIG_HOME", None)
    done = subprocess.run(
        [sys.executable, "-c", PLACE, str(bundle)],
        capture_output=True,
        text=True,
        env=environment,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_choice_of_a_write_protected_folder_is_stored_in_the_settings(
    bundle_path: Path,
) -> None:
    with tempfile.TemporaryDirectory() as name:  # every user can enter it, unlike pytest's
        root, folder, home = Path(name), Path(name) / "bundle", Path(name) / "home"
        shutil.copytree(bundle_path, folder)
        home.mkdir()
        for path in (root, folder, home):
            path.chmod(0o777)
        assert path_for_user(folder, str(home)) == str(folder / TUNING)
        folder.chmod(0o555)
        path = Path(path_for_user(folder, str(home)))
        assert path.parent == home / ".config" / "unet-edge"
        shutil.rmtree(home / ".config")
        home.chmod(0o555)
        for nowhere in (str(home), "~"):
            message = path_for_user(folder, nowhere)
            assert message.startswith(f"error: cannot write {folder / TUNING}: Permission denied; ")
            assert message.endswith("copy the bundle to where you may write")
        folder.chmod(0o755)


def test_a_writable_folder_has_its_own_choice(bundle: Bundle) -> None:
    assert writable_path(bundle) == bundle.path / TUNING
    assert not (bundle.path / TUNING).exists()
