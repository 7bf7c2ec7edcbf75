"""Plots of a study: how the best value grew with the trials, and the value against each setting. SVG files."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from scope_ml.io.atomic import atomic_path
from scope_ml.reporting.model_plots import STYLE
from scope_ml.reporting.svg import Scale, dots, nice_ticks, polyline, tick_label, whiskers
from scope_ml.reporting.view import Float64Array

__all__ = ["TrialView", "history_plot", "save_study_plots", "settings_plot"]

LEFT, RIGHT, TOP, BOTTOM, WIDTH, HEIGHT = 62.0, 612.0, 58.0, 358.0, 636.0, 404.0

#: Small panels of the settings: size, distance between their left edges and between their upper ones, panels in a row.
PANEL, ACROSS, DOWN, IN_ROW = 190.0, 256.0, 262.0, 3

#: Narrowest picture of settings, for its title.
NARROWEST = 480.0

#: A setting whose values span more than this factor is drawn over its logarithm, with ticks at 1 and 3 of a decade.
LOG_FROM, HALF = 8.0, float(np.log10(3.0))

#: Values farther below the best than this many times the median's distance are drawn at the lower end.
FARTHEST = 4.0

MARKS = (
    ".dot{stroke:#1f6fb2;stroke-width:7;stroke-linecap:round;opacity:.6}.first{stroke:#c8541b;stroke-width:8;"
    "stroke-linecap:round}.best{stroke:#47536b;stroke-width:1.5;fill:none}.lost{stroke:#b9bdc7;stroke-width:7;"
    "stroke-linecap:round}.spread{stroke:#1f6fb2;stroke-width:1.3;opacity:.45}.ring{stroke:#1d2230;stroke-width:1.5;fill:none}"
)


class TrialView(Protocol):
    """What is drawn of a trial."""

    @property
    def number(self) -> int:
        """Return its number."""
        ...

    @property
    def value(self) -> float | None:
        """Return what it reached; None if it was pruned or failed."""
        ...

    @property
    def spread(self) -> float | None:
        """Return the standard deviation over its seeds; None with fewer than two."""
        ...

    @property
    def settings(self) -> Any:
        """Return what it tried, by name."""
        ...


def save_study_plots(trials: Sequence[TrialView], folder: Path, *, title: str, before: int | None = None) -> list[Path]:
    """Draw and save ``history.svg`` and ``settings.svg``; return their paths, none if no trial was finished.

    Parameters
    ----------
    trials
        Trials that are over.
    folder
        Where the files go; made if need be.
    title
        What was tuned.
    before
        Number of the trial with the settings of before, or None.
    """
    if not any(trial.value is not None for trial in trials):
        return []
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, drawn in (
        ("history.svg", history_plot(trials, title, before=before)),
        ("settings.svg", settings_plot(trials, title, before=before)),
    ):
        with atomic_path(folder / name) as temporary:
            temporary.write_text(drawn, encoding="utf-8")
        paths.append(folder / name)
    return paths


def history_plot(trials: Sequence[TrialView], title: str, *, before: int | None = None) -> str:
    """Return the value of each trial over its number, with the spread of its seeds, and the best so far as a line."""
    done = [trial for trial in trials if trial.value is not None]
    number = np.array([trial.number for trial in done], dtype=np.float64)
    value = np.array([trial.value for trial in done], dtype=np.float64)
    spread = np.array([trial.spread or 0.0 for trial in done], dtype=np.float64)
    lost = np.array([trial.number for trial in trials if trial.value is None], dtype=np.float64)
    x = Scale(-0.5, max(1.0, float(max(trial.number for trial in trials)) + 0.5), LEFT, RIGHT)
    y = _value_scale(value, BOTTOM, TOP, float((value + spread).max()))
    best = np.append(np.maximum.accumulate(value), value.max())
    reach = np.append(number, x.high)
    first = number == before if before is not None else np.zeros(number.size, dtype=bool)
    parts = [
        f'<text class="title" x="{LEFT}" y="22">{escape(title)}: validation PR-AUC of each trial</text>',
        _legend(bool(first.any()), lost.size > 0, bool(spread.any())),
        *_axes(x, y, [(tick, text) for tick, text in _even_marks(x) if tick == int(tick)]),
        f'<path class="lost" d="{dots(x(lost), np.full(lost.size, BOTTOM - 6))}"/>' if lost.size else "",
        f'<path class="best" d="{polyline(np.repeat(x(reach), 2)[1:], np.repeat(y(best), 2)[:-1])}"/>',
        f'<path class="spread" d="{whiskers(x(number), y(value - spread), y(value + spread))}"/>',
        f'<path class="dot" d="{dots(x(number), y(value))}"/>',
        f'<path class="first" d="{dots(x(number[first]), y(value[first]))}"/>' if first.any() else "",
        f'<text class="middle" x="{(LEFT + RIGHT) / 2}" y="{HEIGHT - 8}">trial</text>',
    ]
    return _picture(WIDTH, HEIGHT, parts)


def settings_plot(trials: Sequence[TrialView], title: str, *, before: int | None = None) -> str:
    """Return small panels: the value over each setting; the best trial is ringed, that of before in orange."""
    done = [trial for trial in trials if trial.value is not None]
    names = list(dict.fromkeys(name for trial in done for name in trial.settings))
    parts = [f'<text class="title" x="20" y="22">{escape(title)}: validation PR-AUC over each setting</text>']
    for place, name in enumerate(names):
        left, top = 62 + ACROSS * (place % IN_ROW), 66 + DOWN * (place // IN_ROW)
        parts.append(_panel(name, done, before, left, top))
    n_rows = -(-len(names) // IN_ROW)
    width = 62 + ACROSS * min(len(names), IN_ROW)
    return _picture(max(width, NARROWEST), 66 + DOWN * n_rows - 20, parts)


def _legend(has_first: bool, has_lost: bool, has_spread: bool) -> str:
    """Return what the marks mean, in a line below the title."""
    words = [("dot", "a trial, bar: scatter of its seeds" if has_spread else "a trial"), ("best", "best so far")]
    words += [("first", "settings of before")] * has_first + [("lost", "not finished")] * has_lost
    parts, x = [], LEFT + 6
    for mark, text in words:
        sign = f"M{x - 5} 38h12" if mark == "best" else f"M{x} 38h0"
        parts.append(f'<path class="{mark}" d="{sign}"/><text class="tick" x="{x + 10}" y="42">{text}</text>')
        x += 26 + 6.3 * len(text)
    return "".join(parts)


def _panel(name: str, done: Sequence[TrialView], before: int | None, left: float, top: float) -> str:
    given = [trial.settings.get(name) for trial in done]
    value = np.array([trial.value for trial in done], dtype=np.float64)
    y = _value_scale(value, top + PANEL, top)
    labels: tuple[str, ...] = ()
    is_log = False
    if all(isinstance(one, (int, float)) and not isinstance(one, bool) for one in given):
        numbers = np.array(given, dtype=np.float64)
        is_log = bool(numbers.min() > 0 and numbers.max() / numbers.min() > LOG_FROM)
        numbers = np.log10(numbers) if is_log else numbers
        margin = 0.05 * (float(numbers.max() - numbers.min()) or 1.0)
    else:
        labels = tuple(sorted({str(one) for one in given}))
        numbers = np.array([labels.index(str(one)) for one in given], dtype=np.float64)
        margin = 0.5
    x = Scale(float(numbers.min()) - margin, float(numbers.max()) + margin, left, left + PANEL)
    marks = list(enumerate(labels)) if labels else _log_marks(x) if is_log else _even_marks(x)
    best = np.arange(value.size) == int(np.argmax(value))
    first = np.array([trial.number == before for trial in done])
    parts = [
        *_axes(x, y, marks),
        f'<path class="dot" d="{dots(x(numbers), y(value))}"/>',
        f'<path class="first" d="{dots(x(numbers[first]), y(value[first]))}"/>' if first.any() else "",
        f'<circle class="ring" cx="{x.at(float(numbers[best][0]))}" cy="{y.at(float(value[best][0]))}" r="7"/>',
        f'<text x="{left}" y="{top - 10}">{escape(name)}</text>',
    ]
    return "".join(parts)


def _value_scale(value: Float64Array, bottom: float, top: float, highest: float = 0.0) -> Scale:
    """Return the scale of the values: a few that are far worse than the rest are drawn at its lower end."""
    high, middle = float(value.max()), float(np.median(value))
    low = max(float(value.min()), high - FARTHEST * (high - middle)) if high > middle else float(value.min())
    high = max(high, highest)
    margin = 0.08 * (high - low) or 0.01
    return Scale(low - margin, high + margin, bottom, top)


def _axes(x: Scale, y: Scale, marks: Sequence[tuple[float, str]]) -> list[str]:
    """Return both axes with ticks; `marks` are those across."""
    left, right, bottom, top = x.start, x.stop, y.start, y.stop
    parts = []
    up = nice_ticks(y.low, y.high, 5)
    for tick in up:
        parts.append(f'<path class="grid" d="M{left} {y.at(tick)}H{right}"/>')
        parts.append(
            f'<text class="tick end" x="{left - 6}" y="{float(y(tick)) + 4:.1f}">{tick_label(tick, up)}</text>'
        )
    for place, text in marks:
        parts.append(f'<path class="axis" d="M{x.at(place)} {bottom}v4"/>')
        parts.append(f'<text class="tick middle" x="{x.at(place)}" y="{bottom + 18}">{escape(text)}</text>')
    return [*parts, f'<path class="axis" d="M{left} {top}V{bottom}H{right}"/>']


def _even_marks(x: Scale) -> list[tuple[float, str]]:
    ticks = nice_ticks(x.low, x.high, 5)
    return [(tick, tick_label(tick + 0.0, ticks)) for tick in ticks]


def _log_marks(x: Scale) -> list[tuple[float, str]]:
    """Return where the ticks of a scale of logarithms stand: at decades, and at 3 of each where these are few."""
    low, high = int(np.floor(x.low)), int(np.ceil(x.high))
    fine = [power + part for power in range(low, high) for part in (0.0, HALF) if x.low <= power + part <= x.high]
    decades = [float(power) for power in range(low, high + 1) if x.low <= power <= x.high]
    shown = decades if len(decades) > 2 else fine
    thinned = shown[:: max(1, -(-len(shown) // 5))]
    return [(place, f"{float(f'{10.0**place:.1g}'):g}") for place in thinned]


def _picture(width: float, height: float, parts: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}">'
        f'<style>{STYLE}{MARKS}</style><rect width="100%" height="100%" fill="#fff"/>{"".join(parts)}</svg>\n'
    )
