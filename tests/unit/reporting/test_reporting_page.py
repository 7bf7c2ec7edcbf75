from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from scope_ml.errors import OutputError
from scope_ml.reporting.pages import render_page, write_page
from scope_ml.reporting.view import AlgorithmView, ClassView, Estimate, ExampleView, PageView, SkippedView

VOID = {"meta", "br", "input", "link", "img", "hr"}


class Balance(HTMLParser):
    """Follow the elements of a page: every one that is opened must be closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if name in ("src", "href"):
                self.addresses.append(value)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def parsed(page: PageView) -> Balance:
    parser = Balance()
    parser.feed(render_page(page))
    assert parser.open == []
    return parser


def nowhere(**further: object) -> AlgorithmView:
    nothing = Estimate(value=float("nan"))
    numbers = dict.fromkeys(("average_precision", "precision", "recall", "f1"), nothing)
    return AlgorithmView(name="xgb", threshold=0.7, n_test=0, n_positive=0, **numbers, **further)


def test_page_is_well_formed_and_needs_no_network(page):
    parser = parsed(page)
    assert len(parser.ids) == len(set(parser.ids))
    assert all(address.startswith("#") and address[1:] in parser.ids for address in parser.addresses)
    text = render_page(page)
    assert not re.search(r"https?://|@import|url\(", text)


def test_page_is_small_and_always_the_same(page):
    text = render_page(page)
    # 52 classes of this kind must stay under 5 MB.
    assert len(text) / len(page.classes) < 5e6 / 52
    assert render_page(page) == text


def test_both_schemes_and_no_script_are_served(page):
    text = render_page(page)
    assert "prefers-color-scheme: dark" in text
    without_script = re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)
    assert without_script.count("<tbody data-tag=") == len(page.classes)
    assert without_script.count("<article ") == len(page.classes)


def test_numbers_of_the_page_are_those_of_the_view(page):
    view = page.classes[0]
    estimate = Estimate(value=0.8765, low=0.8123, high=0.9345)
    item = replace(view.algorithms[0], average_precision=estimate, n_positive=1234, threshold=0.55)
    text = render_page(replace(page, classes=(replace(view, algorithms=(item,)),)))
    body = text.split("<tbody data-tag")[1].split("</tbody>")[0]
    for shown in ("0.876", "0.81\N{EN DASH}0.93", "1\N{NARROW NO-BREAK SPACE}234", "0.55"):
        assert shown in body


def test_every_text_is_escaped(page):
    evil = "<script>alert(1)</script>&\"'"
    example = replace(page.classes[0].examples[0], id=evil, band=evil, native_class=evil, truth="no")
    view = replace(page.classes[0], label=evil, kind=evil, examples=(example,))
    bad = replace(
        page,
        title=evil,
        subtitle=evil,
        dropped={evil: 3},
        classes=(view,),
        skipped=(SkippedView(tag=evil, label=evil, algorithm=evil, reason=evil),),
        conflicts=((evil, evil, 1),),
        provenance=((evil, evil),),
    )
    assert "<script>alert" not in render_page(bad)
    parsed(bad)


@pytest.mark.parametrize("truth", ["yes", "no", "undecided", "unlabelled"])
def test_truth_is_marked_only_where_it_is_known(page, truth):
    example = replace(page.classes[0].examples[0], truth=truth, part="test")
    text = render_page(replace(page, classes=(replace(page.classes[0], examples=(example,)),)))
    assert (f'class="truth {truth}"' in text) is (truth != "unlabelled")


def test_what_is_not_known_is_a_dash_and_no_crash():
    empty = np.empty(0)
    lost = ExampleView(id="7", band="", time=empty, mag=empty, mag_err=empty)
    view = ClassView(tag="agn", label="AGN", algorithms=(nowhere(),), examples=(lost,))
    page = PageView(title="t", classes=(view, ClassView(tag="cv", label="CV")))
    parsed(page)
    text = render_page(page)
    assert "nan" not in re.sub(r"<(style|script)>.*?</\1>", "", text, flags=re.DOTALL).lower()
    assert "no epochs left to draw" in text
    assert "No class was trained" in render_page(PageView(title="t"))


def test_counts_that_are_not_known_are_left_out(page):
    assert "light curves in" in render_page(page)
    assert "light curves in" not in render_page(replace(page, n_in=None))


def test_written_page_has_the_size_that_was_told(page, tmp_path):
    path = tmp_path / "sub" / "report.html"
    assert write_page(page, path) == path.stat().st_size
    assert [item.name for item in path.parent.iterdir()] == ["report.html"]
    with pytest.raises(OutputError, match="it is a folder"):
        write_page(page, tmp_path)
