"""What `fritz_upload` makes of a table and of light curves, before anything is asked of Fritz."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scope_ml.core.configuration import build
from scope_ml.core.protocols import NullProgress
from scope_ml.core.provenance import TableMetadata
from scope_ml.errors import ConfigError, DataError, EmptySelectionError, MissingColumnError, SchemaError, ScopeError
from scope_ml.features.surroundings import Survey
from scope_ml.io.tables import read_foreign_table, read_table, write_table
from scope_ml.services.settings import AllServicesConfig
from scope_ml.stages import upload_classes, upload_photometry
from scope_ml.stages.fritz_upload import FritzUpload
from scope_ml.stages.upload_classes import chosen_mapper, model_facts
from scope_ml.stages.upload_names import NamesOptions, write_names
from scope_ml.stages.upload_photometry import UploadSource, fetch_points
from scope_ml.stages.upload_problems import Problems
from scope_ml.stages.upload_table import InputTable, TableRules, open_input, upload_rows
from scope_ml.stages.upload_wanted import (
    PlotOptions,
    Posted,
    PostedPhotometry,
    SurveyIds,
    Target,
    WantedSources,
    classes_of,
)
from scope_ml.taxonomy.fritz_mappers import FritzClass

#: Three stars far apart, in a table of SCoPe's.
STARS = {
    "ra": [10.0, 359.9999, 200.0],
    "dec": [-5.0, 0.0, 89.9],
    "vnv_dnn": [0.9, 0.2, 1.0],
    "vnv_xgb": [0.5, 0.6, 0.0],
    "period": [0.5, float("nan"), -1.0],
    "obj_id": ["ZTFJ1", "", "ZTFJ3"],
    "Gaia_EDR3___id": [2**60 + 1, 0, 2**60 + 3],
}


@pytest.fixture(autouse=True)
def names_once(monkeypatch):
    """The files of the 52 classes are read once."""
    monkeypatch.setattr(upload_classes, "_names", NAMES)


NAMES = functools.cache(upload_classes._names)


def saved(folder: Path, columns: dict[str, object], name: str = "t.parquet", **record: object) -> Path:
    """Write a table; with a record if one is given."""
    path = folder / name
    table = pa.table(columns)
    if record or not name.endswith("parquet"):
        write_table(table, path, TableMetadata(kind=str(record.pop("kind", "scores")), **record))
    else:
        pq.write_table(table, path)
    return path


def classes(path: Path, words="read", mapper=None):
    table = open_input(path)
    return table, chosen_mapper(words, mapper, (), table.data.column_names, str(path))


def read(path: Path, words="read", mapper=None, **rules):
    """The sources of a table, and what is wrong with it."""
    problems = Problems()
    table, chosen = classes(path, words, mapper)
    rows = upload_rows(table, chosen.classes, TableRules(**rules), problems)
    return rows, [str(error) for error in problems.found]


@pytest.mark.parametrize("name", ["t.parquet", "t.h5", "t.csv"])
def test_every_format_says_the_same(tmp_path, name):
    rows, wrong = read(saved(tmp_path, STARS, name), use_obj_id=True, need_survey_id=True)
    assert not wrong
    assert rows.obj_id == ["ZTFJ1", None, "ZTFJ3"]
    assert rows.survey_id == [f"Gaia_EDR3___{2**60 + 1}", None, f"Gaia_EDR3___{2**60 + 3}"]
    np.testing.assert_allclose(rows.scores["variable"], [0.7, 0.4, 0.5])
    np.testing.assert_array_equal(rows.period, [0.5, np.nan, np.nan])
    assert rows.key(1) == "row 2"


def test_columns_of_scope_and_of_others_are_positions(tmp_path):
    geo = [
        {"radec_geojson": {"coordinates": [ra - 180.0, dec]}} for ra, dec in zip(STARS["ra"], STARS["dec"], strict=True)
    ]
    for columns in ({"coordinates": geo}, {"RA": STARS["ra"], "DEC": STARS["dec"]}):
        rows, wrong = read(saved(tmp_path, {**columns, "vnv": [1.0, 1.0, 0.0]}))
        assert not wrong
        np.testing.assert_allclose(rows.ra, STARS["ra"])
        np.testing.assert_allclose(rows.dec, STARS["dec"])
    with pytest.raises(SchemaError, match="no positions"):
        read(saved(tmp_path, {"vnv": [1.0]}))


@pytest.mark.parametrize(
    ("combine", "expected"),
    [("mean", [0.7, 0.4, 0.5]), ("max", [0.9, 0.6, 1.0]), ("xgb", [0.5, 0.6, 0.0]), ("dnn", [0.9, 0.2, 1.0])],
)
def test_algorithms_of_one_class_are_combined(tmp_path, combine, expected):
    rows, _ = read(saved(tmp_path, STARS), combine=combine)
    np.testing.assert_allclose(rows.scores["variable"], expected)


def test_an_algorithm_that_no_column_has_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"combine=svm chooses 0 of the columns vnv_dnn, vnv_xgb"):
        read(saved(tmp_path, STARS), combine="svm")


def test_start_and_stop_count_rows_and_stop_is_not_taken(tmp_path):
    path = saved(tmp_path, STARS)
    rows, _ = read(path, start=1, stop=2)
    assert [rows.key(at) for at in range(len(rows))] == ["row 2"]
    assert rows.source_of.tolist() == [-1, 0, -1]
    with pytest.raises(EmptySelectionError, match=r"rows\.start=3"):
        read(path, start=3)
    with pytest.raises(ConfigError, match="not behind"):
        build(FritzUpload, {"table": "t", "output": "o", "groups": 1, "rows": {"start": 4, "stop": 4}})


#: Light curves of two stars, one of them at the seam of right ascension; the second star comes first.
CURVES = {
    "id": [5, 1, 2, 3, 4],
    "source_id": [20, 10, 10, 20, 20],
    "ra": [359.99999, 50.0, 50.0, 0.00001, 0.0],
    "dec": [1.0, 2.0, 2.0, 1.0, 1.0],
    "period": [0.1, 0.7, 0.8, 0.2, 0.3],
    "period_confidence": [0.0, 0.1, 0.9, 0.5, 0.4],
    "rrlyr_dnn": [0.0, 0.2, 0.4, 0.6, 0.9],
}


def test_light_curves_of_infer_are_joined_to_stars_in_the_order_of_the_table(tmp_path):
    rows, wrong = read(saved(tmp_path, CURVES, kind="predictions"))
    assert not wrong
    np.testing.assert_allclose(rows.scores["RR Lyrae"], [0.5, 0.3])
    np.testing.assert_allclose(np.minimum(rows.ra, 360.0 - rows.ra), [0.0, 50.0], atol=1e-4)
    assert rows.period.tolist() == [0.2, 0.8], "of the light curve that is surest of it"
    assert rows.source_of.tolist() == [0, 1, 1, 0, 0]
    assert [rows.key(at) for at in range(2)] == ["row 1", "row 2"]
    assert rows.obj_id == [None, None]
    first, _ = read(tmp_path / "t.parquet", stars="max", stop=1)
    assert first.scores["RR Lyrae"].tolist() == [0.9]
    assert first.source_of.tolist() == [0, -1, -1, 0, 0]


def test_light_curves_that_pass_for_sources_are_found_out(tmp_path):
    _, wrong = read(saved(tmp_path, CURVES))
    assert wrong == [
        "2 places have several rows within find.radius_arcsec=2, which would be one source of Fritz: the first, rows 1, 4, 5;"
        " leave one row a source, or type rows.stars=max where rows are light curves of one star"
    ]


def test_neighbours_with_names_of_their_own_are_two_sources(tmp_path):
    columns = {"ra": [1.0, 1.0001, 1.0], "dec": [2.0, 2.0, 2.0], "vnv": [1, 1, 1], "obj_id": ["A", "B", "A"]}
    _, wrong = read(saved(tmp_path, columns), use_obj_id=True)
    assert wrong == [
        "1 obj_id stand in several rows: the first, A, in rows 1, 3; leave one row a source, or type rows.stars=max where rows"
        " are its light curves"
    ]
    _, wrong = read(saved(tmp_path, columns), use_obj_id=True, stop=2)
    assert not wrong
    _, wrong = read(saved(tmp_path, {**columns, "obj_id": ["A", None, None]}), use_obj_id=True)
    assert len(wrong) == 1
    assert "rows 1, 2, 3" in wrong[0]


def test_all_that_is_wrong_with_rows_is_told_at_once(tmp_path):
    columns = {
        "ra": [1.0, 400.0, None, 4.0],
        "dec": [2.0, 2.0, 2.0, -91.0],
        "vnv": [0.5, 1.5, -0.1, 0.3],
        "rrlyr": [0.5, None, float("nan"), 0.1],
    }
    rows, wrong = read(saved(tmp_path, columns))
    assert rows is None
    assert wrong == [
        "positions must be ra in [0, 360] and dec in [-90, 90] deg; rows 2, 3, 4: the first has ra=400.0 dec=2.0; correct or"
        " remove them",
        "column 'vnv' must hold probabilities in [0, 1]; rows 2, 3: the first has 1.5",
        "column 'rrlyr' has no probability in rows 2, 3; give 0 where a class is not meant",
    ]
    problems = Problems(found=[DataError(text) for text in wrong])
    with pytest.raises(DataError, match="3 things are wrong, nothing was posted:\n  - positions"):
        problems.refuse()
    rows, wrong = read(tmp_path / "t.parquet", stop=1)
    assert len(rows) == 1
    assert not wrong, "rows that are not uploaded do not count"


def test_a_column_of_words_is_no_probability(tmp_path):
    with pytest.raises(DataError, match="'vnv' is string; it must hold numbers"):
        read(saved(tmp_path, {"ra": [1.0], "dec": [2.0], "vnv": ["yes"]}))


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.floats(-0.5, 1.5) | st.just(np.nan), st.floats(-10, 370), st.floats(-95, 95)),
        min_size=1,
        max_size=8,
    )
)
def test_no_bad_row_is_let_through(rows):
    score, ra, dec = (list(column) for column in zip(*rows, strict=True))
    table = InputTable(path=Path("t.csv"), data=pa.table({"ra": ra, "dec": dec, "vnv": score}))
    problems = Problems()
    found = upload_rows(table, [FritzClass(column="vnv", label="variable")], TableRules(radius_arcsec=1e-9), problems)
    fine = all(0 <= p <= 1 and 0 <= a <= 360 and -90 <= d <= 90 for p, a, d in rows)
    assert fine or problems.found
    if found is not None and not problems.found:
        np.testing.assert_array_equal(found.scores["variable"], score)


def test_some_of_the_sources_keep_their_rows(tmp_path):
    rows, _ = read(saved(tmp_path, CURVES, kind="predictions"))
    some = rows.only([1])
    assert [len(some), some.key(0), some.scores["RR Lyrae"].tolist()] == [1, "row 2", pytest.approx([0.3])]
    assert some.source_of.tolist() == [-1, 0, 0, -1, -1]
    some, _ = read(tmp_path / "t.parquet", start=1)
    assert some.only([]).source_of.tolist() == [-1] * 5


def test_columns_are_chosen_by_name_or_tag(tmp_path):
    path = saved(tmp_path, STARS)
    assert [one.column for one in classes(path, "read")[1]] == ["vnv_dnn", "vnv_xgb"]
    assert [one.column for one in classes(path, ["vnv"])[1]] == ["vnv_dnn", "vnv_xgb"]
    assert [one.column for one in classes(path, "vnv_xgb")[1]] == ["vnv_xgb"]
    assert not classes(path, ())[1].usable
    old = classes(path, ["vnv_dnn"], "DNN_AL")[1]
    assert [(one.label, one.taxonomy_id) for one in old] == [("variable", None)]


@pytest.mark.parametrize(
    ("words", "mapper", "error", "told"),
    [
        (["vnw"], None, ConfigError, "did you mean 'vnv'"),
        (["rrlyr_dnn"], "DNN_AL", MissingColumnError, "lacks the column.s. rrlyr_dnn"),
        ("read", "DNN_AL", MissingColumnError, "44 in all"),
        (["nice"], "golden", ConfigError, "does not upload 'nice'"),
        ("read", "goldne", ConfigError, "did you mean 'golden'"),
        ("read", "none.json", ConfigError, "none.json cannot be read"),
    ],
)
def test_classes_that_are_not_there_are_told(tmp_path, words, mapper, error, told):
    with pytest.raises(error, match=told):
        classes(saved(tmp_path, STARS), words, mapper)


def test_a_table_without_classes_is_told(tmp_path):
    with pytest.raises(ConfigError, match=r"no column of .* is a class"):
        classes(saved(tmp_path, {"ra": [1.0], "dec": [2.0]}))


def test_a_mapper_file_of_scope_is_taken(tmp_path):
    mapper = tmp_path / "mine.json"
    mapper.write_text(json.dumps({"vnv_xgb": {"fritz_label": "periodic", "taxonomy_id": 7}}))
    (one,) = classes(saved(tmp_path, STARS), "read", str(mapper))[1]
    assert (one.label, one.taxonomy_id, one.tag) == ("periodic", 7, "pnp")


def test_the_models_of_the_scores_are_told_with_their_versions(tmp_path):
    facts = {"models": {"rrlyr_dnn": "abc", "ea_dnn": "def"}, "thresholds": {"rrlyr_dnn": 0.7}}
    path = saved(tmp_path, CURVES, kind="predictions", facts=facts)
    table, chosen = classes(path)
    assert model_facts(table, chosen) == {"models": {"rrlyr_dnn": {"digest": "abc", "version": None, "threshold": 0.7}}}
    pin = {
        "name": "scope-rrlyr-dnn",
        "version": 4,
        "alias": "champion",
        "digest": "abc",
        "tag": "rrlyr",
        "algorithm": "dnn",
    }
    (tmp_path / "t.parquet.models.lock.json").write_text(json.dumps([pin]))
    assert model_facts(table, chosen)["models"]["rrlyr_dnn"]["version"] == 4
    (tmp_path / "t.parquet.models.lock.json").write_text("{")
    assert model_facts(table, chosen)["models"]["rrlyr_dnn"]["version"] is None


HJD = 2_458_300.5


def light_curves(folder: Path) -> Path:
    """Of a star at (10, -5): a g curve with bad points, an r curve twice (farther away the second time); another's."""
    curves = {
        "id": [1, 2, 3, 4],
        "ra": [10.0, 10.0, 10.0003, 30.0],
        "dec": [-5.0, -5.0, -5.0, -5.0],
        "filter": pa.array([1, 2, 2, 1], pa.int32()),
        "hjd": [[HJD + 2, HJD, HJD + 1, HJD + 3], [HJD, HJD + 1], [HJD + 1e-5, HJD + 5], [HJD]],
        "mag": [[17.2, 17.0, 17.1, float("nan")], [16.0, 16.1], [15.0, 15.5], [12.0]],
        "magerr": [[0.1, 0.1, 0.1, 0.1], [0.1, 0.1], [0.1, 0.1], [0.1]],
        "catflags": [[0, 0, 32768, 0], [0, 0], [0, 0], [0]],
        "field": [1, 1, 2, 1],
        "ccd": [1, 1, 1, 1],
        "quad": [1, 1, 1, 1],
    }
    path = folder / "curves.parquet"
    table = pa.table({name: curves[name] for name in curves})
    pq.write_table(table, path)
    return path


