"""Pictures one after another in a stream of bytes: where each JPEG or PNG begins and ends.

A JPEG is followed by its segments (ITU-T T.81, annex B), so a thumbnail inside an EXIF segment
does not end it. A PNG is followed by its chunks. Bytes between pictures are passed over, such as
the headers of multipart/x-mixed-replace.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from unet_edge.errors import StreamError

Read = Callable[[int], bytes]
"""Gives the next bytes, at most so many, as soon as there are some; none at the end."""

_PIECE = 2**16  # bytes, the size of a pipe's buffer on Linux

LARGEST_PICTURE = 2**26
"""Bytes, 64 MiB: a JPEG of 100 megapixels at quality 95 has about 50 MiB."""


@dataclass(frozen=True)
class FoundPicture:
    """The bytes of a picture. `problem` says what is wrong, if it is damaged.

    `is_cut`: the stream ended within it.
    """

    data: bytes
    problem: str = ""
    is_cut: bool = False


def split_pictures(read: Read, largest: int = LARGEST_PICTURE) -> Iterator[FoundPicture]:
    """Yield each picture of a stream as soon as its last byte was read.

    Memory holds one picture. Raises StreamError for a picture of more than `largest` bytes, and
    for a stream that begins with that many bytes without a picture.
    """
    stream = _Stream(read, largest)
    while stream.skip_to_picture():
        try:
            end = _png_end(stream) if stream.starts_with(_PNG) else _jpeg_end(stream)
        except _BrokenError as broken:
            yield FoundPicture(stream.take(broken.end), str(broken))
        except _EndError:
            yield FoundPicture(stream.take(stream.length), "its end is missing", is_cut=True)
        else:
            yield FoundPicture(stream.take(end))


_SOI = b"\xff\xd8\xff"  # start of image, and the first byte of the marker behind it
_PNG = b"\x89PNG\r\n\x1a\n"
_STANDALONE = {0x01, *range(0xD0, 0xD8)}  # TEM and RST0 to RST7 have no length
_START, _END, _SCAN = 0xD8, 0xD9, 0xDA
_CHUNK = 12  # bytes of a PNG chunk beside its data: length, type, checksum


class _BrokenError(Exception):
    """The picture is not as its format says; the search goes on at `end`."""

    def __init__(self, problem: str, end: int) -> None:
        super().__init__(problem)
        self.end = end


class _EndError(Exception):
    """The stream ends within a picture."""


class _Stream:
    """The bytes of a stream from the picture that is being read."""

    def __init__(self, read: Read, largest: int) -> None:
        self._read = read
        self._largest = largest
        self._bytes = bytearray()

    @property
    def length(self) -> int:
        return len(self._bytes)

    def starts_with(self, prefix: bytes) -> bool:
        return self._bytes.startswith(prefix)

    def skip_to_picture(self) -> bool:
        """Drop what is before the next picture; False at the end of the stream."""
        passed = 0
        while True:
            starts = [at for mark in (_SOI, _PNG) if (at := self._bytes.find(mark)) >= 0]
            if starts:
                del self._bytes[: min(starts)]
                return True
            keep = len(_PNG) - 1  # a mark may be cut by the end of what was read
            drop = max(0, self.length - keep)
            passed += drop
            if passed > self._largest:
                raise StreamError(
                    f"{passed:,} bytes without a JPEG or PNG picture",
                    expected="pictures must come one after another",
                )
            del self._bytes[:drop]
            if not self._more():
                return False

    def byte(self, at: int) -> int:
        self.require(at + 1)
        return self._bytes[at]

    def number(self, at: int, size: int) -> int:
        """A big-endian number of `size` bytes."""
        self.require(at + size)
        return int.from_bytes(self._bytes[at : at + size], "big")

    def find(self, mark: int, at: int) -> int:
        """The position of a byte, at `at` or behind."""
        while (found := self._bytes.find(mark, at)) < 0:
            at = self.length
            self.require(at + 1)
        return found

    def require(self, length: int) -> None:
        """Read until there are `length` bytes. Raises _EndError at the end of the stream."""
        while self.length < length:
            if max(length, self.length) > self._largest:
                raise StreamError(
                    f"a picture of more than {self._largest:,} bytes, the limit",
                    fix="send smaller pictures",
                )
            if not self._more():
                raise _EndError

    def take(self, end: int) -> bytes:
        """Cut off the first `end` bytes."""
        taken = bytes(self._bytes[:end])
        del self._bytes[:end]
        return taken

    def _more(self) -> bool:
        data = self._read(_PIECE)
        self._bytes += data
        return bool(data)


def _jpeg_end(stream: _Stream) -> int:
    """The length of the JPEG at the stream's beginning."""
    at = 2
    while True:
        if stream.byte(at) != 0xFF:
            raise _BrokenError("a marker is missing", at)
        while (marker := stream.byte(at + 1)) == 0xFF:  # fill bytes may precede a marker
            at += 1
        if marker == _END:
            return at + 2
        if marker == _START:
            raise _BrokenError("the next picture begins before its end", at)
        if marker in _STANDALONE:
            at += 2
            continue
        length = stream.number(at + 2, 2)
        if marker == 0 or length < 2:
            raise _BrokenError("a marker is damaged", at + 2)
        behind = at + 2 + length
        at = _scan_end(stream, behind) if marker == _SCAN else behind


def _scan_end(stream: _Stream, at: int) -> int:
    """The position of the marker behind the entropy-coded data that begins at `at`."""
    while True:
        at = stream.find(0xFF, at)
        code = stream.byte(at + 1)
        # FF 00 is a byte FF of the data; restart markers are within it.
        if code == 0x00 or code in _STANDALONE:
            at += 2
        elif code == 0xFF:
            at += 1
        else:
            return at


def _png_end(stream: _Stream) -> int:
    """The length of the PNG at the stream's beginning."""
    at = len(_PNG)
    while True:
        length = stream.number(at, 4)
        kind = stream.number(at + 4, 4).to_bytes(4, "big")
        if not kind.isalpha():
            raise _BrokenError("a chunk is damaged", at)
        at += _CHUNK + length
        if kind == b"IEND":
            stream.require(at)
            return at
