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


def test_tasks_run_at_the_same_time() -> None:
    meeting = threading.Barrier(3, timeout=10)  # broken unless three are there at once
    assert list(in_threads(lambda _: meeting.wait() >= 0, range(3), 3, Event())) == [True] * 3


def test_no_more_than_a_few_tasks_are_begun_ahead() -> None:
    begun: list[int] = []
    results = in_threads(begun.append, range(1000), 2, Event())
    next(results)
    time.sleep(0.1)
    # Two for each thread wait, and the one that was given.
    assert len(begun) <= 5
    results.close()  # as when whoever asked for them fails
    assert len(begun) <= 5


def test_what_a_task_raises_ends_it_once_the_others_are_through() -> None:
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


def test_tasks_are_told_to_stop_and_waited_for() -> None:
    stop, begun, ended = Event(), Event(), []

    def work(task: int) -> int:
        if task == 0:
            return task
        begun.set()
        assert stop.wait(10)  # or it would take ten seconds
        time.sleep(0.05)
        ended.append(task)
        return task

    results = in_threads(work, range(20), 2, stop)
    assert next(results) == 0
    assert begun.wait(10)
    results.close()
    assert 1 <= len(ended) <= 2
    time.sleep(0.1)
    assert len(ended) <= 2  # none at work any more


def test_what_is_shared_is_with_one_at_a_time() -> None:
    shared, used, most = ResourcePool(["a", "b"]), {"a": 0, "b": 0}, []
    lock = threading.Lock()

    def use(_: int) -> str:
        with shared.borrowed() as name:
            with lock:
                used[name] += 1
                most.append((used[name], sum(used.values())))
            time.sleep(0.002)
            with lock:
                used[name] -= 1
        return name

    assert set(in_threads(use, range(40), 8, Event())) == {"a", "b"}
    assert max(most) == (1, 2)


def test_a_thing_is_given_back_when_its_use_fails() -> None:
    shared = ResourcePool(["only"])
    with pytest.raises(RuntimeError), shared.borrowed():
        raise RuntimeError
    with shared.borrowed() as name:
        assert name == "only"


def test_no_more_is_taken_than_there_is_and_the_largest_goes_alone() -> None:
    allowance, lock, held, seen = PixelBudget(10), threading.Lock(), [0], []

    def take(amount: int) -> int:
        with allowance.taken(amount):
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
    assert max(total for total in seen if total != 25) > 6  # and yet several at once
