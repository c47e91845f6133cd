"""Joins the parts of a video into its files, without encoding anything again."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

from unet_edge.batch.resume_log import Work
from unet_edge.batch.video_outputs import VideoKind, video_file_name
from unet_edge.batch.video_parts import PartRecord, PartsFolder
from unet_edge.batch.video_segmenting import SourceClock, VideoOptions
from unet_edge.errors import StreamError
from unet_edge.sinks.encoding import Encoding
from unet_edge.sinks.shares import SharesFormat, shares_header, shares_line
from unet_edge.sinks.video_writer import Container, VideoWriter
from unet_edge.system.csv_table import csv_text
from unet_edge.system.files import synced, utf8, write_atomically


class VideoJoiner:
    """Writes the files of one video, whose parts are complete."""

    def __init__(
        self,
        path: Path,
        name: str,
        parts: PartsFolder,
        options: VideoOptions,
        clock: SourceClock,
        classes: Sequence[str],
    ) -> None:
        """`path` is the source's file, `name` begins the names of its files."""
        self.notes: list[str] = []
        self._path, self._name = path, name
        self._parts, self._options, self._clock = parts, options, clock
        self._classes = classes

    def write(self, kind: VideoKind, work: Work) -> None:
        """Write the files of a kind. Raises OSError, StreamError, or OutputError."""
        file = video_file_name(kind, self._name)
        match kind:
            case "overlay":
                work.take(file, self._joined(kind, "mp4", audio_of=self._path))
            case "index":
                work.take(file, self._joined(kind, "matroska", audio_of=None))
            case "palette":
                self._take_pictures(file, work)
            case "csv" | "jsonl":
                work.write(file, lambda stream: self._write_shares(kind, stream))

    def seconds(self, position: tuple[int, int]) -> float:
        """The time of a frame in seconds, from the beginning of the video."""
        return float(position[1] * self._clock.tick - self._clock.origin)

    def mean_shares(self) -> dict[str, float]:
        """The mean of each class's share over all frames."""
        sums, frames = [0.0] * len(self._classes), 0
        for part in self._parts.parts:
            frames += len(part.shares)
            for row in part.shares:
                sums = [total + share for total, share in zip(sums, row, strict=True)]
        return {name: total / frames for name, total in zip(self._classes, sums, strict=True)}

    def _joined(self, kind: VideoKind, container: Container, audio_of: Path | None) -> Path:
        """Join the packets of all parts in a file in their folder."""
        path = self._parts.path / f"joined.{container}"
        parts = self._parts.parts
        encoding = _common_encoding(kind, parts)
        writer = VideoWriter(
            path, container, encoding, audio_of=audio_of, start=self._start(parts[0])
        )
        try:
            for part in parts:
                for packet in part.packets(kind):
                    writer.write(packet)
            writer.close(stop=self._options.stop is not None)
        except BaseException:  # Ctrl-C too: FFmpeg's handles are freed, and it is raised again
            writer.abandon()
            raise
        synced(path)
        if writer.left_out:
            self.notes.append(
                f"its audio ({', '.join(writer.left_out)}) was left out: MP4 cannot hold it"
            )
        if writer.damaged_audio:
            self.notes.append(f"{writer.damaged_audio} damaged packets of its audio were left out")
        return path

    def _start(self, first: PartRecord) -> Fraction:
        """The time that becomes 0: the file's beginning, or the first frame after --from."""
        if self._options.start:
            return first.positions[0][1] * self._clock.tick
        return self._clock.start

    def _take_pictures(self, file: str, work: Work) -> None:
        pictures = self._parts.pictures
        if pictures.is_dir():
            positions = (
                (index, pts) for part in self._parts.parts for index, pts in part.positions
            )
            rows = ([index, round(self.seconds((index, pts)), 6)] for index, pts in positions)
            write_atomically(pictures / Path(file).name, csv_text(["index", "time"], rows))
        old = self._parts.path / "replaced"
        shutil.rmtree(old, ignore_errors=True)
        work.take_folder(file, pictures, old)

    def _write_shares(self, kind: SharesFormat, file: BinaryIO) -> None:
        file.write(utf8(shares_header(kind, self._classes)))
        for part in self._parts.parts:
            for position, row in zip(part.positions, part.shares, strict=True):
                line = shares_line(kind, position[0], self.seconds(position), row, self._classes)
                file.write(utf8(line))


def _common_encoding(kind: str, parts: Sequence[PartRecord]) -> Encoding:
    """The encoding of all parts. Raises StreamError when they differ."""
    first = parts[0].encoding(kind)
    for part in parts:
        other = part.encoding(kind)
        if other != first:
            raise StreamError(
                f"the frames change from {first.size} px to {other.size} px, or their colours do",
                expected="a video has frames of one kind",
                fix="take part of it with --from and --to",
            )
    return first
