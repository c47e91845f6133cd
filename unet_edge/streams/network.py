"""Network streams, read with PyAV: RTSP, HTTP, UDP, RTP, SRT and TCP."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any, Literal

from unet_edge.errors import StreamError
from unet_edge.streams.av_frame import frame_of
from unet_edge.streams.av_input import (
    FORMATS,
    decoded,
    duration_of,
    packets,
    reason_of,
    require_av,
    video_stream,
)
from unet_edge.streams.frame import Frame, StreamInfo
from unet_edge.streams.frame_times import FrameTimes
from unet_edge.streams.orientation import orientation_of
from unet_edge.streams.stream_url import PROTOCOLS, names_file, require_known_scheme, shown

Transport = Literal["tcp", "udp"]


class NetworkStream:
    """The frames of a network stream, as they come. A source.

    A URL such as http://host/clip.mp4, with the suffix of a video file, is read like a file, every
    frame. Other streams are live. They raise StreamError when no frame comes for `stall_timeout`
    seconds, or when they end, except those whose length the server has told; `Reconnecting` opens
    them again. `damaged` counts the packets and frames that were damaged.
    """

    def __init__(
        self,
        url: str,
        *,
        open_timeout: float = 10.0,
        stall_timeout: float = 10.0,
        transport: Transport = "tcp",
    ) -> None:
        """Nothing is opened yet. `transport` carries RTSP; "udp" loses packets, and waits for none.

        Raises StreamError for a URL of another scheme.
        """
        self._scheme = require_known_scheme(url)
        self._url = url
        self.name = shown(url)
        self.is_live = not names_file(url)
        self.info = StreamInfo()
        self.damaged = 0
        self._open_timeout, self._stall_timeout = open_timeout, stall_timeout
        self._transport = transport
        self._newest = 0.0  # when the newest frame came

    def frames(self) -> Iterator[Frame]:
        """Yield the frames; `info` is known once the first has come. Raises StreamError."""
        self.damaged = 0
        with closing(self._open()) as container:
            stream = video_stream(container, self.name)
            if self.is_live:
                # Frame threads would keep back a frame for each processor.
                stream.codec_context.thread_type = "SLICE"
            yield from self._frames(container, stream)
            if self.is_live and not _has_length(container):
                raise self._lost("it ended")

    def _frames(self, container: Any, stream: Any) -> Iterator[Frame]:
        from av.error import ExitError, FFmpegError

        rate = stream.average_rate
        times = FrameTimes(stream.time_base, rate)
        has_times = not container.format.flags & _NO_TIMESTAMPS
        first = self._newest = time.monotonic()
        arriving = self._watched(packets(container, stream, self._damage))
        try:
            for index, picture in enumerate(decoded(stream, arriving, self._damage)):
                self._newest = time.monotonic()
                if index == 0:
                    size = orientation_of(picture).upright_size(picture.width, picture.height)
                    self.info = StreamInfo(size, rate, duration_of(container, stream))
                if not has_times:  # pictures one after another, as from many cameras over HTTP
                    picture.pts = round((self._newest - first) / stream.time_base)
                yield frame_of(picture, index, times.pts(picture), stream.time_base, self._newest)
                self._newest = time.monotonic()  # whoever takes the frames may be slow
        except ExitError:
            raise self._stalled() from None
        except FFmpegError as error:
            raise self._lost(reason_of(error)) from None

    def _watched(self, arriving: Iterator[Any]) -> Iterator[Any]:
        """Pass packets on; raise StreamError if they give no frame for too long."""
        for packet in arriving:
            if time.monotonic() - self._newest > self._stall_timeout:
                raise self._stalled()
            yield packet

    def _open(self) -> Any:
        av = require_av()
        options = {
            "protocol_whitelist": PROTOCOLS[self._scheme],
            "format_whitelist": f"{FORMATS},{_NETWORK_FORMATS}",
        }
        if self._scheme in ("rtsp", "rtsps"):
            options |= {"rtsp_transport": self._transport, "allowed_media_types": "video"}
        if self.is_live:
            # Less is looked at before the first frame.
            options |= {"fpsprobesize": "0", "analyzeduration": "2000000"}
        else:
            # A connection that breaks is opened again where it broke.
            options |= {"reconnect": "1", "reconnect_on_network_error": "1"}
        begun = time.monotonic()
        try:
            return av.open(
                self._url,
                options=options,
                timeout=(self._open_timeout, self._stall_timeout),
                metadata_errors="replace",
            )
        except av.error.FFmpegError as error:
            # An opening that takes too long may end with any error.
            if time.monotonic() - begun >= self._open_timeout:
                raise self._unopened(f"no video came in {self._open_timeout:g} s", _CHECK) from None
            raise self._refused(error) from None

    def _refused(self, error: Exception) -> StreamError:
        from av.error import (
            ArgumentError,
            HTTPUnauthorizedError,
            InvalidDataError,
            ProtocolNotFoundError,
        )

        match error:
            case ProtocolNotFoundError():
                reason = f"this PyAV is built without {self._scheme}"
                return self._unopened(reason, "use another protocol of the camera, such as rtsp")
            case HTTPUnauthorizedError():
                url = f"{self._scheme}://NAME:PASSWORD@…"
                return self._unopened(reason_of(error), f"put a name and a password into it: {url}")
            case InvalidDataError() | ArgumentError():
                return self._unopened("what it sends is no video that can be read", _CHECK)
            case _:
                return self._unopened(reason_of(error), _CHECK)

    def _unopened(self, reason: str, fix: str = "") -> StreamError:
        return StreamError(f"cannot open {self.name}: {reason}", fix=fix)

    def _stalled(self) -> StreamError:
        return self._lost(f"no frame came for {self._stall_timeout:g} s")

    def _lost(self, reason: str) -> StreamError:
        return StreamError(reason, subject=f"{self.name} is lost:")

    def _damage(self) -> None:
        self.damaged += 1


def _has_length(container: Any) -> bool:
    """Whether what was read is a file, which a web server says the length of."""
    return bool(container.duration) or container.size > 0


_CHECK = "check the address, and that the camera or server is on"

_NO_TIMESTAMPS = 0x80  # AVFMT_NOTIMESTAMPS

# Of a network: RTSP itself, RTP, playlists whose parts come from the network as well.
_NETWORK_FORMATS = "rtsp,rtp,sdp,hls,live_flv"
