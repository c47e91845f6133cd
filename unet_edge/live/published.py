"""A segmented frame as browsers get it: a header, a JPEG and the labels, in one message."""

from __future__ import annotations

import io
import json
import threading
import zlib
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from unet_edge.images.decoding import decode
from unet_edge.images.picture_file import read_header
from unet_edge.runtime.stream import SegmentedFrame
from unet_edge.streams.frame import FrameImage

MOST_WIDTH = 1280
"""The widest picture that is sent, px. Wider ones are reduced: a phone shows no more."""

_MOST_JPEG = 2**19
"""The largest JPEG of a camera that is sent as it is, bytes; larger ones are encoded again."""

_QUALITY = 80  # of JPEG; Pillow's default, 75, shows blocks beside the mask's edges


@dataclass(eq=False)
class Published:
    """A segmented frame with the figures at its time; several threads may share it.

    `sequence` counts from 1, without gaps. `shares` is the share of each class, 0..1. `rate` is in
    frames a second, None before the second frame.
    """

    sequence: int
    result: SegmentedFrame
    shares: tuple[float, ...]
    rate: float | None
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _message: bytes | None = field(default=None, repr=False)

    def message(self) -> bytes:
        """The answer of /api/frame, encoded when it is asked for the first time.

        It is a big-endian uint32, the length of the JSON header, then the header, the JPEG, and
        the labels, compressed by zlib. Raises ImageError if the picture is damaged.
        """
        with self._lock:  # one thread encodes, the others wait for its result
            if self._message is None:
                self._message = self._encode()
            return self._message

    def _encode(self) -> bytes:
        size, picture = picture_to_send(self.result.frame.image)
        labels = self.result.grid.labels
        packed = zlib.compress(labels.tobytes(), 1)
        header = {
            "sequence": self.sequence,
            "index": self.result.frame.index,
            "time": self.result.frame.time,
            "size": size,
            "full_size": self.result.grid.size,
            "grid": (labels.shape[1], labels.shape[0]),
            "picture": {"type": "image/jpeg", "bytes": len(picture)},
            "labels": {"bytes": len(packed)},
            **self.figures(),
        }
        text = json.dumps(header).encode()
        return b"".join((len(text).to_bytes(4, "big"), text, picture, packed))

    def figures(self) -> dict[str, Any]:
        """Shares, rate, times and the model's file, as plain JSON values; times in ms."""
        return {
            "shares": self.shares,
            "rate": self.rate,
            "delay_ms": 1000 * self.result.delay,
            "stages_ms": {name: 1000 * time for name, time in self.result.stages.items()},
            "model_file": self.result.segmenter.name,
        }


def picture_to_send(image: FrameImage) -> tuple[tuple[int, int], bytes]:
    """A frame's picture as a JPEG at most MOST_WIDTH wide, with its (width, height) px.

    The JPEG of a camera is sent as it is, if it is upright and not too large. Raises ImageError
    if the picture is damaged.
    """
    if isinstance(image, bytes) and len(image) <= _MOST_JPEG:
        header = read_header(image)
        if (
            header.format == "JPEG"
            and header.mode in ("RGB", "L")
            and header.exif_orientation == 1
            and header.size[0] <= MOST_WIDTH
        ):
            return header.size, image
    picture = image if isinstance(image, Image.Image) else decode(image)
    if picture.width > MOST_WIDTH:
        height = max(1, round(picture.height * MOST_WIDTH / picture.width))
        picture = picture.resize((MOST_WIDTH, height), Image.Resampling.BOX)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=_QUALITY)
    return picture.size, buffer.getvalue()