def points_around(folder: Path, ra, dec, radius_arcsec=2.0):
    return fetch_points(
        UploadSource(path=str(light_curves(folder)), layout="scope"),
        np.array(ra, dtype=float),
        np.array(dec, dtype=float),
        radius_arcsec=radius_arcsec,
        survey=Survey(),
        services=AllServicesConfig(),
        progress=NullProgress(),
    )


def test_points_are_cleaned_and_each_exposure_counts_once(tmp_path):
    found = points_around(tmp_path, [50.0, 10.0], [0.0, -5.0])
    assert [found.n_points(at) for at in range(2)] == [0, 5]
    assert found.n_light_curves.tolist() == [0, 3]
    assert found.filters(1) == ["ztfg", "ztfg", "ztfr", "ztfr", "ztfr"]
    np.testing.assert_allclose(
        found.mjd[found.rows(1)], np.array([0.0, 2.0, 0.0, 1.0, 5.0]) + 58_300.0, rtol=0, atol=1e-9
    )
    assert found.mag[found.rows(1)].tolist() == pytest.approx([17.0, 17.2, 16.0, 16.1, 15.5])
    assert found.mag.dtype == np.float32
    assert {reason: n for reason, n in found.dropped.items() if n} == {
        "flagged": 1,
        "not_finite": 1,
        "same_exposure": 1,
    }
    assert [(one.band, len(one.mjd)) for one in found.by_band(1)] == [("g", 2), ("r", 3)]
    near = points_around(tmp_path, [10.0], [-5.0], radius_arcsec=0.5)
    assert near.n_points(0) == 4, "the third light curve is 1.08 arcsec away"


