"""Estimates: from what a run has measured, from run logs, and where nothing is known."""

from __future__ import annotations

from pathlib import Path

import pytest

from scope_ml.compute.ledger import ShardState
from scope_ml.compute.plan import Shard, WorkPlan
from scope_ml.compute.settings import ExecutorConfig
from scope_ml.errors import FormatError
from scope_ml.io.run_log import RunLog
from scope_ml.stages.shard_rates import Rate, measured_rate, plan_text, remaining


def done(key: str, n_in: int, seconds: float, *, found: bool = False) -> ShardState:
    record = {"n_in": n_in, "seconds_of_task": 0.0 if found else seconds, "seconds": 0.0}
    return ShardState(key=key, state="done", record=record)


def a_plan(*n_sources: int | None) -> WorkPlan:
    shards = tuple(Shard(key=str(n), title=f"shard {n}", n_sources=count) for n, count in enumerate(n_sources))
    return WorkPlan(folder=Path("out.run"), door="infer", config={}, identity={}, shards=shards)


def a_log(path: Path, *, workers: int = 2) -> None:
    log = RunLog(path)
    log.event("start", output="x", workers=workers)
    log.event("shard", n_in=50, n_out=50, seconds=10.0, cpu_seconds=20.0)
    log.event("shard", n_in=50, n_out=40, seconds=10.0, cpu_seconds=20.0)
    log.event("end", n_in=100, n_out=90, seconds=20.0)


def test_rates_are_those_of_what_was_made() -> None:
    states = [
        done("a", 100, 50.0),
        done("b", 300, 150.0),
        done("c", 0, 2.0),
        # Neither what was there already tells how long it takes, nor what failed.
        done("d", 1000, 0.1, found=True),
        ShardState(key="e", state="failed", record={"error": "x"}),
    ]
    rate = measured_rate(states, ExecutorConfig())
    assert rate.seconds_per_source == pytest.approx(0.505, rel=0.02)
    assert rate.seconds_per_shard == pytest.approx(202 / 3)
    assert rate.origin == "2 done shards of this run"


def test_run_logs_tell_the_rate_of_one_thread(tmp_path: Path) -> None:
    a_log(tmp_path / "logs" / "a.log.jsonl")
    a_log(tmp_path / "logs" / "deep" / "b.log.jsonl")
    executor = ExecutorConfig(rates=str(tmp_path / "logs"))
    assert measured_rate([], executor).seconds_per_source == pytest.approx(0.4)
    assert measured_rate([], executor, threads=4).seconds_per_source == pytest.approx(0.1)
    assert measured_rate([], executor).seconds_per_shard == pytest.approx(40.0)
    # What the run itself has measured is better.
    assert measured_rate([done("a", 10, 10.0)], executor).seconds_per_source == 1.0


def test_without_measurements_nothing_is_claimed(tmp_path: Path) -> None:
    rate = measured_rate([], ExecutorConfig())
    assert not rate.is_known
    left = remaining(a_plan(10, 20), {}, rate, at_once=2)
    assert (left.n_shards, left.n_sources, left.hours, left.work_hours) == (2, 30, None, None)
    text = plan_text(a_plan(10, 20), {}, rate, unit="light curves", who="2 processes", at_once=2)
    assert "not known: nothing was measured yet; for an estimate give executor.rates=FILE" in text
    with pytest.raises(FormatError, match="holds no run log"):
        measured_rate([], ExecutorConfig(rates=str(tmp_path)))
    RunLog(tmp_path / "x.log.jsonl").event("start", output="x")
    with pytest.raises(FormatError, match="no light curve that was measured"):
        measured_rate([], ExecutorConfig(rates=str(tmp_path)))


def test_what_is_left_counts_light_curves_else_shards() -> None:
    rate = Rate(seconds_per_source=3.6, seconds_per_shard=360.0, origin="tests")
    plan, states = a_plan(1000, 2000, 3000), {"0": done("0", 1000, 3600.0)}
    left = remaining(plan, states, rate, at_once=2)
    assert (left.n_shards, left.n_sources) == (2, 5000)
    assert left.work_hours == pytest.approx(5.0)
    assert left.hours == pytest.approx(3.0), "no sooner than the longest shard"
    unknown = remaining(a_plan(None, None, None), {}, rate, at_once=2)
    assert unknown.n_sources is None
    assert unknown.work_hours == pytest.approx(0.3)
    assert remaining(plan, {key: done(key, 1, 1.0) for key in "012"}, rate, at_once=2).hours == 0.0


def test_the_plan_says_what_is_done_by_whom_and_how_long_it_takes() -> None:
    rate = Rate(seconds_per_source=3.6, seconds_per_shard=360.0, origin="the run log x.log.jsonl")
    states = {"0": done("0", 1000, 3600.0), "1": ShardState(key="1", state="failed")}
    text = plan_text(a_plan(1000, 2000, 3000, 4000), states, rate, unit="light curves", who="Slurm", at_once=100)
    assert text.splitlines() == [
        "plan of infer: 4 shards (shard 0, shard 1, shard 2, ... shard 3)",
        "  light curves: 10,000; to do: 3 shards, 1 noted as done, 1 failed before",
        "  by: Slurm",
        "  time: about 9.0 h of work, 4.0 h with 100 at a time (3.6 s for each of the light curves, by the run log"
        " x.log.jsonl)",
        "  state: out.run",
    ]
