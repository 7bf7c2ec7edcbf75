"""The sections of the report page as HTML: heading, summary table, one card a class, what was skipped, its origin.

Every text from a file goes through `html.escape`; numbers are formatted here and nowhere else.
"""

from __future__ import annotations

from dataclasses import replace
from html import escape

import numpy as np

from scope_ml.reporting.charts import importance_bars, interval_strip, precision_recall_chart
from scope_ml.reporting.folded import light_curve_panel
from scope_ml.reporting.view import AlgorithmView, ClassView, CurveView, Estimate, ExampleView, PageView

__all__ = [
    "class_card",
    "conflict_table",
    "heading",
    "plain_table",
    "provenance_table",
    "skipped_table",
    "summary_table",
]

#: Fewer test positives than this are marked: the interval is then wider than the differences between models.
FEW_POSITIVES = 20

DASH = "\N{EN DASH}"
SEPARATOR = " \N{MIDDLE DOT} "
TRUTH_MARKS = {"yes": "\N{CHECK MARK}", "no": "\N{MULTIPLICATION X}", "undecided": "?", "unlabelled": ""}


def count(value: int | None) -> str:
    """Return a whole number with thin spaces between thousands, a dash for None."""
    return DASH if value is None else f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def share(value: float, digits: int = 2) -> str:
    """Return a number in [0, 1] with fixed digits, a dash for NaN."""
    return f"{value:.{digits}f}" if np.isfinite(value) else DASH


def interval(estimate: Estimate) -> str:
    """Return the 95 % interval as text, "" where none is known."""
    return f"{estimate.low:.2f}{DASH}{estimate.high:.2f}" if estimate.has_interval else ""


def heading(page: PageView) -> str:
    """Return the top of the page: what was run, and how many light curves came in and went out."""
    names = sorted({item.name for view in page.classes for item in view.algorithms}, reverse=True)
    n_seeds = max((len(item.seeds) for view in page.classes for item in view.algorithms), default=0)
    facts = [
        ("light curves in", count(page.n_in), ""),
        ("kept after cleaning", count(page.n_kept), _percent(page.n_kept, page.n_in)),
        ("scored", count(page.n_scored), ""),
        ("classes", count(len(page.classes)), f"+ {len(page.skipped)} skipped" if page.skipped else ""),
        ("algorithms", " + ".join(names) or DASH, f"\N{MULTIPLICATION SIGN} {n_seeds} seeds" if n_seeds else ""),
    ]
    cells = "".join(
        f"<div><dd>{escape(value)} <small>{escape(extra)}</small></dd><dt>{escape(name)}</dt></div>"
        for name, value, extra in facts
        if value != DASH
    )
    return (
        f'<header class="top"><p class="eyebrow">scope_ml report</p><h1>{escape(page.title)}</h1>'
        f'<p class="lead">{escape(page.subtitle)}</p><dl class="facts">{cells}</dl>{_dropped(page)}</header>'
    )


def summary_table(page: PageView) -> str:
    """Return the table of classes x algorithms, one table body a class."""
    if not page.classes:
        return '<p class="empty">No class was trained; see below why.</p>'
    head = (
        '<tr><th class="text" data-sort="tag">class</th><th class="text"></th>'
        '<th data-sort="positives">test positives</th><th class="wide" data-sort="ap">average precision, 0 to 1</th>'
        '<th></th><th data-sort="precision">precision</th><th data-sort="recall">recall</th>'
        '<th data-sort="f1">F1</th><th>at threshold</th></tr>'
    )
    bodies = "".join(_summary_body(view) for view in page.classes)
    table = f'<table class="summary"><thead>{head}</thead>{bodies}</table>'
    return f'<div class="tools"></div><div class="scroll">{table}</div>'


