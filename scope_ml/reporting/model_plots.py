"""Plots of one trained model, kept with its MLflow run: ROC and precision-recall curves, confusion matrices.

SVG files that any browser shows, MLflow's page too. They are put together here, in a few milliseconds: a plotting library
takes about a second for the three, more than most models take to train.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np

from scope_ml.io.atomic import atomic_path
from scope_ml.models.intervals import SplitMetrics
from scope_ml.reporting.charts import thin_curve
from scope_ml.reporting.svg import Scale, number, polygon, polyline
from scope_ml.reporting.view import Float64Array

__all__ = ["confusion_plot", "precision_recall_plot", "roc_plot", "save_model_plots"]

#: Colour, line style and width of each part of the split; the test part is what counts and is drawn last.
STYLES = {"train": ("#8d93a1", "1.5 4", 1.6), "val": ("#c8541b", "7 4", 1.7), "test": ("#1f6fb2", "", 2.6)}
OTHER_STYLE = ("#47536b", "8 3 2 3", 1.6)

#: What is drawn on: left, right, top and bottom edge of the axes, size of the picture.
LEFT, RIGHT, TOP, BOTTOM, WIDTH, HEIGHT = 62.0, 532.0, 44.0, 514.0, 556.0, 566.0
X, Y = Scale(0.0, 1.0, LEFT, RIGHT), Scale(0.0, 1.0, BOTTOM, TOP)

#: A little of the frame lies outside the unit square, so that a curve along its edge can be seen.
MARGIN = 6.0

TICKS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)

STYLE = (
    "text{font:13px system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;fill:#1d2230}"
    ".title{font-size:15px;font-weight:600}.tick{font-size:12px;fill:#47536b}.grid{stroke:#e7e4dc;stroke-width:1}"
    ".axis{stroke:#47536b;stroke-width:1;fill:none}.guess{stroke:#8d93a1;stroke-width:1;stroke-dasharray:4 4}"
    ".curve{fill:none;stroke-linejoin:round;stroke-linecap:round}.middle{text-anchor:middle}.end{text-anchor:end}"
)

#: Cells of a confusion matrix: size [px], and the share from which its text is white.
CELL, DARK_FROM = 96.0, 0.55


def save_model_plots(metrics: Mapping[str, SplitMetrics], folder: Path, *, title: str) -> list[Path]:
    """Draw and save ``pr.svg``, ``roc.svg`` and ``confusion.svg`` of one model.

    Parameters
    ----------
    metrics
        Metrics with curves per part of the split (``train``, ``val``, ``test``).
    folder
        Where to save; made if it is not there.
    title
        What the model is, as in ``"rrlyr xgb seed 42"``.

    Returns
    -------
    list of Path
        The files; the same metrics give the same bytes. A plot that no part defines (one class only) is left out.

    Raises
    ------
    OutputError
        If the folder cannot be written.
    """
    drawn = {part: item for part, item in metrics.items() if item.curves}
    plots: dict[str, str] = {}
    if drawn:
        plots["pr"] = precision_recall_plot(drawn, title=title)
        plots["roc"] = roc_plot(drawn, title=title)
    if any(item.n_rows for item in metrics.values()):
        plots["confusion"] = confusion_plot(metrics, title=title)
    paths = []
    for name, text in plots.items():
        path = folder / f"{name}.svg"
        with atomic_path(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
        paths.append(path)
    return paths


def precision_recall_plot(metrics: Mapping[str, SplitMetrics], *, title: str) -> str:
    """Return the precision-recall curves with their bands, and the point at the threshold with its intervals."""
    parts = [_frame(title, "recall", "precision")]
    prevalences = [item.n_positive / item.n_rows for item in metrics.values() if item.n_rows]
    parts.append(f'<path class="guess" d="M{number(LEFT)} {Y.at(prevalences[-1])}H{number(RIGHT)}"/>')
    for part, item in _in_order(metrics):
        curve = item.curves["pr"]
        x, keep = _thinned(curve["recall"], curve["precision"])
        if "low" in curve:
            low, high = (np.asarray(curve[end], dtype=np.float64)[keep] for end in ("low", "high"))
            colour = STYLES.get(part, OTHER_STYLE)[0]
            parts.append(f'<path class="band" fill="{colour}" fill-opacity=".14" d="{polygon(x, Y(low), Y(high))}"/>')
    for part, item in _in_order(metrics):
        parts.append(_curve(part, item.curves["pr"]["recall"], item.curves["pr"]["precision"]))
    parts += [_threshold_point(part, item) for part, item in _in_order(metrics)]
    parts.append(_legend([(part, _name(part, item, "AP")) for part, item in metrics.items()], at_right=False))
    return _picture(WIDTH, HEIGHT, title, "precision against recall", parts)


def roc_plot(metrics: Mapping[str, SplitMetrics], *, title: str) -> str:
    """Return the ROC curves."""
    parts = [_frame(title, "false positive rate", "true positive rate")]
    parts.append(f'<path class="guess" d="M{X.at(0)} {Y.at(0)}L{X.at(1)} {Y.at(1)}"/>')
    parts += [_curve(part, item.curves["roc"]["fpr"], item.curves["roc"]["tpr"]) for part, item in _in_order(metrics)]
    parts.append(_legend([(part, _name(part, item, "AUC")) for part, item in metrics.items()], at_right=True))
    return _picture(WIDTH, HEIGHT, title, "true against false positive rate", parts)


def confusion_plot(metrics: Mapping[str, SplitMetrics], *, title: str) -> str:
    """Return one 2 x 2 matrix of light curves per part, shaded by the share of the true class."""
    shown = {part: item for part, item in metrics.items() if item.n_rows}
    width = LEFT + len(shown) * (2 * CELL + 46)
    parts = [f'<text class="title middle" x="{number(width / 2)}" y="26">{escape(title)}</text>']
    for place, (part, item) in enumerate(shown.items()):
        left, top = LEFT + place * (2 * CELL + 46), 78.0
        heading = f"{part}, score \N{GREATER-THAN OR EQUAL TO} {item.threshold:g}"
        parts.append(_text(left + CELL, top - 12, heading, "middle"))
        rows = (("other", ("tn", "fp")), ("class", ("fn", "tp")))
        for row, (true, names) in enumerate(rows):
            y = top + row * CELL
            counts = [item.confusion[name] for name in names]
            parts += [_cell(left + column * CELL, y, counts[column], sum(counts)) for column in (0, 1)]
            parts.append(
                f'<text class="tick middle" transform="translate({number(left - 9)} {number(y + CELL / 2)})'
                f' rotate(-90)">{true}</text>'
            )
        for column, found in enumerate(("not found", "found")):
            parts.append(_text(left + (column + 0.5) * CELL, top + 2 * CELL + 18, found, "tick middle"))
    return _picture(width, 78 + 2 * CELL + 34, title, "confusion matrices", parts)


def _picture(width: float, height: float, title: str, what: str, parts: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{number(width)}" height="{number(height)}"'
        f' viewBox="0 0 {number(width)} {number(height)}" role="img"><title>{escape(f"{title}: {what}")}</title>'
        f'<style>{STYLE}</style><rect width="100%" height="100%" fill="#fff"/>{"".join(parts)}</svg>\n'
    )


def _frame(title: str, x_label: str, y_label: str) -> str:
    """Return title, grid, axes and their names."""
    low, high = number(BOTTOM + MARGIN), number(TOP - MARGIN)
    left, right = number(LEFT - MARGIN), number(RIGHT + MARGIN)
    grid = "".join(
        f'<path class="grid" d="M{left} {Y.at(v)}H{right}"/><path class="grid" d="M{X.at(v)} {low}V{high}"/>'
        for v in TICKS
    )
    ticks = "".join(
        _text(float(X(v)), BOTTOM + 24, f"{v:.1f}", "tick middle")
        + _text(LEFT - 12, float(Y(v)) + 4, f"{v:.1f}", "tick end")
        for v in TICKS
    )
    middle = (LEFT + RIGHT) / 2
    return (
        f"{grid}{ticks}"
        f'<path class="axis" d="M{left} {high}V{low}H{right}"/>{_text(middle, 26, title, "title middle")}'
        f"{_text(middle, BOTTOM + 44, x_label, 'middle')}"
        f'<text class="middle" transform="translate(18 {number((TOP + BOTTOM) / 2)}) rotate(-90)">{y_label}</text>'
    )


def _text(x: float, y: float, text: str, style: str = "") -> str:
    return f'<text class="{style}" x="{number(x)}" y="{number(y)}">{escape(text)}</text>'


def _in_order(metrics: Mapping[str, SplitMetrics]) -> list[tuple[str, SplitMetrics]]:
    """Return the parts in the order of drawing, what counts most on top."""
    order = [*(part for part in metrics if part not in STYLES), *STYLES]
    return sorted(metrics.items(), key=lambda pair: order.index(pair[0]))


def _thinned(x: Sequence[float], y: Sequence[float]) -> tuple[Float64Array, np.ndarray]:
    """Return the pixels of `x` for the points that can be told apart, and which those are."""
    values = np.asarray(x, dtype=np.float64)
    keep = thin_curve(values, np.asarray(y, dtype=np.float64))
    return X(values[keep]), keep


def _curve(part: str, x: Sequence[float], y: Sequence[float]) -> str:
    pixels, keep = _thinned(x, y)
    return f'<path class="curve" {_stroke(part)} d="{polyline(pixels, Y(np.asarray(y, dtype=np.float64)[keep]))}"/>'


def _stroke(part: str) -> str:
    colour, dashes, width = STYLES.get(part, OTHER_STYLE)
    return f'stroke="{colour}" stroke-width="{width:g}"' + (f' stroke-dasharray="{dashes}"' if dashes else "")


def _legend(lines: Sequence[tuple[str, str]], *, at_right: bool) -> str:
    """Return the legend in a lower corner of the axes, where these curves are not."""
    height = 12 + 20 * len(lines)
    widest = max(len(text) for _, text in lines)
    width = 50 + 6.9 * widest
    left = RIGHT - width - 8 if at_right else LEFT + 8
    top = BOTTOM - height - 8
    box = (
        f'<rect x="{number(left)}" y="{number(top)}" width="{number(width)}" height="{height}" rx="4"'
        ' fill="#fff" fill-opacity=".86"/>'
    )
    rows = ""
    for place, (part, text) in enumerate(lines):
        y = top + 19 + 20 * place
        rows += f'<path class="curve" {_stroke(part)} d="M{number(left + 8)} {number(y - 4)}h28"/>'
        rows += _text(left + 44, y, text)
    return box + rows


def _cell(x: float, y: float, count: int, of: int) -> str:
    share = count / max(of, 1)
    # From white to a deep blue, as far as there are rows of the true class in it.
    red, green, blue = (round(255 - share * (255 - end)) for end in (24, 84, 146))
    colour = "#fff" if share > DARK_FROM else "#1d2230"
    middle = x + CELL / 2
    return (
        f'<rect x="{number(x)}" y="{number(y)}" width="{number(CELL)}" height="{number(CELL)}"'
        f' fill="rgb({red},{green},{blue})" stroke="#d5d9e2"/>'
        f'<text class="count middle" style="fill:{colour};font-size:16px" x="{number(middle)}"'
        f' y="{number(y + CELL / 2 - 2)}">{count}</text>'
        f'<text class="middle" style="fill:{colour};font-size:12px" x="{number(middle)}"'
        f' y="{number(y + CELL / 2 + 18)}">{100 * share:.1f} %</text>'
    )


def _name(part: str, item: SplitMetrics, short: str) -> str:
    """Return a legend entry such as ``test: AP 0.91 (0.87-0.94), 64 of 600``."""
    estimate = item.estimates["average_precision" if short == "AP" else "roc_auc"]
    value = f"{estimate.value:.3f}" if estimate.value is not None else "undefined"
    bounds = ""
    if estimate.low is not None and estimate.high is not None:
        bounds = f" ({estimate.low:.2f}\N{EN DASH}{estimate.high:.2f})"
    return f"{part}: {short} {value}{bounds}, {item.n_positive} of {item.n_rows}"


def _threshold_point(part: str, item: SplitMetrics) -> str:
    precision, recall = item.estimates["precision"], item.estimates["recall"]
    if precision.value is None or recall.value is None:
        return ""
    colour = STYLES.get(part, OTHER_STYLE)[0]
    x, y = X.at(recall.value), Y.at(precision.value)
    cross = ""
    if precision.low is not None and precision.high is not None:
        cross += f"M{x} {Y.at(precision.low)}V{Y.at(precision.high)}"
    if recall.low is not None and recall.high is not None:
        cross += f"M{X.at(recall.low)} {y}H{X.at(recall.high)}"
    return (
        f'<g class="point" stroke="{colour}" stroke-width="1.2"><path d="{cross}"/>'
        f'<circle cx="{x}" cy="{y}" r="4.5" fill="#fff" stroke-width="1.8"/></g>'
    )
