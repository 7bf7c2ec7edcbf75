"""Shards on a real Dask cluster of two workers, some of which die; and clusters that are not there."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from scope_ml.compute import dask_cluster
from scope_ml.compute.dask_cluster import open_cluster
from scope_ml.compute.ledger import Ledger
from scope_ml.compute.settings import ClusterConfig, ExecutorConfig
from scope_ml.core.configuration import build
from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.core.protocols import NullProgress
from scope_ml.errors import BackendUnavailableError, ConfigError, JobError, OutputError, ScopeError
from scope_ml.io.lightcurves import write_light_curves
from scope_ml.stages import distribution, generate_features, shard_dask
from scope_ml.stages.distributed_run import run_distributed
from scope_ml.stages.generate_features import GenerateFeatures
from scope_ml.stages.shard_dask import Run, do_shard, versions

pytest.importorskip("distributed")

#: Dask leaves sockets and loops to the garbage collector when a worker was killed.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

TWO = ExecutorConfig(kind="dask", workers=2)


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Return a function that makes configurations of the toy door, known to this process and to workers."""
    import toy_door

    monkeypatch.setattr(distribution, "DISTRIBUTED", {**distribution.DISTRIBUTED, **toy_door.DOORS})
    monkeypatch.setattr(shard_dask, "do_shard", toy_door.do_shard)

    def make(*what: str, executor: ExecutorConfig = TWO, **changes: Any) -> dict[str, Any]:
        return {"output": str(tmp_path / "out"), "what": list(what), "executor": executor} | changes

    return make


def go(config: dict[str, Any]) -> Any:
    return run_distributed("toy", config, progress=NullProgress())