def test_exposures_far_enough_apart_are_two():
    mjd = np.array([0.0, 5.0, 14.0, 24.1]) / 86_400.0
    keep = upload_photometry._once(np.zeros(4, np.int64), np.zeros(4, np.uint8), mjd, np.array([1.0, 0.5, 0.7, 0.1]))
    assert keep.tolist() == [False, True, False, True]


def sources(tmp_path, rows, points=None, **options):
    given = {
        "p_threshold": 0.0,
        "posted": Posted(),
        "photometry": PostedPhotometry(),
        "survey_ids": SurveyIds(),
        "plots": PlotOptions(),
        "comment": None,
        "radius_arcsec": 2.0,
        "plot_folder": tmp_path / "plots",
        **options,
    }
    target = Target(group_ids=(6, 7), taxonomy_ids={"variable": 8, "RR Lyrae": 5}, instrument_id=4)
    return WantedSources(rows=rows, points=points, target=target, **given)


def test_a_class_is_posted_from_the_threshold_on_and_above_nothing(tmp_path):
    columns = {"ra": [1.0, 2.0, 3.0], "dec": [0.0] * 3, "vnv": [0.0, 0.7, 0.6999], "rrlyr": [0.0, 0.0, 0.8]}
    rows, _ = read(saved(tmp_path, columns))
    assert [classes_of(rows, at, 0.7) for at in range(3)] == [[], [("variable", 0.7)], [("RR Lyrae", 0.8)]]
    assert [classes_of(rows, at, 0.0) for at in (0, 2)] == [[], [("variable", 0.6999), ("RR Lyrae", 0.8)]]
    every = sources(tmp_path, rows)
    (one,) = every.wanted(1).classifications
    assert (one.classification, one.taxonomy_id, one.probability, one.origin, one.ml, one.vote, one.label) == (
        "variable", 8, 0.7, "SCoPe", True, False, False,
    )  # fmt: skip
    assert every.wanted(1).group_ids == (6, 7)


