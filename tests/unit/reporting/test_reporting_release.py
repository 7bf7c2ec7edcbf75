from __future__ import annotations

import re
from html import unescape

import numpy as np
import pyarrow as pa
import pytest

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.core.protocols import NullProgress
from scope_ml.io.layouts import Chunk
from scope_ml.reporting import release_counts
from scope_ml.reporting.release_counts import count_patch, count_stars
from scope_ml.reporting.release_gallery import best_curves, certain_stars, example_of, wanted_ids
from scope_ml.reporting.release_page import ReleaseExample, ReleasePage, render_release_page
from scope_ml.reporting.release_tables import column_table, how_to_open, model_table
from scope_ml.reporting.release_view import CatalogueFacts, CatalogueModel, FieldCounts
from scope_ml.selection import catalogue_parts
from scope_ml.selection.catalogue_parts import open_star_catalogue
from scope_ml.selection.star_columns import StarColumn

ALGORITHMS = ("xgb", "dnn")
NOTHING = CatalogueFacts()
SCORES = ("vnv_xgb", "vnv_dnn", "vnv", "vnv_xgb_spread", "rrlyr_xgb")


def star(number, ra=10.0, dec=3.0, **more):
    return {"name": f"S{number}", "ra": ra, "dec": dec, "ids": [number, 100 + number], **more}


@pytest.fixture
def counted(tmp_path, write_stars):
    def run(stars, facts=NOTHING, n_surest=2, order=2, **how):
        catalogue = open_star_catalogue(write_stars(tmp_path / "stars", stars, order=order, scores=SCORES, **how))
        columns = catalogue.scores(("vnv", "pnp", "rrlyr"), ALGORITHMS)
        return catalogue, count_stars(catalogue, columns, facts, n_surest, NullProgress())

    return run


# -- counts


def test_counts_of_a_class(counted) -> None:
    stars = [
        star(1, vnv_xgb=0.9, vnv_dnn=0.5, vnv=0.7, confident_classes=["vnv"]),
        star(2, vnv_xgb=0.95, vnv_dnn=0.95, vnv=0.95, confident_classes=["vnv", "rrlyr"], rrlyr_xgb=0.8),
        star(3, 200.0, vnv_xgb=0.1, vnv_dnn=0.1, vnv=0.1, crowded=True, n_conflicts=3),
        star(4, 300.0),
    ]
    _, counts = counted(stars, CatalogueFacts(thresholds={"vnv": 0.7, "vnv_dnn": 0.6, "rrlyr": 0.9}))
    assert list(counts.classes) == ["vnv", "rrlyr"]
    vnv, rrlyr = counts.classes["vnv"], counts.classes["rrlyr"]
    assert (vnv.n_scored, vnv.n_members, vnv.n_light_curves, vnv.n_agreed, vnv.n_sure) == (3, 2, 4, 1, 2)
    assert vnv.by_algorithm == {"xgb": 2, "dnn": 1}
    assert vnv.histogram.sum() == 3 and vnv.histogram[2] == 1 and vnv.histogram[-2] == 1 and vnv.histogram[13] == 1
    # It has no column of its own: the score is that of its one algorithm.
    assert (rrlyr.n_scored, rrlyr.n_members, rrlyr.n_sure) == (1, 0, 1)
    assert (counts.n_stars, counts.n_light_curves, counts.n_sure) == (4, 8, 2)
    assert counts.flagged == {"crowded": 1, "wide": 0, "no_survey_id": 0, "n_conflicts": 1}
    assert counts.sky.n_stars == 4


def test_thresholds_are_looked_for_in_the_models(counted) -> None:
    models = (
        CatalogueModel(tag="vnv", algorithm="xgb", threshold=0.4),
        CatalogueModel(tag="vnv", algorithm="dnn", threshold=0.6),
        CatalogueModel(tag="vnv", algorithm="dnn_shared"),
    )
    _, counts = counted([star(1, vnv=0.5, vnv_xgb=0.45, vnv_dnn=0.55)], CatalogueFacts(models=models))
    vnv = counts.classes["vnv"]
    assert (vnv.threshold, vnv.n_members, vnv.by_algorithm["xgb"], vnv.by_algorithm["dnn"]) == (0.5, 1, 1, 0)
    assert counts.classes["rrlyr"].threshold == 0.7


