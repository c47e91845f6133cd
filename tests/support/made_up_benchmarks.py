"""Benchmark results with made-up times."""

from __future__ import annotations

import numpy as np

from unet_edge.benchmarking.conditions import Conditions
from unet_edge.benchmarking.mask_scores import MaskScores
from unet_edge.benchmarking.results import (
    TOTAL,
    BenchmarkResult,
    Measurement,
    ModelResult,
    Round,
)

CALM = Conditions(3.0, 10.0, 5.0, 8.0, (1500.0,), "ondemand", 45.0, (), 0.0)
STAGE_MS = {"decode": 4.0, "place": 1.0, "infer": 12.0, "mask": 0.5, "restore": 0.5}
FILES = ("model-float32.tflite", "model-int8.tflite", "model-int8.onnx")
MACHINE = {
    "model": "Pi 5", "architecture": "aarch64", "int8": "ARM with dotprod", "cores": 4,
    "memory_gib": 7.9, "system": "Linux", "python": "3.11", "numpy": "2",
}  # fmt: skip


def scores(agreement: float, miou: float = 0.98) -> MaskScores:
    """Scores of two pictures, the second of which is worse."""
    return MaskScores(
        agreement,
        agreement - 0.01,
        miou,
        (miou, None),
        {"a.png": agreement, "b.png": 0.99 * agreement},
    )


def made_up(
    seed: int,
    slower: dict[tuple[str, str], float] | None = None,
    *,
    rounds: int = 6,
    noise: float = 0.01,
) -> BenchmarkResult:
    """A run of FILES; `slower` has factors for (file, stage).

    A round's times vary by a factor that all stages share, and each by one of its own; `noise` is
    the standard deviation of both.
    """
    random = np.random.default_rng(seed)
    files = []
    for name in FILES:
        entries = []
        for _ in range(rounds):
            shared = random.normal(0, noise)
            stages = {
                stage: ms
                * (slower or {}).get((name, stage), 1.0)
                * float(np.exp(shared + random.normal(0, noise)))
                for stage, ms in STAGE_MS.items()
            }
            total = sum(stages.values())
            entries.append(Round(30.0, 40.0, stages | {TOTAL: total}, (total,) * 10))
        figures = {
            stage: dict.fromkeys(("p50", "p90", "p99", "min"), float(np.median(times)))
            for stage in (*STAGE_MS, TOTAL)
            for times in [[entry.stages[stage] for entry in entries]]
        }
        cost = Measurement("x 1", 2, 30.0, figures, 60.0, scores(0.999), None, tuple(entries))
        kind, precision = name.rpartition(".")[2], name.split("-")[1].split(".")[0]
        files.append(ModelResult(name, kind, precision, 9, "0" * 64, 0.99, 0.999, 0.8, cost))
    return BenchmarkResult(
        model="cells",
        height=96,
        width=96,
        date="2026-12-01",
        macs=10**9,
        machine=MACHINE,
        instructions=("NEON", "dotprod"),
        matrix_kernel="NEOVERSEN1",
        gemm_before_ms=10.0,
        gemm_after_ms=10.0,
        threads=(2,),
        runs=10,
        rounds=rounds,
        pictures=8,
        pictures_sha256="0" * 64,
        sizes=("640x480",),
        conditions=(CALM,) * (rounds + 1),
        void=(),
        environment={},
        keras=ModelResult("model.keras", "keras", "float32", None, "0" * 64, None, None, 0.8),
        files=tuple(files),
    )
