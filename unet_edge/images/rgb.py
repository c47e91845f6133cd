"""Any picture of 8 bits a channel as RGB; transparent pixels show white."""

from __future__ import annotations

from PIL import Image

from unet_edge.images import strips

_TRANSPARENT = ("RGBA", "LA", "PA", "RGBa", "La")


def to_rgb(picture: Image.Image) -> Image.Image:
    """Convert a picture to RGB, over white where it is transparent."""
    if picture.mode == "RGB" and "transparency" not in picture.info:
        return picture
    if picture.width * picture.height <= strips.STRIP_PIXELS:
        return _convert(picture)
    result = Image.new("RGB", picture.size)
    for top, strip in strips.strips(picture):
        result.paste(_convert(strip), (0, top))
    return result


def _convert(picture: Image.Image) -> Image.Image:
    if picture.mode in _TRANSPARENT or "transparency" in picture.info:
        return over_white(picture.convert("RGBA"))
    return picture.convert("RGB")


def over_white(layer: Image.Image) -> Image.Image:
    """Lay an RGBA picture over white, as viewers show it: RGB."""
    canvas = Image.new("RGBA", layer.size, (255, 255, 255, 255))
    return Image.alpha_composite(canvas, layer).convert("RGB")