def test_a_catalogue_that_does_not_say_what_is_sure(counted) -> None:
    _, counts = counted([star(1, vnv=0.9)], without=("confident_classes", "wide", "fields"))
    assert counts.n_sure is None and counts.classes["vnv"].n_sure is None
    assert "wide" not in counts.flagged and not counts.fields


def test_the_surest_stars_are_the_same_however_parts_are_cut_and_read(tmp_path, write_stars, monkeypatch) -> None:
    rng = np.random.default_rng(4)
    stars = [
        star(
            k,
            float(rng.uniform(0, 360)),
            float(rng.uniform(-80, 80)),
            vnv=float(rng.choice([0.8, 0.9, 0.95, 0.99], p=[0.5, 0.4, 0.08, 0.02])),
        )
        for k in range(240)
    ]
    found = []
    for at, (order, rows) in enumerate([(0, 1 << 16), (0, 7), (1, 1 << 16), (2, 2)]):
        monkeypatch.setattr(catalogue_parts, "BATCH_ROWS", rows)
        catalogue = open_star_catalogue(write_stars(tmp_path / str(at), stars, order=order, scores=SCORES))
        counts = count_stars(catalogue, catalogue.scores(("vnv",), ALGORITHMS), CatalogueFacts(), 5, NullProgress())
        surest = certain_stars(catalogue, counts.classes)["vnv"]
        assert [one.score for one in surest] == sorted((one.score for one in surest), reverse=True)
        found.append([one.row["name"] for one in surest])
    assert found[0] == found[1] == found[2] == found[3] and len(set(found[0])) == 5


def test_the_surest_stars_of_one_place(counted) -> None:
    stars = [star(k, 10.0 + k / 1000, vnv=0.7 + 0.01 * (7 * k % 29)) for k in range(29)]
    catalogue, counts = counted(stars, n_surest=4, order=0)
    scores = [one.score for one in certain_stars(catalogue, counts.classes)["vnv"]]
    assert scores == pytest.approx([0.98, 0.97, 0.96, 0.95])


def test_stars_of_fields_on_both_sides_of_the_seam(counted) -> None:
    stars = [star(1, 359.0, fields=[296]), star(2, 1.0, fields=[296, 297]), star(3, 100.0, 40.0, fields=[297])]
    _, counts = counted(stars)
    assert counts.fields == {296: 2, 297: 2}
    ra, dec = counts.field_places()[296]
    assert min(ra, 360 - ra) < 1e-6 and dec == pytest.approx(3.0, abs=0.01)


def test_a_closer_look_at_what_is_small_enough(counted, tmp_path, write_stars) -> None:
    catalogue, counts = counted([star(1, 359.5), star(2, 0.5), star(3, 0.0, 3.4)])
    patch = count_patch(catalogue, counts.sky)
    assert patch is not None and patch.counts.sum() == 3 and 0.4 < patch.radius < 0.7
    far = open_star_catalogue(write_stars(tmp_path / "far", [star(1, 0.0), star(2, 90.0)], scores=SCORES))
    assert count_patch(far, count_stars(far, (), CatalogueFacts(), 0, NullProgress()).sky) is None
    none = open_star_catalogue(write_stars(tmp_path / "none", [], scores=SCORES))
    assert count_patch(none, release_counts.SkyGrid()) is None


# -- light curves


class Curves:
    """A source of light curves in memory: (id, band, number of points)."""

    def __init__(self, rows):
        self.rows = rows

    def chunks(self):
        for name, band, n in self.rows:
            time = 2_458_000.5 + np.arange(n, dtype=float)
            batch = LightCurveBatch(
                id=pa.array([name]),
                offsets=np.array([0, n]),
                time=time,
                mag=15 + np.sin(time),
                mag_err=np.full(n, 0.01),
            )
            yield Chunk(batch=batch, rows=pa.table({"id": [name], "band": [band]}))


