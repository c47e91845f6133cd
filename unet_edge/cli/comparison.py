"""The command that compares two benchmarks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from unet_edge.cli.options import json_option, path_type
from unet_edge.cli.output import print_json, print_line
from unet_edge.percent import percent
from unet_edge.system.printable import printable

if TYPE_CHECKING:
    from unet_edge.benchmarking.comparison import Comparison, Difference
    from unet_edge.benchmarking.results import BenchmarkResult

_SMALL = 0.01
"""Stages below this share of a picture's time are not named."""


class _Share(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4 only
    """A share such as 5% or 0.05."""

    name = "share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, float):
            return value
        found = re.fullmatch(r"(\d+(?:\.\d+)?)(%?)", str(value).strip())
        share = float(found[1]) / (100 if found[2] else 1) if found else -1
        if not 0 <= share < 1:
            self.fail(f"{value!r} is not a share; write 5% or 0.05", param, ctx)
        return share


@click.command()
@click.argument("before", type=path_type())
@click.argument("after", type=path_type())
@click.option(
    "--fail-on-slowdown",
    type=_Share(),
    metavar="SHARE",
    help="End with status 1 if a file takes longer by more than this, such as 5%, or fails.",
)
@click.option("--markdown", is_flag=True, help="Print Markdown, for a pull request.")
@json_option
def compare(
    before: Path, after: Path, fail_on_slowdown: float | None, markdown: bool, as_json: bool
) -> None:
    """Compare two benchmarks: what became faster or slower, in which stage, and how surely.

    BEFORE and AFTER are files that 'unet-edge benchmark' wrote on one machine, with the same
    pictures and threads. A difference counts from 3 % on, if it is too large for chance.

    \b
    Examples:
      unet-edge benchmark old/bundle -o before.json --images photos/
      unet-edge benchmark new/bundle -o after.json --images photos/
      unet-edge compare before.json after.json
      unet-edge compare before.json after.json --markdown --fail-on-slowdown 5%
    """
    from unet_edge.benchmarking.comparison import compare as compare_results
    from unet_edge.benchmarking.result_file import read_result

    if as_json and markdown:
        raise click.UsageError("--json and --markdown exclude each other")
    results = read_result(before), read_result(after)
    found = compare_results(*results)
    watched = fail_on_slowdown is not None
    slower = found.slowdowns(fail_on_slowdown) if fail_on_slowdown is not None else ()
    failed = watched and any(found.only_before.values())
    if as_json:
        print_json(found.to_dict())
    else:
        _print(found, results, "github" if markdown else "simple")
        for each in slower:
            print_line(
                f"{each.file} takes {each.ratio.value - 1:.1%} longer, more than "
                f"{fail_on_slowdown:.1%}"
            )
    if slower or failed:
        raise SystemExit(1)


def _print(found: Comparison, results: tuple[BenchmarkResult, BenchmarkResult], style: str) -> None:
    from tabulate import tabulate

    headers = ("file", "before ms", "after ms", "after / before", "", "stages that differ")
    text: str = tabulate(
        [_row(found, file) for file in found.files],
        headers,
        tablefmt=style,
        disable_numparse=True,
        colalign=("left", "right", "right", "right", "left", "left"),
    )
    click.echo(text)
    click.echo()
    for line in _remarks(found, results):
        print_line(f"- {line}")


def _remarks(found: Comparison, results: tuple[BenchmarkResult, BenchmarkResult]) -> Iterator[str]:
    from unet_edge.benchmarking.tables import warnings

    for when, result in zip(("first", "second"), results, strict=True):
        yield from (f"{when} run: {warning}" for warning in warnings(result))
    yield (
        "times are medians of the rounds; the ratio is that of their geometric means, with its "
        "95 % interval; whether it counts allows for the number of comparisons"
    )
    yield f"a processor's matrix products took {found.core:.2f} times as long"
    for file, (was, now) in found.agreements.items():
        if was != now:
            yield f"{file}, pixels as Keras: {percent(was)} % before, {percent(now)} % after"
    for names, when in ((found.only_before, "first"), (found.only_after, "second")):
        for name, error in names.items():
            yield f"{name} ran in the {when} run only" + (f": {error}" if error else "")
    for name, (old, new) in found.changed.items():
        yield f"{name}: {old} before, {new} after"


def _row(found: Comparison, file: str) -> list[str]:
    from unet_edge.benchmarking.results import TOTAL
    from unet_edge.benchmarking.tables import number

    by_stage = found.of(file)
    total = by_stage.pop(TOTAL)
    stages = [
        f"{stage} {each.ratio.value:.2f}"
        for stage, each in by_stage.items()
        if each.significant and max(each.before_ms, each.after_ms) > _SMALL * total.after_ms
    ]
    return [
        printable(file),
        number(total.before_ms),
        number(total.after_ms),
        total.ratio.text,
        _verdict(total),
        ", ".join(stages) or "-",
    ]


def _verdict(difference: Difference) -> str:
    if difference.unsure:
        return "unsure"
    if not difference.significant:
        return "no difference"
    return "slower" if difference.slower else "faster"
