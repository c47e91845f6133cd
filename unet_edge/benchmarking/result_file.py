"""benchmark.json: the figures of a benchmark, read again for a comparison."""

from __future__ import annotations

import functools
import json
from importlib import resources
from pathlib import Path
from typing import Any

from unet_edge.benchmarking.results import KIND, SCHEMA, BenchmarkResult
from unet_edge.bundle.json_schema import first_error
from unet_edge.bundle.manifest import parse_json
from unet_edge.errors import ConfigError
from unet_edge.system.files import read_regular

_MOST = 2**24  # bytes; seven models in 60 rounds have about 200 kB


@functools.cache
def benchmark_schema() -> dict[str, Any]:
    """The published JSON Schema (draft 2020-12) of benchmark.json."""
    text = resources.files("unet_edge.benchmarking").joinpath("benchmark.schema.json").read_bytes()
    schema: dict[str, Any] = json.loads(text)
    return schema


def is_benchmark_result(data: bytes) -> bool:
    """Whether a file is the JSON of a BenchmarkResult, of this or of an older version."""
    try:
        figures = json.loads(data)
    except (ValueError, RecursionError):
        return False
    return isinstance(figures, dict) and {"gemm_before_ms", "files", "keras"} <= set(figures)


def read_result(path: Path) -> BenchmarkResult:
    """Read what 'unet-edge benchmark' wrote. Raises ConfigError for any other file."""
    again = "measure again: unet-edge benchmark BUNDLE"
    try:
        data = parse_json(read_regular(path, _MOST))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror or error}", fix=again) from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not JSON: {error}", fix=again) from error
    if not isinstance(data, dict) or data.get("kind") != KIND:
        raise ConfigError(
            f"{path} is not a file of figures",
            expected="'unet-edge benchmark' of this version writes one",
            fix=again,
        )
    schema = data.get("schema")
    if type(schema) is int and schema > SCHEMA:  # bool is an int
        raise ConfigError(
            f"{path} has schema {schema}",
            expected=f"this version reads up to {SCHEMA}",
            fix="run: pip install --upgrade unet-edge",
        )
    if problem := first_error(data, benchmark_schema()):
        raise ConfigError(f"{path} is malformed: {problem}", fix=again)
    return BenchmarkResult.from_dict(data)