def test_a_star_is_drawn_by_its_longest_light_curve(counted) -> None:
    catalogue, counts = counted([star(1, vnv=0.9, vnv_xgb=0.8, period=0.5), star(2, vnv=0.8)])
    stars = certain_stars(catalogue, counts.classes)
    assert [one.row["name"] for one in stars["vnv"]] == ["S1", "S2"] and not stars["rrlyr"]
    ids = wanted_ids(stars["vnv"])
    assert ids.to_pylist() == [1, 2, 101, 102]
    curves = best_curves(
        Curves([(1, "g", 30), (101, "r", 50), (101, "i", 20), (7, "g", 90), (2, "g", 0)]), ids, NullProgress()
    )
    assert sorted(curves) == ["1", "101"]
    view = example_of(stars["vnv"][0], curves, is_periodic=True)
    assert (view.id, view.band, len(view.time), view.period, view.scores) == (
        "101",
        "r",
        50,
        0.5,
        {"xgb": pytest.approx(0.8)},
    )
    assert np.isnan(example_of(stars["vnv"][0], curves, is_periodic=False).period)
    assert example_of(stars["vnv"][1], curves, is_periodic=True) is None


def test_no_surest_stars_are_kept_where_none_are_shown(counted) -> None:
    catalogue, counts = counted([star(1, vnv=0.9)], n_surest=0)
    assert certain_stars(catalogue, counts.classes) == {"vnv": (), "rrlyr": ()}
    assert wanted_ids([]) is None


# -- the page


def page_of(counts, **more):
    return ReleasePage(
        title="Stars & <more>",
        subtitle="Of a survey",
        facts=more.pop("facts", CatalogueFacts()),
        counts=counts,
        labels={"vnv": "variable", "rrlyr": "RR Lyrae"},
        **more,
    )


def test_the_page_says_what_was_counted(counted) -> None:
    facts = CatalogueFacts(
        dropped={"no_position": 17, "nothing": 0},
        models=(CatalogueModel(tag="vnv", algorithm="xgb", name="scope-vnv-xgb", version="3", digest="ab" * 32),),
        fields=(FieldCounts(field=296, n_light_curves=12345, n_quadrants=4), FieldCounts(field=700)),
        files={"stars.csv": "sure stars"},
        provenance={"code": "1.2.3"},
        counts={"partitions of the sky": 3},
    )
    catalogue, counts = counted([star(1, vnv=0.9, vnv_xgb=0.9, vnv_dnn=0.8, confident_classes=["vnv"])], facts)
    view = certain_stars(catalogue, counts.classes)["vnv"][0]
    curves = best_curves(Curves([(1, "g", 30)]), wanted_ids([view]), NullProgress())
    drawn = example_of(view, curves, is_periodic=False)
    text = render_release_page(
        page_of(
            counts,
            facts=facts,
            patch=count_patch(catalogue, counts.sky),
            schema=(
                ("_healpix_29", "int64", ""),
                ("ra", "double", "deg"),
                ("vnv_xgb", "float", ""),
                ("rrlyr_xgb", "float", ""),
            ),
            examples={"vnv": (ReleaseExample(view=drawn, name="S1", score=0.9, n_light_curves=2),)},
            cite="Somebody (2026)",
            doi="https://doi.org/10.5281/zenodo.1",
        )
    )
    assert "Stars &amp; &lt;more&gt;" in text and "<more>" not in text
    for words in (
        "<b>17</b> no position",
        "scope-vnv-xgb",
        "abababababab",
        "12\N{NARROW NO-BREAK SPACE}345",
        "sure stars",
    ):
        assert words in text
    for words in ("Somebody (2026)", 'href="https://doi.org/10.5281/zenodo.1"', "1.2.3", "partitions of the sky"):
        assert words in text
    assert "nothing" not in text and 'class="sky patch"' in text and "one of 2 light curves" in text
    assert 'href="#class-vnv"' in text and 'id="class-vnv"' in text and 'href="#class-rrlyr"' not in text
    # Nothing is fetched from elsewhere.
    assert not re.findall(r'(?:src|href)="(?!#|https://doi\.org)', text) and "url(" not in text