def test_annotations_are_scopes(tmp_path):
    rows, _ = read(saved(tmp_path, STARS), need_survey_id=True)
    made = sources(tmp_path, rows, survey_ids=SurveyIds(post=True))
    first, second = made.wanted(0), made.wanted(1)
    assert [(one.origin, one.key, one.value, one.mode) for one in first.annotations] == [
        ("SCoPe_xmatch", "survey_id", f"Gaia_EDR3___{2**60 + 1}", "add"),
        ("uploadedperiod", "period", 0.5, "once"),
    ]
    assert second.annotations == ()
    assert first.survey_id == f"Gaia_EDR3___{2**60 + 1}"


def test_points_and_plots_are_made_when_they_are_wanted(tmp_path):
    columns = {name: values[:2] for name, values in STARS.items() if name != "obj_id"}
    rows, _ = read(saved(tmp_path, columns))
    points = points_around(tmp_path, rows.ra, rows.dec)
    made = sources(tmp_path, rows, points, plots=PlotOptions(kind="folded"), comment="look at {obj_id}")
    with_points, without = made.wanted(0), made.wanted(1)
    assert [one.text for one in with_points.comments] == [
        "look at {obj_id}",
        "ZTF source within 2.0 arcsec of {obj_id}: time series",
        "ZTF source within 2.0 arcsec of {obj_id}: phase-folded",
    ]
    assert [one.text for one in without.comments] == ["look at {obj_id}"]
    assert without.photometry is None
    assert without.not_made
    assert not with_points.not_made
    found = with_points.photometry()
    assert len(found) == 5
    assert (found.instrument_id, found.limiting_mag, found.group_ids) == (4, 23.9, (6, 7))
    assert not (tmp_path / "plots").exists(), "nothing is drawn before it is posted"
    plot = with_points.comments[2].attachment("ZTFJ1")
    assert plot.name == "ZTFJ1_phasefold.png"
    assert (tmp_path / "plots" / plot.name).read_bytes() == plot.body
    silent = sources(tmp_path, rows, points, photometry=PostedPhotometry(send=False, needed=False)).wanted(1)
    assert (silent.photometry, silent.not_made) == (None, "")


