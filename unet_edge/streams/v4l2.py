"""USB cameras, and others with a driver of Video4Linux (V4L2), through linuxpy.

MJPEG is preferred: its frames are JPEG files, which the contract's scaled decoding takes, and USB 2
carries larger sizes of it. Otherwise the camera's pixels are converted as `pixel_layouts` says.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from unet_edge.errors import ImageError, StreamError
from unet_edge.streams.frame import Frame, FrameImage, Note, StreamInfo, no_note
from unet_edge.streams.pixel_layouts import PixelFormat, PixelLayout
from unet_edge.streams.yuv_colors import Matrix, YuvColors

# V4L2's codes of formats that can be read, the best first. linux/videodev2.h.
_JPEG = ("MJPG", "JPEG")
_PIXELS: dict[str, PixelFormat] = {
    "YUYV": "yuyv422", "UYVY": "uyvy422", "NV12": "nv12", "NV21": "nv21", "YU12": "yuv420p",
    "RGB3": "rgb24", "BGR3": "bgr24", "AR24": "bgr0", "XR24": "bgr0", "BGR4": "bgr0",
    "GREY": "gray",
}  # fmt: skip
_READABLE = (*_JPEG, *_PIXELS)

# Two: the driver fills one while the other is read. More would only hold older frames.
_BUFFERS = 2
_PATIENCE = 5.0  # seconds without a frame: long exposures take 1 s, a camera that hangs is lost
_NANOSECONDS = 1_000_000_000


@dataclass(frozen=True)
class CameraInfo:
    """A camera of this machine: its device file, name, and the formats it gives."""

    path: str
    name: str
    formats: tuple[str, ...]


def list_cameras(folder: str = "/dev") -> list[CameraInfo]:
    """List the cameras that can be read. Raises StreamError when linuxpy is missing."""
    video = _linuxpy()
    found = []
    for path in sorted(Path(folder).glob("video*"), key=lambda path: (len(path.name), path.name)):
        try:
            with video.Device(str(path)) as device:
                if formats := _formats(video, device):
                    found.append(CameraInfo(str(path), device.info.card, tuple(formats)))
        except OSError:  # no permission, or unplugged meanwhile
            continue
    return found


class UsbCamera:
    """The frames of a V4L2 camera.

    A live source. `info` is what the driver really gives, once frames are read.
    """

    is_live = True

    def __init__(
        self,
        path: str = "/dev/video0",
        size: tuple[int, int] | None = None,
        rate: Fraction | None = None,
        *,
        on_note: Note = no_note,
    ) -> None:
        """Ask for a size (width, height) px and a rate in frames a second; nothing is opened yet.

        `on_note` is told where the driver gives something else.

        Raises StreamError when linuxpy is missing.
        """
        self.name = path
        self.info = StreamInfo(size, rate)
        self._on_note = on_note
        self._path, self._size, self._rate = path, size, rate
        self._video = _linuxpy()

    def frames(self) -> Iterator[Frame]:
        """Yield the frames, until the iterator is closed.

        Raises StreamError when the camera cannot be opened or read, or gives no frame any more.
        """
        with ExitStack() as stack:
            device = self._opened(stack)
            layout = self._set_up(device)
            capture = self._video.VideoCapture(device, size=_BUFFERS)
            try:
                stack.enter_context(_streaming(capture))
            except OSError as error:
                raise self._problem(error) from error
            first, last = None, -1
            while True:
                raw = self._next(capture)
                # The driver's number counts frames that it dropped, too. Some drivers leave it 0.
                first = raw.frame_nb if first is None else first
                last = max(last + 1, raw.frame_nb - first)
                nanoseconds = _captured(self._video, raw)
                damaged = self._video.BufferFlag.ERROR in raw.flags or not len(raw)
                problem = f"{self._path} has given a damaged frame" if damaged else ""
                yield Frame(
                    last,
                    nanoseconds,
                    Fraction(1, _NANOSECONDS),
                    nanoseconds / _NANOSECONDS,
                    _decoder(bytes(raw), layout, problem),
                )

    def _opened(self, stack: ExitStack) -> Any:
        try:
            device = stack.enter_context(self._video.Device(self._path))
            capabilities = device.info.device_capabilities
        except OSError as error:
            raise self._problem(error) from error
        if self._video.Capability.VIDEO_CAPTURE not in capabilities:
            raise StreamError(
                f"{self._path} ({device.info.card}) gives no pictures",
                expected="a camera has one device for its pictures, and others for metadata",
                fix=_other_cameras(),
            )
        return device

    def _set_up(self, device: Any) -> PixelLayout | None:
        """Choose the format, size and rate; returns the layout of pixels, None for JPEG."""
        try:
            offered = _formats(self._video, device)
        except OSError as error:
            raise self._problem(error) from error
        usable = [code for code in _READABLE if code in offered]
        if not usable:
            raise StreamError(
                f"{self._path} gives {', '.join(offered) or 'no format'}",
                expected=f"it must be one of {', '.join(_READABLE)}",
                fix="a camera on the Raspberry Pi's camera connector is called picamera",
            )
        kind = self._video.BufferType.VIDEO_CAPTURE
        try:
            before = device.get_format(kind)
            width, height = self._size or (before.width, before.height)
            device.set_format(kind, width, height, usable[0])
            given = device.get_format(kind)
            rate = self._set_rate(device, kind)
            pixels = self._video.get_raw_format(device, kind).fmt.pix
        except OSError as error:
            raise self._problem(error) from error
        size = (given.width, given.height)
        if self._size not in (None, size):
            self._on_note(f"{self._path} gives {size[0]}x{size[1]} px, not {width}x{height}")
        if self._rate and rate and rate != self._rate:
            self._on_note(
                f"{self._path} gives {float(rate):g} frames a second, not {float(self._rate):g}"
            )
        self.info = StreamInfo(size, rate)
        code = given.pixel_format.human_str()
        if code in _JPEG:
            return None
        if code not in _PIXELS:
            raise StreamError(f"{self._path} gives {code}, and not {usable[0]} as asked for")
        return PixelLayout(_PIXELS[code], size, given.bytes_per_line, _colors(pixels))

    def _set_rate(self, device: Any, kind: Any) -> Fraction | None:
        try:
            if self._rate:
                device.set_fps(kind, self._rate)
            rate = Fraction(device.get_fps(kind))
        except (OSError, ZeroDivisionError) as error:
            if getattr(error, "errno", None) in (errno.ENODEV, errno.EBUSY):
                raise
            return None  # a driver without rates
        return rate or None

    def _next(self, capture: Any) -> Any:
        try:
            raw = capture.buffer.frame_reader.read(_PATIENCE)
        except OSError as error:
            raise self._problem(error) from error
        if raw is None:
            raise StreamError(
                f"{self._path} has given no frame for {_PATIENCE:g} s",
                fix="plug the camera in again, into another port or without a hub",
            )
        return raw

    def _problem(self, error: OSError) -> StreamError:
        path = self._path
        match error.errno:
            case errno.ENOENT | errno.ENODEV | errno.ENXIO:
                return StreamError(f"no camera at {path}", fix=_other_cameras())
            case errno.EACCES | errno.EPERM:
                return StreamError(
                    f"no permission to read {path}",
                    expected="members of the group video may",
                    fix="run: sudo usermod -aG video $USER, then log in again",
                )
            case errno.EBUSY:
                holders = _holders(path)
                by = f" by {', '.join(holders)}" if holders else " by another program"
                return StreamError(f"{path} is in use{by}", fix="close it, or use another camera")
            case errno.ENOTTY | errno.EINVAL:
                return StreamError(f"{path} is no V4L2 camera", fix=_other_cameras())
            case _:
                return StreamError(f"cannot read {path}: {error.strerror or error}")


@contextlib.contextmanager
def _streaming(capture: Any) -> Iterator[Any]:
    """Start a capture, and free it also when the camera was unplugged and nothing can be told it.

    linuxpy's own `close` would then raise before it frees the buffers.
    """
    try:
        capture.open()
        yield capture
    finally:
        buffer, capture.buffer = capture.buffer, None
        with contextlib.suppress(OSError, ValueError):
            capture.stream_off()
        if buffer is not None:
            for memory in buffer.buffers or ():
                memory.close()
            with contextlib.suppress(OSError, ValueError):
                capture.free_buffers(buffer.source)


def _formats(video: Any, device: Any) -> list[str]:
    """The codes of the formats that a camera offers; none for other devices."""
    if video.Capability.VIDEO_CAPTURE not in device.info.device_capabilities:
        return []
    offered = device.info.buffer_formats(video.BufferType.VIDEO_CAPTURE)
    return [image_format.pixel_format.human_str() for image_format in offered]


# linux/videodev2.h: the values of v4l2_colorspace, v4l2_ycbcr_encoding and v4l2_quantization, and
# the macros V4L2_MAP_YCBCR_ENC_DEFAULT and V4L2_MAP_QUANTIZATION_DEFAULT.
_REC709, _JPEG_COLORS, _BT2020, _DCI_P3 = 3, 7, 10, 12
_MATRIX_OF_SPACE: dict[int, Matrix] = {_REC709: "bt709", _DCI_P3: "bt709", _BT2020: "bt2020"}
_MATRIX_OF_ENCODING: dict[int, Matrix] = {
    1: "bt601", 2: "bt709", 3: "bt601", 4: "bt709", 5: "bt601", 6: "bt2020", 7: "bt2020",
}  # fmt: skip
_FULL_RANGE = 1


def _colors(pixels: Any) -> YuvColors:
    """What the YUV samples of a struct v4l2_pix_format mean."""
    by_space = _MATRIX_OF_SPACE.get(pixels.colorspace, "bt601")
    matrix = _MATRIX_OF_ENCODING.get(pixels.ycbcr_enc, by_space)
    if pixels.quantization:
        return YuvColors(matrix, pixels.quantization == _FULL_RANGE)
    return YuvColors(matrix, pixels.colorspace == _JPEG_COLORS)


def _captured(video: Any, raw: Any) -> int:
    """The time.monotonic() of a frame in nanoseconds, by the driver's clock if it is the same."""
    now = time.monotonic_ns()
    flags = video.BufferFlag
    if raw.flags & flags.TIMESTAMP_MASK != flags.TIMESTAMP_MONOTONIC:
        return now
    stamp = raw.buff.timestamp
    nanoseconds = int(stamp.secs) * _NANOSECONDS + int(stamp.usecs) * 1000
    # Some cameras' clocks drift, which uvcvideo passes on.
    return nanoseconds if now - _OLDEST < nanoseconds <= now else now


