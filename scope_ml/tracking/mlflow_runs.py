"""MLflow runs: a parent run per sweep, a child run per (class, algorithm, seed), the bundle as a pyfunc model.

Everything goes through MLflow's client, never through its process-wide "active run", so that threads and
several addresses do not meet. May import `connection`, `pyfunc_model` and the floors below.
"""

from __future__ import annotations

import math
import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from scope_ml.core.machine import is_running
from scope_ml.core.provenance import code_version, git_commit
from scope_ml.errors import ServiceError
from scope_ml.tracking.connection import Connection, connect, mlflow_errors
from scope_ml.tracking.pyfunc_model import MODEL_TAG, artifact_store, log_bundle, logged_model
from scope_ml.tracking.records import LoggedModel, ModelRecord
from scope_ml.tracking.registry import Registry
from scope_ml.tracking.settings import between_processes, redact
from scope_ml.tracking.tracker import Entry, RunHandle

__all__ = ["PARENT_TAG", "PROCESS_TAG", "MlflowRun", "MlflowTracker", "is_dead"]

#: Most parameters or tags, and most entries in all, that MLflow takes at once.
BATCH_PARAMS, BATCH_ENTRIES = 100, 1000

#: Longest time [s] that a run keeps what it was told to itself: who looks at a long training sees it grow.
KEPT_SECONDS = 5.0

#: Longest value of a parameter and of a tag that MLflow keeps.
PARAM_LENGTH, TAG_LENGTH = 6000, 8000

#: Tags of ours by which runs are found again.
KEY_TAG, SWEEP_TAG, PARENT_TAG = "scope.key", "scope.sweep", "mlflow.parentRunId"

#: Tag with host and process of a run, so that a running one is not taken for a killed one.
PROCESS_TAG = "scope.process"


class MlflowRun:
    """One open run; a `RunHandle`. It is made in MLflow when it first has something to say.

    What it is told is kept for some seconds and then written in one transaction: with a database each costs tens of
    milliseconds, and a training tells a hundred things.

    Parameters
    ----------
    connection
        Where.
    experiment_id
        Experiment of the run.
    make
        Makes the run and returns its id and the address of its artifacts.
    """

    is_recorded = True

    def __init__(self, connection: Connection, experiment_id: str, make: Callable[[], tuple[str, str]]) -> None:
        self._connection = connection
        self._experiment_id = experiment_id
        self._make = make
        self._made: tuple[str, str] | None = None
        self._params: list[Any] = []
        self._metrics: list[Any] = []
        self._tags: list[Any] = []
        self._first_kept: float | None = None
        self.ended: int | None = None

    @property
    def run_id(self) -> str:
        """Return MLflow's id of the run, which exists from now on."""
        return self._exists()[0]

    @property
    def is_made(self) -> bool:
        """Return whether the run exists, or will when what it was told is written."""
        return self._made is not None or self._first_kept is not None

    def params(self, values: Mapping[str, object]) -> None:
        """Record parameters, nested groups flattened to dotted names."""
        from mlflow.entities import Param

        self._params += [Param(name, value) for name, value in _flatten(values)]
        self._keep()

    def metrics(self, values: Mapping[str, float], *, step: int | None = None) -> None:
        """Record metrics; values that are not finite are left out."""
        self.replay([(values, step, _now())])

    def replay(self, entries: Iterable[Entry]) -> None:
        """Record metrics that were told elsewhere, with the times at which they were told."""
        from mlflow.entities import Metric

        for values, step, at in entries:
            kept = {name: float(value) for name, value in values.items() if value is not None}
            self._metrics += [
                Metric(name, value, at, step or 0) for name, value in kept.items() if math.isfinite(value)
            ]
        self._keep()

    def tags(self, values: Mapping[str, str]) -> None:
        """Record tags."""
        from mlflow.entities import RunTag

        self._tags += [RunTag(name, str(value)[:TAG_LENGTH]) for name, value in values.items()]
        self._keep()

    def artifact(self, path: Path, folder: str = "") -> None:
        """Keep a file, or the files of a folder, with the run."""
        with mlflow_errors(self._connection.uri, f"keep {path.name}"):
            store = artifact_store(self._exists()[1], self._connection.uri)
            if path.is_dir():
                store.log_artifacts(str(path), folder or path.name)
            else:
                store.log_artifact(str(path), folder or None)

    def model(self, record: ModelRecord) -> LoggedModel:
        """Keep the bundle of `record` as an MLflow model of this run."""
        self.tags(record.tags())
        with mlflow_errors(self._connection.uri, f"keep the model {record.run_name}"):
            kept = log_bundle(self._connection.client, self.run_id, self._experiment_id, record)
        # Written last of all: a run with this tag has a whole model.
        self.tags({MODEL_TAG: kept.model_id})
        self.flush()
        return kept

    def flush(self) -> None:
        """Write what the run was told."""
        if self._first_kept is None:
            return
        run_id = self.run_id
        while self._params or self._metrics or self._tags:
            batch = {"params": self._params[:BATCH_PARAMS], "tags": self._tags[:BATCH_PARAMS]}
            room = BATCH_ENTRIES - len(batch["params"]) - len(batch["tags"])
            batch["metrics"] = self._metrics[:room]
            with mlflow_errors(self._connection.uri, "record parameters and metrics of a run"):
                self._connection.client.log_batch(run_id, synchronous=True, **batch)
            self._params, self._tags = self._params[BATCH_PARAMS:], self._tags[BATCH_PARAMS:]
            self._metrics = self._metrics[room:]
        self._first_kept = None

    def _keep(self) -> None:
        """Note that something is to be written, and write it if the first of it has waited long enough."""
        now = time.monotonic()
        if self._first_kept is None:
            self._first_kept = now
        elif now - self._first_kept > KEPT_SECONDS:
            self.flush()

    def _exists(self) -> tuple[str, str]:
        if self._made is None:
            self._made = self._make()
        return self._made


