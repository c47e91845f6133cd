"""Work in parallel: results in order, a clean stop, and shared resources."""

from __future__ import annotations

import threading
import time
from threading import Event

import pytest

from unet_edge.batch.worker_pool import PixelBudget, ResourcePool, in_threads


def test_results_come_in_the_order_of_the_tasks() -> None:
    def slow_at_first(task: int) -> int:
        time.sleep(0.01 * (5 - task))
        return 10 * task

    assert list(in_threads(slow_at_first, range(5), 5, Event())) == [0, 10, 20, 30, 40]


def test_tasks_run_in_parallel() -> None:
    meeting = threading.Barrier(3, timeout=10)  # broken unless three threads meet
    assert list(in_threads(lambda _: meeting.wait() >= 0, range(3), 3, Event())) == [True] * 3


def test_only_a_few_tasks_are_begun_ahead() -> None:
    begun: list[int] = []
    results = in_threads(begun.append, range(1000), 2, Event())
    next(results)
    time.sleep(0.1)
    # Two results for each thread wait, and one was returned.
    assert len(begun) <= 5
    results.close()  # as when the reader fails
    assert len(begun) <= 5


def test_the_exception_of_a_task_is_raised_when_running_tasks_have_ended() -> None:
    done: list[int] = []
    second_runs = Event()

    def work(task: int) -> None:
        if task == 0:
            assert second_runs.wait(10)
            raise OSError("disk full")
        second_runs.set()
        time.sleep(0.05)
        done.append(task)

    with pytest.raises(OSError, match="disk full"):
        list(in_threads(work, range(100), 2, Event()))
    assert 1 in done  # it was running
    assert len(done) < 10


def test_closing_stops_running_tasks_and_waits_for_them() -> None:
    stop, begun, ended = Event(), Event(), []

    def work(task: int) -> int:
        if task == 0:
            return task
        begun.set()
        assert stop.wait(10)  # without a stop, this fails after ten seconds
        time.sleep(0.05)
        ended.append(task)
        return task

    results = in_threads(work, range(20), 2, stop)
    assert next(results) == 0
    assert begun.wait(10)
    results.close()
    assert 1 <= len(ended) <= 2
    time.sleep(0.1)
    assert len(ended) <= 2  # no task is running


def test_one_thread_at_a_time_has_a_resource() -> None:
    pool, used, seen = ResourcePool(["a", "b"]), {"a": 0, "b": 0}, []
    lock = threading.Lock()

    def use(_: int) -> str:
        with pool.borrowed() as name:
            with lock:
                used[name] += 1
                seen.append((used[name], sum(used.values())))
            time.sleep(0.002)
            with lock:
                used[name] -= 1
        return name

    assert set(in_threads(use, range(40), 8, Event())) == {"a", "b"}
    assert max(seen) == (1, 2)


def test_a_resource_returns_to_the_pool_when_its_use_fails() -> None:
    pool = ResourcePool(["only"])
    with pytest.raises(RuntimeError), pool.borrowed():
        raise RuntimeError
    with pool.borrowed() as name:
        assert name == "only"


def test_the_budget_is_never_exceeded_but_by_a_large_photo_alone() -> None:
    budget, lock, held, seen = PixelBudget(10), threading.Lock(), [0], []

    def take(amount: int) -> int:
        with budget.taken(amount):
            with lock:
                held[0] += amount
                seen.append(held[0])
            time.sleep(0.005)
            with lock:
                held[0] -= amount
        return amount

    tasks = [4, 5, 3, 25, 6, 2, 10, 1, 1]
    assert list(in_threads(take, tasks, 6, Event())) == tasks
    assert [total for total in seen if total > 10] == [25]
    assert max(total for total in seen if total != 25) > 6  # several at once