@pytest.mark.slow  # two workers more; a killed worker and whole tables are below
def test_shards_fail_and_workers_die_and_all_is_done(toy: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    report = go(toy("", "kill once", "fail", "bug", "", "", sleep=0.1))
    assert report.facts["failed"] == {"s/2": "bad data", "s/3": "KeyError: 'a bug'"}
    assert report.n_out == 40
    assert sorted(path.name for path in (tmp_path / "out").glob("?.txt")) == ["0.txt", "1.txt", "4.txt", "5.txt"]
    assert {path.read_text() for path in (tmp_path / "out").glob("opened-*")} == {"1 1"}
    states = Ledger(tmp_path / "out.run").states(["s/0", "s/1"])
    assert states["s/0"].attempt is not None
    assert states["s/0"].attempt.job in ("0", "1"), "the worker's name"


@pytest.mark.slow  # a dozen workers are started, one after the other
def test_a_shard_that_kills_workers_again_and_again_is_given_up(
    toy: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    report = go(toy("", "kill", "", "kill once", "", "", "", sleep=0.5))
    assert list(report.facts["failed"]) == ["s/1"]
    assert "each Dask worker that had it died" in report.facts["failed"]["s/1"]
    assert report.n_out == 60


@pytest.mark.slow  # two workers more; `do_shard` and processes show the same sooner
def test_what_every_shard_would_fail_by_ends_the_run(toy: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="the disk is full"):
        go(toy("full", "", "", "", "", "", "", "", sleep=0.3))
    assert len(list((tmp_path / "out").glob("?.txt"))) < 7


@pytest.fixture
def quadrants(tmp_path: Path) -> Callable[..., GenerateFeatures]:
    """Return a function that builds the configuration of features of six quadrants."""
    random, n, n_quadrants = np.random.default_rng(0), 36, 6
    times = [np.sort(random.uniform(2459000, 2459400, 120)) for _ in range(n)]
    mags = [15 + 0.3 * np.sin(2 * np.pi * t / 0.7) + random.normal(0, 0.02, t.size) for t in times]
    batch = LightCurveBatch.from_lists(
        np.arange(n, dtype=np.int64) + 2**53 + 1, times, mags, [np.full(t.size, 0.02) for t in times]
    )
    place = np.arange(n) % n_quadrants
    rows = pa.table(
        {
            "id": batch.id,
            "band": ["r"] * n,
            "ra": 10.0 + 0.01 * np.arange(n),
            "dec": [4.0] * n,
            "field": [250] * n,
            "ccd": place // 4 + 1,
            "quad": place % 4 + 1,
        }
    )
    write_light_curves(batch, rows, tmp_path / "curves.parquet")
    (tmp_path / "list.txt").write_text("".join(f"250 {q // 4 + 1} {q % 4 + 1}\n" for q in range(n_quadrants)))

    def make(output: str, **executor: Any) -> GenerateFeatures:
        values = {
            "source": {"path": str(tmp_path / "curves.parquet")},
            "output": str(tmp_path / output),
            "target": {"kind": "quadrant_list", "path": str(tmp_path / "list.txt")},
            "period_search": {"method": "ls", "max_frequency": 10.0, "samples_per_peak": 10},
            "features": {"groups": ["basic", "period"]},
            "machine": {"workers": 1, "device": "cpu"},
            "executor": executor,
        }
        return build(GenerateFeatures, values)

    return make


def test_a_worker_killed_in_the_middle_changes_no_table(
    quadrants: Callable[..., GenerateFeatures], tmp_path: Path
) -> None:
    alone = generate_features.run(quadrants("alone"), progress=NullProgress())
    killed: list[int] = []
    ended = threading.Event()

    def kill_one() -> None:
        ledger = Ledger(tmp_path / "dask.run")
        keys = [f"field_000250/ccd_01_quad_{quad}" for quad in (1, 2, 3, 4)]
        while not killed and not ended.is_set():
            for state in ledger.states(keys).values():
                if state.state == "begun" and state.attempt is not None and not killed:
                    os.kill(state.attempt.pid, signal.SIGKILL)
                    killed.append(state.attempt.pid)
            time.sleep(0.01)

    killer = threading.Thread(target=kill_one)
    killer.start()
    try:
        report = generate_features.run(quadrants("dask", kind="dask", workers=2), progress=NullProgress())
    finally:
        ended.set()
        killer.join()
    assert killed, "a shard was under way"
    assert killed[0] != os.getpid()
    assert (report.n_in, report.n_out, report.facts["n_failed"]) == (alone.n_in, alone.n_out, 0)
    tables = sorted(path.relative_to(tmp_path / "alone") for path in (tmp_path / "alone").rglob("*.parquet"))
    assert len(tables) >= 6
    for table in tables:
        assert (tmp_path / "dask" / table).read_bytes() == (tmp_path / "alone" / table).read_bytes(), table


@pytest.fixture
def silent() -> Iterator[str]:
    """Return the address of somebody who listens and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize(
    ("address", "kind", "text"),
    [
        ("tcp://127.0.0.1:1", JobError, "no Dask scheduler answers at tcp://127.0.0.1:1 "),
        ("tcp://no.such.host.invalid:8786", JobError, "no Dask scheduler answers"),
        ("nowhere", ConfigError, "executor.address=nowhere is no address"),
        ("tcp://me:secret@host:1", ConfigError, "executor.address=host:1 is no address"),
        ("tcp://host:port", ConfigError, "is no address"),
    ],
)
def test_a_scheduler_that_is_not_there_is_one_line_at_once(
    address: str, kind: type[ScopeError], text: str, tmp_path: Path
) -> None:
    began = time.monotonic()
    with pytest.raises(kind) as refused, open_cluster(ExecutorConfig(kind="dask", address=address), tmp_path):
        pass
    assert text in str(refused.value)
    assert "secret" not in str(refused.value)
    assert "\n" not in str(refused.value)
    assert time.monotonic() - began < 12


def test_somebody_else_at_the_address_is_one_line(silent: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_cluster, "CONNECT_SECONDS", 1)
    with (
        pytest.raises(JobError, match="is no Dask scheduler, or one of another version"),
        open_cluster(ExecutorConfig(kind="dask", address=silent), tmp_path),
    ):
        pass


def a_run(tmp_path: Path, **changes: Any) -> Run:
    values: dict[str, Any] = {
        "token": str(tmp_path),
        "folder": str(tmp_path / "out.run"),
        "workdir": str(Path.cwd()),
        "threads": 1,
    }
    return Run(**(values | {"made_by": versions()} | changes))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"made_by": {"scope_ml": "0.0.1 abc"}}, "this command 0.0.1 abc; install the same on both"),
        ({"folder": "/nowhere/out.run"}, "does not see /nowhere/out.run; give an output in a folder that all workers"),
        ({"environment": ("NOT_SET_HERE",)}, "lacks the environment variables NOT_SET_HERE"),
        ({"workdir": "/nowhere"}, "does not see /nowhere, where the command was typed"),
    ],
)
def test_a_worker_that_cannot_do_the_work_says_why(
    toy: Callable[..., dict[str, Any]], tmp_path: Path, changes: dict[str, Any], text: str
) -> None:
    go(toy("", executor=ExecutorConfig(processes=1)))
    said = do_shard(replace(a_run(tmp_path), **changes), "s/0")
    assert said["kind"] == "JobError"
    assert text in said["fatal"]
    assert do_shard(a_run(tmp_path), "s/0") == {"error": None}


def test_what_is_opened_stays_open_for_a_run_and_is_opened_anew_for_the_next(
    toy: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    go(toy("", "", "fail", executor=ExecutorConfig(processes=1)))
    opened = tmp_path / "out" / f"opened-{os.getpid()}"
    opened.unlink()
    first = a_run(tmp_path, token="first")
    assert do_shard(first, "s/0") == {"error": None}
    opened.unlink()
    assert do_shard(first, "s/1") == {"error": None}
    assert do_shard(first, "s/2") == {"error": "bad data"}
    assert not opened.exists()
    do_shard(replace(first, token="second"), "s/0")
    assert opened.exists()


def test_a_cluster_of_slurm_jobs_is_tried_out_before_it_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("dask_jobqueue")
    fake = tmp_path / "bin" / "sbatch"
    fake.parent.mkdir()
    fake.write_text(f'#!/bin/sh\ncp "$2" {tmp_path}/script\necho "sbatch: error: invalid partition" >&2\nexit 1\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("TOKEN", "s3cret")
    cluster = ClusterConfig(
        partition="shared",
        account="ab1",
        cores=3,
        memory_gb=0.5,
        hours=1.5,
        modules=("gcc",),
        options=("--mail-type=END",),
    )
    executor = ExecutorConfig(kind="dask", jobqueue=True, workers=2, cluster=cluster, environment=("TOKEN",))
    with (
        pytest.raises(JobError, match="sbatch refuses a worker's job: sbatch: error: invalid partition;"),
        open_cluster(executor, tmp_path / "logs"),
    ):
        pass
    script = (tmp_path / "script").read_text()
    for line in ("-p shared", "-A ab1", "--cpus-per-task=3", "-t 0-01:30:00", "--mail-type=END", "--nodes=1"):
        assert f"#SBATCH {line}\n" in script
    assert "module load gcc" in script
    assert "export NUMBA_NUM_THREADS=3" in script
    assert "--nthreads 1" in script
    assert ",TOKEN\n" in script
    assert "s3cret" not in script
    needy = replace(executor, cluster=replace(cluster, account="", needs_account=True))
    with pytest.raises(ConfigError, match=r"executor\.cluster\.account"), open_cluster(needy, tmp_path / "logs"):
        pass
    fake.unlink()
    monkeypatch.setenv("PATH", str(fake.parent))
    with pytest.raises(BackendUnavailableError, match="no sbatch here"), open_cluster(executor, tmp_path / "logs"):
        pass
