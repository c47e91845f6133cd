"""Uploaded pictures: bodies of bounded size, in bounded memory, and the files in a form."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.requests import Request

from unet_edge.errors import ConfigError, ImageError
from unet_edge.live.errors import RequestError


@dataclass(frozen=True)
class Upload:
    """A picture's file: its name, empty without one, and its bytes."""

    name: str
    data: bytes


class UploadMemory:
    """The memory of all bodies that are held at once, in bytes."""

    def __init__(self, most: int) -> None:
        """Allow `most` bytes."""
        self.most, self.used = most, 0

    @asynccontextmanager
    async def body(self, request: Request, most: int) -> AsyncIterator[bytes]:
        """Read a request's body; its memory is counted until the context ends.

        Raises RequestError: 413 for more than `most` bytes, before they are read if the request
        tells its length; 429 when other uploads hold the memory.
        """
        length = request.headers.get("content-length", "0")
        if not length.isdigit() or int(length) > most:
            raise _too_large(most)
        held, size = bytearray(), 0
        try:
            async for chunk in request.stream():
                if size + len(chunk) > most:
                    raise _too_large(most)
                if self.used + len(chunk) > self.most:
                    raise RequestError(
                        429,
                        ConfigError(
                            "other uploads use the memory for pictures", fix="try again in 1 s"
                        ),
                        {"Retry-After": "1"},
                    )
                self.used += len(chunk)
                size += len(chunk)
                held += chunk
            yield _emptied(held)
        finally:
            self.used -= size


def _emptied(held: bytearray) -> bytes:
    """The bytes of `held`, which is emptied: they are in memory once."""
    body = bytes(held)
    held.clear()
    return body


def _too_large(most: int) -> RequestError:
    return RequestError(
        413,
        ConfigError(
            "the upload is too large",
            expected=f"it may have at most {most:,} bytes",
            fix="send smaller pictures, or start the server with a larger --max-upload",
        ),
    )


def form_files(content_type: str, body: bytes, most: int) -> list[Upload]:
    """The files in a body of type multipart/form-data; other fields are left out.

    Raises RequestError, 422 if the form is damaged, and 413 if it has more than `most` files.
    """
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise _damaged("it has no boundary")
    reader = _FormReader(most)
    try:
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": reader.begin,
                "on_part_data": reader.add,
                "on_part_end": reader.end,
                "on_header_begin": reader.header_begin,
                "on_header_field": reader.field,
                "on_header_value": reader.value,
                "on_header_end": reader.header_end,
                "on_end": reader.finish,
            },
        )
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise _damaged(str(error)) from None
    if not reader.finished:
        raise _damaged("its end is missing")
    return reader.files


def _damaged(reason: str) -> RequestError:
    return RequestError(422, ImageError(f"the form is damaged: {reason}"))


_MOST_HEADER = 4096  # bytes of a part's headers; ours is one of about 100


class _FormReader:
    """Collects the files of a form."""

    def __init__(self, most: int) -> None:
        self.files: list[Upload] = []
        self.finished = False
        self._most, self._parts = most, 0
        self._name: str | None = None
        self._data, self._field, self._value = bytearray(), bytearray(), bytearray()

    def begin(self) -> None:
        self._parts += 1
        if self._parts > self._most:
            raise RequestError(
                413,
                ConfigError(
                    f"the form has more than {self._most} parts", fix="send it in several requests"
                ),
            )
        self._name = None
        self._data = bytearray()

    def header_begin(self) -> None:
        self._field, self._value = bytearray(), bytearray()

    def field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]
        self._require_short()

    def value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]
        self._require_short()

    def header_end(self) -> None:
        if self._field.lower() == b"content-disposition":
            options = parse_options_header(bytes(self._value))[1]
            if (name := options.get(b"filename")) is not None:
                self._name = name.decode(errors="replace")

    def add(self, data: bytes, start: int, end: int) -> None:
        self._data += data[start:end]

    def end(self) -> None:
        if self._name is not None:
            self.files.append(Upload(self._name, bytes(self._data)))

    def finish(self) -> None:
        self.finished = True

    def _require_short(self) -> None:
        if len(self._field) + len(self._value) > _MOST_HEADER:
            raise _damaged("the header of a part is too long")
