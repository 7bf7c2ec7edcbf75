"""MLflow runs: a parent run per sweep, a child run per (class, algorithm, seed), the bundle as a pyfunc model.

Everything goes through MLflow's client, never through its process-wide "active run", so that threads and
several addresses do not meet. May import `connection`, `pyfunc_model` and the floors below.
"""

from __future__ import annotations

import math
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scope_ml.core.machine import is_running
from scope_ml.core.provenance import code_version, git_commit
from scope_ml.errors import ServiceError
from scope_ml.tracking.connection import Connection, connect, mlflow_errors
from scope_ml.tracking.pyfunc_model import log_bundle, logged_model
from scope_ml.tracking.records import LoggedModel, ModelRecord
from scope_ml.tracking.registry import Registry
from scope_ml.tracking.settings import between_processes
from scope_ml.tracking.tracker import RunHandle

__all__ = ["MlflowRun", "MlflowTracker"]

#: Most parameters or tags, and most metrics, that MLflow takes at once.
BATCH_PARAMS, BATCH_METRICS = 100, 1000

#: Longest value of a parameter and of a tag that MLflow keeps.
PARAM_LENGTH, TAG_LENGTH = 6000, 8000

#: Tags of ours by which runs are found again.
KEY_TAG, SWEEP_TAG, PARENT_TAG = "scope.key", "scope.sweep", "mlflow.parentRunId"

#: Tag with host and process of a run, so that a running one is not taken for a killed one.
PROCESS_TAG = "scope.process"


class MlflowRun:
    """One open run; a `RunLogger`. It is made in MLflow when it is told the first thing.

    Parameters
    ----------
    connection
        Where.
    experiment_id
        Experiment of the run.
    make
        Makes the run and returns its id.
    """

    is_recorded = True

    def __init__(self, connection: Connection, experiment_id: str, make: Callable[[], str]) -> None:
        self._connection = connection
        self._experiment_id = experiment_id
        self._make = make
        self.made: str | None = None

    @property
    def run_id(self) -> str:
        """Return MLflow's id of the run, which exists from now on."""
        if self.made is None:
            self.made = self._make()
        return self.made

    def params(self, values: Mapping[str, object]) -> None:
        """Record parameters, nested groups flattened to dotted names."""
        from mlflow.entities import Param

        found = [Param(name, value) for name, value in _flatten(values)]
        for start in range(0, len(found), BATCH_PARAMS):
            self._batch(params=found[start : start + BATCH_PARAMS])

    def metrics(self, values: Mapping[str, float], *, step: int | None = None) -> None:
        """Record metrics; values that are not finite are left out."""
        from mlflow.entities import Metric

        now = _now()
        kept = {name: float(value) for name, value in values.items() if value is not None}
        found = [Metric(name, value, now, step or 0) for name, value in kept.items() if math.isfinite(value)]
        for start in range(0, len(found), BATCH_METRICS):
            self._batch(metrics=found[start : start + BATCH_METRICS])

    def tags(self, values: Mapping[str, str]) -> None:
        """Record tags."""
        from mlflow.entities import RunTag

        found = [RunTag(name, str(value)[:TAG_LENGTH]) for name, value in values.items()]
        for start in range(0, len(found), BATCH_PARAMS):
            self._batch(tags=found[start : start + BATCH_PARAMS])

    def artifact(self, path: Path, folder: str = "") -> None:
        """Keep a file, or the files of a folder, with the run."""
        with mlflow_errors(self._connection.uri, f"keep {path.name}"):
            if path.is_dir():
                self._connection.client.log_artifacts(self.run_id, str(path), folder or path.name)
            else:
                self._connection.client.log_artifact(self.run_id, str(path), folder or None)

    def model(self, record: ModelRecord) -> LoggedModel:
        """Keep the bundle of `record` as an MLflow model of this run."""
        self.tags(record.tags())
        with mlflow_errors(self._connection.uri, f"keep the model {record.run_name}"):
            return log_bundle(self._connection.client, self.run_id, self._experiment_id, record)

    def _batch(self, **entries: list[Any]) -> None:
        with mlflow_errors(self._connection.uri, f"record the {next(iter(entries))} of a run"):
            self._connection.client.log_batch(self.run_id, synchronous=True, **entries)


