"""What logs tell of runtimes, whoever was killed while they were written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from scope_ml.reporting.runtime_plots import FORMATS, runtimes_figure, save_runtimes, shares
from scope_ml.reporting.runtimes import gather_runtimes, total

BEGAN = datetime(2026, 1, 31, tzinfo=UTC)


class Log:
    """Events of one run; `wait` lets time go by."""

    def __init__(self, run, began=BEGAN):
        self.run, self.now, self.events = run, began, []

    def tell(self, event, *, wait=0.0, **fields):
        self.now += timedelta(seconds=wait)
        self.events.append({"time": self.now.isoformat(), "event": event, "run": self.run, **fields})
        return self

    def start(self, output="folder/features"):
        return self.tell("start", output=output)

    def shard(self, seconds=2.0, n=10, *, resumed=False, **where):
        groups = {} if resumed else {"basic": 0.25 * seconds, "search_ls": 0.75 * seconds}
        spent = 0.0 if resumed else seconds
        return self.tell(
            "shard",
            wait=spent,
            n_in=n,
            n_out=n - 1,
            seconds=spent,
            cpu_seconds=spent,
            seconds_by_group=groups,
            resumed=resumed,
            **where,
        )


def place(quad):
    return {"field": 250, "ccd": 1, "quad": quad}


def quadrant_run():
    """Two quadrants made, one found finished, one failed, one killed in its second shard."""
    log = Log("q").start()
    log.tell("quadrant", **place(4), n_in=5, n_out=5, seconds=0.0, resumed=True)
    for quad in (1, 2):
        log.shard(**place(quad)).shard(4.0, **place(quad))
        log.tell("quadrant", wait=1.0, **place(quad), n_in=20, n_out=18, seconds=7.0, resumed=False)
    log.shard(**place(3)).tell("failed", where=place(3), error="x")
    return log.shard(3.0, **{**place(1), "ccd": 2})


def test_each_quadrant_has_its_time():
    times = {one.name: one for one in gather_runtimes(quadrant_run().events)}
    assert list(times) == [f"field 250 ccd {ccd} quad {quad}" for ccd, quad in ((1, 1), (1, 2), (1, 3), (2, 1))]
    first = times["field 250 ccd 1 quad 1"]
    assert (first.state, first.n_in, first.n_out, first.n_measured) == ("finished", 20, 18, 20)
    assert (first.seconds, first.cpu_seconds) == (7.0, 6.0)
    assert first.seconds_by_group == {"basic": 1.5, "search_ls": 4.5}
    assert first.seconds_per_light_curve == pytest.approx(0.35)
    assert times["field 250 ccd 1 quad 2"].began == BEGAN + timedelta(seconds=7)
    assert times["field 250 ccd 1 quad 3"].state == "failed"
    last = times["field 250 ccd 2 quad 1"]
    assert (last.state, last.seconds, last.n_measured) == ("unfinished", 3.0, 10)
    totals = total(list(times.values()))
    assert (totals["n_runs"], totals["n_tables"]) == (1, 4)
    assert (totals["n_finished"], totals["n_failed"], totals["n_unfinished"]) == (2, 1, 1)
    assert totals["n_in"] == 60
    assert totals["seconds"] == 7 + 7 + 2 + 3
    assert totals["light_curves_per_second"] == pytest.approx(60 / 19)
    assert list(totals["seconds_by_group"]) == ["search_ls", "basic"]
    assert sum(totals["seconds_by_group"].values()) == totals["cpu_seconds"]


@pytest.mark.parametrize("where", [{}, place(1)])
def test_a_run_of_one_table_ends_with_its_run(where):
    log = Log("a").start("x/features.parquet").shard(resumed=True, **where).shard(**where)
    (cut,) = gather_runtimes(log.events)
    assert (cut.state, cut.seconds, cut.n_in, cut.n_measured) == ("unfinished", 2.0, 20, 10)
    log.tell("end", wait=1.0, n_in=20, n_out=18, seconds=3.5)
    (one,) = gather_runtimes(log.events)
    assert (one.state, one.seconds, one.n_out, one.n_measured) == ("finished", 3.5, 18, 10)
    assert one.name == ("field 250 ccd 1 quad 1" if where else "features.parquet")
    assert one.light_curves_per_second == pytest.approx(10 / 3.5)


def test_runs_that_fail_or_only_begin_are_counted():
    failed = Log("f").start().shard().tell("failed", where={}, error="disk full")
    begun = Log("b").start()
    assert [one.state for one in gather_runtimes(failed.events + begun.events)] == ["unfinished", "failed"]
    (one,) = gather_runtimes(begun.events)
    assert (one.n_in, one.seconds_per_light_curve, one.light_curves_per_second) == (0, None, None)


def test_a_run_that_finds_all_finished_took_no_time():
    log = Log("n").start().tell("quadrant", **place(1), n_in=5, n_out=5, seconds=0.0, resumed=True)
    assert gather_runtimes(log.tell("end", n_in=5, n_out=5, seconds=0.1).events) == []


def test_a_run_without_light_curves_is_finished():
    (one,) = gather_runtimes(Log("e").start().tell("end", n_in=0, n_out=0, seconds=0.5).events)
    assert (one.state, one.seconds, one.n_in) == ("finished", 0.5, 0)


def test_runs_in_one_file_are_told_apart_and_older_ones_left_out():
    first, second = Log("a").start().shard(), Log("b", BEGAN + timedelta(days=2)).start().shard()
    mixed = [event for pair in zip(first.events, second.events, strict=True) for event in pair]
    assert [one.run for one in gather_runtimes(mixed)] == ["a", "b"]
    assert [one.run for one in gather_runtimes(mixed, BEGAN + timedelta(days=1))] == ["b"]


def test_shares_add_up_and_small_ones_stand_together():
    parts = shares({"a": 90.0, "b": 9.0, "c": 0.4, "other": 0.6})
    assert parts == [("a", pytest.approx(0.9)), ("b", pytest.approx(0.09)), ("2 more", pytest.approx(0.01))]
    many = shares({f"g{index}": 1.0 for index in range(20)})
    assert many[-1] == ("12 more", pytest.approx(0.6))
    assert shares({"a": 1.0, "other": 0.001})[-1][0] == "other"
    assert shares({}) == []


def test_the_figure_shows_every_table_and_every_group():
    times = gather_runtimes(quadrant_run().events)
    runtime, rate, share = runtimes_figure(times, total(times)).axes
    assert sum(patch.get_height() for patch in runtime.patches) == len(times)
    assert sum(len(line.get_xdata()) for line in rate.lines if line.get_marker() == "o") == len(times)
    assert sum(patch.get_width() for patch in share.patches) == pytest.approx(1.0)
    assert {"search_ls", "basic"} <= {text.get_text() for text in share.texts}


@pytest.mark.parametrize("suffix", FORMATS)
def test_the_same_numbers_give_the_same_bytes(tmp_path, suffix):
    for log in (quadrant_run(), Log("b").start()):
        times = gather_runtimes(log.events)
        for name in ("a", "b"):
            save_runtimes(times, total(times), tmp_path / f"{name}{suffix}")
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()
