"""Runs in a real MLflow database."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scope_ml.errors import OutputError, ServiceError
from scope_ml.tracking.mlflow_runs import MlflowTracker
from scope_ml.tracking.records import ModelRecord
from scope_ml.tracking.settings import TrackingConfig, database_path
from scope_ml.tracking.tracker import open_tracker


@pytest.fixture(scope="module")
def tracker(tracking: TrackingConfig) -> MlflowTracker:
    opened = open_tracker(tracking)
    assert isinstance(opened, MlflowTracker)
    return opened


def find(tracker: MlflowTracker, query: str) -> list[Any]:
    connection = tracker.connection
    return list(connection.client.search_runs([str(connection.experiment_id)], query))


def test_a_run_keeps_what_it_is_told_under_its_sweep(
    tracker: MlflowTracker, make_record: Callable[..., ModelRecord], tmp_path: Path
) -> None:
    record = make_record("ea")
    plot = tmp_path / "roc.svg"
    plot.write_text("<svg/>")
    tracker.sweep("my sweep", 2)
    with tracker.run(record.run_name, record.key) as run:
        run.params({"seed": 1, "algorithm": {"max_depth": 6, "eta": None}, "classes": ("ea", "eb")})
        run.params({f"p{number}": number for number in range(230)})
        run.metrics({"test.average_precision": 0.5, "test.roc_auc": float("nan")})
        run.metrics({"loss": 0.25}, step=3)
        run.artifact(plot, "plots")
        run.model(record)
    tracker.close()
    (found,) = find(tracker, "tags.`scope.key` = 'key-ea-1-'")
    assert found.info.run_name == "ea-xgb-seed1"
    assert found.info.status == "FINISHED"
    assert found.data.params["algorithm.max_depth"] == "6"
    assert found.data.params["algorithm.eta"] == "null"
    assert found.data.params["classes"] == "ea,eb"
    assert found.data.params["p229"] == "229"
    assert found.data.metrics == {"test.average_precision": 0.5, "loss": 0.25}
    assert found.data.tags["scope.bundle_digest"] == record.digest
    assert found.data.tags["scope.git_commit"]
    assert [one.path for one in tracker.connection.client.list_artifacts(found.info.run_id, "plots")] == [
        "plots/roc.svg"
    ]
    (parent,) = find(tracker, "tags.`scope.sweep` = 'my sweep'")
    assert found.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert parent.info.status == "FINISHED"


def test_a_sweep_is_found_again(tracker: MlflowTracker, tracking: TrackingConfig) -> None:
    for _ in range(2):
        another = open_tracker(tracking)
        another.sweep("it's found again", 1)
        with another.run("child", "key-again") as run:
            run.tags({"told": "something"})
        another.close()
    assert len(find(tracker, "tags.`scope.kind` = 'sweep' AND attributes.run_name LIKE '%found again'")) == 1
    assert len(find(tracker, "tags.`scope.key` = 'key-again'")) == 2
    assert tracker.is_finished("key-again")
    assert not tracker.is_finished("key-of-nothing")


def test_a_bundle_is_found_by_its_digest_only_when_whole(
    tracker: MlflowTracker, make_record: Callable[..., ModelRecord]
) -> None:
    record = make_record("eb")
    assert tracker.logged(record) is None
    with tracker.run(record.run_name, record.key) as run:
        made = run.model(record)
        assert tracker.logged(record) is None
    found = tracker.logged(record)
    assert found == made
    assert found is not None
    location = tracker.connection.client.get_logged_model(found.model_id).artifact_location
    assert (Path(location) / "data" / "bundle" / "bundle.json").is_file()
    described = (Path(location) / "MLmodel").read_text()
    assert "loader_module: scope_ml.tracking.pyfunc" in described
    assert "period_ls" in described
    assert not list(Path(location).rglob("*.pkl"))
    (Path(location) / "MLmodel").unlink()
    assert tracker.logged(record) is None


def test_artifacts_lie_beside_the_database(tracker: MlflowTracker, tracking: TrackingConfig) -> None:
    database = database_path(tracking.uri)
    assert database is not None
    experiment = tracker.connection.client.get_experiment(str(tracker.connection.experiment_id))
    assert experiment.artifact_location == str(database.parent / "mlruns")


def test_an_error_ends_the_run_as_failed_and_ctrl_c_as_killed(tracker: MlflowTracker) -> None:
    for error, status in ((ValueError, "FAILED"), (KeyboardInterrupt, "KILLED")):
        with pytest.raises(error), tracker.run("broken", f"key-{status}") as run:
            run.params({"told": "something"})
            raise error
        (found,) = find(tracker, f"tags.`scope.key` = 'key-{status}'")
        assert found.info.status == status


def test_work_that_cannot_begin_leaves_no_run(tracking: TrackingConfig, tracker: MlflowTracker) -> None:
    another = open_tracker(tracking)
    another.sweep("never begun", 1)
    with pytest.raises(ValueError, match="too few"), another.run("never", "key-never"):
        raise ValueError("too few")
    another.close()
    assert find(tracker, "tags.`scope.key` = 'key-never'") == []
    assert find(tracker, "tags.`scope.sweep` = 'never begun'") == []


def test_a_run_left_open_by_a_killed_process_is_marked(tracker: MlflowTracker, tracking: TrackingConfig) -> None:
    program = (
        "import os, signal, sys\n"
        "from scope_ml.tracking.settings import TrackingConfig\n"
        "from scope_ml.tracking.tracker import open_tracker\n"
        "tracker = open_tracker(TrackingConfig(uri=sys.argv[1], experiment='tests'))\n"
        "tracker.sweep('left behind', 2)\n"
        "with tracker.run('left', 'key-left') as run:\n"
        "    run.metrics({'loss': 1.0})\n"
        "    run.flush()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, tracking.uri], check=False, timeout=120)
    assert done.returncode == -9
    assert [run.info.status for run in find(tracker, "tags.`scope.key` = 'key-left'")] == ["RUNNING"]
    another = open_tracker(tracking)
    with another.run("left", "key-left") as run:
        run.metrics({"loss": 0.5})
    assert sorted(run.info.status for run in find(tracker, "tags.`scope.key` = 'key-left'")) == ["FINISHED", "KILLED"]
    assert [run.info.status for run in find(tracker, "tags.`scope.sweep` = 'left behind'")] == ["KILLED"]


def test_what_was_told_elsewhere_keeps_its_times_and_is_written_at_once(
    tracker: MlflowTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[int] = []
    write = tracker.connection.client.log_batch

    def counted(run_id: str, **entries: Any) -> None:
        batches.append(sum(len(some) for some in entries.values() if isinstance(some, list)))
        write(run_id, **entries)

    monkeypatch.setattr(tracker.connection.client, "log_batch", counted)
    with tracker.run("replayed", "key-replayed", began=1_000) as run:
        run.replay([({"loss": 1.0 / (step + 1), "broken": float("nan")}, step, 2_000 + step) for step in range(1_200)])
        run.params({"depth": 3})
        run.ended = 9_000
    (found,) = find(tracker, "tags.`scope.key` = 'key-replayed'")
    assert (found.info.start_time, found.info.end_time) == (1_000, 9_000)
    history = tracker.connection.client.get_metric_history(found.info.run_id, "loss")
    assert [(one.step, one.timestamp) for one in history] == [(step, 2_000 + step) for step in range(1_200)]
    assert list(found.data.metrics) == ["loss"]
    assert batches == [1_000, 201]


def test_two_processes_that_make_the_database_at_once_both_land(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from scope_ml.tracking.settings import TrackingConfig\n"
        "from scope_ml.tracking.tracker import open_tracker\n"
        "tracker = open_tracker(TrackingConfig(uri=sys.argv[1], experiment='both'))\n"
        "tracker.sweep('one sweep', 4)\n"
        "for number in range(3):\n"
        "    with tracker.run(f'run{number}', f'{sys.argv[2]}-{number}') as run:\n"
        "        run.metrics({'test.average_precision': 0.5})\n"
        "tracker.close()\n"
    )
    uri = f"sqlite:///{tmp_path}/new/mlflow.db"
    started = [
        subprocess.Popen([sys.executable, "-c", program, uri, name], stderr=subprocess.PIPE, text=True) for name in "ab"
    ]
    for process in started:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        assert errors == ""
    opened = open_tracker(TrackingConfig(uri=uri, experiment="both"))
    assert isinstance(opened, MlflowTracker)
    runs = find(opened, "tags.`scope.kind` = 'model'")
    assert sorted(run.data.tags["scope.key"] for run in runs) == [
        f"{name}-{number}" for name in "ab" for number in range(3)
    ]
    parents = find(opened, "tags.`scope.kind` = 'sweep'")
    assert len(parents) == 1
    assert {run.data.tags["mlflow.parentRunId"] for run in runs} == {parents[0].info.run_id}


def test_mlflow_run_is_attached_to(
    tracker: MlflowTracker, tracking: TrackingConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    client = tracker.connection.client
    outer = client.create_run(str(tracker.connection.experiment_id), run_name="from mlflow run").info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", outer)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking.uri)
    elsewhere = TrackingConfig(uri=f"sqlite:///{tmp_path}/other.db", experiment="tests")
    attached = open_tracker(elsewhere)
    attached.sweep("ignored", 1)
    with attached.run("single", "key-attached") as run:
        run.metrics({"test.average_precision": 0.25})
    attached.close()
    assert not (tmp_path / "other.db").exists()
    assert client.get_run(outer).data.metrics == {"test.average_precision": 0.25}
    # With several models in one process, the run that was attached to becomes their parent.
    attached.sweep("ignored", 2)
    with attached.run("first", "key-attached-first") as run:
        run.metrics({"loss": 0.5})
    (child,) = find(tracker, "tags.`scope.key` = 'key-attached-first'")
    assert child.data.tags["mlflow.parentRunId"] == outer
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)
    with pytest.raises(ServiceError, match="MLFLOW_RUN_ID"):
        open_tracker(elsewhere)


def test_tracking_off_never_imports_mlflow() -> None:
    program = (
        "import sys\n"
        "from scope_ml.tracking.settings import TrackingConfig\n"
        "from scope_ml.tracking.tracker import open_tracker\n"
        "tracker = open_tracker(TrackingConfig(enabled=False))\n"
        "tracker.sweep('s', 1)\n"
        "with tracker.run('r', 'k') as run:\n"
        "    run.params({'a': 1}); run.metrics({'m': 1.0}); run.tags({'t': 'x'})\n"
        "tracker.close()\n"
        "import scope_ml.tracking.registry, scope_ml.tracking.mlflow_runs, scope_ml.tracking.pyfunc\n"
        "heavy = {'mlflow', 'tensorflow', 'pandas', 'sqlalchemy'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], check=False, timeout=60, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_server_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(ServiceError, match=r"http://127\.0\.0\.1:9 could not open: it does not answer") as caught:
        open_tracker(TrackingConfig(uri="http://127.0.0.1:9"))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_database_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("not a database" * 100)
    with pytest.raises(OutputError, match="no SQLite database") as caught:
        open_tracker(TrackingConfig(uri=f"sqlite:///{tmp_path}/mlflow.db"))
    assert "\n" not in str(caught.value)
