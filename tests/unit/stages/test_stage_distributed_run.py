"""Runs of many shards: plans, processes of this machine that fail and die, what is said of it."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scope_ml.compute.ledger import Ledger
from scope_ml.compute.plan import PLAN_FILE, open_plan, read_plan
from scope_ml.compute.settings import ExecutorConfig
from scope_ml.core.machine import Machine
from scope_ml.core.protocols import NullProgress
from scope_ml.core.report import Report
from scope_ml.errors import ConfigError, CredentialError, EmptySelectionError, JobError, OutputError, ServiceError
from scope_ml.io.output_lock import output_lock
from scope_ml.stages import distributed_run, distribution, shard_crew
from scope_ml.stages.distributed_run import collect_run, revived, run_distributed
from scope_ml.stages.distribution import distribution as find_distribution
from scope_ml.stages.shard_crew import choose_crew, visible_gpus
from scope_ml.stages.shard_worker import work_on

Configs = Callable[..., dict[str, Any]]

#: Where the door is that the programs of these tests open.
ROOMS = str(Path(__file__).parents[2] / "rooms")


class Counted(NullProgress):
    def __init__(self) -> None:
        self.total, self.done = 0, 0

    def start(self, what: str, total: int | None = None) -> None:
        self.total = total or 0

    def advance(self, amount: int = 1) -> None:
        self.done += amount


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Configs:
    """Return a function that makes configurations of the toy door, known to this process and those that it starts."""
    monkeypatch.setattr(distribution, "DISTRIBUTED", {**distribution.DISTRIBUTED, "toy": "toy_door:TOY"})
    monkeypatch.setattr(shard_crew, "WORKER", "toy_door:main")

    def make(*what: str, processes: int = 2, **changes: Any) -> dict[str, Any]:
        executor = changes.pop("executor", None) or ExecutorConfig(processes=processes)
        return {"output": str(tmp_path / "out"), "what": list(what), "executor": executor} | changes

    return make


def tries(tmp_path: Path) -> Counter[str]:
    return Counter((tmp_path / "out" / "log").read_text().split())


def texts(tmp_path: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in (tmp_path / "out").glob("*.txt")}


def test_processes_make_what_one_process_makes(toy: Configs, tmp_path: Path) -> None:
    progress = Counted()
    report = run_distributed("toy", toy("", "fail", "", "", sleep=0.3), progress=progress)
    assert (report.n_out, report.facts["n_failed"]) == (30, 1)
    assert report.warnings == ("a line stood twice",)
    assert (progress.total, progress.done) == (40, 40)
    made = texts(tmp_path)
    opened = [path.read_text() for path in (tmp_path / "out").glob("opened-*")]
    assert opened == ["1 1", "1 1"], "two processes, one thread each"
    for path in (tmp_path / "out").iterdir():
        path.unlink()
    alone = run_distributed("toy", toy("", "fail", "", "", processes=1, executor=None), progress=NullProgress())
    assert alone.facts == report.facts
    assert texts(tmp_path) == made
    assert (tmp_path / "out" / f"opened-{os.getpid()}").exists()


def test_progress_counts_no_shard_for_more_than_it_has(toy: Configs, tmp_path: Path) -> None:
    run_distributed("toy", toy("", "", processes=1), progress=NullProgress())
    progress = Counted()
    count = distributed_run._Count(read_plan(tmp_path / "out.run"), progress)
    count.start()
    seen = []
    for key, advanced, ended in (
        ("s/0", 7, False),
        ("s/0", 7, False),
        ("s/1", 2, False),
        ("s/0", 0, True),
        ("s/1", 0, True),
    ):
        count.add(key, advanced, ended=ended)
        seen.append(progress.done)
    assert seen == [7, 10, 12, 12, 20]


def test_a_process_that_dies_costs_its_shard_only(toy: Configs, tmp_path: Path) -> None:
    report = run_distributed("toy", toy("", "kill", "kill once", "bug", "", ""), progress=NullProgress())
    failed = report.facts["failed"]
    assert set(failed) == {"s/1", "s/3"}
    assert "ended by SIGKILL; the memory may have run out, twice" in failed["s/1"]
    assert "KeyError: 'a bug', twice" in failed["s/3"]
    assert tries(tmp_path) == {"0": 1, "1": 2, "2": 2, "3": 2, "4": 1, "5": 1}
    assert report.n_out == 40
    # Typed again when all is well, nothing is lost, and nothing is said of the past.
    again = run_distributed("toy", toy(*[""] * 6), progress=NullProgress())
    assert (again.n_out, again.facts["failed"]) == (60, {})
    assert not any("finished twice" in line for line in again.warnings), (
        "what was looked at again was not finished again"
    )


@pytest.mark.parametrize(
    ("what", "kind", "text"),
    [
        ("full", OutputError, "the disk is full"),
        ("password", CredentialError, "the token is wrong"),
        ("file", OutputError, "/gone: No such file or directory"),
    ],
)
def test_what_every_shard_would_fail_by_ends_the_run(
    toy: Configs, tmp_path: Path, what: str, kind: type[Exception], text: str
) -> None:
    config = toy(what, "", "", "", "", "", sleep=0.2)
    with pytest.raises(kind, match=text):
        run_distributed("toy", config, progress=NullProgress())
    assert len(texts(tmp_path)) < 5
    state = Ledger(tmp_path / "out.run").states(["s/0"])["s/0"]
    assert state.record is not None
    assert (state.state, state.record["error"]) == ("failed", text)


def test_a_service_that_is_down_twice_in_a_row_ends_the_run(toy: Configs, tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="is down"):
        run_distributed("toy", toy("down", "", "down", "down", "", processes=1), progress=NullProgress())
    assert tries(tmp_path) == {"0": 1, "1": 1, "2": 1, "3": 1}


def test_what_cannot_be_opened_is_one_error(toy: Configs) -> None:
    with pytest.raises(OutputError, match="no space left"):
        run_distributed("toy", toy("", "", broken=True), progress=NullProgress())


def test_a_process_that_cannot_start_is_one_error(toy: Configs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_crew, "WORKER", "no_such_module:main")
    with pytest.raises(JobError, match=r"could not start: .*No module named 'no_such_module'"):
        run_distributed("toy", toy("", ""), progress=NullProgress())


def test_the_plan_is_told_before_anything_starts(
    toy: Configs, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        run_distributed("toy", toy("", "", "fail", processes=1), progress=NullProgress())
    told = caplog.text
    assert "plan of toy: 3 shards (shard 0, shard 1, shard 2)" in told
    assert "light curves: 30; to do: 3 shards" in told
    assert "not known: nothing was measured yet" in told
    assert told.index("plan of toy") < told.index("failed: s/2: bad data")
    caplog.clear()
    with caplog.at_level(logging.INFO):
        run_distributed("toy", toy("", "", "fail", processes=1), progress=NullProgress())
    assert "to do: 1 shards, 2 noted as done, 1 failed before" in caplog.text
    assert "by 2 done shards of this run" in caplog.text
    for _ in range(2):
        caplog.clear()
        with caplog.at_level(logging.INFO):
            run_distributed("toy", toy("", "", processes=1), progress=NullProgress())
        assert "to do: 0 shards, 2 noted as done" in caplog.text
        assert "time: only to look whether what is noted as done stands" in caplog.text


def test_a_dry_run_shows_the_plan_and_leaves_nothing(toy: Configs, tmp_path: Path) -> None:
    class WithMachine(dict[str, Any]):
        machine = Machine(dry_run=True)

    config = WithMachine(toy("", ""))
    report = run_distributed("toy", config, progress=NullProgress())
    assert "plan of toy: 2 shards" in report.facts["text"]
    assert any("dry run" in line for line in report.warnings)
    assert list(tmp_path.iterdir()) == []


def test_another_configuration_is_refused(toy: Configs, tmp_path: Path) -> None:
    run_distributed("toy", toy("", processes=1), progress=NullProgress())
    before = (tmp_path / "out.run" / PLAN_FILE).read_bytes()
    with pytest.raises(ConfigError, match="version was 1, is 2"):
        run_distributed("toy", toy("", processes=1, version=2), progress=NullProgress())
    assert (tmp_path / "out.run" / PLAN_FILE).read_bytes() == before


def test_nothing_to_do_is_refused(toy: Configs) -> None:
    with pytest.raises(EmptySelectionError, match="nothing to do"):
        run_distributed("toy", toy(), progress=NullProgress())


def test_a_door_that_is_not_shared_out_is_refused() -> None:
    with pytest.raises(ConfigError, match="simulate does not run in shards; these do: generate_features, infer, train"):
        find_distribution("simulate")


def test_two_at_once_do_not_work_on_one_run(toy: Configs, tmp_path: Path) -> None:
    config = toy("", processes=1)
    with output_lock(tmp_path / "out.run", tmp_path / "out.run"), pytest.raises(JobError, match="is being written by"):
        run_distributed("toy", config, progress=NullProgress())


def test_a_run_that_goes_on_keeps_its_plan_from_another_command(toy: Configs, tmp_path: Path) -> None:
    run_distributed("toy", toy("", "", processes=1), progress=NullProgress())
    files = [path for path in (tmp_path / "out.run").rglob("*") if path.is_file()]
    before = {path: path.read_bytes() for path in files}

    class Again(dict[str, Any]):
        stale = "remake"

    for executor in (ExecutorConfig(processes=1), ExecutorConfig(kind="slurm")):
        other = Again(toy("", executor=executor, version=2))
        with (
            output_lock(tmp_path / "out.run", tmp_path / "out.run"),
            pytest.raises(JobError, match=r"out\.run is being written by process \d+"),
        ):
            run_distributed("toy", other, progress=NullProgress())
    assert {path: path.read_bytes() for path in files} == before


def test_a_task_that_waited_does_its_shard_of_an_earlier_plan(toy: Configs, tmp_path: Path) -> None:
    run_distributed("toy", toy("", "", "", processes=1), progress=NullProgress())
    run_distributed("toy", toy("", processes=1), progress=NullProgress())
    assert len(read_plan(tmp_path / "out.run")) == 1
    counts = work_on(tmp_path / "out.run", ["s/2"], job="4711_2", threads=1, progress=NullProgress())
    assert (counts.n_done, counts.failures) == (1, ())


def test_a_shard_that_was_done_and_kills_who_makes_it_again_is_failed(toy: Configs, tmp_path: Path) -> None:
    run_distributed("toy", toy("", "", processes=1), progress=NullProgress())
    report = run_distributed("toy", toy("kill", ""), progress=NullProgress())
    assert set(report.facts["failed"]) == {"s/0"}
    assert report.n_out == 10


def test_a_run_is_added_up_by_its_folder_alone(toy: Configs, tmp_path: Path) -> None:
    run_distributed("toy", toy("", "fail", "", processes=1), progress=NullProgress())
    ledger = Ledger(tmp_path / "out.run")
    ledger.done("s/0", Report(stage="toy", n_in=10, n_out=10), 1.0)
    report = collect_run(tmp_path / "out.run", progress=NullProgress())
    assert (report.n_out, report.facts["n_failed"]) == (20, 1)
    assert report.warnings == ("1 shards were finished twice and count once: s/0",)


def test_a_task_does_the_shards_that_it_is_given(toy: Configs, tmp_path: Path) -> None:
    run_distributed("toy", toy("", "fail", "", "", processes=1), progress=NullProgress())
    folder = tmp_path / "out.run"
    counts = work_on(folder, ["s/1", "s/2"], job="4711_3", threads=2, progress=NullProgress())
    assert (counts.n_done, counts.failures) == (1, (("s/1", "bad data"),))
    state = Ledger(folder).states(["s/2"])["s/2"]
    assert state.attempt is not None
    assert state.attempt.job == "4711_3"
    with pytest.raises(ConfigError, match="no shard s/77"):
        work_on(folder, ["s/77"], job="", threads=1, progress=NullProgress())
    assert len(read_plan(folder)) == 4


def test_a_done_shard_whose_output_is_useless_is_not_done_any_more(toy: Configs, tmp_path: Path) -> None:
    run_distributed("toy", toy("", processes=1), progress=NullProgress())
    report = run_distributed("toy", toy("fail", processes=1), progress=NullProgress())
    assert report.facts["failed"] == {"s/0": "bad data"}


def test_sigterm_is_noted_and_ends_the_process_with_143(toy: Configs, tmp_path: Path) -> None:
    run_distributed("toy", toy("", processes=1), progress=NullProgress())
    plan = read_plan(tmp_path / "out.run")
    door = find_distribution("toy")
    open_plan(type(plan)(**{**vars(plan), "shards": tuple(door.shards({"what": ["", "stop", ""]})[0])}))
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import toy_door; toy_door.install()\n"
        "from pathlib import Path; from scope_ml.stages.shard_worker import work_on\n"
        "from scope_ml.core.protocols import NullProgress\n"
        "work_on(Path(sys.argv[2]), ['s/1', 's/2'], job='7_0', threads=1, progress=NullProgress())"
    )
    ended = subprocess.run([sys.executable, "-c", program, ROOMS, str(tmp_path / "out.run")], check=False, timeout=60)
    assert ended.returncode == 143
    states = Ledger(tmp_path / "out.run").states(["s/1", "s/2"])
    assert states["s/1"].record is not None
    assert states["s/1"].record["error"] == "stopped by SIGTERM (time limit or cancelled)"
    assert states["s/2"].state == "waiting"


def test_processes_end_with_a_run_that_is_killed(toy: Configs, tmp_path: Path) -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import toy_door; toy_door.install()\n"
        "from scope_ml.stages import shard_crew; shard_crew.WORKER = 'toy_door:main'\n"
        "from scope_ml.stages.distributed_run import run_distributed\n"
        "from scope_ml.compute.settings import ExecutorConfig\n"
        "from scope_ml.core.protocols import NullProgress\n"
        "config = {'output': sys.argv[2], 'what': [''] * 4, 'executor': ExecutorConfig(processes=2), 'sleep': 60}\n"
        "run_distributed('toy', config, progress=NullProgress())"
    )
    run = subprocess.Popen([sys.executable, "-c", program, ROOMS, str(tmp_path / "out")])
    deadline = time.monotonic() + 60
    while len(opened := list((tmp_path / "out").glob("opened-*"))) < 2:
        assert time.monotonic() < deadline
        assert run.poll() is None
        time.sleep(0.05)
    run.send_signal(signal.SIGKILL)
    run.wait()
    pids = [int(path.name.partition("-")[2]) for path in opened]
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    states = Ledger(tmp_path / "out.run").states(["s/0", "s/1", "s/2"])
    assert [state.state for state in states.values()] == ["begun", "begun", "waiting"]


def test_who_works_follows_from_the_executor(toy: Configs, monkeypatch: pytest.MonkeyPatch) -> None:
    toy()
    door = find_distribution("toy")
    cpu = Machine(device="cpu", workers=3)

    def crew(n_shards: int = 100, machine: Machine = cpu, **options: Any) -> tuple[int, int]:
        found = choose_crew(door, ExecutorConfig(**options), machine, n_shards)
        return found.at_once, found.threads

    monkeypatch.setattr(shard_crew, "usable_cores", lambda: 8)
    assert crew(processes=0) == (8, 1)
    assert crew(processes=0, n_shards=5) == (5, 1)
    assert crew(processes=1) == (1, 3)
    assert crew(processes=0, n_shards=1) == (1, 3), "one shard has all threads"
    assert crew(kind="slurm", max_instances=20, shards_per_task=30) == (4, 1)
    assert crew(kind="dask", workers=6, max_instances=4) == (4, 1)
    # A process for each GPU, which sees no other.
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert visible_gpus() == ("3", "5")
    assert crew(processes=0, machine=Machine(device="gpu")) == (2, 4)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert visible_gpus() == ()
    assert crew(processes=0, machine=Machine(device="auto")) == (8, 1)


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        ("OutputError", OutputError),
        ("CredentialError", CredentialError),
        ("FeatureMismatchError", JobError),
        ("FileNotFoundError", OutputError),
        ("KeyError", JobError),
        ("annotations", JobError),
    ],
)
def test_errors_of_other_processes_are_known_again(kind: str, wanted: type[Exception]) -> None:
    error = revived(kind, "what it was")
    assert type(error) is wanted
    assert str(error) == "what it was"
