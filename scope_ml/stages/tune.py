"""Stage `tune`: a study of the settings of one class and algorithm, and the best of them where `train` picks them up.

A trial trains each of `seeds` on the training part and is worth their mean average precision (PR-AUC) on the validation
part; the test part is never looked at. The settings that `train` would take without a study are the first trial. The study
lives in a journal: what was tried is not tried again when the same command is typed once more, with a larger `n_trials`
to go on. With several workers as many trials are under way at once, which changes what is tried next.
"""

from __future__ import annotations

import csv
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scope_ml.core.configuration import science_values
from scope_ml.core.protocols import Progress
from scope_ml.core.provenance import digest_json
from scope_ml.core.report import Report
from scope_ml.errors import ModelError, ScopeError
from scope_ml.io.atomic import atomic_path, check_writable
from scope_ml.io.output_lock import output_lock
from scope_ml.models.fit_rows import n_stars
from scope_ml.reporting.study_plots import save_study_plots
from scope_ml.stages.training_inputs import TrainingInputs, TrainingLibrary
from scope_ml.stages.tuned_settings import read_tuned, write_tuned
from scope_ml.stages.tuning_options import Tune
from scope_ml.stages.tuning_trials import Search, rows_by_seed
from scope_ml.taxonomy.classes import packaged_conf_dir
from scope_ml.tracking.tracker import Tracker, open_tracker
from scope_ml.tuning.space import is_within
from scope_ml.tuning.study import Study, TrialRecord

__all__ = ["Tune", "run"]


@dataclass(frozen=True, kw_only=True)
class _Outcome:
    """A study when the search is over: its trials, the best, and the settings of before if they were tried."""

    trials: tuple[TrialRecord, ...]
    best: TrialRecord
    before: TrialRecord | None
    n_positive: int


def run(config: Tune, *, progress: Progress) -> Report:
    """Search until the study has `n_trials` trials, record each, write the best settings.

    Raises
    ------
    ConfigError
        If the space is none of the algorithm's, or the file of tuned settings is none.
    InsufficientDataError
        If the class has too few positive stars.
    JobError
        If another process is at work on the same study.
    FormatError
        If the study's file is none.
    ModelError
        If no trial at all could be finished.
    ScopeError
        As the readers of the data, the tracker and the writers raise.
    """
    began = time.monotonic()
    if not config.machine.dry_run:
        outcome = _searched(config, progress)
        write_tuned(config.tuned, config.name, {**config.fixed, **outcome.best.settings})
        return _report(config, outcome, seconds=time.monotonic() - began)
    with tempfile.TemporaryDirectory(prefix="scope-ml-") as folder:
        tracking = replace(config.tracking, enabled=False)
        dry = replace(config, storage=f"{folder}/journal", output=f"{folder}/tuned.yaml", tracking=tracking)
        report = _report(config, _searched(dry, progress), seconds=time.monotonic() - began)
    return replace(report, outputs={}, warnings=(*report.warnings, "dry run: nothing was kept"))


def _searched(config: Tune, progress: Progress) -> _Outcome:
    # What would fail at the end fails at the beginning.
    read_tuned(config.tuned)
    check_writable(config.tuned)
    inputs = TrainingLibrary().inputs(config.training())
    rows = rows_by_seed(config, inputs)
    validation = rows[config.seeds[0]].parts["val"]
    n_positive = n_stars(inputs.data.group[validation[inputs.labels.y[validation] == 1]])
    journal = config.journal
    with output_lock(journal.with_name(f".{journal.name}.held"), journal):
        key = _study_key(config, inputs)
        name = f"{config.title}-{key[:16]}"
        study = Study(journal, name, sampler=config.sampler, seed=config.seed, pruning=config.pruning)
        present = {name: getattr(inputs.settings, name) for name in config.space}
        if all(is_within(config.space[name], value) for name, value in present.items()):
            study.suggest_first(present)
        with _tracked(config, f"tune-{config.title}-{key[:8]}") as tracker:
            search = Search(config, inputs, rows, study=study, study_key=key, tracker=tracker)
            try:
                search.run(progress)
            finally:
                progress.finish()
            outcome = _outcome(config, study.trials, present, n_positive)
            _record_study(config, outcome, tracker, key)
    return outcome


def _study_key(config: Tune, inputs: TrainingInputs) -> str:
    """Return the digest of all that decides what a trial is worth, and of the space: another one is another study."""
    made = inputs.provenance
    science = [made.data_digest, made.split_digest, made.config_digest, made.code_digest]
    return digest_json([*science, science_values(config.space), list(config.seeds), config.pruning])


@contextmanager
def _tracked(config: Tune, name: str) -> Iterator[Tracker]:
    """Yield the tracker with its parent run, which ends as what happens in the block."""
    tracker = open_tracker(config.tracking)
    tracker.sweep(name, config.n_trials + 1)
    status = "FAILED"
    try:
        yield tracker
        status = "FINISHED"
    except (KeyboardInterrupt, SystemExit):
        status = "KILLED"
        raise
    finally:
        if status == "FINISHED":
            tracker.close()
        else:
            # The first error is the one to tell of.
            with suppress(ScopeError):
                tracker.close(status)


