"""Work on one thing after another, by several threads, with the results in order."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TypeVar

from unet_edge.runtime.threads import processors
from unet_edge.system.look_ahead import results_in_order

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")


def work_in_order(
    work: Callable[[_Task], _Result], tasks: Iterable[_Task], threads: int, *, ahead: int, name: str
) -> Generator[_Result, None, None]:
    """Yield `work` of each task, in the order of the tasks.

    `threads` threads work on them, and at most `ahead` results wait for the reader. `name` is that
    of the threads. On one processor the reader's own thread does the work: a frame is then still in
    the processor's cache when the next step needs it. An exception is raised in the place of its
    result. Closing the iterator ends the threads.
    """
    if processors() == 1:
        for task in tasks:
            yield work(task)
        return
    pool = ThreadPoolExecutor(threads, name)
    try:
        results = results_in_order(lambda task: pool.submit(work, task), tasks, ahead)
        with closing(results):
            yield from results
    finally:
        pool.shutdown(cancel_futures=True)
