"""What `infer` says beside its scores: contradictions of the class graph, an ensemble's spread, drift."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from scope_ml.core.configuration import build
from scope_ml.core.protocols import NullProgress
from scope_ml.core.report import Report
from scope_ml.io.tables import read_table, write_table
from scope_ml.models.batch_scoring import score as score_rows
from scope_ml.models.bundle import ModelBundle
from scope_ml.stages import infer as stage
from scope_ml.stages import inference_models
from scope_ml.stages import inference_table as scoring_room
from scope_ml.stages.infer import Infer, run

N_ROWS = 240

#: Scores of the two models on any batch, by the row's place in the table: rrlyr implies pnp.
SKEW_OF = {"pnp": lambda skew: 0.5 + 0.1 * np.tanh(skew), "rrlyr": lambda skew: 0.5 + 0.4 * np.tanh(2 * skew)}


@pytest.fixture
def infer(models: Path, training_tables: tuple[Path, Path], tmp_path: Path) -> Callable[..., Report]:
    def call(**changes: Any) -> Report:
        values: dict[str, Any] = {
            "features": str(training_tables[0]),
            "output": str(tmp_path / "out" / "scores.parquet"),
            "models": str(models),
            "tracking": {"enabled": False},
            "machine": {"workers": 1},
        }
        return run(build(Infer, values | changes), progress=NullProgress())

    return call


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the models' scores by functions of the row alone that contradict one another in about half of the rows."""

    def score(bundles: Any, table: pa.Table, **_: Any) -> pa.Table:
        skew = table["skew"].to_numpy()
        return pa.table({bundle.name: SKEW_OF[bundle.tag](skew).astype(np.float32) for bundle in bundles})

    monkeypatch.setattr(scoring_room, "score", score)


def scores(tmp_path: Path) -> pa.Table:
    return read_table(tmp_path / "out" / "scores.parquet", kind="predictions")


@pytest.mark.usefixtures("made_up")
def test_conflicts_are_counted_by_row_and_by_pair(infer: Callable[..., Report], tmp_path: Path) -> None:
    report = infer(consistency="report", batch_rows=37)
    table = scores(tmp_path)
    assert table.data.column_names[-4:] == ["pnp_xgb", "rrlyr_xgb", "conflicts_xgb", "worst_conflict_xgb"]
    assert table.data["conflicts_xgb"].type == pa.int32()
    assert table.data["worst_conflict_xgb"].type == pa.float32()
    gap = table.data["rrlyr_xgb"].to_numpy().astype(float) - table.data["pnp_xgb"].to_numpy()
    np.testing.assert_array_equal(table.data["conflicts_xgb"].to_numpy(), (gap > 0.1).astype(int))
    np.testing.assert_allclose(table.data["worst_conflict_xgb"].to_numpy(), np.maximum(gap, 0), atol=1e-7)
    n_rows = int((gap > 0.1).sum())
    assert 20 < n_rows < 220
    assert report.facts["conflicts"] == {"xgb": {"rows": n_rows, "pairs": {"rrlyr above pnp": n_rows}, "siblings": {}}}
    wider = infer(consistency="report", conflict_margin=0.25)
    assert 0 < wider.facts["conflicts"]["xgb"]["rows"] == int((gap > 0.25).sum()) < n_rows
    assert scores(tmp_path).metadata.config_digest != table.metadata.config_digest


@pytest.mark.usefixtures("made_up")
def test_without_the_option_nothing_is_added_but_the_report_counts(
    infer: Callable[..., Report], tmp_path: Path
) -> None:
    report = infer()
    table = scores(tmp_path)
    assert table.data.column_names[-2:] == ["pnp_xgb", "rrlyr_xgb"]
    assert report.facts["conflicts"]["xgb"]["rows"] > 20
    assert "consistency" not in table.metadata.facts


