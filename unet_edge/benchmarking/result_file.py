"""benchmark.json: the figures of a benchmark, read again for a comparison."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from unet_edge.benchmarking.results import SCHEMA, BenchmarkResult
from unet_edge.bundle.json_document import published_schema, read_document
from unet_edge.errors import ConfigError

_MOST = 2**24  # bytes; seven models in 60 rounds have about 200 kB


@functools.cache
def benchmark_schema() -> dict[str, Any]:
    """The published JSON Schema (draft 2020-12) of benchmark.json."""
    return published_schema("unet_edge.benchmarking", "benchmark.schema.json")


def is_benchmark_result(data: bytes) -> bool:
    """Whether a file is the JSON of a BenchmarkResult, of this or of an older version."""
    try:
        figures = json.loads(data)
    except (ValueError, RecursionError):
        return False
    return isinstance(figures, dict) and {"gemm_before_ms", "files", "keras"} <= set(figures)


def read_result(path: Path) -> BenchmarkResult:
    """Read what 'unet-edge benchmark' wrote. Raises ConfigError for any other file."""
    data = read_document(
        path,
        benchmark_schema(),
        version=SCHEMA,
        most=_MOST,
        again="measure again: unet-edge benchmark BUNDLE",
        error=ConfigError,
    )
    return BenchmarkResult.from_dict(data)
