"""The pace of requests: so many a second, so many at once, fewer after a refusal. The clock takes no time."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scope_ml.errors import ServiceError
from scope_ml.services.fritz.pace import LONGEST_S, Pace
from scope_ml.services.http import Clock


class Time:
    """A clock that waiting moves on."""

    def __init__(self):
        self.at = 100.0
        self.clock = Clock(now=lambda: self.at, wait=self.wait)

    def wait(self, stop, seconds):
        self.at += seconds
        return stop.is_set()


def taken(pace, time, n, stop=None):
    """When each of `n` requests may be sent [s from now]."""
    began = time.at
    return [pace.take(stop or threading.Event()) or time.at - began for _ in range(n)]


def test_as_many_at_once_as_allowed_then_evenly():
    time = Time()
    pace = Pace(5.0, 3, time.clock)
    assert taken(pace, time, 6) == pytest.approx([0.0, 0.0, 0.0, 0.2, 0.4, 0.6])
    time.at += 0.4
    assert taken(pace, time, 3) == pytest.approx([0.0, 0.0, 0.2])
    time.at += 1e6
    assert taken(pace, time, 4) == pytest.approx([0.0, 0.0, 0.0, 0.2])


def test_a_refusal_slows_down_and_answers_speed_up_again():
    time = Time()
    pace = Pace(8.0, 4, time.clock)
    pace.refused()
    assert pace.rate == 4.0
    assert taken(pace, time, 2) == pytest.approx([0.25, 0.5])
    for _ in range(10):
        pace.refused()
    assert pace.rate == 1.0
    for _ in range(100):
        pace.answered()
    assert pace.rate == 8.0


def test_all_threads_wait_as_long_as_the_service_asks():
    time = Time()
    pace = Pace(10.0, 4, time.clock)
    pace.refused(3.0)
    assert taken(pace, time, 1)[0] == pytest.approx(3.2)
    pace.refused(1e9)
    assert taken(pace, time, 1)[0] == pytest.approx(LONGEST_S + 0.4)


def test_closing_ends_a_wait():
    time, stop = Time(), threading.Event()
    pace = Pace(1.0, 1, time.clock)
    pace.take(stop)
    stop.set()
    with pytest.raises(ServiceError, match="closed"):
        pace.take(stop)


@given(
    rate=st.floats(0.1, 50.0),
    burst=st.integers(1, 20),
    gaps=st.lists(st.floats(0.0, 3.0), min_size=1, max_size=40),
)
def test_no_stretch_of_time_has_more_than_the_burst_and_the_rate(rate, burst, gaps):
    time = Time()
    pace = Pace(rate, burst, time.clock)
    times = []
    for gap in gaps:
        time.at += gap
        times += [one + time.at for one in [0.0] if pace.take(threading.Event()) is None]
    for first in range(len(times)):
        for last in range(first, len(times)):
            assert last - first + 1 <= burst + rate * (times[last] - times[first]) + 1e-3


def test_threads_share_it():
    pace = Pace(200.0, 5, Clock())
    stop, times = threading.Event(), []
    import time

    began = time.monotonic()

    def ask():
        for _ in range(10):
            pace.take(stop)
            times.append(time.monotonic() - began)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(times) == 40
    assert max(times) >= 35 / 200.0 - 1e-3
