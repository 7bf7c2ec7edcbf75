"""24 quadrants as an array of a real Slurm: tasks killed, one out of time, the node drained; resubmitted, the same tables."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from scope_ml.compute.ledger import Ledger
from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.io.lightcurves import write_light_curves

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(900)]

N_QUADRANTS = 24
PER_QUADRANT = 3
KEYS = [f"field_000296/ccd_{1 + number // 4:02d}_quad_{1 + number % 4}" for number in range(N_QUADRANTS)]
KILLED, HANGS = KEYS[:2], KEYS[2]

#: An interpreter for tasks: work on a shard of which the folder `hold` has a file waits until that file is gone.
HELD = """\
#!{python}
import sys, time
from contextlib import contextmanager
from pathlib import Path
from scope_ml.stages.distributed_features import FEATURES
real = type(FEATURES).open
@contextmanager
def opened(self, config, *, threads, progress):
    with real(self, config, threads=threads, progress=progress) as work:
        def held(shard):
            while Path({hold!r}, shard.key.replace("/", "-")).exists():
                time.sleep(0.05)
            return work(shard)
        yield held
type(FEATURES).open = opened
assert sys.argv[1:3] == ["-m", "scope_ml.slurm"]
sys.argv[:] = sys.argv[2:]
from scope_ml.slurm import main
raise SystemExit(main())
"""


def door(name: str, *words: str, cwd: Path, code: int = 0) -> str:
    """What a door says on standard output."""
    done = subprocess.run(
        [sys.executable, "-m", f"scope_ml.{name}", *words], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if code in (0, 1) else done.stderr


def slurm(action: str, folder: Path, *words: str, code: int = 0) -> str:
    return door("slurm", action, f"plan={folder.with_name('features.run')}", *words, cwd=folder.parent, code=code)


def status(folder: Path) -> dict:
    return json.loads(slurm("status", folder, "format=json"))


def wait_for(what, seconds: float = 300.0):
    """What `what` returns, once it is true."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        if found := what():
            return found
        time.sleep(0.25)
    raise AssertionError(f"nothing came of it in {seconds} s")


def queue() -> list[str]:
    return subprocess.run(
        ["squeue", "--noheader", "--array", "--format=%i %T %r"], capture_output=True, text=True, check=True
    ).stdout.splitlines()


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    """Light curves of 24 quadrants, the list of these, and the tables that one process makes."""
    folder = tmp_path_factory.mktemp("survey")
    random = np.random.default_rng(5)
    n = N_QUADRANTS * PER_QUADRANT
    times = [np.sort(random.uniform(2459000, 2459200, 60)) for _ in range(n)]
    mags = [15 + 0.3 * np.sin(2 * np.pi * t / 0.7) + random.normal(0, 0.02, t.size) for t in times]
    batch = LightCurveBatch.from_lists(
        np.arange(n, dtype=np.int64) + 2**53 + 1, times, mags, [np.full(t.size, 0.02) for t in times]
    )
    quadrant = np.arange(n) // PER_QUADRANT
    rows = {
        "id": batch.id,
        "source_id": np.arange(n),
        "band": ["r"] * n,
        "ra": 10.0 + 0.01 * np.arange(n),
        "dec": [4.0] * n,
        "field": [296] * n,
        "ccd": 1 + quadrant // 4,
        "quad": 1 + quadrant % 4,
    }
    write_light_curves(batch, pa.table(rows), folder / "curves.parquet")
    lines = [f"296 {1 + number // 4} {1 + number % 4}" for number in range(N_QUADRANTS)]
    (folder / "quadrants.txt").write_text("\n".join(lines) + "\n")
    features(folder, folder / "features", "executor=local", "executor.processes=1")
    return folder


def features_words(survey: Path, output: Path) -> list[str]:
    return [
        f"source.path={survey / 'curves.parquet'}",
        "target=quadrant_list",
        f"target.path={survey / 'quadrants.txt'}",
        "period_search=none",
        "debug=tiny",
        f"output={output}",
    ]


def features(survey: Path, output: Path, *words: str, code: int = 0) -> str:
    return door("generate_features", *features_words(survey, output), *words, cwd=output.parent, code=code)


