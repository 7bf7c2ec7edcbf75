"""The page about drift: how features and scores were distributed in training, and how they are now.

One picture a feature, the most changed first: a line for training, bars for now, over the deciles of training. May
import `models.drift` and the rooms of this package.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from scope_ml.models.drift import NOTABLE, STRONG, DriftRecord, FeatureDrift, Level, ScoreDrift
from scope_ml.reporting.svg import Scale, number
from scope_ml.reporting.theme import document

__all__ = ["drift_page"]

WIDTH, TOP, BOTTOM = 240.0, 8.0, 96.0

#: Room for the bar of missing values, and its width.
MISSING_WIDTH, BAR_WIDTH = 34.0, 20.0

DASH, ARROW, DOT = "\N{EN DASH}", "\N{RIGHTWARDS ARROW}", " \N{MIDDLE DOT} "

HOW_TO_READ = (
    "Bins are the deciles of the training set, so that its line is flat where values do not repeat; bars are the rows "
    "scored now, those at both ends outside the training range, the one apart without a value. The number is the "
    f"population stability index beyond what chance gives: from {NOTABLE:g} a change is worth a look, from {STRONG:g} "
    "scores are in doubt."
)

HOW_TO_READ_SCORES = (
    "Rows by score, in twenty bins; heights go with the square root of the share, so that the few with a high score are "
    "seen. A change here may be another mix of stars as well as a drift of features."
)


def drift_page(record: DriftRecord, *, title: str) -> str:
    """Return the page as HTML text; the same record gives the same text.

    Parameters
    ----------
    record
        What was counted.
    title
        What was scored, as text.
    """
    features = "".join(_feature_figure(one) for one in record.features)
    scores = "".join(_score_figure(one) for one in record.scores)
    parts = [_heading(record, title), "<main>"]
    if record.unknown:
        names = ", ".join(record.unknown)
        parts.append(
            f'<p class="note">{len(record.unknown)} models say nothing of their training set, since their bundles are of an'
            f" older version: {escape(names)}. Train them again to see their drift.</p>"
        )
    if features:
        parts.append(f'<h2>Features</h2><p class="note">{HOW_TO_READ}</p><div class="small">{features}</div>')
    if scores:
        parts.append(f'<h2>Scores</h2><p class="note">{HOW_TO_READ_SCORES}</p><div class="small">{scores}</div>')
    return document(title, "".join([*parts, "</main><footer></footer>"]), "small")


def _heading(record: DriftRecord, title: str) -> str:
    facts = [
        ("rows scored", f"{record.n_rows:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")),
        ("features compared", str(len(record.features))),
        ("strong drift", str(len(record.drifted("strong")))),
        ("notable drift", str(len(record.drifted("notable")))),
        ("models compared", str(len(record.scores))),
    ]
    cells = "".join(f"<div><dd>{value}</dd><dt>{name}</dt></div>" for name, value in facts)
    return (
        f'<header class="top"><p class="eyebrow">scope_ml drift</p><h1>{escape(title)}</h1>'
        f'<p class="lead">What was scored, beside what the models learnt from.</p><dl class="facts">{cells}</dl></header>'
    )


def _feature_figure(one: FeatureDrift) -> str:
    edges = one.training.edges
    labels = (f"{edges[0]:.3g}", f"{edges[-1]:.3g}") if edges else ("", "")
    # Shares of all rows, so that a bar of the missing ones fits beside those of the values.
    before = [share * (1.0 - one.training.missing_share) for share in (0.0, *one.training.shares, 0.0)]
    now = [share * (1.0 - one.missing_share) for share in one.shares]
    missing = (one.training.missing_share, one.missing_share)
    picture = _picture(before, now, one.level, labels, missing if max(missing) > 0 else None)
    facts = [f"missing {_percent(one.training.missing_share)} {ARROW} {_percent(one.missing_share)}"]
    outside = one.shares[0] + one.shares[-1]
    if outside > 0:
        facts.append(f"{_percent(outside)} outside")
    return _figure(one.name, one.excess, one.level, picture, facts)


def _score_figure(one: ScoreDrift) -> str:
    before, now = (np.asarray(counts) / max(sum(counts), 1) for counts in (one.training, one.counts))
    picture = _picture(np.sqrt(before).tolist(), np.sqrt(now).tolist(), one.level, ("0", "1"))
    facts = [f"mean {_mean(one.training):.3f} {ARROW} {_mean(one.counts):.3f}"]
    return _figure(one.model, one.index[0] - one.index[1], one.level, picture, facts)


def _figure(name: str, excess: float, level: Level, picture: str, facts: Sequence[str]) -> str:
    badge = f'<b class="badge {level}">{max(excess, 0.0):.2f}</b>'
    return (
        f'<figure class="drift {level}"><p><code>{escape(name)}</code>{badge}</p>{picture}'
        f"<figcaption>{escape(DOT.join(facts))}</figcaption></figure>"
    )


def _picture(
    before: Sequence[float],
    now: Sequence[float],
    level: Level,
    labels: tuple[str, str],
    missing: tuple[float, float] | None = None,
) -> str:
    """Return bars of `now` behind a line of `before`, both (n_bins,) heights of 0 or more; `missing` is a bar apart."""
    stop = WIDTH if missing is None else WIDTH - MISSING_WIDTH
    across = Scale(0.0, float(len(now)), 0.0, stop)
    up = Scale(0.0, max((*before, *now, *(missing or ()), 1e-9)), BOTTOM, TOP)
    ends = [(float(across(k)), float(across(k + 1))) for k in range(len(now))]
    lines = [
        f"{'M' if k == 0 else 'L'}{number(left)} {up.at(before[k])}H{number(right)}"
        for k, (left, right) in enumerate(ends)
    ]
    heights = list(now)
    if missing is not None:
        ends.append((WIDTH - BAR_WIDTH, WIDTH))
        heights.append(missing[1])
        lines.append(f"M{number(WIDTH - BAR_WIDTH)} {up.at(missing[0])}H{number(WIDTH)}")
    bars = "".join(
        f"M{number(left + 1)} {number(BOTTOM)}V{up.at(height)}H{number(right - 1)}V{number(BOTTOM)}Z"
        for (left, right), height in zip(ends, heights, strict=True)
        if height > 0
    )
    texts = (
        f'<text class="unit" x="0" y="{number(BOTTOM + 13)}">{escape(labels[0])}</text>'
        f'<text class="unit" x="{number(stop)}" y="{number(BOTTOM + 13)}" text-anchor="end">{escape(labels[1])}</text>'
    )
    if missing is not None:
        texts += f'<text class="unit" x="{number(WIDTH)}" y="{number(BOTTOM + 13)}" text-anchor="end">none</text>'
    return (
        f'<svg viewBox="0 0 {number(WIDTH)} 112" aria-hidden="true"><path class="now {level}" d="{bars}"/>'
        f'<path class="before" d="{"".join(lines)}"/><path class="axis" d="M0 {number(BOTTOM)}H{number(WIDTH)}"/>{texts}</svg>'
    )


def _mean(counts: Sequence[int]) -> float:
    """Return the mean score of a histogram, taken at the middle of its bins; 0 of no rows."""
    middle = (np.arange(len(counts)) + 0.5) / len(counts)
    return float((middle * np.asarray(counts)).sum() / max(sum(counts), 1))


def _percent(share: float) -> str:
    if 0 < share < 0.0005:
        return "<0.1\N{NARROW NO-BREAK SPACE}%"
    return f"{100 * share:.{0 if share >= 0.0995 or share == 0 else 1}f}\N{NARROW NO-BREAK SPACE}%"
