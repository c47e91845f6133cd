"""Encoded video: H.264 of overlays and FFV1 of masks, as packets that can be stored and joined."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any, Literal, Self

from unet_edge.errors import StreamError
from unet_edge.streams.av_input import require_av

VideoCodec = Literal["libx264", "ffv1"]

_OPTIONS: dict[VideoCodec, dict[str, str]] = {
    # Of FFmpeg's mandelbrot at 1280x720 on a core of an AMD EPYC, at crf 23, which is x264's own:
    # ultrafast 6.8 ms a frame, superfast 14.4, veryfast 17.8; 45.2, 43.9 and 41.3 dB of luma;
    # 45, 30 and 20 kB. At crf 20, ultrafast takes 8.7 ms and 57 kB for 47.4 dB.
    "libx264": {"preset": "ultrafast", "crf": "23"},
    # Of flat masks at 1280x720: 5.2 ms and 0.6 kB a frame, the least of the coders and slices.
    "ffv1": {"coder": "rice", "level": "3", "slices": "4"},
}
_PIXELS: dict[VideoCodec, str] = {"libx264": "yuv420p", "ffv1": "gray"}
_KEY_FRAMES = 50  # frames between them, at most: two seconds of 25 frames
_GLOBAL_HEADER = 1 << 22  # AV_CODEC_FLAG_GLOBAL_HEADER: MP4 and Matroska keep it once


@dataclass(frozen=True)
class Encoding:
    """How a video is encoded. Equal encodings give packets that can follow each other.

    `size` is (width, height) px. `colors` are the tags of range, matrix, primaries and transfer
    as FFmpeg numbers them. `aspect` is that of a pixel, None for square ones. `rate`, in frames a
    second, is a hint for the players of H.264; frames have times of their own.
    """

    codec: VideoCodec
    size: tuple[int, int]
    time_base: Fraction
    rate: Fraction = Fraction(25)
    colors: tuple[int, int, int, int] = (0, 2, 2, 2)
    aspect: Fraction | None = None

    @classmethod
    def of(
        cls,
        codec: VideoCodec,
        frame: Any,
        rate: Fraction | None = None,
        aspect: Fraction | None = None,
    ) -> Self:
        """The encoding of an av.VideoFrame and those after it."""
        tags = (frame.color_range, frame.colorspace, frame.color_primaries, frame.color_trc)
        colors = (int(tags[0]), int(tags[1]), int(tags[2]), int(tags[3]))
        return cls(
            codec,
            (frame.width, frame.height),
            frame.time_base,
            rate or Fraction(25),
            colors,
            aspect,
        )

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            **asdict(self),
            "time_base": str(self.time_base),
            "rate": str(self.rate),
            "aspect": self.aspect and str(self.aspect),
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """From what `to_dict` gave."""
        aspect = values["aspect"]
        return cls(
            values["codec"],
            tuple(values["size"]),
            Fraction(values["time_base"]),
            Fraction(values["rate"]),
            tuple(values["colors"]),
            aspect and Fraction(aspect),
        )

    def apply(self, context: Any) -> None:
        """Set up an av.VideoCodecContext, which is not open yet."""
        context.width, context.height = self.size
        context.pix_fmt = _PIXELS[self.codec]
        context.time_base = self.time_base
        context.framerate = self.rate
        context.options = dict(_OPTIONS[self.codec])
        context.color_range, context.colorspace, context.color_primaries, context.color_trc = (
            self.colors
        )
        if self.aspect:
            context.sample_aspect_ratio = self.aspect
        context.flags |= _GLOBAL_HEADER
        # Frames of a mask can be decoded alone. No B-frames: packets are in the order of showing.
        context.gop_size = _KEY_FRAMES if self.codec == "libx264" else 1
        context.max_b_frames = 0


@dataclass(frozen=True)
class EncodedPacket:
    """An encoded frame, which is shown at `pts` ticks of the encoding's time base."""

    data: bytes
    pts: int
    is_key: bool


class VideoEncoder:
    """Encodes frames one after another."""

    def __init__(self, encoding: Encoding) -> None:
        """Raises StreamError when this PyAV has no such encoder, or it refuses the encoding."""
        av = require_av()
        from av.error import FFmpegError

        self.encoding = encoding
        try:
            self._context = av.CodecContext.create(encoding.codec, "w")
            encoding.apply(self._context)
            self._context.open()
        except (FFmpegError, ValueError) as error:
            width, height = encoding.size
            raise StreamError(
                f"{encoding.codec} cannot encode {width}x{height} px ({error})",
                expected="PyAV's wheels have libx264 and ffv1",
            ) from None

    def encode(self, frame: Any) -> Iterator[EncodedPacket]:
        """Take an av.VideoFrame and yield the packets that are ready.

        Raises StreamError for a frame of another size than the first.
        """
        if (frame.width, frame.height) != self.encoding.size:
            width, height = self.encoding.size
            raise StreamError(
                f"the frames change from {width}x{height} to {frame.width}x{frame.height} px",
                expected="a video has frames of one size",
                fix="cut the file where the size changes, or take part of it with --from and --to",
            )
        yield from map(_packet, self._context.encode(frame))

    def finish(self) -> Iterator[EncodedPacket]:
        """Yield the last packets."""
        yield from map(_packet, self._context.encode(None))


def _packet(packet: Any) -> EncodedPacket:
    return EncodedPacket(bytes(packet), packet.pts, packet.is_keyframe)
