"""Pictures turned upright by their EXIF orientation."""

from __future__ import annotations

from PIL import Image

from unet_edge.images.pillow_warnings import no_warnings

ORIENTATION_TAG = 0x0112  # EXIF 2.32

# The operation that turns the stored picture upright, for each value of the tag; 1 is upright.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


# Operations that swap width and height.
_SWAPPING = {_TURNS[value] for value in (5, 6, 7, 8)}


def upright(picture: Image.Image) -> Image.Image:
    """Turn a picture by its EXIF orientation; without a readable EXIF block it stays as it is."""
    # Not by ImageOps.exif_transpose, which also rewrites the block and fails if it cannot.
    turn = turn_of(picture)
    if turn is None:
        return picture
    turned = picture.transpose(turn)
    # Without the EXIF block: the picture would be turned again when it is decoded again.
    turned.info = {key: picture.info[key] for key in ("transparency",) if key in picture.info}
    return turned


def swaps_sides(picture: Image.Image) -> bool:
    """Whether `upright` swaps the width and height of a JPEG."""
    return _turn(picture) in _SWAPPING


def turn_of(picture: Image.Image) -> Image.Transpose | None:
    """The operation that `upright` applies to a picture; None when it is upright."""
    if picture.format == "TIFF":
        return None  # loading made it upright; Pillow 9.4 would turn it a second time
    return _turn(picture)


def _turn(picture: Image.Image) -> Image.Transpose | None:
    try:
        with no_warnings():
            return _TURNS.get(picture.getexif().get(ORIENTATION_TAG, 1))
    except Exception:  # Pillow raises SyntaxError, struct.error, TypeError and others
        return None
