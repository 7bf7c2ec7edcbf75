from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from matplotlib.collections import PolyCollection

from scope_ml.errors import OutputError
from scope_ml.models.intervals import SplitMetrics, evaluate
from scope_ml.reporting.model_plots import confusion_figure, precision_recall_figure, save_model_plots


def scored(n: int = 300, n_positive: int = 60, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = (np.arange(n) < n_positive).astype(int)
    return y, 1 / (1 + np.exp(-(rng.normal(0, 1, n) - 1 + 2.5 * y)))


def measured(**further: int) -> SplitMetrics:
    y, score = scored(**further)
    return evaluate(y, score, np.arange(len(y)), threshold=0.7, n_resamples=40)


def test_three_plots_are_saved_and_are_the_same_every_time(tmp_path):
    metrics = {"train": measured(seed=2), "val": measured(seed=3), "test": measured()}
    paths = save_model_plots(metrics, tmp_path / "a" / "plots", title="rrlyr xgb seed 1")
    assert [path.name for path in paths] == ["pr.png", "roc.png", "confusion.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)
    again = save_model_plots(metrics, tmp_path / "b", title="rrlyr xgb seed 1")
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in paths]


def test_a_part_with_one_class_only_has_no_curves(tmp_path):
    y, score = scored(n_positive=0)
    alone = evaluate(y, score, np.arange(len(y)), threshold=0.7, n_resamples=0)
    assert [path.name for path in save_model_plots({"test": alone}, tmp_path, title="x")] == ["confusion.png"]
    nothing = evaluate([], [], [], threshold=0.7, n_resamples=0)
    assert save_model_plots({"test": nothing}, tmp_path / "none", title="x") == []


def test_precision_recall_has_the_point_at_the_threshold_and_the_band():
    y, score = scored()
    item = measured()
    axes = precision_recall_figure({"test": item}, title="x").axes[0]
    point = next(line for line in axes.lines if line.get_marker() == "o")
    above = score >= 0.7
    assert point.get_xdata()[0] == pytest.approx(above[y == 1].mean())
    assert point.get_ydata()[0] == pytest.approx(y[above].mean())
    band = next(drawn for drawn in axes.collections if isinstance(drawn, PolyCollection)).get_paths()[0].vertices
    assert set(item.curves["pr"]["low"]) | set(item.curves["pr"]["high"]) <= set(band[:, 1])
    assert len(axes.collections) == 3
    alone = evaluate(y, score, np.arange(len(y)), threshold=0.7, n_resamples=0)
    assert not precision_recall_figure({"train": alone}, title="x").axes[0].collections
    assert f"{item.value('average_precision'):.3f}" in axes.get_legend().get_texts()[0].get_text()


def test_confusion_shows_the_counts():
    y, score = scored()
    figure = confusion_figure({"test": measured()}, title="x")
    counts = {int(text.get_text().split("\n")[0]) for text in figure.axes[0].texts}
    above = score >= 0.7
    assert counts == {int(((y == a) & (above == b)).sum()) for a in (0, 1) for b in (False, True)}


def test_unwritable_folder_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write"):
        save_model_plots({"test": measured()}, tmp_path / "file", title="x")


def test_pyplot_is_never_imported():
    code = (
        "import sys; import scope_ml.reporting.model_plots as m, scope_ml.reporting.pages; "
        "assert 'matplotlib' not in sys.modules; from pathlib import Path; import numpy as np, tempfile; "
        "from scope_ml.models.intervals import evaluate; "
        "e = evaluate([0, 1] * 9, np.linspace(0, 1, 18), np.arange(18), threshold=0.5, n_resamples=0); "
        "m.save_model_plots({'test': e}, Path(tempfile.mkdtemp()), title='x'); print('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
