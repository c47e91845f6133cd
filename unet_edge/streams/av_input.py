"""Opening files and network streams with PyAV, and decoding them past damage."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from unet_edge.errors import StreamError

Damage = Callable[[], None]
"""Called for each packet or frame that is damaged."""

# Formats of FFmpeg that hold their frames themselves. Others, such as playlists (hls, concat, dash,
# sdp, imf), scripts (avisynth) and numbered pictures (image2), name further files to be read.
FORMATS = (
    "mov,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,h264,hevc,vvc,av1,obu,ivf,vc1,dirac,flv,asf,"
    "ogg,nut,mxf,gxf,dv,rm,wtv,nsv,mjpeg,mpjpeg,gif,apng,yuv4mpegpipe,h261,h263,"
    "mp3,wav,flac,aac"  # for a better message than "no video file"
)


def require_av() -> Any:
    """The module av. Raises StreamError when it is not installed."""
    try:
        import av
        import av.error
    except ImportError as error:
        raise StreamError(
            f"PyAV cannot be loaded ({error})",
            expected="it reads videos and network streams, and writes videos",
            fix="run: pip install 'unet-edge[video]'",
        ) from None
    return av


def open_file(path: Path) -> Any:
    """Open a video file, an av.InputContainer. It cannot make FFmpeg read any other file.

    Raises StreamError.
    """
    av = require_av()
    try:
        if path.is_dir():
            raise IsADirectoryError(0, "it is a folder, not a file")
        with path.open("rb") as file:  # the system's reason, which is better than FFmpeg's
            if not file.read(1):
                raise StreamError("is empty", subject=str(path))
    except OSError as error:
        reason = error.strerror or error
        raise StreamError(f"cannot read {path}: {reason}") from None
    try:
        return av.open(
            # "file:" since FFmpeg takes what is before a colon for a protocol
            f"file:{path}",
            options={"protocol_whitelist": "file", "format_whitelist": FORMATS},
            metadata_errors="replace",
        )
    except av.error.FFmpegError:
        raise StreamError(_unreadable(path), subject=str(path)) from None


def _unreadable(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(12)
    if head[:3] == b"\xff\xd8\xff" or head[:8] == b"\x89PNG\r\n\x1a\n":
        return "is a picture, not a video"
    if head[4:8] == b"ftyp":
        return "is damaged; a recording that was cut off has no index, which comes at its end"
    return "is damaged, or no video file"


def reason_of(error: Exception) -> str:
    """What an error of PyAV says, without the URL, which may hold a password."""
    return str(getattr(error, "strerror", None) or type(error).__name__)


def video_stream(container: Any, name: str) -> Any:
    """The video stream of an opened container, prepared for decoding. Raises StreamError."""
    streams = [stream for stream in container.streams.video if not _is_cover(stream)]
    if not streams:
        kinds = sorted({each.type for each in container.streams if not _is_cover(each)})
        only = f", only {' and '.join(kinds)}" if kinds else ""
        raise StreamError(f"has no video{only}", subject=name)
    best = container.streams.best("video")
    stream = best if best in streams else streams[0]
    context = stream.codec_context
    if context is None:
        raise StreamError(
            "has video that no decoder of this PyAV can read",
            fix="convert it: ffmpeg -i IN -c:v libx264 OUT.mp4",
            subject=name,
        )
    context.thread_type = "AUTO"
    # The same pixels on every processor: FFmpeg's own tests decode so. Other inverse transforms
    # round differently in the vector instructions of x86 and ARM.
    context.options = {"idct": "simple"}
    context.flags |= _BITEXACT
    return stream


_BITEXACT = 1 << 23  # AV_CODEC_FLAG_BITEXACT
_ATTACHED_PICTURE = 0x400  # AV_DISPOSITION_ATTACHED_PIC


def _is_cover(stream: Any) -> bool:
    """Whether a stream is the cover picture of a piece of music."""
    disposition = stream.disposition  # an int, a flag before PyAV 18
    return bool(getattr(disposition, "value", disposition) & _ATTACHED_PICTURE)


def packets(container: Any, stream: Any, damage: Damage) -> Iterator[Any]:
    """Yield the stream's packets, past damage. The last ones are empty and flush the decoder.

    Raises the errors of the system, such as a broken connection, as PyAV does.
    """
    from av.error import ExitError, FFmpegError

    errors = 0
    while True:
        try:
            for packet in container.demux(stream):
                errors = 0
                yield packet
            return
        except FFmpegError as error:
            if isinstance(error, OSError | ExitError):  # of a disk or a network; or a timeout
                raise
            damage()
            errors += 1
            if errors == _MOST_ERRORS:
                yield None
                return


_MOST_ERRORS = 20  # at one place; a demuxer that cannot go on gives the same error forever


def decoded(stream: Any, source: Iterator[Any], damage: Damage) -> Iterator[Any]:
    """Decode packets; yield each av.VideoFrame that the decoder makes, past damage."""
    from av.error import EOFError, FFmpegError

    for packet in source:
        try:
            frames = stream.decode(packet)
        except EOFError:
            return
        except FFmpegError:
            damage()
            continue
        for frame in frames:
            if frame.is_corrupt:
                damage()
            yield frame


def duration_of(container: Any, stream: Any) -> float | None:
    """Seconds from the first frame to the end of the last; None if the header has none."""
    own = own_duration(container, stream)
    return own or (container.duration / 1e6 if container.duration else None)


def own_duration(container: Any, stream: Any) -> float | None:
    """Seconds of the video itself, not of sound that may last longer; None if unknown."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    if container.duration and len(container.streams) == 1:
        return float(container.duration / 1e6)
    return None
