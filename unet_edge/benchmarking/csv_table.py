"""A benchmark result as CSV: a row for each variant of each file, for spreadsheets and scripts."""

from __future__ import annotations

import csv
import io
from typing import Any

from unet_edge.benchmarking.results import TOTAL, BenchmarkResult, Measurement, ModelResult
from unet_edge.runtime.segmenter import STAGES

_PERCENTILES = ("p50", "p90", "p99", "min")


_FIRST = ("date", "machine", "model")


def is_csv_table(data: bytes) -> bool:
    """Whether a file was written by `csv_table`."""
    return data.startswith(",".join(_FIRST).encode())


def csv_table(result: BenchmarkResult) -> str:
    """The table with a header. Times are in ms, memory in MiB, shares 0..1; unknown is empty."""
    rows = [_row(result, row) for row in result.rows]
    text = io.StringIO()
    names = dict.fromkeys(name for row in rows for name in row)
    writer = csv.DictWriter(text, list(names), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _row(result: BenchmarkResult, row: ModelResult) -> dict[str, Any]:
    cells: dict[str, Any] = {
        "date": result.date,
        "machine": result.processor,
        "model": result.model,
        "height": result.height,
        "width": result.width,
        "file": row.name,
        "variant": row.variant,
        "format": row.format,
        "precision": row.precision,
        "bytes": row.bytes,
        "floor": row.floor,
        "held_out": row.held_out,
        "label_miou_at_export": row.label_miou,
        "error": row.error,
    }
    if row.cost is not None:
        cells |= _costs(row.cost)
        speedup = result.speedup(row)
        cells |= {
            "share_of_limit": result.share_of_limit(row),
            "times_keras": speedup.value if speedup else None,
        }
    return cells


def _costs(cost: Measurement) -> dict[str, Any]:
    cells: dict[str, Any] = {
        "interpreter": cost.backend,
        "threads": cost.threads,
        "load_ms": cost.load_ms,
        "first_ms": cost.first_ms,
        "pictures_a_second": cost.rate,
        "peak_memory_mib": cost.peak_memory_mib,
    }
    for stage in (TOTAL, *STAGES):
        cells |= {f"{stage}_{name}_ms": cost.stages[stage][name] for name in _PERCENTILES}
    for percentile in (50, 90, 99):
        low, high = cost.interval(percentile)
        cells |= {f"total_p{percentile}_low_ms": low, f"total_p{percentile}_high_ms": high}
    for name, scores in (("golden", cost.golden), ("labels", cost.labels)):
        if scores is not None:
            cells |= {
                f"{name}_agreement": scores.agreement,
                f"{name}_boundary": scores.boundary,
                f"{name}_worst": scores.worst,
                f"{name}_worst_picture": scores.worst_picture,
                f"{name}_miou": scores.miou,
            }
    return cells
