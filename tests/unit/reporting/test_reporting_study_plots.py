"""Plots of a study: every trial is drawn where its value is; odd studies are drawn too."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

from scope_ml.reporting.study_plots import history_plot, save_study_plots, settings_plot
from scope_ml.tuning.study import TrialRecord


def trial(number: int, value: float | None, **settings: object) -> TrialRecord:
    values = () if value is None else (value - 0.01, value + 0.01)
    state = "pruned" if value is None else "complete"
    return TrialRecord(number=number, state=state, value=value, settings=settings, values=values)


TRIALS = [
    trial(0, 0.8, rate=0.1, depth=4, kind=True),
    trial(1, 0.9, rate=0.001, depth=2, kind=False),
    trial(2, None, rate=0.5, depth=9, kind=True),
    trial(3, 0.7, rate=0.9, depth=8, kind=False),
]


def path(drawn: str, name: str) -> list[tuple[float, float]]:
    found = re.findall(rf'<path class="{name}" d="([^"]*)"/>', drawn)[-1]
    return [(float(a), float(b)) for a, b in re.findall(r"[ML]([\d.]+) ([\d.]+)", found)]


def test_the_history_shows_values_scatter_the_best_so_far_and_what_was_lost() -> None:
    drawn = history_plot(TRIALS, "a <b>", before=0)
    ElementTree.fromstring(drawn)
    assert "a &lt;b&gt;" in drawn
    dots = path(drawn, "dot")
    assert len(dots) == 3
    assert dots[1][1] < dots[0][1] < dots[2][1]  # higher values stand higher
    assert path(drawn, "first") == dots[:1]
    ((lost, _),) = path(drawn, "lost")
    assert dots[1][0] < lost < dots[2][0]
    best = path(drawn, "best")
    assert [y for _, y in best] == sorted((y for _, y in best), reverse=True)
    assert best[-1][1] == dots[1][1]
    assert len(path(drawn, "spread")) == 3
    assert "settings of before" not in history_plot(TRIALS, "x")


def test_one_far_off_trial_does_not_hide_the_others() -> None:
    values = [0.9, 0.91, 0.92, 0.93, 0.94, 0.01]
    dots = path(history_plot([trial(n, value) for n, value in enumerate(values)], "x"), "dot")
    assert dots[0][1] - dots[4][1] > 50


def test_each_setting_has_a_panel_with_the_best_ringed() -> None:
    drawn = settings_plot(TRIALS, "x", before=0)
    ElementTree.fromstring(drawn)
    assert [f">{name}</text>" in drawn for name in ("rate", "depth", "kind")] == [True] * 3
    assert drawn.count("<circle") == 3
    assert ">False</text>" in drawn
    assert ">0.01</text>" in drawn  # three decades: a scale of logarithms
    assert not re.search(r">.0(\.0)?</text>|nan|inf|e\+", drawn.replace(">0.0", ""))


def test_odd_studies_are_drawn(tmp_path: Path) -> None:
    assert save_study_plots([trial(0, None, depth=3)], tmp_path / "none", title="x") == []
    assert not (tmp_path / "none").exists()
    paths = save_study_plots([trial(0, 0.5, depth=3)], tmp_path / "one", title="x", before=0)
    assert [one.name for one in paths] == ["history.svg", "settings.svg"]
    for one in paths:
        ElementTree.fromstring(one.read_text())
        assert "nan" not in one.read_text()
