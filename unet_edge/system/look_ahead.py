"""Results of tasks that threads work on ahead of their reader."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future
from typing import TypeVar

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")


def results_in_order(
    submit: Callable[[_Task], Future[_Result]], tasks: Iterable[_Task], ahead: int
) -> Generator[_Result, None, None]:
    """Yield the result of each task, in the order of the tasks.

    `submit` hands a task to a pool. At most `ahead` results wait for the reader, however many
    tasks there are. An exception of a task is raised in its place. When the reader stops early,
    tasks that have not begun are cancelled; the caller shuts its pool down.
    """
    waiting: deque[Future[_Result]] = deque()
    try:
        for task in tasks:
            waiting.append(submit(task))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
