"""Which way is up: a picture turned as its EXIF block says."""

from __future__ import annotations

from PIL import Image

from unet_edge.images.pillow_warnings import no_warnings

# What turns the stored picture upright, by EXIF 2.32's tag 0x0112; 1 is upright.
ORIENTATION_TAG = 0x0112


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


def upright(picture: Image.Image) -> Image.Image:
    """The picture as its EXIF orientation says; a block that cannot be read says nothing.

    Not ImageOps.exif_transpose: it also writes the block anew, and fails where it cannot.
    """
    turn = turn_of(picture)
    if turn is None:
        return picture
    turned = picture.transpose(turn)
    # It comes with the EXIF block, by which it would be turned again when it is decoded again.
    turned.info = {key: picture.info[key] for key in ("transparency",) if key in picture.info}
    return turned


def swaps_sides(picture: Image.Image) -> bool:
    """Whether `upright` makes the stored height of a JPEG the width."""
    return _turn(picture) in _SWAPPING


def turn_of(picture: Image.Image) -> Image.Transpose | None:
    """What `upright` does to a picture; None where it is upright."""
    if picture.format == "TIFF":
        return None  # upright since it was loaded; Pillow 9.4 would turn it once more
    return _turn(picture)


def _turn(picture: Image.Image) -> Image.Transpose | None:
    try:
        with no_warnings():
            return _TURNS.get(picture.getexif().get(ORIENTATION_TAG, 1))
    except Exception:  # Pillow raises SyntaxError, struct.error, TypeError and others
        return None
