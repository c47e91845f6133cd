"""Time our ONNX graph against tf2onnx's plain export of the same Keras model, in ONNX Runtime.

    python -m benchmarks.onnx_graph                    # the default network, 224 and 512 px
    python -m benchmarks.onnx_graph --alpha 0.25 --runs 100

The files alternate in one process and one thread, so that other work on the machine affects both
alike. The result is the median of the pairs' ratios. The plain file comes from
`tf2onnx.convert.from_keras` with a fixed size: without one, it fails in Keras 3's UpSampling2D.
It takes float32 pixels; their conversion is timed with it. Writes
`benchmarks/reference/<machine>/onnx-graph.{md,json}`.
"""

from __future__ import annotations

import datetime
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import keras
import numpy as np

from benchmarks.reporting import REFERENCE, named, page, spelled, steadiness, table, write_report
from converters.onnx.conversion import OPSET, OnnxPrecision, to_onnx
from unet_edge.model_files.read_graph import read_graph
from unet_edge.spec import ModelSpec, Normalisation
from unet_edge.system.captured_output import captured_output
from unet_edge.system.timing import gemm_ms, machine
from unet_edge.training.models import build
from unet_edge.training.settings.network import Network

_WARM_UP = 5
PRECISIONS: tuple[OnnxPrecision, ...] = ("float32", "float16")
"""The precisions to compare. int8 is left out: it changes the arithmetic, not only the graph."""


@click.command()
@click.option("--alpha", type=float, default=1.0, show_default=True, help="Width of the encoder.")
@click.option("--runs", type=click.IntRange(10), default=60, show_default=True, help="Pairs.")
@click.option(
    "--output", type=click.Path(path_type=Path), default=REFERENCE, help="Folder of the report."
)
def main(alpha: float, runs: int, output: Path) -> None:
    """Convert both ways, check that the scores agree, measure, and write the report."""
    keras.utils.set_random_seed(0)
    model = build(Network(alpha=alpha), 2, Normalisation())
    before = gemm_ms()
    rows = [row for size in (224, 512) for row in compare(model, size, runs)]
    facts = {**machine(), **_versions()}
    report = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": facts,
        "alpha": alpha,
        "pairs": runs,
        "gemm_before_ms": before,
        "gemm_after_ms": gemm_ms(),
        "rows": rows,
    }
    target = named(output, facts, "onnx-graph")
    write_report(target, report, markdown(report))
    print(markdown(report))
    print(f"written: {target}.md and .json")


def compare(model: Any, size: int, runs: int) -> list[dict[str, Any]]:
    """A row for the plain file and for each of ours, for pictures of `size` by `size` px.

    Times are in ms. `ratio` holds the quartiles over all pairs of a file's time divided by the
    plain file's. Raises ValueError when the scores differ by more than rounding.
    """
    files = {"plain tf2onnx": _plain(model, size, OPSET)}
    spec = ModelSpec(size, size, ("background", "target"))
    for precision in PRECISIONS:
        files[f"ours, {precision}"] = to_onnx(model, spec, precision)
    pixels = np.random.default_rng(0).integers(0, 256, (1, size, size, 3), np.uint8)
    calls = {name: _call(data, pixels) for name, data in files.items()}
    plain, *own = calls
    expected = calls[plain]()
    # Rounding of thirty layers, in float32 and with weights of 11 bits.
    for name, tolerance in zip(own, (1e-4, 0.01), strict=True):
        error = abs(calls[name]() - expected).max()
        if error > tolerance * abs(expected).max():
            raise ValueError(f"the scores of {name} and {plain} differ by {error:g}")
    times = _alternate(calls, runs)
    rows = []
    for name, data in files.items():
        ratio = np.quantile(times[name] / times[plain], (0.25, 0.5, 0.75))
        graph = read_graph(data, "onnx", name)
        rows.append(
            {
                "file": name,
                "size": size,
                "bytes": len(data),
                "operators": {op.name: op.count for op in graph.operators},
                "operators_after_loading": _loaded(data),
                "median_ms": float(np.median(times[name])),
                "min_ms": float(times[name].min()),
                "ratio": [float(part) for part in ratio],
            }
        )
    return rows


def _plain(model: Any, size: int, opset: int) -> bytes:
    with captured_output():
        import tensorflow as tf
        import tf2onnx

        signature = [tf.TensorSpec((1, size, size, 3), tf.float32, name="pixels")]
        proto, _ = tf2onnx.convert.from_keras(model, input_signature=signature, opset=opset)
    return bytes(proto.SerializeToString())


def _session(data: bytes, optimised: Path | None = None) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if optimised is not None:
        options.optimized_model_filepath = str(optimised)
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def _call(data: bytes, pixels: Any) -> Callable[[], Any]:
    session = _session(data)
    (source,) = session.get_inputs()
    if source.type == "tensor(uint8)":
        return lambda: session.run(None, {source.name: pixels})[0]
    return lambda: session.run(None, {source.name: pixels.astype(np.float32)})[0]


def _loaded(data: bytes) -> dict[str, int]:
    """How often each operator occurs after onnxruntime has optimised the file on loading."""
    import tempfile

    import onnx

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "loaded.onnx")
        _session(data, path)
        return dict(sorted(Counter(node.op_type for node in onnx.load(path).graph.node).items()))


def _alternate(calls: dict[str, Callable[[], Any]], runs: int) -> dict[str, Any]:
    """Times of each call in ms; calls take turns, forwards and backwards."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(-_WARM_UP, runs):
        for name in list(calls) if turn % 2 else reversed(calls):
            started = time.perf_counter_ns()
            calls[name]()
            if turn >= 0:
                times[name].append((time.perf_counter_ns() - started) / 1e6)
    return {name: np.array(laps) for name, laps in times.items()}


def _versions() -> dict[str, str]:
    import importlib.metadata

    return {name: importlib.metadata.version(name) for name in ("onnxruntime", "tf2onnx")}


def markdown(report: dict[str, Any]) -> str:
    """The report as a page."""
    facts = spelled(report["machine"])
    rows = [
        (
            row["size"],
            row["file"],
            f"{row['bytes'] / 1e6:.2f}",
            f"{row['median_ms']:.1f}",
            f"{row['min_ms']:.1f}",
            "{1:.3f} ({0:.3f} to {2:.3f})".format(*row["ratio"]),
            sum(row["operators"].values()),
            sum(row["operators_after_loading"].values()),
        )
        for row in report["rows"]
    ]
    headers = ["px", "file", "MB", "ms", "fastest", "/ plain", "operators", "once loaded"]
    return page(
        "# Our ONNX graph against a plain tf2onnx export",
        f"Made by `python -m benchmarks.onnx_graph` on {report['date']}. Machine: {facts}.",
        f"The default network at alpha {report['alpha']}, random weights, one thread, "
        f"{report['pairs']} alternating pairs. ms: median; / plain: median and quartiles of the "
        f"pairs' ratios. {steadiness(report)} Other work on the machine changes the times; the "
        "quartiles show how far it changes the ratio.",
        table(rows, headers),
    )


if __name__ == "__main__":
    main()
