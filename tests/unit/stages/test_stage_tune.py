"""Tuning: a trial is worth what train reaches with its settings; studies go on; the best is where train takes it."""

from __future__ import annotations

import csv
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from scope_ml.core.configuration import build
from scope_ml.core.protocols import NullProgress
from scope_ml.errors import ConfigError, InsufficientDataError, JobError, ModelError
from scope_ml.io.output_lock import output_lock
from scope_ml.models.algorithms import configure
from scope_ml.models.record import read_record
from scope_ml.stages import tune as stage
from scope_ml.stages import tuning_trials
from scope_ml.stages.train import Train
from scope_ml.stages.train import run as train
from scope_ml.stages.training_inputs import TrainingLibrary
from scope_ml.stages.tune import Tune, run
from scope_ml.stages.tuned_settings import read_tuned, tuned_settings, write_tuned
from scope_ml.taxonomy.graph import Taxonomy
from scope_ml.tracking.tracker import NullRun, NullTracker
from scope_ml.tuning.study import Study

XGB = {"name": "xgb", "n_rounds": 12}
SPACE = {"max_depth": {"low": 2, "high": 6}, "learning_rate": {"low": 0.05, "high": 0.5, "log": True}}

MakeTune = Callable[..., Tune]


@pytest.fixture(scope="module")
def library() -> TrainingLibrary:
    """Return what reads the data once for all of these tests."""
    return TrainingLibrary()


@pytest.fixture(autouse=True)
def _shared(library: TrainingLibrary, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "TrainingLibrary", lambda: library)


@pytest.fixture
def tune_config(training_tables: tuple[Path, Path], taxonomy: Taxonomy, tmp_path: Path) -> MakeTune:
    """Return a function that builds a quick configuration whose files lie in the test's own folder."""
    features, labels = training_tables

    def make(tag: str = "rrlyr", **changes: Any) -> Tune:
        values: dict[str, Any] = {
            "class": taxonomy[tag],
            "algorithm": XGB,
            "tune": SPACE,
            "dataset": {"features": str(features), "labels": str(labels)},
            "n_trials": 5,
            "storage": str(tmp_path / "study" / "xgb.journal"),
            "output": str(tmp_path / "conf" / "tuned" / f"{tag}.yaml"),
            "tracking": {"enabled": False},
            "machine": {"workers": 1},
        }
        return build(Tune, values | changes)

    return make


def tune(config: Tune) -> Any:
    return run(config, progress=NullProgress())


def table(tmp_path: Path) -> list[dict[str, str]]:
    with (tmp_path / "study" / "xgb" / "trials.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_trial_is_worth_what_train_reaches_with_the_tuned_settings(
    tune_config: MakeTune, train_config: Callable[..., Train], tmp_path: Path
) -> None:
    report = tune(tune_config())
    assert (report.n_in, report.n_out, report.dropped) == (5, 5, {"pruned": 0, "failed": 0})
    trials = table(tmp_path)
    assert (trials[0]["max_depth"], trials[0]["learning_rate"]) == ("6", "0.1")  # what train takes without a study
    values = [float(trial["val_average_precision"]) for trial in trials]
    assert report.facts["validation"] == max(values)
    assert report.facts["validation_before"] == values[0]
    best = trials[values.index(max(values))]
    tuned = read_tuned(tmp_path / "conf" / "tuned" / "rrlyr.yaml")
    assert tuned == {"xgb": {"max_depth": int(best["max_depth"]), "learning_rate": float(best["learning_rate"])}}
    # The same seeds, trained for good with `tuned=each` on the folder.
    config = train_config(algorithm=XGB, seeds=[1, 2], tuned={"each": True}, class_folders=[str(tmp_path / "conf")])
    train(config, progress=NullProgress())
    for seed in (1, 2):
        known = read_record(config.folder / f"seed_{seed}")
        assert known.metrics["val"].value("average_precision") == float(best[f"seed{seed}"])


