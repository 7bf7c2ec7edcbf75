"""The field guide: one page about all classes, for those who vote on sources.

Each class with its names, its place, what to look for, what it is taken for, its numbers and example light curves. What it
shows is given as plain records. May import the rooms of this package.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

from scope_ml.reporting.folded import light_curve_panel
from scope_ml.reporting.theme import document
from scope_ml.reporting.view import ExampleView

__all__ = ["GuideClass", "GuideExample", "GuidePage", "Range", "render_field_guide"]

DASH, DOT, GREATER = "\N{EN DASH}", " \N{MIDDLE DOT} ", " \N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK} "

KINDS = {
    "phenomenological": (
        "The shape of the light curve",
        "What is seen, whatever the star is; a star has several of these.",
    ),
    "ontological": (
        "The kind of star",
        "What the star is; its light curve, colour, distance and surroundings tell it.",
    ),
}

HOW_TO_READ = (
    "Bright is up, and folds are drawn for two cycles. The light curves and the numbers are of the embedded survey, which is "
    "made up: what is typical, not what is possible. A member of a class is a member of all classes that it belongs to."
)


@dataclass(frozen=True, kw_only=True)
class Range:
    """Where nine in ten members lie, and their median."""

    low: float
    median: float
    high: float


@dataclass(frozen=True, kw_only=True)
class GuideExample:
    """One light curve of a class: how it is drawn, and what is said of it."""

    view: ExampleView
    caption: str
    phase_zero: Literal["bright", "faint"] = "bright"


@dataclass(frozen=True, kw_only=True)
class GuideClass:
    """One class.

    Attributes
    ----------
    tag, label, kind
        As in its file.
    on_fritz
        Its name there; None where it is not uploaded.
    other_names
        Further names in label tables.
    place
        Names on the way from the top of its tree on Fritz, without itself.
    description
        One line; "" where there is none.
    look
        What to look for; "" where nothing is written.
    confusions
        ``(tag, how to tell them apart)``.
    parents, implied, children
        Tags right above it, further above and right below it.
    period, amplitude
        Of the members in the survey [d], [mag, 5 to 95 % of the points in r]; None where not known.
    n_members
        Stars of the class in the survey.
    """

    tag: str
    label: str
    kind: str
    on_fritz: str | None
    other_names: tuple[str, ...] = ()
    place: tuple[str, ...] = ()
    description: str = ""
    look: str = ""
    confusions: tuple[tuple[str, str], ...] = ()
    parents: tuple[str, ...] = ()
    implied: tuple[str, ...] = ()
    children: tuple[str, ...] = ()
    period: Range | None = None
    amplitude: Range | None = None
    n_members: int | None = None
    examples: tuple[GuideExample, ...] = ()


@dataclass(frozen=True, kw_only=True)
class GuidePage:
    """The whole page; `classes` in their order, `depths` of them for the contents, in the same order."""

    classes: tuple[GuideClass, ...]
    depths: tuple[int, ...]
    subtitle: str = ""
    title: str = "Field guide to variable stars"
    provenance: tuple[tuple[str, str], ...] = ()


def render_field_guide(page: GuidePage) -> str:
    """Return the page as HTML text; the same `page` gives the same text."""
    labels = {one.tag: one.label for one in page.classes}
    parts = []
    for kind, (title, about) in KINDS.items():
        cards = "".join(_card(one, labels) for one in page.classes if one.kind == kind)
        if cards:
            parts.append(f'<h2 id="{kind}">{title}</h2><p class="note">{about}</p>{cards}')
    body = (
        f'{_heading(page)}<main>{_contents(page)}<p class="note how">{HOW_TO_READ}</p>{"".join(parts)}</main>'
        f"<footer>{_provenance(page)}</footer>"
    )
    return document(page.title, body, "guide")


def _heading(page: GuidePage) -> str:
    n_examples = sum(len(one.examples) for one in page.classes)
    facts = [(len(page.classes), "classes")]
    facts += [(sum(one.kind == kind for one in page.classes), kind) for kind in KINDS]
    facts += [(n_examples, "light curves")] if n_examples else []
    cells = "".join(f"<div><dd>{number}</dd><dt>{escape(what)}</dt></div>" for number, what in facts)
    return (
        f'<header class="top"><p class="eyebrow">scope_ml post_taxonomy guide</p><h1>{escape(page.title)}</h1>'
        f'<p class="lead">{escape(page.subtitle)}</p><dl class="facts">{cells}</dl></header>'
    )


def _contents(page: GuidePage) -> str:
    columns = []
    for kind, (title, _) in KINDS.items():
        rows = "".join(
            f'<li style="--depth:{depth}"><a href="#{escape(one.tag)}">{escape(one.label)}</a> <code>{escape(one.tag)}</code></li>'
            for one, depth in zip(page.classes, page.depths, strict=True)
            if one.kind == kind
        )
        columns.append(f'<section><h4><a href="#{kind}">{title}</a></h4><ul>{rows}</ul></section>' if rows else "")
    return f'<nav class="contents">{"".join(columns)}</nav>'


def _card(one: GuideClass, labels: dict[str, str]) -> str:
    tag = escape(one.tag)
    fritz = f"on Fritz <b>{escape(one.on_fritz)}</b>" if one.on_fritz is not None else "not on Fritz"
    names = f"{DOT}also {escape(', '.join(one.other_names))}" if one.other_names else ""
    place = f'<p class="place">{escape(GREATER.join((*one.place, one.on_fritz or "")))}</p>' if one.place else ""
    left = "".join(
        (
            f'<p class="what">{escape(one.description)}</p>' if one.description else "",
            _look(one),
            _confusions(one, labels),
            _numbers(one),
            _kin(one, labels),
        )
    )
    figures = "".join(_figure(example, f"lc-{tag}-{number}") for number, example in enumerate(one.examples))
    right = f'<div class="examples">{figures}</div>' if figures else '<p class="empty">No light curves to show.</p>'
    return (
        f'<article id="{tag}"><header><h3>{escape(one.label)}</h3><code>{tag}</code><p>{fritz}{names}</p>{place}</header>'
        f'<div class="columns"><div>{left}</div><div>{right}</div></div></article>'
    )


def _look(one: GuideClass) -> str:
    return f"<div><h4>What to look for</h4><p>{escape(one.look)}</p></div>" if one.look else ""


def _confusions(one: GuideClass, labels: dict[str, str]) -> str:
    rows = "".join(
        f"<dt>{_link(tag, labels)}</dt><dd>{escape(how)}</dd>" for tag, how in one.confusions if tag in labels
    )
    return f'<div><h4>What it is taken for</h4><dl class="not">{rows}</dl></div>' if rows else ""


def _numbers(one: GuideClass) -> str:
    lines = []
    if one.period is not None:
        lines.append(("period", _range(one.period, _days), "d"))
    if one.amplitude is not None:
        lines.append(("amplitude in r", _range(one.amplitude, _mags), "mag"))
    if one.n_members is not None:
        lines.append(("stars in the survey", f"<b>{one.n_members}</b>", ""))
    rows = "".join(f"<div><dt>{what}</dt><dd>{value} {unit}</dd></div>" for what, value, unit in lines)
    return f'<dl class="numbers">{rows}</dl>' if rows else ""


def _kin(one: GuideClass, labels: dict[str, str]) -> str:
    lines = []
    if one.parents:
        further = (
            f"; with {'them' if len(one.parents) > 1 else 'it'} {_links(one.implied, labels)}" if one.implied else ""
        )
        lines.append(f"Belongs to {_links(one.parents, labels)}{further}.")
    if one.children:
        lines.append(f"Holds {_links(one.children, labels)}.")
    return f'<p class="kin">{" ".join(lines)}</p>' if lines else ""


def _figure(example: GuideExample, key: str) -> str:
    view = example.view
    tone = view.band if view.band in {"g", "r", "i"} else "other"
    panel = light_curve_panel(view, key, phase_zero=example.phase_zero)
    band = f'<b class="band band-{tone}">{escape(view.band)}</b>'
    return f"<figure>{panel}<figcaption>{band} {escape(example.caption)}</figcaption></figure>"


def _links(tags: Sequence[str], labels: dict[str, str]) -> str:
    return ", ".join(_link(tag, labels) for tag in tags)


def _link(tag: str, labels: dict[str, str]) -> str:
    return f'<a href="#{escape(tag)}">{escape(labels.get(tag, tag))}</a>'


def _range(numbers: Range, written: Callable[[float], str]) -> str:
    return f"<b>{written(numbers.low)}{DASH}{written(numbers.high)}</b> <small>median {written(numbers.median)}</small>"


def _days(value: float) -> str:
    """Return a period with three digits, whole days from a hundred."""
    if value >= 100:
        return f"{value:.0f}"
    digits = max(0, 2 - math.floor(math.log10(value))) if value > 0 else 2
    return f"{value:.{min(digits, 4)}f}"


def _mags(value: float) -> str:
    return f"{value:.2f}"


def _provenance(page: GuidePage) -> str:
    rows = "".join(
        f"<tr><td>{escape(what)}</td><td><code>{escape(value)}</code></td></tr>" for what, value in page.provenance
    )
    return f'<h2>Where this comes from</h2><table class="plain"><tbody>{rows}</tbody></table>' if rows else ""
