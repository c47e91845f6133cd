"""A source from what a user names: a file, a URL, a camera, a test pattern."""

from __future__ import annotations

import re
from pathlib import Path

from unet_edge.errors import ConfigError, StreamError
from unet_edge.streams.frame import Note, Source
from unet_edge.streams.reconnect import Reconnecting, StatusCallback, silent
from unet_edge.streams.stream_url import PROTOCOLS, scheme_of, shown

SOURCES = """\
clip.mp4               a video file; also a .gif, .webp or .tif of several pictures, and .mjpeg
rtsp://camera/stream   a network stream: rtsp, rtsps, http, https, udp, tcp, rtp, srt
/dev/video0            a USB camera; /dev/video0?size=1280x720&rate=30 asks for a size and a rate
picamera               the Raspberry Pi's camera; picamera:1 the second, ?size= and ?rate= as above
pattern                a moving test pattern; pattern:640x480@30 its size and frames a second
-                      standard input: JPEG or PNG pictures one after another
-?size=640x480&format=rgb24&rate=30   standard input: raw frames of a size and pixel format"""
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

    def on_note(message: str) -> None:
        on_status("running", message)

    if re.fullmatch(r"-(\?.*)?", name):
        return _standard_input(name, on_note)
    if re.fullmatch(r"/dev/v[^?]*(\?.*)?", name):  # also /dev/v4l/by-id/…
        return Reconnecting(lambda: _usb_camera(name, on_note), on_status)
    if re.fullmatch(r"picamera(:\d+)?(\?.*)?", name):
        return Reconnecting(lambda: _raspberry_pi_camera(name, on_note), on_status)
    if re.fullmatch(r"(?!\w+://).*\.(mjpe?g|gif|webp|tiff?)", name, re.IGNORECASE):
        return _pictures(name, on_note)
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


def _standard_input(name: str, on_note: Note) -> Source:
    from unet_edge.streams.byte_input import ASSUMED_RATE
    from unet_edge.streams.jpegs import PictureStream
    from unet_edge.streams.source_name import split_name

    _, settings = split_name(name, ("size", "format", "rate"))
    rate = settings.rate or ASSUMED_RATE
    if settings.size is None and settings.format is None:
        return PictureStream(rate=rate, on_note=on_note)
    if settings.size is None or settings.format is None:
        raise StreamError(
            f"raw frames without a {'size' if settings.size is None else 'pixel format'}",
            fix="give both: --frame-size 640x480 --pixel-format rgb24",
        )
    from unet_edge.streams.pixel_layouts import PixelLayout, pixel_format
    from unet_edge.streams.raw_frames import RawFrames

    try:
        layout = PixelLayout(pixel_format(settings.format), settings.size)
    except ConfigError as error:
        raise StreamError(error.found, expected=error.expected, fix=error.fix) from error
    return RawFrames(layout, rate=rate, on_note=on_note)


def _usb_camera(name: str, on_note: Note) -> Source:
    from unet_edge.streams.source_name import split_name
    from unet_edge.streams.v4l2 import UsbCamera

    path, settings = split_name(name, ("size", "rate"))
    return UsbCamera(path, settings.size, settings.rate, on_note=on_note)


def _raspberry_pi_camera(name: str, on_note: Note) -> Source:
    from unet_edge.streams.picamera import RaspberryPiCamera
    from unet_edge.streams.source_name import split_name

    base, settings = split_name(name, ("size", "rate"))
    _, _, number = base.partition(":")
    number_of_camera = int(number or 0)
    return RaspberryPiCamera(number_of_camera, settings.size, settings.rate, on_note=on_note)


def _pictures(name: str, on_note: Note) -> Source:
    if not Path(name).is_file():
        raise StreamError(f"no such file: {name}")
    if name.lower().endswith((".mjpeg", ".mjpg")):
        from unet_edge.streams.jpegs import PictureStream

        return PictureStream(name, on_note=on_note)
    from unet_edge.streams.pages import Pages

    return Pages(Path(name))
