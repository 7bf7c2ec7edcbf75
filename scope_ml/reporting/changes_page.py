"""The page that says what changed between two catalogues: stars, classes, scores, periods, fields, models.

What it shows was added up by `selection.catalogue_tallies`. May import the rooms of this package and `selection`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

import numpy as np

from scope_ml.reporting.release_tables import SHOWN_DIGITS, percent, provenance
from scope_ml.reporting.release_view import CatalogueModel
from scope_ml.reporting.sections import DASH, count, plain_table, share
from scope_ml.reporting.svg import number
from scope_ml.reporting.theme import document
from scope_ml.selection.catalogue_changes import GONE, KINDS, NEW
from scope_ml.selection.catalogue_tallies import N_BINS, ChangeTally

__all__ = ["ChangesPage", "ModelChange", "model_changes", "render_changes_page"]

MINUS, ARROW = "\N{MINUS SIGN}", "\N{RIGHTWARDS ARROW}"

HOW_TO_READ = (
    "Stars of the two catalogues are matched by the light curves that they share, not by name or place. One star on each side "
    "is the same star; one that became several was split, several that became one were merged, and where both happened they "
    "were regrouped."
)

HOW_TO_READ_CLASSES = (
    "What there is now is what there was, plus what was gained and came with new stars, less what was lost and went with stars "
    "that are gone; splits and merges count by what they add. Moved are scores that changed by at least {limit:g}; the bars are "
    "differences of scores from \N{MINUS SIGN}1 to +1, by the logarithm, without those that are equal."
)


@dataclass(frozen=True, kw_only=True)
class ModelChange:
    """One model that is not the one it was; a side that has none is None."""

    tag: str
    algorithm: str
    before: CatalogueModel | None
    now: CatalogueModel | None


@dataclass(frozen=True, kw_only=True)
class ChangesPage:
    """The whole page.

    Attributes
    ----------
    title, subtitle
        Texts.
    tally
        What changed.
    labels
        Name of each class in words.
    n_models
        Models now; 0 where not known.
    models
        Those that changed.
    proven
        What was kept and proven by digests, and what was made anew: words -> number.
    provenance
        Rows of the last table.
    """

    title: str
    subtitle: str
    tally: ChangeTally
    labels: Mapping[str, str]
    n_models: int = 0
    models: tuple[ModelChange, ...] = ()
    proven: Mapping[str, int] = field(default_factory=dict)
    provenance: Mapping[str, str] = field(default_factory=dict)


def model_changes(before: Sequence[CatalogueModel], now: Sequence[CatalogueModel]) -> tuple[ModelChange, ...]:
    """Return the models that came, went, or are of another digest, version or threshold."""
    was, is_now = ({(one.tag, one.algorithm): one for one in models} for models in (before, now))
    changed = []
    for key in dict.fromkeys([*is_now, *was]):
        old, new = was.get(key), is_now.get(key)
        if old is None or new is None or _identity(old) != _identity(new):
            changed.append(ModelChange(tag=key[0], algorithm=key[1], before=old, now=new))
    return tuple(changed)


def render_changes_page(page: ChangesPage) -> str:
    """Return the page as HTML text; the same `page` gives the same text."""
    parts = (
        _heading(page),
        "<main>",
        _flow(page.tally),
        _same(page.tally),
        _classes(page),
        _largest(page),
        _fields(page.tally),
        _models(page),
        _proven(page),
        "</main><footer>",
        provenance(page.provenance),
        "</footer>",
    )
    return document(page.title, "".join(parts), "release")


def _heading(page: ChangesPage) -> str:
    tally = page.tally
    before, now = tally.stars_before.total(), tally.stars_now.total()
    facts = [
        ("stars now", count(now), f"{_signed(now - before)} of {count(before)}"),
        ("new", count(tally.groups["new"]), ""),
        ("gone", count(tally.groups["gone"]), ""),
        ("changed", count(tally.same["changed"]), percent(tally.same["changed"], tally.groups["same"])),
        ("light curves new", count(tally.n_gained), f"{count(tally.n_lost)} gone"),
    ]
    cells = "".join(
        f"<div><dd>{escape(value)} <small>{escape(extra)}</small></dd><dt>{escape(name)}</dt></div>"
        for name, value, extra in facts
    )
    return (
        f'<header class="top"><p class="eyebrow">scope_ml catalogue, what changed</p><h1>{escape(page.title)}</h1>'
        f'<p class="lead">{escape(page.subtitle)}</p><dl class="facts">{cells}</dl></header>'
    )


def _flow(tally: ChangeTally) -> str:
    words = {
        "split": "stars that became several",
        "merged": "stars that several became",
        "regrouped": "groups sorted anew",
    }
    unchanged = tally.groups["same"] - tally.same["changed"]
    boxes = [
        ("unchanged", unchanged, ""),
        ("changed", tally.same["changed"], ""),
        ("new stars", tally.groups["new"], ""),
        ("stars gone", tally.groups["gone"], ""),
    ]
    boxes += [
        (text, tally.groups[kind], f"{count(tally.stars_before[kind])} {ARROW} {count(tally.stars_now[kind])} stars")
        for kind, text in words.items()
    ]
    cells = "".join(
        f"<div><b>{count(n)}</b><span>{escape(text)}{'<br>' + escape(extra) if n and extra else ''}</span></div>"
        for text, n, extra in boxes
    )
    return f'<h2>Stars</h2><p class="note">{HOW_TO_READ}</p><div class="flow">{cells}</div>'


def _same(tally: ChangeTally) -> str:
    if not tally.groups["same"]:
        return ""
    lines = [
        ("a score moved, came or went", "score_moved"),
        ("became of a class or ceased to be", "classes_changed"),
        ("other light curves", "light_curves_changed"),
        ("period moved", "period_moved"),
        ("of these to a harmonic (2, 3, 3/2 or their inverse)", "period_moved_to_a_harmonic"),
        ("has a period now", "period_came"),
        ("has no period any more", "period_went"),
        ("another name, for its place moved", "renamed"),
    ]
    rows = "".join(
        f'<tr><td>{escape(text)}</td><td class="num">{count(tally.same[name])}</td>'
        f'<td class="num">{percent(tally.same[name], tally.groups["same"])}</td></tr>'
        for text, name in lines
    )
    return (
        f'<h2>Stars that are the same</h2><p class="note">{count(tally.groups["same"])} stars are on both sides; one may be '
        f"counted in several rows.</p>{plain_table(rows)}"
    )


def _classes(page: ChangesPage) -> str:
    tally = page.tally
    if not tally.tags:
        return ""
    head = (
        '<tr><th class="text" data-sort="tag">class</th><th data-sort="before">before</th><th data-sort="now">now</th>'
        '<th data-sort="gained">gained</th><th data-sort="lost">lost</th><th data-sort="came">with new<br>stars</th>'
        '<th data-sort="went">with stars<br>gone</th><th>split or<br>merged</th><th data-sort="moved">scores<br>moved</th>'
        '<th class="wide">differences of scores</th></tr>'
    )
    bodies = "".join(_class_row(tally, k, page.labels) for k in range(len(tally.tags)))
    return (
        f'<h2>Classes</h2><p class="note">{HOW_TO_READ_CLASSES.format(limit=tally.limits.score)}</p>'
        f'<div class="tools"></div><div class="scroll"><table class="summary"><thead>{head}</thead>{bodies}</table></div>'
    )


def _class_row(tally: ChangeTally, k: int, labels: Mapping[str, str]) -> str:
    tag = tally.tags[k]
    before, now = int(tally.classes_before[:, k].sum()), int(tally.classes_now[:, k].sum())
    came, went = int(tally.classes_now[NEW, k]), int(tally.classes_before[GONE, k])
    regrouped = sum(int(tally.came(kind)[k]) for kind in KINDS[3:])
    moved, compared = int(tally.n_moved[k]), int(tally.n_compared[k])
    numbers = {
        "before": before,
        "now": now,
        "gained": int(tally.gained[k]),
        "lost": int(tally.lost[k]),
        "came": came,
        "went": went,
        "moved": moved,
    }
    label = labels.get(tag, tag)
    data = "".join(f' data-{name}="{value}"' for name, value in numbers.items())
    return (
        f'<tbody data-tag="{escape(tag)}" data-label="{escape(label)}"{data}><tr><td class="text class"><a class="none">'
        f"<strong>{escape(label)}</strong><span>{escape(tag)}</span></a></td><td>{count(before)}</td>"
        f'<td><span class="value-number">{count(now)}</span><small>{_signed(now - before)}</small></td>'
        f"<td>{_coloured(numbers['gained'], 'up', '+')}</td><td>{_coloured(numbers['lost'], 'down', MINUS)}</td>"
        f"<td>{_coloured(came, 'up', '+')}</td><td>{_coloured(went, 'down', MINUS)}</td><td>{_signed(regrouped)}</td>"
        f"<td>{count(moved)}<small>{percent(moved, compared)}</small></td>"
        f'<td class="strip">{_differences(tally, k)}</td></tr></tbody>'
    )


def _differences(tally: ChangeTally, k: int) -> str:
    """Return the differences of the scores of a class as bars around the middle, heights by the logarithm."""
    width, height = 160.0, 26.0
    step = width / N_BINS
    most = int(tally.histogram[k].max(initial=0))
    if not most:
        return '<span class="empty">none</span>' if tally.n_compared[k] else DASH
    bars = []
    for at, n in enumerate(tally.histogram[k].tolist()):
        if n:
            tall = max(float(np.log10(1 + n) / np.log10(1 + most) * height), 1.0)
            bars.append(f"M{number(at * step)} {height:g}v{number(-tall)}h{number(step - 0.6)}v{number(tall)}z")
    return (
        f'<svg class="moves" viewBox="0 0 {width:g} {height + 1:g}" aria-hidden="true"><path class="axis" d="M{width / 2:g} 0V{height:g}"/>'
        f'<path class="track" d="M0 {height:g}H{width:g}"/><path class="bar" d="{"".join(bars)}"/></svg>'
    )


def _largest(page: ChangesPage) -> str:
    if not page.tally.largest:
        return ""
    rows = []
    for one in page.tally.largest:
        was = "" if one.name == one.name_before else f"<br><small>was {escape(one.name_before)}</small>"
        label = escape(page.labels.get(one.tag, one.tag))
        rows.append(
            f"<tr><td><code>{escape(one.name)}</code>{was}</td><td>{label} <code>{escape(one.tag)}</code></td>"
            f'<td class="num">{share(one.before, 3)}</td><td class="num">{share(one.now, 3)}</td>'
            f'<td class="num {"up" if one.difference > 0 else "down"}">{_decimal(one.difference)}</td></tr>'
        )
    head = "<tr><th>star</th><th>class</th><th>before</th><th>now</th><th>difference</th></tr>"
    return f"<h2>Largest changes of scores</h2>{plain_table(''.join(rows), head)}"


def _fields(tally: ChangeTally) -> str:
    before, now = tally.fields_before, tally.fields_now
    names = sorted(name for name in {*before, *now} if before[name] != now[name])
    n_added = sum(not before[name] for name in now if now[name])
    n_gone = sum(not now[name] for name in before if before[name])
    if not before and not now:
        return ""
    rows = "".join(
        f'<tr><td>{name}</td><td class="num">{count(before[name])}</td><td class="num">{count(now[name])}</td>'
        f"<td>{'new' if not before[name] else 'gone' if not now[name] else _signed(now[name] - before[name])}</td></tr>"
        for name in names
    )
    head = "<tr><th>field</th><th>stars before</th><th>stars now</th><th></th></tr>"
    text = (
        f"{count(n_added)} fields are new, {count(n_gone)} gone, {count(len(names) - n_added - n_gone)} have another number of "
        f"stars; {count(len({*before, *now}) - len(names))} are as they were."
    )
    details = (
        f"<details><summary>{count(len(names))} fields</summary>{plain_table(rows, head)}</details>" if rows else ""
    )
    return f'<h2>Fields</h2><p class="note">{text}</p>{details}'


def _models(page: ChangesPage) -> str:
    if not page.n_models and not page.models:
        return ""
    rows = "".join(
        f"<tr><td>{escape(page.labels.get(one.tag, one.tag))} <code>{escape(one.tag)}</code></td>"
        f'<td><span class="algorithm {escape(one.algorithm)}">{escape(one.algorithm)}</span></td>'
        f"<td>{_model(one.before)}</td><td>{_model(one.now)}</td></tr>"
        for one in page.models
    )
    head = "<tr><th>class</th><th>algorithm</th><th>before</th><th>now</th></tr>"
    text = (
        f"{count(len(page.models))} of {count(page.n_models)} models are not what they were."
        if rows
        else "All models are the same."
    )
    return f'<h2>Models</h2><p class="note">{text}</p>{plain_table(rows, head) if rows else ""}'


def _proven(page: ChangesPage) -> str:
    rows = "".join(
        f'<tr><td>{escape(what)}</td><td class="num">{count(n)}</td></tr>' for what, n in page.proven.items()
    )
    if not rows:
        return ""
    note = "What was kept was found to be the same by its digests; everything else was made anew."
    return f'<h2>What was kept, and what was made anew</h2><p class="note">{note}</p>{plain_table(rows)}'


def _identity(model: CatalogueModel) -> tuple[str, str, str]:
    # As text: NaN is equal to itself there.
    return model.digest or model.version, model.name, f"{model.threshold:.9g}"


def _model(model: CatalogueModel | None) -> str:
    if model is None:
        return DASH
    words = [f"{escape(model.name)}" if model.name else "", f"v{escape(model.version)}" if model.version else ""]
    digest = f"<code>{escape(model.digest[:SHOWN_DIGITS])}</code>" if model.digest else ""
    threshold = f"threshold {share(model.threshold)}" if np.isfinite(model.threshold) else ""
    return " ".join(part for part in (*words, digest, threshold) if part)


def _coloured(value: int, style: str, sign: str) -> str:
    return f'<span class="{style}">{sign}{count(value)}</span>' if value else "0"


def _signed(value: int) -> str:
    return f"{'+' if value > 0 else MINUS if value < 0 else chr(177)}{count(abs(value))}"


def _decimal(value: float) -> str:
    return f"{value:+.3f}".replace("-", MINUS)
