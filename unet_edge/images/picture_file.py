"""The file of a picture: opening it safely, and reading its header.

Every exception of Pillow becomes an ImageError that names the file.
"""

from __future__ import annotations

import io
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from unet_edge.errors import ImageError
from unet_edge.images.exif_orientation import ORIENTATION_TAG
from unet_edge.images.pillow_warnings import no_warnings

# An allow-list: Pillow's rarer parsers have a history of vulnerabilities, and none of them
# holds photographs or masks. JPEG includes MPO, which some cameras write.
FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF", "PPM")
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp", ".gif", ".ppm", ".pgm")

MAX_PIXELS = 178_956_970
"""Larger pictures are refused before they are decoded: Pillow's own limit, 512 MiB of RGB."""

MAX_BYTES = 2**31
"""Larger files are refused before they are read: 12 bytes for each of MAX_PIXELS."""


@dataclass(frozen=True)
class Header:
    """What a picture file says about itself, before it is decoded.

    `size` is (width, height) px as stored; `exif_orientation` is 1 where there is none.
    `lossy` says that the compression changes values.
    """

    format: str
    mode: str
    size: tuple[int, int]
    frames: int
    exif_orientation: int
    lossy: bool = False


def read_header(source: Path | bytes) -> Header:
    """Read a picture's header. Raises ImageError as `decode` does, but not for damaged pixels."""
    with opened(source, load=False) as picture:
        exif_orientation = frames = 1
        try:
            with no_warnings():
                exif_orientation = int(picture.getexif().get(ORIENTATION_TAG, 1))
                frames = getattr(picture, "n_frames", 1)
        except Exception:  # Pillow raises SyntaxError, struct.error, EOFError and others
            pass  # a block that cannot be read counts as missing
        name, lossy = picture.format or "", _is_lossy(picture, source)
        return Header(name, picture.mode, picture.size, frames, exif_orientation, lossy)


def _is_lossy(picture: Image.Image, source: Path | bytes) -> bool:
    match picture.format:
        case "JPEG" | "MPO":
            # Lossless JPEG has no quantisation tables.
            return bool(getattr(picture, "quantization", None))
        case "WEBP":
            return _is_lossy_webp(source)
        case "TIFF":
            return picture.info.get("compression") in ("jpeg", "tiff_jpeg", "webp")
        case _:
            return False


def _is_lossy_webp(source: Path | bytes) -> bool:
    """Whether a WebP file's first picture is a VP8 chunk; VP8L is lossless (RFC 9649)."""
    data = source if isinstance(source, bytes) else source.read_bytes()
    position = 12  # behind "RIFF", the size and "WEBP"
    while position + 8 <= len(data):
        kind = data[position : position + 4]
        size = int.from_bytes(data[position + 4 : position + 8], "little")
        if kind in (b"VP8 ", b"VP8L"):
            return kind == b"VP8 "
        if kind == b"ANMF":  # a frame: 16 bytes about it, then its chunks
            position += 8 + 16
            continue
        position += 8 + size + size % 2
    return False


def page_path(file: Path, number: int) -> Path:
    """The path of a page of a TIFF, or a frame of a GIF, WebP or PNG: scan.tif/0001 is the first.

    It can be opened and decoded as a file can.
    """
    return file / f"{number:04}"


def file_and_page(path: Path) -> tuple[Path, int]:
    """The file of a path by `page_path`, and the page's number; 0 for any other path."""
    file = path.parent
    is_number = re.fullmatch(r"\d{4,}", path.name) and path.name.isascii()
    if is_number and has_pages(file) and file.is_file():
        return file, int(path.name)
    return path, 0


_PAGED_SUFFIXES = (".tif", ".tiff", ".gif", ".webp", ".png")


def has_pages(file: Path) -> bool:
    """Whether a file of this name may hold several pictures that `page_path` names."""
    return file.suffix.lower() in _PAGED_SUFFIXES


def shown_name(path: Path) -> str:
    """A picture's name without its folder: photo.jpg, or scan.tif/0001 for a page."""
    file, page = file_and_page(path)
    return f"{file.name}/{path.name}" if page else path.name


def stem_of(path: Path) -> str:
    """A picture's name without its suffix: photo, or scan-0001 for a page."""
    file, page = file_and_page(path)
    return f"{file.stem}-{path.name}" if page else path.stem


def pages_of(file: Path) -> list[Path]:
    """The paths of the pages or frames of a file; the file itself if it holds one picture."""
    count = count_frames(file) if has_pages(file) else 1
    return [page_path(file, number + 1) for number in range(count)] if count > 1 else [file]


def count_frames(source: Path | bytes) -> int:
    """Count the pictures in a file: pages of TIFF, frames of GIF and WebP, JPEGs of MJPEG.

    1 for a file that cannot be read, and for MPO, whose other pictures are views of the first.
    """
    if isinstance(source, Path) and file_and_page(source)[1]:
        return 1
    try:
        with opened(source, load=False) as picture, no_warnings():
            if picture.format == "JPEG":
                return 1 + _jpegs_behind(source)
            return 1 if picture.format == "MPO" else int(getattr(picture, "n_frames", 1))
    except Exception:  # Pillow raises SyntaxError, struct.error, EOFError and others
        return 1


