"""The stage `slurm`: what it says and what it changes; Slurm's commands here are stand-ins, the work is real."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import fields
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from scope_ml.compute.ledger import Attempt, Ledger
from scope_ml.compute.slurm_waves import read_wave
from scope_ml.core.configuration import build
from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.core.protocols import NullProgress
from scope_ml.doorway.door import EXIT_USER_ERROR
from scope_ml.errors import ConfigError, FormatError, JobError, ServiceUnavailableError
from scope_ml.io.lightcurves import write_light_curves
from scope_ml.slurm import DOOR
from scope_ml.stages import generate_features
from scope_ml.stages.slurm import SlurmTask, run
from scope_ml.testing.slurm import FakeSlurm

QUADRANTS = [(1, 1), (1, 2), (2, 3), (2, 4)]
KEYS = [f"field_000250/ccd_{ccd:02d}_quad_{quad}" for ccd, quad in QUADRANTS]
PER_QUADRANT = 2


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    folder = tmp_path_factory.mktemp("survey")
    random = np.random.default_rng(0)
    n = len(QUADRANTS) * PER_QUADRANT
    times = [np.sort(random.uniform(2459000, 2459100, 60)) for _ in range(n)]
    mags = [15 + random.normal(0, 0.02, t.size) for t in times]
    ids = np.arange(n, dtype=np.int64) + 2**53 + 1
    batch = LightCurveBatch.from_lists(ids, times, mags, [np.full(t.size, 0.02) for t in times])
    rows = {
        "id": batch.id,
        "source_id": np.arange(n),
        "band": ["r"] * n,
        "ra": 10.0 + 0.01 * np.arange(n),
        "dec": [4.0] * n,
        "field": [250] * n,
        "ccd": np.repeat([ccd for ccd, _ in QUADRANTS], PER_QUADRANT),
        "quad": np.repeat([quad for _, quad in QUADRANTS], PER_QUADRANT),
    }
    write_light_curves(batch, pa.table(rows), folder / "curves.parquet")
    (folder / "list.txt").write_text("".join(f"250 {ccd} {quad}\n" for ccd, quad in QUADRANTS))
    return folder


def features(survey, output, names="ours", **executor):
    values = {
        "names": names,
        "source": {"kind": "parquet", "path": str(survey / "curves.parquet")},
        "target": {"kind": "quadrant_list", "path": str(survey / "list.txt")},
        "catalogs": {"kind": "none"},
        "period_search": {"method": "none"},
        "output": str(output),
        "executor": executor,
    }
    return generate_features.run(build(generate_features.GenerateFeatures, values), progress=NullProgress())


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    fake = FakeSlurm(tmp_path / "slurm")
    monkeypatch.setenv("PATH", fake.path)
    return fake


@pytest.fixture
def planned(survey, tmp_path, slurm):
    """The folder of a run that was planned and not submitted."""
    features(survey, tmp_path / "features", kind="slurm", submit=False, cluster={"hours": 2, "partition": "p"})
    return tmp_path / "features.run"


def act(action, folder, **options):
    return run(build(SlurmTask, {"action": action, "plan": str(folder), **options}), progress=NullProgress())


def test_a_door_submits_its_plan_and_says_what_to_type(survey, tmp_path, slurm):
    report = features(survey, tmp_path / "features", kind="slurm", max_instances=2)
    assert report.facts["submitted"]
    assert "4 shards submitted as 100 (4 tasks)" in report.facts["text"]
    assert f"slurm status plan={tmp_path / 'features.run'}" in report.facts["text"]
    assert "--array=0-3%2" in slurm.calls("sbatch")[0]
    assert not (tmp_path / "features").exists()


def test_show_prints_script_and_lines_and_submits_nothing(planned, slurm):
    text = act("show", planned).facts["text"]
    assert "4 shards: 4 unbegun" in text
    assert "#SBATCH --partition=p" in text
    assert "#SBATCH --time=0-02:00:00" in text
    assert "sbatch --export=" in text
    assert "--array=0-3%20" in text
    assert slurm.calls("sbatch") == []
    assert (planned / "slurm.sh").stat().st_mode & 0o777 == 0o755


def test_tasks_make_the_tables_that_one_process_makes(survey, tmp_path, planned, slurm):
    features(survey, tmp_path / "alone")
    act("submit", planned, shards_per_task=2)
    for task in (1, 0):
        report = act("work", planned, wave=1, task=task, job=f"100_{task}")
        assert report.facts["n_done"] == 2
        assert report.facts["n_failed"] == 0
    report = act("collect", planned)
    assert (report.stage, report.n_in, report.n_out) == ("generate_features", 8, 8)
    made = {path.relative_to(tmp_path / "features"): path for path in (tmp_path / "features").rglob("*.parquet")}
    alone = {path.relative_to(tmp_path / "alone"): path for path in (tmp_path / "alone").rglob("*.parquet")}
    assert {name: path.read_bytes() for name, path in made.items()} == {
        name: path.read_bytes() for name, path in alone.items()
    }
    with pytest.raises(JobError, match="4 done; all is done"):
        act("resubmit", planned)


def test_done_shards_are_looked_at_again_on_request(survey, tmp_path, planned, slurm):
    act("submit", planned, shards_per_task=4)
    act("work", planned, wave=1, task=0, job="100_0")
    slurm.states({"*": ""})
    before = {path: path.read_bytes() for path in (tmp_path / "features").rglob("*.parquet")}
    with pytest.raises(JobError, match=r"4 done; all is done; .* submit plan=\S+ 'classes=\[done\]'$"):
        features(survey, tmp_path / "features", kind="slurm")
    assert act("show", planned, classes=["done"]).facts["n_shards"] == 4
    assert act("status", planned).facts["shards"]["done"] == 4, "showing changes nothing"
    act("submit", planned, classes=["done"], shards_per_task=4)
    assert act("status", planned).facts["shards"]["done"] == 0
    act("work", planned, wave=2, task=0, job="101_0")
    assert act("status", planned).facts["shards"]["done"] == 4
    report = act("collect", planned)
    assert (report.n_out, report.facts["n_quadrants_finished_before"]) == (8, 4)
    assert not any("finished twice" in line for line in report.warnings)
    assert {path: path.read_bytes() for path in before} == before


def test_a_failed_shard_is_told_and_the_others_go_on(planned, slurm, survey, tmp_path):
    act("submit", planned, shards_per_task=4)
    # A table of other options stands where this run's would.
    features(survey, tmp_path / "other", names="legacy")
    table = tmp_path / "features" / f"{KEYS[1]}.parquet"
    table.parent.mkdir(parents=True)
    shutil.copy(tmp_path / "other" / f"{KEYS[1]}.parquet", table)
    report = act("work", planned, wave=1, task=0, job="100_0")
    assert (report.facts["n_done"], report.facts["n_failed"]) == (3, 1)
    assert KEYS[1] in report.facts["text"]
    slurm.states({"*": ""})
    status = act("status", planned)
    assert (status.facts["n_shards"], status.facts["shards"]["done"], status.facts["shards"]["failed"]) == (4, 3, 1)
    assert f"1  error: {KEYS[1]}: " in status.facts["text"]
    table.unlink()
    act("resubmit", planned, reasons=["error"])
    assert read_wave(planned, 2) == [[KEYS[1]]]


def test_status_adds_up_and_says_what_is_left(planned, slurm):
    slurm.answer("sinfo", "vm|drained|new disks\n")
    act("submit", planned, max_instances=2)
    act("work", planned, wave=1, task=0, job="100_0")
    slurm.states({"100_0": "", "100_1": "RUNNING|None", "*": "PENDING|Resources"})
    Ledger(planned).begin(KEYS[1], Attempt(host="n", pid=1, job="100_1", time=1.0))
    report = act("status", planned)
    text = report.facts["text"]
    assert "2 task(s) wait: Resources" in text
    assert "nodes without work: vm drained: new disks" in text
    assert "h of work" in text
    assert "light curves a second now" in text
    values = json.loads(act("status", planned, format="json").facts["text"])
    assert values["shards"] == {"done": 1, "running": 1, "queued": 2, "failed": 0, "lost": 0, "unbegun": 0}
    assert values["hours_left"] > 0
    assert values["waiting_for"] == {"Resources": 2}


def test_hours_left_are_those_of_the_shards_left(planned):
    ledger = Ledger(planned)
    act("submit", planned)
    act("work", planned, wave=1, task=0, job="100_0")
    path = planned / "done" / f"{KEYS[0]}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "seconds_of_task": 3600.0}))
    assert ledger.states([KEYS[0]])[KEYS[0]].record["n_in"] == PER_QUADRANT
    assert act("status", planned, max_instances=3).facts["hours_left"] == pytest.approx(1.0)
    assert act("status", planned, max_instances=1).facts["hours_left"] == pytest.approx(3.0)


def test_many_failures_of_one_kind_are_one_line(planned, slurm):
    act("submit", planned)
    for index, key in enumerate(KEYS):
        Ledger(planned).begin(key, Attempt(host="n", pid=1, job=f"100_{index}", time=1.0))
        Ledger(planned).failed(key, f"{key}: row {index} has no id", "DataError")
    slurm.states({"*": ""})
    text = act("status", planned).facts["text"]
    assert text.count("has no id") == 1
    assert "4  error: field_000250/ccd_01_quad_1: " in text
    assert text.count("resubmit plan=") == 1


def test_what_was_planned_may_be_asked_for_otherwise(planned, slurm):
    act("submit", planned, hours=8, memory_gb=32, cores=2, partition="other", account="abc", qos="high")
    script = (planned / "slurm.sh").read_text()
    asked = ("time=0-08:00:00", "mem=32768M", "cpus-per-task=2", "partition=other", "account=abc", "qos=high")
    assert [word for word in asked if f"#SBATCH --{word}" not in script] == []


def test_tasks_work_where_the_run_was_planned(survey, tmp_path, slurm, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    features(survey, "features", kind="slurm", submit=False)
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "there")
    act("submit", tmp_path / "here" / "features.run")
    assert f"cd {tmp_path}/here ||" in (tmp_path / "here" / "features.run" / "slurm.sh").read_text()


def test_paths_of_a_plan_count_from_where_it_was_made_whoever_made_it(survey, tmp_path, slurm, monkeypatch):
    for name in ("a here", "there"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "a here")
    features(survey, "features", kind="local", processes=2)
    run = tmp_path / "a here" / "features.run"
    monkeypatch.chdir(tmp_path / "there")
    report = act("collect", run)
    assert (report.n_in, report.n_out, report.facts["n_failed"]) == (8, 8, 0)
    Ledger(run).forget(KEYS[0])
    text = act("submit", run).facts["text"]
    assert f"cd '{tmp_path}/a here' ||" in (run / "slurm.sh").read_text()
    assert f"status \"plan='{run}'\"" in text
    assert list((tmp_path / "there").iterdir()) == []
    assert Path.cwd() == tmp_path / "there"
    # Planned once more from elsewhere, its paths count from there.
    slurm.states({"*": ""})
    features(survey, str(run.with_name("features")), kind="slurm", submit=False)
    assert f"cd {tmp_path}/there ||" in (run / "slurm.sh").read_text()
    (tmp_path / "there").rmdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"was planned in .*/there, .* cannot be entered \(No such file"):
        act("status", run)


def test_status_without_an_answer_of_slurm_says_what_files_say(planned, slurm):
    act("submit", planned)
    act("work", planned, wave=1, task=0, job="100_0")
    slurm.refuse("squeue", "slurm_load_jobs error: Unable to contact slurm controller (connect failure)")
    with pytest.raises(ServiceUnavailableError, match=r"does not answer .*of 4 shards .* 1 done, 0 failed, 0 begun"):
        act("status", planned)


def test_status_advises_by_what_was_asked_for_last(planned, slurm):
    act("submit", planned, hours=8, max_instances=7)
    Ledger(planned).begin(KEYS[0], Attempt(host="n", pid=1, job="100_0", time=1.0))
    slurm.states({"100_0": "TIMEOUT|TimeLimit"})
    assert "reasons=[timed_out] hours=16 " in act("status", planned).facts["text"]


def test_what_sbatch_does_not_take_is_a_failure_of_the_door_too(survey, tmp_path, slurm):
    slurm.refuse("sbatch", "sbatch: error: QOSMaxSubmitJobPerUserLimit", after=1)
    report = features(survey, tmp_path / "features", kind="slurm", cluster={"max_array_size": 2})
    assert report.facts["n_failed"] == 1
    assert any("QOSMaxSubmitJobPerUserLimit" in line for line in report.warnings)


def test_a_refusal_names_options_that_this_door_has(planned, slurm):
    known = {one.name for one in fields(SlurmTask)}
    for said in (
        "Invalid job array specification",
        "Requested node configuration is not available",
        "new",
        "QOSMaxSubmit",
    ):
        slurm.refuse("sbatch", f"sbatch: error: {said}")
        with pytest.raises(JobError) as caught:
            act("submit", planned)
        named = re.findall(r"(?<!-)\b([\w.]+)=", str(caught.value).rpartition(";")[2])
        assert named
        assert set(named) <= known


def test_cancel_takes_this_runs_jobs_only(planned, slurm):
    act("submit", planned)
    assert "would cancel 100, 101" in act("cancel", planned, machine={"dry_run": True}).facts["text"]
    assert slurm.calls("scancel") == []
    assert "cancelled 100, 101: 0 running and 4 waiting shards" in act("cancel", planned).facts["text"]
    assert slurm.calls("scancel") == [["101", "100"]]
    slurm.states({"*": ""})
    assert "nothing of this run is in the queue" in act("cancel", planned).facts["text"]


def test_dry_run_submits_nothing(planned, slurm):
    assert "nothing was submitted" in act("submit", planned, machine={"dry_run": True}).facts["text"]
    assert slurm.calls("sbatch") == []


def test_a_preset_without_an_account_is_refused_before_sbatch(survey, tmp_path, slurm):
    with pytest.raises(ConfigError, match=r"executor\.cluster\.account="):
        features(survey, tmp_path / "features", kind="slurm", cluster={"name": "expanse", "needs_account": True})
    assert slurm.calls("sbatch") == []
    with pytest.raises(ConfigError, match=r"give account="):
        act("submit", tmp_path / "features.run")
    act("submit", tmp_path / "features.run", account="abc123")
    assert len(slurm.calls("sbatch")) == 2


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"action": "work"}, ConfigError, "needs wave"),
        ({"classes": []}, ConfigError, "classes=\\[\\] chooses no shard"),
        ({"classes": ["running"]}, ConfigError, "unbegun"),
        ({"reasons": ["timed_out"]}, JobError, "no shard of .* failed by timed_out; reasons there are: none"),
        ({"action": "work", "wave": 7, "task": 0}, FormatError, r"0007\.json"),
        ({"hours": 0}, ConfigError, "hours"),
    ],
)
def test_wrong_options_are_one_line(planned, slurm, options, error, words):
    with pytest.raises(error, match=words) as caught:
        act(options.pop("action", "submit"), planned, **options)
    assert "\n" not in str(caught.value)
    assert slurm.calls("sbatch") == []


def test_a_task_that_its_wave_does_not_have_is_said(planned, slurm):
    act("submit", planned)
    with pytest.raises(FormatError, match=r"wave 1 of .* has 4 tasks, none of number 4"):
        act("work", planned, wave=1, task=4)


def test_no_plan_is_one_line_of_the_door(tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert DOOR.open(["status", "plan=nowhere"]) == EXIT_USER_ERROR
    assert "nowhere holds no plan of a run" in capfd.readouterr().err
    assert DOOR.open(["stauts", "plan=nowhere"]) == EXIT_USER_ERROR
    assert "did you mean 'status'" in capfd.readouterr().err


def test_resubmit_by_reason_leaves_the_others(planned, slurm):
    act("submit", planned)
    for index in (0, 1):
        Ledger(planned).begin(KEYS[index], Attempt(host="n", pid=1, job=f"100_{index}", time=1.0))
    Ledger(planned).failed(KEYS[0], "rows without an id", "DataError")
    slurm.states({"100_0": "", "100_1": "TIMEOUT|TimeLimit"})
    act("resubmit", planned, reasons=["timed_out"], hours=8)
    assert read_wave(planned, 2) == [[KEYS[1]]]