def class_card(view: ClassView) -> str:
    """Return the card of one class: curves on the left, best-scored light curves on the right, and importance."""
    tag, label = escape(view.tag), escape(view.label)
    keys = "".join(_key_line(item) for item in view.algorithms)
    curves = (
        f"<div><h4>Precision and recall, test part</h4>{precision_recall_chart(view)}"
        f'<div class="key">{keys}</div></div>'
    )
    bars = [
        f"<div><h4>What {escape(item.name)} looks at{escape(_method(item))}</h4>{bars}</div>"
        for item in view.algorithms
        if (bars := importance_bars(item))
    ]
    examples = "".join(_figure(view, example, f"lc-{tag}-{index}") for index, example in enumerate(view.examples))
    shown = f'<div class="examples">{examples}</div>' if examples else '<p class="empty">No light curves to show.</p>'
    how = "folded at their period" if view.is_periodic else "against time"
    # One list of features fits under the curves; two would leave the right half of the card empty.
    below = f'<div class="importance">{"".join(bars)}</div>' if len(bars) > 1 else ""
    left = curves if below else curves + "".join(bars)
    return (
        f'<article id="class-{tag}" data-tag="{tag}" data-label="{label}"><header><h3>{label}</h3><code>{tag}</code>'
        f'<p>{_card_facts(view)}</p></header><div class="columns"><div>{left}</div>'
        f"<div><div><h4>Best-scored light curves, {how}</h4>{shown}</div></div></div>{below}</article>"
    )


def skipped_table(page: PageView) -> str:
    """Return the table of classes that were not trained, with the reason; "" if there is none."""
    if not page.skipped:
        return ""
    rows = "".join(
        f"<tr><td><strong>{escape(item.label)}</strong> <code>{escape(item.tag)}</code></td>"
        f"<td>{escape(item.algorithm)}</td><td>{escape(item.reason)}</td></tr>"
        for item in page.skipped
    )
    head = "<tr><th>class</th><th>algorithm</th><th>why</th></tr>"
    return f"<h2>Not trained</h2>{plain_table(rows, head)}"


def conflict_table(page: PageView) -> str:
    """Return the table of scores that contradict the class tree; "" if none was counted."""
    rows = "".join(
        f"<tr><td><code>{escape(child)}</code> without <code>{escape(parent)}</code></td><td>{count(number)}</td></tr>"
        for child, parent, number in page.conflicts
    )
    if not rows:
        return ""
    return (
        '<h2>Where the scores contradict the class tree</h2><p class="note">Light curves at or above the threshold of '
        "a class but below that of a class which contains it, by the mean score of the algorithms.</p>"
        f"{plain_table(rows)}"
    )


def provenance_table(page: PageView) -> str:
    """Return the versions and digests that say how to make the same page again."""
    rows = "".join(
        f"<tr><td>{escape(what)}</td><td><code>{escape(value)}</code></td></tr>" for what, value in page.provenance
    )
    return f"<h2>Where this comes from</h2>{plain_table(rows)}" if rows else ""


def plain_table(rows: str, head: str = "") -> str:
    """Return a table of rows of HTML."""
    return f'<div class="scroll"><table class="plain"><thead>{head}</thead><tbody>{rows}</tbody></table></div>'


def _percent(part: int | None, whole: int | None) -> str:
    return f"{100 * part / whole:.0f} %" if part is not None and whole else ""


def _dropped(page: PageView) -> str:
    items = sorted(((reason, number) for reason, number in page.dropped.items() if number), key=lambda item: -item[1])
    if not items:
        return ""
    spans = "".join(
        f"<span><b>{count(number)}</b> {escape(reason.replace('_', ' '))}</span>" for reason, number in items
    )
    return f'<p class="dropped">Dropped: {spans}</p>'


def _summary_body(view: ClassView) -> str:
    best = max(view.algorithms, key=lambda item: np.nan_to_num(item.average_precision.value, nan=-1.0), default=None)
    keys = {"tag": view.tag, "label": view.label}
    if best is not None:
        values = {"ap": best.average_precision, "precision": best.precision, "recall": best.recall, "f1": best.f1}
        keys |= {name: f"{item.value:.6f}" for name, item in values.items() if np.isfinite(item.value)}
        keys["positives"] = str(best.n_positive)
    data = " ".join(f'data-{name}="{escape(value)}"' for name, value in keys.items())
    rows = []
    for index, item in enumerate(view.algorithms):
        span = len(view.algorithms)
        names = f"<strong>{escape(view.label)}</strong><span>{escape(view.tag)}</span>"
        who = f'<a href="#class-{escape(view.tag)}">{names}</a>'
        first = f'<td class="text class" rowspan="{span}">{who}</td>' if index == 0 else ""
        rows.append(f"<tr>{first}{_summary_cells(item)}</tr>")
    return f"<tbody {data}>{''.join(rows)}</tbody>"


