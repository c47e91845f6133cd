"""Pictures and masks in: any picture as upright RGB, any mask as class indices.

`read_photo` turns any picture into upright RGB, reduced by the JPEG decoder where the contract
says so; `grid_of` also puts it on the model's grid.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unet_edge.errors import ConfigError, ImageError
from unet_edge.images.bit_depth import (
    WIDE,
    UnknownRangeError,
    grey_of_8_bits,
    is_deep_color,
    joined,
    load_lower_bytes,
    stored_bits,
)
from unet_edge.images.exif_orientation import turn_of, upright
from unet_edge.images.picture_file import opened
from unet_edge.images.placement import Pixels, Placement
from unet_edge.images.scaled_decoding import reduce_jpeg
from unet_edge.spec import ModelSpec

ImageSource = str | Path | bytes | Image.Image | Pixels
"""A file, its bytes, a Pillow picture, or pixels as uint8 (H, W, 3) or (H, W, 4)."""

ChannelOrder = Literal["rgb", "bgr", "rgba", "bgra", "rgbx", "bgrx"]
"""The order of an array's channels; OpenCV's is "bgr". `a` is alpha, laid over white; `x` is a
channel that means nothing, as many cameras and screens have."""


def decode(
    source: ImageSource, color_order: ChannelOrder = "rgb", *, bit_depth: int | None = None
) -> Image.Image:
    """Read a picture as upright (by its EXIF orientation) 8-bit RGB.

    `color_order` is that of an array; pictures know their own.

    Grey, grey with alpha, palette, RGBA, CMYK, 1-bit and 16-bit pictures are converted;
    transparency is laid over white, as viewers show it. `bit_depth` is the contract's: how many
    bits values of more than 8 bits use, see `bit_depth.py`. Of 16-bit colours, Pillow loads the
    upper 8 bits: give the file, or the picture as `Image.open` returns it, not loaded.

    Raises ImageError when the source is missing, empty, damaged, too large or no picture, and
    ConfigError for another order than "rgb" of anything but an array.
    """
    if color_order not in get_args(ChannelOrder):
        known = ", ".join(get_args(ChannelOrder))
        raise ConfigError(
            f"color_order is {color_order!r}",
            expected=f"known are {known}",
        )
    if isinstance(source, np.ndarray):
        return _from_array(source, color_order)
    _require_own_order(color_order)
    return _read(source, bit_depth)


def decoded_by_any_range(path: Path) -> Image.Image:
    """As `decode`, for a look: a picture that does not say its range is read as of 16 bits.

    Raises ImageError as `decode` does.
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
    if shift and isinstance(source, Image.Image) and is_deep_color(source):
        source = _file_behind(source)  # Pillow would load the upper 8 bits alone
    deep = False

    def look(stored: Image.Image) -> None:
        nonlocal deep
        deep = is_deep_color(stored)
        before_loading(stored)

    own = not isinstance(source, Image.Image)
    with opened(source, before_loading=look) as picture:
        wide = picture.mode in WIDE
        if wide:
            turned = _upright_as(picture, grey_of_8_bits(picture, bit_depth, name))
        else:
            turned = upright(picture)
        if own and turned is not picture:
            picture.close()  # at most two pictures of 4 bytes a pixel are held
        if wide or not deep or not shift:
            return _rgb(turned)
    assert bit_depth is not None
    with opened(source, before_loading=load_lower_bytes) as lower:
        return _rgb(joined(turned, upright(lower), bit_depth))


def _file_behind(picture: Image.Image) -> bytes:
    """The file of a picture that was opened and is not loaded yet; its place is left as it was."""
    if picture.tell() > 0:
        raise ImageError(
            f"the picture is frame {picture.tell() + 1} of its file, with 16 bits "
            "a channel, of which only the first can be read by a bit depth",
            fix="save it as a file of its own",
        )
    stream = picture.fp  # type: ignore[attr-defined]  # pictures that are not loaded have it
    if stream is None or stream.closed:
        raise ImageError(
            "the picture's file was closed before it was read",
            fix="open it again",
        )
    place = stream.tell()
    stream.seek(0)
    data: bytes = stream.read()
    stream.seek(place)
    return data


def _upright_as(stored: Image.Image, picture: Image.Image) -> Image.Image:
    """`picture`, made of `stored`, as the EXIF block of the latter says."""
    turn = turn_of(stored)
    return picture if turn is None else picture.transpose(turn)


def file_bits(source: Path | bytes) -> int:
    """Bits a channel of a picture's file, by its header; 8 for fewer.

    Raises ImageError as `decode` does.
    """
    with opened(source, load=False) as stored:
        return stored_bits(stored)


def depth_warning(source: Path | bytes, bit_depth: int | None, decoded: Image.Image) -> str | None:
    """That a picture of more than 8 bits uses few of them, with what to do; else None.

    `decoded` is the picture as `decode` reads it. Raises ImageError as `decode` does.
    """
    if bit_depth is not None or (bits := file_bits(source)) == 8:
        return None
    brightest = int(np.asarray(decoded).max())
    if brightest >= _DIM:
        return None
    return (
        f"has {bits} bits a channel, and its brightest value becomes {brightest} of 255; if it is "
        "of a camera of 10, 12 or 14 bits, train with --bit-depth"
    )


