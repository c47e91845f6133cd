"""A benchmark result as tables of text, for the terminal and for Markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tabulate import tabulate

from unet_edge.benchmarking.results import TOTAL, BenchmarkResult, ModelResult
from unet_edge.percent import percent
from unet_edge.runtime.segmenter import STAGES
from unet_edge.system.counting import counted

COST_HEADERS = (
    "file",
    "MB",
    "load ms",
    "p50 ms",
    "± %",
    "p90 ms",
    "p99 ms",
    "infer ms",
    "peak MiB",
    "agreement %",
    "held out %",
    "mask mIoU",
    "label mIoU",
    "× Keras",
    "infer × Keras",
)
STAGE_HEADERS = ("p50 / p90 / p99, ms", *STAGES)

# The columns that a narrow terminal can do without, the least needed first.
_LEAST_NEEDED = (
    "infer × Keras",
    "label mIoU",
    "held out %",
    "mask mIoU",
    "p99 ms",
    "load ms",
    "p90 ms",
    "± %",
    "× Keras",
    "restore",
    "place",
    "mask",
)


def cost_rows(result: BenchmarkResult) -> list[list[str]]:
    """The cells under COST_HEADERS for each model, Keras first."""
    return [_cost_row(result, row) for row in result.rows]


def stage_rows(result: BenchmarkResult) -> list[list[str]]:
    """The cells under STAGE_HEADERS for each model that ran."""
    return [
        [row.name, *(_percentiles(row.cost.stages[stage]) for stage in STAGES)]
        for row in result.rows
        if row.cost
    ]


def _percentiles(figures: dict[str, float]) -> str:
    return " / ".join(number(figures[name]) for name in ("p50", "p90", "p99"))


def warnings(result: BenchmarkResult) -> list[str]:
    """Warnings, a sentence each: files that did not run or missed their floor, unsteady speed."""
    not_run: dict[str, list[str]] = {}
    for row in result.rows:
        if row.error:
            not_run.setdefault(row.error, []).append(row.name)
    lines = [f"{', '.join(names)} did not run: {error}" for error, names in not_run.items()]
    lines += [
        f"{row.name} is UNDER ITS FLOOR on {result.processor}: {percent(row.cost.agreement)} % "
        f"of pixels as Keras, but the floor is {percent(row.floor)} %"
        for row in result.files
        if row.cost and row.floor and not row.kept_floor
    ]
    if result.void:
        rounds = ", ".join(str(number + 1) for number in result.void)
        noun = "round" if len(result.void) == 1 else "rounds"
        lines.append(
            f"the machine was throttled or slower in {noun} {rounds} of {result.rounds}, which "
            "counts in no time"
        )
    if busy := result.busy:
        lines.append(
            f"other programs used up to {busy:.1f} processors meanwhile: measure again when "
            "nothing else runs"
        )
    if result.disturbed:
        flags = sorted({flag for entry in result.conditions for flag in entry.throttling or ()})
        times = [entry.core_ms for entry in result.conditions]
        lines.append(
            "this machine's speed changed during the measurement (the same work took "
            f"{number(min(times))} to {number(max(times))} ms"
            + (f"; it says: {', '.join(flags)}" if flags else "")
            + "): measure again when it is cool and nothing else runs"
        )
    return lines


def conditions(result: BenchmarkResult) -> list[str]:
    """How the figures were measured, a sentence each."""
    return [
        f"measured on {result.processor}",
        f"{counted(result.rounds, 'round')}, each beginning with another file, "
        f"{counted(result.runs, 'run')} in a process for each, over "
        f"{counted(result.pictures, 'picture')} ({', '.join(result.sizes)} px), "
        f"{counted(result.threads, 'thread')}; Keras chooses its own number",
        f"p50, p90 and p99 are for a complete picture: {', '.join(STAGES)}",
        "± % is half the 95 % interval of p50 over the rounds, × Keras is compared within rounds",
        "agreement and mask mIoU are against Keras' masks of the golden pictures, measured here; "
        "held out and label mIoU were measured at export over the held-out pictures",
    ]


def tables(result: BenchmarkResult, style: str = "simple", width: int | None = None) -> str:
    """Both tables, warnings and conditions, in a style of tabulate ("github" is Markdown).

    In `width` characters, the least needed columns are left out until a table fits, and the last
    remark names them.
    """
    parts: list[str] = []
    left_out: list[str] = []
    for headers, rows in ((COST_HEADERS, cost_rows(result)), (STAGE_HEADERS, stage_rows(result))):
        if not rows:
            continue
        shown = list(headers)
        text = _table(headers, rows, shown, style)
        for header in _least_needed(headers, rows):
            if width is None or max(map(len, text.splitlines())) <= width:
                break
            shown.remove(header)
            left_out.append(header)
            text = _table(headers, rows, shown, style)
        parts.append(text)
    remarks = [*warnings(result), *conditions(result)]
    if left_out:
        names = ", ".join(left_out)
        remarks.append(f"columns left out to fit the terminal (-o and --json have them): {names}")
    return "\n\n".join([*parts, "\n".join(f"- {remark}" for remark in remarks)])


def _least_needed(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The columns to leave out, in this order: those without any figure come first."""
    droppable = [header for header in _LEAST_NEEDED if header in headers]
    return sorted(
        droppable, key=lambda header: any(row[headers.index(header)] != "–" for row in rows)
    )


def _table(
    headers: Sequence[str], rows: Sequence[Sequence[str]], shown: Sequence[str], style: str
) -> str:
    """The columns `shown` of a table."""
    indices = [index for index, header in enumerate(headers) if header in shown]
    text: str = tabulate(
        [[row[index] for index in indices] for row in rows],
        [headers[index] for index in indices],
        tablefmt=style,
        disable_numparse=True,
        colalign=("left", *["right"] * (len(indices) - 1)),
    )
    return text


def _cost_row(result: BenchmarkResult, row: ModelResult) -> list[str]:
    label = "–" if row.label_miou is None else f"{row.label_miou:.4f}"
    held_out = "–" if row.held_out is None else percent(row.held_out)
    size = "–" if row.bytes is None else number(row.bytes / 1e6)
    if row.cost is None:
        return [row.name, size, *["–"] * 8, held_out, "–", label, "–", "–"]
    total = row.cost.stages[TOTAL]
    speedups = (result.speedup(row), result.speedup(row, "infer"))
    return [
        row.name,
        size,
        number(row.cost.load_ms),
        number(total["p50"]),
        "–" if math.isnan(row.cost.spread) else f"{100 * row.cost.spread:.1f}",
        *(number(total[name]) for name in ("p90", "p99")),
        number(row.cost.stages["infer"]["p50"]),
        f"{row.cost.peak_memory_mib:.0f}",
        percent(row.cost.agreement) + ("" if row.kept_floor else " !"),
        held_out,
        f"{row.cost.mask_miou:.4f}",
        label,
        *("–" if speedup is None else number(speedup.value) for speedup in speedups),
    ]


def number(value: float) -> str:
    """A number with three significant digits, or all digits before the point."""
    return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2}f}"
