"""Compare imported models with what a plain TFLiteConverter call gives for the same model.

    python -m benchmarks.foreign_models [--case NAME ...] [--rounds 30] [--steps 200]

Builds each network of the tests' `foreign_models` at its full width for pictures of 128 px, trains
it on generated pictures, saves it as its library does, imports and exports it with `unet-edge`, and
converts the same model by `TFLiteConverter.from_keras_model` with the same calibration pictures. If
TensorFlow refuses the model as it is, it gets the model with a batch of one, and then in float32.
It then measures on the same pictures, which no file was calibrated on:

- the pixels of each file whose class is that of the foreign model: ours at the pictures' size,
  plain ones at the size of the network's own output;
- operators, and nodes that run: XNNPACK's partitions and the operators outside them;
- ms of one thread from pixels to scores, in turns: ours takes uint8 pixels, plain files take the
  network's float input, which a program has to compute; so they are timed with that and without.

What is already in --work is used again. Writes
`benchmarks/reference/<machine>/foreign-models.{md,json}`. Every command is printed.
"""

from __future__ import annotations

import gc
import importlib
import json
import math
import re
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.plain_tflite import PlainFile, PlainPrecision, plain_file
from benchmarks.reporting import (
    REFERENCE,
    named,
    page,
    spelled,
    table,
    write_report,
)
from unet_edge.bundle.bundle import Bundle
from unet_edge.bundle.manifest import MANIFEST
from unet_edge.images.decoding import decode
from unet_edge.model_files.read_graph import read_graph
from unet_edge.percent import percent
from unet_edge.runtime.segmenter import KERAS_MODEL
from unet_edge.system.files import json_text, write_atomically
from unet_edge.system.timing import gemm_ms, machine

_SIZE, _PICTURES = 128, 48
_CLASSES = ("background", "disc")
_PRECISIONS: tuple[PlainPrecision, ...] = ("float32", "float16", "int8")

# Where the tests' builders are; they are no part of the package.
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))


@click.command()
@click.option("--work", type=click.Path(path_type=Path), default=Path("runs/foreign-models"))
@click.option("--case", "cases", multiple=True, help="Measure this network only; repeatable.")
@click.option("--rounds", type=click.IntRange(1), default=30, show_default=True)
@click.option("--steps", type=click.IntRange(1), default=200, show_default=True)
@click.option("--again", is_flag=True, help="Measure what was measured before, too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, not tables.")
@click.option("--report-only", is_flag=True, help="Measure nothing; report what --work holds.")
@click.option("--output", type=click.Path(path_type=Path), default=REFERENCE)
def main(
    work: Path,
    cases: Sequence[str],
    rounds: int,
    steps: int,
    again: bool,
    as_json: bool,
    report_only: bool,
    output: Path,
) -> None:
    """Build, import, export, convert, measure and write the report of this machine."""
    zoo = importlib.import_module("foreign_models.zoo")
    photos = _photos(work / "photos")
    results: dict[str, Any] = {}
    missing: list[str] = []
    for entry in zoo.NETWORKS:
        if cases and entry.name not in cases:
            continue
        record = work / entry.name / "result.json"
        if report_only and not record.is_file():
            missing.append(entry.name)
            continue
        if not report_only and (again or not record.is_file()):
            result = _compared(entry, record.parent, photos, rounds, steps)
            write_atomically(record, json_text(result))
        results[entry.name] = json.loads(record.read_text())
    facts = machine()
    report = {
        "machine": facts,
        "rounds": rounds,
        "steps": steps,
        "networks": results,
        "not_measured": missing,
    }
    text = _markdown(report)
    if not cases:
        write_report(named(output, facts, "foreign-models"), report, text)
    print(json_text(report) if as_json else text)


def _photos(folder: Path) -> Path:
    """Generated pictures of the networks' own size, so that none is resized."""
    if not folder.is_dir():
        training = importlib.import_module("foreign_models.training")
        folder.mkdir(parents=True)
        for index, picture in enumerate(training.discs(_PICTURES, _SIZE, seed=1)[0]):
            Image.fromarray(picture).save(folder / f"{index:02d}.png")
    return folder