def _summary_cells(item: AlgorithmView) -> str:
    few = ' class="few" title="few positives: wide intervals"' if item.n_positive < FEW_POSITIVES else ""
    name = escape(item.name)
    ap = item.average_precision
    return (
        f'<td class="text"><span class="algorithm {name}">{name}</span></td><td{few}>{count(item.n_positive)}</td>'
        f'<td class="strip">{interval_strip(ap, item.prevalence, item.name)}</td>'
        f'<td><span class="value-number">{share(ap.value, 3)}</span><small>{interval(ap)}</small></td>'
        + "".join(
            f"<td>{share(value.value)}<small>{interval(value)}</small></td>"
            for value in (item.precision, item.recall, item.f1)
        )
        + f"<td>{share(item.threshold)}</td>"
    )


def _card_facts(view: ClassView) -> str:
    parts = [view.kind] if view.kind else []
    if view.n_labelled is not None:
        parts.append(f"{count(view.n_labelled)} labelled")
    parts += [f"{count(number)} found by {name}" for name, number in view.n_above.items()]
    return escape(SEPARATOR.join(parts))


def _method(item: AlgorithmView) -> str:
    return f" ({item.importance_method})" if item.importance_method else ""


def _key_line(item: AlgorithmView) -> str:
    version = f"v{item.version}" if item.version else ""
    champion = next((_which(curve) for curve in item.curves if curve.is_champion), "")
    bounds = interval(item.average_precision)
    parts = [f"average precision {share(item.average_precision.value, 3)}" + (f" ({bounds})" if bounds else "")]
    parts += [part for part in (version, champion) if part]
    name = escape(item.name)
    return f'<span><span class="algorithm {name}">{name}</span> <small>{escape(SEPARATOR.join(parts))}</small></span>'


def _which(curve: CurveView) -> str:
    return "ensemble" if curve.seed is None else f"seed {curve.seed}"


def _figure(view: ClassView, example: ExampleView, key: str) -> str:
    scores = "".join(
        f'<span class="score {escape(name)}">{escape(name)} <b>{share(value, 3)}</b></span>'
        for name, value in example.scores.items()
    )
    shown = example if view.is_periodic else replace(example, period=float("nan"))
    facts = [f"P = {shown.period:.6g} d"] if np.isfinite(shown.period) else []
    if len(example.mag):
        facts.append(f"{example.mag.min():.2f}{DASH}{example.mag.max():.2f} mag")
    band = example.band or ""
    tone = band if band in {"g", "r", "i"} else "other"
    epochs = f'{count(len(example.time))} \N{MULTIPLICATION SIGN} <b class="band band-{tone}">{escape(band)}</b>'
    caption = (
        f'<span class="who"><code>{escape(example.id)}</code><span>{epochs}</span></span>'
        f"<span>{escape(SEPARATOR.join(facts))}</span><span>{scores}</span>{_truth(view, example)}"
    )
    panel = light_curve_panel(shown, key, phase_zero=view.phase_zero)
    return f"<figure>{panel}<figcaption>{caption}</figcaption></figure>"


def _truth(view: ClassView, example: ExampleView) -> str:
    words = {
        "yes": f"labelled {view.tag}",
        "no": f"labelled {example.native_class or 'otherwise'}",
        "undecided": "label undecided" + (f" ({example.native_class})" if example.native_class else ""),
        "unlabelled": "",
    }[example.truth]
    if not words:
        return ""
    part = f", {example.part} part" if example.part else ""
    return f'<span class="truth {example.truth}">{TRUTH_MARKS[example.truth]} {escape(words + part)}</span>'
