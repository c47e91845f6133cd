"""The Raspberry Pi's camera, through picamera2.

The camera's image processor scales, so a size near the model's costs the processor nothing. The
main stream is used: the smaller stream "lores" is YUV only on boards before the Pi 5.

libcamera names formats as a little-endian number, so that memory holds them backwards:

| picamera2 | memory | of `pixel_layouts` |
|---|---|---|
| RGB888 | B, G, R | bgr24 |
| BGR888 | R, G, B | rgb24 |
| XRGB8888 | B, G, R, X | bgr0 |
| XBGR8888 | R, G, B, X | rgb0 |
| YUV420 | planes of Y, U, V | yuv420p |
| NV12, NV21 | a plane of Y, one of pairs | nv12, nv21 |
| YUYV, UYVY | packed | yuyv422, uyvy422 |

Rows are padded to a multiple of 32 or 64 bytes, which the configuration's "stride" tells.
"""

from __future__ import annotations

import concurrent.futures
import time
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

from unet_edge.errors import StreamError
from unet_edge.streams.frame import Frame, Note, StreamInfo, no_note
from unet_edge.streams.pixel_layouts import PixelFormat, PixelLayout
from unet_edge.streams.yuv_colors import Matrix, YuvColors

FORMATS: dict[str, PixelFormat] = {
    "RGB888": "bgr24", "BGR888": "rgb24", "XRGB8888": "bgr0", "XBGR8888": "rgb0",
    "YUV420": "yuv420p", "NV12": "nv12", "NV21": "nv21", "YUYV": "yuyv422", "UYVY": "uyvy422",
}  # fmt: skip
"""picamera2's names of formats: libcamera's, which are those of DRM (drm_fourcc.h)."""

_FORMAT = "BGR888"  # R, G, B in memory: nothing is left to convert
_SIZE = (1280, 720)  # px
# One that is being filled, one that waits, one that is read. picamera2's own default for video, 6,
# is for encoders.
_BUFFERS = 3
_PATIENCE = 5.0  # seconds without a frame
_NANOSECONDS = 1_000_000_000


class RaspberryPiCamera:
    """The frames of a camera on the Pi's camera connector.

    A live source. `info` is what the camera really gives, once frames are read.
    """

    is_live = True

    def __init__(
        self,
        number: int = 0,
        size: tuple[int, int] | None = None,
        rate: Fraction | None = None,
        *,
        on_note: Note = no_note,
    ) -> None:
        """Ask camera `number` for a size (width, height) px and a rate; nothing is opened yet.

        `on_note` is told where the camera gives something else.

        Raises StreamError when picamera2 is missing.
        """
        self.name = f"picamera:{number}"
        self.info = StreamInfo(size or _SIZE, rate)
        self._on_note = on_note
        self._number, self._size, self._rate = number, size or _SIZE, rate
        self._camera_class = _picamera2()

    def frames(self) -> Iterator[Frame]:
        """Yield the frames, until the iterator is closed.

        Raises StreamError when the camera cannot be opened, or gives no frame any more.
        """
        camera = self._opened()
        try:
            layout = self._set_up(camera)
            index, first = 0, None
            while True:
                data, metadata = self._next(camera)
                nanoseconds = metadata.get("SensorTimestamp") or time.monotonic_ns()
                first = nanoseconds if first is None else first
                yield Frame(
                    index,
                    nanoseconds - first,
                    Fraction(1, _NANOSECONDS),
                    # Since boot: the clock of time.monotonic(), because a Pi never sleeps.
                    nanoseconds / _NANOSECONDS,
                    lambda data=data: layout.rgb(data),  # type: ignore[misc]
                )
                index += 1
        finally:
            camera.close()  # stops it, too

    def _opened(self) -> Any:
        cameras = self._camera_class.global_camera_info()
        if self._number >= len(cameras):
            raise StreamError(
                f"no camera {self._number} on the camera connectors",
                expected=f"there are {len(cameras)}",
                fix="check the ribbon cable, then run: rpicam-hello --list-cameras",
            )
        try:
            return self._camera_class(self._number)
        except (RuntimeError, IndexError) as error:
            raise StreamError(
                f"{self.name} cannot be opened: {error}",
                expected="no other program may use the camera",
                fix="close the other program",
            ) from error

    def _set_up(self, camera: Any) -> PixelLayout:
        controls = {}
        if self._rate:
            microseconds = round(1_000_000 / self._rate)
            controls["FrameDurationLimits"] = (microseconds, microseconds)
        try:
            camera.configure(
                camera.create_video_configuration(
                    main={"size": self._size, "format": _FORMAT},
                    buffer_count=_BUFFERS,
                    queue=False,  # a frame that came before it was asked for is older
                    controls=controls,
                )
            )
            camera.start()
        except RuntimeError as error:
            raise StreamError(f"{self.name} cannot be set up: {error}") from error
        layout = layout_of(camera.camera_configuration())
        self.info = StreamInfo(layout.size, self._rate)
        if layout.size != self._size:
            width, height = layout.size
            self._on_note(f"{self.name} gives {width}x{height} px")
        return layout

    def _next(self, camera: Any) -> tuple[Any, Mapping[str, Any]]:
        """A copy of the next frame's memory, and its metadata."""
        job = camera.capture_request(wait=False)
        try:
            request = camera.wait(job, timeout=_PATIENCE)
        except concurrent.futures.TimeoutError:  # not Python's own before 3.11
            camera.cancel_all_and_flush()  # closing would wait for the request
            raise StreamError(
                f"{self.name} has given no frame for {_PATIENCE:g} s",
                fix="check the ribbon cable",
            ) from None
        try:
            return request.make_buffer("main"), request.get_metadata()
        finally:
            request.release()


def layout_of(configuration: Mapping[str, Any], stream: str = "main") -> PixelLayout:
    """The layout of a stream in picamera2's `camera_configuration()`.

    Raises StreamError for a format that is not in FORMATS, such as the sensor's raw ones.
    """
    settings = configuration[stream]
    name = settings["format"]
    if name not in FORMATS:
        raise StreamError(
            f"the camera gives {name}", expected=f"it must be one of {', '.join(FORMATS)}"
        )
    width, height = settings["size"]
    colors = _colors(configuration.get("colour_space"))
    return PixelLayout(FORMATS[name], (width, height), settings["stride"], colors)


# libcamera.ColorSpace.YcbcrEncoding's names.
_MATRICES: dict[str, Matrix] = {"Rec601": "bt601", "Rec709": "bt709", "Rec2020": "bt2020"}


def _colors(space: Any) -> YuvColors:
    """What YUV samples mean, by a libcamera.ColorSpace."""
    encoding = getattr(getattr(space, "ycbcrEncoding", None), "name", "")
    full_range = getattr(getattr(space, "range", None), "name", "") == "Full"
    return YuvColors(_MATRICES.get(encoding, "bt601"), full_range)


def _picamera2() -> Any:
    try:
        from picamera2 import Picamera2  # type: ignore[import-not-found]
    except ImportError as error:
        raise StreamError(
            f"picamera2 is not installed, which reads the Raspberry Pi's camera ({error})",
            expected="it is a package of Raspberry Pi OS, so the virtual environment must be made "
            "with --system-site-packages",
            fix="run: sudo apt install -y python3-picamera2 --no-install-recommends",
        ) from None
    return Picamera2
