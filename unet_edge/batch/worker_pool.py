"""Pictures in parallel: several interpreters of one thread each, and threads that feed them.

One picture after another leaves processors idle: decoding, PNG encoding and waiting for the disk
use at most one, and an interpreter splits a small network badly over threads. So each processor
has its own interpreter, and while it infers, other threads decode, encode and wait. The pixels of
all open photos are limited, so that a folder needs no more memory than a few photos.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Generic, TypeVar

from unet_edge.system.board import available_memory
from unet_edge.system.look_ahead import results_in_order

_T = TypeVar("_T")
_R = TypeVar("_R")

# The most memory for a photo's pixel. Decoding takes 4.1 bytes, or 8.1 for a rotated or transparent
# photo (measured peaks); labels and buffers for PNG take the other bytes.
_BYTES_A_PIXEL = 12
_SHARE_OF_MEMORY = 4  # a quarter of the free memory
_UNKNOWN_MEMORY = 512 * 2**20  # bytes, as the smallest supported board has


def most_pixels() -> int:
    """The number of pixels of all photos that may be open at once on this machine."""
    return (available_memory() or _UNKNOWN_MEMORY) // _SHARE_OF_MEMORY // _BYTES_A_PIXEL


class ResourcePool(Generic[_T]):
    """Resources that one thread at a time may use, such as interpreters."""

    def __init__(self, resources: Sequence[_T]) -> None:
        """`resources` are lent in turn."""
        self._free: SimpleQueue[_T] = SimpleQueue()
        for resource in resources:
            self._free.put(resource)

    @contextlib.contextmanager
    def borrowed(self) -> Iterator[_T]:
        """Borrow a resource; wait until one is free."""
        resource = self._free.get()
        try:
            yield resource
        finally:
            self._free.put(resource)


class PixelBudget:
    """A number of pixels that all threads share.

    A photo with more pixels than the budget takes all of it, and so is open alone.
    """

    def __init__(self, pixels: int) -> None:
        """`pixels` is the budget."""
        self._pixels = pixels
        self._used = 0
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def taken(self, pixels: int) -> Iterator[None]:
        """Take pixels from the budget; wait until there are enough."""
        pixels = min(pixels, self._pixels)
        with self._changed:
            self._changed.wait_for(lambda: self._used + pixels <= self._pixels)
            self._used += pixels
        try:
            yield
        finally:
            with self._changed:
                self._used -= pixels
                self._changed.notify_all()


def in_threads(
    work: Callable[[_T], _R], tasks: Sequence[_T], threads: int, stop: threading.Event
) -> Generator[_R, None, None]:
    """Yield the result of `work` for each task, in order, computed by several threads.

    At most two results per thread wait for the reader. The exception of a task, Ctrl-C and
    closing the iterator end the run: tasks that were not begun are cancelled, and `stop` is set,
    which tells running tasks to end soon. The iterator ends when no task is running.
    """
    pool = ThreadPoolExecutor(threads, "segment")
    try:
        yield from results_in_order(lambda task: pool.submit(work, task), tasks, 2 * threads)
    finally:
        stop.set()
        while True:
            try:
                pool.shutdown(cancel_futures=True)
                break
            except KeyboardInterrupt:  # again: the pool is already stopping
                continue