def _compared(entry: Any, work: Path, photos: Path, rounds: int, steps: int) -> dict[str, Any]:
    work.mkdir(parents=True, exist_ok=True)
    model, path = _model(entry, work, steps)
    run = work / "run"
    if not (run / KERAS_MODEL).is_file():
        arguments = ["import", str(path), "-o", str(run), "--classes", ",".join(_CLASSES)]
        arguments += ["--input-range", entry.input_range, "--fit", "stretch"]
        if entry.architecture:
            arguments += ["--architecture", entry.architecture, "--size", str(_SIZE)]
        _command(arguments)
    if not (run / "bundle" / MANIFEST).is_file():
        # A file below its floor ends export with a status of its own, and is measured too.
        formats = ",".join(f"tflite-{precision}" for precision in _PRECISIONS)
        arguments = ["export", str(run), "--data", str(photos), "--formats", formats]
        _command([*arguments, "--golden", "2"], check=False)
    if not (run / "bundle" / MANIFEST).is_file():
        raise click.ClickException(f"{entry.name}: export wrote no bundle, see its lines above")
    bundle = Bundle.open(run / "bundle")
    calibration, proof = _split(photos)
    plain, ways = _plain_files(entry, model, work, calibration)
    own_size, full_size = _expected(entry, model, proof)
    before = gemm_ms()
    files: dict[str, Any] = {}
    for precision in _PRECISIONS:
        ours = bundle.file(f"model-{precision}.tflite")
        own, other = bundle.read(ours), plain.get(precision)
        agreement = _agreement(PlainFile(own), [*proof], full_size)
        files[precision] = {
            "ours": {"agreement": agreement, "proven": ours.agreement, **_graph(own)},
            **_timed(entry, own, other, proof[0], rounds),
        }
        if other is not None:
            inputs = [entry.scale(picture) for picture in proof]
            agreement = _agreement(PlainFile(other), inputs, own_size)
            files[precision]["plain"] = {"agreement": agreement, **_graph(other)}
    return {
        "parameters": model.count_params(),
        "share_of_class_1": float(own_size.mean()),
        "files": files,
        "ways": ways,
        "gemm_ms": [before, gemm_ms()],
    }


def _model(entry: Any, work: Path, steps: int) -> tuple[Any, Path]:
    """The trained network for pictures of `_SIZE`, and its file."""
    training = importlib.import_module("foreign_models.training")
    weights = work / "trained.weights.h5"
    if not weights.is_file():
        model = training.trained(entry, width=1, size=_SIZE, steps=steps, rate=1e-3)
        model.save_weights(weights)
    model = entry.model(1, _SIZE)
    model.load_weights(weights)
    return model, entry.save(model, work)