def test_a_study_goes_on_and_tries_nothing_twice(tune_config: MakeTune, tmp_path: Path) -> None:
    tune(tune_config(n_trials=2))
    first = table(tmp_path)
    tune(tune_config(n_trials=5))
    assert table(tmp_path)[:2] == first
    whole = table(tmp_path)
    assert len(whole) == 5
    report = tune(tune_config(n_trials=5))
    assert (report.n_in, table(tmp_path)) == (5, whole)
    # Other data, seeds or settings are another study of the same file.
    tune(tune_config(n_trials=1, seeds=[3]))
    assert [trial["trial"] for trial in table(tmp_path)] == ["0"]
    undisturbed = tmp_path / "other"
    tune(tune_config(n_trials=5, storage=str(undisturbed / "xgb.journal")))
    assert (undisturbed / "xgb" / "trials.csv").read_text() == (
        "\n".join([",".join(whole[0]), *(",".join(trial.values()) for trial in whole)]) + "\n"
    )


class Memory(NullTracker):
    """A tracker that remembers the runs that ended well, and how its parent run ended."""

    def __init__(self) -> None:
        self.ended: list[tuple[str, str]] = []
        self.told: list[dict[str, Any]] = []
        self.closed: list[str] = []

    @contextmanager
    def run(self, name: str, key: str, *, began: int | None = None) -> Iterator[NullRun]:
        seen: dict[str, Any] = {"name": name}
        one = NullRun()
        one.metrics = seen.update  # type: ignore[method-assign]
        one.params = seen.update  # type: ignore[method-assign]
        yield one
        self.ended.append((name, key))
        self.told.append(seen)

    def is_finished(self, key: str) -> bool:
        return key in dict(map(reversed, self.ended))

    def close(self, status: str = "FINISHED") -> None:
        self.closed.append(status)


