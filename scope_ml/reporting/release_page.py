"""The page of a data release: what it is, its stars on the sky and by class, light curves, quality, how to read it.

What it shows is given as plain records; every text from a file goes through `html.escape`. May import the rooms of this
package.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Literal

import numpy as np

from scope_ml.reporting.folded import light_curve_panel
from scope_ml.reporting.release_counts import FLAGS, SCORE_BINS, ClassCounts, ReleaseCounts
from scope_ml.reporting.release_tables import column_table, how_to_open, model_table, percent, provenance
from scope_ml.reporting.release_view import CatalogueFacts
from scope_ml.reporting.sections import DASH, SEPARATOR, count, plain_table, share
from scope_ml.reporting.sky_map import Patch, patch_map, whole_map
from scope_ml.reporting.svg import number
from scope_ml.reporting.theme import document
from scope_ml.reporting.view import ExampleView

__all__ = ["ReleaseExample", "ReleasePage", "render_release_page"]

HOW_TO_READ = (
    "A row is a star: its light curves in all bands, fields and quadrants together. A score is between 0 and 1, one a class, "
    "and classes do not exclude each other: an RR Lyrae star is periodic and variable, too. Above is how many stars reach the "
    "threshold of a class; sure are those that reach that of every class which it implies as well."
)

HOW_TO_READ_LIGHT_CURVES = (
    "The stars with the highest scores of each class, each by its light curve with the most points: folded at the star's "
    "period where the class is periodic, else against time. Bright is up."
)


@dataclass(frozen=True, kw_only=True)
class ReleaseExample:
    """A star that is shown: how its light curve is drawn, its name and its score of the class."""

    view: ExampleView
    name: str
    score: float
    n_light_curves: int
    phase_zero: Literal["bright", "faint"] = "bright"


@dataclass(frozen=True, kw_only=True)
class ReleasePage:
    """The whole page.

    Attributes
    ----------
    title, subtitle
        Texts.
    facts
        What is known beside the catalogue.
    counts
        What was counted in it.
    labels
        Name of each class in words.
    schema
        Columns of the catalogue: name, dtype, unit.
    patch
        A closer look at a small catalogue.
    examples
        Stars that are shown, by class.
    without_light_curves
        Why there are none, if that is to be said.
    cite, doi
        How to cite it.
    """

    title: str
    subtitle: str
    facts: CatalogueFacts
    counts: ReleaseCounts
    labels: Mapping[str, str]
    schema: tuple[tuple[str, str, str], ...] = ()
    patch: Patch | None = None
    examples: Mapping[str, tuple[ReleaseExample, ...]] = field(default_factory=dict)
    without_light_curves: str = ""
    cite: str = ""
    doi: str = ""


def render_release_page(page: ReleasePage) -> str:
    """Return the page as HTML text; the same `page` gives the same text."""
    parts = (
        _heading(page),
        "<main>",
        _sky(page),
        _classes(page),
        _gallery(page),
        _quality(page),
        model_table(page.facts.models, page.labels),
        column_table(page.schema, page.facts.columns, tuple(page.counts.classes)),
        how_to_open(
            tuple(page.counts.classes),
            _somewhere(page.counts),
            page.facts.files,
            has_sure=page.counts.n_sure is not None,
        ),
        _cite(page),
        "</main><footer>",
        provenance(page.facts.provenance),
        "</footer>",
    )
    return document(page.title, "".join(parts), "release")


def _heading(page: ReleasePage) -> str:
    counts = page.counts
    n_fields = len(counts.fields) or len(page.facts.fields)
    facts = [
        ("stars", count(counts.n_stars), ""),
        ("light curves", count(counts.n_light_curves), ""),
        ("stars of a sure class", count(counts.n_sure), percent(counts.n_sure, counts.n_stars)),
        ("classes", count(len(counts.classes)), ""),
        ("fields", count(n_fields) if n_fields else DASH, ""),
        ("models", count(len(page.facts.models)) if page.facts.models else DASH, ""),
    ]
    cells = "".join(
        f"<div><dd>{escape(value)} <small>{escape(extra)}</small></dd><dt>{escape(name)}</dt></div>"
        for name, value, extra in facts
        if value != DASH
    )
    dropped = sorted((item for item in page.facts.dropped.items() if item[1]), key=lambda item: (-item[1], item[0]))
    spans = "".join(f"<span><b>{count(n)}</b> {escape(reason.replace('_', ' '))}</span>" for reason, n in dropped)
    lost = f'<p class="dropped">Light curves that are in no star: {spans}</p>' if spans else ""
    return (
        f'<header class="top"><p class="eyebrow">scope_ml data release</p><h1>{escape(page.title)}</h1>'
        f'<p class="lead">{escape(page.subtitle)}</p><dl class="facts">{cells}</dl>{lost}</header>'
    )


def _sky(page: ReleasePage) -> str:
    places = page.counts.field_places()
    maps = f"<div>{whole_map(page.counts.sky, places)}</div>"
    if page.patch is not None:
        maps += f"<div>{patch_map(page.patch, places)}</div>"
    note = (
        "All sky in an equal-area projection (Hammer's), right ascension 180\N{DEGREE SIGN} in the middle, east to the left; the "
        "dashed line is the Galactic plane with the Galactic centre on it."
    )
    if page.counts.sky.n_nowhere:
        note += f" {count(page.counts.sky.n_nowhere)} stars without a place are not shown."
    return f'<h2>Where the stars are</h2><p class="note">{note}</p><div class="maps">{maps}</div>{_fields(page)}'


def _fields(page: ReleasePage) -> str:
    """Return the table of fields, folded away."""
    known = {one.field: one for one in page.facts.fields}
    names = sorted({*known, *page.counts.fields})
    if not names:
        return ""
    rows = []
    for name in names:
        one = known.get(name)
        n_stars = page.counts.fields.get(name, one.n_stars if one is not None else None)
        cells = (n_stars, one.n_light_curves if one else None, one.n_quadrants if one else None)
        rows.append(
            f"<tr><td>{name}</td>" + "".join(f'<td class="num">{count(value)}</td>' for value in cells) + "</tr>"
        )
    head = "<tr><th>field</th><th>stars</th><th>light curves</th><th>quadrants</th></tr>"
    return f"<details><summary>{count(len(names))} fields</summary>{plain_table(''.join(rows), head)}</details>"


def _classes(page: ReleasePage) -> str:
    classes = page.counts.classes
    if not classes:
        return '<h2>Classes</h2><p class="empty">The catalogue has no scores.</p>'
    algorithms = list(dict.fromkeys(name for one in classes.values() for name, _ in one.columns.by_algorithm))
    has_sure = page.counts.n_sure is not None
    several = len(algorithms) > 1
    head = (
        '<tr><th class="text" data-sort="tag">class</th><th data-sort="members">stars above<br>threshold</th>'
        '<th data-sort="curves">their light<br>curves</th>'
        + "".join(
            f'<th data-sort="{escape(_key(name))}">above by<br><span class="algorithm {escape(name)}">{escape(name)}</span></th>'
            for name in algorithms
        )
        + ('<th data-sort="agreed">by every<br>algorithm</th>' if several else "")
        + ('<th data-sort="sure">sure</th>' if has_sure else "")
        + '<th>threshold</th><th class="wide">scores, 0 to 1 (log)</th></tr>'
    )
    bodies = "".join(
        _class_row(
            tag, page.labels.get(tag, tag), one, algorithms, has_sure=has_sure, linked=bool(page.examples.get(tag))
        )
        for tag, one in classes.items()
    )
    return (
        f'<h2>Classes</h2><p class="note">{HOW_TO_READ}</p><div class="tools"></div><div class="scroll">'
        f'<table class="summary"><thead>{head}</thead>{bodies}</table></div>'
    )


def _class_row(tag: str, label: str, one: ClassCounts, algorithms: list[str], *, has_sure: bool, linked: bool) -> str:
    keys = {"tag": tag, "label": label, "members": one.n_members, "curves": one.n_light_curves, "agreed": one.n_agreed}
    keys |= {_key(name): one.by_algorithm[name] for name in algorithms if name in one.thresholds}
    keys |= {"sure": one.n_sure} if one.n_sure is not None else {}
    data = " ".join(f'data-{escape(name)}="{escape(str(value))}"' for name, value in keys.items())
    names = f"<strong>{escape(label)}</strong><span>{escape(tag)}</span>"
    who = f'<a href="#class-{escape(tag)}">{names}</a>' if linked else f'<a class="none">{names}</a>'
    cells = [
        f'<td class="text class">{who}</td>',
        f'<td><span class="value-number">{count(one.n_members)}</span><small>{percent(one.n_members, one.n_scored)}</small></td>',
        f"<td>{count(one.n_light_curves)}</td>",
    ]
    cells += [f"<td>{count(one.by_algorithm[name] if name in one.thresholds else None)}</td>" for name in algorithms]
    cells += [f"<td>{count(one.n_agreed if len(one.thresholds) > 1 else None)}</td>"] if len(algorithms) > 1 else []
    cells += [f"<td>{count(one.n_sure)}</td>"] if has_sure else []
    cells += [f"<td>{share(one.threshold)}</td>", f'<td class="strip">{_histogram(one)}</td>']
    return f"<tbody {data}><tr>{''.join(cells)}</tr></tbody>"


def _histogram(one: ClassCounts) -> str:
    """Return the scores of all stars as bars, heights by the logarithm, and the threshold."""
    width, height = 160.0, 26.0
    step = width / SCORE_BINS
    top = np.log10(1 + max(int(one.histogram.max(initial=0)), 1))
    bars = []
    for k, n in enumerate(one.histogram.tolist()):
        if n:
            tall = max(float(np.log10(1 + n) / top * height), 1.0)
            bars.append(f"M{number(k * step)} {number(height)}v{number(-tall)}h{number(step - 1)}v{number(tall)}z")
    at = number(one.threshold * width)
    return (
        f'<svg class="scores" viewBox="0 0 {width:g} {height + 1:g}" aria-hidden="true"><path class="track" d="M0 {height:g}H{width:g}"/>'
        f'<path class="bar" d="{"".join(bars)}"/><path class="guess" d="M{at} 0V{height:g}"/></svg>'
    )


def _gallery(page: ReleasePage) -> str:
    cards = "".join(
        _card(tag, page.labels.get(tag, tag), page.examples[tag])
        for tag in page.counts.classes
        if page.examples.get(tag)
    )
    if not cards:
        why = page.without_light_curves
        return f'<h2>Light curves</h2><p class="empty">{escape(why)}</p>' if why else ""
    return f'<h2>Light curves</h2><p class="note">{HOW_TO_READ_LIGHT_CURVES}</p>{cards}'


def _card(tag: str, label: str, examples: tuple[ReleaseExample, ...]) -> str:
    figures = "".join(_figure(one, f"lc-{escape(tag)}-{k}") for k, one in enumerate(examples))
    return (
        f'<article class="short" id="class-{escape(tag)}" data-tag="{escape(tag)}" data-label="{escape(label)}">'
        f'<header><h3>{escape(label)}</h3><code>{escape(tag)}</code></header><div class="examples three">{figures}</div></article>'
    )


def _figure(example: ReleaseExample, key: str) -> str:
    view = example.view
    tone = view.band if view.band in {"g", "r", "i"} else "other"
    panel = light_curve_panel(view, key, phase_zero=example.phase_zero)
    scores = "".join(
        f'<span class="score {escape(name)}">{escape(name)} <b>{share(value, 3)}</b></span>'
        for name, value in view.scores.items()
    )
    period = f"{SEPARATOR}P = {view.period:.6g} d" if np.isfinite(view.period) else ""
    of = f"one of {count(example.n_light_curves)} light curves" if example.n_light_curves > 1 else "its light curve"
    return (
        f'<figure>{panel}<figcaption><span class="who"><code>{escape(example.name)}</code>'
        f'<b class="band band-{tone}">{escape(view.band)}</b></span><span>score <b>{share(example.score, 3)}</b> {scores}</span>'
        f"<span>{of}{escape(period)}</span></figcaption></figure>"
    )


def _quality(page: ReleasePage) -> str:
    counts = page.counts
    rows = [
        (name, counts.flagged[name], meaning, percent(counts.flagged[name], counts.n_stars))
        for name, meaning in FLAGS.items()
        if name in counts.flagged
    ]
    body = "".join(
        f'<tr><td><code>{escape(name)}</code></td><td class="num">{count(n)}</td><td class="num">{part}</td><td>{escape(meaning)}</td></tr>'
        for name, n, meaning, part in rows
    )
    body += "".join(
        f'<tr><td>{escape(what)}</td><td class="num">{count(n)}</td><td></td><td></td></tr>'
        for what, n in page.facts.counts.items()
    )
    if not body:
        return ""
    head = "<tr><th>mark</th><th>number</th><th></th><th>what it means</th></tr>"
    return f"<h2>Quality</h2>{plain_table(body, head)}"


def _cite(page: ReleasePage) -> str:
    parts = [f"<p>{escape(page.cite)}</p>"] if page.cite else []
    if page.doi:
        doi = page.doi.removeprefix("https://doi.org/")
        parts.append(f'<p>DOI <a href="https://doi.org/{escape(doi)}">{escape(doi)}</a></p>')
    return f"<h2>How to cite</h2>{''.join(parts)}" if parts else ""


def _somewhere(counts: ReleaseCounts) -> tuple[float, float] | None:
    """Return a place with stars: in the middle of the fullest field, else of all of them."""
    if not counts.fields:
        return counts.sky.centre
    fullest = max(sorted(counts.fields), key=lambda name: counts.fields[name])
    return counts.field_places()[fullest]


def _key(algorithm: str) -> str:
    """Return the name of a sort key: letters only, as attributes of HTML are."""
    return "by" + "".join(letter for letter in algorithm.lower() if letter.isalpha())
