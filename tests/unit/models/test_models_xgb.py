"""Trees: the staged grid, training on, what a seed and the settings decide."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from scope_ml.core.protocols import NullRunLogger
from scope_ml.errors import ConfigError, ModelError
from scope_ml.models import xgb_grid
from scope_ml.models.algorithms import configure, settle
from scope_ml.models.feature_record import FeatureRecord
from scope_ml.models.fit import FitConfig, FitRequest, fit_bundles
from scope_ml.models.record import Provenance
from scope_ml.taxonomy.classes import ClassSpec, ClassXgb

CONFIG = FitConfig(n_resamples=0, permutation_importance=False)


class Log(NullRunLogger):
    def __init__(self) -> None:
        self.seen: list[dict[str, float]] = []

    def metrics(self, values, *, step=None):
        self.seen.append(dict(values) | ({} if step is None else {"step": step}))


def request(sample, *, seed=1, log=None, start=None, **settings):
    return FitRequest(
        labels=sample.labels,
        settings=configure({"name": "xgb", "n_rounds": 20} | settings),
        seed=seed,
        provenance=Provenance(),
        log=log or NullRunLogger(),
        start=start,
    )


def fit(sample, **options):
    (found,) = fit_bundles(sample.data("xgb"), [request(sample, **options)], config=CONFIG)
    return found


def test_many_models_are_those_that_each_gives_alone(sample, tmp_path):
    requests = [request(sample, seed=1), request(sample, seed=2), request(sample.with_spec(balance=1.0), max_bin=32)]
    together = fit_bundles(sample.data("xgb"), requests, config=CONFIG)
    for number, (one, bundle) in enumerate(zip(requests, together, strict=True)):
        (alone,) = fit_bundles(sample.data("xgb"), [one], config=CONFIG)
        assert alone.save(tmp_path / f"a{number}").digest == bundle.save(tmp_path / f"b{number}").digest
    assert len({str(path.read_bytes()) for path in tmp_path.glob("a*/model.ubj")}) == 3


def test_few_bins_and_many_are_possible(sample):
    # Validation rows used to be binned by the default number whatever was asked for, which XGBoost refuses.
    for bins in (2, 300):
        assert fit(sample, max_bin=bins).record.algorithm.max_bin == bins


def test_training_goes_on_where_a_model_stopped(sample, tmp_path):
    first = fit(sample, n_rounds=5, early_stopping_rounds=50)
    first.save(tmp_path / "first")
    # Another seed: the same one would grow the same first trees from nothing.
    second = fit(sample, seed=2, n_rounds=10, early_stopping_rounds=50, start=tmp_path / "first")
    old, new = first.model.booster, second.model.booster
    n_old, x = old.num_boosted_rounds(), sample.data("xgb").inputs.x
    assert new.num_boosted_rounds() > n_old
    np.testing.assert_array_equal(new[:n_old].inplace_predict(x), old.inplace_predict(x))
    loss = [bundle.record.metrics["train"].value("log_loss") for bundle in (first, second)]
    assert loss[1] < loss[0]
    assert second.record.model_facts["started_from"] == first.save(tmp_path / "same").digest


def test_a_start_with_other_features_names_them(sample, tmp_path):
    bundle = fit(sample)
    bundle.save(tmp_path / "same")

    def refused(names, data=None, formulae=None):
        record = FeatureRecord(names=names, formulae=formulae or {})
        replace(bundle, record=replace(bundle.record, features=record)).save(tmp_path / "start")
        return str(fit(sample, start=tmp_path / "start"))

    text = refused(("amplitude", "period_ls", "stetson", "noise"))
    assert "rrlyr_xgb cannot be trained on: it wants stetson and it does not know skew" in text
    assert "come in another order" in refused(("period_ls", "amplitude", "skew", "noise"))
    names = bundle.record.features.names
    assert "skew is computed by another formula" in refused(names, formulae=dict.fromkeys(names, "1") | {"skew": "2"})
    dnn = replace(bundle.record, algorithm=configure({"name": "dnn"}))
    replace(bundle, record=dnn).save(tmp_path / "dnn")
    assert "it is one of dnn; give algorithm=xgb's" in str(fit(sample, start=tmp_path / "dnn"))
    assert isinstance(fit(sample, start=tmp_path / "dnn"), ModelError)


@pytest.fixture
def small_grid(monkeypatch):
    monkeypatch.setattr(xgb_grid, "DEPTHS", (1, 2, 3))
    monkeypatch.setattr(xgb_grid, "CHILD_WEIGHTS", (1.0, 2.0))
    monkeypatch.setattr(xgb_grid, "SHARES", (1.0, 0.9))
    monkeypatch.setattr(xgb_grid, "LEARNING_RATES", (0.3,))
    monkeypatch.setattr(xgb_grid, "DEPTH_REACH", 1)
    monkeypatch.setattr(xgb_grid, "SHARE_REACH", 0.1)


def test_the_grid_keeps_its_best_point_and_says_so(sample, small_grid):
    log = Log()
    bundle = fit(sample, grid="staged", log=log, n_rounds=6)
    stages = [seen for seen in log.seen if "grid_auc" in seen]
    assert [seen["step"] for seen in stages] == [0, 1, 2, 3, 4]
    auc = [seen["grid_auc"] for seen in stages]
    assert auc == sorted(auc)
    assert stages[0]["grid_points"] == 6
    chosen = bundle.record.model_facts["chosen"]
    assert set(chosen) == set(xgb_grid.SEARCHED)
    settings = bundle.record.algorithm
    assert {name: getattr(settings, name) for name in chosen} == chosen
    assert settings.grid == "staged"
    again = fit(sample, grid="staged", n_rounds=6)
    assert again.record.model_facts == bundle.record.model_facts


@pytest.mark.parametrize("peak", [(7, 5.0, 1.0, 1.0, 0.05), (3, 1.0, 0.6, 0.6, 0.3), (4, 3.0, 0.9, 0.7, 0.1)])
def test_the_grid_finds_a_peak_anywhere_even_at_its_ends(sample, monkeypatch, peak):
    best = dict(zip(xgb_grid.SEARCHED, (peak[0], peak[1], peak[2], peak[3], peak[4]), strict=True))

    class Peak:
        def __init__(self, *_):
            self.asked = []

        def auc(self, config):
            return 1.0 - sum(abs(getattr(config, name) - value) for name, value in best.items()) / 100

    monkeypatch.setattr(xgb_grid, "_Folds", Peak)
    settings = settle(configure({"name": "xgb"}), sample.spec)

    class Task:
        log = NullRunLogger()

    Task.settings = settings
    found, auc = xgb_grid.staged_grid(None, Task(), n_threads=1)
    assert found == pytest.approx(best)
    assert auc == pytest.approx(1.0)
    assert isinstance(found["max_depth"], int)


def test_folds_keep_stars_together_and_share_out_the_class():
    group = np.repeat(np.arange(40), 3)
    y = (group % 4 == 0).astype(np.float32)
    fold = xgb_grid.folds_of(y, group, seed=1)
    assert all(np.unique(fold[group == star]).size == 1 for star in range(40))
    assert [int(y[fold == number].sum()) for number in range(5)] == [6] * 5
    np.testing.assert_array_equal(fold, xgb_grid.folds_of(y, group, seed=1))
    assert not np.array_equal(fold, xgb_grid.folds_of(y, group, seed=2))
    assert xgb_grid.folds_of(y[:15], group[:15], seed=1).max() == 1
    with pytest.raises(ModelError, match="two stars or more of the class"):
        xgb_grid.folds_of(y[:6], group[:6], seed=1)


def test_tuned_settings_stand_between_typed_ones_and_the_class():
    spec = ClassSpec(tag="t", label="", kind="ontological", xgb=ClassXgb(max_depth=3, subsample=0.5))
    tuned = {"max_depth": 9, "gamma": 0.5, "learning_rate": 0.02}
    settled = settle(configure({"name": "xgb", "learning_rate": 0.3}), spec, tuned)
    assert (settled.learning_rate, settled.max_depth, settled.subsample, settled.gamma) == (0.3, 9, 0.5, 0.5)
    assert settled.max_bin == 64
    with pytest.raises(ConfigError, match=r"tuned\.n_rounds cannot be set for xgb"):
        settle(configure({"name": "xgb"}), spec, {"n_rounds": 3})
    with pytest.raises(ConfigError, match=r"tuned\.subsample=2"):
        settle(configure({"name": "xgb"}), spec, {"subsample": 2})
