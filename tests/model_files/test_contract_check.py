"""A contract is compared with the tensors of its file and with the manifest."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from paths import SMALL_BUNDLE
from sealing import seal_manifest
from tiny_models import H, W, tiny_onnx, tiny_tflite

from unet_edge import Segmenter
from unet_edge.cli import main
from unet_edge.errors import BackendError, BundleError, ModelFileError
from unet_edge.model_files.contract_check import checked_contract
from unet_edge.model_files.embedded_contract import Contract, Format, parse_contract, seal
from unet_edge.runtime.backends.backend import FileBackend
from unet_edge.spec import ModelSpec, Normalisation
from unet_edge.system.files import sha256

SPEC = ModelSpec(H, W, ("a", "b", "c"))


def payload(data: bytes) -> bytes:
    """The model in front of the contract."""
    found = re.search(rb'"payload_bytes": (\d+)', data)
    assert found
    return data[: int(found[1])]


@pytest.fixture(scope="module", params=["tflite", "onnx"])
def tiny(request: pytest.FixtureRequest) -> tuple[Format, bytes]:
    """A model without a contract: uint8 (1, 4, 6, 3) to float32 (1, 4, 6, 3)."""
    return request.param, tiny_tflite() if request.param == "tflite" else tiny_onnx()


def test_a_contract_that_fits_its_tensors(tiny: tuple[Format, bytes]) -> None:
    file_format, model = tiny
    contract = Contract(SPEC, file_format, "float32")
    assert checked_contract(seal(model, contract), f"m.{file_format}") == contract


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            replace(SPEC, height=96),
            r"an input of uint8 \(1, 4, 6, 3\); the contract says .* uint8 \(1, 96, 6, 3\)",
        ),
        (replace(SPEC, width=10**9), r"of uint8 \(1, 4, 1000000000, 3\)"),
        (
            ModelSpec(H, W, ("a", "b")),
            r"float32 \(1, 4, 6, 3\); the contract says .* logits \(1, 4, 6, 2\)",
        ),
        (ModelSpec(H, W, tuple("abcd")), r"logits \(1, 4, 6, 4\)"),
        (replace(SPEC, output="labels"), r"one output of labels \(1, 4, 6\)"),
    ],
    ids=["height", "width", "fewer classes", "more classes", "labels"],
)
def test_a_contract_that_contradicts_its_tensors(
    tiny: tuple[Format, bytes], spec: ModelSpec, message: str
) -> None:
    file_format, model = tiny
    data = seal(model, Contract(spec, file_format, "float32"))
    with pytest.raises(
        ModelFileError, match=rf"m contradicts its contract: it has .*{message}.* again$"
    ):
        checked_contract(data, "m")


@pytest.mark.parametrize("name", ["model-int8.tflite", "model-float32.onnx"])
def test_quantisation_and_precision_are_compared(name: str) -> None:
    data = (SMALL_BUNDLE / name).read_bytes()
    contract = checked_contract(data, name)
    model = payload(data)
    other = replace(contract, spec=replace(contract.spec, normalisation=Normalisation(127, 128)))
    with pytest.raises(
        ModelFileError, match=r"zero point 128 and scale 0\.0078125; the contract says mean 127 and"
    ):
        checked_contract(seal(model, other), name)
    wrong = {"int8": "float32", "float32": "int8"}[contract.precision]
    with pytest.raises(ModelFileError, match=f"weights of .*; the contract says {wrong}"):
        checked_contract(seal(model, replace(contract, precision=wrong)), name)  # type: ignore[arg-type]


@pytest.fixture
def forged(tmp_path: Path) -> Any:
    """A bundle whose manifest and contracts have the same change, with right digests."""

    def make(**changes: Any) -> Path:
        folder = Path(shutil.copytree(SMALL_BUNDLE, tmp_path / "bundle"))
        manifest = json.loads((folder / "bundle.json").read_text())
        manifest["spec"] |= changes
        for entry in manifest["files"]:
            path = folder / entry["name"]
            data = path.read_bytes()
            contract = parse_contract(data, path.name)
            spec = ModelSpec.from_dict(manifest["spec"])
            data = seal(payload(data), replace(contract, spec=spec))
            path.write_bytes(data)
            entry |= {"sha256": sha256(data), "bytes": len(data)}
        seal_manifest(folder, manifest)
        return folder

    return make


THREE = {"classes": ["a", "b", "c"], "palette": [[0, 0, 0], [1, 1, 1], [2, 2, 2]]}


@pytest.mark.parametrize("changes", [{"height": 96}, {"height": 10**9}, THREE], ids=str)
def test_opening_a_bundle_compares_its_contract_with_the_tensors(
    forged: Any, changes: dict[str, Any], tmp_path: Path
) -> None:
    folder = forged(**changes)
    with pytest.raises(ModelFileError, match="contradicts its contract"):
        Segmenter.open(folder)
    with pytest.raises(ModelFileError, match="contradicts its contract"):
        Segmenter.open(folder / "model-float32.onnx")
    for command in (
        ["verify", folder],
        ["segment", folder, folder / "golden" / "01.png", "-o", tmp_path / "masks"],
        ["inspect", folder],
        ["inspect", folder / "model-int8.tflite"],
    ):
        result = CliRunner().invoke(main, [str(word) for word in command])
        assert result.exit_code == 1
        error = result.stderr.splitlines()[-1]
        assert "contradicts its contract" in error
        assert error.endswith("export it again")
        assert isinstance(result.exception, SystemExit)


def test_a_file_under_the_entry_of_another_is_refused(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(SMALL_BUNDLE, tmp_path / "bundle"))
    manifest = json.loads((folder / "bundle.json").read_text())
    manifest["files"][0]["precision"] = "float16"
    seal_manifest(folder, manifest)
    with pytest.raises(
        BundleError, match=r"lists model-int8\.tflite as float16 tflite, but it is int8 tflite"
    ):
        Segmenter.open(folder, file="model-int8.tflite")


def test_a_file_of_another_size_than_its_entry_is_not_read(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(SMALL_BUNDLE, tmp_path / "bundle"))
    with (folder / "model-int8.tflite").open("r+b") as file:
        file.truncate(10**12)  # sparse
    with pytest.raises(BundleError, match=r"it has 1,000,000,000,000 bytes, expected .*copy the"):
        Segmenter.open(folder, file="model-int8.tflite")


class Failing(FileBackend):
    name = "interpreter 1.0"

    def _run(self, pixels: Any) -> Any:
        raise RuntimeError("node 3 failed\n to run")


def test_a_failing_interpreter_is_an_error_of_one_line() -> None:
    segmenter = Segmenter(SPEC, Failing(), "failing")
    with pytest.raises(BackendError) as error:
        segmenter.segment(np.zeros((4, 4, 3), np.uint8))
    assert str(error.value) == (
        "interpreter 1.0 failed while it ran the model: node 3 failed; copy the model again, or "
        "run it with another interpreter (--backend)"
    )


def test_a_keras_model_is_compared_with_the_contract_beside_it() -> None:
    keras = pytest.importorskip("keras")
    from unet_edge.runtime.backends.keras_model import KerasBackend

    model = keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(3, 1)])
    KerasBackend(model).require(SPEC, "model.keras")
    with pytest.raises(ModelFileError, match=r"model\.keras maps .*; the contract beside it says"):
        KerasBackend(model).require(ModelSpec(H, W, ("a", "b")), "model.keras")
    model = keras.Sequential([keras.Input((8, 6, 3)), keras.layers.Conv2D(3, 1)])
    with pytest.raises(ModelFileError, match=r"\(None, 4, 6, 3\)"):
        KerasBackend(model).require(SPEC, "model.keras")
