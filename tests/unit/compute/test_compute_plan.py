"""Plans and ledgers: what is refused, what is counted, and that it scales."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scope_ml.compute.ledger import Attempt, Ledger
from scope_ml.compute.plan import (
    PLAN_FILE,
    SHARDS_FILE,
    Shard,
    WorkPlan,
    check_plan,
    earlier_shards,
    open_plan,
    read_plan,
)
from scope_ml.compute.settings import ClusterConfig, ExecutorConfig
from scope_ml.core.configuration import build, science_values, to_plain
from scope_ml.core.report import Report
from scope_ml.errors import ConfigError, DataError, FormatError


def a_plan(folder: Path, n_shards: int = 3, **changes: Any) -> WorkPlan:
    shards = tuple(
        Shard(key=f"field_1/ccd_{n}", title=f"ccd {n}", n_sources=10 * n, payload={"n": n}) for n in range(n_shards)
    )
    values: dict[str, Any] = {"door": "infer", "config": {"a": 1}, "identity": {"code": "1", "options": {"x": 1}}}
    return WorkPlan(folder=folder, **({"shards": shards} | values | changes))


def test_a_plan_is_read_as_it_was_written(tmp_path: Path) -> None:
    plan = open_plan(a_plan(tmp_path / "out.run"))
    assert read_plan(tmp_path / "out.run") == plan
    assert plan.n_sources == 30
    assert a_plan(tmp_path, shards=(Shard(key="a", title="a"),)).n_sources is None


def test_another_configuration_is_refused_and_what_differs_named(tmp_path: Path) -> None:
    open_plan(a_plan(tmp_path))
    other = a_plan(tmp_path, identity={"code": "1", "options": {"x": 2, "y": 3}})
    for refuse in (open_plan, check_plan):
        with pytest.raises(ConfigError, match=r"options\.x was 1, is 2; options\.y was null, is 3") as refused:
            refuse(other)
        assert "\n" not in str(refused.value)
    with pytest.raises(ConfigError, match="a run of infer, not of train"):
        open_plan(a_plan(tmp_path, door="train"))
    # Others of the same configuration are more of the same run; the file of the refused one was not written.
    assert len(open_plan(a_plan(tmp_path, n_shards=5))) == 5
    assert len(read_plan(tmp_path)) == 5


def test_a_plan_of_another_configuration_is_replaced_on_purpose_only(tmp_path: Path) -> None:
    open_plan(a_plan(tmp_path))
    ledger = Ledger(tmp_path)
    ledger.done("field_1/ccd_0", Report(stage="x"), 1.0)
    open_plan(a_plan(tmp_path), anew=True)
    assert ledger.is_done("field_1/ccd_0"), "it is the same configuration"
    open_plan(a_plan(tmp_path, identity={"code": "2"}), anew=True)
    assert not ledger.is_done("field_1/ccd_0")


def test_a_shard_that_stands_twice_is_refused(tmp_path: Path) -> None:
    shards = (Shard(key="a", title="a"), Shard(key="b", title="b"), Shard(key="a", title="a"))
    with pytest.raises(DataError, match="two shards are called a;"):
        open_plan(a_plan(tmp_path, shards=shards))
    assert not (tmp_path / PLAN_FILE).exists()


@pytest.mark.parametrize("broken", ["nothing", "torn", "shards", "part", "version"])
def test_a_plan_that_is_not_whole_is_refused(tmp_path: Path, broken: str) -> None:
    plan = open_plan(a_plan(tmp_path))
    if broken == "nothing":
        (tmp_path / PLAN_FILE).unlink()
    elif broken == "torn":
        (tmp_path / PLAN_FILE).write_text((tmp_path / PLAN_FILE).read_text()[:50])
    elif broken == "shards":
        (tmp_path / SHARDS_FILE).write_bytes((tmp_path / SHARDS_FILE).read_bytes()[:90])
    elif broken == "part":
        values = json.loads((tmp_path / PLAN_FILE).read_text())
        (tmp_path / PLAN_FILE).write_text(json.dumps(values | {"n_shards": len(plan) + 1}))
    else:
        values = json.loads((tmp_path / PLAN_FILE).read_text())
        (tmp_path / PLAN_FILE).write_text(json.dumps(values | {"version": 99}))
    with pytest.raises(FormatError, match="plan") as refused:
        read_plan(tmp_path)
    assert "\n" not in str(refused.value)


def test_the_ledger_tells_what_became_of_each_shard(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    for key in ("a/1", "a/2", "a/3"):
        ledger.begin(key, Attempt.of_this_process("7_1"))
    ledger.done("a/1", Report(stage="x", n_in=3, n_out=3, seconds=2.0), 2.5)
    ledger.failed("a/2", "bad data", "DataError")
    states = ledger.states(["a/1", "a/2", "a/3", "a/4"])
    assert [state.state for state in states.values()] == ["done", "failed", "begun", "waiting"]
    assert states["a/1"].record is not None
    assert states["a/1"].record["n_in"] == 3
    assert states["a/1"].record["seconds_of_task"] == 2.5
    assert states["a/3"].attempt is not None
    assert states["a/3"].attempt.job == "7_1"
    # Begun once more, a failure is forgotten.
    ledger.begin("a/2", Attempt.of_this_process())
    again = ledger.states(["a/2"])["a/2"]
    assert (again.state, again.n_attempts) == ("begun", 2)
    ledger.forget("a/2")
    assert ledger.states(["a/2"])["a/2"].state == "waiting"


def test_a_shard_finished_twice_counts_once_and_says_so(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    report = Report(stage="x", n_in=3, n_out=3, seconds=2.0)
    ledger.done("a", report, 2.5)
    ledger.done("a", report, 0.1)
    record = ledger.states(["a"])["a"].record
    assert record is not None
    assert (record["n_finished"], record["seconds_of_task"]) == (2, 2.5)
    # Somebody looks whether it is done.
    ledger.done("a", replace(report, seconds=0.0), 0.1, again=True)
    record = ledger.states(["a"])["a"].record
    assert record is not None
    assert (record["n_finished"], record["seconds_of_task"]) == (2, 2.5), "what was measured is not forgotten"
    # Found finished at the first look, it tells nothing of how long such a shard takes.
    ledger.done("b", replace(report, seconds=0.0), 0.1)
    record = ledger.states(["b"])["b"].record
    assert record is not None
    assert record["seconds_of_task"] == 0.0


def test_what_is_done_stays_done_unless_it_turns_out_to_be_useless(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.done("a", Report(stage="x"), 1.0)
    ledger.failed("a", "another process writes it", "JobError")
    assert ledger.states(["a"])["a"].state == "done"
    noted = ledger.noted("a")
    assert noted is not None
    # Somebody else has finished it since we looked.
    path = tmp_path / "done" / "a.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"time": noted + 1.0}))
    ledger.failed("a", "another process writes it", "JobError", noted=noted)
    assert ledger.states(["a"])["a"].state == "done"
    ledger.failed("a", "made with other options", "DataError", noted=noted + 1.0)
    assert ledger.states(["a"])["a"].state == "failed"
    assert ledger.noted("a") is None


def test_torn_files_of_the_ledger_are_no_obstacle(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.done("a", Report(stage="x"), 1.0)
    (tmp_path / "done" / "a.json").write_text('{"n_fin')
    (tmp_path / "done" / ".b.json.1-2.tmp").write_text("")
    assert ledger.states(["a", "b"], records=False)["b"].state == "waiting"
    assert ledger.states(["a"])["a"].record is None
    ledger.done("a", Report(stage="x"), 1.0)
    assert ledger.states(["a"])["a"].record is not None


@pytest.mark.parametrize(
    "text", ["", "null", "[1]", "{}", '{"n_attempts": "x", "host": 1}', '{"n_finished": null}', "\x00"]
)
def test_notes_that_are_not_whole_tell_nothing(tmp_path: Path, text: str) -> None:
    ledger, keys = Ledger(tmp_path), ["a", "b", "c"]
    ledger.begin("a", Attempt.of_this_process())
    ledger.failed("b", "bad data", "DataError")
    ledger.done("c", Report(stage="x"), 1.0)
    for what, key in (("begun", "a"), ("failed", "b"), ("done", "c")):
        (tmp_path / what / f"{key}.json").write_text(text)
    states = ledger.states(keys)
    assert [(states[key].state, states[key].attempt, states[key].record) for key in keys] == [
        ("begun", None, None),
        ("failed", None, None),
        ("done", None, None),
    ]
    assert ledger.noted("c") == 0.0
    # Done or begun once more, all is well.
    for key in keys:
        ledger.begin(key, Attempt.of_this_process())
        ledger.done(key, Report(stage="x"), 1.0, again=True)
    assert [(state.n_attempts, state.record is not None) for state in ledger.states(keys).values()] == [(1, True)] * 3
    (tmp_path / "done" / "c.json").write_text(text)
    ledger.failed("c", "its table is of other options", "DataError", noted=ledger.noted("c"))
    assert ledger.states(keys)["c"].state == "failed"


def test_shards_of_earlier_plans_of_the_run_are_known_to_tasks_that_wait(tmp_path: Path) -> None:
    folder = tmp_path / "field=296 and more.run"
    assert earlier_shards(folder) == {}
    open_plan(a_plan(folder, n_shards=4))
    open_plan(a_plan(folder, n_shards=2))
    assert sorted(earlier_shards(folder)) == ["field_1/ccd_2", "field_1/ccd_3"]
    open_plan(a_plan(folder, shards=(Shard(key="a", title="a"), Shard(key="field_1/ccd_2", title="again"))))
    assert earlier_shards(folder).keys() >= {"field_1/ccd_0", "field_1/ccd_1", "field_1/ccd_3"}
    assert earlier_shards(folder)["field_1/ccd_3"].payload == {"n": 3}
    assert len(read_plan(folder)) == 2
    open_plan(a_plan(folder, identity={"code": "2"}), anew=True)
    assert earlier_shards(folder) == {}
    (folder / "earlier_shards.parquet").write_text("x")
    with pytest.raises(FormatError, match=r"earlier_shards\.parquet is broken"):
        earlier_shards(folder)


def test_many_shards_are_looked_through_in_moments(tmp_path: Path) -> None:
    keys = [f"field_{n // 64:06d}/ccd_{n % 64:02d}" for n in range(2000)]
    for key in keys[::2]:
        path = tmp_path / "done" / f"{key}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    began = time.perf_counter()
    states = Ledger(tmp_path).states(keys, records=False)
    assert sum(state.state == "done" for state in states.values()) == 1000
    assert time.perf_counter() - began < 2


def test_the_executor_changes_no_result_and_goes_through_a_plan(tmp_path: Path) -> None:
    executor = ExecutorConfig(kind="slurm", environment=("TOKEN",), cluster=ClusterConfig(modules=("gcc",)))
    assert build(ExecutorConfig, to_plain(executor)) == executor
    assert science_values(executor) == {}
    assert executor.run_folder(tmp_path / "features") == tmp_path / "features.run"
    assert ExecutorConfig(folder="elsewhere").run_folder(tmp_path) == Path("elsewhere")
