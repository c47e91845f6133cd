"""Pictures in, grids out, and masks back: the one geometry of training, conversion and device.

`read_photo` turns any picture into upright RGB, reduced by the JPEG decoder where the contract
says so; `Placement` puts it on the model's grid and brings a mask back to the picture's own size.
Resampling of pictures is Pillow's 8-bit fixed-point code and resampling of labels is integer
arithmetic, so x86 and ARM give the same bytes.
"""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, assert_never, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from unet_edge.errors import ConfigError, ImageError
from unet_edge.spec import IGNORE, ModelSpec, Resample

Pixels = NDArray[np.uint8]
"""RGB pixels, uint8, shape (H, W, 3)."""

Labels = NDArray[np.uint8]
"""Class indices, uint8, shape (H, W); 255 is ignored."""

ImageSource = str | Path | bytes | Image.Image | Pixels
"""A file, its bytes, a Pillow picture, or pixels as uint8 (H, W, 3)."""

ChannelOrder = Literal["rgb", "bgr"]
"""The order of an array's channels; OpenCV's is "bgr"."""

# An allow-list: Pillow's rarer parsers have a history of vulnerabilities, and none of them
# holds photographs or masks. JPEG includes MPO, which some cameras write.
FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF", "PPM")
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp", ".gif", ".ppm", ".pgm")

MAX_PIXELS = 178_956_970
"""Larger pictures are refused before they are decoded: Pillow's own limit, 512 MiB of RGB."""

FILTERS: dict[Resample, Image.Resampling] = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "box": Image.Resampling.BOX,
}


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
    with _opened(source) as picture:
        return _rgb(_upright(picture))


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

    with _opened(source, before_loading=reduce) as stored:
        picture = _rgb(_upright(stored))
    return Photo(picture, (picture.width * factor, picture.height * factor))


def reduction(size: tuple[int, int], spec: ModelSpec) -> int:
    """What the JPEG decoder divides the sides of an upright photo by under "scaled": 8, 4, 2 or 1.

    The largest that divides both sides of `size` = (width, height) px, so that the reduced photo
    shows exactly the same, and that leaves each at least 1.25 times as long as on the grid.
    """
    placement = Placement.plan(size, spec)
    for factor in (8, 4, 2):
        if all(
            side % factor == 0 and 4 * side >= 5 * factor * placed
            for side, placed in zip(
                size, (placement.placed_width, placement.placed_height), strict=True
            )
        ):
            return factor
    return 1


def _reduce(stored: Image.Image, spec: ModelSpec) -> int:
    """Tell the decoder of a JPEG that is not loaded yet by what to divide it; that number."""
    # MPO is JPEG with more pictures behind it. Without quantisation tables it is lossless JPEG,
    # of which libjpeg-turbo reduces nothing.
    if stored.format not in ("JPEG", "MPO") or not getattr(stored, "quantization", None):
        return 1
    width, height = stored.size
    factor = reduction((height, width) if _turn(stored) in _SWAPPING else (width, height), spec)
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
    with _opened(source) as opened:
        picture = _upright(opened)
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
    with _opened(source) as opened:
        picture = _upright(opened)
        if picture.mode.startswith("I") or picture.mode == "F":
            name = "" if isinstance(source, bytes) else f" {source}"
            raise ImageError(f"mask{name} holds numbers ({picture.mode}), not colours")
        return np.array(picture.convert("RGB"))


@dataclass(frozen=True)
class Header:
    """What a picture file says of itself, before it is decoded.

    `size` is (width, height) px as stored; `orientation` is EXIF's, 1 where there is none.
    """

    format: str
    mode: str
    size: tuple[int, int]
    frames: int
    orientation: int


def read_header(source: Path | bytes) -> Header:
    """Read a picture's header. Raises ImageError as `decode` does, damaged pixels apart."""
    with _opened(source, load=False) as picture:
        orientation = frames = 1
        try:
            with _no_warnings():
                orientation = int(picture.getexif().get(_ORIENTATION, 1))
                frames = getattr(picture, "n_frames", 1)
        except Exception:  # as in _upright: a block that cannot be read says nothing
            pass
        return Header(picture.format or "", picture.mode, picture.size, frames, orientation)


@contextmanager
def _opened(
    source: str | Path | bytes | Image.Image,
    *,
    load: bool = True,
    before_loading: Callable[[Image.Image], None] = lambda _: None,
) -> Iterator[Image.Image]:
    """Yield the picture, every failure of Pillow's turned into one ImageError."""
    if isinstance(source, Image.Image):
        try:
            source.load()  # Pillow opens files lazily
        except Exception as error:
            raise ImageError(f"the picture is damaged: {error}") from error
        yield source
        return
    name = "the picture" if isinstance(source, bytes) else str(source)
    with _stream(source, name) as stream:
        try:
            with _no_warnings():
                picture = Image.open(stream, formats=FORMATS)
            if load:
                before_loading(picture)
                picture.load()
        except Image.DecompressionBombError:
            raise ImageError(
                f"{name} has more than {MAX_PIXELS // 1_000_000} megapixels, the limit"
            ) from None
        except UnidentifiedImageError:
            raise ImageError(
                f"{name} is not a picture this tool reads (known: {', '.join(FORMATS)})"
            ) from None
        except Exception as error:
            # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error and others on
            # damaged data; whatever it is, the picture cannot be read.
            raise ImageError(f"{name} is damaged: {error}") from error
        yield picture


