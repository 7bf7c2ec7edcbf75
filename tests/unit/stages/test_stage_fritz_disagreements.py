from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from scope_ml.core.configuration import build
from scope_ml.core.protocols import NullProgress
from scope_ml.core.provenance import TableMetadata
from scope_ml.core.report import Report
from scope_ml.errors import ConfigError, DataError
from scope_ml.io.tables import read_table, write_table
from scope_ml.stages import fritz_disagreements
from scope_ml.stages.disagreement_wanted import default_origin
from scope_ml.stages.fritz_disagreements import FritzDisagreements, run

#: Scores of eight stars, two light curves each.
DNN = np.array([0.99, 0.02, 0.97, 0.5, 0.99, 0.0, 0.98, 0.96])
XGB = np.array([0.01, 0.98, 0.96, 0.5, 0.08, 0.0, 0.5, 0.1])
N = len(DNN)


def scores(dnn: np.ndarray = DNN, xgb: np.ndarray = XGB) -> pa.Table:
    star = np.repeat(np.arange(N), 2)
    return pa.table(
        {
            "id": 10**15 + np.arange(2 * N),
            "source_id": star + 1,
            "band": ["g", "r"] * N,
            "ra": star * 1.0,
            "dec": np.zeros(2 * N),
            "period": star + 0.5,
            "vnv_dnn": np.repeat(dnn, 2).astype("f4"),
            "vnv_xgb": np.repeat(xgb, 2).astype("f4"),
            "ea_dnn": np.repeat(dnn[::-1], 2).astype("f4"),
        }
    )


LOAD = functools.cache(fritz_disagreements.load_classes)


