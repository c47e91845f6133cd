"""Time the ways to run a .tflite file in LiteRT's Python package.

    python -m benchmarks.litert BUNDLE                   # its int8 and float32 files
    python -m benchmarks.litert BUNDLE --runs 100 --starts 20

The ways take turns, one call each, in one process on one thread, from pixels to labels. The result
is the median of the ratios to the interpreter with `set_tensor` and `get_tensor`, which our
backend uses. Starts are timed in new processes, in turns too, from the start of Python to the
first labels. A first start, which does not count, fills the weight cache.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from tabulate import tabulate

from unet_edge.bundle.bundle import Bundle
from unet_edge.images.placement import Pixels
from unet_edge.runtime.argmax import to_labels
from unet_edge.system.timing import gemm_ms, machine, peak_memory

Run = Callable[[Pixels], NDArray[Any]]
WARM_UP = 5


def interpreter(path: Path) -> Run:
    """`set_tensor` and `get_tensor`: they copy the pixels and the scores."""
    built, source, target = _interpreter(path)

    def run(pixels: Pixels) -> NDArray[Any]:
        built.set_tensor(source, pixels[None])
        built.invoke()
        return to_labels(built.get_tensor(target)[0])

    return run


def views(path: Path) -> Run:
    """`tensor()`: pixels are written into the input's memory, scores read from the output's."""
    built, source, target = _interpreter(path)
    input_view, output_view = built.tensor(source), built.tensor(target)

    def run(pixels: Pixels) -> NDArray[Any]:
        input_view()[0] = pixels
        built.invoke()  # raises an error while anybody holds a view
        return to_labels(output_view()[0])

    return run


def compiled(path: Path) -> Run:
    """CompiledModel on the CPU."""
    return _compiled(path, "")


def cached(path: Path) -> Run:
    """CompiledModel with XNNPACK's packed weights cached in a file."""
    return _compiled(path, str(Path(tempfile.gettempdir()) / f"unet-edge-{path.stem}.xnnpack"))


WAYS: dict[str, Callable[[Path], Run]] = {
    "set_tensor, get_tensor": interpreter,
    "tensor() views": views,
    "CompiledModel": compiled,
    "CompiledModel, weight cache": cached,
}


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--runs", type=click.IntRange(5), default=40, show_default=True)
@click.option("--starts", type=click.IntRange(3), default=10, show_default=True)
def main(bundle: Path, runs: int, starts: int) -> None:
    """Measure each way on the bundle's int8 and float32 .tflite files, and print tables."""
    opened = Bundle.open(bundle)
    print(json.dumps({**machine(), "gemm_ms": gemm_ms()}))
    for entry in opened.files:
        if entry.format != "tflite" or entry.precision not in ("int8", "float32"):
            continue
        path, spec = bundle / entry.name, opened.spec
        pixels = np.random.default_rng(0).integers(0, 256, (spec.height, spec.width, 3), np.uint8)
        calls, cold_starts = _calls(path, pixels, runs), _starts(path, starts)
        first = next(iter(WAYS))
        rows = []
        for name in WAYS:
            steady = [a / b for a, b in zip(calls[name], calls[first], strict=True)]
            measured = cold_starts[name]
            cold = [a["ms"] / b["ms"] for a, b in zip(measured, cold_starts[first], strict=True)]
            rows.append(
                (
                    name,
                    f"{statistics.median(calls[name]):.2f}",
                    f"{statistics.median(steady):.3f}",
                    f"{statistics.median(start['ms'] for start in measured):.0f}",
                    f"{statistics.median(cold):.3f}",
                    f"{statistics.median(start['mib'] for start in measured):.0f}",
                )
            )
        headers = [f"{entry.name}, {spec.height}x{spec.width}", "call ms", "×", "start ms", "×"]
        print(tabulate(rows, [*headers, "peak MiB"], disable_numparse=True))
    print(f"medians of {runs} calls and {starts} starts; gemm {gemm_ms():.1f} ms at the end")


def _calls(path: Path, pixels: Pixels, runs: int) -> dict[str, list[float]]:
    """Times of each way's calls in ms. Raises ValueError when the labels differ."""
    ways = {name: make(path) for name, make in WAYS.items()}
    expected = ways[next(iter(ways))](pixels)
    for name, run in ways.items():
        for _ in range(WARM_UP):
            labels = run(pixels)
        if not np.array_equal(labels, expected):
            raise ValueError(f"{name}: {(labels != expected).sum()} labels differ")
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(runs):
        for name in ways if number % 2 == 0 else reversed(ways):
            start = time.perf_counter_ns()
            ways[name](pixels)
            times[name].append((time.perf_counter_ns() - start) / 1e6)
    return times


def _starts(path: Path, starts: int) -> dict[str, list[dict[str, float]]]:
    """Wall-clock time (ms) and peak memory (MiB) of processes that label one picture."""
    costs: dict[str, list[dict[str, float]]] = {name: [] for name in WAYS}
    for number in range(-1, starts):  # the first start fills caches
        for name in WAYS if number % 2 == 0 else reversed(WAYS):
            start = time.perf_counter_ns()
            child = subprocess.run(
                [sys.executable, "-m", "benchmarks.litert", "--start", name, str(path)],
                capture_output=True,
                check=True,
            )
            milliseconds = (time.perf_counter_ns() - start) / 1e6
            if number >= 0:
                costs[name].append({"ms": milliseconds, "mib": float(child.stdout.split()[-1])})
    return costs


def _start(name: str, path: Path) -> None:
    """Label a picture of zeros and print the peak memory; runs in the child process."""
    spec = Bundle.open(path.parent).spec
    WAYS[name](path)(np.zeros((spec.height, spec.width, 3), np.uint8))
    print(peak_memory())


def _interpreter(path: Path) -> tuple[Any, int, int]:
    from ai_edge_litert.interpreter import Interpreter

    built = Interpreter(model_content=path.read_bytes(), num_threads=1)
    built.allocate_tensors()
    (source,), (target,) = built.get_input_details(), built.get_output_details()
    return built, source["index"], target["index"]


def _compiled(path: Path, weight_cache: str) -> Run:
    from ai_edge_litert.compiled_model import CompiledModel
    from ai_edge_litert.options import CpuOptions, Options

    cpu = CpuOptions(num_threads=1, xnnpack_weight_cache_path=weight_cache)
    model = CompiledModel.from_buffer(path.read_bytes(), options=Options(cpu_options=cpu))
    inputs, outputs = model.create_input_buffers(0), model.create_output_buffers(0)
    (details,) = model.get_output_tensor_details(next(iter(model.get_signature_list()))).values()
    shape, dtype = tuple(details["shape"]), np.dtype(details["dtype"])

    def run(pixels: Pixels) -> NDArray[Any]:
        inputs[0].write(pixels)
        model.run_by_index(0, inputs, outputs)
        scores = outputs[0].read(int(np.prod(shape)), dtype).reshape(shape)
        return to_labels(scores[0])

    return run


if __name__ == "__main__":
    if sys.argv[1:2] == ["--start"]:
        _start(sys.argv[2], Path(sys.argv[3]))
    else:
        main()
