"""Class shares of frames as a CSV table or as JSON lines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from unet_edge.runtime.stream import SegmentedFrame
from unet_edge.system.csv_table import csv_text

SharesFormat = Literal["csv", "jsonl"]


def shares_header(kind: SharesFormat, classes: Sequence[str]) -> str:
    """What stands before the first frame: a table's header, nothing before JSON lines."""
    return csv_text(["index", "time", *classes], []) if kind == "csv" else ""


def shares_line(
    kind: SharesFormat, index: int, time: float, shares: Sequence[float], classes: Sequence[str]
) -> str:
    """The line of a frame: its index, its time in seconds, and each class's share, 0..1."""
    seconds = round(time, 6)
    if kind == "csv":
        values = map(str, [index, seconds, *shares])
        return ",".join(values) + "\n"
    named = dict(zip(classes, shares, strict=True))
    return json.dumps({"index": index, "time": seconds, "shares": named}) + "\n"


class SharesLog:
    """Writes the shares of each frame as soon as they are known. A sink.

    A file that exists is continued, so that a restarted camera loses nothing.
    """

    def __init__(self, path: Path, kind: SharesFormat) -> None:
        """The file is opened with the first frame."""
        self._path, self._kind = path, kind

    def write(self, result: SegmentedFrame) -> None:
        """Append a line, whole."""
        grid = result.grid
        classes = grid.spec.classes
        line = shares_line(
            self._kind, result.frame.index, result.frame.time, grid.shares(), classes
        )
        with self._path.open("a", encoding="utf-8") as file:
            if file.tell() == 0:
                line = shares_header(self._kind, classes) + line
            file.write(line)

    def close(self) -> None:
        """Do nothing: each line is written."""
