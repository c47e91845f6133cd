"""Progress bars on standard error, silent where nobody watches."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sized
from typing import Any, TypeVar

_T = TypeVar("_T")


def progress(items: Iterable[_T], label: str, total: int | None = None) -> Iterable[_T]:
    """Wrap a loop in a bar, which goes away at the end; no bar unless a terminal watches.

    `total` is how many items there are, where they have no length.
    """
    count = len(items) if isinstance(items, Sized) else total
    if count in (0, 1) or not sys.stderr.isatty():
        return items  # before tqdm, which imports multiprocessing
    from tqdm import tqdm

    wrapped: Iterable[_T] = tqdm(items, desc=label, total=count, leave=False, disable=None)
    return wrapped


def progress_bar(total: int, label: str, *, delay: float = 0) -> Any:
    """A bar to be updated by hand; same rules. It appears after `delay` seconds."""
    from tqdm import tqdm

    return tqdm(total=total, desc=label, leave=False, disable=None, delay=delay)
