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
from scope_ml.errors import ConfigError, DataError, MissingColumnError
from scope_ml.io.tables import read_table, write_table
from scope_ml.stages import select_sample
from scope_ml.stages.select_sample import SelectSample, run

N = 60
MODELS = ("vnv_xgb", "vnv_dnn", "rrlyr_xgb", "rrlyr_dnn", "rrc_xgb", "rrc_dnn")
THRESHOLDS = {"vnv_xgb": 0.5, "vnv_dnn": 0.7, "rrlyr_xgb": 0.6, "rrlyr_dnn": 0.6}


def scored(seed: int = 1) -> pa.Table:
    """Two light curves a star, g and r, in one place."""
    rng = np.random.default_rng(seed)
    star = np.repeat(np.arange(N), 2)
    return pa.table(
        {
            "id": 10**15 + np.arange(2 * N),
            "source_id": 5 * 10**17 + star,
            "band": ["g", "r"] * N,
            "ra": np.mod(359.99 + 0.001 * star, 360),
            "dec": np.full(2 * N, 10.0),
            "period": rng.random(2 * N) + 0.1,
            **{name: rng.random(2 * N).astype("f4") for name in MODELS},
        }
    )


LOAD = functools.cache(select_sample.load_classes)


@pytest.fixture(autouse=True)
def classes_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The files of the 52 classes are read once."""
    monkeypatch.setattr(select_sample, "load_classes", LOAD)


def write(path: Path, table: pa.Table, **facts: object) -> Path:
    write_table(table, path, TableMetadata(kind="predictions", facts=facts))
    return path


@pytest.fixture
def predictions(tmp_path: Path) -> Path:
    return write(tmp_path / "p.parquet", scored(), thresholds=THRESHOLDS, models={"vnv_xgb": "abc"})


def sample(predictions: Path | list[Path], name: str = "s.parquet", **values: object) -> tuple[pa.Table, Report]:
    paths = [predictions] if isinstance(predictions, Path) else predictions
    output = paths[0].parent / name
    given = {"predictions": [str(path) for path in paths], "output": str(output), **values}
    report = run(build(SelectSample, given), progress=NullProgress())
    return read_table(output).data, report


def test_one_row_a_star_with_joined_scores_and_counts_that_add_up(predictions: Path) -> None:
    table, report = sample(predictions, select={"mode": "top_n", "per_class": 5}, full=True)
    assert report.n_in == N
    assert report.n_in == report.n_out + sum(report.dropped.values())
    assert report.n_out == table.num_rows == len(pc.unique(table["obj_id"]))
    rows = scored()
    star = table.slice(0, 1).to_pylist()[0]
    own = rows.filter(pc.equal(rows["source_id"], star["source_id"]))
    expected = np.mean([np.mean(own[name].to_numpy()) for name in ("vnv_xgb", "vnv_dnn")])
    assert star["vnv"] == pytest.approx(expected, abs=1e-6)
    assert star["nonvar"] == pytest.approx(1 - expected, abs=1e-6)
    assert star["ids"] == ";".join(str(value) for value in own["id"].to_pylist())
    assert star["chosen_for"]
    assert not set(MODELS) & set(table.column_names)
    whole = read_table(predictions.parent / "s_full.parquet").data
    assert whole.num_rows == N
    assert whole.filter(pc.is_valid(whole["chosen_for"])).equals(table)


def test_thresholds_are_those_of_the_models(predictions: Path) -> None:
    _, report = sample(predictions, select={"mode": "top_n", "per_class": 1000})
    record = read_table(predictions.parent / "s.parquet").metadata
    assert record.kind == "sample"
    assert record.facts["thresholds"] == pytest.approx({"vnv": 0.6, "rrlyr": 0.6, "rrc": 0.7, "nonvar": 0.4})
    assert report.facts["chosen_for"]["vnv"] + report.facts["chosen_for"]["nonvar"] == N
    _, given = sample(predictions, select={"mode": "top_n", "per_class": 1000, "threshold": 0.9})
    assert given.facts["chosen_for"]["vnv"] < report.facts["chosen_for"]["vnv"]


def test_the_counts_stand_beside_the_sample(predictions: Path) -> None:
    table, report = sample(predictions, select={"mode": "top_n", "per_class": 4})
    counts = json.loads((predictions.parent / "s.parquet.counts.json").read_text())
    assert counts["n_stars"] == table.num_rows
    assert counts["members"]["rrlyr"] == int((table["rrlyr"].to_numpy() >= np.float32(0.6)).sum())
    assert counts["dropped"] == report.dropped


def test_the_order_of_rows_and_the_format_do_not_matter(predictions: Path, tmp_path: Path) -> None:
    table, _ = sample(predictions, select={"per_class": 3, "pool": 0.5})
    turned = write(
        tmp_path / "q.h5", scored().take(pa.array(np.random.default_rng(0).permutation(2 * N))), thresholds=THRESHOLDS
    )
    assert sample(turned, "t.csv", select={"per_class": 3, "pool": 0.5})[0].to_pylist() == table.to_pylist()


def test_tables_of_two_algorithms_and_of_two_fields_are_read_as_one(predictions: Path, tmp_path: Path) -> None:
    rows = scored()
    facts = [name for name in rows.column_names if name not in MODELS]
    dnn = rows.select([*facts, "vnv_dnn", "rrlyr_dnn", "rrc_dnn"]).rename_columns(
        ["_id", *facts[1:], "vnv_dnn", "rrlyr_dnn", "rrc_dnn"]
    )
    xgb = rows.select([*facts, "vnv_xgb", "rrlyr_xgb", "rrc_xgb"])
    paths = [
        write(tmp_path / "dnn1.parquet", dnn.slice(0, 50)),
        write(tmp_path / "dnn2.parquet", dnn.slice(50)),
        write(tmp_path / "xgb.parquet", xgb.take(pa.array(np.arange(2 * N)[::-1])), thresholds=THRESHOLDS),
    ]
    choice = {"mode": "top_n", "per_class": 7, "threshold": 0.5}
    table, report = sample(paths, "joined.parquet", select=choice)
    assert report.facts["n_rows_read"] == 4 * N
    assert report.facts["n_light_curves"] == 2 * N
    one, _ = sample(predictions, select=choice)
    common = [name for name in one.column_names if name in table.column_names]
    assert "rrc" in common
    assert table.select(common).equals(one.select(common))


def test_a_table_given_twice_is_refused(predictions: Path) -> None:
    with pytest.raises(DataError, match="two scores 'vnv_xgb'"):
        sample([predictions, predictions])


def test_scores_that_are_no_numbers_are_none(predictions: Path, tmp_path: Path) -> None:
    rows = scored()
    halves = []
    for name, other in (("vnv_xgb", "vnv_dnn"), ("vnv_dnn", "vnv_xgb")):
        nothing = pa.array(np.full(2 * N, np.nan, dtype="f4"))
        table = rows.select(["id", "source_id", "ra", "dec", name]).append_column(other, nothing)
        # Only one of the tables has bands: ids alone tell what belongs together.
        table = table.append_column("band", rows["band"]) if name == "vnv_xgb" else table
        halves.append(write(tmp_path / f"{name}.parquet", table))
    table, report = sample(halves, select={"mode": "uncertainty", "per_class": N}, columns="both", classes=["vnv"])
    assert report.facts["n_light_curves"] == 2 * N
    assert report.n_out == N
    assert table["vnv_xgb"].null_count == table["vnv_dnn"].null_count == 0


def test_stars_of_the_training_set_are_left_out(predictions: Path, tmp_path: Path) -> None:
    rows = scored()
    labels = pa.table({"ztf_id": [rows["id"][0].as_py()], "ra": [rows["ra"][20].as_py()], "dec": [10.0]})
    write(tmp_path / "labels.parquet", labels)
    table, report = sample(
        predictions, select={"mode": "top_n", "per_class": 100}, exclude=[str(tmp_path / "labels.parquet")]
    )
    assert report.dropped["known"] == 2
    assert report.facts["known_by"] == {"id": 1, "position": 1}
    left = set(table["source_id"].to_pylist())
    assert 5 * 10**17 not in left
    assert 5 * 10**17 + 10 not in left


def test_a_table_that_leaves_out_nothing_is_told(predictions: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "other.parquet", pa.table({"id": [1, 2]}))
    _, report = sample(predictions, exclude=str(other))
    assert any("none of the 2 rows" in line for line in report.warnings)


@pytest.mark.parametrize("which", ["consistent", "conflicts", "confident"])
def test_the_class_tree_lets_some_stars_through(predictions: Path, which: str) -> None:
    choice = {"mode": "uncertainty", "per_class": 1000}
    table, report = sample(predictions, select=choice, tree=which)
    assert 0 < report.n_out < N
    assert report.dropped["class_tree"] == N - report.n_out
    if which == "confident":
        assert table["confident_class"].null_count == 0
    else:
        assert pc.all(pc.equal(pc.greater(table["n_conflicts"], 0), which == "conflicts")).as_py()
        above = (table["rrc"].to_numpy() - table["rrlyr"].to_numpy() > 0.1) | (
            table["rrlyr"].to_numpy() - table["vnv"].to_numpy() > 0.1
        )
        assert above.all() if which == "conflicts" else not above.any()


def test_uncertainty_between_algorithms_and_between_seeds(predictions: Path, tmp_path: Path) -> None:
    choice = {"mode": "uncertainty", "uncertainty": "algorithms", "per_class": 1}
    table, _ = sample(predictions, select=choice, classes=["rrlyr"], columns="both")
    whole, _ = sample(predictions, select={**choice, "per_class": 1000}, classes=["rrlyr"], columns="both")
    apart = np.abs(whole["rrlyr_xgb"].to_numpy() - whole["rrlyr_dnn"].to_numpy())
    assert table["source_id"].to_pylist() == [whole["source_id"][int(apart.argmax())].as_py()]
    seeds = {"mode": "uncertainty", "uncertainty": "seeds", "per_class": 1}
    with pytest.raises(ConfigError, match="seeds"):
        sample(predictions, select=seeds)
    spread = np.zeros(2 * N, dtype="f4")
    spread[6:8] = 0.4
    rows = scored().append_column("rrlyr_xgb_spread", pa.array(spread))
    table, _ = sample(write(tmp_path / "e.parquet", rows), select=seeds)
    assert table["source_id"].to_pylist() == [5 * 10**17 + 3]


def test_columns_as_scope_has_them(predictions: Path) -> None:
    table, _ = sample(
        predictions,
        algorithms=["dnn"],
        columns="each",
        classes=["rrlyr", "nonvar"],
        select={"mode": "top_n", "labels": "own", "per_class": 3},
    )
    scores = [name for name in table.column_names if name.endswith("_dnn")]
    assert scores == ["vnv_dnn", "rrlyr_dnn", "rrc_dnn", "nonvar_dnn"]
    for row in table.to_pylist():
        kept = {name.removesuffix("_dnn") for name in scores if row[name]}
        assert kept == set(row["chosen_for"].split(";"))


def test_ids_of_catalogues_come_from_the_features(predictions: Path, tmp_path: Path) -> None:
    rows = scored()
    gaia = np.repeat(np.arange(N) // 2, 2) + 4 * 10**18
    gaia[:2] = 0
    features = pa.table({"id": rows["id"], "band": rows["band"], "Gaia_EDR3___id": gaia}).take(
        pa.array(np.arange(2 * N)[::-1])
    )
    path = write(tmp_path / "f.parquet", features)
    table, report = sample(
        predictions, features=str(path), select={"mode": "uncertainty", "per_class": 1000}, stars={"radius_arcsec": 0}
    )
    assert report.facts["stars_by"] == "survey_id"
    assert report.facts["stars_by_place"] == 2
    assert report.n_in == N // 2 + 2
    assert "Gaia_EDR3___4000000000000000001" in table["survey_id"].to_pylist()
    with pytest.raises(DataError, match="none of the 120 light curves"):
        sample(
            predictions,
            features=str(write(tmp_path / "g.parquet", features.set_column(0, "id", pa.array(np.arange(2 * N))))),
        )


@pytest.mark.parametrize(
    ("values", "error", "words"),
    [
        ({"classes": ["rrlyre"]}, ConfigError, "did you mean 'rrlyr'"),
        ({"classes": ["ew"]}, ConfigError, "no scores of class 'ew'"),
        (
            {"classes": ["ontological"], "algorithms": ["dnn_shared"]},
            ConfigError,
            "no scores of algorithm 'dnn_shared'",
        ),
        ({"output": "s.txt"}, Exception, "suffix '.txt'"),
        ({"predictions": []}, ConfigError, "no tables of scores"),
        ({"stars": {"by": "survey_id"}}, MissingColumnError, "Gaia_EDR3___id"),
    ],
)
def test_bad_requests_are_one_line(predictions: Path, values: dict, error: type[Exception], words: str) -> None:
    given = {"predictions": [str(predictions)], "output": str(predictions.parent / "s.parquet"), **values}
    with pytest.raises(error, match=words) as raised:
        run(build(SelectSample, given), progress=NullProgress())
    assert "\n" not in str(raised.value)
    assert not (predictions.parent / "s.parquet").exists()


@pytest.mark.parametrize(
    ("column", "words"),
    [(pa.array([1.5] * 4), "column 'vnv_xgb' is 1.5 in row 1"), (pa.array(["a"] * 4), "scores are numbers")],
)
def test_scores_out_of_range_are_named(tmp_path: Path, column: pa.Array, words: str) -> None:
    path = write(tmp_path / "p.parquet", pa.table({"id": [1, 2, 3, 4], "source_id": [1, 1, 2, 2], "vnv_xgb": column}))
    with pytest.raises(DataError, match=words):
        sample(path)


@pytest.mark.parametrize("role", ["predictions", "exclude"])
def test_a_table_that_is_read_is_not_overwritten(predictions: Path, role: str) -> None:
    before = predictions.read_bytes()
    labels = write(predictions.parent / "labels.parquet", pa.table({"id": [1]}))
    given = {"predictions": [str(predictions)], "exclude": [str(labels)]}
    output = predictions.parent / "." / Path(given[role][0]).name
    with pytest.raises(ConfigError, match=r"is read, and would be overwritten by the sample; give another output"):
        run(build(SelectSample, {**given, "output": str(output)}), progress=NullProgress())
    assert predictions.read_bytes() == before


def test_a_dry_run_writes_nothing(predictions: Path) -> None:
    given = {
        "predictions": str(predictions),
        "output": str(predictions.parent / "s.parquet"),
        "machine": {"dry_run": True},
    }
    report = run(build(SelectSample, given), progress=NullProgress())
    assert report.n_in == N
    assert not report.outputs
    assert [path.name for path in predictions.parent.iterdir()] == ["p.parquet"]
