"""Reports of the campaigns: results as JSON and as a Markdown page, named by the machine."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from unet_edge.system.files import json_text, write_atomically

REFERENCE = Path(__file__).parent / "reference"
"""The folder of the committed reports."""


def named(folder: Path, machine: Mapping[str, Any], campaign: str = "") -> Path:
    """The path of a campaign's files without their suffixes: `<machine>-<campaign>`."""
    words = re.sub(r"[^a-z0-9]+", "-", str(machine["model"]).lower()).strip("-")
    slug = f"{words}-{machine['cores']}-cores"
    return folder / (f"{slug}-{campaign}" if campaign else slug)


def write_report(target: Path, report: Any, text: str) -> None:
    """Write `report` to TARGET.json and the Markdown `text` to TARGET.md, each atomically."""
    write_atomically(target.with_suffix(".json"), json_text(report))
    write_atomically(target.with_suffix(".md"), text)


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