@pytest.mark.usefixtures("made_up")
@pytest.mark.parametrize("how", ["cap", "lift", "nearest"])
def test_repaired_scores_do_not_contradict(infer: Callable[..., Report], tmp_path: Path, how: str) -> None:
    infer()
    raw = scores(tmp_path).data
    infer(consistency=how, batch_rows=50)
    table = scores(tmp_path)
    assert table.metadata.facts["consistency"] == how
    pnp, rrlyr = (table.data[f"{tag}_xgb"].to_numpy() for tag in ("pnp", "rrlyr"))
    before = {tag: raw[f"{tag}_xgb"].to_numpy() for tag in ("pnp", "rrlyr")}
    assert (rrlyr <= pnp).all()
    wrong = before["rrlyr"] > before["pnp"]
    assert 20 < wrong.sum() < 220
    mean = (before["pnp"].astype(float) + before["rrlyr"]) / 2
    low, high = np.minimum(before["pnp"], before["rrlyr"]), np.maximum(before["pnp"], before["rrlyr"])
    expected = {"cap": (before["pnp"], low), "lift": (high, before["rrlyr"]), "nearest": (mean, mean)}[how]
    np.testing.assert_allclose(pnp[wrong], expected[0][wrong], atol=1e-6)
    np.testing.assert_allclose(rrlyr[wrong], expected[1][wrong], atol=1e-6)
    np.testing.assert_array_equal(pnp[~wrong], before["pnp"][~wrong])
    # What was wrong before the repair is still told.
    assert (table.data["conflicts_xgb"].to_numpy() > 0).any()


@pytest.mark.usefixtures("made_up")
def test_siblings_that_are_both_found_are_counted(
    infer: Callable[..., Report], monkeypatch: pytest.MonkeyPatch, taxonomy: Any
) -> None:
    monkeypatch.setitem(SKEW_OF, "rrc", lambda skew: np.full(skew.size, 0.8))
    monkeypatch.setitem(SKEW_OF, "rrab", lambda skew: np.where(skew > 0, 0.9, 0.1))
    loaded = inference_models.load_bundles

    def four(*args: Any) -> tuple[ModelBundle, ...]:
        whole = loaded(*args)
        more = [replace(whole[1], record=replace(whole[1].record, spec=taxonomy[tag])) for tag in ("rrab", "rrc")]
        return (*whole, *more)

    monkeypatch.setattr(stage, "load_bundles", four)
    found = infer(consistency="report").facts["conflicts"]["xgb"]
    assert 20 < found["siblings"].pop("rrab and rrc") < 220
    assert found["siblings"] == {}
    assert set(found["pairs"]) == {"rrab above rrlyr", "rrc above rrlyr", "rrlyr above pnp"}
    assert list(found["pairs"].values()) == sorted(found["pairs"].values(), reverse=True)


