"""Results come in the order of their tasks, and few tasks are begun ahead."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from unet_edge.system.look_ahead import results_in_order


def test_results_come_in_the_order_of_the_tasks() -> None:
    first_may_end = threading.Event()

    def work(task: int) -> int:
        if task == 0:
            first_may_end.wait(60)
        elif task == 2:
            first_may_end.set()
        return 10 * task

    with ThreadPoolExecutor(4) as pool:
        results = results_in_order(lambda task: pool.submit(work, task), range(6), 4)
        assert list(results) == [0, 10, 20, 30, 40, 50]


def test_no_more_tasks_are_submitted_than_may_wait() -> None:
    submitted: list[int] = []
    with ThreadPoolExecutor(1) as pool:

        def submit(task: int):  # type: ignore[no-untyped-def]
            submitted.append(task)
            return pool.submit(abs, task)

        results = results_in_order(submit, range(100), 3)
        for taken in range(1, 6):
            next(results)
            assert len(submitted) == taken + 3
        results.close()


def test_an_exception_is_raised_in_its_place_and_cancels_the_tasks_behind_it() -> None:
    begun: list[int] = []
    free = threading.Event()

    def work(task: int) -> int:
        begun.append(task)
        if task == 2:
            free.wait(60)
        return 1 // (task - 1)

    with ThreadPoolExecutor(1) as pool:
        results = results_in_order(lambda task: pool.submit(work, task), range(9), 4)
        assert next(results) == -1
        with pytest.raises(ZeroDivisionError):
            next(results)
        free.set()
    assert set(begun) <= {0, 1, 2}
