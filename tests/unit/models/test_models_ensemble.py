"""Ensembles: the mean of calibrated members and their spread, saved, loaded and measured like any bundle."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from scope_ml.errors import ModelError
from scope_ml.models.bundle import ModelBundle
from scope_ml.models.calibration import Calibration
from scope_ml.models.ensemble import ensemble
from scope_ml.models.fit import FitConfig
from scope_ml.models.metrics import average_precision
from scope_ml.models.record import read_record

CONFIG = FitConfig(n_resamples=50)


@pytest.fixture(scope="module")
def members(sample):
    return [sample.fit("xgb", seed=seed, n_rounds=15) for seed in (3, 1, 2)]


@pytest.fixture(scope="module")
def together(sample, members):
    return ensemble(members, sample.data("xgb"), sample.labels, CONFIG)


def test_the_score_is_the_mean_of_the_calibrated_ones_and_the_spread_their_deviation(sample, members, together):
    scores = np.stack([bundle.predict(sample.table()) for bundle in members])
    np.testing.assert_allclose(together.predict(sample.table()), scores.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(together.spread(sample.table()), scores.std(axis=0, ddof=1), atol=1e-7)
    assert together.spread(sample.table()).max() > 0.01
    assert members[0].spread(sample.table()) is None


def test_it_is_measured_like_a_single_model(sample, members, together):
    record = together.record
    assert (record.seed, record.members, record.name) == (None, (1, 2, 3), "rrlyr_xgb")
    assert record.calibration is None
    assert record.counts["members"] == 3
    rows = np.flatnonzero(sample.known & (sample.part == 2))
    scores = together.predict(sample.table())
    value = record.metrics["test"].value("average_precision")
    assert value == pytest.approx(average_precision(sample.y[rows], scores[rows]))
    assert record.metrics["test"].estimates["average_precision"].low < value
    gain = [bundle.record.importance["gain"]["amplitude"] for bundle in members]
    assert record.importance["gain"]["amplitude"] == pytest.approx(np.mean(gain))
    assert sum(record.distributions.scores) == np.isin(sample.part[sample.known], (1, 2)).sum()


def test_it_is_saved_whole_and_read_back(sample, together, members, tmp_path):
    saved = together.save(tmp_path / "ensemble")
    files = sorted(path.name for path in (tmp_path / "ensemble").iterdir() if path.suffix == ".ubj")
    assert files == ["member_1.ubj", "member_2.ubj", "member_3.ubj"]
    loaded = ModelBundle.load(tmp_path / "ensemble")
    assert loaded.record == together.record
    np.testing.assert_array_equal(loaded.predict(sample.table()), together.predict(sample.table()))
    np.testing.assert_array_equal(loaded.spread(sample.table()), together.spread(sample.table()))
    again = ensemble(members[::-1], sample.data("xgb"), sample.labels, CONFIG).save(tmp_path / "again")
    assert again.digest == saved.digest == loaded.digest
    (tmp_path / "ensemble" / "member_2.ubj").unlink()
    with pytest.raises(ModelError, match=r"member_2\.ubj is missing"):
        ModelBundle.load(tmp_path / "ensemble")


def test_each_member_keeps_its_own_calibration(sample, members, tmp_path):
    odd = Calibration(method="platt", slope=0.5, intercept=1.0)
    other = [replace(members[0], record=replace(members[0].record, calibration=odd)), members[1]]
    together = ensemble(other, sample.data("xgb"), sample.labels, CONFIG)
    together.save(tmp_path / "e")
    wanted = 0.5 * (odd.apply(members[0].raw_scores(sample.table())) + members[1].predict(sample.table()))
    np.testing.assert_allclose(ModelBundle.load(tmp_path / "e").predict(sample.table()), wanted, rtol=1e-6)


def test_the_threshold_is_that_of_the_mean(sample, members):
    best = ensemble(members, sample.data("xgb"), sample.labels, replace(CONFIG, threshold="best_f1")).record
    own = ensemble(members, sample.data("xgb"), sample.labels, replace(CONFIG, threshold="class")).record
    assert own.threshold == sample.spec.threshold
    assert best.threshold != own.threshold
    assert best.metrics["val"].value("f1") >= own.metrics["val"].value("f1")


def test_networks_are_kept_one_file_each(sample, fitted, tmp_path):
    two = [fitted["dnn"], sample.fit("dnn", seed=2, epochs=2)]
    together = ensemble(two, sample.data("dnn"), sample.labels, CONFIG)
    together.save(tmp_path / "e")
    assert {path.name for path in (tmp_path / "e").glob("*.keras")} == {"member_1.keras", "member_2.keras"}
    np.testing.assert_array_equal(
        ModelBundle.load(tmp_path / "e").predict(sample.table()), together.predict(sample.table())
    )


def test_members_that_do_not_belong_together_are_refused(sample, members):
    data = sample.data("xgb")

    def refuse(bundles, message):
        with pytest.raises(ModelError, match=message):
            ensemble(bundles, data, sample.labels, CONFIG)

    record = members[1].record
    refuse(members[:1], "needs 2 members or more, got 1")
    refuse([members[0], members[0]], r"must have different seeds, got \[3, 3\]")
    other = replace(record, provenance=replace(record.provenance, data_digest="x"))
    refuse([members[0], replace(members[1], record=other)], "seed 3 of rrlyr_xgb has other data than seed 1")
    tag = replace(record, spec=replace(record.spec, tag="ea"))
    refuse([members[0], replace(members[1], record=tag)], "other class and algorithm than seed 1 of ea_xgb")
    with pytest.raises(ModelError, match="were not trained on this data set"):
        ensemble(members, sample.data("dnn"), sample.labels, CONFIG)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda facts: facts.pop("members"), "does not say what its ensemble is made of"),
        (lambda facts: facts["members"][0].update(file="../x.ubj"), "a member outside its folder"),
        (lambda facts: facts["members"][0].update(calibration={"method": "x"}), "is no rising map"),
    ],
)
def test_a_damaged_ensemble_is_one_clear_line(together, tmp_path, change, message):
    together.save(tmp_path / "e")
    path = tmp_path / "e" / "bundle.json"
    plain = json.loads(path.read_text())
    change(plain["model_facts"])
    path.write_text(json.dumps(plain))
    assert read_record(tmp_path / "e").members == (1, 2, 3)
    with pytest.raises(ModelError, match=message):
        ModelBundle.load(tmp_path / "e")