def _split(photos: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The pictures that `export` calibrates and proves on, uint8 (N, H, W, 3)."""
    from unet_edge.dataset.unlabelled import find_unlabelled

    found = find_unlabelled(photos)
    calibration, proof = (
        np.stack([np.asarray(decode(sample.image)) for sample in split])
        for split in (found.train, found.validation)
    )
    return calibration, proof


def _plain_files(
    entry: Any, model: Any, work: Path, calibration: NDArray[np.uint8]
) -> tuple[dict[PlainPrecision, bytes], list[dict[str, str]]]:
    """The plain files, and how the model had to be changed for them: each way and its error."""
    inputs = [entry.scale(picture[None]) for picture in calibration]
    ways: list[dict[str, str]] = []
    for way, changed in _ways(entry, model):
        files: dict[PlainPrecision, bytes] = {}
        try:
            for precision in _PRECISIONS:
                files[precision] = plain_file(changed, precision, inputs)
        # The converter's errors have no common class that is public; all are told in the report.
        except Exception as error:
            ways.append({"way": way, "refused": _reason(str(error))})
            continue
        for precision, data in files.items():
            write_atomically(work / f"plain-{precision}.tflite", data)
        return files, [*ways, {"way": way}]
    return {}, ways


def _ways(entry: Any, model: Any) -> Iterator[tuple[str, Any]]:
    """What people try who get an error: the same network, changed more and more."""
    import keras

    yield "as it is", model
    one = keras.Input(batch_shape=(1, _SIZE, _SIZE, 3))
    changed = keras.models.clone_model(model, input_tensors=one)
    changed.set_weights(model.get_weights())
    yield "with a batch of one", changed
    if entry.policy != "float32":
        changed = replace(entry, policy="float32").model(1, _SIZE)
        changed.set_weights(model.get_weights())
        yield "in float32", changed


def _reason(message: str) -> str:
    """What MLIR says about the first operator that it refused, without the places in the graph."""
    found = re.search(r"'tf\.\w+' op [^\n]*", message)
    return found[0] if found else message.partition("\n")[0][:200]


def _expected(
    entry: Any, model: Any, proof: NDArray[np.uint8]
) -> tuple[NDArray[np.integer[Any]], NDArray[np.integer[Any]]]:
    """Labels of the foreign model: at the size of its own output, and at the pictures' size."""
    side = _SIZE // entry.stride
    scores = np.asarray(model(entry.scale(proof), training=False), np.float32)
    own = _labels(scores.reshape(len(proof), side, side, -1))
    return own, entry.logits(model, proof).argmax(-1)


def _labels(scores: NDArray[Any]) -> NDArray[np.integer[Any]]:
    """Labels (..., h, w) of scores (..., h, w, C), or of one sigmoid channel."""
    if scores.shape[-1] == 1:
        return (scores[..., 0] > 0.5).astype(np.int64)
    labels: NDArray[np.integer[Any]] = scores.argmax(-1)
    return labels


def _agreement(
    file: PlainFile, inputs: Sequence[NDArray[Any]], expected: NDArray[np.integer[Any]]
) -> list[float]:
    """The share of pixels with the expected label, for each picture."""
    labels = [
        _labels(file.scores(each[None]).reshape(*truth.shape, -1))
        for each, truth in zip(inputs, expected, strict=True)
    ]
    return [float((a == b).mean()) for a, b in zip(labels, expected, strict=True)]


def _graph(data: bytes) -> dict[str, Any]:
    """A file's operators, and what its graph becomes in LiteRT with XNNPACK."""
    from ai_edge_litert.interpreter import Interpreter

    operators = read_graph(data, "tflite", "model").operators
    interpreter = Interpreter(model_content=data, num_threads=1)
    interpreter.allocate_tensors()
    nodes = [node["op_name"] for node in interpreter._get_ops_details()]
    partitions = nodes.count("DELEGATE")
    return {
        "operators": sum(operator.count for operator in operators),
        "kinds": {operator.name: operator.count for operator in operators},
        "partitions": partitions,
        "bytes": len(data),
    }


def _timed(
    entry: Any, ours: bytes, plain: bytes | None, picture: NDArray[np.uint8], rounds: int
) -> dict[str, Any]:
    """Times in ms of one thread, one call each in turn; of ours alone without a plain file."""
    own = PlainFile(ours)
    calls: dict[str, Callable[[], Any]] = {"ours": lambda: own.scores(picture[None])}
    if plain is not None:
        other, scaled = PlainFile(plain), entry.scale(picture[None])
        calls["plain"] = lambda: other.scores(scaled)
        calls["plain with its scaling"] = lambda: other.scores(entry.scale(picture[None]))
    times: dict[str, list[float]] = {name: [] for name in calls}
    gc.disable()
    for turn in range(rounds + 3):
        for name, call in calls.items():
            started = time.perf_counter_ns()
            call()
            if turn >= 3:  # the first calls warm up
                times[name].append((time.perf_counter_ns() - started) / 1e6)
    gc.enable()
    return {
        "ms": {
            name: {"min": min(laps), "median": statistics.median(laps)}
            for name, laps in times.items()
        },
        "ratio": {
            name: statistics.median(a / b for a, b in zip(laps, times["ours"], strict=True))
            for name, laps in times.items()
            if name != "ours"
        },
    }


def _command(arguments: list[str], *, check: bool = True) -> None:
    print(f"\n$ unet-edge {shlex.join(arguments)}", flush=True)
    subprocess.run([sys.executable, "-m", "unet_edge", *arguments], check=check)


def _row(name: str, precision: str, file: dict[str, Any]) -> tuple[str, ...]:
    """A line of the table; "-" where there is no plain file."""
    ours, plain, ms = file["ours"], file.get("plain"), file["ms"]
    laps = {kind: f"{times['min']:.1f} ({times['median']:.1f})" for kind, times in ms.items()}
    ratio = [f"{value:.2f}" for value in file["ratio"].values()]
    return (
        name,
        precision,
        percent(statistics.fmean(ours["agreement"])),
        percent(statistics.fmean(plain["agreement"])) if plain else "-",
        _gain(ours["agreement"], plain["agreement"]) if plain else "-",
        f"{ours['operators']} / {plain['operators'] if plain else '-'}",
        f"{ours['partitions']} / {plain['partitions'] if plain else '-'}",
        laps["ours"],
        laps.get("plain", "-"),
        f"{ms['plain with its scaling']['min']:.1f}" if plain else "-",
        " / ".join(ratio) or "-",
    )


def _gain(ours: Sequence[float], plain: Sequence[float]) -> str:
    """Ours less plain in points, with two standard errors of the mean over the pictures."""
    gains = [100 * (a - b) for a, b in zip(ours, plain, strict=True)]
    mean, error = statistics.fmean(gains), statistics.stdev(gains) / math.sqrt(len(gains))
    return f"{mean:+.3f} ± {2 * error:.3f}" if error else f"{mean:+.3f}"


def _markdown(report: dict[str, Any]) -> str:
    rows = [
        _row(name, precision, file)
        for name, network in report["networks"].items()
        for precision, file in network["files"].items()
    ]
    headers = [
        "network", "precision", "ours, % as Keras", "plain, %", "gain, points", "operators",
        "partitions", "ours, ms", "plain, ms", "plain with scaling, ms", "times ours",
    ]  # fmt: skip
    return page(
        "# Imported models beside plain TFLite conversions",
        f"Made by `python -m benchmarks.foreign_models --rounds {report['rounds']} "
        f"--steps {report['steps']}`. Machine: {spelled(report['machine'])}.",
        f"Networks at full width, {_SIZE} px, two classes, trained for {report['steps']} steps on "
        "generated pictures. Pixels whose class is that of Keras, on generated pictures that no "
        "file was calibrated on; the gain is ours less plain, with two standard errors of the mean "
        "over the pictures. Pairs are ours / plain. Times of one thread, from pixels to scores: "
        "minimum (median) of turns; plain files take a float input, which the scaling in NumPy "
        "makes. The last column is the median of the paired ratios of plain to ours, without and "
        "with the scaling: above 1, ours is faster. Networks whose output has half of the "
        "resolution: plain files are compared at it, and ours includes the resizing to the "
        "picture's size.",
        table(rows, headers),
        *_changes(report["networks"]),
        *_not_measured(report["not_measured"]),
        _steadiness(report["networks"]),
    )


def _not_measured(missing: Sequence[str]) -> list[str]:
    return [f"Not measured: {', '.join(missing)}."] if missing else []


def _steadiness(networks: dict[str, Any]) -> str:
    """A sentence on how fast the machine was around each network's times."""
    times = [time for network in networks.values() for time in network["gemm_ms"]]
    return (
        f"The machine's matrix product took {min(times):.1f} to {max(times):.1f} ms before and "
        "after each network."
    )


def _changes(networks: dict[str, Any]) -> list[str]:
    """The paragraph on what the plain call did not convert; none if it converted everything."""
    lines = [
        f"- {name} {way['way']}: "
        + (f"`{way['refused']}`" if "refused" in way else "converted, and measured so.")
        for name, network in networks.items()
        if len(network["ways"]) > 1
        for way in network["ways"]
    ]
    return ["TensorFlow refused some models as they are:", "\n".join(lines)] if lines else []


if __name__ == "__main__":
    main()
