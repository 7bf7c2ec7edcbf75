"""What a stage may ask of tracking, and the tracker that records nothing.

`open_tracker` gives the one or the other; only the recording one imports MLflow.
May import `settings`, `records` and the floors below.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from scope_ml.core.protocols import NullRunLogger, RunLogger
from scope_ml.tracking.records import LoggedModel, ModelRecord
from scope_ml.tracking.registry import Registry
from scope_ml.tracking.settings import TrackingConfig, checked_uri

__all__ = ["Entry", "NullRun", "NullTracker", "RunHandle", "Tracker", "open_tracker"]

#: What a training told about itself: values, step, milliseconds since 1970.
Entry = tuple[Mapping[str, float], int | None, int]


class RunHandle(RunLogger, Protocol):
    """One run that is open: a `RunLogger` that also keeps a model.

    Attributes
    ----------
    is_recorded
        False where everything is forgotten, so that nothing need be drawn for it.
    ended
        When its work ended, in milliseconds since 1970; None takes the time at which the run is closed.
    """

    is_recorded: bool
    ended: int | None

    def replay(self, entries: Iterable[Entry]) -> None:
        """Record metrics that were told elsewhere, with the times at which they were told."""
        ...

    def model(self, record: ModelRecord) -> LoggedModel | None:
        """Keep the bundle of `record` with the run; None where nothing is recorded."""
        ...


class Tracker(Protocol):
    """Records runs."""

    def sweep(self, name: str, n_runs: int) -> None:
        """Put the runs that follow under the parent run `name`, which is found again or made."""
        ...

    def run(self, name: str, key: str, *, began: int | None = None) -> AbstractContextManager[RunHandle]:
        """Open the run `name` of the work with the digest `key`; it ends with the context, as failed on an error.

        Parameters
        ----------
        name, key
            What it is called, and the digest of all that decides its result.
        began
            When its work began, in milliseconds since 1970; None: now.

        It is made when it is told the first thing: work that finds out that it cannot begin leaves no run. A run of
        the same key that a killed process left open is marked as killed.
        """
        ...

    def is_finished(self, key: str) -> bool:
        """Return whether there is a finished run of the work with the digest `key`."""
        ...

    def logged(self, record: ModelRecord) -> LoggedModel | None:
        """Return the model of a finished run that holds this very bundle and whose files are there, or None."""
        ...

    def registry(self) -> Registry | None:
        """Return the registry at the same address; None where nothing is recorded."""
        ...

    def close(self, status: str = "FINISHED") -> None:
        """End the parent run as ``FINISHED``, ``FAILED`` or ``KILLED``."""
        ...


class NullRun(NullRunLogger):
    """A run that forgets everything."""

    is_recorded = False
    ended: int | None = None

    def replay(self, entries: Iterable[Entry]) -> None:
        """Forget metrics that were told elsewhere."""
        del entries

    def model(self, record: ModelRecord) -> LoggedModel | None:
        """Keep nothing."""
        del record
        return None


class NullTracker:
    """``tracking=off``."""

    def sweep(self, name: str, n_runs: int) -> None:
        """Do nothing."""

    @contextmanager
    def run(self, name: str, key: str, *, began: int | None = None) -> Iterator[RunHandle]:
        """Yield a run that forgets everything."""
        del name, key, began
        yield NullRun()

    def is_finished(self, key: str) -> bool:
        """Return False: nothing was recorded."""
        del key
        return False

    def logged(self, record: ModelRecord) -> LoggedModel | None:
        """Return None: nothing was recorded."""
        del record
        return None

    def registry(self) -> Registry | None:
        """Return None: there is none."""
        return None

    def close(self, status: str = "FINISHED") -> None:
        """Do nothing."""
        del status


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