def _outcome(config: Tune, trials: tuple[TrialRecord, ...], present: Mapping[str, Any], n_positive: int) -> _Outcome:
    done = [trial for trial in trials if trial.value is not None]
    if not done:
        reason = next((f"; the first: {trial.reason}" for trial in trials if trial.reason), "")
        raise ModelError(f"none of {len(trials)} trials of {config.title} could be finished{reason}")
    best = max(done, key=lambda trial: (trial.value or 0.0, -trial.number))
    before = next((trial for trial in done if trial.number == 0 and trial.settings == present), None)
    return _Outcome(trials=trials, best=best, before=before, n_positive=n_positive)


def _record_study(config: Tune, outcome: _Outcome, tracker: Tracker, study_key: str) -> None:
    """Keep table and plots beside the journal, and with a run of the whole study."""
    folder, best = config.folder, outcome.best
    first = None if outcome.before is None else outcome.before.number
    paths = [_save_table(config, outcome.trials, folder / "trials.csv")]
    paths += save_study_plots(outcome.trials, folder, title=config.title, before=first)
    key = digest_json([study_key, len(outcome.trials), "study"])
    if tracker.is_finished(key):
        return
    with tracker.run(f"{config.title}-study", key) as run:
        run.params({"n_trials": len(outcome.trials), "best_trial": best.number, "best": dict(best.settings)})
        values = {"val_average_precision": best.value, "val_average_precision_spread": best.spread}
        if outcome.before is not None:
            values["val_average_precision_before"] = outcome.before.value
        run.metrics({name: value for name, value in values.items() if value is not None})
        run.tags({"scope.kind": "study"})
        for path in paths:
            run.artifact(path, "study")


def _save_table(config: Tune, trials: tuple[TrialRecord, ...], path: Path) -> Path:
    names = list(config.space)
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(
            ["trial", "state", "val_average_precision", *(f"seed{s}" for s in config.seeds), *names, "reason"]
        )
        for trial in trials:
            each = [*trial.values, *[""] * len(config.seeds)][: len(config.seeds)]
            settings = [trial.settings.get(name, "") for name in names]
            value = "" if trial.value is None else trial.value
            writer.writerow([trial.number, trial.state, value, *each, *settings, trial.reason])
    return path


def _report(config: Tune, outcome: _Outcome, *, seconds: float) -> Report:
    trials, best, before = outcome.trials, outcome.best, outcome.before
    counts = {state: sum(trial.state == state for trial in trials) for state in ("complete", "pruned", "failed")}
    return Report(
        stage="tune",
        n_in=len(trials),
        n_out=counts["complete"],
        dropped={"pruned": counts["pruned"], "failed": counts["failed"]},
        seconds=seconds,
        warnings=_warnings(config, outcome),
        outputs={"tuned": str(config.tuned), "study": str(config.folder)},
        facts={
            "best": dict(best.settings),
            "best_trial": best.number,
            "validation": best.value,
            "validation_spread": best.spread,
            "validation_before": None if before is None else before.value,
            "validation_before_spread": None if before is None else before.spread,
            "n_positive_stars": outcome.n_positive,
            "text": f"{_found(config, outcome)}\n{_next(config)}",
        },
    )


def _found(config: Tune, outcome: _Outcome) -> str:
    best, before = outcome.best, outcome.before
    shown = ", ".join(f"{name}={_shown(value)}" for name, value in best.settings.items())
    if before is None:
        gain = ""
    elif before.number == best.number:
        gain = " (the settings of before: nothing better was found)"
    else:
        gain = f" (trial 0, the settings of before: {_worth(before)})"
    return f"{config.title}: validation PR-AUC {_worth(best)}{gain} with {shown}"


def _worth(trial: TrialRecord) -> str:
    spread = "" if trial.spread is None else f" +- {trial.spread:.4f} over {len(trial.values)} seeds"
    return f"{trial.value:.4f}{spread}"


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _next(config: Tune) -> str:
    folder = config.tuned.parent.parent
    name = config.tuned.stem
    given = "" if folder.resolve() == packaged_conf_dir().resolve() else f"--config-dir {folder} "
    further = "".join(f" algorithm.{name}={_typed(value)}" for name, value in config.further.items())
    return f"next: python -m scope_ml.train {given}class={config.class_spec.tag} algorithm={config.name}{further} tuned={name}"


def _typed(value: Any) -> str:
    """Return a value as it is typed behind a key."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _warnings(config: Tune, outcome: _Outcome) -> tuple[str, ...]:
    found, output, best, before = [], config.tuned, outcome.best, outcome.before
    if before is not None and best.number != before.number:
        gain = (best.value or 0.0) - (before.value or 0.0)
        scatter = max(best.spread or 0.0, before.spread or 0.0)
        if gain <= scatter:
            found.append(
                f"the gain of {gain:.4f} is within the scatter of the seeds ({scatter:.4f}); the validation part has"
                f" {outcome.n_positive} stars of the class: compare on the test part with more seeds before you keep it"
            )
    if output.parent.name != "tuned" and not config.machine.dry_run:
        found.append(f"{output} is in no folder called tuned: train finds it only as FOLDER/tuned/{output.name}")
    return tuple(found)
