"""The page about scores that disagree: each class as a map of one score against the other, counts, and the stars.

May import `selection.disagreement` and the rooms of this package.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from scope_ml.reporting.sections import DASH, count
from scope_ml.reporting.svg import Scale, dots, number
from scope_ml.reporting.theme import document
from scope_ml.selection.disagreement import CELLS, ClassDisagreement

__all__ = ["Disagreements", "ListedStar", "disagreement_page"]

#: Where the map lies in its picture [px].
ACROSS = Scale(0.0, 1.0, 40.0, 350.0)
UP = Scale(0.0, 1.0, 322.0, 12.0)

#: Shades of a cell, by the logarithm of its stars.
SHADES = 8

#: Why stars are not among those shown.
REASONS = {
    "known": "left out, known already",
    "not_compared": "without both scores",
    "agree": "agree",
    "over_limit": "disagree, over the limit",
}


@dataclass(frozen=True, kw_only=True)
class ListedStar:
    """One star that disagrees.

    Attributes
    ----------
    name
        Of the star.
    ra, dec
        [deg], None where unknown.
    period
        [d], None where unknown.
    scores
        First and second score of the classes that it disagrees on.
    """

    name: str
    ra: float | None
    dec: float | None
    period: float | None
    scores: Mapping[str, tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class Disagreements:
    """What the page shows.

    Attributes
    ----------
    names
        What the first and the second score are called.
    high, low
        Scores disagree where one is above `high` and the other at most `low`.
    classes
        The classes that were compared.
    stars
        Stars to list, the widest apart first.
    n_stars, n_chosen
        All stars, and those that disagree.
    dropped
        The others, by reason.
    """

    names: tuple[str, str]
    high: float
    low: float
    classes: tuple[ClassDisagreement, ...]
    stars: tuple[ListedStar, ...]
    n_stars: int
    n_chosen: int
    dropped: Mapping[str, int]


def disagreement_page(what: Disagreements) -> str:
    """Return the page as HTML text; the same disagreements give the same text."""
    first, second = (escape(name) for name in what.names)
    title = f"{what.names[0]} against {what.names[1]}"
    how = (
        f"Each cell of a map holds the stars with these two scores; the more, the stronger, by the logarithm. In the marked"
        f" corners one score is above {what.high:g} and the other at most {what.low:g}: there the two disagree. The table"
        " counts stars whose scores are at least the level; kappa is agreement beyond what chance gives, 1 at most."
    )
    articles = "".join(_article(one, what) for one in _ordered(what.classes))
    legend = f'<span class="side up">{first} high, {second} low</span> · <span class="side down">{second} high, {first} low</span>'
    body = [
        _heading(what, title),
        f'<main><p class="note">{how}</p><p>{legend}</p>{articles}',
        _list(what),
        "</main><footer></footer>",
    ]
    return document(title, "".join(body), "disagreement")


def _ordered(classes: Sequence[ClassDisagreement]) -> list[ClassDisagreement]:
    """Return the classes with the most disagreement first; equal ones in their order."""
    return sorted(classes, key=lambda one: -one.n_disagreeing)


def _heading(what: Disagreements, title: str) -> str:
    facts = [
        ("stars", count(what.n_stars)),
        ("disagree", count(what.n_chosen)),
        *((REASONS.get(name, name), count(number_of)) for name, number_of in what.dropped.items() if number_of),
    ]
    cells = "".join(f"<div><dd>{value}</dd><dt>{escape(name)}</dt></div>" for name, value in facts)
    return (
        f'<header class="top"><p class="eyebrow">scope_ml disagreements</p><h1>{escape(title)}</h1>'
        f'<p class="lead">Stars of which the two say the opposite.</p><dl class="facts">{cells}</dl></header>'
    )


def _article(one: ClassDisagreement, what: Disagreements) -> str:
    first, second = (escape(name) for name in what.names)
    correlation = DASH if one.correlation is None else f"{one.correlation:.3f}"
    difference = DASH if one.mean_difference is None else f"{one.mean_difference:+.3f}".replace("-", "\N{MINUS SIGN}")
    rate = DASH if one.rate is None else _percent(one.rate)
    facts = (
        f"<span><b>{count(one.n_compared)}</b> stars with both scores</span>"
        f'<span class="up"><b class="side">{count(one.n_first_only)}</b> {first} high, {second} low</span>'
        f'<span class="down"><b class="side">{count(one.n_second_only)}</b> {second} high, {first} low</span>'
        f"<span><b>{rate}</b> of them disagree</span><span><b>{correlation}</b> rank correlation</span>"
        f"<span><b>{difference}</b> mean of {first} \N{MINUS SIGN} {second}</span>"
    )
    rows = "".join(
        f"<tr><td>{level.level:g}</td><td>{count(level.both)}</td><td>{count(level.first_only)}</td>"
        f"<td>{count(level.second_only)}</td><td>{count(level.neither)}</td>"
        f"<td>{DASH if level.kappa is None else f'{level.kappa:.3f}'}</td></tr>"
        for level in one.levels
    )
    table = (
        f'<div class="scroll"><table class="levels"><thead><tr><th>at least</th><th>both</th><th>{first} only</th>'
        f"<th>{second} only</th><th>neither</th><th>kappa</th></tr></thead><tbody>{rows}</tbody></table></div>"
    )
    return (
        f"<article><header><h3>{escape(one.tag)}</h3></header>"
        f'<div class="class-pair"><div>{_map(one, what)}</div><div><div class="pair-facts">{facts}</div>{table}</div></div></article>'
    )


def _map(one: ClassDisagreement, what: Disagreements) -> str:
    ticks = (0.0, 0.25, 0.5, 0.75, 1.0)
    frame = "".join(
        f'<path class="grid" d="M40 {UP.at(v)}H350M{ACROSS.at(v)} 12V322"/>'
        f'<text x="34" y="{number(float(UP(v)) + 3.5)}" text-anchor="end">{v:g}</text>'
        f'<text x="{ACROSS.at(v)}" y="337" text-anchor="middle">{v:g}</text>'
        for v in ticks
    )
    names = (
        f'<text x="195" y="354" text-anchor="middle">{escape(what.names[0])}</text>'
        f'<text x="12" y="167" text-anchor="middle" transform="rotate(-90 12 167)">{escape(what.names[1])}</text>'
    )
    # The first score goes to the right: its corner is the lower right one.
    corners = _corner("up", (what.high, 1.0), (0.0, what.low)) + _corner("down", (0.0, what.low), (what.high, 1.0))
    counts = (
        f'<text class="n up" x="346" y="{number(float(UP(what.low)) - 6)}" text-anchor="end">{count(one.n_first_only)}</text>'
        f'<text class="n down" x="{number(float(ACROSS(what.low)) + 6)}" y="24">{count(one.n_second_only)}</text>'
    )
    stars = "".join(
        f'<path class="star {style}" d="{dots(ACROSS(x), UP(y))}"/>'
        for style, (x, y) in _of_class(what.stars, one.tag).items()
        if len(x)
    )
    label = escape(f"{one.tag}: {what.names[1]} against {what.names[0]}")
    return f'<svg viewBox="0 0 360 360" role="img"><title>{label}</title>{frame}{_cells(one)}{corners}{stars}{counts}{names}</svg>'


def _cells(one: ClassDisagreement) -> str:
    """Return the cells by shade: one path a shade."""
    if not one.cells.any():
        return ""
    shade = np.ceil(SHADES * np.log1p(one.cells) / np.log1p(one.cells.max())).astype(np.int64)
    edges = np.arange(CELLS + 1) / CELLS
    x, y = ACROSS(edges), UP(edges)
    paths = []
    for level in range(1, SHADES + 1):
        squares = "".join(
            f"M{number(float(x[i]))} {number(float(y[j]))}H{number(float(x[i + 1]))}V{number(float(y[j + 1]))}H{number(float(x[i]))}Z"
            for i, j in np.argwhere(shade == level).tolist()
        )
        if squares:
            paths.append(f'<path class="cell" opacity="{0.08 + 0.72 * level / SHADES:.2f}" d="{squares}"/>')
    return "".join(paths)


def _corner(style: str, across: tuple[float, float], up: tuple[float, float]) -> str:
    path = f"M{ACROSS.at(across[0])} {UP.at(up[0])}H{ACROSS.at(across[1])}V{UP.at(up[1])}H{ACROSS.at(across[0])}Z"
    return f'<path class="corner {style}" d="{path}"/><path class="corner-edge {style}" d="{path}"/>'


def _of_class(stars: Sequence[ListedStar], tag: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return the two scores of the listed stars that disagree on a class, by which of the two is the high one."""
    pairs = np.array([star.scores[tag] for star in stars if tag in star.scores], dtype=np.float64).reshape(-1, 2)
    above = pairs[:, 0] > pairs[:, 1]
    return {"up": (pairs[above, 0], pairs[above, 1]), "down": (pairs[~above, 0], pairs[~above, 1])}