_OLDEST = 2 * _NANOSECONDS


def _decoder(data: bytes, layout: PixelLayout | None, problem: str) -> Callable[[], FrameImage]:
    def decode() -> FrameImage:
        if problem:
            raise ImageError(problem)
        return data if layout is None else layout.rgb(data)

    return decode


def _other_cameras() -> str:
    cameras = list_cameras()
    if not cameras:
        return "no camera is there: plug one in, and look for it with: ls /dev/video*"
    return "use " + " or ".join(f"{camera.path} ({camera.name})" for camera in cameras)


def _holders(path: str) -> list[str]:
    """The programs that have a device open, as far as this user may see them."""
    holders = []
    real = os.path.realpath(path)
    for process in Path("/proc").glob("[0-9]*"):
        if process.name == str(os.getpid()):
            continue
        try:
            if any(os.path.realpath(handle) == real for handle in (process / "fd").iterdir()):
                holders.append(f"{(process / 'comm').read_text().strip()} (process {process.name})")
        except OSError:  # another user's, or ended meanwhile
            continue
    return holders


def _linuxpy() -> Any:
    try:
        from linuxpy.video import device  # type: ignore[import-untyped]
    except ImportError as error:
        raise StreamError(
            f"linuxpy is not installed, which reads USB cameras ({error})",
            fix="run: pip install 'unet-edge[usb]'",
        ) from None
    return device
