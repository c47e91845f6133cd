"""A benchmark result as tables of text, for the terminal and for Markdown."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from tabulate import tabulate

from unet_edge.benchmarking.conditions import core_gflops
from unet_edge.benchmarking.results import TOTAL, BenchmarkResult, ModelResult
from unet_edge.benchmarking.sustained import Sustained
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
    "of limit %",
    "peak MiB",
    "agreement %",
    "boundary %",
    "worst %",
    "held out %",
    "mask mIoU",
    "label mIoU",
    "× Keras",
    "infer × Keras",
)
CONDITION_HEADERS = (
    "when",
    "one thread, ms",
    "all threads, ms",
    "copy, GB/s",
    "copy by all, GB/s",
    "clock, MHz",
    "governor",
    "°C",
    "throttling",
    "other programs",
)
STAGE_HEADERS = ("p50 / p90 / p99, ms", *STAGES)

# The columns that a narrow terminal can do without, the least needed first.
_LEAST_NEEDED = (
    "of limit %",
    "infer × Keras",
    "worst %",
    "boundary %",
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
        [row.label, *(_percentiles(row.cost.stages[stage]) for stage in STAGES)]
        for row in result.rows
        if row.cost
    ]


def class_tables(
    result: BenchmarkResult, classes: Sequence[str]
) -> list[tuple[str, list[str], list[list[str]]]]:
    """The IoU of each class by file: against Keras' masks, and against true labels if given.

    Each table is its caption, its headers and its rows.
    """
    tables = []
    for caption, name in (
        ("IoU with Keras' masks of the golden pictures", "golden"),
        ("IoU with the true labels", "labels"),
    ):
        rows = [
            [row.label, *("–" if iou is None else f"{iou:.4f}" for iou in scores.class_iou)]
            for row in result.rows
            if row.cost and (scores := getattr(row.cost, name))
        ]
        if rows:
            tables.append((caption, ["file", *classes], rows))
    return tables


def condition_rows(result: BenchmarkResult) -> list[list[str]]:
    """The cells under CONDITION_HEADERS before the first round and after each."""
    return [
        [
            f"after round {index}" + (", left out" if index - 1 in result.void else "")
            if index
            else "before",
            number(each.core_ms),
            number(each.gemm_ms),
            number(each.copy_gb_s),
            number(each.copy_all_gb_s),
            "–" if each.mhz is None else f"{statistics.mean(each.mhz):.0f}",
            each.governor or "–",
            "–" if each.temperature is None else f"{each.temperature:.0f}",
            ", ".join(each.throttling or ()) or "–",
            "–" if each.others is None else f"{each.others:.2f}",
        ]
        for index, each in enumerate(result.conditions)
    ]


def sustained_text(sustained: Sustained) -> str:
    """What a file did over minutes, in a sentence."""
    text = (
        f"{sustained.label}, {number(sustained.minutes)} minutes without a pause: "
        f"{number(sustained.cold_rate)} pictures a second at first, "
        f"{number(sustained.warm_rate)} in the last quarter"
    )
    first, last = sustained.samples[0], sustained.samples[-1]
    if first.temperature is not None and last.temperature is not None:
        text += f"; {first.temperature:.0f} to {last.temperature:.0f} °C"
    if first.mhz is not None and last.mhz is not None:
        text += f"; {first.mhz:.0f} to {last.mhz:.0f} MHz"
    return text + (f"; {', '.join(sustained.throttled)}" if sustained.throttled else "")


def _percentiles(figures: dict[str, float]) -> str:
    return " / ".join(number(figures[name]) for name in ("p50", "p90", "p99"))


def warnings(result: BenchmarkResult) -> list[str]:
    """Warnings, a sentence each: files that did not run or missed their floor, unsteady speed."""
    not_run: dict[str, list[str]] = {}
    for row in result.rows:
        if row.error:
            not_run.setdefault(row.error, []).append(row.label)
    lines = [f"{', '.join(names)} did not run: {error}" for error, names in not_run.items()]
    lines += [
        f"{row.label} is UNDER ITS FLOOR on {result.processor}: {percent(row.cost.agreement)} % "
        f"of pixels as Keras, but the floor is {percent(row.floor)} %"
        for row in result.files
        if row.cost and row.floor and not row.kept_floor
    ]
    if core := result.environment.get("OPENBLAS_CORETYPE"):
        lines.append(
            f"OPENBLAS_CORETYPE is {core}: NumPy's matrix products are not as fast as this machine "
            "can be; unset it and measure again"
        )
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
        f"measured on {result.processor}"
        + (f" with {', '.join(result.instructions)}" if result.instructions else ""),
        f"{counted(result.rounds, 'round')}, each in another order, "
        f"{counted(result.runs, 'run')} in a process for each, over "
        f"{counted(result.pictures, 'picture')} ({', '.join(result.sizes)} px), "
        f"{_threads(result.threads)}; Keras chooses its own number",
        f"p50, p90 and p99 are for a complete picture: {', '.join(STAGES)}",
        "± % is half the 95 % interval of p50 over the rounds, × Keras is compared within rounds",
        "agreement and mask mIoU are against Keras' masks of the golden pictures, measured here; "
        "boundary is agreement near the boundaries of classes, worst that of the worst picture",
        _accuracy(result),
        *_limit(result),
    ]


def _limit(result: BenchmarkResult) -> list[str]:
    """What the share of the limit is a share of."""
    if result.macs is None:
        return []
    core = core_gflops(statistics.median(entry.core_ms for entry in result.conditions))
    kernel = f", OpenBLAS {result.matrix_kernel}" if result.matrix_kernel else ""
    return [
        f"of limit: the model's {number(2 * result.macs / 1e9)} billion operations during "
        "inference, as a share of what NumPy's float32 matrix products do on as many threads "
        f"({number(core)} billion a second on one{kernel})"
    ]


def _threads(numbers: Sequence[int]) -> str:
    *others, last = numbers
    return (
        f"{', '.join(map(str, others))} and {last} threads" if others else counted(last, "thread")
    )


def _accuracy(result: BenchmarkResult) -> str:
    """Where the figures of accuracy come from."""
    if scored := [row.cost.labels for row in result.rows if row.cost and row.cost.labels]:
        pictures = counted(len(scored[0].pictures), "picture")
        return (
            f"label mIoU is against the true labels of {pictures}, measured here; held out was "
            "measured at export over the held-out pictures"
        )
    return "held out and label mIoU were measured at export over the held-out pictures"


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
    if result.sustained:
        remarks.insert(0, f"sustained: {sustained_text(result.sustained)}")
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
    labels = row.cost.labels if row.cost else None
    measured = any(each.cost and each.cost.labels for each in result.rows)
    miou = labels.miou if labels else None if measured else row.label_miou
    label = "–" if miou is None else f"{miou:.4f}"
    held_out = "–" if row.held_out is None else percent(row.held_out)
    size = "–" if row.bytes is None else number(row.bytes / 1e6)
    if row.cost is None:
        return [row.label, size, *["–"] * 11, held_out, "–", label, "–", "–"]
    total = row.cost.stages[TOTAL]
    speedups = (result.speedup(row), result.speedup(row, "infer"))
    golden, limit = row.cost.golden, result.share_of_limit(row)
    return [
        row.label,
        size,
        number(row.cost.load_ms),
        number(total["p50"]),
        "–" if math.isnan(row.cost.spread) else f"{100 * row.cost.spread:.1f}",
        *(number(total[name]) for name in ("p90", "p99")),
        number(row.cost.stages["infer"]["p50"]),
        "–" if limit is None else number(100 * limit),
        f"{row.cost.peak_memory_mib:.0f}",
        percent(row.cost.agreement) + ("" if row.kept_floor else " !"),
        "–" if golden.boundary is None else percent(golden.boundary),
        percent(golden.worst),
        held_out,
        f"{golden.miou:.4f}",
        label,
        *("–" if speedup is None else number(speedup.value) for speedup in speedups),
    ]


def number(value: float) -> str:
    """A number with three significant digits, or all digits before the point."""
    return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2}f}"
