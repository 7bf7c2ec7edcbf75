"""Threads that wait: results in order, little taken ahead, an error where its result would come, nobody kept waiting."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from scope_ml.core.protocols import Executor
from scope_ml.services.waiting import WaitingThreads

#: A program that is stopped while one of its threads waits for something that never comes.
STUCK = """
import threading
from scope_ml.services.waiting import WaitingThreads
answers = WaitingThreads(workers=2).map(lambda n: n if n == 0 else threading.Event().wait(), range(9))
assert next(answers) == 0
raise KeyboardInterrupt
"""


@pytest.mark.parametrize("workers", [1, 3])
def test_results_come_in_the_order_of_the_items(workers):
    executor: Executor = WaitingThreads(workers=workers)
    assert list(executor.map(lambda n: n * n, range(20))) == [n * n for n in range(20)]
    assert list(executor.map(lambda n: n, [])) == []


def test_several_wait_at_once_and_little_is_taken_ahead():
    together = threading.Barrier(3)
    taken = []

    def items():
        for n in range(12):
            taken.append(n)
            yield n

    results = WaitingThreads(workers=3).map(lambda n: together.wait(10) * 0 + n, items())
    assert next(results) == 0
    assert len(taken) <= 7
    assert list(results) == list(range(1, 12))


def test_an_error_is_raised_where_its_result_would_come_and_the_rest_is_not_begun():
    begun = []

    def work(n):
        begun.append(n)
        if n == 2:
            raise ValueError("two")
        return n

    results = WaitingThreads(workers=1).map(work, range(50))
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="two"):
        next(results)
    assert max(begun) <= 4


def test_a_thread_that_waits_does_not_keep_the_process_alive():
    done = subprocess.run([sys.executable, "-c", STUCK], capture_output=True, text=True, timeout=30, check=False)
    assert "KeyboardInterrupt" in done.stderr
