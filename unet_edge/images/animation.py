"""Frames of GIF and WebP files. Each is drawn over those before it, so they are read in order."""

from __future__ import annotations

import io
import threading
from pathlib import Path
from typing import Any

from PIL import Image

_thread = threading.local()


def animation_frame(file: Path, index: int) -> Image.Image:
    """Frame `index` of a file, complete. Raises Pillow's and OSError's exceptions.

    A thread that asks for frames of one file in order draws each frame once: the file stays in its
    memory until the last frame, or until it asks for another file.
    """
    status = file.stat()
    key = (str(file), status.st_size, status.st_mtime_ns)
    held: tuple[Any, Any] = getattr(_thread, "held", (None, None))
    animation = held[1]
    if held[0] != key or animation.tell() > index:
        animation = Image.open(io.BytesIO(file.read_bytes()), formats=("GIF", "WEBP"))
    _thread.held = (None, None)  # also after an error
    animation.seek(index)
    animation.load()
    frame: Image.Image = animation.copy()
    if index + 1 < animation.n_frames:
        _thread.held = (key, animation)
    return frame
