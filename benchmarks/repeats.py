"""Compare a benchmark with its own repeats, and with repeats in which one stage is slower.

    python -m benchmarks.repeats BUNDLE [--pairs 20] [--slower 0.10]

Measures BUNDLE as `unet-edge benchmark` does, again and again, in pairs of two kinds in turn:

- a run as it is, compared with the run before it: nothing should differ;
- a run in which one stage takes a tenth longer, compared with the run as it is before it: this
  stage should be named, and no other. Each stage has its turn. The stage is slowed down in the
  measuring processes, by waiting for a tenth of its own time before its end is noted.

Writes `benchmarks/reference/<machine>/repeats.{md,json}`. What --work holds is used again.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from benchmarks.reporting import REFERENCE, named, page, spelled, table, write_report
from unet_edge.benchmarking.comparison import Comparison, compare
from unet_edge.benchmarking.measurement import measure_bundle
from unet_edge.benchmarking.result_file import read_result
from unet_edge.benchmarking.results import TOTAL, BenchmarkResult
from unet_edge.bundle.bundle import Bundle
from unet_edge.errors import ConfigError
from unet_edge.runtime.segmenter import STAGES
from unet_edge.system.files import json_text, write_atomically
from unet_edge.system.timing import machine

# Python runs a module of this name at its start.
_SLOWER = """
import os, time
from unet_edge.system.timing import StageClock

note = StageClock.__call__

def slower(clock, stage):
    if stage == os.environ["SLOWER_STAGE"]:
        until = time.perf_counter_ns()
        until += float(os.environ["SLOWER_SHARE"]) * (until - clock._last)
        while time.perf_counter_ns() < until:
            pass
    note(clock, stage)

StageClock.__call__ = slower
"""


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path, exists=True))
@click.option("--pairs", type=click.IntRange(1), default=20, show_default=True)
@click.option("--slower", type=click.FloatRange(0), default=0.10, show_default=True)
@click.option("--work", type=click.Path(path_type=Path), default=Path("runs/repeats"))
@click.option("--output", type=click.Path(path_type=Path), default=REFERENCE)
def main(bundle: Path, pairs: int, slower: float, work: Path, output: Path) -> None:
    """Measure BUNDLE again and again, compare the runs and write the report of this machine."""
    work.mkdir(parents=True, exist_ok=True)
    opened = Bundle.open(bundle)
    before = _run(opened, work / "start.json")
    rows: list[dict[str, Any]] = []
    for pair, stage in zip(range(pairs), itertools.cycle(STAGES)):
        with _slower(stage, slower):
            slow = _run(opened, work / f"{pair:02d}-{stage}.json")
        rows.append(_judged(stage, before, slow))
        after = _run(opened, work / f"{pair:02d}.json")
        rows.append(_judged(None, before, after))
        before = after
        print(f"pair {pair + 1} of {pairs}: {rows[-2]['said']}; as it is: {rows[-1]['said']}")
    facts = machine()
    report = {"machine": facts, "bundle": opened.spec.name, "slower": slower, "comparisons": rows}
    write_report(named(output, facts, "repeats"), report, _markdown(report))
    print(_markdown(report))


@contextlib.contextmanager
def _slower(stage: str, share: float) -> Iterator[None]:
    """Let the measuring processes take longer for a stage while the block runs."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "sitecustomize.py").write_text(_SLOWER)
        os.environ |= {"SLOWER_STAGE": stage, "SLOWER_SHARE": str(share)}
        sys.path.insert(0, folder)
        try:
            yield
        finally:
            sys.path.remove(folder)
            del os.environ["SLOWER_STAGE"], os.environ["SLOWER_SHARE"]


def _run(bundle: Bundle, path: Path) -> BenchmarkResult:
    """A benchmark of a bundle, or what is left of an earlier one at `path`."""
    if not path.is_file():
        write_atomically(path, json_text(measure_bundle(bundle).to_dict()))
    return read_result(path)


def _judged(stage: str | None, before: BenchmarkResult, after: BenchmarkResult) -> dict[str, Any]:
    """What `compare` says of two runs, and whether it is right.

    With a slower `stage`, the whole comparison is right if this stage is slower in one file at
    least and no other stage differs in any. Without, if nothing differs.
    """
    try:
        found = compare(before, after)
    except ConfigError as error:
        return {"stage": stage, "refused": True, "right": False, "said": f"refused: {error}"}
    significant = [each for each in found.differences if each.significant]
    named_stages = {each.stage for each in significant if each.slower} - {TOTAL}
    wrong = {each.stage for each in significant if not each.slower} - {TOTAL}
    right = not significant if stage is None else named_stages == {stage} and not wrong
    return {
        "stage": stage,
        "refused": False,
        "right": right,
        "said": _said(found),
        "core": found.core,
        "differences": [
            {"file": each.file, "stage": each.stage, "ratio": each.ratio.value, "p": each.p}
            for each in significant
        ],
    }


def _said(found: Comparison) -> str:
    lines = [
        f"{each.stage} of {each.file} {each.ratio.value:.2f} times"
        for each in found.differences
        if each.significant
    ]
    return ", ".join(lines) or "no difference"


def _markdown(report: dict[str, Any]) -> str:
    rows = []
    for stage in (None, *STAGES):
        of = [each for each in report["comparisons"] if each["stage"] == stage]
        if of:
            refused = sum(each["refused"] for each in of)
            right = sum(each["right"] for each in of)
            wrong = [each["said"] for each in of if not each["right"] and not each["refused"]]
            name = "the run before" if stage is None else f"a slower {stage}"
            rows.append((name, str(len(of)), str(right), str(refused), "; ".join(wrong) or "-"))
    headers = ["compared with", "comparisons", "right", "refused", "what the wrong ones said"]
    return page(
        "# Repeats: what compare says of equal runs, and of runs with a slower stage",
        "Made by `python -m benchmarks.repeats`. "
        f"Bundle: {report['bundle']}. Machine: {spelled(report['machine'])}.",
        "Each run is one `unet-edge benchmark` of all files. A run with a slower stage waits for "
        f"{report['slower']:.0%} of the stage's own time before its end is noted, in every file. "
        "Right: nothing differs between equal runs; of a slower stage, this stage is named, in "
        "one file at least, and no other in any. Refused: the machine was not equally fast in "
        "both.",
        table(rows, headers),
    )


if __name__ == "__main__":
    main()
