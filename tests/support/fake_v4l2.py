"""A camera's driver that answers V4L2's ioctls, for machines without a camera.

linuxpy runs unchanged above it, with the kernel's own structures: only `fcntl.ioctl` is replaced.
The device is a file, so that its buffers are mapped as a camera's are.
"""

from __future__ import annotations

import errno
import itertools
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import linuxpy.ioctl
from linuxpy.video import raw

_REQUESTS = {request.value & 0xFFFFFFFF: request.name for request in raw.IOC}
_ROOM = 2**16  # bytes of a buffer, a multiple of the page size


@dataclass
class Shot:
    """A frame that the driver gives."""

    data: bytes
    sequence: int
    damaged: bool = False
    seconds_ago: float = 0.01


class FakeDriver:
    """Answers the ioctls of one device file. `unplugged` makes every further one fail."""

    def __init__(
        self,
        path: Path,
        shots: Iterable[Shot],
        *,
        formats: tuple[str, ...] = ("YUYV", "MJPG"),
        sizes: tuple[tuple[int, int], ...] = ((64, 48),),
        rate: int = 30,
        stride: int = 0,
        capture: bool = True,
        monotonic: bool = True,
        colors: tuple[int, int, int] = (0, 0, 0),
    ) -> None:
        path.write_bytes(bytes(4 * _ROOM))
        self.path, self.formats, self.sizes, self.rate = path, formats, sizes, rate
        self.stride, self.capture, self.monotonic, self.colors = stride, capture, monotonic, colors
        self.unplugged = False
        self.failing: dict[str, int] = {}  # request → errno
        self.buffers = 0
        self.streaming = False
        self.format = (formats[0], *sizes[-1])
        self._shots: Iterator[Shot] = iter(shots)
        self._queue: list[int] = []

    def install(self, monkeypatch: Any) -> FakeDriver:
        monkeypatch.setattr(linuxpy.ioctl, "fcntl", SimpleNamespace(ioctl=self.ioctl))
        return self

    def ioctl(self, device: Any, request: int, argument: Any) -> int:
        if self.unplugged:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        name = _REQUESTS[int(request) & 0xFFFFFFFF]
        if name in self.failing:
            raise OSError(self.failing[name], os.strerror(self.failing[name]))
        handler = getattr(self, f"_{name.lower()}", None)
        if handler is None:
            raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY))
        handler(argument, device)
        return 0

    def _querycap(self, caps: Any, _: Any) -> None:
        caps.driver, caps.card = b"fake", b"Fake Camera"
        kind = raw.Capability.VIDEO_CAPTURE if self.capture else raw.Capability.META_CAPTURE
        caps.device_caps = kind | raw.Capability.STREAMING
        caps.capabilities = caps.device_caps | raw.Capability.DEVICE_CAPS

    def _enum_fmt(self, fmt: Any, _: Any) -> None:
        if fmt.index >= len(self.formats):
            raise OSError(errno.EINVAL, "")
        fmt.pixelformat = raw.v4l2_fourcc(*self.formats[fmt.index])

    def _s_fmt(self, fmt: Any, _: Any) -> None:
        pixels = fmt.fmt.pix
        code = pixels.pixelformat.to_bytes(4, "little").decode()
        asked = (pixels.width, pixels.height)
        nearest = min(self.sizes, key=lambda size: abs(size[0] - asked[0]))
        self.format = (code if code in self.formats else self.formats[0], *nearest)
        self._g_fmt(fmt, _)

    def _g_fmt(self, fmt: Any, _: Any) -> None:
        pixels = fmt.fmt.pix
        code, pixels.width, pixels.height = self.format
        pixels.pixelformat = raw.v4l2_fourcc(*code)
        pixels.bytesperline, pixels.sizeimage = self.stride, _ROOM
        pixels.colorspace, pixels.ycbcr_enc, pixels.quantization = self.colors

    def _s_parm(self, parm: Any, _: Any) -> None:
        self._g_parm(parm, _)  # the driver keeps its own rate

    def _g_parm(self, parm: Any, _: Any) -> None:
        interval = 1 / Fraction(self.rate)
        parm.parm.capture.timeperframe.numerator = interval.numerator
        parm.parm.capture.timeperframe.denominator = interval.denominator

    def _reqbufs(self, request: Any, _: Any) -> None:
        self.buffers = request.count

    def _querybuf(self, buffer: Any, _: Any) -> None:
        buffer.length, buffer.m.offset = _ROOM, buffer.index * _ROOM

    def _qbuf(self, buffer: Any, _: Any) -> None:
        self._queue.append(buffer.index)

    def _streamon(self, *_: Any) -> None:
        self.streaming = True

    def _streamoff(self, *_: Any) -> None:
        self.streaming = False
        self._queue.clear()

    def _dqbuf(self, buffer: Any, device: Any) -> None:
        shot = next(self._shots, None)
        if shot is None:
            self.unplugged = True
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        buffer.index = self._queue.pop(0)
        os.pwrite(device.fileno(), shot.data, buffer.index * _ROOM)
        buffer.bytesused, buffer.sequence = len(shot.data), shot.sequence
        buffer.flags = raw.BufferFlag.ERROR if shot.damaged else 0
        if self.monotonic:
            buffer.flags |= raw.BufferFlag.TIMESTAMP_MONOTONIC
        stamp = time.monotonic() - shot.seconds_ago
        buffer.timestamp.secs = int(stamp)
        buffer.timestamp.usecs = int(stamp % 1 * 1_000_000)


def shots(*pictures: bytes) -> list[Shot]:
    return [Shot(data, sequence) for sequence, data in zip(itertools.count(), pictures)]
