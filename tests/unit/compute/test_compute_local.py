from __future__ import annotations

import threading

import pytest

from scope_ml.compute.local import AHEAD, ThreadExecutor


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_results_come_in_the_order_of_the_items(workers):
    delays = threading.Event()

    def slow_first(item):
        if item == 0 and workers > 1:
            delays.wait(0.2)
        return item * 10

    assert list(ThreadExecutor(workers=workers).map(slow_first, range(12))) == [item * 10 for item in range(12)]


@pytest.mark.parametrize("workers", [1, 3])
def test_items_are_taken_as_they_are_needed(workers):
    taken = 0

    def items():
        nonlocal taken
        for item in range(1000):
            taken += 1
            yield item

    results = ThreadExecutor(workers=workers).map(lambda item: item, items())
    assert next(results) == 0
    assert taken <= AHEAD * workers + 1
    results.close()
    assert taken <= AHEAD * workers + 1


@pytest.mark.parametrize("workers", [1, 3])
def test_the_first_error_ends_the_work(workers):
    done = []

    def fail_at_five(item):
        if item == 5:
            raise ValueError("five")
        done.append(item)
        return item

    results = ThreadExecutor(workers=workers).map(fail_at_five, range(1000))
    with pytest.raises(ValueError, match="five"):
        list(results)
    assert len(done) < 5 + AHEAD * workers + 1


def test_threads_run_side_by_side():
    barrier = threading.Barrier(3, timeout=10)
    assert len(set(ThreadExecutor(workers=3).map(lambda _: barrier.wait(), range(3)))) == 3