def test_a_source_with_a_name_needs_no_light_curve(tmp_path):
    rows, _ = read(saved(tmp_path, STARS), use_obj_id=True)
    points = points_around(tmp_path, [50.0, 60.0, 70.0], [0.0, 0.0, 0.0])
    assert [bool(sources(tmp_path, rows, points).wanted(at).not_made) for at in range(3)] == [False, True, False]


@pytest.mark.parametrize(
    ("name", "form"), [("t.parquet", None), ("t.csv", None), ("t.h5", "csv"), ("t.csv", "parquet")]
)
def test_the_table_with_names_is_the_table_with_names(tmp_path, name, form):
    path = saved(tmp_path, STARS, name)
    rows, _ = read(path, use_obj_id=True, start=1)
    plan = {
        "key": ["row 2", "row 2", "row 3"],
        "obj_id": ["ZTFJ2", "ZTFJ2", "ZTFJ4"],
        "kind": ["create", "classify", "create"],
        "is_new": [True] * 3,
    }
    pq.write_table(pa.table(plan), tmp_path / "plan.parquet")
    receipt = {**plan, "status": ["done", "failed", "failed"]}
    pq.write_table(pa.table(receipt), tmp_path / "receipt.parquet")
    written = write_names(open_input(path), rows, NamesOptions(write=True, format=form), tmp_path)
    assert written == tmp_path / f"t_fritzUpload.{form or name.rpartition('.')[2]}"
    table = read_table(written)
    assert table.metadata.inputs[0].name == "table"
    assert table.data["obj_id"].to_pylist() == ["ZTFJ1", "ZTFJ2", "ZTFJ3"]
    before = read_foreign_table(path).drop_columns(["obj_id"]).to_pydict()
    # As text: two missing numbers are equal then.
    assert str({name: table.data[name].to_pylist() for name in before}) == str(before), "nothing else changes"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"groups": []}, "names no group"),
        ({"groups": [1], "plots": {"kind": "time"}}, "needs light curves"),
        ({"groups": [1], "p_threshold": 1.1}, "at most 1"),
        ({"groups": [1], "find": {"radius_arcsec": 0}}, "more than 0"),
        ({"groups": [1.5]}, "groups"),
    ],
)
def test_wrong_options_are_refused(options, told):
    with pytest.raises(ConfigError, match=told):
        build(FritzUpload, {"table": "t", "output": "o", **options})


def test_a_source_that_is_not_there_is_told():
    assert not UploadSource().there
    with pytest.raises(ConfigError, match="is empty"):
        UploadSource(path="").check()
    with pytest.raises(ScopeError, match="does not exist"):
        UploadSource(path="nowhere.parquet").check()
