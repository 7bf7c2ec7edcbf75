"""What a sweep tells the tracker: a run for each model, the best of each class registered, in one place and in order.

In a sweep with workers this happens in a thread of its own: nobody waits for the database, and only one process writes.
What cannot be recorded is tried once more at the end and named then; its bundle is on disk all the same.
May import `tracking`, `model_runs` and below.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from scope_ml.errors import ScopeError, ServiceError
from scope_ml.models.record import BundleRecord, read_record
from scope_ml.stages.model_runs import describe_run, ensure_logged, part_metrics
from scope_ml.stages.sweep_units import Outcome
from scope_ml.tracking.bundles import model_record
from scope_ml.tracking.promotion import Policy, best_seed
from scope_ml.tracking.records import LoggedModel, ModelRecord
from scope_ml.tracking.registry import Registration
from scope_ml.tracking.settings import TrackingConfig
from scope_ml.tracking.tracker import NullTracker, Tracker, open_tracker

__all__ = ["Made", "Recorder"]

#: Models in a row that cannot be recorded, after which the tracker is left in peace until the end.
PATIENCE = 3


@dataclass(frozen=True, kw_only=True)
class Made:
    """A bundle that is there.

    Attributes
    ----------
    number
        Number of the model in the sweep.
    record, known
        The bundle, as tracking and as models know it.
    outcome
        What its training told; None for a bundle that was there already.
    plots
        Whether to draw plots.
    params, tags
        What its run says besides.
    """

    number: int
    record: ModelRecord
    known: BundleRecord
    outcome: Outcome | None
    plots: bool
    params: Mapping[str, object]
    tags: Mapping[str, str]

    @classmethod
    def read(cls, folder: Path, **given: Any) -> Made:
        """Return what is told of the bundle in `folder`."""
        known = read_record(folder)
        return cls(record=model_record(folder, known), known=known, **given)


@dataclass(frozen=True)
class _Task:
    """Something to tell: `run` returns the error that it met, `give_up` says that it is not tried any more."""

    run: Callable[[], ScopeError | None]
    give_up: Callable[[ScopeError], None]


class Recorder:
    """Tells the tracker about models, one after the other.

    Parameters
    ----------
    config
        Where runs are recorded.
    name, n_runs
        Parent run, and how many runs it will have.
    in_thread
        Whether to work in a thread of its own; else each call works at once, and the tracker is opened now.

    Attributes
    ----------
    failures
        Why models are not recorded, by number.
    registrations, unregistered
        What registering did, and why it did not, by the names given to `register`.
    """

    def __init__(self, config: TrackingConfig, name: str, n_runs: int, *, in_thread: bool) -> None:
        self.failures: dict[int, ScopeError] = {}
        self.registrations: dict[str, Registration] = {}
        self.unregistered: dict[str, str] = {}
        self._tracker: Tracker = NullTracker()
        self._models: dict[str, LoggedModel] = {}
        self._is_open = False
        self._later: list[_Task] = []
        self._n_in_a_row = 0
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="recorder") if in_thread else None
        self._futures: list[Future[None]] = []
        self._do(self._open, config, name, n_runs)

    def record(self, made: Made) -> None:
        """Make the run of a model; a bundle that was there already keeps the run it has."""
        self._do(self._attempt, _Task(partial(self._record, made), partial(self.failures.__setitem__, made.number)))

    def register(self, name: str, records: list[ModelRecord], policy: Policy) -> None:
        """Register the best of `records`, all of which have been told of before, and an ensemble in any case."""
        self._do(self._attempt, _Task(partial(self._register, name, records, policy), partial(self._give_up, name)))

    def check(self) -> None:
        """Raise what went wrong in the thread other than what is kept in `failures`.

        Raises
        ------
        ScopeError
            If the tracker could not be opened.
        """
        done = [future for future in self._futures if future.done()]
        self._futures = [future for future in self._futures if not future.done()]
        for future in done:
            future.result()

    def finish(self) -> None:
        """Wait until all is told, and try once more what could not be."""
        self._do(self._retry)
        for future in self._futures:
            future.result()
        self._is_open = False

    def close(self) -> None:
        """End the thread; what it has not begun is left undone, and the parent run says so."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
        self._futures = []
        if self._is_open:
            self._is_open = False
            with suppress(ScopeError):
                self._tracker.close("KILLED")

    def _do(self, function: Callable[..., None], *arguments: Any) -> None:
        if self._pool is None:
            function(*arguments)
        else:
            self._futures.append(self._pool.submit(function, *arguments))

    def _open(self, config: TrackingConfig, name: str, n_runs: int) -> None:
        self._tracker = open_tracker(config)
        self._tracker.sweep(name, n_runs)
        self._is_open = True

    def _attempt(self, task: _Task) -> None:
        if not self._is_open:
            return
        if self._n_in_a_row >= PATIENCE:
            self._later.append(task)
            return
        failed = task.run() is not None
        self._n_in_a_row = self._n_in_a_row + 1 if failed else 0
        if failed:
            self._later.append(task)

    def _retry(self) -> None:
        """Try again what failed; where the first few fail again, their error speaks for all."""
        if not self._is_open:
            return
        self._n_in_a_row = 0
        error: ScopeError | None = None
        for task in self._later:
            if error is not None and self._n_in_a_row >= PATIENCE:
                task.give_up(error)
                continue
            error = task.run()
            self._n_in_a_row = self._n_in_a_row + 1 if error is not None else 0
        try:
            self._tracker.close()
        except ScopeError as failed:
            self._give_up("the parent run", failed)

    def _give_up(self, name: str, error: ScopeError) -> None:
        self.unregistered[name] = str(error)

    def _record(self, made: Made) -> ScopeError | None:
        record = made.record
        try:
            if made.outcome is None:
                model, _ = ensure_logged(self._tracker, record, plots=made.plots)
            else:
                with self._tracker.run(record.run_name, record.key, began=made.outcome.began) as run:
                    run.replay(made.outcome.log)
                    if not made.outcome.log:
                        run.metrics(part_metrics(made.known))
                    run.tags(made.tags)
                    run.ended = made.outcome.ended
                    model = describe_run(run, record, made.known, plots=made.plots, more=made.params)
        except ScopeError as error:
            self.failures[made.number] = error
            return error
        self.failures.pop(made.number, None)
        if model is not None:
            self._models[record.digest] = model
        return None

    def _register(self, name: str, records: list[ModelRecord], policy: Policy) -> ScopeError | None:
        try:
            registry = self._tracker.registry()
            if registry is None:
                return None
            best = best_seed(records)
            lacking = [record.run_name for record in records if record.digest not in self._models]
            if lacking:
                raise ServiceError(f"{', '.join(lacking)} could not be recorded")
            self.registrations[name] = registry.register(best, self._models[best.digest], policy)
            for record in records:
                if record.seed is None and record is not best:
                    # An ensemble was asked for as a model of its own; which one is champion is decided above.
                    registry.register(record, self._models[record.digest], "never")
        except ScopeError as error:
            self._give_up(name, error)
            return error
        self.unregistered.pop(name, None)
        return None
