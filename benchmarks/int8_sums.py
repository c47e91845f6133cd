"""Measure the cost of right int8 sums in ONNX Runtime: bounded kernels and the session option.

    python -m benchmarks.int8_sums RUN [RUN ...]

Converts each training run to int8 .onnx as `unet-edge export` does, with plain and with bounded
kernels. Opens each file with ONNX Runtime's defaults and with the session option against 16-bit
sums. Times all four in turns on one thread, and compares them with Keras on all validation
pictures, on the model's grid. Writes
`benchmarks/reference/<machine>/int8-sums-<kind of processor>.{md,json}`.
"""

from __future__ import annotations

import itertools
import statistics
import time
from pathlib import Path
from typing import Any, get_args

import click
import numpy as np

from benchmarks.reporting import REFERENCE, named, page, spelled, table, write_report
from converters.float_layers import float_layers_of
from converters.int8.calibration import calibration_grids
from converters.int8.fitting import fit_to_int8
from converters.int8.kernels import Rounding
from converters.onnx.conversion import to_onnx
from unet_edge.images.decoding import grid_of
from unet_edge.images.placement import Labels, Pixels
from unet_edge.percent import percent
from unet_edge.runtime.argmax import to_labels
from unet_edge.runtime.backends.int8_sums import CAREFUL, sums_saturate
from unet_edge.runtime.backends.keras_model import KerasBackend, load_keras
from unet_edge.runtime.segmenter import KERAS_MODEL, SPEC_FILE, read_spec
from unet_edge.system.progress import progress
from unet_edge.system.timing import machine
from unet_edge.training.config import run_dataset

_ROUNDS = 3
_CALIBRATION = 100


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--output", type=click.Path(path_type=Path), default=REFERENCE)
def main(runs: tuple[Path, ...], output: Path) -> None:
    """Measure each run's four sessions and write the report of this machine."""
    facts = machine()
    rows = {run.name: _measured(run) for run in runs}
    report = {"machine": facts, "saturates": sums_saturate(), "runs": rows}
    target = named(output, facts, f"int8-sums-{facts['int8'].lower().replace(' ', '-')}")
    write_report(target, report, _markdown(report))
    print(f"written: {target}.md and .json")


def _measured(run: Path) -> list[dict[str, Any]]:
    """A row for each rounding and option: agreement, worst picture, ms, and ratio to the first."""
    model, spec = load_keras(run / KERAS_MODEL), read_spec(run / SPEC_FILE)
    dataset = run_dataset(run)
    held_out = [grid_of(sample.image, spec) for sample in dataset.validation]
    reference = KerasBackend(model)
    expected = [reference.labels(grid) for grid in progress(held_out, "Keras reference")]
    grids = calibration_grids(dataset, spec, count=_CALIBRATION, seed=0)
    sessions: dict[tuple[str, str], Any] = {}
    for rounding in get_args(Rounding):
        float_layers = float_layers_of(model, "onnx")
        fitted = fit_to_int8(model, grids, float_layers, rounding=rounding)
        data = to_onnx(fitted, spec, "int8", grids, rounding, float_layers)
        sessions |= {(rounding, name): _session(data, name) for name in ("default", "option")}
    return _timed(sessions, held_out, expected)


def _session(data: bytes, option: str) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    if option == "option":
        options.add_session_config_entry(*CAREFUL)
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def _timed(
    sessions: dict[tuple[str, str], Any], grids: list[Pixels], expected: list[Labels]
) -> list[dict[str, Any]]:
    times: dict[tuple[str, str], list[float]] = {key: [] for key in sessions}
    same: dict[tuple[str, str], list[float]] = {key: [] for key in sessions}
    for session, grid in itertools.product(sessions.values(), grids[:2]):
        session.run(None, {"pixels": grid[None]})
    turns = list(sessions.items())
    for turn in progress(range(_ROUNDS), "timing"):
        for index, (grid, labels) in enumerate(zip(grids, expected, strict=True)):
            # Forwards and backwards: no session always follows the same other one.
            for key, session in turns if index % 2 else reversed(turns):
                started = time.perf_counter()
                (scores,) = session.run(None, {"pixels": grid[None]})
                times[key].append(1e3 * (time.perf_counter() - started))
                if turn == 0:
                    same[key].append(float((to_labels(scores[0]) == labels).mean()))
    first = times["plain", "default"]
    return [
        {
            "kernels": kernels,
            "session": option,
            "agreement": statistics.mean(same[kernels, option]),
            "worst": min(same[kernels, option]),
            "ms": statistics.median(times[kernels, option]),
            "ratio": float(np.median(np.divide(times[kernels, option], first))),
        }
        for kernels, option in sessions
    ]


def _markdown(report: dict[str, Any]) -> str:
    saturates = "saturate" if report["saturates"] else "do not saturate"
    parts = [
        "# int8 sums in ONNX Runtime: bounded kernels and the session option",
        f"Made by `python -m benchmarks.int8_sums`. Machine: {spelled(report['machine'])}. "
        f"By default, sums {saturates} here.",
        f'"option" is `{CAREFUL[0]}={CAREFUL[1]}`. Agreement is the share of pixels with Keras\' '
        "label on the model's grid, over all validation pictures. Times are medians with one "
        "thread; the ratio is the median of ratios on the same picture.",
    ]
    for name, rows in report["runs"].items():
        cells = [
            (
                row["kernels"],
                row["session"],
                f"{percent(row['agreement'])} %",
                f"{percent(row['worst'])} %",
                f"{row['ms']:.2f}",
                f"{row['ratio']:.2f}",
            )
            for row in rows
        ]
        headers = ["kernels", "session", "as Keras", "worst picture", "ms", "× plain, default"]
        parts += [f"## {name}", table(cells, headers)]
    return page(*parts)


if __name__ == "__main__":
    main()
