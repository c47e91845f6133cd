"""Measuring every file of a bundle in a process of its own."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up_benchmarks import CALM, made_up
from PIL import Image

from unet_edge.benchmarking.labelled_pictures import LabelledPicture
from unet_edge.benchmarking.measurement import measure_bundle, summarise
from unet_edge.benchmarking.result_file import benchmark_schema
from unet_edge.benchmarking.results import BenchmarkResult
from unet_edge.benchmarking.tables import tables
from unet_edge.bundle.bundle import Bundle
from unet_edge.bundle.json_schema import first_error
from unet_edge.errors import BundleError, ConfigError, ImageError
from unet_edge.evaluation.verification import golden_references, verify
from unet_edge.runtime.packages import Package
from unet_edge.runtime.segmenter import STAGES, Segmenter
from unet_edge.system.files import sha256


@pytest.fixture(scope="module")
def bundle(bundle_path: Path) -> Bundle:
    return Bundle.open(bundle_path)


@pytest.fixture(scope="module")
def result(bundle: Bundle, run_path: Path) -> BenchmarkResult:
    """Slow, because Keras is measured too."""
    return measure_bundle(bundle, runs=3, rounds=2, threads=1, keras=run_path)


def only(bundle: Bundle, *names: str) -> Bundle:
    """The bundle with only these files."""
    return dataclasses.replace(bundle, files=tuple(bundle.file(name) for name in names))


def test_totals_are_percentiles_of_runs_not_sums_of_stages() -> None:
    stages = summarise({"decode": [1, 5, 9], "infer": [10, 40, 20]})
    assert stages["decode"] == pytest.approx({"p50": 5, "p90": 8.2, "p99": 8.92, "min": 1})
    # Runs of 11, 45 and 29 ms; the medians of the stages add up to 25.
    assert stages["total"] == pytest.approx({"p50": 29, "p90": 41.8, "p99": 44.68, "min": 11})


@pytest.mark.slow
def test_every_file_of_the_bundle_has_its_row(bundle: Bundle, result: BenchmarkResult) -> None:
    assert [row.name for row in result.files] == [entry.name for entry in bundle.files]
    for row, entry in zip(result.files, bundle.files, strict=True):
        data = (bundle.path / row.name).read_bytes()
        assert (row.bytes, row.sha256) == (len(data), sha256(data))
        assert (row.format, row.precision) == (entry.format, entry.precision)
        assert (row.floor, row.label_miou) == (entry.golden_floor, entry.label_miou)
        assert row.held_out == entry.agreement
        assert row.error is None


@pytest.mark.slow
def test_the_figures_of_a_row_are_consistent(result: BenchmarkResult) -> None:
    for row in result.rows:
        cost = row.cost
        assert cost is not None
        assert list(cost.stages) == [*STAGES, "total"]
        for figures in cost.stages.values():
            assert 0 < figures["min"] <= figures["p50"] <= figures["p90"] <= figures["p99"]
        assert cost.stages["total"]["min"] >= sum(cost.stages[name]["min"] for name in STAGES)
        assert cost.stages["total"]["p99"] <= sum(cost.stages[name]["p99"] for name in STAGES) * 1.1
        assert cost.load_ms > 0
        assert cost.golden.worst <= cost.agreement <= 1


@pytest.mark.slow
def test_backends_and_threads_are_named(result: BenchmarkResult) -> None:
    backends = {"keras": "keras ", "tflite": "ai-edge-litert ", "onnx": "onnxruntime "}
    for row in result.rows:
        assert row.cost is not None
        assert row.cost.backend.startswith(backends[row.format])
        assert row.cost.threads == (None if row.format == "keras" else 1)
    assert (result.threads, result.runs, result.rounds) == ((1,), 3, 2)


@pytest.mark.slow
def test_agreement_equals_that_of_verify(bundle: Bundle, result: BenchmarkResult) -> None:
    for row in result.files:
        segmenter = Segmenter.open(bundle.path, file=row.name, threads=1)
        proof = verify(segmenter, golden_references(bundle), floor=0.0)
        assert row.cost is not None
        assert row.cost.agreement == proof.agreement
        assert row.cost.golden.worst == proof.worst
        assert row.cost.golden.miou == proof.mask_miou


@pytest.mark.slow
def test_keras_is_measured_the_same_way(result: BenchmarkResult, run_path: Path) -> None:
    cost = result.keras.cost
    assert cost is not None
    assert (cost.agreement, cost.golden.boundary, cost.golden.miou) == (1.0, 1.0, 1.0)
    assert result.keras.bytes == (run_path / "model.keras").stat().st_size
    same = result.speedup(result.keras)
    assert same is not None
    assert same.value == 1.0
    fastest = min(result.files, key=lambda row: row.cost.p50_ms)  # type: ignore[union-attr]
    assert fastest.cost is not None
    # The geometric mean of a ratio for each round.
    for stage in ("total", "infer"):
        ratios = [
            ours.stages[stage] / theirs.stages[stage]
            for ours, theirs in zip(cost.rounds, fastest.cost.rounds, strict=True)
        ]
        speedup = result.speedup(fastest, stage)
        assert speedup is not None
        assert speedup.value == pytest.approx(np.prod(ratios) ** (1 / len(ratios)))


@pytest.fixture(scope="module")
def labelled(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> list[LabelledPicture]:
    """Two golden pictures; the labels of one are Keras' mask, of the other nothing but ignored."""
    folder = tmp_path_factory.mktemp("labels")
    found = []
    for number, golden in enumerate(bundle.golden[:2]):
        _, labels = bundle.read_golden(golden)
        if number:
            labels = np.full_like(labels, 255)
        Image.fromarray(labels).save(folder / f"{number}.png")
        picture = bundle.path / golden.picture
        found.append(LabelledPicture(golden.picture, picture, folder / f"{number}.png"))
    return found


