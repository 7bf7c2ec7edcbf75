"""What a stage may ask of tracking, and the tracker that records nothing.

`open_tracker` gives the one or the other; only the recording one imports MLflow.
May import `settings`, `records` and the floors below.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from scope_ml.core.protocols import NullRunLogger, RunLogger
from scope_ml.tracking.records import LoggedModel, ModelRecord
from scope_ml.tracking.registry import Registry
from scope_ml.tracking.settings import TrackingConfig, checked_uri

__all__ = ["NullRun", "NullTracker", "RunHandle", "Tracker", "open_tracker"]


class RunHandle(RunLogger, Protocol):
    """One run that is open: a `RunLogger` that also keeps a model.

    Attributes
    ----------
    is_recorded
        False where everything is forgotten, so that nothing need be drawn for it.
    """

    is_recorded: bool

    def model(self, record: ModelRecord) -> LoggedModel | None:
        """Keep the bundle of `record` with the run; None where nothing is recorded."""
        ...


class Tracker(Protocol):
    """Records runs."""

    def sweep(self, name: str, n_runs: int) -> None:
        """Put the runs that follow under the parent run `name`, which is found again or made."""
        ...

    def run(self, name: str, key: str) -> AbstractContextManager[RunHandle]:
        """Open the run `name` of the work with the digest `key`; it ends with the context, as failed on an error.

        It is made when it is told the first thing: work that finds out that it cannot begin leaves no run. A run of
        the same key that a killed process left open is marked as killed.
        """
        ...

    def logged(self, record: ModelRecord) -> LoggedModel | None:
        """Return the model of a finished run that holds this very bundle and whose files are there, or None."""
        ...

    def registry(self) -> Registry | None:
        """Return the registry at the same address; None where nothing is recorded."""
        ...

    def close(self) -> None:
        """End the parent run."""
        ...


class NullRun(NullRunLogger):
    """A run that forgets everything."""

    is_recorded = False

    def model(self, record: ModelRecord) -> LoggedModel | None:
        """Keep nothing."""
        del record
        return None


class NullTracker:
    """``tracking=off``."""

    def sweep(self, name: str, n_runs: int) -> None:
        """Do nothing."""

    @contextmanager
    def run(self, name: str, key: str) -> Iterator[RunHandle]:
        """Yield a run that forgets everything."""
        del name, key
        yield NullRun()

    def logged(self, record: ModelRecord) -> LoggedModel | None:
        """Return None: nothing was recorded."""
        del record
        return None

    def registry(self) -> Registry | None:
        """Return None: there is none."""
        return None

    def close(self) -> None:
        """Do nothing."""


def open_tracker(config: TrackingConfig) -> Tracker:
    """Return a tracker for `config`; its database and experiment exist when this returns.

    Where ``MLFLOW_RUN_ID`` is set (``mlflow run .``), the runs attach to that run.

    Raises
    ------
    ConfigError
        If the address is none, or holds credentials.
    OutputError
        If the database cannot be made.
    ServiceError
        If the server does not answer.
    """
    if not config.enabled:
        return NullTracker()
    uri = checked_uri(config.uri)
    from scope_ml.tracking.mlflow_runs import MlflowTracker

    return MlflowTracker.open(uri, config.experiment)
