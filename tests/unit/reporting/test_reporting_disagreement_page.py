from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from scope_ml.reporting.disagreement_page import Disagreements, ListedStar, disagreement_page
from scope_ml.selection.disagreement import Limits, compare

RNG = np.random.default_rng(4)
FIRST = np.append(RNG.random(300), [0.99, 0.02])
SECOND = np.append(np.clip(FIRST[:300] + RNG.normal(0, 0.05, 300), 0, 1), [0.01, 0.97])


def page(n_stars: int = 2, **given: object) -> str:
    limits = Limits()
    stars = (
        ListedStar(name="ZTFJ<1>", ra=359.5, dec=-12.25, period=0.5, scores={"vnv": (0.99, 0.01)}),
        ListedStar(name="ZTFJ2", ra=None, dec=None, period=None, scores={"vnv": (0.02, 0.97), "ea": (0.0, 1.0)}),
    )[:n_stars]
    values = {
        "names": ("dnn", "xgb"),
        "high": limits.high,
        "low": limits.low,
        "classes": (compare("ea", FIRST[:300], SECOND[:300], limits), compare("vnv", FIRST, SECOND, limits)),
        "stars": stars,
        "n_stars": 302,
        "n_chosen": n_stars,
        "dropped": {"known": 0, "agree": 300},
        **given,
    }
    return disagreement_page(Disagreements(**values))


class Balanced(HTMLParser):
    """Tags that are open."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        if tag not in ("meta", "br", "input", "path", "text") or tag == "text":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_nothing_else() -> None:
    text = page()
    reader = Balanced()
    reader.feed(text)
    assert reader.open == []
    assert not re.search(r"(src|href)=|url\(|@import", text)
    assert text == page()


def test_classes_with_more_disagreement_come_first_and_are_counted() -> None:
    text = page()
    assert re.findall(r"<h3>(\w+)</h3>", text) == ["vnv", "ea"]
    vnv = text[text.index("<h3>vnv</h3>") : text.index("<h3>ea</h3>")]
    assert '<b class="side">1</b> dnn high, xgb low' in vnv
    assert '<b class="side">1</b> xgb high, dnn low' in vnv
    assert "rank correlation" in vnv


def test_each_cell_with_stars_is_drawn_once() -> None:
    text = page()
    vnv = text[text.index("<h3>vnv</h3>") : text.index("<h3>ea</h3>")]
    squares = sum(path.count("Z") for path in re.findall(r'class="cell"[^>]* d="([^"]*)"', vnv))
    assert squares == np.count_nonzero(compare("vnv", FIRST, SECOND, Limits()).cells)


def test_the_corners_lie_where_the_two_disagree() -> None:
    # 310 pixels along each axis: the first score to the right, the second up.
    corner = re.search(r'class="corner up" d="M([\d.]+) ([\d.]+)H([\d.]+)V([\d.]+)', page())
    assert corner is not None
    assert [float(value) for value in corner.groups()] == pytest.approx([40 + 0.95 * 310, 322, 350, 322 - 31], abs=0.1)


def test_stars_are_listed_as_text() -> None:
    text = page()
    assert "ZTFJ&lt;1&gt;" in text
    assert "ZTFJ<1>" not in text
    assert "\N{MINUS SIGN}12.25000" in text
    assert text.count("<tr class=") == 3
    assert "No star disagrees" in page(n_stars=0)
    assert "the 2 widest apart of 900" in page(n_chosen=900)


def test_a_class_without_stars_has_no_numbers() -> None:
    empty = compare("vnv", np.array([]), np.array([]), Limits())
    text = page(classes=(empty,), stars=(), n_chosen=0)
    body = text[text.index("<body>") : text.index("<script>")]
    assert "nan" not in body.lower()
    assert "None" not in body
    assert 'class="cell"' not in text