# What a picture of 14 bits in 16 reaches at most is 63 of 255.
_DIM = 64


@dataclass(frozen=True, eq=False)
class Photo:
    """A picture that was decoded for a model's grid.

    `picture` is upright RGB. `size` is (width, height) px of the photo itself; `picture` has these
    sides, or each divided by the same 2, 4 or 8.
    """

    picture: Image.Image
    size: tuple[int, int]

    @property
    def is_full_size(self) -> bool:
        """Whether `picture` is the photo itself, not a reduced one."""
        return self.picture.size == self.size


def read_photo(
    source: ImageSource | Photo, spec: ModelSpec, color_order: ChannelOrder = "rgb"
) -> Photo:
    """Read a picture as the contract wants it decoded; every file reaches a grid through here.

    "full" is `decode`. With "scaled", the JPEG decoder reduces a file (see `reduction`); other
    files, arrays and Pillow pictures are used as they are. A Photo is returned as it is.

    Raises ImageError and ConfigError as `decode` does.
    """
    if isinstance(source, Photo):
        return source
    if spec.decoding == "full" or isinstance(source, np.ndarray | Image.Image):
        picture = decode(source, color_order, bit_depth=spec.bit_depth)
        return Photo(picture, picture.size)
    _require_own_order(color_order)
    factor = 1

    def reduce(stored: Image.Image) -> None:
        nonlocal factor
        factor = reduce_jpeg(stored, spec)

    picture = _read(source, spec.bit_depth, reduce)
    return Photo(picture, (picture.width * factor, picture.height * factor))


def grid_of(source: ImageSource | Photo, spec: ModelSpec) -> Pixels:
    """Read, plan and place in one step: the grid, uint8 (H, W, 3), that every backend is fed.

    Raises ImageError as `read_photo` does.
    """
    photo = read_photo(source, spec)
    return Placement.plan(photo.size, spec).place(photo.picture)


def _require_own_order(color_order: ChannelOrder) -> None:
    if color_order != "rgb":
        raise ConfigError(
            "color_order is for arrays",
            fix="files and Pillow pictures know the order of their channels",
        )


def _from_array(pixels: NDArray[np.uint8], order: ChannelOrder) -> Image.Image:
    channels = len(order)
    if (
        pixels.dtype != np.uint8
        or pixels.ndim != 3
        or pixels.shape[2] != channels
        or not pixels.size
    ):
        raise ImageError(
            f"expected {order.upper()} pixels as uint8 (H, W, {channels}), got {pixels.dtype} "
            f"{pixels.shape}{_array_remedy(pixels, order)}"
        )
    colors = pixels[..., 2::-1] if order.startswith("bgr") else pixels[..., :3]
    if not order.endswith("a"):
        return Image.fromarray(np.ascontiguousarray(colors))
    return _over_white(Image.fromarray(np.dstack((colors, pixels[..., 3]))))


def _array_remedy(pixels: NDArray[np.generic], order: ChannelOrder) -> str:
    """What to do with an array of another kind, as the end of a sentence."""
    if pixels.dtype != np.uint8:
        return "; convert its range to 0..255 and its type to uint8"
    match pixels.shape:
        case (_, _, 4):
            return "; name the order of four channels: color_order='bgra', 'rgba', 'bgrx' or 'rgbx'"
        case (_, _, 3):
            return f"; name the order of three channels: color_order='{order[:3]}'"
        case (_, _) | (_, _, 1):
            return "; make grey a picture: Image.fromarray(array.squeeze())"
        case _:
            return ""


_STRIP = 2**18
"""Pixels converted at once: the steps between take up to 30 bytes for each."""


def _rgb(picture: Image.Image) -> Image.Image:
    if picture.mode == "RGB" and "transparency" not in picture.info:
        return picture
    if picture.width * picture.height <= _STRIP:
        return _rgb_strip(picture)
    result = Image.new("RGB", picture.size)
    for top, strip in strips(picture):
        result.paste(_rgb_strip(strip), (0, top))
    return result


def strips(picture: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """A picture in strips of rows, each with its first row."""
    rows = max(1, _STRIP // picture.width)
    for top in range(0, picture.height, rows):
        yield top, picture.crop((0, top, picture.width, min(top + rows, picture.height)))


def _rgb_strip(picture: Image.Image) -> Image.Image:
    """A few rows as RGB."""
    if picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info:
        return _over_white(picture.convert("RGBA"))
    return picture.convert("RGB")


def _over_white(layer: Image.Image) -> Image.Image:
    """An RGBA picture as viewers show it."""
    canvas = Image.new("RGBA", layer.size, (255, 255, 255, 255))
    return Image.alpha_composite(canvas, layer).convert("RGB")
