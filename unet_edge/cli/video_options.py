"""The options of `unet-edge segment` for videos, and which arguments are videos."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

_F = TypeVar("_F", bound=Callable[..., Any])

SUFFIXES = frozenset(
    (".3gp", ".asf", ".avi", ".dv", ".f4v", ".flv", ".h264", ".h265", ".hevc", ".ivf", ".m2ts",
     ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".nut", ".obu", ".ogv",
     ".ts", ".vob", ".webm", ".wmv", ".y4m")
)  # fmt: skip


def is_video(path: Path) -> bool:
    """Whether a path is a file with the suffix of a video."""
    return path.suffix.lower() in SUFFIXES and path.is_file()


class Time(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4 only
    """A time in a video: `90`, `1.5`, `1:30` or `00:01:30.500`."""

    name = "TIME"

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        """Parse a time into seconds; anything else is a usage error."""
        if isinstance(value, float):
            return value
        match = re.fullmatch(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d*)?)", str(value))
        if match is None:
            self.fail(f"{value!r} is not a time; write 90, 1.5, 1:30 or 00:01:30.500", param, ctx)
        hours, minutes, seconds = match.groups()
        return int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(seconds)


def video_options(command: _F) -> _F:
    """Add the options for videos."""
    for option in (
        click.option(
            "--smoothing",
            type=click.FloatRange(0, 1, max_open=True),
            help="Of videos and streams, average each frame's scores with those of the frames "
            "before, which have this weight, against flicker. It changes masks.  [default: 0]",
        ),
        click.option(
            "--to",
            "stop",
            type=Time(),
            help="Of videos and streams, stop before this time.  [default: end]",
        ),
        click.option(
            "--from",
            "start",
            type=Time(),
            help="Of videos and streams, start at this time: seconds, or HH:MM:SS.  [default: 0]",
        ),
        click.option(
            "--every",
            type=click.IntRange(min=1),
            help="Of videos and streams, segment every n-th frame.  [default: 1]",
        ),
    ):
        command = option(command)
    return command
