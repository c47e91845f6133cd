"""Pillow's warnings about damaged pictures, hidden."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_WARNING_FILTERS = threading.Lock()


@contextmanager
def no_warnings() -> Iterator[None]:
    """Hide warnings about broken EXIF blocks and large pictures: our errors say what is wrong."""
    # The filters belong to the process, and training decodes in several threads.
    with _WARNING_FILTERS, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