class MlflowTracker:
    """Records runs with MLflow; made by `open_tracker`."""

    def __init__(self, connection: Connection, attached: str | None) -> None:
        self._connection = connection
        self._attached = attached
        self._sweep: str | None = None
        self._parent: str | None = None
        self._single = False

    @classmethod
    def open(cls, uri: str, experiment: str) -> MlflowTracker:
        """Connect, and look whether ``mlflow run`` started this process."""
        attached = os.environ.get("MLFLOW_RUN_ID") or None
        # The run lives where `mlflow run` made it, which need not be where our configuration points.
        given = os.environ.get("MLFLOW_TRACKING_URI") if attached else None
        connection = connect(_absolute(given) if given else uri, experiment)
        if attached:
            with mlflow_errors(connection.uri, f"find the run MLFLOW_RUN_ID={attached}"):
                connection.client.get_run(attached)
        return cls(connection, attached)

    @property
    def connection(self) -> Connection:
        """Return the client and its address, for the registry."""
        return self._connection

    def registry(self) -> Registry:
        """Return the registry at the same address."""
        return Registry(self._connection)

    def sweep(self, name: str, n_runs: int) -> None:
        """Put the runs that follow under the parent run `name`, which is found again or made with the first of them."""
        self._sweep = name.replace("'", "")  # MLflow's filters have no way to quote it
        self._single = bool(self._attached) and n_runs == 1
        self._parent = self._attached if not self._single else None

    @contextmanager
    def run(self, name: str, key: str) -> Iterator[RunHandle]:
        """Open the run `name` of the work with the digest `key`; see `Tracker.run`."""
        self._mark_killed(key)
        tags = {KEY_TAG: key, "scope.kind": "model", PROCESS_TAG: f"{platform.node()}:{os.getpid()}", **_code_tags()}
        if self._attached and self._single:
            # Its end is written by `mlflow run`, which started it.
            yield self._attach(self._attached, tags)
            return
        began = _now()
        run = MlflowRun(self._connection, self._experiment(), lambda: self._create(name, tags, began))
        status = "FAILED"
        try:
            yield run
            status = "FINISHED"
        except (KeyboardInterrupt, SystemExit):
            status = "KILLED"
            raise
        finally:
            if run.made is not None:
                self._end(run.made, status)

    def logged(self, record: ModelRecord) -> LoggedModel | None:
        """Return the model of a finished run that holds this very bundle, or None."""
        query = f"tags.`scope.bundle_digest` = '{record.digest}' AND attributes.status = 'FINISHED'"
        with mlflow_errors(self._connection.uri, "look for a run"):
            for run in self._search(query):
                found = logged_model(self._connection.client, run)
                if found is not None:
                    return found
        return None

    def close(self) -> None:
        """End the parent run; a run that was attached to ends with `mlflow run`."""
        if self._parent and not self._attached:
            self._end(self._parent, "FINISHED")

    def _attach(self, run_id: str, tags: dict[str, str]) -> MlflowRun:
        run = MlflowRun(self._connection, self._experiment(), lambda: run_id)
        run.tags(tags)
        return run

    def _create(self, name: str, tags: dict[str, str], began: int) -> str:
        if self._parent is None and self._sweep is not None:
            self._parent = self._find_or_make_sweep(self._sweep)
        linked = tags | ({PARENT_TAG: self._parent} if self._parent else {})
        with mlflow_errors(self._connection.uri, f"start the run {name}"):
            made = self._connection.client.create_run(self._experiment(), start_time=began, run_name=name, tags=linked)
        return str(made.info.run_id)

    def _find_or_make_sweep(self, name: str) -> str:
        client = self._connection.client
        with between_processes(self._connection.uri), mlflow_errors(self._connection.uri, "make a parent run"):
            found = self._search(f"tags.`{SWEEP_TAG}` = '{name}' AND tags.`scope.kind` = 'sweep'")
            if found:
                client.update_run(found[-1].info.run_id, status="RUNNING")
                return str(found[-1].info.run_id)
            tags = {SWEEP_TAG: name, "scope.kind": "sweep", **_code_tags()}
            return str(client.create_run(self._experiment(), run_name=name, tags=tags).info.run_id)

    def _end(self, run_id: str, status: str) -> None:
        with mlflow_errors(self._connection.uri, "end a run"):
            self._connection.client.set_terminated(run_id, status)

    def _mark_killed(self, key: str) -> None:
        with mlflow_errors(self._connection.uri, "look for killed runs"):
            for run in self._search(f"tags.`{KEY_TAG}` = '{key}' AND attributes.status = 'RUNNING'"):
                if run.info.run_id != self._attached and not _is_alive(run.data.tags.get(PROCESS_TAG, "")):
                    self._connection.client.set_terminated(run.info.run_id, "KILLED")

    def _search(self, query: str) -> list[Any]:
        return list(self._connection.client.search_runs([self._experiment()], query, max_results=100))

    def _experiment(self) -> str:
        if self._attached:
            return self._experiment_of(self._attached)
        if self._connection.experiment_id is None:
            raise ServiceError(f"MLflow at {self._connection.uri} has no experiment to record runs in")
        return self._connection.experiment_id

    def _experiment_of(self, run_id: str) -> str:
        with mlflow_errors(self._connection.uri, f"find the run {run_id}"):
            return str(self._connection.client.get_run(run_id).info.experiment_id)


def _absolute(uri: str) -> str:
    """Return MLflow's own address with a relative database file made absolute; credentials stay in it."""
    prefix = "sqlite:///"
    return f"{prefix}{Path(uri.removeprefix(prefix)).resolve()}" if uri.startswith(prefix) else uri


def _now() -> int:
    """Return MLflow's time: milliseconds since 1970."""
    return int(time.time() * 1000)


def _code_tags() -> dict[str, str]:
    return {
        "scope.git_commit": git_commit(),
        "mlflow.source.git.commit": git_commit(),
        "scope.code_version": code_version(),
    }


def _is_alive(process: str) -> bool:
    """Return whether ``host:pid`` is another running process of this host; of other hosts nothing is known."""
    host, _, pid = process.rpartition(":")
    return host == platform.node() and pid.isdigit() and int(pid) != os.getpid() and is_running(int(pid))


def _flatten(values: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
        elif isinstance(value, (list, tuple)):
            yield f"{prefix}{name}", ",".join(map(str, value))[:PARAM_LENGTH]
        else:
            yield f"{prefix}{name}", ("null" if value is None else str(value))[:PARAM_LENGTH]
