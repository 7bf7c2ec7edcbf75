"""Sources in turn: who has to wait comes back in time, and others go on meanwhile."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from scope_ml.errors import ServiceUnavailableError
from scope_ml.services.fritz.acting import RIGHTS, batches
from scope_ml.services.fritz.planning import KINDS, Step
from scope_ml.services.fritz.rounds import go_round, in_order
from scope_ml.services.fritz.tasks import Outages
from scope_ml.services.fritz.wanted import WantedAnnotation
from scope_ml.services.http import Clock


class Time:
    def __init__(self) -> None:
        self.now, self.waits = 100.0, [0.0]

    def wait(self, event: threading.Event, seconds: float) -> bool:
        self.waits.append(seconds)
        self.now += seconds
        return event.is_set()

    @property
    def clock(self) -> Clock:
        return Clock(now=lambda: self.now, wait=self.wait)


def go(jobs: Any, work: Any, time: Time, **values: Any) -> int:
    finished: list[int] = []
    given = {"connections": 1, "stop": threading.Event(), "done": finished.append} | values
    go_round(jobs, work, clock=time.clock, **given)
    return sum(finished)


def test_who_has_to_wait_comes_back_when_the_others_are_done() -> None:
    time, seen = Time(), []

    def work(job: str) -> float | None:
        seen.append(job)
        return time.now + {"a": 30.0, "b": 10.0}[job] if job in "ab" and seen.count(job) == 1 else None

    assert go("abcd", work, time) == 4
    assert seen == ["a", "b", "c", "d", "b", "a"]
    assert sum(time.waits) == pytest.approx(30.0)


def test_who_waits_comes_before_new_ones_when_its_time_has_come() -> None:
    time, seen = Time(), []

    def work(job: str) -> float | None:
        time.now += 6.0
        seen.append(job)
        return time.now + 10.0 if seen == ["a"] else None

    go("abcde", work, time)
    assert seen == ["a", "b", "c", "a", "d", "e"]


def test_the_first_error_stops_all() -> None:
    stop, seen = threading.Event(), []

    def work(job: int) -> float | None:
        seen.append(job)
        if job == 2:
            raise ServiceUnavailableError("down")
        return None

    with pytest.raises(ServiceUnavailableError, match="down"):
        go(range(100), work, Time(), stop=stop)
    assert stop.is_set()
    assert seen == [0, 1, 2]


def test_who_presses_ctrl_c_is_told_what_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    def work(_: int) -> None:
        raise KeyboardInterrupt

    stop = threading.Event()
    with pytest.raises(KeyboardInterrupt):
        go([1], work, Time(), stop=stop)
    assert stop.is_set()
    assert "stopping" in caplog.text


def test_as_many_at_a_time_as_there_are_connections() -> None:
    lock, now, most = threading.Lock(), 0, 0
    together = threading.Barrier(3, timeout=5)

    def work(_: int) -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        together.wait()
        with lock:
            now -= 1

    assert go(range(9), work, Time(), connections=3) == 9
    assert most == 3


def test_results_come_in_order_and_few_are_held() -> None:
    taken = 0

    def jobs() -> Any:
        nonlocal taken
        for number in range(100):
            taken += 1
            yield number

    results = in_order(jobs(), lambda job: job * 2, connections=2, stop=threading.Event())
    assert next(results) == 0
    assert taken <= 10
    assert list(results) == [2 * job for job in range(1, 100)]


def test_only_faults_in_a_row_are_an_outage() -> None:
    outages, error = Outages(3), ServiceUnavailableError("down")
    for _ in range(5):
        outages.one_more(error)
        outages.one_more(error)
        outages.none()
    outages.one_more(error)
    outages.one_more(error)
    with pytest.raises(ServiceUnavailableError):
        outages.one_more(error)


def test_classes_and_keys_of_one_origin_are_one_request() -> None:
    def key(origin: str, name: str) -> Step:
        return Step(kind="annotate", what=f"{origin}.{name}", annotation=WantedAnnotation(origin=origin, key=name))

    steps = [
        Step(kind="create", what="ZTFJ1"),
        key("a", "x"),
        key("b", "x"),
        key("a", "y"),
        Step(kind="comment", what="1"),
        Step(kind="comment", what="2"),
        Step(kind="classify", what="Mira"),
        Step(kind="classify", what="LPV"),
        Step(kind="delete", what="1"),
        Step(kind="delete", what="2"),
    ]
    assert [[step.what for step in batch] for batch in batches(steps)] == [
        ["ZTFJ1"],
        ["a.x", "a.y"],
        ["b.x"],
        ["1"],
        ["2"],
        ["Mira", "LPV"],
        ["1"],
        ["2"],
    ]
    assert set(RIGHTS) == set(KINDS)
