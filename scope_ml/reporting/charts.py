"""The charts of the report that are not light curves: precision-recall curves, interval strips and importance bars."""

from __future__ import annotations

from html import escape

import numpy as np

from scope_ml.reporting.svg import Scale, number, polygon, polyline
from scope_ml.reporting.view import AlgorithmView, ClassView, CurveView, Estimate, Float64Array

__all__ = ["importance_bars", "interval_strip", "precision_recall_chart", "thin_curve"]

#: Points kept per precision-recall curve: half a pixel apart at the size it is drawn.
CURVE_POINTS = 400

#: Features shown per model.
N_IMPORTANT = 10

STRIP = Scale(0.0, 1.0, 6.0, 154.0)
PR_X = Scale(0.0, 1.0, 40.0, 330.0)
PR_Y = Scale(0.0, 1.0, 240.0, 20.0)


def interval_strip(estimate: Estimate, prevalence: float, style: str) -> str:
    """Return a small SVG of a value in [0, 1] with its 95 % interval and the value of guessing (a tick)."""
    marks = ['<path class="track" d="M6 9H154"/>']
    if np.isfinite(prevalence):
        marks.append(f'<path class="guess" d="M{STRIP.at(prevalence)} 4v10"/>')
    if estimate.has_interval:
        marks.append(f'<path class="range" d="M{STRIP.at(estimate.low)} 9H{STRIP.at(estimate.high)}"/>')
    if np.isfinite(estimate.value):
        marks.append(f'<circle class="value" cx="{STRIP.at(estimate.value)}" cy="9" r="4"/>')
    return f'<svg class="strip {escape(style)}" viewBox="0 0 160 18" aria-hidden="true">{"".join(marks)}</svg>'


def precision_recall_chart(view: ClassView) -> str:
    """Return the precision-recall curves of all seeds and algorithms of one class, champions strong."""
    parts = [_frame()]
    prevalences = [item.prevalence for item in view.algorithms if np.isfinite(item.prevalence)]
    if prevalences:
        y = PR_Y.at(prevalences[0])
        parts.append(
            f'<path class="guess" d="M40 {y}H330"/><text class="unit" x="44" y="{number(float(y) - 4)}">guessing</text>'
        )
    for strong in (False, True):
        for item in view.algorithms:
            parts += [_curve(curve, item.name) for curve in item.curves if curve.is_champion is strong]
    parts += [_operating_point(item) for item in view.algorithms]
    names = " and ".join(item.name for item in view.algorithms)
    title = escape(f"Precision against recall of {view.tag} on the test part: {names}")
    return f'<svg class="pr" viewBox="0 0 340 274" role="img"><title>{title}</title>{"".join(parts)}</svg>'


def importance_bars(item: AlgorithmView, n_shown: int = N_IMPORTANT) -> str:
    """Return the most important features as a list with bars, as shares of the whole; "" if none is known."""
    total = sum(gain for _, gain in item.importance)
    if not total > 0:
        return ""
    top = sorted(item.importance, key=lambda pair: (-pair[1], pair[0]))[:n_shown]
    largest = top[0][1]
    rows = "".join(
        f'<li><span class="name">{escape(name)}</span>'
        f'<span class="bar"><i style="width:{100 * gain / largest:.1f}%"></i></span>'
        f'<span class="num">{100 * gain / total:.1f} %</span></li>'
        for name, gain in top
    )
    return f'<ol class="bars {escape(item.name)}">{rows}</ol>'


def thin_curve(x: Float64Array, y: Float64Array, n_at_most: int = CURVE_POINTS) -> np.ndarray:
    """Return indices of at most about `n_at_most` points that keep a curve in the unit square as it looks.

    Points are dropped where both coordinates move by less than half a step since the last kept one.
    """
    if len(x) <= n_at_most:
        return np.arange(len(x))
    travelled = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(x), np.diff(y)))])
    cells = np.floor(travelled / max(travelled[-1], 1e-12) * (n_at_most - 1)).astype(np.int64)
    first = np.flatnonzero(np.diff(cells, prepend=-1))
    return np.unique(np.append(first, len(x) - 1))


def _frame() -> str:
    values = (0.0, 0.25, 0.5, 0.75, 1.0)
    grid = "".join(
        f'<path class="grid" d="M40 {PR_Y.at(v)}H330"/><path class="grid" d="M{PR_X.at(v)} 20V240"/>' for v in values
    )
    labels = "".join(
        f'<text x="34" y="{number(float(PR_Y(v)) + 3.5)}" text-anchor="end">{v:g}</text>'
        f'<text x="{PR_X.at(v)}" y="255" text-anchor="middle">{v:g}</text>'
        for v in values
    )
    names = (
        '<text class="unit" x="330" y="270" text-anchor="end">recall \N{RIGHTWARDS ARROW}</text>'
        '<text class="unit" x="40" y="9">\N{UPWARDS ARROW} precision</text>'
    )
    return grid + labels + names


def _curve(curve: CurveView, style: str) -> str:
    keep = thin_curve(curve.recall, curve.precision)
    x = PR_X(curve.recall[keep])
    band = ""
    if curve.is_champion and curve.low is not None and curve.high is not None:
        band = f'<path class="area {escape(style)}" d="{polygon(x, PR_Y(curve.low[keep]), PR_Y(curve.high[keep]))}"/>'
    weight = "strong" if curve.is_champion else "faint"
    return f'{band}<path class="curve {weight} {escape(style)}" d="{polyline(x, PR_Y(curve.precision[keep]))}"/>'


def _operating_point(item: AlgorithmView) -> str:
    if not (np.isfinite(item.precision.value) and np.isfinite(item.recall.value)):
        return ""
    x, y = PR_X.at(item.recall.value), PR_Y.at(item.precision.value)
    cross = ""
    if item.precision.has_interval:
        cross += f"M{x} {PR_Y.at(item.precision.low)}V{PR_Y.at(item.precision.high)}"
    if item.recall.has_interval:
        cross += f"M{PR_X.at(item.recall.low)} {y}H{PR_X.at(item.recall.high)}"
    title = escape(f"{item.name} at threshold {item.threshold:g}")
    return (
        f'<g class="point {escape(item.name)}"><title>{title}</title>'
        f'<path d="{cross}"/><circle cx="{x}" cy="{y}" r="4.5"/></g>'
    )
