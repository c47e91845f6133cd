"""Progress bars on standard error, where that is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sized
from typing import Any, TypeVar

_T = TypeVar("_T")


def progress(items: Iterable[_T], label: str, total: int | None = None) -> Iterable[_T]:
    """Show a bar while a loop runs over `items`, if standard error is a terminal.

    `total` is the number of items, for items without a length. The bar disappears at the end.
    """
    count = len(items) if isinstance(items, Sized) else total
    if count in (0, 1) or not sys.stderr.isatty():
        return items  # before tqdm, which imports multiprocessing
    from tqdm import tqdm

    wrapped: Iterable[_T] = tqdm(items, desc=label, total=count, leave=False, disable=None)
    return wrapped


def progress_bar(
    total: int | None, label: str, *, delay: float = 0, unit: str = "it", done: int = 0
) -> Any:
    """Return a bar that the caller updates and closes; it appears after `delay` seconds.

    It begins at `done` of `total`, or counts if the total is unknown. It is shown only on a
    terminal, and disappears when it is closed.
    """
    from tqdm import tqdm

    return tqdm(
        total=total,
        desc=label,
        leave=False,
        disable=None,
        delay=delay,
        unit=unit,
        initial=done,
    )
