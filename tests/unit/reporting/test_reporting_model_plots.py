"""The plots of one model: what is drawn is what the metrics say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from scope_ml.errors import OutputError
from scope_ml.models.intervals import SplitMetrics, evaluate
from scope_ml.reporting.model_plots import X, Y, confusion_plot, precision_recall_plot, roc_plot, save_model_plots

SVG = "{http://www.w3.org/2000/svg}"


def scored(n: int = 300, n_positive: int = 60, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = (np.arange(n) < n_positive).astype(int)
    return y, 1 / (1 + np.exp(-(rng.normal(0, 1, n) - 1 + 2.5 * y)))


def measured(**further: int) -> SplitMetrics:
    y, score = scored(**further)
    return evaluate(y, score, np.arange(len(y)), threshold=0.7, n_resamples=40)


def points(path: str) -> np.ndarray:
    """The coordinates of a path of absolute points."""
    return np.array([float(value) for value in re.findall(r"-?[\d.]+", path)]).reshape(-1, 2)


def test_three_plots_are_saved_and_are_the_same_every_time(tmp_path: Path) -> None:
    metrics = {"train": measured(seed=2), "val": measured(seed=3), "test": measured()}
    paths = save_model_plots(metrics, tmp_path / "a" / "plots", title="rrlyr <xgb> & seed 1")
    assert [path.name for path in paths] == ["pr.svg", "roc.svg", "confusion.svg"]
    for path in paths:
        picture = ElementTree.fromstring(path.read_text())
        assert "rrlyr <xgb> & seed 1" in {text.text for text in picture.iter(f"{SVG}text")}
        assert path.stat().st_size < 60_000
    again = save_model_plots(metrics, tmp_path / "b", title="rrlyr <xgb> & seed 1")
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in paths]


def test_a_part_with_one_class_only_has_no_curves(tmp_path: Path) -> None:
    y, score = scored(n_positive=0)
    alone = evaluate(y, score, np.arange(len(y)), threshold=0.7, n_resamples=0)
    assert [path.name for path in save_model_plots({"test": alone}, tmp_path, title="x")] == ["confusion.svg"]
    nothing = evaluate([], [], [], threshold=0.7, n_resamples=0)
    assert save_model_plots({"test": nothing}, tmp_path / "none", title="x") == []


def test_precision_recall_has_curve_band_and_the_point_at_the_threshold() -> None:
    y, score = scored()
    item = measured()
    picture = ElementTree.fromstring(precision_recall_plot({"test": item}, title="x"))
    curve = next(path for path in picture.iter(f"{SVG}path") if path.get("class") == "curve")
    drawn = points(str(curve.get("d")))
    for end in (0, -1):
        assert drawn[end, 0] == pytest.approx(float(X(item.curves["pr"]["recall"][end])), abs=0.06)
        assert drawn[end, 1] == pytest.approx(float(Y(item.curves["pr"]["precision"][end])), abs=0.06)
    circle = next(picture.iter(f"{SVG}circle"))
    above = score >= 0.7
    assert float(circle.get("cx", "")) == pytest.approx(float(X(above[y == 1].mean())), abs=0.06)
    assert float(circle.get("cy", "")) == pytest.approx(float(Y(y[above].mean())), abs=0.06)
    bands = [path for path in picture.iter(f"{SVG}path") if path.get("class") == "band"]
    ends = points(str(bands[0].get("d"))[:-1])[:, 1]
    assert ends.min() == pytest.approx(float(Y(max(item.curves["pr"]["high"]))), abs=0.06)
    assert ends.max() == pytest.approx(float(Y(min(item.curves["pr"]["low"]))), abs=0.06)
    assert any(f"{item.value('average_precision'):.3f}" in str(text.text) for text in picture.iter(f"{SVG}text"))
    alone = evaluate(y, score, np.arange(len(y)), threshold=0.7, n_resamples=0)
    assert 'class="band"' not in precision_recall_plot({"train": alone}, title="x")


def test_roc_says_the_area_of_each_part() -> None:
    metrics = {"train": measured(seed=2), "test": measured()}
    text = roc_plot(metrics, title="x")
    for part, item in metrics.items():
        assert f"{part}: AUC {item.value('roc_auc'):.3f}" in text
    assert text.index("#8d93a1", text.index('class="curve"')) < text.index("#1f6fb2"), "the test part lies on top"


def test_confusion_shows_the_counts() -> None:
    y, score = scored()
    picture = ElementTree.fromstring(confusion_plot({"test": measured()}, title="x"))
    counts = [int(str(text.text)) for text in picture.iter(f"{SVG}text") if text.get("class") == "count middle"]
    above = score >= 0.7
    assert counts == [int(((y == a) & (above == b)).sum()) for a in (0, 1) for b in (False, True)]


def test_unwritable_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write"):
        save_model_plots({"test": measured()}, tmp_path / "file", title="x")


def test_no_plotting_library_is_needed() -> None:
    code = (
        "import sys; import scope_ml.reporting.model_plots as m, scope_ml.reporting.pages; "
        "from pathlib import Path; import numpy as np, tempfile; "
        "from scope_ml.models.intervals import evaluate; "
        "e = evaluate([0, 1] * 9, np.linspace(0, 1, 18), np.arange(18), threshold=0.5, n_resamples=0); "
        "m.save_model_plots({'test': e}, Path(tempfile.mkdtemp()), title='x'); print('matplotlib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