def _list(what: Disagreements) -> str:
    if not what.stars:
        return '<h2>Stars</h2><p class="empty">No star disagrees.</p>'
    rows = "".join(_row(star, what) for star in what.stars)
    more = "" if len(what.stars) == what.n_chosen else f", the {len(what.stars)} widest apart of {count(what.n_chosen)}"
    return (
        f'<h2>Stars</h2><p class="note">Those that disagree{more}; all of them stand in disagreements.parquet.</p>'
        f'<div class="scroll"><table class="listed"><thead><tr><th class="text">name</th><th>ra [deg]</th><th>dec [deg]</th>'
        f'<th>period [d]</th><th class="text">class</th><th>{escape(what.names[0])}</th><th>{escape(what.names[1])}</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _row(star: ListedStar, what: Disagreements) -> str:
    lines = []
    for place, (tag, (first, second)) in enumerate(star.scores.items()):
        style = "up" if first > second else "down"
        head = (
            f'<td class="text"><code>{escape(star.name)}</code></td><td>{_or_dash(star.ra, 5)}</td><td>{_or_dash(star.dec, 5)}</td>'
            f"<td>{_or_dash(star.period, 5)}</td>"
            if place == 0
            else "<td></td><td></td><td></td><td></td>"
        )
        lines.append(
            f'<tr class="{style}">{head}<td class="text side">{escape(tag)}</td><td>{first:.3f}</td><td>{second:.3f}</td></tr>'
        )
    return "".join(lines)


def _or_dash(value: float | None, digits: int) -> str:
    if value is None or not np.isfinite(value):
        return DASH
    return f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def _percent(share: float) -> str:
    digits = 1 if share >= 0.01 or share == 0 else 3
    return f"{100 * share:.{digits}f}\N{NARROW NO-BREAK SPACE}%"
