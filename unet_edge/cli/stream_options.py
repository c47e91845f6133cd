"""The options of `unet-edge segment` for streams, and which arguments are streams."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from unet_edge.errors import ConfigError

_F = TypeVar("_F", bound=Callable[..., Any])

# Sources that are read once, from their beginning: see `streams.open_source.SOURCES`.
_STREAMS = re.compile(
    r"/dev/v\S*|picamera(:\d+)?(\?.*)?|pattern(:\d.*)?|-\?.*|(rtsps?|https?|udp|tcp|rtp|srt):/.*"
    r"|.*\.mjpe?g",
    re.IGNORECASE,
)
_STANDARD_INPUT = "-"


def stream_of(
    images: Sequence[str],
    frame_size: str | None,
    pixel_format: str | None,
    frame_rate: str | None,
    *,
    frames: bool,
) -> str | None:
    """The name of the stream among the arguments, for `open_source`; None if there is none.

    Raises ConfigError for a stream beside other arguments, and for options that do not fit.
    """
    raw = {"size": frame_size, "format": pixel_format, "rate": frame_rate}
    query = "&".join(f"{key}={value}" for key, value in raw.items() if value is not None)
    names = [image for image in images if _is_stream(image, frames=frames or bool(query))]
    if query and "-" not in names:
        raise ConfigError(
            f"--{'frame-rate' if frame_rate else 'frame-size' if frame_size else 'pixel-format'} "
            "is for frames on standard input",
            fix="give - in place of a file",
        )
    if not names:
        return None
    if len(images) > 1:
        raise ConfigError(
            f"{names[0]} is a stream, and there are {len(images) - 1} other arguments",
            expected="a stream stands alone",
        )
    return f"{names[0]}?{query}" if query else names[0]


def _is_stream(image: str, *, frames: bool) -> bool:
    if image == _STANDARD_INPUT:
        return frames
    if not _STREAMS.fullmatch(image):
        return False
    if image.startswith("/dev/") or "://" in image:
        return True
    # A file or folder may be called as a camera is.
    path = Path(image)
    return not path.exists() or (path.suffix.lower() in (".mjpeg", ".mjpg") and path.is_file())


def stream_options(command: _F) -> _F:
    """Add the options for frames on standard input."""
    for option in (
        click.option(
            "--frame-rate",
            metavar="RATE",
            help="Of standard input, frames a second.  [default: 25]",
        ),
        click.option(
            "--pixel-format",
            metavar="FORMAT",
            help="Of raw frames on standard input, ffmpeg's -pix_fmt: rgb24, bgr24, rgba, gray, "
            "yuv420p, nv12, yuyv422, ….",
        ),
        click.option(
            "--frame-size",
            metavar="WxH",
            help="Of raw frames on standard input, their width and height in px.",
        ),
    ):
        command = option(command)
    return command