def test_a_search_that_breaks_off_begins_its_trial_again_and_has_one_run_for_each(
    tune_config: MakeTune, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tell, told, memory = Study.tell, [], Memory()

    def broken(study: Study, trial: Any, *given: Any, **further: Any) -> None:
        if trial.number == 1 and not told:
            told.append(trial.settings)
            raise KeyboardInterrupt  # recorded, but not told: the worst moment
        tell(study, trial, *given, **further)

    monkeypatch.setattr(Study, "tell", broken)
    monkeypatch.setattr(stage, "open_tracker", lambda config: memory)
    with pytest.raises(KeyboardInterrupt):
        tune(tune_config(n_trials=3))
    assert memory.closed == ["KILLED"]
    assert [name for name, _ in memory.ended] == ["rrlyr-xgb-trial0", "rrlyr-xgb-trial1"]
    assert tune(tune_config(n_trials=3)).n_out == 3
    assert [name for name, _ in memory.ended[2:]] == ["rrlyr-xgb-trial2", "rrlyr-xgb-study"]
    assert memory.closed == ["KILLED", "FINISHED"]
    again = table(tmp_path)[1]
    assert again["max_depth"] == str(told[0]["max_depth"]) == str(memory.told[1]["algorithm"]["max_depth"])
    assert float(again["val_average_precision"]) == memory.told[1]["val_average_precision"]
    assert float(again["seed2"]) == memory.told[1]["val_average_precision_seed2"]
    # Typed once more, there is nothing to tell.
    tune(tune_config(n_trials=3))
    assert len(memory.ended) == 4


def test_pruned_and_failed_trials_are_counted_and_none_at_all_is_an_error(
    tune_config: MakeTune, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    score = tuning_trials.Search._score

    def failing(search: Any, settings: Any, seed: int, course: Any) -> float:
        if settings.max_depth != 6:
            raise ModelError("the loss is infinite")
        return score(search, settings, seed, course)

    monkeypatch.setattr(tuning_trials.Search, "_score", failing)
    report = tune(tune_config(n_trials=3))
    assert report.n_out + report.dropped["failed"] == 3
    assert report.dropped["failed"] > 0
    assert any(trial["reason"] == "the loss is infinite" for trial in table(tmp_path))
    with pytest.raises(ModelError, match="none of 2 trials of rrlyr-xgb could be finished; the first: the loss is inf"):
        tune(tune_config(n_trials=2, tune={"max_depth": {"low": 2, "high": 5}}))


def test_slow_trees_are_compared_where_they_have_come_as_far() -> None:
    told: list[tuple[int, float]] = []

    class Listening:
        def report(self, step: int, value: float) -> None:
            told.append((step, value))

    course = tuning_trials._Course(Listening(), 0.1 / 0.5, threading.Event())  # type: ignore[arg-type]
    for step in range(12):
        course.metrics({"val_loss": 1.0 - step}, step=step)
    assert told == [(1, 3.0), (2, 8.0)]
    assert tuning_trials._reports_per_step(configure(XGB | {"learning_rate": 0.05})) == pytest.approx(0.1)
    assert tuning_trials._reports_per_step(configure({"name": "dnn", "learning_rate": 0.05})) == pytest.approx(0.2)


def test_bad_input_is_one_line_before_anything_is_searched(
    tune_config: MakeTune, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tuning_trials.Search, "run", None)
    for changes, words in (
        ({"algorithm": XGB | {"max_depth": 5}}, r"algorithm\.max_depth=5 is given and tune\.max_depth searches it"),
        ({"algorithm": {"name": "dnn_shared"}}, "dnn_shared cannot be tuned"),
        ({"seeds": [1, 1]}, "none twice"),
        ({"tune": {}}, "tune is empty"),
    ):
        with pytest.raises(ConfigError, match=words):
            tune_config(**changes)
    with pytest.raises(InsufficientDataError, match="ea has too few positive stars"):
        tune(tune_config("ea"))
    assert not (tmp_path / "study").exists()
    output = tmp_path / "conf" / "tuned" / "rrlyr.yaml"
    output.parent.mkdir(parents=True, exist_ok=True)
    for text, words in (
        ("- a", "no settings by algorithm"),
        ("{{{", "cannot be read"),
        ("xbg: {}", "did you mean 'xgb'"),
    ):
        output.write_text(text)
        with pytest.raises(ConfigError, match=words):
            tune(tune_config())
        assert output.read_text() == text
    output.unlink()
    journal = Path(tune_config().journal)
    with (
        output_lock(journal.with_name(f".{journal.name}.held"), journal),
        pytest.raises(JobError, match="being written"),
    ):
        tune(tune_config())


def test_a_dry_run_keeps_nothing(tune_config: MakeTune, tmp_path: Path) -> None:
    report = tune(tune_config(n_trials=1, machine={"workers": 1, "dry_run": True}))
    assert (report.n_out, report.outputs) == (1, {})
    assert list(tmp_path.iterdir()) == []


def test_what_was_fixed_belongs_to_what_is_found_and_other_algorithms_stay(
    tune_config: MakeTune, tmp_path: Path
) -> None:
    output = tmp_path / "conf" / "tuned" / "rrlyr.yaml"
    write_tuned(output, "dnn", {"batch_size": 128})
    report = tune(tune_config(n_trials=1, algorithm=XGB | {"subsample": 0.9}))
    assert read_tuned(output) == {
        "dnn": {"batch_size": 128},
        "xgb": {"subsample": 0.9, "max_depth": 6, "learning_rate": 0.1},
    }
    assert "algorithm=xgb algorithm.n_rounds=12 tuned=rrlyr" in report.facts["text"]


def test_train_takes_each_class_its_own_file(train_values: Callable[..., Train], tmp_path: Path) -> None:
    write_tuned(tmp_path / "tuned" / "rrlyr.yaml", "xgb", {"max_depth": 3})
    given = {"tuned": {"each": True}, "class_folders": [str(tmp_path)]}
    assert tuned_settings(train_values("rrlyr", **given)) == {"max_depth": 3}
    assert tuned_settings(train_values("ea", **given)) == {}
    assert tuned_settings(train_values("rrlyr", tuned={"each": True})) == {}
    assert tuned_settings(train_values("ea", tuned={"xgb": {"gamma": 1.0}})) == {"gamma": 1.0}
    for tuned, words in (({"xgb": 3}, "xgb is 3"), ({"max_depth": 3}, "is no algorithm")):
        with pytest.raises(ConfigError, match=words):
            tuned_settings(train_values("rrlyr", tuned=tuned))
