"""Pictures and masks in: any picture as upright RGB, any mask as class indices.

`read_photo` turns any picture into upright RGB, reduced by the JPEG decoder where the contract
says so; `grid_of` also puts it on the model's grid.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unet_edge.errors import ConfigError, ImageError
from unet_edge.picture_file import opened, swaps_sides, upright
from unet_edge.placement import Pixels, Placement, reduction
from unet_edge.spec import ModelSpec

ImageSource = str | Path | bytes | Image.Image | Pixels
"""A file, its bytes, a Pillow picture, or pixels as uint8 (H, W, 3)."""

ChannelOrder = Literal["rgb", "bgr"]
"""The order of an array's channels; OpenCV's is "bgr"."""


def decode(source: ImageSource, color_order: ChannelOrder = "rgb") -> Image.Image:
    """Read a picture as upright (by its EXIF orientation) 8-bit RGB.

    `color_order` is that of an array; pictures know their own.

    Grey, grey with alpha, palette, RGBA, CMYK, 1-bit and 16-bit pictures are converted;
    transparency is laid over white, as viewers show it. 16-bit greys keep their upper 8 bits.

    Raises ImageError when the source is missing, empty, damaged, too large or no picture, and
    ConfigError for "bgr" of anything but an array.
    """
    if color_order not in get_args(ChannelOrder):
        raise ConfigError(f"color_order is {color_order!r}; known are rgb, bgr")
    if isinstance(source, np.ndarray):
        return _from_array(source, color_order)
    _require_own_order(color_order)
    with opened(source) as picture:
        return _upright_rgb(picture, is_own=not isinstance(source, Image.Image))


@dataclass(frozen=True, eq=False)
class Photo:
    """A picture that was decoded for a model's grid.

    `picture` is upright RGB. `size` is (width, height) px of the photo itself; `picture` has these
    sides, or each divided by the same 2, 4 or 8.
    """

    picture: Image.Image
    size: tuple[int, int]

    @property
    def whole(self) -> bool:
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
        picture = decode(source, color_order)
        return Photo(picture, picture.size)
    _require_own_order(color_order)
    factor = 1

    def reduce(stored: Image.Image) -> None:
        nonlocal factor
        factor = _reduce(stored, spec)

    with opened(source, before_loading=reduce) as stored:
        picture = _upright_rgb(stored, is_own=True)
    return Photo(picture, (picture.width * factor, picture.height * factor))


def grid_of(source: ImageSource | Photo, spec: ModelSpec) -> Pixels:
    """Read, plan and place in one step: the grid, uint8 (H, W, 3), that every backend is fed.

    Raises ImageError as `read_photo` does.
    """
    photo = read_photo(source, spec)
    return Placement.plan(photo.size, spec).place(photo.picture)


def _reduce(stored: Image.Image, spec: ModelSpec) -> int:
    """Tell the decoder of a JPEG that is not loaded yet by what to divide it; that number."""
    # MPO is JPEG with more pictures behind it. Without quantisation tables it is lossless JPEG,
    # of which libjpeg-turbo reduces nothing.
    if stored.format not in ("JPEG", "MPO") or not getattr(stored, "quantization", None):
        return 1
    width, height = stored.size
    factor = reduction((height, width) if swaps_sides(stored) else (width, height), spec)
    if factor > 1:
        # Pillow takes the largest of 8, 4, 2, 1 that leaves at least this: `factor` itself.
        stored.draft(None, (width // factor, height // factor))
    return factor


def _require_own_order(color_order: ChannelOrder) -> None:
    if color_order != "rgb":
        raise ConfigError(
            "color_order is for arrays; files and Pillow pictures know the order of their channels"
        )


def read_labels(source: Path | bytes) -> Image.Image:
    """Read a mask file, or its bytes, as single-channel values, undecoded by any palette.

    Palette pictures give their indices, 1-bit pictures give 0 and 255; RGB(A) and CMYK masks
    whose channels are equal give that grey. EXIF orientation is honoured, as for the picture.

    Raises ImageError as `decode` does, and when the mask is coloured.
    """
    name = "" if isinstance(source, bytes) else f" {source}"
    with opened(source) as stored:
        picture = upright(stored)
        if picture.mode in ("L", "P"):
            # A palette picture's bytes are the class indices; its colours are for the eye.
            return Image.frombytes("L", picture.size, picture.tobytes())
        if picture.mode == "1":
            return picture.convert("L")
        if picture.mode == "LA":
            return picture.getchannel("L")
        if picture.mode in ("I;16", "I;16L", "I;16B", "I", "F"):
            values = np.asarray(picture)
            if values.min() < 0 or values.max() > 255 or (values != np.floor(values)).any():
                raise ImageError(
                    f"mask{name} holds values from {values.min()} to {values.max()}; "
                    "class indices are whole numbers of 0..255"
                )
            return Image.fromarray(values.astype(np.uint8))
        channels = np.asarray(picture.convert("RGB"))
        if (channels != channels[..., :1]).any():
            raise ImageError(
                f"mask{name} is a colour picture ({picture.mode}); "
                "expected class indices or black and white in one channel"
            )
        return Image.fromarray(np.ascontiguousarray(channels[..., 0]))


def read_colors(source: Path | bytes) -> Pixels:
    """Read a colour-coded mask file, or its bytes, as RGB: uint8 (H, W, 3), transparency dropped.

    EXIF orientation is honoured, as for the picture. Raises ImageError as `decode` does.
    """
    with opened(source) as stored:
        picture = upright(stored)
        if picture.mode.startswith("I") or picture.mode == "F":
            name = "" if isinstance(source, bytes) else f" {source}"
            raise ImageError(f"mask{name} holds numbers ({picture.mode}), not colours")
        return np.array(picture.convert("RGB"))


def _from_array(pixels: NDArray[np.uint8], order: ChannelOrder) -> Image.Image:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise ImageError(
            f"expected {order.upper()} pixels as uint8 (H, W, 3), got {pixels.dtype} {pixels.shape}"
        )
    return Image.fromarray(np.ascontiguousarray(pixels[..., ::-1] if order == "bgr" else pixels))


def _upright_rgb(stored: Image.Image, *, is_own: bool) -> Image.Image:
    """A picture, which is closed if it is our own, as upright RGB."""
    picture = upright(stored)
    if is_own and picture is not stored:
        stored.close()  # at most two pictures of 4 bytes a pixel are held
    return _rgb(picture)


_STRIP = 2**18
"""Pixels converted at once: the steps between take up to 30 bytes for each."""


def _rgb(picture: Image.Image) -> Image.Image:
    if picture.mode == "RGB" and "transparency" not in picture.info:
        return picture
    shift = 0
    if picture.mode in ("I;16", "I;16L", "I;16B", "I"):
        # Pillow's own conversion clips at 255, which turns 16-bit microscopy white. "I" is how
        # Pillow opens some 16-bit files; values that fit 8 bits are left as they are.
        shift = 8 if picture.mode != "I" or cast(int, picture.getextrema()[1]) > 255 else 0
    rows = max(1, _STRIP // picture.width)
    if picture.height <= rows:
        return _rgb_strip(picture, shift)
    result = Image.new("RGB", picture.size)
    for top in range(0, picture.height, rows):
        strip = picture.crop((0, top, picture.width, min(top + rows, picture.height)))
        result.paste(_rgb_strip(strip, shift), (0, top))
    return result


def _rgb_strip(picture: Image.Image, shift: int) -> Image.Image:
    """A few rows as RGB; numbers of more than 8 bits are shifted down."""
    if picture.mode in ("I;16", "I;16L", "I;16B", "I"):
        values = np.asarray(picture).astype(np.int64) >> shift
        return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8)).convert("RGB")
    if picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        canvas = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return Image.alpha_composite(canvas, layer).convert("RGB")
    return picture.convert("RGB")