@pytest.fixture(autouse=True)
def classes_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The files of the 52 classes are read once."""
    monkeypatch.setattr(fritz_disagreements, "load_classes", LOAD)


def write(path: Path, table: pa.Table, **facts: object) -> Path:
    write_table(table, path, TableMetadata(kind="predictions", facts=facts))
    return path


@pytest.fixture
def predictions(tmp_path: Path) -> Path:
    return write(tmp_path / "p.parquet", scores(), models={"vnv_dnn": "a", "vnv_xgb": "b"})


def disagree(predictions: Path, **values: object) -> tuple[pa.Table, dict, Report]:
    folder = predictions.parent / "out"
    given = {"predictions": str(predictions), "output": str(folder), **values}
    report = run(build(FritzDisagreements, given), progress=NullProgress())
    return (
        read_table(folder / "disagreements.parquet").data,
        json.loads((folder / "statistics.json").read_text()),
        report,
    )


def test_stars_of_which_the_two_say_the_opposite(predictions: Path) -> None:
    table, statistics, report = disagree(predictions)
    assert table["source_id"].to_pylist() == [1, 2, 5, 8]  # the widest apart first
    assert table["disagrees_on"].to_pylist() == ["vnv"] * 4
    assert table["vnv_dnn"].to_pylist() == pytest.approx([0.99, 0.02, 0.99, 0.96])
    assert (report.n_in, report.n_out) == (N, 4)
    assert report.dropped == {"known": 0, "not_compared": 0, "agree": 4, "over_limit": 0}
    assert statistics["n_disagreeing"] == {"vnv": {"dnn": 3, "xgb": 1}}
    assert statistics["classes"]["vnv"]["n_compared"] == N
    assert (predictions.parent / "out" / "disagreements.html").read_text().count("<article>") == 1


def test_limits_and_the_most_stars(predictions: Path) -> None:
    table, _, report = disagree(predictions, limit=1)
    assert table["source_id"].to_pylist() == [1]
    assert report.dropped["over_limit"] == 3
    table, _, _ = disagree(predictions, high=0.97, low=0.09)
    assert table["source_id"].to_pylist() == [1, 2, 5]


def test_stars_of_the_training_set_are_left_out(predictions: Path, tmp_path: Path) -> None:
    known = write(tmp_path / "labels.parquet", pa.table({"ztf_id": [10**15 + 1]}))
    table, statistics, report = disagree(predictions, exclude=[str(known)])
    assert 1 not in table["source_id"].to_pylist()
    assert report.dropped["known"] == 1
    assert statistics["known_by"] == {"id": 1}
    assert statistics["classes"]["vnv"]["n_compared"] == N - 1


def test_two_versions_of_the_models(predictions: Path, tmp_path: Path) -> None:
    shuffled = scores(dnn=1 - DNN, xgb=XGB).take(pa.array(np.arange(2 * N)[::-1])).slice(2)
    newer = write(tmp_path / "new.parquet", shuffled)
    table, statistics, report = disagree(
        predictions, against=[str(newer)], pair={"first": "dnn", "names": ["old", "new"]}, classes=["vnv", "ea"]
    )
    assert statistics["n_light_curves_left"] == {"old": 2, "new": 0}
    assert report.n_in == N - 1
    vnv = statistics["n_disagreeing"]["vnv"]
    assert vnv == {"old": 4, "new": 2}
    assert {"vnv_old", "vnv_new", "ea_old", "ea_new"} <= set(table.column_names)
    assert table.filter(pc.equal(table["source_id"], 1))["vnv_new"].to_pylist() == pytest.approx([0.01], abs=1e-6)
    _, joined, _ = disagree(predictions, against=[str(newer)])
    assert joined["names"] == ["first", "second"]


def test_tables_of_two_algorithms_are_joined(tmp_path: Path, predictions: Path) -> None:
    rows = scores()
    kept = [name for name in rows.column_names if not name.endswith(("_dnn", "_xgb"))]
    dnn = write(tmp_path / "dnn.parquet", rows.select([*kept, "vnv_dnn"]))
    xgb = write(tmp_path / "xgb.parquet", rows.select([*kept, "vnv_xgb"]).slice(2))
    given = {"predictions": [str(dnn), str(xgb)], "output": str(tmp_path / "two")}
    report = run(build(FritzDisagreements, given), progress=NullProgress())
    assert (report.n_in, report.n_out, report.dropped["not_compared"]) == (N, 3, 1)
    assert report.facts["n_light_curves_left"] == {"dnn": 2, "xgb": 0}


def test_the_widest_light_curve_counts_if_asked_for(tmp_path: Path) -> None:
    rows = scores()
    dnn = rows["vnv_dnn"].to_numpy().copy()
    dnn[1::2] = XGB.repeat(2)[1::2]  # r light curves agree
    path = write(tmp_path / "p.parquet", rows.set_column(rows.column_names.index("vnv_dnn"), "vnv_dnn", pa.array(dnn)))
    assert disagree(path)[2].n_out == 0
    table, _, report = disagree(path, stars={"combine": "widest"})
    assert report.n_out == 4
    assert table["vnv_dnn"].to_pylist() == pytest.approx([0.99, 0.02, 0.99, 0.96])


def test_nothing_disagrees_is_no_failure(predictions: Path) -> None:
    # A group is given, but there is nothing to take there: no service is asked.
    table, statistics, report = disagree(predictions, high=0.999, groups=["Variables"], apply=True)
    assert table.num_rows == 0
    assert report.n_out == 0
    assert statistics["n_chosen"] == 0
    assert "No star disagrees" in (predictions.parent / "out" / "disagreements.html").read_text()


def test_the_origin_tells_versions_apart(predictions: Path, tmp_path: Path) -> None:
    _, first, _ = disagree(predictions)
    other = write(tmp_path / "q.parquet", scores(), models={"vnv_dnn": "a", "vnv_xgb": "c"})
    _, second, _ = disagree(other)
    assert first["origin"].startswith("ML_dnn_xgb_")
    assert first["origin"] != second["origin"]
    assert default_origin(("dnn", "xgb"), "") == "ML_dnn_xgb"
    assert disagree(predictions, origin="ML_DR5_d15_v1")[1]["origin"] == "ML_DR5_d15_v1"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"high": 0.1, "low": 0.95}, "low=0.95 is not below high=0.1"),
        ({"classes": ["ea"]}, "class 'ea' has no scores of xgb in .*both have: vnv"),
        ({"classes": ["ontological"]}, "no class of ontological has both"),
        ({"classes": []}, "names no class"),
        ({"classes": ["vvn"]}, "did you mean"),
        ({"pair": {"first": "xgb"}}, "are the same"),
        ({"pair": {"second": "dnn_shared"}}, "no scores of algorithm 'dnn_shared'"),
        ({"pair": {"names": ["a"]}}, "two names"),
        ({"apply": True}, "apply=true needs groups"),
        ({"origin": "-x"}, "which Fritz refuses"),
    ],
)
def test_bad_requests_are_one_line_and_write_nothing(predictions: Path, values: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as raised:
        disagree(predictions, **values)
    assert "\n" not in str(raised.value)
    assert not list((predictions.parent / "out").glob("*"))


def test_tables_that_share_no_ids_are_told(predictions: Path, tmp_path: Path) -> None:
    others = scores().set_column(0, "id", pa.array(np.arange(2 * N)))
    path = write(tmp_path / "others.parquet", others)
    with pytest.raises(DataError, match="share no light curve"):
        disagree(predictions, against=[str(path)])
    rows = scores()
    dnn = write(tmp_path / "dnn.parquet", rows.drop_columns(["vnv_xgb", "ea_dnn"]))
    xgb = write(tmp_path / "xgb.parquet", others.drop_columns(["vnv_dnn", "ea_dnn"]))
    given = {"predictions": [str(dnn), str(xgb)], "output": str(tmp_path / "out")}
    with pytest.raises(DataError, match="do the tables share ids"):
        run(build(FritzDisagreements, given), progress=NullProgress())
