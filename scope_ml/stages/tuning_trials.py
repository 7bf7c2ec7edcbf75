"""The trials of a study: each trained as `train` would, recorded, and told to the study last, so that none is lost.

May import `models`, `tracking`, `tuning` and below.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from scope_ml.core.configuration import to_plain
from scope_ml.core.protocols import NullRunLogger, Progress
from scope_ml.core.provenance import digest_json
from scope_ml.errors import ModelError, ScopeError
from scope_ml.models.algorithms import algorithm
from scope_ml.models.fit_rows import FitRows, fit_rows, train_task
from scope_ml.models.metrics import average_precision
from scope_ml.stages.training_inputs import TrainingInputs
from scope_ml.stages.tuning_options import Tune
from scope_ml.tracking.tracker import Tracker
from scope_ml.tuning.space import is_whole
from scope_ml.tuning.study import PrunedError, State, Study, Trial

__all__ = ["Search", "rows_by_seed"]

#: Epochs of a network between two reports to the pruner.
EPOCHS_PER_REPORT = 5

#: Sum of the learning rates of the trees between two reports: with half the rate it takes twice the trees to come as far.
RATE_PER_REPORT = 0.5


def rows_by_seed(config: Tune, inputs: TrainingInputs) -> dict[int, FitRows]:
    """Return the rows that each seed trains on and is measured on; the test part is not needed.

    Raises
    ------
    InsufficientDataError
        If the class has too few positive stars.
    """
    least = {**config.fit.least, "test": 0}
    return {seed: fit_rows(inputs.data, inputs.labels, least, seed) for seed in config.seeds}


class _StoppedError(ScopeError):
    """The search was stopped; the trial is begun again when it goes on."""


class _Course(NullRunLogger):
    """Watches a training: tells the trial how it goes (larger is better, so losses change their sign) and ends it.

    Parameters
    ----------
    trial
        Is told the course; None for the further seeds, since the pruner compares like with like.
    per_step
        Reports in a step (round of trees, epoch).
    stop
        Ends the training when set.
    """

    def __init__(self, trial: Trial | None, per_step: float, stop: threading.Event) -> None:
        self._trial, self._per_step, self._stop = trial, per_step, stop
        self._told = 0

    def metrics(self, values: Mapping[str, float], *, step: int | None = None) -> None:
        """Report the validation loss of a step.

        Raises
        ------
        PrunedError
            If the trial goes worse than others did.
        """
        if self._stop.is_set():
            raise _StoppedError("the search was stopped")
        if self._trial is None or step is None or "val_loss" not in values:
            return
        due = int((step + 1) * self._per_step + 1e-9)
        if due > self._told:
            self._told = due
            self._trial.report(due, -values["val_loss"])


@dataclass(frozen=True, kw_only=True)
class _Result:
    """What came of a trial: its state, what each seed reached, why it is not finished, when it began [ms] since 1970."""

    trial: Trial
    state: State | Literal["stopped"]
    began: int
    values: tuple[float, ...] = ()
    reason: str = ""

    @property
    def value(self) -> float | None:
        return float(np.mean(self.values)) if self.state == "complete" else None


class Search:
    """The search: as many trials at once as there are workers, each recorded and then told to the study.

    Parameters
    ----------
    config, inputs
        What is searched, on what.
    rows
        Rows of each seed (`rows_by_seed`).
    study, study_key
        Where trials come from, and the digest of all that decides what they are worth.
    tracker
        Where they are recorded.
    """

    def __init__(
        self,
        config: Tune,
        inputs: TrainingInputs,
        rows: Mapping[int, FitRows],
        *,
        study: Study,
        study_key: str,
        tracker: Tracker,
    ) -> None:
        self._config, self._inputs, self._rows = config, inputs, rows
        self._study, self._key, self._tracker = study, study_key, tracker
        self._stop = threading.Event()
        self._device = "gpu" if config.machine.device == "gpu" else "cpu"

    def run(self, progress: Progress) -> None:
        """Search until the study has as many trials as are wanted."""
        config, n_done = self._config, len(self._study.trials)
        whole = frozenset(name for name in config.space if is_whole(config.config_type, name))
        n_workers = 1 if self._device == "gpu" else config.machine.n_workers
        progress.start(f"tuning {config.title}", max(config.n_trials, n_done))
        progress.advance(n_done)
        n_begun, running = n_done, set[Future[_Result]]()
        with ThreadPoolExecutor(n_workers) as threads:
            try:
                while running or n_begun < config.n_trials:
                    while n_begun < config.n_trials and len(running) < n_workers:
                        running.add(threads.submit(self._tried, self._study.ask(config.space, whole)))
                        n_begun += 1
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    for result in sorted((one.result() for one in done), key=lambda one: one.trial.number):
                        self._finish(result)
                        progress.advance()
            finally:
                # Where this is left early, the trials under way need not be waited for: they are begun again.
                self._stop.set()

    def _finish(self, result: _Result) -> None:
        """Record a trial, then tell the study: a process that is killed in between finds its run when it goes on."""
        if result.state == "stopped":
            return
        key = digest_json([self._key, result.trial.number])
        if not (result.trial.is_resumed and self._tracker.is_finished(key)):
            self._record(result, key)
        self._study.tell(result.trial, result.value, result.state, values=result.values, reason=result.reason)

    def _record(self, result: _Result, key: str) -> None:
        config, settings = self._config, replace(self._inputs.settings, **result.trial.settings)
        name = f"{config.title}-trial{result.trial.number}"
        with self._tracker.run(name, key, began=result.began) as run:
            run.params({"class": config.class_spec.tag, "algorithm": to_plain(settings), "trial": result.trial.number})
            each = {f"val_average_precision_seed{s}": v for s, v in zip(config.seeds, result.values, strict=False)}
            value = result.value
            run.metrics(each | ({} if value is None else {"val_average_precision": value}))
            run.tags({"scope.kind": "trial", "scope.trial_state": result.state, "scope.reason": result.reason})

    def _tried(self, trial: Trial) -> _Result:
        """Train one trial, seed after seed."""
        began = int(time.time() * 1000)
        settings = replace(self._inputs.settings, **trial.settings)
        values: list[float] = []
        try:
            for seed in self._config.seeds:
                told = trial if self._config.pruning and not values else None
                values.append(self._score(settings, seed, _Course(told, _reports_per_step(settings), self._stop)))
        except _StoppedError:
            return _Result(trial=trial, state="stopped", began=began)
        except PrunedError as error:
            return _Result(trial=trial, state="pruned", reason=str(error), began=began)
        except ScopeError as error:
            return _Result(trial=trial, state="failed", values=tuple(values), reason=str(error), began=began)
        return _Result(trial=trial, state="complete", values=tuple(values), began=began)

    def _score(self, settings: Any, seed: int, course: _Course) -> float:
        """Train one seed and return the average precision of the validation part."""
        labels, data, rows = self._inputs.labels, self._inputs.data, self._rows[seed]
        task = train_task(data, labels, rows, settings, seed=seed, log=course, watched=True)
        (model,) = algorithm(settings.name).train_many(data.inputs, [task], device=self._device)
        if isinstance(model, ScopeError):
            raise model
        # Measured on all known rows of the part, as train does: a weight counts in training only.
        measured = rows.parts["val"]
        score = average_precision(labels.y[measured], model.predict(data.inputs.take(measured)))
        if score is None:
            raise ModelError("the validation part defines no average precision")
        return score


def _reports_per_step(settings: Any) -> float:
    if settings.name == "xgb":
        return float(settings.learning_rate) / RATE_PER_REPORT
    return 1.0 / EPOCHS_PER_REPORT
