"""Plots of one trained model, kept with its MLflow run: ROC and precision-recall curves, confusion matrices.

Figures are matplotlib `Figure` objects, never pyplot's global ones, so that threads and notebooks are left alone.
matplotlib is imported inside functions.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from scope_ml.io.atomic import atomic_path
from scope_ml.models.intervals import SplitMetrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "confusion_figure",
    "precision_recall_figure",
    "roc_figure",
    "save_model_plots",
]

#: Colour, line style and width of each part of the split; the test part is what counts.
STYLES = {"test": ("#1f6fb2", "-", 2.2), "val": ("#c8541b", "--", 1.4), "train": ("#8d93a1", ":", 1.4)}
OTHER_STYLE = ("#47536b", "-.", 1.2)

DOTS_PER_INCH = 140


def save_model_plots(metrics: Mapping[str, SplitMetrics], folder: Path, *, title: str) -> list[Path]:
    """Draw and save ``pr.png``, ``roc.png`` and ``confusion.png`` of one model.

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
        The files. A plot that no part defines (one class only) is left out.

    Raises
    ------
    OutputError
        If the folder cannot be written.
    """
    drawn = {part: item for part, item in metrics.items() if item.curves}
    figures: dict[str, Figure] = {}
    if drawn:
        figures["pr"] = precision_recall_figure(drawn, title=title)
        figures["roc"] = roc_figure(drawn, title=title)
    if any(item.n_rows for item in metrics.values()):
        figures["confusion"] = confusion_figure(metrics, title=title)
    paths = []
    for name, figure in figures.items():
        path = folder / f"{name}.png"
        with atomic_path(path) as temporary:
            # Without matplotlib's own version the same metrics give the same bytes.
            figure.savefig(temporary, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
        paths.append(path)
    return paths


def precision_recall_figure(metrics: Mapping[str, SplitMetrics], *, title: str) -> Figure:
    """Return the precision-recall curves with their bands, and the point at the threshold with its intervals."""
    figure, axes = _square(title, "recall", "precision")
    for part, item in metrics.items():
        colour, line, width = STYLES.get(part, OTHER_STYLE)
        curve = item.curves["pr"]
        axes.plot(curve["recall"], curve["precision"], line, color=colour, lw=width, label=_name(part, item, "AP"))
        if "low" in curve:
            axes.fill_between(curve["recall"], curve["low"], curve["high"], color=colour, alpha=0.14, lw=0)
        _threshold_point(axes, item, colour)
    prevalences = [item.n_positive / item.n_rows for item in metrics.values() if item.n_rows]
    axes.axhline(prevalences[-1], color="#8d93a1", lw=0.9, ls=(0, (3, 3)))
    axes.legend(loc="lower left", framealpha=0.85, edgecolor="none", fontsize=9)
    return figure


def roc_figure(metrics: Mapping[str, SplitMetrics], *, title: str) -> Figure:
    """Return the ROC curves."""
    figure, axes = _square(title, "false positive rate", "true positive rate")
    axes.plot([0, 1], [0, 1], color="#8d93a1", lw=0.9, ls=(0, (3, 3)))
    for part, item in metrics.items():
        colour, line, width = STYLES.get(part, OTHER_STYLE)
        curve = item.curves["roc"]
        axes.plot(curve["fpr"], curve["tpr"], line, color=colour, lw=width, label=_name(part, item, "AUC"))
    axes.legend(loc="lower right", framealpha=0.85, edgecolor="none", fontsize=9)
    return figure


def confusion_figure(metrics: Mapping[str, SplitMetrics], *, title: str) -> Figure:
    """Return one 2 x 2 matrix of light curves per part, shaded by the share of the true class."""
    from matplotlib.figure import Figure

    parts = {part: item for part, item in metrics.items() if item.n_rows}
    figure = Figure(figsize=(3.0 * len(parts) + 0.8, 3.4), layout="constrained")
    for axes, (part, item) in zip(np.atleast_1d(figure.subplots(1, len(parts))), parts.items(), strict=True):
        counts = np.array(
            [[item.confusion["tn"], item.confusion["fp"]], [item.confusion["fn"], item.confusion["tp"]]], dtype=float
        )
        share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1.0)
        axes.imshow(share, cmap="Blues", vmin=0.0, vmax=1.15)
        for (row, column), count in np.ndenumerate(counts):
            colour = "white" if share[row, column] > 0.6 else "#1d2230"
            text = f"{count:.0f}\n{100 * share[row, column]:.1f} %"
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=10)
        axes.set_xticks([0, 1], ["not found", "found"])
        axes.set_yticks([0, 1], ["other", "class"], rotation=90, va="center")
        axes.set_title(f"{part}, score \N{GREATER-THAN OR EQUAL TO} {item.threshold:g}", fontsize=10)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    figure.suptitle(title, fontsize=11)
    return figure


def _square(title: str, x_label: str, y_label: str) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.0, 5.0), layout="constrained")
    axes = figure.subplots()
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), xlabel=x_label, ylabel=y_label, aspect="equal")
    axes.set_title(title, fontsize=11)
    axes.grid(color="#e4e1d9", lw=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _name(part: str, item: SplitMetrics, short: str) -> str:
    """Return a legend entry such as ``test: AP 0.91 (0.87-0.94), 64 of 600``."""
    estimate = item.estimates["average_precision" if short == "AP" else "roc_auc"]
    value = f"{estimate.value:.3f}" if estimate.value is not None else "undefined"
    bounds = ""
    if estimate.low is not None and estimate.high is not None:
        bounds = f" ({estimate.low:.2f}\N{EN DASH}{estimate.high:.2f})"
    return f"{part}: {short} {value}{bounds}, {item.n_positive} of {item.n_rows}"


def _threshold_point(axes: Axes, item: SplitMetrics, colour: str) -> None:
    precision, recall = item.estimates["precision"], item.estimates["recall"]
    if precision.value is None or recall.value is None:
        return
    if precision.low is not None and precision.high is not None:
        axes.vlines(recall.value, precision.low, precision.high, color=colour, lw=1.0)
    if recall.low is not None and recall.high is not None:
        axes.hlines(precision.value, recall.low, recall.high, color=colour, lw=1.0)
    axes.plot(recall.value, precision.value, "o", ms=6, mfc="white", mec=colour, mew=1.6, zorder=5)
