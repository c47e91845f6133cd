"""A campaign as tables of text, for the terminal and for Markdown."""

from __future__ import annotations

from tabulate import tabulate

from unet_edge.benchmarking.results import TOTAL, Campaign, Row
from unet_edge.percent import percent
from unet_edge.runtime.segmenter import STAGES

COST_HEADERS = (
    "file",
    "MB",
    "load ms",
    "p50 ms",
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


def cost_rows(campaign: Campaign) -> list[list[str]]:
    """One list of texts, under COST_HEADERS, for each model; Keras first."""
    return [_cost_row(campaign, row) for row in campaign.rows]


def stage_rows(campaign: Campaign) -> list[list[str]]:
    """One list of texts, under STAGE_HEADERS, for each model that ran."""
    return [
        [row.name, *(_percentiles(row.cost.stages[stage]) for stage in STAGES)]
        for row in campaign.rows
        if row.cost
    ]


def _percentiles(figures: dict[str, float]) -> str:
    return " / ".join(number(figures[name]) for name in ("p50", "p90", "p99"))


def warnings(campaign: Campaign) -> list[str]:
    """What went wrong, a sentence each: files that did not run or broke their floor, noise."""
    found = [f"{row.name} did not run: {row.error}" for row in campaign.rows if row.error]
    found += [
        f"{row.name} is UNDER ITS FLOOR on {campaign.processor}: {percent(row.cost.agreement)} % "
        f"of pixels as Keras, {percent(row.floor)} % asked for"
        for row in campaign.files
        if row.cost and row.floor and not row.kept_floor
    ]
    if not campaign.steady:
        found.append(
            f"this machine's speed changed meanwhile (a matrix product took "
            f"{number(campaign.gemm_before_ms)} ms before, {number(campaign.gemm_after_ms)} ms "
            "after): measure again when it is cool and nothing else runs"
        )
    return found


def conditions(campaign: Campaign) -> list[str]:
    """How the figures were taken, a sentence each."""
    return [
        f"measured on {campaign.processor}",
        f"{campaign.runs} runs in a process for each, over {campaign.pictures} pictures "
        f"({', '.join(campaign.sizes)} px), {campaign.threads} threads; Keras as many as it likes",
        f"p50, p90 and p99 are of the whole picture: {', '.join(STAGES)}",
        "agreement and mask mIoU are against Keras' masks of the golden pictures, measured here; "
        "held out and label mIoU are the workstation's, over the held-out pictures",
    ]


def tables(campaign: Campaign, style: str = "simple") -> str:
    """Both tables, warnings and conditions, in a style of tabulate's ("github" is Markdown)."""
    parts = [
        tabulate(
            rows,
            headers,
            tablefmt=style,
            disable_numparse=True,
            colalign=("left", *["right"] * (len(headers) - 1)),
        )
        for headers, rows in (
            (COST_HEADERS, cost_rows(campaign)),
            (STAGE_HEADERS, stage_rows(campaign)),
        )
        if rows
    ]
    remarks = [*warnings(campaign), *conditions(campaign)]
    return "\n\n".join([*parts, "\n".join(f"- {remark}" for remark in remarks)])


def _cost_row(campaign: Campaign, row: Row) -> list[str]:
    label = "–" if row.label_miou is None else f"{row.label_miou:.4f}"
    held_out = "–" if row.held_out is None else percent(row.held_out)
    size = "–" if row.bytes is None else number(row.bytes / 1e6)
    if row.cost is None:
        return [row.name, size, *["–"] * 7, held_out, "–", label, "–", "–"]
    total = row.cost.stages[TOTAL]
    speedups = (campaign.speedup(row), campaign.speedup(row, "infer"))
    return [
        row.name,
        size,
        number(row.cost.load_ms),
        *(number(total[name]) for name in ("p50", "p90", "p99")),
        number(row.cost.stages["infer"]["p50"]),
        f"{row.cost.peak_memory_mib:.0f}",
        percent(row.cost.agreement) + ("" if row.kept_floor else " !"),
        held_out,
        f"{row.cost.mask_miou:.4f}",
        label,
        *("–" if speedup is None else number(speedup) for speedup in speedups),
    ]


def number(value: float) -> str:
    """Three significant digits, or all the whole ones."""
    return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2}f}"
