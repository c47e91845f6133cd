"""Write the index of the committed reports: what each shows, where and when it was made.

    python -m benchmarks.index

Reads the pages and the figures beside them in `benchmarks/reference`, and writes `index.md` there.
`write_report` does it after each campaign.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from tabulate import tabulate

from unet_edge.system.files import write_atomically

REFERENCE = Path(__file__).resolve().parent / "reference"
"""The folder of the committed reports."""

_INTRODUCTION = """# Measured figures

Each page says how its figures were made. `make bench-NAME` repeats a campaign, such as \
`make bench-foreign-models`; options go into `ARGS`. Figures hold for the processor that they were \
measured on: take the ratios, not the milliseconds.
"""


def index_text(folder: Path) -> str:
    """The index of a folder of reports, as Markdown: a table for each machine."""
    parts = [_INTRODUCTION]
    for machine in sorted(path for path in folder.iterdir() if path.is_dir()):
        rows = [_row(page) for page in sorted(machine.glob("*.md"))]
        headers = ("figures", "made by", "on")
        parts.append(f"## {_title(machine.name)}\n\n{tabulate(rows, headers, tablefmt='github')}\n")
    return "\n".join(parts)


def write_index(folder: Path) -> None:
    """Write the index of a folder of reports into it."""
    write_atomically(folder / "index.md", index_text(folder))


def _row(page: Path) -> tuple[str, str, str]:
    text = page.read_text()
    title = text.partition("\n")[0].lstrip("# ")
    command = re.search(r"Made by `([^`]+)`", text)
    figures = page.with_suffix(".json")
    made = json.loads(figures.read_text()).get("made") if figures.is_file() else None
    return (
        f"[{title}]({page.parent.name}/{page.name})",
        f"`{command[1]}`" if command else "",
        made or "",
    )


def _title(folder: str) -> str:
    """A machine's folder in words."""
    if folder == "emulated":
        return "Emulated processors"
    *words, cores = folder.removesuffix("-cores").split("-")
    spelled = {"amd": "AMD", "epyc": "EPYC", "avx2": "AVX2", "intel": "Intel", "xeon": "Xeon"}
    # "r" is what is left of a trademark's (R).
    return f"{' '.join(spelled.get(word, word) for word in words if word != 'r')}, {cores} cores"


if __name__ == "__main__":
    write_index(REFERENCE)