@pytest.fixture(scope="module")
def variants(bundle: Bundle, labelled: list[LabelledPicture]) -> BenchmarkResult:
    files = only(bundle, "model-float32.tflite", "model-int8.onnx")
    backends: list[Package] = ["ai-edge-litert", "onnxruntime"]
    return measure_bundle(
        files, labelled=labelled, runs=1, rounds=2, threads=(1, 2), backends=backends
    )


def test_a_row_for_each_interpreter_and_number_of_threads(variants: BenchmarkResult) -> None:
    assert [row.label for row in variants.files] == [
        "model-float32.tflite (ai-edge-litert, 1 thread)",
        "model-float32.tflite (ai-edge-litert, 2 threads)",
        "model-int8.onnx (onnxruntime, 1 thread)",
        "model-int8.onnx (onnxruntime, 2 threads)",
    ]
    costs = [row.cost for row in variants.files if row.cost]
    assert [cost.threads for cost in costs] == [1, 2, 1, 2]
    assert [cost.backend.split()[0] for cost in costs] == [
        *["ai-edge-litert"] * 2,
        *["onnxruntime"] * 2,
    ]
    assert variants.threads == (1, 2)
    written = json.loads(json.dumps(variants.to_dict()))
    assert first_error(written, benchmark_schema()) is None
    assert BenchmarkResult.from_dict(written) == variants


def test_masks_are_scored_against_labels(variants: BenchmarkResult, bundle: Bundle) -> None:
    for row in variants.files:
        assert row.cost is not None
        assert row.cost.labels is not None
        name = bundle.golden[0].picture
        # The labels are Keras' mask, and the other picture has only ignored pixels.
        assert row.cost.labels.pictures == {name: row.cost.golden.pictures[name]}
    assert "true labels of 1 picture, measured here" in tables(variants)


@pytest.mark.slow
def test_peak_memory_is_that_of_the_file_alone(result: BenchmarkResult) -> None:
    # This process and the Keras child hold TensorFlow, which takes some hundred MiB.
    assert result.keras.cost is not None
    for row in result.files:
        assert row.cost is not None
        assert 20 < row.cost.peak_memory_mib < result.keras.cost.peak_memory_mib / 2


def test_without_keras_its_row_has_the_figures_of_the_bundle(bundle: Bundle) -> None:
    tiny = only(bundle, "model-int8.tflite")
    result = measure_bundle(tiny, runs=1, rounds=1, threads=1)
    keras = result.keras
    assert (keras.cost, keras.error, keras.bytes) == (None, None, None)
    assert keras.label_miou == bundle.reference.label_miou
    assert keras.sha256 == bundle.reference.keras_sha256
    assert result.speedup(result.files[0]) is None


@pytest.mark.slow
def test_json_holds_everything(result: BenchmarkResult) -> None:
    data = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert len(data["conditions"]) == result.rounds + 1
    assert data["machine"]["cores"] == os.cpu_count()
    assert data["gemm_before_ms"] > 0
    assert [row["name"] for row in data["files"]] == [row.name for row in result.files]
    first = result.files[0].cost
    assert first is not None
    assert data["files"][0]["cost"] == json.loads(json.dumps(dataclasses.asdict(first)))
    assert len(first.rounds) == 2 - len(result.void)  # a shared machine may have lost one


