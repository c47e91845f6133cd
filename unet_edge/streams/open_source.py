"""A source from what a user names: a file, a URL, a camera, a test pattern."""

from __future__ import annotations

import re
from pathlib import Path

from unet_edge.errors import StreamError
from unet_edge.streams.frame import Source

SOURCES = """\
clip.mp4               a video file; also a .gif, .webp or .tif of several pictures, and .mjpeg
rtsp://camera/stream   a network stream: rtsp, rtsps, http, https, udp, tcp, rtp, srt
/dev/video0            a USB camera; /dev/video0?size=1280x720&rate=30 asks for a size and a rate
picamera               the Raspberry Pi's camera; picamera:1 the second, ?size= and ?rate= as above
pattern                a moving test pattern; pattern:640x480@30 its size and frames a second
-                      standard input: pictures one after another, or raw frames with a size"""
"""What `open_source` takes, a line each."""


def open_source(name: str) -> Source:
    """Make the source that `name` names; see SOURCES. Nothing is read yet.

    Raises StreamError for a name that no source has, or whose source is not installed.
    """
    if match := re.fullmatch(r"pattern(?::(\d{1,5})x(\d{1,5})(?:@(\d{1,4}))?)?", name):
        from unet_edge.streams.test_pattern import TestPattern

        width, height, rate = match.groups()
        return TestPattern((int(width or 640), int(height or 480)), int(rate or 30))
    if not re.match(r"[a-z]+://", name) and Path(name).exists():
        from unet_edge.streams.video_file import VideoFile

        return VideoFile(name)
    raise StreamError(f"{name} is no source", fix=f"name one of\n{SOURCES}")
