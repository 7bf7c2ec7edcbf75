"""The page that compares all classes and algorithms: bars by class, a table, reliability, importance, what is missing."""

from __future__ import annotations

from html import escape
from itertools import pairwise

import numpy as np

from scope_ml.reporting.comparison import CELLS, COMPARED, Comparison, Contender
from scope_ml.reporting.comparison_charts import (
    bars_width,
    class_bars,
    feature_bars,
    reliability_chart,
    seed_strip,
    versus_chart,
)
from scope_ml.reporting.sections import DASH, FEW_POSITIVES, SEPARATOR, count, interval, share
from scope_ml.reporting.svg import number
from scope_ml.reporting.theme import document

__all__ = ["comparison_page"]

#: Metrics that are drawn as bars, one chart each.
DRAWN = ("precision", "recall", "f1", "average_precision")

#: Features shown per model and measure.
N_FEATURES = 8

HOW_TO_READ = (
    "All numbers are from the test part: stars that no model has seen. A bar is the model that stands for its class and "
    "algorithm: the ensemble where there is one, else the seed that is best on the validation part; its line is the "
    "95\N{NARROW NO-BREAK SPACE}% bootstrap interval over stars, dots are the single seeds. Precision, recall and F1 hold at "
    "the model's threshold."
)

HOW_TO_READ_RELIABILITY = (
    "Share of members against mean score, in ten bins of the score: on the diagonal a score is a probability. The area of "
    "a point goes with the light curves in its bin."
)

HOW_TO_READ_IMPORTANCE = (
    "Gain is the share of what the splits of the trees gained; permutation is the average precision of the validation "
    "part that is lost when a feature is shuffled."
)


def comparison_page(comparison: Comparison, *, title: str = "Classes and algorithms compared") -> str:
    """Return the page as HTML text; the same comparison gives the same text.

    Parameters
    ----------
    comparison
        What `comparison.compare_models` returns.
    title
        Heading of the page, as text.
    """
    parts = [_heading(comparison, title), "<main>"]
    if comparison.contenders:
        parts += [_bars(comparison), _versus(comparison), _table(comparison), _reliability(comparison)]
        parts.append(_importance(comparison))
    else:
        parts.append('<p class="empty">No class was trained; see below why.</p>')
    parts += [_skipped(comparison), "</main><footer>", _provenance(comparison), "</footer>"]
    return document(title, "".join(parts), "small", "comparison")


def _heading(comparison: Comparison, title: str) -> str:
    models = [model for one in comparison.contenders for model in one.models]
    n_ensembles = sum(model.record.seed is None for model in models)
    facts = [
        ("classes", count(len(comparison.tags)), ""),
        ("models", count(len(models)), f"{n_ensembles} of them ensembles" if n_ensembles else ""),
    ]
    for name in comparison.algorithms:
        values = [one.estimate("average_precision").value for one in comparison.contenders if one.algorithm == name]
        known = [value for value in values if np.isfinite(value)]
        mean = float(np.mean(known)) if known else float("nan")
        facts.append((f"mean PR-AUC of {name}", share(mean, 3), f"{len(known)} classes"))
    if comparison.skipped:
        facts.append(("not there", count(len(comparison.skipped)), ""))
    cells = "".join(
        f"<div><dd>{escape(value)} <small>{escape(extra)}</small></dd><dt>{escape(name)}</dt></div>"
        for name, value, extra in facts
    )
    return (
        f'<header class="top"><p class="eyebrow">scope_ml comparison</p><h1>{escape(title)}</h1>'
        f'<dl class="facts">{cells}</dl></header>'
    )


def _bars(comparison: Comparison) -> str:
    keys = "".join(f'<span class="algorithm {escape(name)}">{escape(name)}</span>' for name in comparison.algorithms)
    charts = "".join(
        f"<div><h4>{escape(COMPARED[metric])}</h4>{class_bars(comparison, metric)}</div>" for metric in DRAWN
    )
    # Two charts stand side by side where there are few classes.
    rows = f'<div class="rows" style="--wide:{number(bars_width(comparison))}px">{charts}</div>'
    return f'<h2>Class by class</h2><p class="note">{HOW_TO_READ}</p><p class="legend">{keys}</p>{rows}'


def _versus(comparison: Comparison) -> str:
    charts = [
        f"<div><h4>PR-AUC, {escape(up)} against {escape(across)}</h4>{chart}</div>"
        for across, up in pairwise(comparison.algorithms)
        if (chart := versus_chart(comparison, "average_precision", across, up))
    ]
    return f'<h2>Algorithm against algorithm</h2><div class="pairs">{"".join(charts)}</div>' if charts else ""


def _table(comparison: Comparison) -> str:
    head = (
        '<tr><th class="text" data-sort="tag">class</th><th class="text"></th><th data-sort="positives">test<br>positives</th>'
        '<th class="wide" data-sort="ap">PR-AUC, 0 to 1</th><th></th><th data-sort="roc">ROC-AUC</th>'
        '<th data-sort="precision">precision</th><th data-sort="recall">recall</th><th data-sort="f1">F1</th>'
        '<th data-sort="ece">calibration<br>error</th><th>at<br>threshold</th><th>tn / fp<br>fn / tp</th></tr>'
    )
    bodies = "".join(_body(comparison.of_class(tag)) for tag in comparison.tags)
    return (
        '<h2>All numbers</h2><div class="tools"></div><div class="scroll"><table class="summary">'
        f"<thead>{head}</thead>{bodies}</table></div>"
    )


