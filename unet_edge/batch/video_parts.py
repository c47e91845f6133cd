"""The parts of a video that is being segmented: what a killed run has finished.

A part holds the encoded frames of about two seconds, and where the next part begins. Its file
appears complete or not at all. So a run that was killed at any moment goes on after its last part,
and the packets of all parts follow each other in the finished files without encoding them again.

A part's file is a line of JSON, the record, and then the packets and the scores that it lists.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from unet_edge.sinks.encoding import EncodedPacket, Encoding
from unet_edge.system.files import temporary_file_target, write_atomically

Position = tuple[int, int]
"""A frame's (index, pts)."""

_IDENTITY = "settings.json"


@dataclass(frozen=True)
class Track:
    """The encoded frames of one output."""

    encoding: Encoding
    packets: Sequence[EncodedPacket]


@dataclass(frozen=True)
class Part:
    """Some frames of a video, one after another.

    `next` is the first frame after them, None at the end of the video. `shares` are those of the
    classes, a row a frame. `scores` are the smoothed ones after the last frame, if they are used.
    """

    positions: Sequence[Position]
    next: Position | None
    size: tuple[int, int]
    shares: Sequence[tuple[float, ...]]
    tracks: dict[str, Track] = field(default_factory=dict)
    scores: NDArray[np.float32] | None = None


class PartRecord:
    """A part in its file; packets and scores are read when they are needed."""

    def __init__(self, path: Path) -> None:
        """Read the record. Raises ValueError, KeyError or TypeError when it is damaged."""
        self.path = path
        with path.open("rb") as file:
            line = file.readline()
        record = json.loads(line)
        self.positions: list[Position] = [(index, pts) for index, pts in record["positions"]]
        self.next: Position | None = tuple(record["next"]) if record["next"] else None
        self.size: tuple[int, int] = tuple(record["size"])
        self.shares: list[list[float]] = record["shares"]
        self._tracks: dict[str, Any] = record["tracks"]
        self._scores_shape: list[int] | None = record["scores"]
        self._begin = len(line)
        sizes = [size for track in self._tracks.values() for size, _, _ in track["packets"]]
        scores = 4 * int(np.prod(self._scores_shape)) if self._scores_shape else 0
        self._scores_at = self._begin + sum(sizes)
        if path.stat().st_size != self._scores_at + scores:
            raise ValueError("a part has lost some of its bytes")

    def encoding(self, kind: str) -> Encoding:
        """How the frames of an output are encoded."""
        return Encoding.from_dict(self._tracks[kind]["encoding"])

    def packets(self, kind: str) -> Iterator[EncodedPacket]:
        """Read the packets of an output, in order."""
        with self.path.open("rb") as file:
            at = self._begin
            for name, track in self._tracks.items():
                if name == kind:
                    file.seek(at)
                    for size, pts, is_key in track["packets"]:
                        yield EncodedPacket(file.read(size), pts, is_key)
                at += sum(size for size, _, _ in track["packets"])

    def scores(self) -> NDArray[np.float32] | None:
        """The smoothed scores after the last frame, float32 (h, w, classes)."""
        if self._scores_shape is None:
            return None
        with self.path.open("rb") as file:
            file.seek(self._scores_at)
            return np.frombuffer(file.read(), np.float32).reshape(self._scores_shape)


class PartsFolder:
    """The hidden folder of a video's parts, beside its outputs."""

    def __init__(self, path: Path, identity: dict[str, Any]) -> None:
        """Read what an earlier run with the same `identity` has finished; delete anything else."""
        self.path = path
        self.pictures = path / "palette"
        if not _is_of(path, identity):
            self.delete()
            write_atomically(path / _IDENTITY, _text(identity))
        for folder in (path, self.pictures):
            for file in folder.iterdir() if folder.is_dir() else ():
                if temporary_file_target(file.name) is not None:
                    file.unlink(missing_ok=True)
        self.parts = self._finished()

    @property
    def frames(self) -> int:
        """The number of frames in all parts."""
        return sum(len(part.positions) for part in self.parts)

    @property
    def is_complete(self) -> bool:
        """Whether the last part is the video's last."""
        return bool(self.parts) and self.parts[-1].next is None

    def add(self, part: Part) -> None:
        """Write a part, complete or not at all."""
        path = self.path / _name(len(self.parts))
        write_atomically(path, lambda file: _write(part, file))
        self.parts.append(PartRecord(path))

    def delete(self) -> None:
        """Delete all parts and the folder."""
        # First the identity: what a kill leaves of the parts must not be used.
        with contextlib.suppress(OSError):
            (self.path / _IDENTITY).unlink()
        shutil.rmtree(self.path, ignore_errors=True)

    def _finished(self) -> list[PartRecord]:
        parts: list[PartRecord] = []
        while (path := self.path / _name(len(parts))).is_file():
            try:
                part = PartRecord(path)
            except (ValueError, KeyError, TypeError):  # as after a power cut
                break
            if parts and parts[-1].next != part.positions[0]:
                break
            parts.append(part)
        return parts


def delete_finished(path: Path, identity: dict[str, Any]) -> None:
    """Delete what is left of the parts of a finished video, whose run was killed at its end."""
    if path.is_dir() and (_is_of(path, identity) or not (path / _IDENTITY).exists()):
        shutil.rmtree(path, ignore_errors=True)


def _is_of(path: Path, identity: dict[str, Any]) -> bool:
    kept = path / _IDENTITY
    return kept.is_file() and kept.read_bytes() == _text(identity).encode()


def _text(identity: dict[str, Any]) -> str:
    return json.dumps(identity, sort_keys=True)


def _name(number: int) -> str:
    return f"{number:06d}.part"


def _write(part: Part, file: BinaryIO) -> None:
    record = {
        "positions": part.positions,
        "next": part.next,
        "size": part.size,
        "shares": part.shares,
        "tracks": {
            kind: {
                "encoding": track.encoding.to_dict(),
                "packets": [(len(p.data), p.pts, p.is_key) for p in track.packets],
            }
            for kind, track in part.tracks.items()
        },
        "scores": part.scores.shape if part.scores is not None else None,
    }
    file.write(json.dumps(record).encode() + b"\n")
    for track in part.tracks.values():
        for packet in track.packets:
            file.write(packet.data)
    if part.scores is not None:
        file.write(part.scores.astype(np.float32).tobytes())
