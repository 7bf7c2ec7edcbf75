"""Scoring a feature table: columns, batches, pins, bad input."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from scope_ml.core.configuration import build
from scope_ml.core.protocols import NullProgress
from scope_ml.core.report import Report
from scope_ml.errors import (
    ConfigError,
    FeatureMismatchError,
    FormatError,
    MetadataError,
    ModelNotFoundError,
    OutputError,
    ScopeError,
)
from scope_ml.io.tables import read_table, write_table
from scope_ml.models.algorithms import ALGORITHMS
from scope_ml.models.batch_scoring import score as score_rows
from scope_ml.models.bundle import ModelBundle
from scope_ml.stages.infer import Infer, run
from scope_ml.tracking.lock import read_lock


@pytest.fixture
def infer(models: Path, training_tables: tuple[Path, Path], tmp_path: Path) -> Callable[..., Report]:
    def call(**changes: Any) -> Report:
        values: dict[str, Any] = {
            "features": str(training_tables[0]),
            "output": str(tmp_path / "predictions.parquet"),
            "models": str(models),
            "tracking": {"enabled": False},
            "machine": {"workers": 1},
        }
        return run(build(Infer, values | changes), progress=NullProgress())

    return call


def test_ids_of_catalogues_come_along(
    infer: Callable[..., Report], training_tables: tuple[Path, Path], tmp_path: Path
) -> None:
    features = read_table(training_tables[0])
    ids = pa.array([None, *range(2**60 + 1, 2**60 + features.data.num_rows)], pa.int64())
    write_table(features.data.append_column("Gaia_EDR3___id", ids), tmp_path / "f.parquet", features.metadata)
    infer(features=str(tmp_path / "f.parquet"))
    assert read_table(tmp_path / "predictions.parquet").data["Gaia_EDR3___id"].combine_chunks().equals(ids)


def test_one_row_a_light_curve_with_exact_ids_and_scores(
    infer: Callable[..., Report], models: Path, training_tables: tuple[Path, Path], tmp_path: Path
) -> None:
    report = infer()
    features = read_table(training_tables[0]).data
    table = read_table(tmp_path / "predictions.parquet", kind="predictions")
    who, weights = ["id", "source_id", "band", "ra", "dec", "field"], ["n", "median", "wstd", "chi2red"]
    assert table.data.column_names == [*who, "period", "period_significance", *weights, "pnp_xgb", "rrlyr_xgb"]
    for name in (*who, *weights):
        assert table.data[name].equals(features[name])
    assert table.data["period_significance"].equals(features["significance_ls"])
    assert table.data["period"].equals(features["period_ls"])
    for tag in ("pnp", "rrlyr"):
        scores = table.data[f"{tag}_xgb"]
        assert scores.type == pa.float32()
        expected = ModelBundle.load(models / tag / "xgb" / "seed_42").predict(features)
        np.testing.assert_array_equal(scores.to_numpy(), expected)
        assert len(np.unique(expected)) > 5
    assert (report.n_in, report.n_out) == (240, 240)
    assert table.metadata.facts["thresholds"] == {"pnp_xgb": 0.7, "rrlyr_xgb": 0.7}
    assert {column.name: column.unit for column in table.metadata.columns}["period"] == ""


def test_the_pins_stand_beside_the_output(infer: Callable[..., Report], models: Path, tmp_path: Path) -> None:
    infer()
    pins = read_lock(tmp_path / "predictions.parquet.models.lock.json")
    record = read_table(tmp_path / "predictions.parquet", columns=()).metadata
    assert {pin.tag + "_xgb": pin.digest for pin in pins} == record.facts["models"]
    before = (tmp_path / "predictions.parquet").read_bytes()
    infer(models=str(tmp_path / "predictions.parquet.models.lock.json"), bundles=str(models))
    assert (tmp_path / "predictions.parquet").read_bytes() == before


@pytest.mark.parametrize("batch_rows", [11, 239, 1000])
def test_scores_do_not_depend_on_the_batches(infer: Callable[..., Report], tmp_path: Path, batch_rows: int) -> None:
    infer(output=str(tmp_path / "whole.parquet"))
    infer(batch_rows=batch_rows)
    whole = read_table(tmp_path / "whole.parquet").data
    assert read_table(tmp_path / "predictions.parquet").data.equals(whole)


@pytest.mark.parametrize("suffix", [".h5", ".csv"])
def test_other_formats_hold_the_same(infer: Callable[..., Report], tmp_path: Path, suffix: str) -> None:
    infer()
    infer(output=str(tmp_path / f"predictions{suffix}"), batch_rows=100)
    table = read_table(tmp_path / f"predictions{suffix}", kind="predictions").data
    assert table.equals(read_table(tmp_path / "predictions.parquet").data)


def test_classes_and_algorithms_select(infer: Callable[..., Report], tmp_path: Path) -> None:
    infer(classes=["pnp"])
    assert read_table(tmp_path / "predictions.parquet").data.column_names[-2:] == ["chi2red", "pnp_xgb"]
    with pytest.raises(ModelNotFoundError, match=r"no model for the class\(es\) agn; there are models for pnp"):
        infer(classes=["pnp", "agn"])
    with pytest.raises(ModelNotFoundError, match="no model of algorithms=dnn"):
        infer(algorithms=["dnn"])
    for name in ALGORITHMS:
        assert build(Infer, {"features": "f", "output": "o", "algorithms": [name]}).algorithms == (name,)
    with pytest.raises(ConfigError, match=r"unknown algorithm 'xbg' in 'algorithms'.*did you mean 'xgb'"):
        infer(algorithms=["xbg"])


def test_an_empty_table_gives_an_empty_one_with_the_same_columns(
    infer: Callable[..., Report], training_tables: tuple[Path, Path], tmp_path: Path
) -> None:
    infer(output=str(tmp_path / "whole.parquet"))
    table = read_table(training_tables[0])
    write_table(table.data.slice(0, 0), tmp_path / "none.parquet", table.metadata)
    report = infer(features=str(tmp_path / "none.parquet"))
    assert (report.n_in, report.n_out) == (0, 0)
    assert "no rows" in report.warnings[0]
    empty = read_table(tmp_path / "predictions.parquet", kind="predictions").data
    assert empty.num_rows == 0
    assert empty.schema.equals(read_table(tmp_path / "whole.parquet").data.schema)


def test_a_registry_is_asked_for_its_champions(
    infer: Callable[..., Report], models: Path, tracking: dict[str, Any], tmp_path: Path
) -> None:
    from scope_ml.stages.register import Register
    from scope_ml.stages.register import run as run_register

    values = {"models": str(models), "output": str(tmp_path / "models.lock.json"), "tracking": tracking, "plots": False}
    run_register(build(Register, values), progress=NullProgress())
    infer(output=str(tmp_path / "folder.parquet"))
    infer(models="champion", tracking=tracking, classes=["rrlyr", "pnp"])
    pins = read_lock(tmp_path / "predictions.parquet.models.lock.json")
    assert [(pin.name, pin.version, pin.alias) for pin in pins] == [
        ("scope-pnp-xgb", 1, "champion"),
        ("scope-rrlyr-xgb", 1, "champion"),
    ]
    same = read_table(tmp_path / "predictions.parquet").data.equals(read_table(tmp_path / "folder.parquet").data)
    assert same
    infer(models=str(tmp_path / "models.lock.json"), tracking=tracking)
    with pytest.raises(ModelNotFoundError, match="alias challenger"):
        infer(models="challenger", tracking=tracking)
    text = (tmp_path / "models.lock.json").read_text()
    (tmp_path / "models.lock.json").write_text(text.replace(pins[0].digest, "0" * 64))
    with pytest.raises(ModelNotFoundError, match="pins scope-pnp-xgb version 1, whose bundle 000000000000"):
        infer(models=str(tmp_path / "models.lock.json"), tracking=tracking)


def test_models_without_their_features_are_left_out_if_asked(
    infer: Callable[..., Report], training_tables: tuple[Path, Path], tmp_path: Path
) -> None:
    table = read_table(training_tables[0])
    less = tmp_path / "less.parquet"
    # rrlyr takes the period, pnp does not.
    write_table(table.data.drop_columns(["significance_ls"]), less, table.metadata)
    with pytest.raises(FeatureMismatchError, match=r"rrlyr.*significance_ls"):
        infer(features=str(less))
    report = infer(features=str(less), unfit_models="skip")
    scored = read_table(tmp_path / "predictions.parquet")
    assert [name for name in scored.data.column_names if name.endswith("_xgb")] == ["pnp_xgb"]
    assert "rrlyr" in report.warnings[0]
    assert report.facts["n_models"] == 1
    assert list(scored.metadata.facts["models"]) == ["pnp_xgb"]
    assert [pin.tag for pin in read_lock(tmp_path / "predictions.parquet.models.lock.json")] == ["pnp"]
    # Where none fits, there is nothing to write.
    write_table(table.data.drop_columns(["skew"]), less, table.metadata)
    with pytest.raises(FeatureMismatchError, match="skew"):
        infer(features=str(less), unfit_models="skip")


def test_other_features_are_refused_and_nothing_is_left(
    infer: Callable[..., Report], training_tables: tuple[Path, Path], tmp_path: Path
) -> None:
    table = read_table(training_tables[0])
    less = tmp_path / "less.parquet"
    write_table(table.data.drop_columns(["skew"]), less, table.metadata)
    with pytest.raises(FeatureMismatchError, match="skew") as caught:
        infer(features=str(less))
    assert caught.value.missing == ("skew",)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["less.parquet"]


def test_a_file_that_breaks_midway_leaves_nothing(
    infer: Callable[..., Report], training_tables: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from scope_ml.stages import inference_table as stage

    calls = []
    score = score_rows

    def fails_at_the_third(*args: Any, **more: Any) -> pa.Table:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return score(*args, **more)

    monkeypatch.setattr(stage, "score", fails_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        infer(batch_rows=50)
    assert list(tmp_path.iterdir()) == []


def test_bad_input_is_one_line_and_leaves_nothing(
    infer: Callable[..., Report], training_tables: tuple[Path, Path], models: Path, tmp_path: Path
) -> None:
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    (inputs / "empty.parquet").touch()
    (inputs / "broken.parquet").write_bytes(training_tables[0].read_bytes()[:-100])
    (inputs / "file").write_text("")
    cases: tuple[tuple[dict[str, Any], type[ScopeError], str], ...] = (
        ({"features": str(inputs / "missing.parquet")}, FormatError, "does not exist"),
        ({"features": str(inputs / "empty.parquet")}, FormatError, "empty"),
        ({"features": str(inputs / "broken.parquet")}, FormatError, "not a readable Parquet"),
        ({"features": str(training_tables[1])}, MetadataError, "'features' table is needed"),
        ({"models": "champion"}, ModelNotFoundError, "tracking=off"),
        ({"models": "champions"}, ModelNotFoundError, "did you mean 'champion'"),
        ({"models": str(inputs)}, ModelNotFoundError, "holds no model bundle"),
        ({"models": str(inputs / "models.lock.json")}, FormatError, r"python -m scope_ml\.register"),
        (
            {"models": "champion", "tracking": {"uri": f"sqlite:///{inputs}/no.db"}},
            ModelNotFoundError,
            r"no\.db; type python -m scope_ml\.train",
        ),
        ({"output": str(inputs / "file" / "p.parquet")}, OutputError, "choose another"),
        ({"output": str(inputs / "p.fits")}, FormatError, r"suffix '\.fits'"),
    )
    before = sorted(path.name for path in inputs.iterdir())
    for changes, error, words in cases:
        with pytest.raises(error, match=words) as caught:
            infer(**changes)
        assert "\n" not in str(caught.value)
    assert sorted(path.name for path in inputs.iterdir()) == before
    assert not (tmp_path / "predictions.parquet").exists()
    with pytest.raises(ConfigError, match="did you mean 'models'"):
        infer(model="champion")
