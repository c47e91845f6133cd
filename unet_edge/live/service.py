"""The queue of POST /segment: pictures are segmented by threads, each with a model of its own."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from unet_edge.errors import ConfigError
from unet_edge.runtime.segmenter import Segmenter

_T = TypeVar("_T")


@dataclass(frozen=True)
class ServiceSettings:
    """The bounds of the service.

    `queue` requests wait while `workers` are at work. `max_upload` is in bytes, and four times as
    much is the most that all uploads hold in memory. A form has at most `most_files` pictures.
    """

    queue: int = 8
    workers: int = 1
    max_upload: int = 32 * 2**20
    most_files: int = 64


class QueueFullError(ConfigError):
    """The queue is full; `retry_after` says in how many seconds a place may be free."""

    def __init__(self, retry_after: int) -> None:
        super().__init__("the queue is full", fix=f"try again in {retry_after} s")
        self.retry_after = retry_after


class Service:
    """Runs jobs in threads. Each thread opens its own Segmenter when its first job comes."""

    def __init__(self, open_segmenter: Callable[[], Segmenter], settings: ServiceSettings) -> None:
        """Start nothing yet."""
        self.settings = settings
        self.jobs = 0
        self.seconds = 0.0  # of all jobs
        self._open = open_segmenter
        self._own = threading.local()
        self._lock = threading.Lock()
        self._waiting = 0
        self._pool = ThreadPoolExecutor(settings.workers, "service")

    @property
    def waiting(self) -> int:
        """The number of jobs that no thread has begun."""
        return self._waiting

    def require_place(self) -> None:
        """Raise QueueFullError while the queue is full."""
        if self._waiting >= self.settings.queue:
            each = self.seconds / self.jobs if self.jobs else 1.0
            seconds = math.ceil(self._waiting * each / self.settings.workers)
            raise QueueFullError(min(60, max(1, seconds)))

    def submit(self, job: Callable[[Segmenter], _T]) -> asyncio.Future[_T]:
        """Queue a job; cancelling its future takes it out of the queue.

        Raises QueueFullError. The job's errors are those of the future.
        """
        with self._lock:
            self.require_place()
            self._waiting += 1
        begun = threading.Event()
        future = self._pool.submit(self._run, job, begun)
        future.add_done_callback(lambda done: self._forget(done, begun))
        return asyncio.wrap_future(future)

    def open_now(self) -> Segmenter:
        """Open the model of one thread now, and return it. Raises UnetEdgeError."""
        return self._pool.submit(self._segmenter).result()

    def close(self) -> None:
        """Take no more jobs, and drop those that wait."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _run(self, job: Callable[[Segmenter], _T], begun: threading.Event) -> _T:
        begun.set()
        with self._lock:
            self._waiting -= 1
        start = time.monotonic()
        try:
            return job(self._segmenter())
        finally:
            with self._lock:
                self.jobs += 1
                self.seconds += time.monotonic() - start

    def _forget(self, done: Future[_T], begun: threading.Event) -> None:
        if done.cancelled() and not begun.is_set():
            with self._lock:
                self._waiting -= 1

    def _segmenter(self) -> Segmenter:
        segmenter: Segmenter | None = getattr(self._own, "segmenter", None)
        if segmenter is None:
            segmenter = self._own.segmenter = self._open()
        return segmenter
