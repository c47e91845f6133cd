"""Reports of the campaigns: JSON and a Markdown page, in a folder for each machine."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from tabulate import tabulate

from benchmarks.index import REFERENCE, write_index
from unet_edge.system.files import json_text, write_atomically

__all__ = ["REFERENCE", "named", "page", "spelled", "steadiness", "table", "write_report"]


def named(folder: Path, machine: Mapping[str, Any], campaign: str) -> Path:
    """The path of a campaign's files without their suffixes: `<machine>/<campaign>`."""
    words = re.sub(r"[^a-z0-9]+", "-", str(machine["model"]).lower()).strip("-")
    return folder / f"{words}-{machine['cores']}-cores" / campaign


def write_report(target: Path, report: Mapping[str, Any], text: str) -> None:
    """Write `report` to TARGET.json and the Markdown `text` to TARGET.md, each atomically.

    Adds today's date as `made`. Writes the index, too, if these are the committed reports.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    made = {"made": f"{date.today():%Y-%m-%d}", **report}
    write_atomically(target.with_name(f"{target.name}.json"), json_text(made))
    write_atomically(target.with_name(f"{target.name}.md"), text)
    if target.parent.parent.resolve() == REFERENCE:
        write_index(REFERENCE)


def page(*parts: str) -> str:
    """Join title, paragraphs and tables to one Markdown page."""
    return "\n\n".join(parts) + "\n"


def table(rows: Iterable[Sequence[Any]], headers: Sequence[str]) -> str:
    """A Markdown table; cells are not parsed as numbers, so they keep their digits."""
    text: str = tabulate(rows, headers, tablefmt="github", disable_numparse=True)
    return text


def spelled(machine: Mapping[str, Any]) -> str:
    """A machine's facts in one line."""
    return "; ".join(f"{key} {value}" for key, value in machine.items())


def steadiness(report: Mapping[str, Any]) -> str:
    """A sentence on how fast the machine was before and after, by `timing.gemm_ms`."""
    return (
        f"The machine's matrix product took {report['gemm_before_ms']:.1f} ms before and "
        f"{report['gemm_after_ms']:.1f} ms after."
    )