class MlflowTracker:
    """Records runs with MLflow; made by `open_tracker`."""

    def __init__(self, connection: Connection, attached: str | None) -> None:
        self._connection = connection
        self._attached = attached
        self._sweep: str | None = None
        self._parent: str | None = None
        self._single = False
        self._open: dict[str, list[tuple[str, str]]] | None = None

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
    def run(self, name: str, key: str, *, began: int | None = None) -> Iterator[RunHandle]:
        """Open the run `name` of the work with the digest `key`; see `Tracker.run`."""
        self._mark_killed(key)
        tags = {KEY_TAG: key, "scope.kind": "model", PROCESS_TAG: _this_process(), **_code_tags()}
        if self._attached and self._single:
            # Its end is written by `mlflow run`, which started it.
            attached = self._attach(self._attached, tags)
            yield attached
            attached.flush()
            return
        since = began or _now()
        run = MlflowRun(self._connection, self._experiment(), lambda: self._create(name, tags, since))
        status = "FAILED"
        try:
            yield run
            run.flush()
            status = "FINISHED"
        except (KeyboardInterrupt, SystemExit):
            status = "KILLED"
            raise
        finally:
            if status != "FINISHED":
                self._close_broken(run, status)
            elif run.is_made:
                self._end(run.run_id, status, run.ended)

    def _close_broken(self, run: MlflowRun, status: str) -> None:
        """End a run that ended early; where that cannot be written either, the first error is the one to tell of."""
        if run.is_made:
            with suppress(ServiceError):
                run.flush()
                self._end(run.run_id, status)

    def is_finished(self, key: str) -> bool:
        """Return whether there is a finished run of the work with the digest `key`."""
        with mlflow_errors(self._connection.uri, "look for a run"):
            return bool(self._search(f"tags.`{KEY_TAG}` = '{key}' AND attributes.status = 'FINISHED'", 1))

    def logged(self, record: ModelRecord) -> LoggedModel | None:
        """Return the model of a finished run that holds this very bundle, or None."""
        query = f"tags.`scope.bundle_digest` = '{record.digest}' AND attributes.status = 'FINISHED'"
        with mlflow_errors(self._connection.uri, "look for a run"):
            for run in self._search(query):
                found = logged_model(self._connection.client, run)
                if found is not None:
                    return found
        return None

    def close(self, status: str = "FINISHED") -> None:
        """End the parent run; a run that was attached to ends with `mlflow run`."""
        if self._parent and not self._attached:
            self._end(self._parent, status)
            self._parent = None

    def _attach(self, run_id: str, tags: dict[str, str]) -> MlflowRun:
        with mlflow_errors(self._connection.uri, f"find the run {run_id}"):
            address = str(self._connection.client.get_run(run_id).info.artifact_uri)
        run = MlflowRun(self._connection, self._experiment(), lambda: (run_id, address))
        run.tags(tags)
        return run

    def _create(self, name: str, tags: dict[str, str], began: int) -> tuple[str, str]:
        if self._parent is None and self._sweep is not None:
            self._parent = self._find_or_make_sweep(self._sweep)
        linked = tags | ({PARENT_TAG: self._parent} if self._parent else {})
        with mlflow_errors(self._connection.uri, f"start the run {name}"):
            made = self._connection.client.create_run(self._experiment(), start_time=began, run_name=name, tags=linked)
        return str(made.info.run_id), str(made.info.artifact_uri)

    def _find_or_make_sweep(self, name: str) -> str:
        client = self._connection.client
        with between_processes(self._connection.uri), mlflow_errors(self._connection.uri, "make a parent run"):
            found = self._search(f"tags.`{SWEEP_TAG}` = '{name}' AND tags.`scope.kind` = 'sweep'")
            if found:
                client.update_run(found[-1].info.run_id, status="RUNNING")
                client.set_tag(found[-1].info.run_id, PROCESS_TAG, _this_process())
                return str(found[-1].info.run_id)
            tags = {SWEEP_TAG: name, "scope.kind": "sweep", PROCESS_TAG: _this_process(), **_code_tags()}
            return str(client.create_run(self._experiment(), run_name=name, tags=tags).info.run_id)

    def _end(self, run_id: str, status: str, ended: int | None = None) -> None:
        with mlflow_errors(self._connection.uri, "end a run"):
            self._connection.client.set_terminated(run_id, status, end_time=ended)

    def _mark_killed(self, key: str) -> None:
        """Mark runs of this work that killed processes left open, and their parents; which there are is looked up once."""
        client = self._connection.client
        with mlflow_errors(self._connection.uri, "look for killed runs"):
            if self._open is None:
                self._open = {}
                for run in self._search("attributes.status = 'RUNNING'", 10_000):
                    tags = run.data.tags
                    process = tags.get(PROCESS_TAG, "")
                    if KEY_TAG in tags:
                        self._open.setdefault(tags[KEY_TAG], []).append((run.info.run_id, process))
                    elif tags.get("scope.kind") == "sweep" and is_dead(process):
                        client.set_terminated(run.info.run_id, "KILLED")
            for run_id, process in self._open.pop(key, []):
                if run_id != self._attached and not _is_alive(process):
                    client.set_terminated(run_id, "KILLED")

    def _search(self, query: str, most: int = 100) -> list[Any]:
        return list(self._connection.client.search_runs([self._experiment()], query, max_results=most))

    def _experiment(self) -> str:
        if self._attached:
            return self._experiment_of(self._attached)
        if self._connection.experiment_id is None:
            raise ServiceError(f"MLflow at {redact(self._connection.uri)} has no experiment to record runs in")
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


def _this_process() -> str:
    return f"{platform.node()}:{os.getpid()}"


def is_dead(process: str) -> bool:
    """Return whether ``host:pid`` was a process of this host that runs no more."""
    host, _, pid = process.rpartition(":")
    return host == platform.node() and pid.isdigit() and not is_running(int(pid))


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
