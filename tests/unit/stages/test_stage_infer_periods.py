"""Periods refined by class while scoring: which class, which light curve, which columns, bad input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scope_ml.core.configuration import build
from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.core.protocols import NullProgress
from scope_ml.core.provenance import TableMetadata
from scope_ml.core.report import Report
from scope_ml.errors import ConfigError, EmptySelectionError, FormatError, MissingColumnError, ScopeError
from scope_ml.features.cleaning import Cleaning, clean
from scope_ml.io.lightcurves import write_light_curves
from scope_ml.io.tables import read_table, write_table
from scope_ml.kernels.refinement import refine_periods
from scope_ml.models.bundle import ModelBundle
from scope_ml.stages.catalogue_classes import ClassChoice, class_choice
from scope_ml.stages.catalogue_rows import RowIndex
from scope_ml.stages.infer import Infer, run
from scope_ml.stages.train import Train
from scope_ml.stages.train import run as run_train
from scope_ml.taxonomy.graph import Taxonomy

ADDED = ["period_searched", "period_factor", "period_class", "period_confidence"]

#: Thresholds of the two models; few trees give no high scores.
THRESHOLD = {"ew": 0.3, "pnp": 0.25}

#: Rows of the table that have a light curve: the members.
N_CURVES = 48


def contact_binary(row: int, period: float, n_obs: int = 120) -> list[np.ndarray[Any, Any]]:
    """Return time, mag, mag_err, catflags of a star of which a search finds half the orbit; a fifth is flagged rubbish."""
    rng = np.random.default_rng(row)
    time = np.sort(2459000.0 + rng.uniform(0, 400, n_obs))
    phase = 2 * np.pi * time / (2 * period)
    mag = 15 + 0.25 * np.cos(2 * phase) + 0.05 * np.cos(4 * phase) + 0.03 * np.cos(phase) + rng.normal(0, 0.01, n_obs)
    flags = (rng.random(n_obs) < 0.2).astype(np.int16)
    return [time, np.where(flags == 1, 5.0, mag), np.full(n_obs, 0.01), flags]


def write_curves(path: Path, ids: list[int], bands: list[str], columns: list[list[np.ndarray[Any, Any]]]) -> None:
    lists = list(zip(*columns, strict=True))
    batch = LightCurveBatch.from_lists(np.array(ids), *lists[:3], flags=lists[3])
    write_light_curves(batch, pa.table({"id": pa.array(ids), "band": bands}), path)


@pytest.fixture(scope="module")
def models(
    train_values: Callable[..., Train],
    training_tables: tuple[Path, Path],
    taxonomy: Taxonomy,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Return a folder with a model of pnp and one of ew, whose members are the same fifth of the rows."""
    folder = tmp_path_factory.mktemp("models")
    labels = read_table(training_tables[1]).data
    labels = labels.append_column("ew", labels["rrlyr"])
    write_table(labels, folder / "labels.parquet", TableMetadata(kind="labels"))
    dataset = {"features": str(training_tables[0]), "labels": str(folder / "labels.parquet")}
    for tag in ("ew", "pnp"):
        output = str(folder / "models" / tag / "xgb")
        spec = replace(taxonomy[tag], threshold=THRESHOLD[tag])
        values = {"class": spec, "dataset": dataset, "output": output}
        run_train(train_values(tag, **values), progress=NullProgress())
    return folder / "models"


