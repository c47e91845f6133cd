"""A source from what a user names: a file, a URL, a camera, a test pattern."""

from __future__ import annotations

import re
from pathlib import Path

from unet_edge.errors import StreamError
from unet_edge.streams.frame import Source
from unet_edge.streams.reconnect import Reconnecting, StatusCallback, silent
from unet_edge.streams.stream_url import PROTOCOLS, scheme_of, shown

SOURCES = """\
clip.mp4               a video file; also a .gif, .webp or .tif of several pictures, and .mjpeg
rtsp://camera/stream   a network stream: rtsp, rtsps, http, https, udp, tcp, rtp, srt
/dev/video0            a USB camera; /dev/video0?size=1280x720&rate=30 asks for a size and a rate
picamera               the Raspberry Pi's camera; picamera:1 the second, ?size= and ?rate= as above
pattern                a moving test pattern; pattern:640x480@30 its size and frames a second
-                      standard input: pictures one after another, or raw frames with a size"""
"""What `open_source` takes, a line each."""


def open_source(name: str, on_status: StatusCallback = silent) -> Source:
    """Make the source that `name` names; see SOURCES. Nothing is read yet.

    `on_status` is called when a live source is lost, and when it is back. Raises StreamError for a
    name that no source has, or whose source is not installed.
    """
    if match := re.fullmatch(r"pattern(?::(\d{1,5})x(\d{1,5})(?:@(\d{1,4}))?)?", name):
        from unet_edge.streams.test_pattern import TestPattern

        width, height, rate = match.groups()
        return TestPattern((int(width or 640), int(height or 480)), int(rate or 30))
    if scheme_of(name) in PROTOCOLS:
        return _network_stream(name, on_status)
    if not scheme_of(name) and Path(name).exists():
        from unet_edge.streams.video_file import VideoFile

        return VideoFile(name)
    raise StreamError.of_lines(
        f"{shown(name)} is no file and no other source; name one of", *SOURCES.splitlines()
    )


def _network_stream(url: str, on_status: StatusCallback) -> Source:
    from unet_edge.streams.network import NetworkStream

    stream = NetworkStream(url)
    return Reconnecting(lambda: NetworkStream(url), on_status) if stream.is_live else stream
