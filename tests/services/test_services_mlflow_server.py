"""Many processes that write at once lose nothing: into a database file, a server with one, a server with PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from scope_ml.tracking.connection import connect
from scope_ml.tracking.registry import Registry
from scope_ml.tracking.settings import TrackingConfig

#: Slow: two hundred runs through a server take minutes.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

N_WORKERS, N_RUNS = 4, 50


@pytest.fixture(params=["file", "server with a file", "server with PostgreSQL"])
def place(request: pytest.FixtureRequest, programs: Any, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Yield the address to write to and the folder where its artifacts end up."""
    with ExitStack() as stack:
        if request.param == "file":
            yield f"sqlite:///{tmp_path}/mlflow.db", tmp_path / "mlruns"
            return
        store = (
            stack.enter_context(programs.postgresql())
            if "PostgreSQL" in request.param
            else f"sqlite:///{tmp_path}/mlflow.db"
        )
        yield stack.enter_context(programs.mlflow_server(store, tmp_path / "artifacts")), tmp_path / "artifacts"


def test_nothing_is_lost(place: tuple[str, Path], programs: Any, tmp_path: Path) -> None:
    uri, artifacts = place
    notes = tmp_path / "notes"
    notes.mkdir()
    programs.write_at_once(uri, notes, N_WORKERS, N_RUNS)
    connection = connect(uri, "load", create=False)
    assert connection.experiment_id is not None
    runs, token = [], None
    while True:
        page = connection.client.search_runs([connection.experiment_id], "", max_results=100, page_token=token)
        runs += page
        token = page.token
        if not token:
            break
    parents = [run for run in runs if run.data.tags.get("scope.kind") == "sweep"]
    children = {run.info.run_name: run for run in runs if run.data.tags.get("scope.kind") == "model"}
    # Each process looks for the parent run under a lock of the machine, so that there is one.
    assert len(parents) == 1
    names = {f"run-{worker}-{number}" for worker in range(N_WORKERS) for number in range(N_RUNS)}
    assert set(children) == names
    assert len(runs) == len(names) + 1
    for name, run in children.items():
        _, worker, number = name.split("-")
        assert run.info.status == "FINISHED"
        assert run.data.params == {"worker": worker, "number": number}
        assert run.data.metrics == {"loss": int(worker) + int(number) / 1000.0, "val_loss": 2.0}
        assert run.data.tags["note"] == name
        assert run.data.tags["mlflow.parentRunId"] == parents[0].info.run_id
    kept = {path.name: path.read_text() for path in artifacts.rglob("run-*.txt")}
    assert kept == {f"{name}.txt": name for name in names}
    history = connection.client.get_metric_history(children["run-3-49"].info.run_id, "val_loss")
    assert [(metric.step, metric.value) for metric in history] == [(0, 0.0), (1, 1.0), (2, 2.0)]
    versions = Registry.open(TrackingConfig(uri=uri, experiment="load")).versions("scope-bis-xgb")
    assert {version.digest for version in versions} == {f"d{worker}" for worker in range(N_WORKERS)}
    assert next(version.digest for version in versions if "champion" in version.aliases) == "d3"