@contextmanager
def _stream(source: str | Path | bytes, name: str) -> Iterator[BinaryIO]:
    """The bytes to decode. A JPEG file is read as it is decoded, others at once."""
    if isinstance(source, bytes):
        if not source:
            raise ImageError(f"{name} is empty (0 bytes)")
        yield io.BytesIO(source)
        return
    try:
        file = Path(source).open("rb")  # noqa: SIM115 - closed below, where its errors are told apart
    except FileNotFoundError:
        raise ImageError(f"no such picture: {name}") from None
    except IsADirectoryError:
        raise ImageError(f"{name} is a folder, not a picture") from None
    except OSError as error:
        raise ImageError(f"cannot read {name}: {error.strerror or error}") from error
    except ValueError as error:  # a NUL in the name
        raise ImageError(f"cannot read {name!r}: {error}") from error
    with file:
        try:
            # The 3 to 6 MB of a 12-megapixel photo count beside its 48 of pixels.
            jpeg = file.peek(2)[:2] == _JPEG
            data = b"" if jpeg else file.read()
        except OSError as error:
            raise ImageError(f"cannot read {name}: {error.strerror or error}") from error
        if not (jpeg or data):
            raise ImageError(f"{name} is empty (0 bytes)")
        yield file if jpeg else io.BytesIO(data)


# The first bytes of a JPEG file: ISO/IEC 10918-1's marker "start of image".
_JPEG = b"\xff\xd8"

_WARNING_FILTERS = threading.Lock()


@contextmanager
def _no_warnings() -> Iterator[None]:
    """No warnings of broken EXIF blocks or large pictures: we read them or say why not.

    The filters belong to the process, and training decodes in several threads.
    """
    with _WARNING_FILTERS, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


# What turns the stored picture upright, by EXIF 2.32's tag 0x0112; 1 is upright.
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Those that make the stored height the width.
_SWAPPING = {_TURNS[orientation] for orientation in (5, 6, 7, 8)}


def _upright(picture: Image.Image) -> Image.Image:
    """The picture as its EXIF orientation says; a block that cannot be read says nothing.

    Not ImageOps.exif_transpose: it also writes the block anew, and fails where it cannot.
    """
    if picture.format == "TIFF":
        return picture  # upright since it was loaded; Pillow 9.4 would turn it once more
    turn = _turn(picture)
    if turn is None:
        return picture
    upright = picture.transpose(turn)
    # It comes with the EXIF block, by which it would be turned again when it is decoded again.
    upright.info = {key: picture.info[key] for key in ("transparency",) if key in picture.info}
    return upright


def _turn(picture: Image.Image) -> Image.Transpose | None:
    try:
        with _no_warnings():
            return _TURNS.get(picture.getexif().get(_ORIENTATION, 1))
    except Exception:  # SyntaxError, struct.error, TypeError and others
        return None


def _from_array(pixels: NDArray[np.uint8], order: ChannelOrder) -> Image.Image:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise ImageError(
            f"expected {order.upper()} pixels as uint8 (H, W, 3), got {pixels.dtype} {pixels.shape}"
        )
    return Image.fromarray(np.ascontiguousarray(pixels[..., ::-1] if order == "bgr" else pixels))


def _rgb(picture: Image.Image) -> Image.Image:
    if picture.mode == "RGB" and "transparency" not in picture.info:
        return picture
    if picture.mode in ("I;16", "I;16L", "I;16B", "I"):
        # Pillow's own conversion clips at 255, which turns 16-bit microscopy white. "I" is how
        # Pillow opens some 16-bit files; values that fit 8 bits are left as they are.
        values = np.asarray(picture).astype(np.int64)
        if picture.mode != "I" or values.max() > 255:
            values = values >> 8
        return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8)).convert("RGB")
    if picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        canvas = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return Image.alpha_composite(canvas, layer).convert("RGB")
    return picture.convert("RGB")