def test_the_page_of_a_catalogue_without_stars_or_scores(tmp_path, write_stars) -> None:
    catalogue = open_star_catalogue(write_stars(tmp_path / "none", []))
    counts = count_stars(catalogue, (), CatalogueFacts(), 3, NullProgress())
    text = render_release_page(page_of(counts, without_light_curves="No star reaches the threshold of a class."))
    assert "The catalogue has no scores." in text and "No star reaches" in text and "no star has a place" in text


def test_the_same_catalogue_gives_the_same_page(counted) -> None:
    catalogue, counts = counted([star(1, vnv=0.9)])
    again = count_stars(
        catalogue, catalogue.scores(("vnv", "pnp", "rrlyr"), ALGORITHMS), CatalogueFacts(), 2, NullProgress()
    )
    assert render_release_page(page_of(counts)) == render_release_page(page_of(again))


def test_columns_of_many_classes_are_listed_once() -> None:
    scores = ((name, "float", "") for name in ("e_xgb", "ea_xgb", "i", "ea_xgb_scatter"))
    schema = (*scores, ("ids", "list<item: int64>", ""))
    described = [
        StarColumn(name="e_xgb", dtype=pa.float32(), doc="e by xgb, mean of its light curves"),
        StarColumn(name="ea_xgb", dtype=pa.float32(), doc="ea by xgb, mean of its light curves"),
        StarColumn(name="ids", dtype=None, doc="their ids", unit="d"),
    ]
    text = column_table(schema, described, ("e", "ea", "i"))
    assert "&lt;class&gt;_xgb</code> <small>2 classes</small>" in text
    assert "&lt;class&gt; by xgb, mean of its light curves" in text
    assert (
        "&lt;class&gt;_xgb_scatter</code></td>" in text
        and "list of int64" in text
        and "<td>d</td><td>their ids</td>" in text
    )
    assert column_table((), described, ()) == ""
    # The name of a class may be how that of another begins.
    assert column_table((("my_own_xgb", "float", ""),), (), ("my", "my_own")).count("&lt;class&gt;_xgb</code>") == 1


def test_what_is_not_known_is_not_shown() -> None:
    assert model_table((), {}) == ""
    text = how_to_open((), None, {}, has_sure=False)
    assert "confident" not in text and "read_csv" not in text and "query" not in text
    text = how_to_open(("vnv",), (10.0, -3.5), {"stars.csv": "x"}, has_sure=True)
    assert "cone_search(10.0000, -3.5000" in text and "catalogue/stars.csv" in text and "confident_classes" in text


def test_the_ways_to_open_a_catalogue_work(tmp_path, write_stars, monkeypatch) -> None:
    write_stars(tmp_path / "catalogue", [star(1, vnv=0.95), star(2, vnv=0.3)], scores=SCORES)
    (tmp_path / "catalogue" / "stars.csv").write_text("name,ra\nS1,10.0\n")
    monkeypatch.chdir(tmp_path)
    text = how_to_open(("vnv",), (10.0, 3.0), {"stars.csv": "x"}, has_sure=True)
    rows = {}
    for written in re.findall(r"<pre><code>(.*?)</code></pre>", text, flags=re.DOTALL):
        code = unescape(written)
        if code.startswith("import p"):
            names: dict[str, object] = {}
            exec(code, names)
            rows[code.splitlines()[0]] = names["stars"]
    assert list(rows["import pandas as pd"]["name"]) == ["S1"]
    assert rows["import pyarrow.dataset as ds"].count_rows() == 2
