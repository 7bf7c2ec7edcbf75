"""The bundle: saved whole or not at all, read back exactly, refuses what does not fit, holds no pickle."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scope_ml.core.provenance import TableMetadata
from scope_ml.errors import DataError, FeatureMismatchError, ModelError, ModelNotFoundError, OutputError
from scope_ml.features.registry import feature_digest
from scope_ml.models.batch_scoring import score
from scope_ml.models.bundle import ModelBundle, bundle_digest
from scope_ml.models.calibration import fit_platt
from scope_ml.models.feature_record import FeatureRecord
from scope_ml.models.record import read_record

ALGORITHMS = ("xgb", "dnn")


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_saved_bundle_gives_the_same_scores_and_the_same_record(name, sample, fitted, saved):
    folder, bundle = saved[name]
    loaded = ModelBundle.load(folder)
    scores = loaded.predict(sample.table())
    np.testing.assert_array_equal(scores, fitted[name].predict(sample.table()))
    assert scores.dtype == np.float32
    assert ((scores >= 0) & (scores <= 1)).all()
    assert loaded.record == fitted[name].record
    assert loaded.digest == bundle.digest == bundle_digest(folder)
    assert loaded.name == f"rrlyr_{name}"


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_score_does_not_depend_on_the_other_rows_or_on_the_columns(name, sample, fitted):
    table = sample.table()
    whole = fitted[name].predict(table)
    order = np.random.default_rng(0).permutation(table.num_rows)[:77]
    some = table.take(order).select(["noise", "skew", "unused", "period_ls", "amplitude"])
    np.testing.assert_array_equal(fitted[name].predict(some), whole[order])
    np.testing.assert_array_equal(fitted[name].predict(table.slice(5, 1)), whole[5:6])
    assert fitted[name].predict(table.slice(0, 0)).shape == (0,)


def test_chunked_integer_and_null_columns_are_read_as_numbers(sample, fitted):
    table = sample.table()
    whole = fitted["xgb"].predict(table)
    nulls = table.set_column(1, "amplitude", pa.array(sample.x[:, 0], mask=np.isnan(sample.x[:, 0])))
    np.testing.assert_array_equal(fitted["xgb"].predict(pa.concat_tables([nulls.slice(0, 9), nulls.slice(9)])), whole)
    whole_numbers = table.set_column(4, "noise", pa.array(np.zeros(len(sample.x), dtype=np.int64)))
    assert np.isfinite(fitted["xgb"].predict(whole_numbers)).all()
    with pytest.raises(DataError, match="feature skew is a column of string"):
        fitted["xgb"].predict(table.set_column(3, "skew", pa.array(["x"] * len(sample.x))))


def test_a_table_without_the_features_is_refused_with_the_names(sample, fitted):
    table = sample.table().rename_columns(["id", "amplitude", "period_ce", "skew", "noise", "unused"])
    with pytest.raises(FeatureMismatchError, match=r"lacks: period_ls; .* period_ce, unused; did you mean 'period_ce'"):
        fitted["xgb"].predict(table)


def test_features_computed_in_another_way_are_refused(sample, fitted):
    table = sample.table()
    fitted["xgb"].predict(table, {"period_search": "ls"})
    with pytest.raises(FeatureMismatchError, match=r"with period_search=ls, the table .* period_search=ce"):
        fitted["xgb"].predict(table, {"period_search": "ce"})
    with pytest.raises(FeatureMismatchError, match=r"another formula than the table's: skew;"):
        fitted["xgb"].predict(
            table, {"feature_digests": {"skew": "2", "amplitude": "1", "noise": "1", "period_ls": "1"}}
        )


def test_the_facts_come_from_the_tables_own_metadata_where_it_has_them(sample, fitted, tmp_path):
    record = TableMetadata(kind="features", facts={"period_search": "ce"}).to_json()
    pq.write_table(sample.table().replace_schema_metadata({"scope": record}), tmp_path / "f.parquet")
    with pytest.raises(FeatureMismatchError, match="period_search=ce"):
        fitted["xgb"].predict(pq.read_table(tmp_path / "f.parquet"))


def test_settings_of_the_period_search_are_compared_key_by_key():
    def facts(limit):
        return {"period_search": {"method": "ls", "max_frequency": limit}}

    record = FeatureRecord.of_table(["period_ls"], facts(48))
    record.check(["period_ls"], facts(48), model="m")
    with pytest.raises(
        FeatureMismatchError, match=r"period_search.max_frequency=48, .* period_search.max_frequency=10;"
    ):
        record.check(["period_ls"], facts(10), model="m")


def test_tables_of_one_version_fit_and_of_another_do_not():
    now = {
        "features": ["skew", "median", "period_ls"],
        "feature_digest": feature_digest(["skew", "median", "period_ls"]),
    }
    fewer = {"features": ["median", "skew"], "feature_digest": feature_digest(["median", "skew"])}
    old = now | {"feature_digest": "0" * 64}
    record = FeatureRecord.of_table(["median", "skew"], now)
    record.check(["skew", "median"], fewer, model="m")
    with pytest.raises(FeatureMismatchError, match="another formula than the table's: median, skew"):
        record.check(["skew", "median"], old, model="m")
    FeatureRecord.of_table(["median", "skew"], old).check(["skew", "median"], old, model="m")
    record.check(["skew", "median"], {}, model="m")


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_bundle_can_be_read_without_its_model(name, saved, fitted):
    assert read_record(saved[name][0]) == fitted[name].record


@pytest.mark.parametrize("name", ALGORITHMS)
def test_missing_and_damaged_files_are_named(name, saved):
    folder, bundle = saved[name]
    model_file = bundle.model.file_name
    content = (folder / model_file).read_bytes()
    (folder / model_file).write_bytes(content[:-9] + b"x" * 9)
    with pytest.raises(ModelError, match=f"{model_file} was changed or damaged"):
        ModelBundle.load(folder)
    (folder / model_file).unlink()
    with pytest.raises(ModelError, match=f"{model_file} is missing"):
        ModelBundle.load(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda plain: plain.pop("threshold"), "damaged or of another version"),
        (lambda plain: plain["class"].update(colour="red"), "unknown key 'class.colour'"),
        (lambda plain: plain["algorithm"].update(name="svm"), "unknown algorithm 'svm'"),
        (lambda plain: plain.update(schema_version=99), "has layout 99"),
        (lambda plain: plain["files"].update({"../evil": "0"}), "outside its folder"),
    ],
)
def test_a_damaged_record_is_one_line_that_names_the_file(change, message, saved):
    path = saved["xgb"][0] / "bundle.json"
    plain = json.loads(path.read_text())
    change(plain)
    path.write_text(json.dumps(plain))
    with pytest.raises(ModelError, match=message) as caught:
        ModelBundle.load(saved["xgb"][0])
    assert "bundle.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_json_or_not_there(saved, tmp_path):
    (saved["xgb"][0] / "bundle.json").write_text("{")
    with pytest.raises(ModelError, match=r"bundle\.json cannot be read"):
        ModelBundle.load(saved["xgb"][0])
    with pytest.raises(ModelNotFoundError, match="holds no model bundle"):
        ModelBundle.load(tmp_path / "nothing")
    with pytest.raises(ModelError, match="not a whole model bundle"):
        bundle_digest(tmp_path / "nothing")


def test_files_beside_the_bundle_do_not_change_its_digest(saved):
    folder, bundle = saved["xgb"]
    (folder / "MLmodel").write_text("of somebody else")
    assert ModelBundle.load(folder).digest == bundle.digest


def test_saving_replaces_a_bundle_but_nothing_else(saved, fitted, tmp_path):
    folder, bundle = saved["xgb"]
    assert fitted["xgb"].save(folder).digest == bundle.digest
    other = tmp_path / "thesis"
    other.mkdir()
    (other / "thesis.tex").write_text("years of work")
    with pytest.raises(OutputError, match="something else is there"):
        fitted["xgb"].save(other)
    assert (other / "thesis.tex").read_text() == "years of work"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dnn", "thesis", "xgb"]


def test_a_save_that_fails_leaves_nothing_or_what_was_there(saved, fitted, monkeypatch, tmp_path):
    def full(*_):
        raise OSError(28, "No space left on device")

    folder, bundle = saved["xgb"]
    monkeypatch.setattr("scope_ml.models.bundle.write_record", full)
    for target in (folder, tmp_path / "new"):
        with pytest.raises(OutputError, match="No space left"):
            fitted["xgb"].save(target)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dnn", "xgb"]
    assert ModelBundle.load(folder).digest == bundle.digest


def test_many_models_score_a_table_as_each_does_alone(sample, fitted, monkeypatch):
    monkeypatch.setattr("scope_ml.models.batch_scoring.BLOCK_ROWS", 100)
    scores = score(list(fitted.values()), sample.table())
    assert scores.column_names == ["rrlyr_xgb", "rrlyr_dnn"]
    for bundle in fitted.values():
        assert scores[bundle.name].type == pa.float32()
        np.testing.assert_array_equal(scores[bundle.name].to_numpy(), bundle.predict(sample.table()))


def test_two_models_for_one_column_are_refused(sample, fitted):
    with pytest.raises(ModelError, match="more than one model for rrlyr_xgb"):
        score([fitted["xgb"], fitted["xgb"]], sample.table())


@pytest.mark.parametrize("name", ALGORITHMS)
def test_there_is_no_pickle_and_no_place_in_a_bundle(name, saved, root):
    folder, _ = saved[name]
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [
            "bundle.json",
            "curves.json",
            "distributions.json",
            "importance.json",
            "origin.json",
            "preparation.json",
            {"xgb": "model.ubj", "dnn": "model.keras"}[name],
        ]
    )
    for path in folder.iterdir():
        content = path.read_bytes()
        assert str(root).encode() not in content
        assert str(folder).encode() not in content


def test_nothing_in_the_package_imports_pickle(root):
    pattern = re.compile(r"^\s*(import|from)\s+(pickle|cloudpickle|dill|joblib)\b", re.MULTILINE)
    found = [path for path in sorted(Path(root, "scope_ml").rglob("*.py")) if pattern.search(path.read_text())]
    assert found == []


def test_the_commit_is_known_but_no_part_of_the_digest(saved, tmp_path):
    folder, bundle = saved["xgb"]
    copy = shutil.copytree(folder, tmp_path / "copy")
    assert read_record(copy).provenance.git_commit == bundle.record.provenance.git_commit
    (copy / "origin.json").unlink()
    assert read_record(copy).provenance.git_commit == "unknown"
    assert bundle_digest(copy) == bundle_digest(folder)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_scores_are_calibrated_and_those_of_the_algorithm_can_be_had(name, sample, fitted):
    bundle = fitted[name]
    raw, scores = bundle.raw_scores(sample.table()), bundle.predict(sample.table())
    assert bundle.record.calibration.method == "platt"
    np.testing.assert_array_equal(scores, bundle.record.calibration.apply(raw))
    np.testing.assert_array_equal(scores, bundle.calibrated(raw))
    assert not np.array_equal(scores, raw)
    as_it_is = sample.fit(name, fit={"calibration": "none"}) if name == "xgb" else bundle
    if name == "xgb":
        np.testing.assert_array_equal(as_it_is.predict(sample.table()), raw)


def test_the_calibration_is_fitted_on_validation_alone_and_class_weights_are_no_part_of_it(sample):
    bundle = sample.with_spec(weight_per_class=True).fit("xgb")
    rows = np.flatnonzero(sample.known & (sample.part == 1))
    assert bundle.record.calibration == fit_platt(bundle.raw_scores(sample.table())[rows], sample.y[rows])


def test_metrics_and_threshold_are_of_the_calibrated_scores(sample):
    bundle = sample.fit("xgb", fit={"threshold": "best_f1"})
    metrics = bundle.record.metrics
    assert {m.threshold for m in metrics.values()} == {bundle.record.threshold}
    own = sample.fit("xgb", fit={"threshold": "class"}).record
    assert own.threshold == sample.spec.threshold != bundle.record.threshold
    assert metrics["val"].value("f1") >= own.metrics["val"].value("f1")
    rows = np.flatnonzero(sample.known & (sample.part == 1))
    called = bundle.predict(sample.table())[rows] >= bundle.record.threshold
    confusion = metrics["val"].confusion
    assert (called & (sample.y[rows] == 1)).sum() == confusion["tp"]
    assert called.sum() == confusion["tp"] + confusion["fp"]


def test_the_distributions_are_of_the_training_part_before_preparation(sample, fitted):
    for bundle in fitted.values():
        known = bundle.record.distributions
        amplitude = sample.x[sample.part == 0, 0]
        assert known.features["amplitude"].n_missing == int(np.isnan(amplitude).sum())
        assert known.features["amplitude"].edges[0] == np.nanmin(amplitude)
        # Of the scores those of rows that did not train.
        assert sum(known.scores) == int((sample.known & (sample.part != 0)).sum())


def test_a_bundle_of_the_first_layout_is_read_without_calibration(sample, saved, fitted):
    folder, _ = saved["xgb"]
    path = folder / "bundle.json"
    plain = json.loads(path.read_text())
    plain |= {"schema_version": 1, "calibration": None, "model_file": "model.ubj"}
    for name in ("members", "warnings", "model_facts", "model_files"):
        del plain[name]
    del plain["files"]["distributions.json"]
    path.write_text(json.dumps(plain))
    (folder / "distributions.json").unlink()
    old = ModelBundle.load(folder)
    np.testing.assert_array_equal(old.predict(sample.table()), fitted["xgb"].raw_scores(sample.table()))
    assert (old.record.calibration, old.record.distributions, old.record.members) == (None, None, ())
    assert old.record.warnings == old.record.preparation.warnings
    again = old.save(folder)
    assert read_record(folder) == old.record
    assert again.digest == bundle_digest(folder)
