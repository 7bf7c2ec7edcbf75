"""The page about stars that were asked for."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from scope_ml.reporting.star_page import ClassScore, ModelLine, StarCurve, StarPage, StarView, render_star_page
from scope_ml.reporting.view import ExampleView


def example(band="g", period=0.5, n=60):
    time = np.sort(np.random.default_rng(1).uniform(2458000, 2458400, n))
    mag = 16 + 0.4 * np.sin(2 * np.pi * time / 0.5)
    return ExampleView(id="12345", band=band, time=time, mag=mag, mag_err=np.full(n, 0.02), period=period)


CURVE = StarCurve(
    example=example(),
    n_obs=60,
    n_obs_raw=70,
    note="period refined as rrab",
    periods=(("best", 0.5, 12.3), ("ls", float("nan"), float("nan"))),
    flags=("its colour g - r is unknown",),
)
CLASSES = (
    ClassScore(
        tag="rrab",
        label="RR Lyrae <ab>",
        best=0.9,
        reached=True,
        means=((0.9, True),),
        scores=((0.95, True, False), (0.85, False, True)),
    ),
    ClassScore(
        tag="agn", label="AGN", best=0.1, reached=False, means=((0.1, False),), scores=(None, (0.1, False, False))
    ),
)
STAR = StarView(
    name="ZTFJ1 & <co>", place="298.00250 +29.87147 deg", curves=(CURVE,), classes=CLASSES, algorithms=("xgb", "dnn")
)
PAGE = StarPage(
    title="a <title>",
    subtitle="what was asked for",
    facts=(("stars asked for", 3),),
    notes=("There is no catalogue.",),
    stars=(STAR, StarView(name="lost star", lost="there is no light curve")),
    n_more=1,
    models=(
        ModelLine(
            name="rrab_xgb", version="", threshold=0.7, n_features=90, n_unknown=24, known_share=0.61, in_doubt=True
        ),
    ),
    provenance=(("scope_ml", "1"),),
)


class Balanced(HTMLParser):
    """Counts the tags that are open."""

    VOID = frozenset({"meta", "br", "path", "use", "circle", "input"})

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_no_network():
    html = render_star_page(PAGE)
    parser = Balanced()
    parser.feed(html)
    assert parser.open == []
    assert not re.search(r"(src|href)=[\"'](?!#)|url\(|@import", html)
    assert render_star_page(PAGE) == html


def test_each_light_curve_is_folded_at_the_period_and_twice_it_and_shown_against_time():
    html = render_star_page(PAGE)
    titles = re.findall(r"<title>Light curve 12345 g ([^,]*), 60 epochs", html)
    assert titles == ["folded at 0.5 d", "folded at 1 d", "against time"]
    assert html.count(">phase</text>") == 2
    assert html.count(">mag</text>") == 3
    assert "HJD \N{MINUS SIGN} 2458000 [d]" in html
    # Two cycles: ticks from 0 to 2; the second is the first once more.
    assert html.count('text-anchor="middle">2</text>') == 2
    assert html.count("<use ") == 2
    assert "Periods found:" in html
    assert "significance 12.3" in html


@pytest.mark.parametrize("period", [float("nan"), 0.0, -1.0])
def test_without_a_period_only_time_is_shown(period):
    curve = replace(CURVE, example=example(period=period), periods=())
    html = render_star_page(replace(PAGE, stars=(replace(STAR, curves=(curve,)),)))
    assert "folded at" not in re.sub(r'<p class="note">.*?</p>', "", html)
    assert html.count("against time, 60 epochs") == 1


def test_bright_is_up():
    html = render_star_page(PAGE)
    panel = re.search(r'<svg class="lc.*?</svg>', html).group()
    ticks = re.findall(r'<text x="38" y="([\d.]+)" text-anchor="end">([\d.]+)</text>', panel)
    heights, mags = zip(*((float(y), float(mag)) for y, mag in ticks), strict=True)
    assert len(ticks) > 2
    assert np.all(np.diff(heights)[np.argsort(mags[:-1])] * np.diff(mags)[np.argsort(mags[:-1])] > 0)


def test_scores_say_what_reaches_its_threshold_and_what_is_in_doubt():
    html = render_star_page(PAGE)
    rows = re.findall(r"<tr( class=\"reached\")?><td class=\"text\"><strong>(.*?)</strong>(.*?)</tr>", html)
    (reached, label, cells), (other, _, rest) = rows
    assert reached
    assert not other
    assert label == "RR Lyrae &lt;ab&gt;"
    assert "<b>0.95</b></td>" in cells
    assert '0.85<sup title="in doubt' in cells
    assert "\N{EN DASH}</td>" in rest
    assert re.search(r"rrab_xgb.*<td>24</td><td>0.61</td><td class=\"text doubt\">in doubt", html)


def test_what_has_no_score_says_why_and_names_are_text():
    html = render_star_page(PAGE)
    assert "<h3>ZTFJ1 &amp; &lt;co&gt;</h3>" in html
    assert '<p class="lost">there is no light curve</p>' in html
    assert "1 more stars are in the tables" in html
    few = replace(CURVE, lost="not scored: 9 clean points", example=example(n=0))
    html = render_star_page(replace(PAGE, stars=(replace(STAR, curves=(few,), classes=()),)))
    assert "not scored: 9 clean points" in html
    assert "no epochs left to draw" in html