@pytest.mark.parametrize(
    ("source", "error"),
    [
        (
            "raise ModuleNotFoundError(name='onnxruntime')",
            "no ONNX interpreter works here: onnxruntime is not installed; openvino ",
        ),
        (
            "print('hello'); import os; os.write(1, b'{}'); raise ImportError('wrong libc')",
            " does not work here (wrong libc); ",
        ),
        (
            "import os, resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); "
            "os.kill(os.getpid(), 4)",
            "died with signal SIGILL",
        ),
        (
            "import os; os.kill(os.getpid(), 9)",
            "died with signal SIGKILL (as when memory runs out)",
        ),
        ("raise RuntimeError('boom')", "ended with exit code 1: RuntimeError: boom"),
        ("import os; os._exit(3)", "ended with exit code 3: no message"),
    ],
)
def test_a_broken_interpreter_affects_only_its_own_rows(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, error: str
) -> None:
    (tmp_path / "onnxruntime").mkdir()
    (tmp_path / "onnxruntime" / "__init__.py").write_text(source)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    pair = only(bundle, "model-int8.onnx", "model-int8.tflite")
    broken, intact = measure_bundle(pair, runs=1, rounds=1, threads=1).files
    assert broken.cost is None
    assert error in (broken.error or "")
    assert not broken.kept_floor
    assert intact.error is None
    assert intact.cost is not None


def test_the_error_names_a_damaged_file(bundle: Bundle, tmp_path: Path) -> None:
    copy = tmp_path / "bundle"
    shutil.copytree(bundle.path, copy)
    damaged = copy / "model-int8.tflite"
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2] ^= 1
    damaged.write_bytes(data)
    pair = only(Bundle.open(copy), "model-int8.tflite", "model-float32.tflite")
    first, second = measure_bundle(pair, runs=1, rounds=1, threads=1).files
    assert first.error is not None
    assert "model-int8.tflite is damaged" in first.error
    assert second.cost is not None


def test_another_keras_model_is_refused(bundle: Bundle, run_path: Path, tmp_path: Path) -> None:
    other = tmp_path / "model.keras"
    other.write_bytes((run_path / "model.keras").read_bytes() + b"\0")
    with pytest.raises(BundleError, match="is not the model that"):
        measure_bundle(bundle, keras=other)


def test_given_pictures_are_timed(bundle: Bundle, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    Image.fromarray(pixels).save(photo)
    tiny = only(bundle, "model-int8.tflite")
    result = measure_bundle(tiny, pictures=[photo], runs=2, rounds=1, threads=1)
    assert (result.pictures, result.sizes) == (1, ("64x48",))


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"runs": 0}, ConfigError),
        ({"rounds": 0}, ConfigError),
        ({"threads": -1}, ConfigError),
        ({"pictures": []}, ConfigError),
        ({"pictures": [Path("nowhere.jpg")]}, ImageError),
    ],
)
def test_what_would_affect_every_row_is_refused_first(
    bundle: Bundle, settings: dict[str, object], error: type[Exception]
) -> None:
    with pytest.raises(error):
        measure_bundle(bundle, **settings)  # type: ignore[arg-type]


def test_a_bundle_without_golden_pictures_is_refused(bundle: Bundle) -> None:
    with pytest.raises(BundleError, match="no golden pictures"):
        measure_bundle(dataclasses.replace(bundle, golden=()))


def test_a_change_of_speed_is_noticed() -> None:
    def steady(before: float, after: float) -> bool:
        ends = tuple(dataclasses.replace(CALM, core_ms=ms) for ms in (before, after))
        return dataclasses.replace(made_up(0), conditions=ends).steady

    assert steady(10, 12)
    assert steady(12, 10)
    assert not steady(10, 13)
    assert not steady(13, 10)


@pytest.mark.slow
def test_ctrl_c_ends_the_child_too(bundle: Bundle) -> None:
    code = (
        "import sys\n"
        "from unet_edge.bundle.bundle import Bundle\n"
        "from unet_edge.benchmarking.measurement import measure_bundle\n"
        "measure_bundle(Bundle.open(sys.argv[1]), runs=10_000_000, threads=1)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(bundle.path)],
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
    try:
        if not children.exists():
            pytest.skip("this system does not list a process's children")
        child = Path("/proc") / _until(lambda: children.read_text().split())[0]
        _until(lambda: b"unet_edge.benchmarking.measurement" in (child / "cmdline").read_bytes())
        parent.send_signal(signal.SIGINT)  # to the parent alone
        _, log = parent.communicate(timeout=30)
    finally:
        parent.kill()
    assert b"KeyboardInterrupt" in log
    # The child has ended, or is a zombie that its new parent has not collected.
    _until(lambda: not child.exists() or "State:\tZ" in (child / "status").read_text())


def test_the_child_loads_only_what_segmenting_needs() -> None:
    code = "import sys, unet_edge.benchmarking.measurement; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, text=True
    ).stdout.split()
    unwanted = {"tqdm", "tabulate", "click", "keras", "tensorflow", "onnx", "matplotlib"}
    assert not unwanted & set(loaded)


def _until(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.05)
    raise AssertionError("nothing happened in 30 seconds")
