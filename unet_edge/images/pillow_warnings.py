"""Pillow's warnings of damaged pictures, which are not shown."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_WARNING_FILTERS = threading.Lock()


@contextmanager
def no_warnings() -> Iterator[None]:
    """No warnings of broken EXIF blocks or large pictures: we read them or say why not.

    The filters belong to the process, and training decodes in several threads.
    """
    with _WARNING_FILTERS, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
