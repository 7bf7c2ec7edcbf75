"""Shards go into Slurm's queue once each, whatever sbatch says and whoever is killed; the commands here are stand-ins."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scope_ml.compute import slurm_commands, slurm_submission
from scope_ml.compute.ledger import Attempt, Ledger
from scope_ml.compute.plan import Shard, WorkPlan
from scope_ml.compute.settings import ClusterConfig, ExecutorConfig
from scope_ml.compute.slurm_script import command, exported, render, wave_words
from scope_ml.compute.slurm_submission import cancel_run, submit
from scope_ml.compute.slurm_tracking import track
from scope_ml.compute.slurm_waves import Journal, divided, read_wave
from scope_ml.core.report import Report
from scope_ml.errors import (
    BackendUnavailableError,
    ConfigError,
    FormatError,
    JobError,
    OutputError,
    ServiceUnavailableError,
)
from scope_ml.testing.slurm import FakeSlurm

N = 10


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    fake = FakeSlurm(tmp_path / "slurm")
    monkeypatch.setenv("PATH", fake.path)
    return fake


@pytest.fixture
def plan(tmp_path):
    shards = tuple(Shard(key=f"field_000296/ccd_{ccd:02d}", title=f"ccd {ccd}", n_sources=5) for ccd in range(N))
    plan = WorkPlan(folder=tmp_path / "f.run", door="generate_features", config={}, identity={}, shards=shards)
    plan.write()
    return plan


def planned(folder, **changes):
    return WorkPlan(folder=folder, door="infer", config={}, identity={}, shards=(), workdir=folder, **changes)


def executor(**changes):
    cluster = changes.pop("cluster", {})
    return ExecutorConfig(**{"kind": "slurm", "max_instances": 3, "cluster": ClusterConfig(**cluster), **changes})


def work(plan, key, *, job="", fate="done", error=""):
    """What a task writes of a shard; a fate of None is a kill."""
    ledger = Ledger(plan.folder)
    ledger.begin(key, Attempt(host="elsewhere", pid=1, job=job, time=1.0))
    if fate == "done":
        ledger.done(key, Report(stage="s", n_in=5, n_out=5, seconds=1.0), 1.0)
    elif fate == "failed":
        ledger.failed(key, error, "DataError")


def key(index):
    return f"field_000296/ccd_{index:02d}"


# --- what sbatch is told ---


def test_one_array_with_the_schedulers_throttle_and_a_job_that_adds_up(slurm, plan):
    submission = submit(plan, executor())
    array, collect = slurm.calls("sbatch")
    assert f"--array=0-{N - 1}%3" in array
    assert array[-2:] == [str(plan.folder / "slurm.sh"), "1"]
    assert "--dependency=afterany:100" in collect
    assert collect[-1] == "collect"
    assert not [word for word in collect if word.startswith("--array")]
    assert [one.job for one in submission.jobs] == ["100", "101"]
    assert "slurm status" in submission.text
    assert read_wave(plan.folder, 1) == [[key(index)] for index in range(N)]


def test_arrays_are_no_longer_than_the_cluster_takes_and_wait_for_one_another(slurm, plan):
    slurm.answer("scontrol", "MaxArraySize            = 2\n")
    submit(plan, executor(shards_per_task=2, collect=False, cluster={"max_array_size": 100}))
    first, second, third = slurm.calls("sbatch")
    assert "--array=0-1%3" in first
    assert not [word for word in first if word.startswith("--dependency")]
    assert "--dependency=afterany:100" in second
    assert "--dependency=afterany:101" in third
    assert "--array=0-0%3" in third
    assert read_wave(plan.folder, 2) == [[key(4), key(5)], [key(6), key(7)]]


def test_shown_arrays_are_as_long_as_the_cluster_really_takes(slurm, plan):
    slurm.answer("scontrol", "MaxArraySize            = 4\n")
    lines = submit(plan, executor(collect=False), really=False).lines
    assert [word for line in lines for word in shlex.split(line) if word.startswith("--array")] == [
        "--array=0-3%3",
        "--array=0-3%3",
        "--array=0-1%3",
    ]


@given(n=st.integers(1, 60), per_task=st.integers(1, 7), longest=st.integers(1, 9))
def test_waves_hold_every_shard_once_in_order(n, per_task, longest):
    keys = [str(number) for number in range(n)]
    waves = list(divided(keys, shards_per_task=per_task, max_tasks=longest))
    assert [one for tasks in waves for task in tasks for one in task] == keys
    assert all(1 <= len(tasks) <= longest for tasks in waves)
    assert all(1 <= len(task) <= per_task for tasks in waves for task in tasks)


def test_environment_travels_by_name_and_stands_in_no_file(slurm, plan, monkeypatch):
    monkeypatch.setenv("KOWALSKI_TOKEN", "s3cr3t-value")
    submit(plan, executor(environment=("KOWALSKI_TOKEN",)))
    (export,) = [word for word in slurm.calls("sbatch")[0] if word.startswith("--export=")]
    assert export.removeprefix("--export=").split(",")[-1] == "KOWALSKI_TOKEN"
    assert "PATH" in export
    assert "ALL" not in export
    assert slurm.environment("sbatch")["KOWALSKI_TOKEN"] == "s3cr3t-value"
    written = [path for path in plan.folder.rglob("*") if path.is_file()]
    assert len(written) > 4
    assert not [path for path in written if b"s3cr3t-value" in path.read_bytes()]
    assert not [call for call in slurm.calls("sbatch") if "s3cr3t-value" in " ".join(call)]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cluster": {"name": "expanse", "needs_account": True}}, r"expanse refuses .* executor\.cluster\.account="),
        ({"environment": ("NOT_SET_ANYWHERE",)}, r"NOT_SET_ANYWHERE, which this shell has not set"),
        ({"environment": ("TOKEN=abc",)}, r"names of variables, not 'TOKEN'"),
    ],
)
def test_what_is_missing_is_said_before_sbatch(slurm, plan, changes, words):
    with pytest.raises(ConfigError, match=words) as caught:
        submit(plan, executor(**changes))
    assert "abc" not in str(caught.value)
    assert slurm.calls("sbatch") == []


def test_user_settings_of_squeue_do_not_change_what_is_read(slurm, plan, monkeypatch):
    monkeypatch.setenv("SQUEUE_FORMAT", "%i")
    monkeypatch.setenv("SBATCH_ARRAY_INX", "0-5")
    monkeypatch.setenv("SBATCH_ACCOUNT", "abc")
    submit(plan, executor())
    assert "SBATCH_ARRAY_INX" not in slurm.environment("sbatch")
    assert slurm.environment("sbatch")["SBATCH_ACCOUNT"] == "abc"
    track(plan)
    assert "SQUEUE_FORMAT" not in slurm.environment("squeue")


# --- the script ---


def test_the_script_says_what_a_task_asks_for(tmp_path):
    cluster = {
        "partition": "gpu-shared",
        "account": "abc123",
        "cores": 4,
        "gpus": 1,
        "memory_gb": 1.5,
        "hours": 49.5,
        "modules": ("gpu/0.15.4", "cuda"),
        "setup": ("source activate scope",),
        "python": "python",
        "options": ("--mail-type=END",),
    }
    text = render(executor(cluster=cluster), planned(tmp_path, python="/usr/bin/python3"))
    asked = dict(line[len("#SBATCH --") :].split("=", 1) for line in text.splitlines() if line.startswith("#SBATCH"))
    assert asked["time"] == "2-01:30:00"
    assert asked["mem"] == "1536M"
    assert asked["gpus"] == "1"
    assert asked["account"] == "abc123"
    assert asked["mail-type"] == "END"
    assert asked["output"] == f'"{tmp_path}/logs/%A_%a.out"'
    assert "qos" not in asked
    lines = text.splitlines()
    order = ["module purge", "module load gpu/0.15.4 || exit 2", "module load cuda || exit 2", "source activate scope"]
    assert [line for line in lines if line in order] == order
    assert "OMP_NUM_THREADS=4" in text
    assert "/usr/bin/python3" not in text


@pytest.mark.parametrize("name", ["a run", "it's", "a=b,c", "50%", "[x]", "$HOME", 'say "x"'])
def test_the_script_runs_in_folders_of_any_name(tmp_path, name, monkeypatch):
    folder = tmp_path / name / "f.run"
    folder.mkdir(parents=True)
    seen = tmp_path / "seen.json"
    tell = tmp_path / "tell.py"
    tell.write_text(f"#!{sys.executable}\nimport json, sys\njson.dump(sys.argv[1:], open({str(seen)!r}, 'w'))\n")
    tell.chmod(0o755)
    script = tmp_path / "slurm.sh"
    script.write_text(render(executor(), planned(folder, python=str(tell))))
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "7")
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "12")
    subprocess.run(["bash", "-n", str(script)], check=True)
    subprocess.run(["bash", str(script), "3"], check=True, cwd="/")
    words = json.loads(seen.read_text())
    from hydra.core.override_parser.overrides_parser import OverridesParser

    assert words[:3] == ["-m", "scope_ml.slurm", "work"]
    parsed = {one.key_or_group: one.value() for one in OverridesParser.create().parse_overrides(words[3:])}
    assert str(parsed["plan"]) == str(folder)
    # Not the number 127, which 12_7 is for Python.
    assert str(parsed["job"]) == "12_7"
    assert (parsed["wave"], parsed["task"]) == (3, 7)


def test_the_script_hands_on_the_exit_code_and_names_the_signal(tmp_path):
    dies = tmp_path / "dies.sh"
    dies.write_text("#!/bin/bash\nkill -9 $$\n")
    dies.chmod(0o755)
    script = tmp_path / "slurm.sh"
    script.write_text(render(executor(), planned(tmp_path, python=str(dies))))
    done = subprocess.run(["bash", str(script), "collect"], check=False, capture_output=True, text=True)
    assert done.returncode == 137
    assert "ended by signal 9" in done.stderr


def test_the_script_waits_for_the_work_that_is_told_to_stop(tmp_path):
    slow = tmp_path / "slow.sh"
    slow.write_text(
        f"#!/bin/bash\ntrap 'sleep 0.3; exit 7' TERM\ntouch {tmp_path}/begun\nwhile sleep 0.05; do :; done\n"
    )
    slow.chmod(0o755)
    script = tmp_path / "slurm.sh"
    script.write_text(render(executor(), planned(tmp_path, python=str(slow))))
    with subprocess.Popen(["bash", str(script), "collect"], start_new_session=True) as process:
        while not (tmp_path / "begun").exists():
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGTERM)
    assert process.returncode == 7


def test_setup_is_run_line_by_line_as_it_was_given(tmp_path):
    setup = ("if true; then", "echo first", "fi", "if test 1; then", "echo second $NOT_SET_ANYWHERE", "fi")
    says = tmp_path / "says.sh"
    says.write_text("#!/bin/bash\necho work\n")
    says.chmod(0o755)
    script = tmp_path / "slurm.sh"
    script.write_text(render(executor(cluster={"setup": setup}), planned(tmp_path, python=str(says))))
    done = subprocess.run(["bash", str(script), "collect"], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["first", "second", "work"]


@pytest.mark.parametrize("name", ["f.run", "a run", "it's", "a=b,c"])
def test_a_line_to_type_works_for_folders_of_any_name(tmp_path, name):
    from hydra.core.override_parser.overrides_parser import OverridesParser

    words = shlex.split(command("status", tmp_path / name))
    assert words[:4] == ["python", "-m", "scope_ml.slurm", "status"]
    (parsed,) = OverridesParser.create().parse_overrides(words[4:])
    assert (parsed.key_or_group, str(parsed.value())) == ("plan", str(tmp_path / name))


def test_shell_words_of_a_shown_line_are_those_that_sbatch_is_told(slurm, plan):
    shown = submit(plan, executor(), really=False)
    assert slurm.calls("sbatch") == []
    submit(plan, executor())
    told = slurm.calls("sbatch")
    for line, words in zip(shown.lines, told, strict=True):
        without = [word for word in words if not word.startswith(("--comment=", "--parsable"))]
        assert shlex.split(line)[1:] == [word.replace("afterany:100", "afterany:JOB_OF_WAVE_1") for word in without]


def test_shown_lines_of_a_later_wave_wait_for_what_is_in_the_queue(slurm, plan):
    submit(plan, executor())
    slurm.states({"100_9": ""})
    shown = submit(plan, executor(cluster={"hours": 9}), really=False)
    first, last = (shlex.split(line) for line in shown.lines)
    assert (first[-1], last[-1]) == ("2", "collect")
    assert "--dependency=afterany:100" in first
    assert "--dependency=afterany:JOB_OF_WAVE_2" in last


def test_names_of_variables_are_told_once(monkeypatch):
    assert exported(executor(environment=("PATH", "X")), {"PATH": "/bin", "X": "1", "OTHER": "2"}) == "PATH,X"
    assert wave_words(executor(), "f.run", n_tasks=2, after=None)[0].startswith("--job-name=scope-f.run")


# --- once each ---


def test_what_is_in_the_queue_is_not_submitted_again(slurm, plan):
    submit(plan, executor())
    with pytest.raises(JobError, match=r"nothing to submit .*10 queued.*wait for the queue"):
        submit(plan, executor())
    assert len(slurm.calls("sbatch")) == 2


def test_only_failed_lost_and_unbegun_shards_are_submitted_again(slurm, plan):
    submit(plan, executor())
    work(plan, key(0), job="100_0")
    work(plan, key(1), job="100_1", fate="failed", error="bad rows")
    work(plan, key(2), job="100_2", fate=None)
    work(plan, key(3), job="100_3", fate=None)
    slurm.states({**{f"100_{index}": "" for index in range(3)}, "100_3": "RUNNING|None", "100_9": ""})
    counts = track(plan).counts()
    assert counts == {"done": 1, "running": 1, "queued": 5, "failed": 1, "lost": 1, "unbegun": 1}
    submit(plan, executor())
    assert read_wave(plan.folder, 2) == [[key(1)], [key(2)], [key(9)]]
    # The throttle holds over both arrays, and only the newest job adds up.
    assert "--dependency=afterany:100" in slurm.calls("sbatch")[2]
    assert "--dependency=afterany:102" in slurm.calls("sbatch")[3]
    assert slurm.calls("scancel") == [["101"]]
    assert track(plan).counts()["queued"] == 8


@pytest.mark.parametrize("standing", ["failed", "lost", "unbegun"])
def test_one_kind_of_shards_alone(slurm, plan, standing):
    work(plan, key(1), fate="failed", error="bad rows")
    work(plan, key(2), job="7_1", fate=None)
    submit(plan, executor(), standings=[standing])
    chosen = [one for task in read_wave(plan.folder, 1) for one in task]
    expected = {"failed": [key(1)], "lost": [key(2)], "unbegun": [key(0), *map(key, range(3, N))]}
    assert chosen == expected[standing]


def test_all_done_is_said(slurm, plan):
    for index in range(N):
        work(plan, key(index))
    with pytest.raises(JobError, match=r"10 done; all is done; .*slurm collect"):
        submit(plan, executor())


def test_a_refusal_is_one_line_of_sbatchs_own_words_and_nothing_counts_as_submitted(slurm, plan):
    slurm.refuse(
        "sbatch",
        "sbatch: error: Batch job submission failed: Invalid account or account/partition combination specified",
    )
    with pytest.raises(JobError) as caught:
        submit(plan, executor())
    line = str(caught.value)
    assert "sbatch refused: Batch job submission failed: Invalid account or account/partition" in line
    assert "executor.cluster.account=" in line
    assert "\n" not in line
    assert track(plan).counts()["unbegun"] == N
    assert [one.fate for one in Journal(plan.folder).read()] == ["refused"]
    assert "Invalid account" in (plan.folder / "jobs.jsonl").read_text()
    slurm.accept("sbatch")
    assert len(submit(plan, executor()).jobs) == 2


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("Batch job submission failed: Invalid partition name specified", "partition="),
        ("Batch job submission failed: Invalid qos specification", "qos="),
        ("Batch job submission failed: Requested time limit is invalid (missing or exceeds some limit)", "hours="),
        ("Batch job submission failed: Invalid job array specification", "max_array_size="),
        ("Batch job submission failed: Requested node configuration is not available", "memory_gb"),
        ("Memory specification can not be satisfied", "memory_gb"),
        ("QOSMaxSubmitJobPerUserLimit", "shards_per_task"),
        (
            "Batch job submission failed: Job violates accounting/QOS policy (job submit limit, user's size and/or time"
            " limits)",
            "shards_per_task",
        ),
        ("something new", "options="),
    ],
)
def test_a_refusal_says_what_to_type(slurm, plan, said, advice):
    slurm.refuse("sbatch", f"sbatch: error: {said}")
    with pytest.raises(JobError, match=advice):
        submit(plan, executor())


def test_waves_that_sbatch_does_not_take_are_told_and_come_later(slurm, plan):
    slurm.refuse("sbatch", "sbatch: error: QOSMaxSubmitJobPerUserLimit", after=2)
    submission = submit(plan, executor(cluster={"max_array_size": 4}))
    assert [one.job for one in submission.jobs] == ["100", "101"]
    assert submission.facts["n_left"] == 2
    assert "QOSMaxSubmitJobPerUserLimit" in submission.text
    assert track(plan).counts() == {"done": 0, "running": 0, "queued": 8, "failed": 0, "lost": 0, "unbegun": 2}
    slurm.accept("sbatch")
    submit(plan, executor())
    assert track(plan).counts()["queued"] == N


def test_a_controller_that_falls_silent_between_waves_is_told_with_what_it_took(slurm, plan):
    slurm.refuse("sbatch", "sbatch: error: Batch job submission failed: Socket timed out on send/recv", after=1)
    submission = submit(plan, executor(cluster={"max_array_size": 4}))
    assert [one.job for one in submission.jobs] == ["100"]
    assert "4 shards submitted as 100" in submission.text
    assert "does not answer" in submission.text
    assert submission.facts["n_left"] == 6
    slurm.accept("sbatch")
    assert len(submit(plan, executor(cluster={"max_array_size": 4})).jobs) == 3
    assert track(plan).counts()["queued"] == N


def test_no_slurm_here_is_said(plan, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(BackendUnavailableError, match=r"there is no sbatch .* executor=local"):
        submit(plan, executor())


def test_no_controller_is_said(slurm, plan):
    submit(plan, executor())
    slurm.refuse("squeue", "slurm_load_jobs error: Unable to contact slurm controller (connect failure)")
    with pytest.raises(ServiceUnavailableError, match=r"does not answer .*scontrol ping"):
        track(plan)


# --- kills between two lines ---


def test_a_kill_after_sbatch_is_found_again_by_its_token(slurm, plan, monkeypatch):
    real = slurm_commands.submit_words

    def killed(*words, **more):
        real(*words, **more)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(slurm_submission.slurm_commands, "submit_words", killed)
        with pytest.raises(KeyboardInterrupt):
            submit(plan, executor())
    assert [one.fate for one in Journal(plan.folder).read()] == ["intended"]
    # Status changes nothing, and knows them all the same.
    assert track(plan).counts()["queued"] == N
    assert submit_shown_is_refused(plan)
    assert [one.fate for one in Journal(plan.folder).read()] == ["intended"]
    with pytest.raises(JobError, match=r"10 queued"):
        submit(plan, executor())
    assert [(one.fate, one.job) for one in Journal(plan.folder).read()] == [("submitted", "100")]


def submit_shown_is_refused(plan):
    with pytest.raises(JobError, match=r"10 queued"):
        submit(plan, executor(), really=False)
    return True


@pytest.mark.parametrize("line", [1, 2])
def test_either_line_of_the_journal_tells_what_stands_in_the_queue(slurm, plan, line):
    submit(plan, executor())
    path = plan.folder / "jobs.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[: line - 1] + lines[line:]))
    assert track(plan).counts()["queued"] == N
    with pytest.raises(JobError, match=r"10 queued"):
        submit(plan, executor())
    assert [one.job for one in Journal(plan.folder).read()] == ["100", "101"]


def test_a_kill_before_sbatch_leaves_nothing_submitted(slurm, plan, monkeypatch):
    def killed(*words, **more):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(slurm_submission.slurm_commands, "submit_words", killed)
        with pytest.raises(KeyboardInterrupt):
            submit(plan, executor())
    assert len(submit(plan, executor()).jobs) == 2
    assert [one.fate for one in Journal(plan.folder).read()] == ["never", "submitted", "submitted"]


@pytest.mark.parametrize("n_lost", [1, 7, 40])
def test_a_torn_line_of_the_journal_does_not_swallow_the_next(slurm, plan, n_lost):
    submit(plan, executor())
    path = plan.folder / "jobs.jsonl"
    path.write_bytes(path.read_bytes()[:-n_lost])
    assert track(plan).counts()["queued"] == N
    slurm.states({"*": ""})
    submit(plan, executor())
    jobs = Journal(plan.folder).read()
    # The torn line said which job adds up; it is gone from the queue like all others.
    assert [one.job for one in jobs if one.kind == "wave"] == ["100", "102"]
    json.loads(path.read_text().splitlines()[-1])


def test_a_broken_line_in_the_middle_is_named(slurm, plan):
    submit(plan, executor())
    path = plan.folder / "jobs.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], lines[1][:10], *lines[2:], ""]))
    with pytest.raises(FormatError, match=r"jobs\.jsonl is broken in line 2"):
        track(plan)


def test_two_who_submit_at_once_submit_once(slurm, plan):
    failures = []

    def one():
        try:
            submit(plan, executor())
        except JobError as error:
            failures.append(str(error))

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(slurm.calls("sbatch")) == 2
    assert len(failures) == 3
    assert all("is being written by" in line or "nothing to submit" in line for line in failures)


def test_an_sbatch_that_outlives_us_keeps_the_lock(slurm, plan):
    begun = slurm.folder / "begun"
    (slurm.bin / "sbatch").write_text(f"#!/bin/bash\ntouch {begun}\nsleep 2\necho 100\n")
    code = (
        "import sys; from pathlib import Path; from scope_ml.compute.plan import read_plan;"
        "from scope_ml.compute.settings import ExecutorConfig; from scope_ml.compute.slurm_submission import submit;"
        "submit(read_plan(Path(sys.argv[1])), ExecutorConfig(kind='slurm'))"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(plan.folder)]) as process:
        while not begun.exists():
            time.sleep(0.05)
        process.kill()
    with pytest.raises(JobError, match=r"process \d+ on .*, which submits or cancels; type this command again"):
        submit(plan, executor())
    with pytest.raises(JobError, match="which submits or cancels"):
        cancel_run(plan)
    assert slurm.calls("scancel") == []


def test_a_full_disk_stops_before_sbatch(slurm, plan, monkeypatch):
    def full(descriptor):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"cannot write .*jobs\.jsonl: No space left"):
        submit(plan, executor())
    assert slurm.calls("sbatch") == []


# --- why ---


@pytest.mark.parametrize(
    ("state", "log", "reason"),
    [
        ("TIMEOUT|TimeLimit", "", "timed_out"),
        ("OUT_OF_MEMORY|OutOfMemory", "", "out_of_memory"),
        ("NODE_FAIL|None", "", "node_failed"),
        ("CANCELLED|None", "", "cancelled"),
        ("", "slurmstepd: error: *** JOB 5 ON vm CANCELLED AT 2026 DUE TO TIME LIMIT ***\n", "timed_out"),
        ("", "slurmstepd: error: Detected 1 oom-kill event(s) in StepId=5.batch\n", "out_of_memory"),
        ("", "slurmstepd: error: *** JOB 5 ON vm CANCELLED AT 2026-11-23 ***\n", "cancelled"),
        ("", "slurm.sh: line 20: 77 Killed   python\nended by signal 9\n", "killed"),
        ("", "", "unknown"),
    ],
)
def test_why_a_shard_was_lost(slurm, plan, state, log, reason):
    submit(plan, executor())
    work(plan, key(4), job="100_4", fate=None)
    slurm.states({"100_4": state})
    (plan.folder / "logs" / "100_4.err").write_text("some line\n" + log)
    (failure,) = track(plan).failures
    assert (failure.key, failure.standing, failure.reason, failure.job) == (key(4), "lost", reason, "100_4")
    assert failure.line


def test_the_line_of_a_log_is_the_one_about_the_reason(slurm, plan):
    submit(plan, executor())
    said = "slurmstepd: error: *** JOB 5 CANCELLED DUE TO TIME LIMIT ***"
    for index, log in enumerate([f"{said}\nended by signal 15\n", "ended by signal 9\n"]):
        work(plan, key(index), job=f"100_{index}", fate=None)
        (plan.folder / "logs" / f"100_{index}.err").write_text("script: line 22: 7 Killed " + "x" * 400 + "\n" + log)
    slurm.states({"100_0": "TIMEOUT|TimeLimit", "100_1": ""})
    assert [one.line for one in track(plan).failures] == [said, "ended by signal 9"]


def test_accounting_says_why_where_the_queue_has_forgotten(slurm, plan):
    submit(plan, executor())
    for index in (4, 5, 6):
        work(plan, key(index), job=f"100_{index}", fate="failed", error="stopped by SIGTERM (time limit or cancelled)")
    slurm.states({"100_4": "", "100_5": "", "100_6": ""})
    slurm.answer("sacct", "100_4|TIMEOUT|0:15\n100_5|CANCELLED by 1000|0:15\n100_6|FAILED|0:9\n")
    assert [one.reason for one in track(plan).failures] == ["timed_out", "cancelled", "killed"]
    assert "--jobs=100" in slurm.calls("sacct")[0]


def test_an_error_of_a_shard_is_its_reason(slurm, plan):
    submit(plan, executor())
    work(plan, key(4), job="100_4", fate="failed", error="quadrant 4 has rows without an id")
    slurm.states({"100_4": ""})
    (failure,) = track(plan).failures
    assert (failure.standing, failure.reason, failure.line) == ("failed", "error", "quadrant 4 has rows without an id")
    assert slurm.calls("sacct") == []


def test_a_task_that_could_not_start_is_named_though_no_shard_was_begun(slurm, plan):
    submit(plan, executor())
    slurm.states({"*": ""})
    (plan.folder / "logs" / "100_0.err").write_text("slurm: error: no module named cuda\n")
    failures = track(plan).failures
    assert len(failures) == N
    assert (failures[0].standing, failures[0].reason) == ("unbegun", "error")
    assert "no module named cuda" in failures[0].line


def test_a_task_of_several_shards_is_running_one_and_queueing_the_rest(slurm, plan):
    submit(plan, executor(shards_per_task=5))
    work(plan, key(0), job="100_0")
    work(plan, key(1), job="100_0", fate="failed", error="bad")
    work(plan, key(2), job="100_0", fate=None)
    slurm.states({"100_0": "RUNNING|None"})
    standings = track(plan).standings
    assert [standings[key(index)] for index in range(6)] == ["done", "failed", "running", "queued", "queued", "queued"]


def test_a_task_that_slurm_put_back_into_the_queue_is_not_submitted_again(slurm, plan):
    submit(plan, executor(shards_per_task=5))
    stopped = "stopped by SIGTERM (time limit or cancelled)"
    work(plan, key(0), job="100_0")
    work(plan, key(1), job="100_0", fate="failed", error=stopped)

    def standings(state, start):
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(start))
        slurm.states({"100_0": state, "start": moment})
        found = track(plan).standings
        return [found[key(index)] for index in range(3)]

    now = time.time()
    # Stopped a moment ago; then its place is taken by others; then it begins again, and comes to that shard soon.
    assert standings("COMPLETING|None", now - 60) == ["done", "failed", "queued"]
    assert standings("PENDING|BeginTime", now + 120) == ["done", "queued", "queued"]
    assert standings("RUNNING|None", now + 60) == ["done", "queued", "queued"]
    with pytest.raises(JobError, match="nothing to submit"):
        submit(plan, executor())
    work(plan, key(1), job="100_0", fate=None)
    assert standings("RUNNING|None", now + 60) == ["done", "running", "queued"]


def test_a_shard_that_a_process_here_works_on_is_running(slurm, plan):
    submit(plan, executor())
    slurm.states({"*": ""})
    Ledger(plan.folder).begin(key(0), Attempt.of_this_process())
    assert track(plan).standings[key(0)] == "running"


def test_jobs_of_another_run_of_the_same_name_are_not_ours(slurm, plan, tmp_path):
    other = WorkPlan(
        folder=tmp_path / "other" / "f.run", door="infer", config={}, identity={}, shards=(Shard(key="x", title="x"),)
    )
    other.write()
    submit(other, executor())
    submit(plan, executor())
    assert track(plan).waiting_for() == {"JobArrayTaskLimit": N}
    assert cancel_run(plan)[1] == ["102", "103"]
    assert slurm.calls("scancel") == [["103", "102"]]


def test_nothing_submitted_asks_nobody(slurm, plan):
    assert track(plan).counts()["unbegun"] == N
    assert slurm.calls("squeue") == []


def test_nodes_that_take_no_work_are_told_with_why(slurm):
    slurm.answer("sinfo", "n[1-3]|drained|maintenance\nn4|idle|none\nn5|mixed|none\nn6|down*|not responding\n")
    assert slurm_commands.nodes_out("") == ["n[1-3] drained: maintenance", "n6 down*: not responding"]


def test_variables_that_tasks_will_lack_are_named(slurm, plan, monkeypatch):
    monkeypatch.setenv("A_TOKEN", "secret-a")
    monkeypatch.setenv("B_TOKEN", "secret-b")
    config = {"service": {"one": {"token_env": "A_TOKEN"}, "more": [{"token_env": "B_TOKEN"}, {"token_env": "UNSET"}]}}
    asks = WorkPlan(folder=plan.folder, door="infer", config=config, identity={}, shards=plan.shards)
    assert "tasks do not see A_TOKEN,B_TOKEN; " in submit(asks, executor(), really=False).text
    text = submit(asks, executor(environment=("A_TOKEN",))).text
    assert "executor.environment=[B_TOKEN]" in text
    assert "secret" not in text
