"""Video files from encoded packets, with the audio of another file."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

from unet_edge.sinks.encoding import EncodedPacket, Encoding
from unet_edge.streams.av_input import open_file, packets, require_av

Container = Literal["mp4", "matroska"]


class VideoWriter:
    """Writes one video file from packets, in order.

    An MP4 file keeps all times exactly. Matroska rounds them to milliseconds. `left_out` names
    the codecs of audio that the container cannot hold, `damaged_audio` counts packets of audio
    that cannot be copied.
    """

    def __init__(
        self,
        path: Path,
        container: Container,
        encoding: Encoding,
        *,
        audio_of: Path | None = None,
        start: Fraction = Fraction(0),
    ) -> None:
        """Begin the file, which is overwritten. Raises StreamError and OSError.

        Packets of audio are copied from the file `audio_of`. `start` is the time in seconds, on
        the clock of its packets and of the video's, that becomes 0.
        """
        av = require_av()
        self.left_out: list[str] = []
        self.damaged_audio = 0
        self._encoding = encoding
        self._start = start
        self._ticks = round(start / encoding.time_base)
        self._waiting: EncodedPacket | None = None
        self._last = 1  # the duration of the last frame so far, in ticks
        self._source = open_file(audio_of) if audio_of else None
        options = _options(container, encoding)
        self._output = av.open(str(path), "w", format=container, options=options)
        try:
            self._video = self._output.add_stream(encoding.codec)
            encoding.apply(self._video.codec_context)
            self._audio = self._audio_packets()
            self._next_audio = next(self._audio, None)
            self._output.start_encoding()
        except BaseException:  # Ctrl-C too: FFmpeg's handles are freed, and it is raised again
            self.abandon()
            raise

    def write(self, packet: EncodedPacket) -> None:
        """Take the next packet."""
        if self._waiting is not None:
            self._last = packet.pts - self._waiting.pts
            self._mux(self._waiting)
        self._waiting = packet

    def close(self, stop: bool = False) -> None:
        """Write the rest of the audio and finish the file.

        With `stop`, audio ends where the last frame does.
        """
        end = None
        if self._waiting is not None:
            end = (self._waiting.pts + self._last) * self._encoding.time_base
            self._mux(self._waiting)
        self._mux_audio(end if stop else None)
        self._output.close()
        if self._source is not None:
            self._source.close()

    def abandon(self) -> None:
        """Close everything after an error; the file is of no use."""
        for container in (self._source, self._output):
            if container is not None:
                try:
                    container.close()
                except OSError:  # FFmpeg's errors too; the first error is raised
                    continue

    def _mux(self, encoded: EncodedPacket) -> None:
        av = require_av()
        self._mux_audio(encoded.pts * self._encoding.time_base)
        packet = av.Packet(encoded.data)
        packet.stream = self._video
        packet.time_base = self._encoding.time_base
        packet.pts = packet.dts = encoded.pts - self._ticks
        packet.duration = self._last
        packet.is_keyframe = encoded.is_key
        self._output.mux_one(packet)

    def _mux_audio(self, until: Fraction | None) -> None:
        """Copy the packets of audio before a time, so that both stand near each other."""
        from av.error import FFmpegError

        while self._next_audio is not None:
            packet, stream, time = self._next_audio
            if until is not None and time >= until:
                return
            if time >= self._start or not self._start:
                ticks = round(self._start / packet.time_base)
                packet.pts -= ticks
                packet.dts = packet.pts if packet.dts is None else packet.dts - ticks
                packet.stream = stream
                try:
                    self._output.mux_one(packet)
                except FFmpegError as error:
                    if isinstance(error, OSError):  # of the disk
                        raise
                    self._damage()  # such as a time that goes back, where recordings were joined
            self._next_audio = next(self._audio, None)

    def _damage(self) -> None:
        self.damaged_audio += 1

    def _audio_packets(self) -> Iterator[tuple[Any, Any, Fraction]]:
        """Add streams for the audio of the source; return its packets, streams and times."""
        if self._source is None:
            return iter(())
        streams = {}
        for stream in self._source.streams.audio:
            codec = stream.codec_context and stream.codec_context.codec.canonical_name
            if codec and codec in self._output.supported_codecs:
                copy = self._output.add_stream_from_template(stream)
                copy.metadata.update(stream.metadata)
                streams[stream.index] = copy
            else:
                self.left_out.append(codec or "unknown")
        if not streams:
            return iter(())
        return (
            (packet, streams[packet.stream.index], packet.pts * packet.time_base)
            for packet in packets(self._source, list(self._source.streams.audio), self._damage)
            if packet and packet.stream.index in streams and packet.pts is not None and packet.size
        )


def _options(container: Container, encoding: Encoding) -> dict[str, str]:
    if container == "matroska":
        return {}
    # The muxer's own rule for the ticks of a video track, libavformat/movenc.c. The file's edit
    # list, which holds the time of the first frame, needs the same to be exact.
    ticks = encoding.time_base.denominator
    while ticks < 10000:
        ticks *= 2
    return {"movflags": "+faststart", "movie_timescale": str(ticks)}
