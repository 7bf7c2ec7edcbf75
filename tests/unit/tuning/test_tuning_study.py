"""Studies: the same seed tries the same, however often it is interrupted; files that are none are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scope_ml.errors import FormatError, OutputError
from scope_ml.tuning.space import SearchRange
from scope_ml.tuning.study import PrunedError, Study, Trial

SPACE = {
    "depth": SearchRange(low=1, high=9),
    "rate": SearchRange(low=0.01, high=1.0, log=True),
    "kind": SearchRange(choices=("a", "b")),
}
WHOLE = frozenset({"depth"})


def study(path: Path, **changes: Any) -> Study:
    given = {"sampler": "tpe", "seed": 1, "pruning": False} | changes
    return Study(path, "s", **given)


def value(trial: Trial) -> float:
    return -abs(trial.settings["depth"] - 4) - abs(trial.settings["rate"] - 0.2)


def search(path: Path, n_trials: int, **changes: Any) -> list[dict[str, Any]]:
    opened = study(path, **changes)
    while len(opened.trials) < n_trials:
        trial = opened.ask(SPACE, WHOLE)
        opened.tell(trial, value(trial), "complete", values=[value(trial), value(trial) + 0.5])
    return [dict(trial.settings) for trial in opened.trials]


def test_the_same_seed_tries_the_same_in_one_run_or_in_several(tmp_path: Path) -> None:
    whole = search(tmp_path / "whole", 12)
    search(tmp_path / "parts", 3)
    opened = study(tmp_path / "parts")
    left = opened.ask(SPACE, WHOLE)  # and here it is killed
    again = study(tmp_path / "parts").ask(SPACE, WHOLE)
    assert (again.number, again.settings, again.is_resumed) == (left.number, left.settings, True)
    assert search(tmp_path / "parts", 12) == whole
    assert search(tmp_path / "other", 12, seed=2) != whole
    assert all(isinstance(one["depth"], int) and 1 <= one["depth"] <= 9 for one in whole)
    assert len({str(one) for one in whole}) == 12


def test_the_best_is_found_with_its_spread_and_ties_go_to_the_first(tmp_path: Path) -> None:
    opened = study(tmp_path / "j")
    opened.suggest_first({"depth": 4, "rate": 0.2, "kind": "a"})
    for state, reached in (("complete", 0.5), ("failed", None), ("complete", 0.75), ("complete", 0.75)):
        trial = opened.ask(SPACE, WHOLE)
        each = [] if reached is None else [reached - 0.1, reached + 0.1]
        opened.tell(trial, reached, state, values=each, reason="" if reached else "no good")
    first, failed, best, _ = study(tmp_path / "j").trials
    assert first.settings == {"depth": 4, "rate": 0.2, "kind": "a"}
    assert (failed.state, failed.value, failed.reason, failed.spread) == ("failed", None, "no good", None)
    assert opened.best == best
    assert best.spread == pytest.approx(0.02**0.5)


def test_a_bad_course_is_pruned_after_the_first_trials_and_a_good_one_is_not(tmp_path: Path) -> None:
    def course(opened: Study, level: float) -> int:
        trial = opened.ask(SPACE, WHOLE)
        for step in range(1, 8):
            try:
                trial.report(step, level + 0.01 * step)
            except PrunedError:
                opened.tell(trial, None, "pruned")
                return step
        opened.tell(trial, level, "complete")
        return 0

    opened = study(tmp_path / "j", pruning=True)
    assert [course(opened, level) for level in range(8)] == [0] * 8  # nothing to compare with yet
    assert course(opened, 9.0) == 0
    assert course(opened, -1.0) == 3  # not at its very beginning
    unpruned = study(tmp_path / "other")
    assert [course(unpruned, -float(level)) for level in range(10)] == [0] * 10


def test_what_a_trial_told_before_it_was_stopped_is_not_told_again(tmp_path: Path) -> None:
    opened = study(tmp_path / "j", pruning=True)
    opened.ask(SPACE, WHOLE).report(1, 0.5)
    trial = study(tmp_path / "j", pruning=True).ask(SPACE, WHOLE)
    trial.report(1, 0.5)  # a second report of a step is a warning of Optuna's, and warnings are errors here
    trial.report(2, 0.6)


def test_a_line_cut_short_by_a_kill_is_mended_and_other_files_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "j"
    search(path, 3)
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"op_code":4,"worker_')
    assert len(study(path).trials) == 3
    assert path.read_bytes().startswith(whole)
    assert len(search(path, 4)) == 4
    for text in (b"something else", b"a line\n", b"[1]\n", b'{"op_code":0}\n', b"\xff\xfe\n", whole + b"{}\n"):
        path.write_bytes(text)
        with pytest.raises(FormatError, match="is no journal of a study"):
            study(path)
        assert path.read_bytes() == text
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="give storage=FILE"):
        study(tmp_path / "folder")
