"""The field guide as HTML: every class once, links that lead somewhere, texts escaped, nothing from outside."""

from __future__ import annotations

import re

import numpy as np
import pytest

from scope_ml.reporting.field_guide import GuideClass, GuideExample, GuidePage, Range, render_field_guide
from scope_ml.reporting.view import ExampleView


def example(period: float = 0.5) -> GuideExample:
    time = np.linspace(2458250.0, 2458350.0, 90)
    view = ExampleView(
        id="1", band="r", time=time, mag=15.0 + 0.3 * np.sin(time), mag_err=np.full(90, 0.01), period=period
    )
    return GuideExample(view=view, caption="P = 0.5 d <b>")


def page() -> GuidePage:
    vnv = GuideClass(tag="vnv", label="variable", kind="phenomenological", on_fritz="variable", children=("bis",))
    bis = GuideClass(
        tag="bis",
        label="binary & star",
        kind="ontological",
        on_fritz="Eclipsing",
        other_names=("Non-accreting <binary>",),
        place=("Ontological", "top"),
        description="Two bodies.",
        look="Minima.",
        confusions=(("vnv", "not <quite>"), ("gone", "never shown")),
        parents=("vnv",),
        period=Range(low=0.123456, median=2.5, high=456.7),
        amplitude=Range(low=0.1, median=0.4, high=0.81),
        n_members=12,
        examples=(example(), example(float("nan"))),
    )
    hidden = GuideClass(tag="own", label="own", kind="ontological", on_fritz=None)
    return GuidePage(classes=(vnv, bis, hidden), depths=(0, 0, 0), subtitle="<sub>", provenance=(("scope_ml", "1"),))


def test_each_class_is_there_once_and_links_lead_somewhere() -> None:
    text = render_field_guide(page())
    anchors = re.findall(r'id="([^"]+)"', text)
    assert len(anchors) == len(set(anchors))
    assert {"vnv", "bis", "own", "phenomenological", "ontological"} <= set(anchors)
    assert set(re.findall(r'href="#([^"]+)"', text)) <= set(anchors)
    assert text.count("<article") == 3


def test_what_is_said_of_a_class() -> None:
    text = render_field_guide(page())
    card = text[text.index('<article id="bis"') : text.index('<article id="own"')]
    assert "on Fritz <b>Eclipsing</b>" in card
    assert "0.123\N{EN DASH}457" in card
    assert "median 2.50" in card
    assert "0.10\N{EN DASH}0.81" in card
    assert "gone" not in card
    assert card.count("<svg") == 2
    assert 'Belongs to <a href="#vnv">variable</a>.' in card
    assert "not on Fritz" in text[text.index('<article id="own"') :]
    assert "No light curves to show" in text


def test_texts_are_escaped() -> None:
    text = render_field_guide(page())
    for words in ("<sub>", "<quite>", "Non-accreting <binary>", "0.5 d <b>", "binary & star"):
        assert words not in text
    assert "not &lt;quite&gt;" in text


def test_nothing_is_fetched_and_the_same_page_is_the_same_text() -> None:
    text = render_field_guide(page())
    assert not re.search(r'(src|href)="(?!#)', text)
    assert text == render_field_guide(page())
    assert "prefers-color-scheme: dark" in text


@pytest.mark.parametrize("kind", ["phenomenological", "ontological"])
def test_a_kind_without_classes_has_no_heading(kind: str) -> None:
    alone = GuidePage(classes=(GuideClass(tag="a", label="a", kind=kind, on_fritz=None),), depths=(0,))
    text = render_field_guide(alone)
    assert text.count("<h2") == 1
    assert f'<h2 id="{kind}"' in text
