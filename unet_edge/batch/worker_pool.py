"""Many pictures at once: several interpreters of one thread each, and threads that feed them.

One picture after another leaves processors idle: decoding, PNG and waiting for the disk use one at
most, and an interpreter's own threads share out a small network badly. So each processor has an
interpreter of its own, and while one infers, other threads decode, encode and wait. How many
photos are open is bounded by their pixels, so that a folder needs no more memory than a few.
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

# What a photo's pixel takes at most, while it is decoded: RGB 4.1 bytes, 8.1 where it is turned or
# has transparency (peaks, measured); the labels and a PNG's buffers come to it.
_BYTES_A_PIXEL = 12
_SHARE_OF_MEMORY = 4  # a quarter of what is free
_UNKNOWN_MEMORY = 512 * 2**20  # bytes; the smallest board that runs this has as much


def most_pixels() -> int:
    """How many pixels of photos may be open together on this machine."""
    return (available_memory() or _UNKNOWN_MEMORY) // _SHARE_OF_MEMORY // _BYTES_A_PIXEL


class ResourcePool(Generic[_T]):
    """Things that one thread at a time may use, such as interpreters."""

    def __init__(self, things: Sequence[_T]) -> None:
        """`things` are handed out in turn."""
        self._free: SimpleQueue[_T] = SimpleQueue()
        for thing in things:
            self._free.put(thing)

    @contextlib.contextmanager
    def borrowed(self) -> Iterator[_T]:
        """One of them, as soon as one is free."""
        thing = self._free.get()
        try:
            yield thing
        finally:
            self._free.put(thing)


class PixelBudget:
    """So much of something for all threads together; what asks for more than all goes alone."""

    def __init__(self, most: int) -> None:
        """`most` is how much there is."""
        self._most = most
        self._used = 0
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def taken(self, amount: int) -> Iterator[None]:
        """Hold so much of it, as soon as it is there."""
        amount = min(amount, self._most)
        with self._changed:
            self._changed.wait_for(lambda: self._used + amount <= self._most)
            self._used += amount
        try:
            yield
        finally:
            with self._changed:
                self._used -= amount
                self._changed.notify_all()


def in_threads(
    work: Callable[[_T], _R], tasks: Sequence[_T], threads: int, stop: threading.Event
) -> Generator[_R, None, None]:
    """What `work` gives for each task, in their order, from several threads.

    A few tasks ahead are begun, so a thousand results are never waiting. What a task raises,
    Ctrl-C, and closing the iterator end it: tasks that were not begun never are, and `stop` is
    set, at which those that run should end soon. It waits for them, whatever comes: nothing of
    this is at work any more when it ends.
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
            except KeyboardInterrupt:  # once more: it is stopping already
                continue