@pytest.fixture(scope="module")
def curves(training_tables: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return light curves of the first rows, each id also in a band that the table does not have."""
    table = read_table(training_tables[0]).data.slice(0, N_CURVES)
    path = tmp_path_factory.mktemp("curves") / "curves.parquet"
    ids, periods = table["id"].to_pylist(), table["period_ls"].to_pylist()
    other = [contact_binary(row, 0.123) for row in range(N_CURVES)]
    own = [contact_binary(row, period) for row, period in enumerate(periods)]
    write_curves(path, ids + ids, ["g"] * N_CURVES + ["r"] * N_CURVES, other + own)
    return path


@pytest.fixture(scope="module")
def members(models: Path, training_tables: tuple[Path, Path]) -> list[int]:
    """Return the rows with a light curve that the model takes for ew."""
    scores = ModelBundle.load(models / "ew" / "xgb" / "seed_42").predict(read_table(training_tables[0]).data)
    return np.flatnonzero(scores[:N_CURVES] >= THRESHOLD["ew"]).tolist()


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


def test_periods_follow_the_class(infer: Callable[..., Report], curves: Path, tmp_path: Path) -> None:
    infer(output=str(tmp_path / "before.parquet"))
    report = infer(source={"path": str(curves)})
    before = read_table(tmp_path / "before.parquet")
    after = read_table(tmp_path / "predictions.parquet", kind="predictions")
    place = before.data.column_names.index("period") + 1
    names = before.data.column_names
    assert after.data.column_names == [*names[:place], *ADDED, *names[place:]]
    for name in names:
        if name != "period":
            assert after.data[name].equals(before.data[name])
    assert after.data["period_searched"].equals(before.data["period"])
    period, searched, factor, confidence = (
        after.data[name].to_numpy() for name in ("period", "period_searched", "period_factor", "period_confidence")
    )
    tag = np.array(after.data["period_class"].to_pylist(), dtype=object)
    has_curve = np.arange(len(tag)) < N_CURVES
    scored = [np.asarray(before.data[name]) for name in ("ew_xgb", "pnp_xgb")]
    expected = ["ew" if ew >= 0.3 else "pnp" if pnp >= 0.25 else None for ew, pnp in zip(*scored, strict=True)]
    assert tag.tolist() == expected
    doubled = (tag == "ew") & has_curve
    assert doubled.sum() > 20
    np.testing.assert_allclose(period[doubled], 2 * searched[doubled], rtol=1e-3)
    assert (factor[doubled] == 2).all()
    assert (confidence[doubled] > 0.5).all()
    np.testing.assert_array_equal(period[~doubled], searched[~doubled])
    assert (factor[~doubled] == 1).all()
    counts = report.facts["periods"]
    assert counts["refined"] == doubled.sum()
    assert counts["no_class"] == (tag == None).sum()  # noqa: E711 - elementwise
    assert counts["no_light_curve"] == ((tag != None) & ~has_curve).sum()  # noqa: E711
    assert sum(counts.values()) == report.n_out == 240
    assert after.metadata.facts["periods"] == counts
    assert [item.name for item in after.metadata.inputs] == ["features", "light_curves"]
    assert after.metadata.inputs[1].n_rows == 2 * N_CURVES
    assert before.metadata.facts["thresholds"] == {"ew_xgb": 0.3, "pnp_xgb": 0.25}
    assert after.metadata.config_digest != before.metadata.config_digest


def test_the_points_are_those_that_the_features_were_measured_on(
    infer: Callable[..., Report],
    training_tables: tuple[Path, Path],
    curves: Path,
    members: list[int],
    tmp_path: Path,
) -> None:
    cuts: dict[str, Any] = {
        "keep_flagged": False,
        "max_timestamp_hjd": 2459300.0,
        "min_cadence_minutes": 600.0,
        "min_n_obs": 20,
    }
    table = read_table(training_tables[0])
    row = members[0]
    columns = contact_binary(row, table.data["period_ls"][row].as_py())
    metadata = TableMetadata(kind="features", facts={**table.metadata.facts, "cleaning": cuts})
    write_table(table.data, tmp_path / "cut.parquet", metadata)
    infer(features=str(tmp_path / "cut.parquet"), source={"path": str(curves)})
    data = read_table(tmp_path / "predictions.parquet").data
    batch = LightCurveBatch.from_lists([1], *[[values] for values in columns[:3]], flags=[columns[3]])
    cleaned = clean(batch, Cleaning(**cuts)).batch
    assert 20 < cleaned.n_points < 80
    expected = refine_periods(cleaned, [data["period_searched"][row].as_py()], ["ew"])[0]
    assert data["period_class"][row].as_py() == "ew"
    assert data["period"][row].as_py() == expected.period
    assert data["period_confidence"][row].as_py() == np.float32(expected.confidence)


def test_neither_order_nor_batches_nor_threads_nor_format_matter(
    infer: Callable[..., Report], training_tables: tuple[Path, Path], curves: Path, tmp_path: Path
) -> None:
    infer(source={"path": str(curves)}, output=str(tmp_path / "whole.parquet"))
    whole = read_table(tmp_path / "whole.parquet").data
    table = read_table(training_tables[0]).data
    order = np.random.default_rng(0).permutation(N_CURVES).tolist()
    ids, periods = table["id"].to_pylist(), table["period_ls"].to_pylist()
    folder = tmp_path / "folder"
    folder.mkdir()
    for name, rows in (("a", order[:31]), ("b", order[31:])):
        columns = [contact_binary(row, periods[row]) for row in rows]
        write_curves(folder / f"{name}.parquet", [ids[row] for row in rows], ["r"] * len(rows), columns)
    infer(source={"path": str(folder)}, batch_rows=37, machine={"workers": 2, "max_batch_sources": 9})
    assert read_table(tmp_path / "predictions.parquet").data.equals(whole)
    infer(source={"path": str(curves), "band": "r"}, output=str(tmp_path / "predictions.csv"))
    assert read_table(tmp_path / "predictions.csv").data.equals(whole)


def test_a_row_without_a_light_curve_is_counted_and_named(
    infer: Callable[..., Report], training_tables: tuple[Path, Path], members: list[int], tmp_path: Path
) -> None:
    table = read_table(training_tables[0]).data
    ids, periods = table["id"].to_pylist(), table["period_ls"].to_pylist()
    whole, short, absent = members[:3]
    columns = [contact_binary(whole, periods[whole]), contact_binary(short, periods[short], n_obs=30)]
    write_curves(tmp_path / "two.parquet", [ids[whole], ids[short]], ["r", "r"], columns)
    report = infer(source={"path": str(tmp_path / "two.parquet")})
    assert report.facts["periods"]["refined"] == 1
    assert report.facts["periods"]["no_light_curve"] >= len(members) - 1
    data = read_table(tmp_path / "predictions.parquet").data
    classified = [row for row, tag in enumerate(data["period_class"].to_pylist()) if tag and row != whole]
    assert {short, absent} < set(classified)
    named = ", ".join(f"{ids[row]} (r)" for row in classified[:3])
    assert f"{len(classified)} rows keep their period" in report.warnings[0]
    assert f"({named}, ...)".replace("(", "(ids ", 1) in report.warnings[0]
    assert [data["period_confidence"][row].as_py() for row in (short, absent)] == [0, 0]
    assert data["period_confidence"][whole].as_py() > 0.5


def test_other_light_curves_than_the_features_are_told(
    infer: Callable[..., Report], training_tables: tuple[Path, Path], curves: Path, tmp_path: Path
) -> None:
    from scope_ml.core.provenance import Input, digest_file

    table = read_table(training_tables[0])
    for digest, told in ((digest_file(curves), False), ("0" * 64, True)):
        inputs = (Input(name="light_curves", digest=digest),)
        record = TableMetadata(kind="features", facts=table.metadata.facts, inputs=inputs)
        write_table(table.data, tmp_path / "features.parquet", record)
        report = infer(features=str(tmp_path / "features.parquet"), source={"path": str(curves)})
        assert any("not what the features were measured on" in line for line in report.warnings) is told


def test_no_period_and_no_rows(
    infer: Callable[..., Report], training_tables: tuple[Path, Path], curves: Path, tmp_path: Path
) -> None:
    table = read_table(training_tables[0])
    place = table.data.column_names.index("period_ls")
    few = table.data.slice(0, 4)
    few = few.set_column(place, "period_ls", pa.array([None, float("nan"), 0.0, few["period_ls"][3].as_py()]))
    write_table(few, tmp_path / "few.parquet", table.metadata)
    report = infer(features=str(tmp_path / "few.parquet"), source={"path": str(curves)})
    data = read_table(tmp_path / "predictions.parquet").data
    assert data["period"].to_pylist()[0] is None
    assert np.isnan(data["period"].to_pylist()[1])
    assert data["period"].to_pylist()[2] == 0
    assert report.facts["periods"]["no_light_curve"] == 0
    full_schema = data.schema
    write_table(few.slice(0, 0), tmp_path / "none.parquet", table.metadata)
    report = infer(features=str(tmp_path / "none.parquet"), source={"path": str(curves)})
    assert sum(report.facts["periods"].values()) == 0
    assert read_table(tmp_path / "predictions.parquet").data.schema.equals(full_schema)


def test_a_dry_run_keeps_nothing(infer: Callable[..., Report], curves: Path, tmp_path: Path) -> None:
    report = infer(source={"path": str(curves)}, machine={"workers": 1, "dry_run": True})
    assert report.facts["periods"]["refined"] > 20
    assert list(tmp_path.iterdir()) == []


def test_bad_sources_are_one_line_and_leave_nothing(
    infer: Callable[..., Report], training_tables: tuple[Path, Path], curves: Path, tmp_path: Path
) -> None:
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    write_curves(inputs / "strangers.parquet", [7], ["r"], [contact_binary(0, 0.5)])
    table = read_table(training_tables[0])
    facts = {**table.metadata.facts, "period_search": {"method": "ls"}}
    without = table.data.drop_columns(["id"])
    write_table(without, inputs / "without.parquet", TableMetadata(kind="features", facts=facts))
    first = table.data["id"][0].as_py()
    cases: tuple[tuple[dict[str, Any], type[ScopeError], str], ...] = (
        ({"source": {"path": str(inputs / "missing")}}, FormatError, "does not exist"),
        ({"source": {"path": ""}}, ConfigError, "source.path"),
        (
            {"source": {"path": str(inputs / "strangers.parquet")}},
            EmptySelectionError,
            rf"the table has ids {first} \(r\), .*the source has ids 7 \(r\); give source.path=",
        ),
        ({"source": {"path": str(curves), "band": "g"}}, EmptySelectionError, "in band g the light curve of none"),
        ({"source": {"path": str(curves), "band": "i"}}, EmptySelectionError, "the source has no light curves"),
        (
            {"source": {"path": str(curves)}, "features": str(inputs / "without.parquet")},
            MissingColumnError,
            "leave source.path out",
        ),
        ({"source": {"paht": str(curves)}}, ConfigError, "did you mean 'path'"),
    )
    for changes, error, words in cases:
        with pytest.raises(error, match=words) as caught:
            infer(**changes)
        assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["inputs"]


def choice(tags: str, implied: dict[str, str], silent: str = "") -> ClassChoice:
    names = tuple(tags.split())
    return ClassChoice(
        tags=names,
        columns=tuple((f"{tag}_xgb", f"{tag}_dnn") for tag in names),
        threshold=np.full(len(names), 0.7),
        implies=np.array([[other in implied.get(tag, "").split() for other in names] for tag in names]),
        tells=np.array([tag not in silent.split() for tag in names]),
    )


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ({"pnp": 0.9, "e": 0.8, "ea": 0.75}, "ea"),
        ({"pnp": 0.9, "e": 0.8, "ea": 0.6}, "e"),
        ({"pnp": 0.9, "e": 0.6, "ea": 0.6}, "pnp"),
        ({"ea": 0.75}, "ea"),
        ({"pnp": 0.95, "e": 0.8, "ea": 0.75, "rrab": 0.8}, "rrab"),
        ({"ea": 0.8, "rrab": 0.8}, "ea"),
        ({"sin": 0.99, "e": 0.71}, "e"),
        ({"sin": 0.99, "pnp": 0.99}, "sin"),
        ({"pnp": 0.69}, None),
    ],
)
def test_the_most_specific_class_decides_and_of_those_the_surest(
    scores: dict[str, float], expected: str | None
) -> None:
    classes = choice("pnp sin e ea rrab", {"sin": "pnp", "e": "pnp", "ea": "e pnp", "rrab": "pnp"}, silent="pnp sin")
    table = pa.table(
        {
            name: np.array([scores.get(tag, 0.0)] * 2)
            for tag, names in zip(classes.tags, classes.columns, strict=True)
            for name in names
        }
    )
    code = classes.decide(table)
    assert code.dtype == np.int16
    assert [classes.tags[number] if number >= 0 else None for number in code] == [expected] * 2


def test_the_mean_of_the_algorithms_decides() -> None:
    classes = choice("e", {})
    table = pa.table({"e_xgb": np.array([0.9, 0.9]), "e_dnn": np.array([0.45, 0.55])})
    assert classes.decide(table).tolist() == [-1, 0]


def test_a_class_of_ones_own_leaves_it_to_the_classes_that_are_known(models: Path) -> None:
    bundles = [ModelBundle.load(models / tag / "xgb" / "seed_42") for tag in ("pnp", "ew")]
    classes = class_choice(bundles)
    assert classes.tags == ("pnp", "ew")
    assert classes.implies.tolist() == [[False, False], [True, False]]  # by way of e, which has no model here
    assert classes.tells.tolist() == [False, True]
    own = replace(bundles[1], record=replace(bundles[1].record, spec=replace(bundles[1].record.spec, tag="mine")))
    assert class_choice([bundles[0], own]).tags == ("pnp",)
    assert class_choice([own]).decide(pa.table({"mine_xgb": np.array([0.9])})).tolist() == [-1]


def test_rows_are_found_by_exact_id_and_band() -> None:
    big = 2**53
    keys = pa.table({"id": [big + 1, big, big, 5, big], "band": ["r", "g", "r", None, "r"]})
    index = RowIndex(keys)
    group = index.find(pa.table({"id": [big, big + 1, big + 1, 5, 5, 6], "band": ["r", "r", "g", None, "r", "r"]}))
    assert (group >= 0).tolist() == [True, True, False, True, False, False]
    # Two rows of one id and band: each is given out once, in order.
    again = np.array([group[0], group[0], group[0], group[1], group[3]])
    assert index.take(again).tolist() == [2, 4, -1, 0, 3]
    text = RowIndex(keys, as_text=True)
    assert (text.find(pa.table({"id": [str(big), "x"], "band": ["r", "r"]})) >= 0).tolist() == [True, False]
    names = RowIndex(pa.table({"id": ["b", "a"]}))
    assert names.take(names.find(pa.table({"id": ["a", "b"], "band": ["g", "r"]}))).tolist() == [1, 0]
    assert RowIndex(keys.slice(0, 0)).find(pa.table({"id": [5], "band": ["r"]})).tolist() == [-1]


def test_quadrants_of_a_field_take_their_own_light_curves(
    infer: Callable[..., Report], curves: Path, training_tables: tuple[Path, Path], tmp_path: Path
) -> None:
    """The light curves of each quadrant are found by field, ccd and quad; others are not read for it."""
    whole, listed = read_table(training_tables[0]), pq.read_table(curves)
    half = N_CURVES // 2
    row = np.arange(listed.num_rows) % N_CURVES
    for name, values in (("field", np.full(row.size, 245)), ("ccd", 1 + (row >= half)), ("quad", np.full(row.size, 3))):
        listed = listed.append_column(name, pa.array(values.astype(np.int32)))
    pq.write_table(listed, tmp_path / "curves.parquet")
    rows = {1: whole.data.slice(0, half), 2: whole.data.slice(half, N_CURVES - half)}
    for ccd, data in rows.items():
        path = tmp_path / "features" / "field_000245" / f"ccd_{ccd:02d}_quad_3.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_table(data, path, whole.metadata)
    source = {"path": str(tmp_path / "curves.parquet")}
    output = tmp_path / "scores"
    report = infer(features=str(tmp_path / "features"), output=str(output), field=245, source=source)
    assert report.facts["n_failed"] == 0
    infer(features=str(training_tables[0]), source=source)
    expected = read_table(tmp_path / "predictions.parquet").data.slice(0, N_CURVES)
    found = [read_table(output / "field_000245" / f"ccd_{ccd:02d}_quad_3.parquet") for ccd in (1, 2)]
    assert pa.concat_tables([one.data for one in found]).equals(expected)
    assert report.facts["periods"]["refined"] == sum(one.metadata.facts["periods"]["refined"] for one in found) > 10
    assert {one.n_rows for table in found for one in table.metadata.inputs if one.name == "light_curves"} == {N_CURVES}
    # New light curves of one quadrant: that one again, by digest.
    changed = listed.take(pa.array(np.flatnonzero((row >= half) | (row % 2 == 0))))
    pq.write_table(changed, tmp_path / "curves.parquet")
    again = infer(features=str(tmp_path / "features"), output=str(output), field=245, source=source)
    assert (again.facts["n_failed"], again.facts["n_quadrants"]) == (0, 2)
    assert any("other features or light curves" in line for line in again.warnings)