def test_an_ensembles_spread_stands_behind_its_score(
    infer: Callable[..., Report], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    loaded, plain = inference_models.load_bundles, score_rows

    def ensemble(*args: Any) -> tuple[ModelBundle, ...]:
        pnp, rrlyr = loaded(*args)
        return (replace(pnp, record=replace(pnp.record, members=(1, 2))), rrlyr)

    def score(bundles: Any, table: pa.Table, **more: Any) -> pa.Table:
        spread = pa.array(np.full(table.num_rows, 0.125, dtype=np.float32))
        return plain(bundles, table, **more).select(["pnp_xgb", "rrlyr_xgb"]).append_column("pnp_xgb_spread", spread)

    monkeypatch.setattr(stage, "load_bundles", ensemble)
    monkeypatch.setattr(scoring_room, "score", score)
    infer(consistency="cap")
    table = scores(tmp_path).data
    assert table.column_names[-5:] == ["pnp_xgb", "pnp_xgb_spread", "rrlyr_xgb", "conflicts_xgb", "worst_conflict_xgb"]
    assert table["pnp_xgb_spread"].to_pylist() == [0.125] * N_ROWS


def test_drift_is_none_on_the_training_table_and_batches_do_not_matter(
    infer: Callable[..., Report], tmp_path: Path
) -> None:
    report = infer()
    first = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert set(first) == {
        "scores.parquet",
        "scores.parquet.models.lock.json",
        "scores.parquet.drift.json",
        "scores.parquet.drift.html",
    }
    assert report.outputs["drift"] == str(tmp_path / "out" / "scores.parquet.drift.html")
    assert report.warnings == ()
    numbers = json.loads(first["scores.parquet.drift.json"])
    assert (numbers["n_rows"], numbers["n_notable"], numbers["n_strong"]) == (N_ROWS, 0, 0)
    assert report.facts["drift"] == {
        "n_features": numbers["n_features"],
        "n_notable": 0,
        "n_strong": 0,
        "n_models_unknown": 0,
    }
    assert {one["model"] for one in numbers["scores"]} == {"pnp_xgb", "rrlyr_xgb"}
    assert {one["n_rows"] for one in (*numbers["features"], *numbers["scores"])} == {N_ROWS}
    infer(batch_rows=17)
    assert (tmp_path / "out" / "scores.parquet.drift.json").read_bytes() == first["scores.parquet.drift.json"]
    assert (tmp_path / "out" / "scores.parquet.drift.html").read_bytes() == first["scores.parquet.drift.html"]


@pytest.mark.usefixtures("made_up")
def test_drift_is_of_the_models_own_scores_whatever_is_repaired(infer: Callable[..., Report], tmp_path: Path) -> None:
    found = {}
    for how in ("none", "lift"):
        infer(consistency=how)
        found[how] = json.loads((tmp_path / "out" / "scores.parquet.drift.json").read_text())["scores"]
    assert found["none"] == found["lift"]
    assert {one["level"] for one in found["none"]} == {"strong"}


def test_drifted_features_are_one_line_and_stand_first(
    infer: Callable[..., Report], training_tables: tuple[Path, Path], tmp_path: Path
) -> None:
    table = read_table(training_tables[0])
    changed = {
        "skew": table.data["skew"].to_numpy() + 3.0,
        "stetson_k": np.where(np.arange(N_ROWS) % 2, np.nan, table.data["stetson_k"].to_numpy()),
    }
    data = table.data
    for name, values in changed.items():
        data = data.set_column(data.column_names.index(name), name, pa.array(values))
    write_table(data, tmp_path / "changed.parquet", table.metadata)
    report = infer(features=str(tmp_path / "changed.parquet"))
    (line,) = report.warnings
    assert "2 of " in line
    assert "2 of them strongly (skew, stetson_k); see " in line
    assert line.endswith("scores.parquet.drift.html")
    numbers = json.loads((tmp_path / "out" / "scores.parquet.drift.json").read_text())
    skew, stetson = numbers["features"][:2]
    assert (skew["name"], stetson["name"]) == ("skew", "stetson_k")
    assert skew["share_above"] > 0.3
    assert (stetson["missing_share_training"], stetson["missing_share"]) == (0.0, 0.5)
    assert stetson["stability_index"] < 0.2
    assert stetson["missing_stability_index"] > 0.5


def test_drift_can_be_left_out_and_old_bundles_are_named(
    infer: Callable[..., Report], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    report = infer(drift=False)
    assert not list((tmp_path / "out").glob("*drift*"))
    assert "drift" not in report.facts
    loaded = inference_models.load_bundles

    def older(*args: Any) -> tuple[ModelBundle, ...]:
        return tuple(replace(one, record=replace(one.record, distributions=None)) for one in loaded(*args))

    monkeypatch.setattr(stage, "load_bundles", older)
    report = infer()
    assert report.warnings == (
        "2 models keep no distributions of their training set (pnp_xgb, rrlyr_xgb): no drift is known of them;"
        " train them again to see it",
    )
    assert "pnp_xgb, rrlyr_xgb" in (tmp_path / "out" / "scores.parquet.drift.html").read_text()
    assert json.loads((tmp_path / "out" / "scores.parquet.drift.json").read_text())["features"] == []


def test_a_dry_run_counts_drift_and_writes_nothing(infer: Callable[..., Report], tmp_path: Path) -> None:
    report = infer(machine={"workers": 1, "dry_run": True})
    assert report.facts["drift"]["n_features"] > 10
    assert report.outputs == {}
    assert not (tmp_path / "out").exists()