def _body(contenders: tuple[Contender, ...]) -> str:
    spec = contenders[0].chosen.record.spec
    keys = {"tag": spec.tag, "label": spec.label, "positives": str(max(one.n_positive for one in contenders))}
    names = {
        "ap": "average_precision",
        "roc": "roc_auc",
        "precision": "precision",
        "recall": "recall",
        "f1": "f1",
        "ece": "calibration_error",
    }
    for key, metric in names.items():
        values = [value for one in contenders if np.isfinite(value := one.estimate(metric).value)]
        keys |= {key: f"{(min if key == 'ece' else max)(values):.6f}"} if values else {}
    data = " ".join(f'data-{name}="{escape(value)}"' for name, value in keys.items())
    first = (
        f'<td class="text class" rowspan="{len(contenders)}"><a href="#class-{escape(spec.tag)}">'
        f"<strong>{escape(spec.label)}</strong><span>{escape(spec.tag)}</span></a></td>"
    )
    rows = "".join(f"<tr>{'' if k else first}{_cells(one)}</tr>" for k, one in enumerate(contenders))
    return f"<tbody {data}>{rows}</tbody>"


def _cells(one: Contender) -> str:
    few = ' class="few" title="few positives: wide intervals"' if one.n_positive < FEW_POSITIVES else ""
    name = escape(one.algorithm)
    ap = one.estimate("average_precision")
    matrix = one.metrics.confusion if one.metrics is not None else {}
    tn, fp, fn, tp = (count(matrix.get(cell)) for cell in CELLS)
    numbers = "".join(
        f"<td>{share(value.value, 3)}<small>{interval(value)}</small></td>"
        for metric in COMPARED
        if metric != "average_precision"
        for value in [one.estimate(metric)]
    )
    return (
        f'<td class="text"><span class="algorithm {name}">{name}</span><small>{escape(_who(one))}</small></td>'
        f'<td{few}>{count(one.n_positive)}</td><td class="strip">{seed_strip(one, "average_precision")}'
        f"<small>{_seeds(one)}</small></td>"
        f'<td><span class="value-number">{share(ap.value, 3)}</span><small>{interval(ap)}</small></td>{numbers}'
        f'<td>{share(one.chosen.record.threshold)}</td><td class="matrix">{tn} / {fp}<br>{fn} / {tp}</td>'
    )


def _who(one: Contender) -> str:
    record = one.chosen.record
    return f"ensemble of {len(record.members)}" if record.seed is None else f"seed {record.seed}"


def _seeds(one: Contender) -> str:
    """Return the range of the PR-AUC over the seeds; "" where there is one only."""
    values = one.spread("average_precision")
    return f"{len(values)} seeds {min(values):.2f}{DASH}{max(values):.2f}" if len(values) > 1 else ""


def _reliability(comparison: Comparison) -> str:
    figures = "".join(
        f"<figure><p><code>{escape(tag)}</code></p>{chart}</figure>"
        for tag in comparison.tags
        if (chart := reliability_chart(comparison.of_class(tag)))
    )
    if not figures:
        return ""
    return f'<h2>Are scores probabilities?</h2><p class="note">{HOW_TO_READ_RELIABILITY}</p><div class="small squares">{figures}</div>'


def _importance(comparison: Comparison) -> str:
    cards = "".join(_importance_card(comparison.of_class(tag)) for tag in comparison.tags)
    return f'<h2>What the models look at</h2><p class="note">{HOW_TO_READ_IMPORTANCE}</p>{cards}'


def _importance_card(contenders: tuple[Contender, ...]) -> str:
    spec = contenders[0].chosen.record.spec
    lists = [
        f"<div><h4>{escape(one.algorithm)}, {escape(method)}</h4>{bars}</div>"
        for one in contenders
        for method, values in one.importance.items()
        if (bars := feature_bars(values, one.algorithm, N_FEATURES, as_share=method == "gain"))
    ]
    shown = f'<div class="importance">{"".join(lists)}</div>' if lists else '<p class="empty">Not measured.</p>'
    return (
        f'<article class="short" id="class-{escape(spec.tag)}" data-tag="{escape(spec.tag)}" data-label="{escape(spec.label)}">'
        f"<header><h3>{escape(spec.label)}</h3><code>{escape(spec.tag)}</code></header>{shown}</article>"
    )


def _skipped(comparison: Comparison) -> str:
    rows = "".join(
        f"<tr><td><strong>{escape(item.label)}</strong> <code>{escape(item.tag)}</code></td>"
        f"<td>{escape(item.algorithm)}</td><td>{escape(item.reason)}</td></tr>"
        for item in comparison.skipped
    )
    head = "<tr><th>class</th><th>algorithm</th><th>why</th></tr>"
    table = f'<div class="scroll"><table class="plain"><thead>{head}</thead><tbody>{rows}</tbody></table></div>'
    return f"<h2>Not there</h2>{table}" if rows else ""


def _provenance(comparison: Comparison) -> str:
    records = [model.record for one in comparison.contenders for model in one.models]
    lines = []
    for what in ("data", "split"):
        digests = sorted({getattr(record.provenance, f"{what}_digest")[:16] for record in records} - {""})
        warning = f" ({len(digests)} different ones: their numbers do not compare strictly)" if len(digests) > 1 else ""
        lines += [(what + warning, SEPARATOR.join(digests))] if digests else []
    commits = sorted({record.provenance.git_commit for record in records})
    lines += [("commit", SEPARATOR.join(commits))] if commits else []
    rows = "".join(f"<tr><td>{escape(what)}</td><td><code>{escape(value)}</code></td></tr>" for what, value in lines)
    return f'<h2>Where this comes from</h2><table class="plain"><tbody>{rows}</tbody></table>' if rows else DASH
