"""The page about stars that were asked for: each with its light curves, folded and not, its periods and best classes.

What it shows is given as plain records. May import the rooms of this package.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Literal

import numpy as np

from scope_ml.reporting.folded import light_curve_panel
from scope_ml.reporting.theme import document
from scope_ml.reporting.view import ExampleView

__all__ = ["ClassScore", "ModelLine", "StarCurve", "StarPage", "StarView", "render_star_page"]

DASH, DOT = "\N{EN DASH}", " \N{MIDDLE DOT} "

HOW_TO_READ = (
    "Each light curve is folded at its period, at twice it (eclipsing and rotating stars often have the longer one), and "
    "shown against time; bright is up, and each fold is drawn for two cycles. Points are those without flags. A score is "
    "the probability of the class by one model; in bold where it reaches the model's threshold. "
    "Classes are not exclusive."
)


@dataclass(frozen=True, kw_only=True)
class ClassScore:
    """A class of one star.

    Attributes
    ----------
    best
        Largest of the light curves' mean scores; what the list is sorted by.
    reached
        Whether the mean of one light curve's scores is not below that of the thresholds.
    means
        ``(mean score, whether it is not below the mean threshold)`` by light curve.
    scores
        ``(score, reached, in doubt)`` by light curve and algorithm, in the order of `StarView.curves` and
        `StarView.algorithms`; None where there is none.
    """

    tag: str
    label: str
    best: float
    reached: bool
    means: tuple[tuple[float, bool], ...] = ()
    scores: tuple[tuple[float, bool, bool] | None, ...] = ()


@dataclass(frozen=True, kw_only=True)
class StarCurve:
    """One light curve.

    Attributes
    ----------
    example
        Its points, and the period at which it is folded; NaN if there is none.
    n_obs, n_obs_raw
        Points after and before cleaning.
    note
        What is to be said of the period, such as by which class it was refined.
    periods
        ``(method, period [d], significance)`` of each search.
    flags
        What to beware of, and what could not be known.
    lost
        Why it was not scored; "" where it was.
    """

    example: ExampleView
    n_obs: int
    n_obs_raw: int
    note: str = ""
    periods: tuple[tuple[str, float, float], ...] = ()
    flags: tuple[str, ...] = ()
    lost: str = ""


@dataclass(frozen=True, kw_only=True)
class StarView:
    """One star.

    Attributes
    ----------
    place
        Its position in words; "" where it is not known.
    phase_zero
        What stands at phase 0 of its folds.
    algorithms
        Of the scores, in the order of their columns.
    lost
        Why there is no light curve of it, or not all of them; "" where nothing is missing.
    """

    name: str
    place: str = ""
    phase_zero: Literal["bright", "faint"] = "bright"
    curves: tuple[StarCurve, ...] = ()
    classes: tuple[ClassScore, ...] = ()
    algorithms: tuple[str, ...] = ()
    lost: str = ""


@dataclass(frozen=True, kw_only=True)
class ModelLine:
    """One model: how much of what it looks at is known, and whether its scores are in doubt for that."""

    name: str
    version: str
    threshold: float
    n_features: int
    n_unknown: int
    known_share: float
    in_doubt: bool


@dataclass(frozen=True, kw_only=True)
class StarPage:
    """The whole page.

    Attributes
    ----------
    facts
        ``(what, number)`` at the top.
    notes
        Sentences that matter for all stars: what is unknown, and the rule by which scores are in doubt.
    n_more
        Stars that are in the tables only.
    provenance
        ``(what, value)`` lines.
    """

    title: str
    subtitle: str
    facts: tuple[tuple[str, int], ...]
    notes: tuple[str, ...] = ()
    stars: tuple[StarView, ...] = ()
    n_more: int = 0
    models: tuple[ModelLine, ...] = ()
    provenance: tuple[tuple[str, str], ...] = ()


def render_star_page(page: StarPage) -> str:
    """Return the page as HTML text; the same `page` gives the same text."""
    stars = "".join(_star(star, f"s{number}") for number, star in enumerate(page.stars))
    more = f'<p class="note">{page.n_more} more stars are in the tables.</p>' if page.n_more else ""
    notes = "".join(f'<p class="warn">{escape(line)}</p>' for line in page.notes)
    body = (
        f'{_heading(page)}<main>{notes}<p class="note">{HOW_TO_READ}</p>{stars}{more}{_models(page)}</main>'
        f"<footer>{_provenance(page)}</footer>"
    )
    return document(page.title, body, "stars")


def _heading(page: StarPage) -> str:
    cells = "".join(f"<div><dd>{number:,}</dd><dt>{escape(what)}</dt></div>" for what, number in page.facts)
    return (
        f'<header class="top"><p class="eyebrow">scope_ml classify</p><h1>{escape(page.title)}</h1>'
        f'<p class="lead">{escape(page.subtitle)}</p><dl class="facts">{cells}</dl></header>'
    )


def _star(star: StarView, key: str) -> str:
    head = f"<header><h3>{escape(star.name)}</h3><code>{escape(star.place)}</code></header>"
    lost = f'<p class="lost">{escape(star.lost)}</p>' if star.lost else ""
    curves = "".join(_curve(star, curve, f"{key}c{number}") for number, curve in enumerate(star.curves))
    return f'<article class="star" id="{key}">{head}{lost}{_classes(star)}{curves}</article>'


def _classes(star: StarView) -> str:
    if not star.classes:
        return ""
    scored = [curve for curve in star.curves if not curve.lost]
    bands = "".join(
        f'<th colspan="{len(star.algorithms)}">{_band(curve.example.band)} <small>{escape(curve.example.id)}</small></th>'
        for curve in scored
    )
    names = "".join(
        f'<th><span class="algorithm {escape(name)}">{escape(name)}</span></th>' for name in star.algorithms
    )
    rows = "".join(
        f'<tr{_reached(one)}><td class="text"><strong>{escape(one.label)}</strong> <code>{escape(one.tag)}</code></td>'
        f"{''.join(map(_score, one.scores))}</tr>"
        for one in star.classes
    )
    head = f'<tr><th class="text" rowspan="2">class</th>{bands}</tr><tr>{names * len(scored)}</tr>'
    return f'<div class="scroll"><table class="scores"><thead>{head}</thead><tbody>{rows}</tbody></table></div>'


def _reached(one: ClassScore) -> str:
    return ' class="reached"' if one.reached else ""


def _score(score: tuple[float, bool, bool] | None) -> str:
    if score is None:
        return f"<td>{DASH}</td>"
    value, reached, doubt = score
    text = f"<b>{value:.2f}</b>" if reached else f"{value:.2f}"
    mark = '<sup title="in doubt: too much of what the model looks at is unknown">?</sup>' if doubt else ""
    return f'<td style="--share:{100 * value:.0f}%"><span class="bar"></span>{text}{mark}</td>'


def _curve(star: StarView, curve: StarCurve, key: str) -> str:
    example = curve.example
    period = example.period
    panels = [(replace(example, period=float("nan")), "against time")]
    if np.isfinite(period) and period > 0:
        panels = [
            (example, f"folded at P = {period:.7g} d"),
            (replace(example, period=2 * period), f"at 2 P = {2 * period:.7g} d"),
            *panels,
        ]
    figures = "".join(
        f"<figure>{light_curve_panel(view, f'{key}p{number}', phase_zero=star.phase_zero, units=True)}"
        f"<figcaption>{escape(caption)}</figcaption></figure>"
        for number, (view, caption) in enumerate(panels)
    )
    points = f"{curve.n_obs} of {curve.n_obs_raw} points after cleaning"
    facts = DOT.join(part for part in (example.id, points, curve.note) if part)
    lost = f'<p class="lost">{escape(curve.lost)}</p>' if curve.lost else ""
    flags = (
        f'<ul class="flags">{"".join(f"<li>{escape(flag)}</li>" for flag in curve.flags)}</ul>' if curve.flags else ""
    )
    return (
        f'<section class="one"><h4>{_band(example.band)} {escape(facts)}</h4>{lost}'
        f'<div class="panels">{figures}</div>{_periods(curve.periods)}{flags}</section>'
    )


def _periods(periods: Sequence[tuple[str, float, float]]) -> str:
    shown = [
        f"<span><code>{escape(method)}</code> {_number(period)} d"
        + (f" <small>significance {significance:.3g}</small>" if np.isfinite(significance) else "")
        + "</span>"
        for method, period, significance in periods
    ]
    return f'<p class="periods">Periods found: {"".join(shown)}</p>' if shown else ""


def _number(value: float) -> str:
    return f"{value:.7g}" if np.isfinite(value) else DASH


def _band(band: str) -> str:
    tone = band if band in {"g", "r", "i"} else "other"
    return f'<b class="band band-{tone}">{escape(band or "?")}</b>'


def _models(page: StarPage) -> str:
    if not page.models:
        return ""
    head = (
        '<tr><th class="text">model</th><th>version</th><th>threshold</th><th>features</th><th>unknown</th>'
        '<th>known share</th><th class="text">scores</th></tr>'
    )
    rows = "".join(
        f'<tr><td class="text"><code>{escape(one.name)}</code></td><td>{escape(one.version or DASH)}</td>'
        f"<td>{one.threshold:.2f}</td><td>{one.n_features}</td><td>{one.n_unknown}</td><td>{one.known_share:.2f}</td>"
        f'<td class="text{" doubt" if one.in_doubt else ""}">{"in doubt" if one.in_doubt else "as trained"}</td></tr>'
        for one in page.models
    )
    return f'<h2>Models</h2><div class="scroll"><table class="scores"><thead>{head}</thead><tbody>{rows}</tbody></table></div>'


def _provenance(page: StarPage) -> str:
    rows = "".join(
        f"<tr><td>{escape(what)}</td><td><code>{escape(value)}</code></td></tr>" for what, value in page.provenance
    )
    return f'<h2>Where this comes from</h2><table class="plain"><tbody>{rows}</tbody></table>' if rows else ""
