"""The charts of the comparison page: bars by class, two algorithms against one another, reliability, importance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from scope_ml.reporting.comparison import COMPARED, Comparison, Contender
from scope_ml.reporting.svg import Scale, number, polyline
from scope_ml.reporting.view import Estimate

__all__ = ["bars_width", "class_bars", "feature_bars", "reliability_chart", "seed_strip", "versus_chart"]

TOP, BOTTOM, LEFT = 26.0, 206.0, 34.0

#: Room of a class in the bars: narrow enough for 52 of them side by side, wide enough for the eye with a few.
SLOT_LEAST, SLOT_MOST, CHART_WIDTH = 19.0, 52.0, 1124.0

UP = Scale(0.0, 1.0, BOTTOM, TOP)

STRIP = Scale(0.0, 1.0, 6.0, 154.0)

SQUARE_X, SQUARE_Y = Scale(0.0, 1.0, 22.0, 122.0), Scale(0.0, 1.0, 108.0, 8.0)

WIDE_X, WIDE_Y = Scale(0.0, 1.0, 40.0, 400.0), Scale(0.0, 1.0, 380.0, 20.0)

#: Classes named in the chart of two algorithms: those that differ most.
N_NAMED = 12


def class_bars(comparison: Comparison, metric: str) -> str:
    """Return one metric of every class as bars, algorithms side by side, with intervals and a dot for each seed."""
    tags, algorithms = comparison.tags, comparison.algorithms
    kinds = [comparison.of_class(tag)[0].chosen.record.spec.kind for tag in tags]
    slot, width = _slot_width(comparison), bars_width(comparison)
    parts = [_level_lines(width)]
    before = ""
    x = LEFT
    for tag, kind in zip(tags, kinds, strict=True):
        if kind != before:
            x += slot if before else 0.0
            parts.append(f'<text class="unit" x="{number(x)}" y="12">{escape(kind)}</text>')
            before = kind
        own = {one.algorithm: one for one in comparison.of_class(tag)}
        parts.append(_slot(own, algorithms, metric, x, slot))
        at = number(x + slot / 2 + 3)
        name = number(BOTTOM + 12)
        parts.append(f'<text transform="translate({at} {name}) rotate(-55)" text-anchor="end">{escape(tag)}</text>')
        x += slot
    title = escape(f"{COMPARED[metric]} by class on the test part")
    return (
        f'<svg class="classes" style="max-width:{number(width)}px" viewBox="0 0 {number(width)} 250" role="img">'
        f"<title>{title}</title>{''.join(parts)}</svg>"
    )


def bars_width(comparison: Comparison) -> float:
    """Return the width of the bars of all classes [pixels]."""
    return LEFT + _slot_width(comparison) * _n_places(comparison)


def versus_chart(comparison: Comparison, metric: str, across: str, up: str) -> str:
    """Return one metric of two algorithms against one another, a point a class that both have; "" if there is none."""
    pairs = []
    for tag in comparison.tags:
        own = {one.algorithm: one.estimate(metric) for one in comparison.of_class(tag)}
        if across in own and up in own and np.isfinite([own[across].value, own[up].value]).all():
            pairs.append((tag, own[across], own[up]))
    if not pairs:
        return ""
    ranked = sorted(pairs, key=lambda pair: -abs(pair[1].value - pair[2].value))
    named = {tag for tag, _, _ in ranked[:N_NAMED]}
    marks = "".join(_versus_point(tag, one, other, tag in named) for tag, one, other in pairs)
    values = (0.0, 0.25, 0.5, 0.75, 1.0)
    frame = "".join(
        f'<path class="grid" d="M40 {WIDE_Y.at(v)}H400M{WIDE_X.at(v)} 20V380"/>'
        f'<text x="34" y="{number(float(WIDE_Y(v)) + 3.5)}" text-anchor="end">{v:g}</text>'
        f'<text x="{WIDE_X.at(v)}" y="395" text-anchor="middle">{v:g}</text>'
        for v in values
    )
    words = (
        f'<text class="unit" x="400" y="410" text-anchor="end">{escape(across)} \N{RIGHTWARDS ARROW}</text>'
        f'<text class="unit" x="40" y="9">\N{UPWARDS ARROW} {escape(up)}</text>'
    )
    title = escape(f"{COMPARED[metric]} of {up} against {across}, a point a class")
    return (
        f'<svg class="versus" viewBox="0 0 410 416" role="img"><title>{title}</title>{frame}{words}'
        f'<path class="guess" d="M40 380L400 20"/>{marks}</svg>'
    )


def seed_strip(one: Contender, metric: str) -> str:
    """Return a small SVG of a metric in [0, 1] with its interval, and a dot for each seed."""
    estimate = one.estimate(metric)
    marks = ['<path class="track" d="M6 9H154"/>']
    if estimate.has_interval:
        marks.append(f'<path class="range" d="M{STRIP.at(estimate.low)} 9H{STRIP.at(estimate.high)}"/>')
    marks += [f'<circle class="seed" cx="{STRIP.at(value)}" cy="9" r="2"/>' for value in one.spread(metric)]
    if np.isfinite(estimate.value):
        marks.append(f'<circle class="value" cx="{STRIP.at(estimate.value)}" cy="9" r="4"/>')
    return f'<svg class="strip {escape(one.algorithm)}" viewBox="0 0 160 18" aria-hidden="true">{"".join(marks)}</svg>'


def reliability_chart(contenders: Sequence[Contender]) -> str:
    """Return share of members against mean score for each algorithm of one class; "" where the test part has no curve.

    The area of a point goes with the rows of its bin.
    """
    lines = []
    for one in contenders:
        curve = one.metrics.curves.get("reliability") if one.metrics is not None else None
        if not curve:
            continue
        score, share, rows = (np.asarray(curve[name], dtype=np.float64) for name in ("score", "share", "n"))
        radius = 1.2 + 3.3 * np.sqrt(rows / rows.max())
        points = "".join(
            f'<circle cx="{number(x)}" cy="{number(y)}" r="{number(r)}"/>'
            for x, y, r in zip(SQUARE_X(score), SQUARE_Y(share), radius, strict=True)
        )
        path = polyline(SQUARE_X(score), SQUARE_Y(share))
        lines.append(f'<g class="reliable {escape(one.algorithm)}"><path d="{path}"/>{points}</g>')
    if not lines:
        return ""
    frame = (
        '<path class="grid" d="M22 8V108H122V8Z"/><path class="guess" d="M22 108L122 8"/>'
        '<text class="unit" x="22" y="120">0</text><text class="unit" x="122" y="120" text-anchor="end">score 1</text>'
    )
    return f'<svg viewBox="0 0 130 124" aria-hidden="true">{frame}{"".join(lines)}</svg>'


def feature_bars(importance: Mapping[str, float], algorithm: str, n_shown: int, *, as_share: bool) -> str:
    """Return the most important features as a list with bars; "" if none counts.

    Parameters
    ----------
    importance
        Value by feature; what is 0 or less is not shown.
    algorithm
        Whose colour to use.
    n_shown
        Most features.
    as_share
        True to show shares of the sum in percent, False the values themselves.
    """
    top = sorted(importance.items(), key=lambda pair: (-pair[1], pair[0]))[:n_shown]
    top = [(name, value) for name, value in top if value > 0]
    if not top:
        return ""
    total = sum(value for value in importance.values() if value > 0)
    rows = "".join(
        f'<li><span class="name">{escape(name)}</span>'
        f'<span class="bar"><i style="width:{100 * value / top[0][1]:.0f}%"></i></span>'
        f'<span class="num">{f"{100 * value / total:.0f} %" if as_share else f"{value:.3f}"}</span></li>'
        for name, value in top
    )
    return f'<ol class="bars {escape(algorithm)}">{rows}</ol>'


def _n_places(comparison: Comparison) -> int:
    """Return the number of classes, and one more for a free place between the two kinds of them."""
    kinds = {one.chosen.record.spec.kind for one in comparison.contenders}
    return max(len(comparison.tags) + int(len(kinds) > 1), 1)


def _slot_width(comparison: Comparison) -> float:
    return float(np.clip((CHART_WIDTH - LEFT) / _n_places(comparison), SLOT_LEAST, SLOT_MOST))


def _level_lines(width: float) -> str:
    return "".join(
        f'<path class="grid" d="M{number(LEFT)} {UP.at(v)}H{number(width)}"/>'
        f'<text x="{number(LEFT - 6)}" y="{number(float(UP(v)) + 3.5)}" text-anchor="end">{v:g}</text>'
        for v in (0.0, 0.25, 0.5, 0.75, 1.0)
    )


def _slot(own: Mapping[str, Contender], algorithms: Sequence[str], metric: str, x: float, slot: float) -> str:
    """Return the bars of one class, whose room begins at `x`."""
    margin = 0.14 * slot
    wide = (slot - 2 * margin) / len(algorithms)
    bars = []
    for k, name in enumerate(algorithms):
        estimate = own[name].estimate(metric) if name in own else Estimate(value=float("nan"))
        if not np.isfinite(estimate.value):
            continue
        left, middle = x + margin + k * wide, x + margin + (k + 0.5) * wide
        words = f"{own[name].tag} {name}: {COMPARED[metric]} {estimate.value:.3f}"
        words += f" ({estimate.low:.3f} to {estimate.high:.3f})" if estimate.has_interval else ""
        marks = (
            f'<path class="bar" d="M{number(left)} {number(BOTTOM)}V{UP.at(estimate.value)}'
            f'H{number(left + wide - 1)}V{number(BOTTOM)}Z"/>'
        )
        if estimate.has_interval:
            marks += f'<path class="whisker" d="M{number(middle)} {UP.at(estimate.low)}V{UP.at(estimate.high)}"/>'
        marks += "".join(
            f'<circle cx="{number(middle)}" cy="{UP.at(value)}" r="1.3"/>' for value in own[name].spread(metric)
        )
        bars.append(f'<g class="{escape(name)}"><title>{escape(words)}</title>{marks}</g>')
    return "".join(bars)


def _versus_point(tag: str, across: Estimate, up: Estimate, is_named: bool) -> str:
    x, y = WIDE_X.at(across.value), WIDE_Y.at(up.value)
    cross = ""
    if across.has_interval:
        cross += f"M{WIDE_X.at(across.low)} {y}H{WIDE_X.at(across.high)}"
    if up.has_interval:
        cross += f"M{x} {WIDE_Y.at(up.low)}V{WIDE_Y.at(up.high)}"
    name = f'<text x="{number(float(x) + 6)}" y="{number(float(y) - 5)}">{escape(tag)}</text>' if is_named else ""
    words = escape(f"{tag}: {across.value:.3f} and {up.value:.3f}")
    return f'<g class="pair"><title>{words}</title><path d="{cross}"/><circle cx="{x}" cy="{y}" r="3.4"/>{name}</g>'
