"""A snapshot: the newest picture, its mask, an overlay, and what made them, in a zip file."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from PIL import Image

from unet_edge.images.decoding import decode
from unet_edge.live.published import Published
from unet_edge.masks.mask import png_bytes
from unet_edge.system.files import json_text

_EFFORT = 2  # zlib's level for photographs, as for overlays of photos


@dataclass(frozen=True)
class Snapshot:
    """A zip file and its name."""

    name: str
    content: bytes


def make_snapshot(published: Published, about: Mapping[str, Any], now: datetime) -> Snapshot:
    """Make the snapshot of a frame; `about` is added to made.json.

    The picture is the camera's own JPEG, or a PNG: segmenting it gives the mask. Raises ImageError
    if it is damaged.
    """
    result = published.result
    image = result.frame.image
    photo = image if isinstance(image, Image.Image) else decode(image)
    if isinstance(image, bytes) and image.startswith(b"\xff\xd8"):
        picture_name, picture = "picture.jpg", image
    else:
        picture_name, picture = "picture.png", png_bytes(photo, effort=_EFFORT)
    spec = result.segmenter.spec
    made = {
        "made": now.astimezone().isoformat(timespec="seconds"),
        "picture": picture_name,
        "model": {
            "name": spec.name,
            "file": result.segmenter.name,
            "sha256": result.segmenter.digest,
            "interpreter": result.segmenter.backend.name,
        },
        "frame": {"index": result.frame.index, "time": result.frame.time},
        "size": result.grid.size,
        "classes": spec.classes,
        "shares": dict(zip(spec.classes, published.shares, strict=True)),
        "delay_ms": 1000 * result.delay,
        "stages_ms": {name: 1000 * seconds for name, seconds in result.stages.items()},
        **about,
    }
    members = {
        picture_name: picture,
        "mask.png": png_bytes(result.mask.picture("palette")),
        "overlay.png": png_bytes(result.mask.overlay(photo), effort=_EFFORT),
        "made.json": json_text(made).encode(),
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:  # stored: the pictures are compressed
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name, now.timetuple()[:6]), content)
    stem = now.strftime("unet-edge-%Y%m%d-%H%M%S")
    return Snapshot(f"{stem}-{result.frame.index}.zip", buffer.getvalue())
