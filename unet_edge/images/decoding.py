"""Any picture as upright RGB of 8 bits.

`decode` reads a picture. `read_photo` also lets the JPEG decoder reduce it, if the contract says
so. `grid_of` also places it on the model's grid.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from unet_edge.errors import ConfigError, ImageError
from unet_edge.images.bit_depth import (
    WIDE,
    UnknownRangeError,
    grey_of_8_bits,
    is_deep_color,
    join_bytes,
    load_lower_bytes,
    stored_bits,
)
from unet_edge.images.exif_orientation import turn_of, upright
from unet_edge.images.picture_file import opened
from unet_edge.images.pixel_arrays import ChannelOrder, picture_of_array, require_channel_order
from unet_edge.images.placement import Pixels, Placement
from unet_edge.images.rgb import to_rgb
from unet_edge.images.scaled_decoding import reduce_jpeg
from unet_edge.spec import ModelSpec

ImageSource = str | Path | bytes | Image.Image | Pixels
"""A file, its bytes, a Pillow picture, or pixels as uint8 (H, W, 3) or (H, W, 4)."""


def decode(
    source: ImageSource, color_order: ChannelOrder = "rgb", *, bit_depth: int | None = None
) -> Image.Image:
    """Read a picture as 8-bit RGB, turned upright by its EXIF orientation.

    Grey, palette, CMYK, 1-bit and 16-bit pictures are converted; transparency is laid over white,
    as viewers show it. `color_order` is that of an array; files and pictures know their own.
    `bit_depth` is the contract's, see `bit_depth.py`. Pillow loads only the upper 8 bits of 16-bit
    colours: pass the file, or the picture that `Image.open` returned, not loaded yet.

    Raises ImageError when the source is missing, empty, damaged, too large or not a picture, and
    ConfigError when `color_order` is unknown, or not "rgb" for anything but an array.
    """
    require_channel_order(color_order)
    if isinstance(source, np.ndarray):
        return picture_of_array(source, color_order)
    _require_rgb_order(color_order)
    return _read(source, bit_depth)


def decode_any_range(path: Path) -> Image.Image:
    """Read a picture as `decode` does, and with 16 bits if its file does not say its range.

    The result is for looking at and comparing pictures, not for a model.
    """
    try:
        return decode(path)
    except UnknownRangeError:
        return decode(path, bit_depth=16)


def _read(
    source: str | Path | bytes | Image.Image,
    bit_depth: int | None,
    before_loading: Callable[[Image.Image], None] = lambda _: None,
) -> Image.Image:
    name = str(source) if isinstance(source, str | Path) else "the picture"
    shift = bit_depth not in (None, 16)
    page = 0
    if shift and isinstance(source, Image.Image) and is_deep_color(source):
        page = source.tell() + 1
        source = _file_of(source)  # Pillow would load only the upper 8 bits
    deep = False

    def examine(stored: Image.Image) -> None:
        nonlocal deep
        deep = is_deep_color(stored)
        before_loading(stored)

    is_ours = not isinstance(source, Image.Image)
    with opened(source, before_loading=examine, page=page) as picture:
        wide = picture.mode in WIDE
        if wide:
            turned = _turn_as(picture, grey_of_8_bits(picture, bit_depth, name))
        else:
            turned = upright(picture)
        if is_ours and turned is not picture:
            picture.close()  # so that memory holds at most two pictures of 4 bytes a pixel
        if wide or not deep or not shift:
            return to_rgb(turned)
    assert bit_depth is not None
    with opened(source, before_loading=load_lower_bytes, page=page) as lower:
        return to_rgb(join_bytes(turned, upright(lower), bit_depth))


def _file_of(picture: Image.Image) -> bytes:
    """Read the file of an opened picture that is not loaded yet; its position stays the same."""
    stream = picture.fp  # type: ignore[attr-defined]  # pictures that are not loaded have one
    if stream is None or stream.closed:
        raise ImageError(
            "the picture's file was closed before it was read",
            fix="open the picture again",
        )
    position = stream.tell()
    stream.seek(0)
    data: bytes = stream.read()
    stream.seek(position)
    return data


def _turn_as(stored: Image.Image, picture: Image.Image) -> Image.Image:
    """Turn `picture`, made from `stored`, as the EXIF block of `stored` says."""
    turn = turn_of(stored)
    return picture if turn is None else picture.transpose(turn)


def file_bits(source: Path | bytes) -> int:
    """Read the bits per channel from a picture's header; 8 for fewer.

    Raises ImageError as `decode` does.
    """
    with opened(source, load=False) as stored:
        return stored_bits(stored)


def depth_warning(source: Path | bytes, bit_depth: int | None, decoded: Image.Image) -> str | None:
    """Warn, with a fix, if a picture of more than 8 bits uses few of them; else None.

    `decoded` is the picture as `decode` reads it. Raises ImageError as `decode` does.
    """
    if bit_depth is not None or (bits := file_bits(source)) == 8:
        return None
    brightest = int(np.asarray(decoded).max())
    if brightest >= _DIM:
        return None
    return (
        f"has {bits} bits a channel, and its brightest value becomes {brightest} of 255; if its "
        "camera has 10, 12 or 14 bits, train with --bit-depth"
    )


_DIM = 64  # a picture of 14 bits in 16 reaches at most 63 of 255


@dataclass(frozen=True, eq=False)
class Photo:
    """A picture decoded for a model's grid.

    `picture` is upright RGB. `size` is (width, height) px of the photo itself. `picture` has that
    size, or both sides divided by 2, 4 or 8.
    """

    picture: Image.Image
    size: tuple[int, int]

    @property
    def is_full_size(self) -> bool:
        """Whether `picture` has the photo's own size."""
        return self.picture.size == self.size


def read_photo(
    source: ImageSource | Photo, spec: ModelSpec, color_order: ChannelOrder = "rgb"
) -> Photo:
    """Decode a picture for a model's grid, as the contract's `decoding` says; tiles use `decode`.

    "full" is `decode`. With "scaled", the JPEG decoder reduces a JPEG file (see
    `scaled_decoding.reduction`); everything else is decoded in full. A Photo is returned as it is.
    Raises ImageError and ConfigError as `decode` does.
    """
    if isinstance(source, Photo):
        return source
    if spec.decoding == "full" or isinstance(source, np.ndarray | Image.Image):
        picture = decode(source, color_order, bit_depth=spec.bit_depth)
        return Photo(picture, picture.size)
    _require_rgb_order(color_order)
    factor = 1

    def reduce(stored: Image.Image) -> None:
        nonlocal factor
        factor = reduce_jpeg(stored, lambda size: Placement.plan(size, spec).placed_size)

    picture = _read(source, spec.bit_depth, reduce)
    return Photo(picture, (picture.width * factor, picture.height * factor))


def grid_of(source: ImageSource | Photo, spec: ModelSpec) -> Pixels:
    """Read a picture and place it: the grid, uint8 (H, W, 3), that every backend takes.

    Raises ImageError as `read_photo` does.
    """
    photo = read_photo(source, spec)
    return Placement.plan(photo.size, spec).place(photo.picture)


def _require_rgb_order(color_order: ChannelOrder) -> None:
    if color_order != "rgb":
        raise ConfigError(
            f"color_order is {color_order!r}, and the picture is not an array",
            fix="leave color_order out: files and Pillow pictures know the order of their channels",
        )
