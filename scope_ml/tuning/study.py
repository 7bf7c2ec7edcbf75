"""A study: which settings to try next, what came of each trial, kept in a file that a later run goes on with.

Optuna's own loop is not used: trials are asked for and told one by one, so that what is trained, recorded and shown
stays ours. The only room that imports Optuna (Akiba et al. 2019, arXiv:1907.10902), inside functions.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from scope_ml.errors import FormatError, OutputError, ScopeError
from scope_ml.tuning.space import SearchRange

if TYPE_CHECKING:
    from optuna.storages.journal._file import BaseJournalFileLock

__all__ = ["PrunedError", "Sampler", "State", "Study", "Trial", "TrialRecord"]

Sampler = Literal["tpe", "random"]
State = Literal["complete", "pruned", "failed"]

#: Trials that are never pruned, and drawn at random: there is nothing yet to compare with.
N_STARTUP = 8

#: Reports of a trial before it may be pruned: how it begins says little.
N_WARMUP = 2

#: What each line of a journal begins with, as Optuna writes it.
LINE_START = b'{"op_code":'


class PrunedError(ScopeError):
    """The trial goes worse than the others did at this step; it is not finished."""


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """One trial that is over.

    Attributes
    ----------
    number, state, settings
        Its number from 0, what became of it, what was tried.
    value
        What it reached; None if it was pruned or failed.
    values
        What each seed of it reached.
    reason
        Why it was not finished; "" if it was.
    """

    number: int
    state: State
    value: float | None
    settings: Mapping[str, Any]
    values: tuple[float, ...] = ()
    reason: str = ""

    @property
    def spread(self) -> float | None:
        """Return the standard deviation over the seeds; None with fewer than two."""
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else None


class Trial:
    """One trial that is under way: its `number`, its `settings`, and what it reports as it goes.

    `is_resumed` says whether a run that was stopped had begun it.
    """

    def __init__(self, asked: Any, settings: Mapping[str, Any], *, known_steps: Sequence[int] | None = None) -> None:
        self._asked = asked
        self._known_steps = frozenset(known_steps or ())
        self.settings = dict(settings)
        self.number = int(asked.number)
        self.is_resumed = known_steps is not None

    def report(self, step: int, value: float) -> None:
        """Say how it goes, larger is better.

        Raises
        ------
        PrunedError
            If it goes worse than the median of the trials before it.
        """
        if step in self._known_steps:
            return  # told before it was stopped, and was not pruned then
        self._asked.report(value, step)
        if self._asked.should_prune():
            raise PrunedError(f"pruned at report {step}: worse than the median of the trials before it")


class Study:
    """A study that lives in `path`; what a killed run left unfinished is asked for first.

    One process at a time may use the file: who opens it holds a lock of its own.

    Parameters
    ----------
    path
        Journal file; made if it is not there.
    name
        Name that holds all that decides what a trial is worth: another data set is another study.
    sampler, seed
        How settings are chosen. One after the other, the same seed tries the same, interrupted or not.
    pruning
        Whether trials may be pruned.

    Raises
    ------
    FormatError
        If the file is there and no journal.
    OutputError
        If it cannot be written.
    """

    def __init__(self, path: Path, name: str, *, sampler: Sampler, seed: int, pruning: bool) -> None:
        import optuna
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._sampler, self._seed = sampler, seed
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _mend(path)
            # Optuna's own lock is a file that a killed process leaves behind.
            backend = JournalFileBackend(str(path), lock_obj=cast("BaseJournalFileLock", threading.Lock()))
            self._study = optuna.create_study(
                storage=optuna.storages.JournalStorage(backend),
                study_name=name,
                direction="maximize",
                load_if_exists=True,
                pruner=_pruner(pruning),
            )
        except OSError as error:
            raise OutputError(f"cannot write the study {path}: {error.strerror or error}; give storage=FILE") from error
        except (KeyError, TypeError, ValueError) as error:
            raise _no_journal(path) from error
        running = (optuna.trial.TrialState.RUNNING,)
        self._left = list(self._study.get_trials(deepcopy=False, states=running))

    def suggest_first(self, settings: Mapping[str, Any]) -> None:
        """Try these settings first, if the study is new: what there was is what a study has to beat."""
        if not self._study.get_trials(deepcopy=False):
            self._study.enqueue_trial(dict(settings))

    def ask(self, space: Mapping[str, SearchRange], whole: frozenset[str]) -> Trial:
        """Return the next trial; one that was stopped before a new one.

        Parameters
        ----------
        space
            Range of each setting.
        whole
            Settings that are whole numbers.

        Raises
        ------
        OutputError
            If the file can no longer be written.
        """
        import optuna

        left = self._left.pop(0) if self._left else None
        with _writing():
            # Drawn with a generator of each trial's own: what is tried does not depend on when a run was stopped.
            self._study.sampler = _sampler(self._sampler, self._seed, self._n_begun() if left is None else left.number)
            asked = self._study.ask() if left is None else optuna.trial.Trial(self._study, left._trial_id)
            settings = {name: _suggested(asked, name, one, name in whole) for name, one in space.items()}
        return Trial(asked, settings, known_steps=None if left is None else tuple(left.intermediate_values))

    def tell(
        self, trial: Trial, value: float | None, state: State, *, values: Sequence[float] = (), reason: str = ""
    ) -> None:
        """Say what came of a trial.

        Raises
        ------
        OutputError
            If the file can no longer be written.
        """
        from optuna.trial import TrialState

        states = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
        with _writing():
            trial._asked.set_user_attr("values", list(values))
            trial._asked.set_user_attr("reason", reason)
            self._study.tell(trial.number, value if state == "complete" else None, state=states[state])

    @property
    def trials(self) -> tuple[TrialRecord, ...]:
        """Return the trials that are over, in order."""
        from optuna.trial import TrialState

        names: dict[Any, State] = {
            TrialState.COMPLETE: "complete",
            TrialState.PRUNED: "pruned",
            TrialState.FAIL: "failed",
        }
        return tuple(
            TrialRecord(
                number=one.number,
                state=names[one.state],
                value=one.value if one.state == TrialState.COMPLETE else None,
                settings=dict(one.params),
                values=tuple(one.user_attrs.get("values", ())),
                reason=str(one.user_attrs.get("reason", "")),
            )
            for one in self._study.get_trials(deepcopy=False)
            if one.state in names
        )

    @property
    def best(self) -> TrialRecord | None:
        """Return the best finished trial, the earliest of equals; None if there is none."""
        done = [one for one in self.trials if one.value is not None]
        return max(done, key=lambda one: (one.value or 0.0, -one.number)) if done else None

    def _n_begun(self) -> int:
        from optuna.trial import TrialState

        return sum(one.state != TrialState.WAITING for one in self._study.get_trials(deepcopy=False))


def _mend(path: Path) -> None:
    """Cut off the last line if a killed process wrote only a part of it; refuse a file that is no journal.

    Raises
    ------
    FormatError
        If a whole line is none of a journal.
    """
    if not path.exists():
        return
    with path.open("rb+") as stream:
        whole = 0
        for line in stream:
            if not line.endswith(b"\n"):
                if whole == 0 and not LINE_START.startswith(line[: len(LINE_START)]):
                    raise _no_journal(path)
                break
            with suppress(ValueError):
                if isinstance(found := json.loads(line), dict) and "op_code" in found:
                    whole += len(line)
                    continue
            raise _no_journal(path)
        stream.truncate(whole)


def _no_journal(path: Path) -> FormatError:
    return FormatError(f"{path} is no journal of a study, or a damaged one; move it away or give storage=ANOTHER_FILE")


@contextmanager
def _writing() -> Iterator[None]:
    """Turn a full or vanished disk into one line."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"cannot write the study: {error.strerror or error}") from error


def _pruner(pruning: bool) -> Any:
    from optuna import pruners

    if not pruning:
        return pruners.NopPruner()
    return pruners.MedianPruner(n_startup_trials=N_STARTUP, n_warmup_steps=N_WARMUP + 1, n_min_trials=4)


def _sampler(sampler: Sampler, seed: int, number: int) -> Any:
    from optuna import samplers

    drawn = int(np.random.default_rng([seed, number]).integers(2**31))
    if sampler == "random":
        return samplers.RandomSampler(seed=drawn)
    return samplers.TPESampler(seed=drawn, n_startup_trials=N_STARTUP)


def _suggested(asked: Any, name: str, searched: SearchRange, whole: bool) -> Any:
    if searched.choices:
        return asked.suggest_categorical(name, list(searched.choices))
    low, high = searched.low, searched.high
    if whole:
        return asked.suggest_int(name, int(low or 0), int(high or 0), step=int(searched.step or 1), log=searched.log)
    return asked.suggest_float(name, low, high, step=searched.step, log=searched.log)