def tables(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.parquet"))}


@pytest.fixture
def run(slurm_lab, tmp_path):
    """A folder for features, and its tasks' interpreter; nothing stays in the queue behind it."""
    (tmp_path / "hold").mkdir()
    python = tmp_path / "python"
    python.write_text(HELD.format(python=sys.executable, hold=str(tmp_path / "hold")))
    python.chmod(0o755)
    yield tmp_path / "features"
    subprocess.run(["scancel", "--me"], check=False)
    subprocess.run(["scontrol", "update", f"nodename={node()}", "state=resume"], check=False, capture_output=True)
    wait_for(lambda: not queue(), 60)


def node() -> str:
    return subprocess.run(
        ["sinfo", "--noheader", "--format=%n"], capture_output=True, text=True, check=True
    ).stdout.strip()


def hold(run: Path, key: str) -> Path:
    path = run.parent / "hold" / key.replace("/", "-")
    path.touch()
    return path


def begun_by(run: Path, key: str) -> int:
    """The process that works on a shard, 0 if none has begun it."""
    state = Ledger(run.with_name("features.run")).states([key])[key]
    return state.attempt.pid if state.state == "begun" and state.attempt else 0


def on_slurm(run: Path, *words: str) -> tuple[str, ...]:
    return (
        "executor=slurm",
        "executor.max_instances=2",
        f"executor.cluster.python={run.parent / 'python'}",
        "executor.cluster.memory_gb=0",
        *words,
    )


def test_killed_timed_out_and_drained_ends_with_the_same_tables(survey, run):
    for key in (*KILLED, HANGS):
        hold(run, key)
    minute = f"executor.cluster.hours={1 / 60}"
    said = features(survey, run, *on_slurm(run, minute, "executor.submit=false"))
    assert "24 shards to submit; nothing was submitted" in said
    shown = slurm("show", run)
    assert "--array=0-23%2" in shown
    assert "#SBATCH --time=0-00:01:00" in shown
    assert queue() == []

    # A drained node: everything waits, and status says why.
    subprocess.run(
        ["scontrol", "update", f"nodename={node()}", "state=drain", "reason=new disks"], check=True, timeout=30
    )
    slurm("submit", run)
    wait_for(lambda: f"{node()} drained: new disks" in status(run)["nodes_out"])
    assert f"{node()} drained: new disks" in slurm("status", run)
    assert f"{N_QUADRANTS} queued; wait for the queue" in slurm("resubmit", run, code=2)
    subprocess.run(["scontrol", "update", f"nodename={node()}", "state=resume"], check=True, timeout=30)

    # No more than two at a time, of which two are killed.
    for key in KILLED:
        pid = wait_for(lambda key=key: begun_by(run, key))
        assert sum(" RUNNING " in line for line in queue()) <= 2
        os.kill(pid, signal.SIGKILL)
    counts = wait_for(lambda: ended(run), 600)
    assert counts == {"done": 21, "running": 0, "queued": 0, "failed": 1, "lost": 2, "unbegun": 0}
    failures = {one["shard"]: one for one in status(run)["failures"]}
    assert {key: one["reason"] for key, one in failures.items()} == {
        **dict.fromkeys(KILLED, "killed"),
        HANGS: "timed_out",
    }
    assert "stopped by SIGTERM" in Ledger(run.with_name("features.run")).states([HANGS])[HANGS].record["error"]
    text = slurm("status", run)
    assert "reasons=[timed_out] hours=" in text

    # Only these again, with more time; the last job adds up.
    for path in (run.parent / "hold").iterdir():
        path.unlink()
    assert "3 shards submitted" in slurm("resubmit", run, "hours=1")
    assert slurm("show", run, code=2)
    assert wait_for(lambda: ended(run))["done"] == N_QUADRANTS
    logs = sorted((run.with_name("features.run") / "logs").glob("collect_*.err"), key=lambda path: path.stat().st_mtime)
    assert "in=72 out=72" in logs[-1].read_text()
    assert tables(run) == tables(survey / "features")
    slurm("collect", run)
    assert tables(run) == tables(survey / "features")


def ended(run: Path) -> dict[str, int] | None:
    """The counts, once nothing of the run is in the queue any more."""
    return None if queue() else status(run)["shards"]


def test_put_back_and_cancelled_shards_are_named_and_go_on(survey, run):
    held = [hold(run, key) for key in KEYS[:2]]
    features(survey, run, *on_slurm(run, "executor.shards_per_task=12"))
    first = wait_for(lambda: begun_by(run, KEYS[0]))
    # Slurm puts a task back into the queue: nothing of it is submitted again, and it begins anew.
    task = next(line.split()[0] for line in queue() if line.split()[0].endswith("_0"))
    subprocess.run(["scontrol", "requeue", task], check=True, timeout=30)
    wait_for(lambda: f"{task} PENDING BeginTime" in queue())
    counts = status(run)["shards"]
    assert counts["queued"] >= 12
    assert counts["failed"] + counts["lost"] + counts["unbegun"] == 0
    slurm("resubmit", run, code=2)
    subprocess.run(["scontrol", "update", f"jobid={task}", "starttime=now"], check=True, timeout=30)
    wait_for(lambda: begun_by(run, KEYS[0]) not in (0, first))
    other = subprocess.run(
        ["sbatch", "--parsable", "--hold", "--wrap=true"], capture_output=True, text=True, check=True
    )
    assert "cancelled" in slurm("cancel", run)
    wait_for(lambda: queue() == [f"{other.stdout.strip()} PENDING JobHeldUser"])
    counts = status(run)["shards"]
    assert counts["failed"] + counts["lost"] >= 1
    assert counts["done"] + counts["failed"] + counts["lost"] + counts["unbegun"] == N_QUADRANTS
    assert "cancelled: field_000296/ccd_01_quad_1" in slurm("status", run)
    for path in held:
        path.unlink()
    subprocess.run(["scancel", other.stdout.strip()], check=True)
    slurm("resubmit", run)
    assert wait_for(lambda: ended(run))["done"] == N_QUADRANTS
    assert tables(run) == tables(survey / "features")


def test_what_sbatch_refuses_is_one_line_and_nothing_is_queued(survey, run):
    said = features(survey, run, *on_slurm(run, "executor.cluster.partition=nowhere"), code=2)
    assert "sbatch refused" in said
    assert "invalid partition" in said.lower()
    assert "executor.cluster.partition=" in said
    assert len(said.splitlines()[-1]) < 400
    assert queue() == []
    assert status(run)["shards"]["unbegun"] == N_QUADRANTS


def test_variables_travel_by_name(slurm_lab, survey, run, monkeypatch):
    monkeypatch.setenv("SCOPE_TEST_SECRET", "s3cr3t-value")
    monkeypatch.setenv("SCOPE_TEST_OTHER", "not-asked-for")
    tell = f"printenv SCOPE_TEST_SECRET > {run.parent}/seen; printenv SCOPE_TEST_OTHER >> {run.parent}/seen"
    features(
        survey,
        run,
        *on_slurm(run, "executor.environment=[SCOPE_TEST_SECRET]", f"executor.cluster.setup=['{tell}']"),
        "executor.shards_per_task=24",
        "executor.collect=false",
    )
    assert wait_for(lambda: ended(run))["done"] == N_QUADRANTS
    assert (run.parent / "seen").read_text() == "s3cr3t-value\n"
    folder = run.with_name("features.run")
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert not [path for path in files if b"s3cr3t-value" in path.read_bytes()]


def test_dask_workers_that_slurm_starts_make_the_same_tables_though_one_is_killed(survey, run):
    words = [
        *features_words(survey, run),
        "executor=dask",
        "executor.jobqueue=true",
        "executor.workers=2",
        "executor.cluster.memory_gb=0",
        "executor.cluster.hours=1",
    ]
    ledger = Ledger(run.with_name("features.run"))

    def workers() -> set[int]:
        attempts = [state.attempt for state in ledger.states(KEYS).values()]
        return {attempt.pid for attempt in attempts if attempt}

    with (run.parent / "said").open("w") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "scope_ml.generate_features", *words], cwd=run.parent, stdout=said, stderr=said
        )
        try:
            wait_for(lambda: workers() or process.poll() is not None)
            assert process.poll() is None, (run.parent / "said").read_text()
            os.kill(workers().pop(), signal.SIGKILL)
            assert process.wait(timeout=600) == 0, (run.parent / "said").read_text()
        finally:
            process.kill()
            process.wait()
    assert len(workers()) >= 2
    assert tables(run) == tables(survey / "features")
    wait_for(lambda: not queue(), 60)