# The end of a JPEG and the start of the next: "end" and "start of image" of ISO/IEC 10918-1.
_NEXT_JPEG = b"\xff\xd9\xff\xd8"


def _jpegs_behind(source: Path | bytes) -> int:
    if isinstance(source, bytes):
        return source.count(_NEXT_JPEG)
    import mmap

    count, at = 0, 0
    with source.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        while (at := data.find(_NEXT_JPEG, at)) >= 0:
            count, at = count + 1, at + len(_NEXT_JPEG)
    return count


@contextmanager
def opened(
    source: str | Path | bytes | Image.Image,
    *,
    load: bool = True,
    before_loading: Callable[[Image.Image], None] = lambda _: None,
    page: int = 0,
) -> Iterator[Image.Image]:
    """Yield the opened picture, loaded if `load`; raises ImageError for every failure of Pillow.

    `before_loading` gets the picture when its header was read. A Pillow picture is always loaded,
    without `before_loading`. `page` counts the pictures of a file from 1; 0 is the first, too.
    """
    if isinstance(source, Image.Image):
        try:
            source.load()  # Pillow opens files lazily
        except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, …
            raise ImageError(f"the picture is damaged: {error}") from error
        yield source
        return
    name = "the picture" if isinstance(source, bytes) else str(source)
    if isinstance(source, str | Path) and not page:
        source, page = file_and_page(Path(source))
    with _stream(source, name, at_once=not page) as stream:
        try:
            with no_warnings():
                picture: Image.Image = Image.open(stream, formats=FORMATS)
                if page > 1:
                    picture = _turned_to(picture, page, source)
            if load:
                before_loading(picture)
                picture.load()
        except MemoryError:
            raise _too_large(name) from None
        except Image.DecompressionBombError:
            raise ImageError(
                f"has more than {MAX_PIXELS // 1_000_000} megapixels, the limit",
                fix="make it smaller, or cut it into parts",
                subject=name,
            ) from None
        except UnidentifiedImageError:
            raise ImageError(
                "is not a picture that can be read",
                expected=f"its format must be one of {', '.join(FORMATS)}",
                subject=name,
            ) from None
        except ImageError as error:  # from `before_loading`
            raise type(error)(
                error.found, expected=error.expected, fix=error.fix, subject=f"{name}:"
            ) from None
        except Exception as error:  # Pillow's decoders: OSError, SyntaxError, struct.error, …
            raise ImageError(f"is damaged: {error}", subject=name) from error
        try:
            yield picture
        except MemoryError:
            raise _too_large(name) from None


def _turned_to(picture: Image.Image, page: int, source: str | Path | bytes) -> Image.Image:
    """An opened picture's page or frame, counted from 1."""
    if picture.format in ("GIF", "WEBP") and isinstance(source, Path):
        from unet_edge.images.animation import animation_frame

        return animation_frame(source, page - 1)
    picture.seek(page - 1)
    if picture.width * picture.height > MAX_PIXELS:  # pages may have different sizes
        raise Image.DecompressionBombError
    return picture


def _too_large(name: str) -> ImageError:
    return ImageError(
        "needs more memory than is free", fix="make it smaller, or cut it into parts", subject=name
    )


@contextmanager
def _stream(source: str | Path | bytes, name: str, *, at_once: bool) -> Iterator[BinaryIO]:
    """Yield the bytes to decode. JPEG files are read while they are decoded, others `at_once`."""
    if isinstance(source, bytes):
        if not source:
            raise ImageError("is empty (0 bytes)", subject=name)
        yield io.BytesIO(source)
        return
    try:
        # Without O_NONBLOCK, opening a fifo waits for another process to write into it.
        handle = os.open(source, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        file = os.fdopen(handle, "rb")  # raises IsADirectoryError and closes it
    except FileNotFoundError:
        raise ImageError(f"no such picture: {name}") from None
    except IsADirectoryError:
        raise ImageError("is a folder, not a picture", subject=name) from None
    except OSError as error:
        raise ImageError(f"cannot read {name}: {error.strerror or error}") from error
    except ValueError as error:  # a NUL in the name
        raise ImageError(f"cannot read {name!r}: {error}") from error
    with file:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise ImageError(
                f"cannot read {name}: it is not a regular file",
                fix="pass its bytes",
            )
        if status.st_size > MAX_BYTES:
            raise ImageError(
                f"cannot read {name}: it has {status.st_size:,} bytes",
                expected=f"there may be at most {MAX_BYTES:,}",
            )
        try:
            # Read while it is decoded: a 12-megapixel photo has 3 to 6 MB beside 48 MB of pixels.
            jpeg = file.peek(2)[:2] == _JPEG
            by_need = jpeg or not at_once
            data = b"" if by_need else file.read()
        except OSError as error:
            raise ImageError(f"cannot read {name}: {error.strerror or error}") from error
        if not (by_need or data):
            raise ImageError("is empty (0 bytes)", subject=name)
        yield file if by_need else io.BytesIO(data)


# The first bytes of a JPEG file: ISO/IEC 10918-1's marker "start of image".
_JPEG = b"\xff\xd8"
