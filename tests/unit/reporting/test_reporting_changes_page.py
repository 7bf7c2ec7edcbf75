from __future__ import annotations

import re

import numpy as np

from scope_ml.reporting.changes_page import ChangesPage, model_changes, render_changes_page
from scope_ml.reporting.release_view import CatalogueModel
from scope_ml.selection.catalogue_changes import GONE, KINDS, NEW, SAME
from scope_ml.selection.catalogue_tallies import N_BINS, ChangeLimits, ChangeTally, LargestChange

THIN = "\N{NARROW NO-BREAK SPACE}"
MINUS = "\N{MINUS SIGN}"


def model(algorithm="xgb", **values):
    return CatalogueModel(tag="vnv", algorithm=algorithm, **{"digest": "aa", "threshold": 0.5, **values})


def tally():
    one = ChangeTally(tags=("vnv", "rrlyr"), limits=ChangeLimits(score=0.2))
    one.groups.update(dict(zip(KINDS, (1000, 20, 10, 2, 1, 0), strict=True)))
    one.stars_before.update(dict(zip(KINDS, (1000, 0, 10, 2, 3, 0), strict=True)))
    one.stars_now.update(dict(zip(KINDS, (1000, 20, 0, 5, 1, 0), strict=True)))
    one.same.update({"changed": 30, "score_moved": 25, "renamed": 4})
    one.n_shared, one.n_lost, one.n_gained = 3000, 12, 1234
    one.classes_before[SAME], one.classes_now[SAME] = [100, 40], [104, 38]
    one.classes_before[GONE], one.classes_now[NEW] = [3, 0], [8, 0]
    one.gained[:], one.lost[:] = [7, 0], [3, 2]
    one.n_compared[:], one.n_moved[:] = [1000, 1000], [25, 0]
    one.histogram[0, [5, N_BINS // 2]] = [3, 900]
    one.fields_before.update({296: 1000, 297: 15})
    one.fields_now.update({296: 1000, 700: 20})
    one.largest.append(LargestChange(name_before="A<", name="B&", tag="vnv", before=0.9, now=0.25))
    return one


def text_of(**more):
    given = {"title": "DR24", "subtitle": "", "tally": tally(), "labels": {"vnv": "variable"}, **more}
    return render_changes_page(ChangesPage(**given))


def row_of(text, words):
    """The cells of the row in which some words stand, as text."""
    row = next(row for row in re.findall(r"<tr>.*?</tr>", text) if words in row)
    return [re.sub(r"<[^>]+>", "", cell) for cell in re.findall(r"<td.*?</td>", row)]


def test_the_sums_of_the_tally_of_these_tests_add_up() -> None:
    assert tally().adds_up
    wrong = tally()
    wrong.gained[1] += 1
    assert not wrong.adds_up
    wrong = tally()
    wrong.stars_now["same"] -= 1
    assert not wrong.adds_up


def test_what_came_and_went() -> None:
    text = text_of()
    assert f"+11 of 1{THIN}015" in text and f"1{THIN}234" in text
    vnv = row_of(text, ">variable<")
    assert vnv[1:9] == ["103", "112+9", "+7", f"{MINUS}3", "+8", f"{MINUS}3", "±0", f"252.5{THIN}%"]
    assert row_of(text, ">rrlyr<")[1:5] == ["40", f"38{MINUS}2", "0", f"{MINUS}2"]
    assert "2 \N{RIGHTWARDS ARROW} 5 stars" in text and "3 \N{RIGHTWARDS ARROW} 1 stars" in text
    assert row_of(text, "a score moved") == ["a score moved, came or went", "25", f"2.5{THIN}%"]
    assert "at least 0.2;" in text


def test_differences_are_drawn_where_they_are() -> None:
    (path,) = re.findall(r'<svg class="moves".*?class="bar" d="([^"]+)"', text_of())
    heights = {float(x): abs(float(tall)) for x, tall in re.findall(r"M([\d.]+) 26v(-[\d.]+)h", path)}
    assert len(heights) == 2
    assert heights[round(160 / N_BINS * (N_BINS // 2), 1)] == 26
    assert np.isclose(heights[round(160 / N_BINS * 5, 1)], 26 * np.log10(4) / np.log10(901), atol=0.1)


def test_fields_that_came_and_went() -> None:
    text = text_of()
    assert "1 fields are new, 1 gone, 0 have another number of stars; 1 are as they were." in text
    assert row_of(text, ">700<") == ["700", "0", "20", "new"] and row_of(text, ">297<")[-1] == "gone"
    assert "<td>296</td>" not in text


def test_names_are_text() -> None:
    text = text_of()
    assert row_of(text, "B&amp;") == ["B&amp;was A&lt;", "variable vnv", "0.900", "0.250", f"{MINUS}0.650"]


def test_models_that_changed() -> None:
    before = [model(), model("dnn", version="1"), model("old")]
    now = [model(), model("dnn", version="2", digest="bb"), model("new", threshold=float("nan"))]
    changes = model_changes(before, now)
    assert [(one.algorithm, one.before is None, one.now is None) for one in changes] == [
        ("dnn", False, False),
        ("new", True, False),
        ("old", False, True),
    ]
    assert model_changes(now, now) == ()
    # Another threshold is another model, for it decides who is a member; a version without a digest counts as well.
    assert model_changes([model()], [model(threshold=0.6)])
    assert model_changes([model(digest="", version="1")], [model(digest="", version="2")])
    text = text_of(models=changes, n_models=3)
    assert "3 of 3 models" in text and row_of(text, ">old<")[3] == "\N{EN DASH}"
    assert "All models are the same." in text_of(n_models=3)


def test_what_was_proven_and_where_it_comes_from() -> None:
    text = text_of(proven={"partitions kept": 40}, provenance={"code": "1 -> 2"})
    assert row_of(text, "partitions kept") == ["partitions kept", "40"] and "1 -&gt; 2" in text
    assert "What was kept" not in text_of()


def test_nothing_at_all() -> None:
    text = text_of(tally=ChangeTally(tags=(), limits=ChangeLimits()))
    assert "Stars that are the same" not in text and "Classes" not in text and "Fields" not in text
    assert not re.findall(r'(?:src|href)="(?!#)', text)