@dataclass(frozen=True)
class Placement:
    """Where a picture of (height, width) px lies on the model's grid.

    `top, left, placed_height, placed_width` is the box the picture fills; the rest is padding.
    """

    height: int
    width: int
    top: int
    left: int
    placed_height: int
    placed_width: int
    spec: ModelSpec

    @classmethod
    def plan(cls, size: tuple[int, int], spec: ModelSpec) -> Placement:
        """Plan for a picture of `size` = (width, height) px, Pillow's order."""
        width, height = size
        if width < 1 or height < 1:
            raise ConfigError(f"a picture of {width}x{height} px has no pixels")
        match spec.fit:
            case "stretch":
                placed_height, placed_width = spec.height, spec.width
            case "letterbox":
                # Whole numbers all the way: the same box on every machine. The longer side
                # fills the grid; the other is rounded half up, and is never empty.
                if width * spec.height >= height * spec.width:
                    placed_width = spec.width
                    placed_height = (2 * height * spec.width + width) // (2 * width)
                else:
                    placed_height = spec.height
                    placed_width = (2 * width * spec.height + height) // (2 * height)
                placed_height = min(max(placed_height, 1), spec.height)
                placed_width = min(max(placed_width, 1), spec.width)
            case _:
                assert_never(spec.fit)
        return cls(
            height=height,
            width=width,
            top=(spec.height - placed_height) // 2,
            left=(spec.width - placed_width) // 2,
            placed_height=placed_height,
            placed_width=placed_width,
            spec=spec,
        )

    def place(self, picture: Image.Image) -> Pixels:
        """Resample an RGB picture onto the grid: uint8 (H, W, 3) of the model's size.

        The picture has the planned size, or is what the decoder reduced it to.
        """
        self._require_size(picture)
        # Two calls, horizontal first: each pass rounds to 8 bits, so the order shows. Pillow 13
        # chooses the cheaper one (python-pillow/Pillow#9549), all before it run this one.
        used = FILTERS[self.spec.resample]
        resized = picture.resize((self.placed_width, picture.height), used).resize(
            (self.placed_width, self.placed_height), used
        )
        if (self.placed_height, self.placed_width) == self.spec.size:
            return np.array(resized)
        grid = np.empty((*self.spec.size, 3), np.uint8)
        # By rows: three bytes broadcast to each pixel of 512x512 took 1 ms, a third of placing.
        row = np.frombuffer(bytes(self.spec.pad_color) * self.spec.width, np.uint8)
        grid.reshape(self.spec.height, -1)[:] = row
        grid[self.box] = np.asarray(resized)
        return grid

    def place_labels(self, labels: Labels) -> Labels:
        """Sample a mask of the picture's size onto the grid; padding becomes IGNORE."""
        if labels.shape != (self.height, self.width):
            raise ConfigError(
                f"the mask has {labels.shape[1]}x{labels.shape[0]} px, "
                f"the picture {self.width}x{self.height}"
            )
        grid = np.full(self.spec.size, IGNORE, np.uint8)
        grid[self.box] = resize_labels(labels, self.placed_height, self.placed_width)
        return grid

    def restore(self, labels: Labels) -> Labels:
        """Bring labels (H, W) of the grid back to the picture's own size, (height, width).

        Each pixel takes the label of the grid cell that its centre falls in.
        """
        if labels.shape != self.spec.size:
            raise ConfigError(f"labels of shape {labels.shape} do not fit grid {self.spec.size}")
        return resize_labels(labels[self.box], self.height, self.width)

    @property
    def box(self) -> tuple[slice, slice]:
        """Rows and columns of the grid that the picture fills."""
        return (
            slice(self.top, self.top + self.placed_height),
            slice(self.left, self.left + self.placed_width),
        )

    def _require_size(self, picture: Image.Image) -> None:
        whole = (self.width, self.height)
        allowed = {whole}
        if self.spec.decoding == "scaled":
            factor = reduction(whole, self.spec)
            allowed.add((self.width // factor, self.height // factor))
        if picture.size not in allowed:
            raise ConfigError(
                f"the placement is for {self.width}x{self.height} px, "
                f"the picture has {picture.width}x{picture.height}"
            )


def place(picture: Image.Image, spec: ModelSpec) -> Pixels:
    """Plan and place a picture that is decoded; files go through `grid_of`."""
    return Placement.plan(picture.size, spec).place(picture)


def grid_of(source: ImageSource | Photo, spec: ModelSpec) -> Pixels:
    """Read, plan and place in one step: the grid, uint8 (H, W, 3), that every backend is fed.

    Raises ImageError as `read_photo` does.
    """
    photo = read_photo(source, spec)
    return Placement.plan(photo.size, spec).place(photo.picture)


def resize_labels(labels: Labels, height: int, width: int) -> Labels:
    """Nearest-neighbour resampling by pixel centres, in whole numbers.

    Pillow's nearest accumulates floating-point steps, which may round differently per machine.
    """
    if labels.shape == (height, width):
        return labels.copy()
    rows, columns = nearest_cells(labels.shape[0], height), nearest_cells(labels.shape[1], width)
    # Columns first on the small side, then whole rows are copied: 20 times as
    # fast as fancy indexing from 512x512 to 12 MP.
    resized: Labels
    if height >= labels.shape[0]:
        resized = labels.take(columns, axis=1).take(rows, axis=0)
    else:
        resized = labels.take(rows, axis=0).take(columns, axis=1)
    return resized


def nearest_cells(source: int, target: int) -> NDArray[np.int64]:
    """Which of `source` cells the centre of each of `target` pixels falls in, int64 (target,)."""
    # Centre of target pixel j is (j + 1/2) * source / target; its cell is the floor of that.
    cells: NDArray[np.int64] = (2 * np.arange(target) + 1) * source // (2 * target)
    return cells
