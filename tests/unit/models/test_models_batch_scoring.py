"""Many bundles over one table: each as it scores alone, and nothing computed twice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from scope_ml.errors import ModelError
from scope_ml.models import batch_scoring
from scope_ml.models.batch_scoring import score
from scope_ml.models.calibration import Calibration
from scope_ml.models.dnn import DnnModel
from scope_ml.models.dnn_shared import DnnSharedModel
from scope_ml.models.ensemble_model import EnsembleModel, Member
from scope_ml.networks import scoring
from scope_ml.networks.architecture import Architecture
from scope_ml.networks.draws import initial_parameters

#: Features of the sample.
N_FEATURES = 4

PLATT = Calibration(method="platt", slope=0.7, intercept=-1.0)


def as_tag(bundle, tag, *, model=None, **record):
    """Return the bundle as one of another class, with another model."""
    spec = replace(bundle.record.spec, tag=tag)
    return replace(bundle, record=replace(bundle.record, spec=spec, **record), model=model or bundle.model)


def random_network(seed, **more):
    architecture = Architecture(n_features=N_FEATURES, **more)
    parameters = initial_parameters(architecture, seed)
    return architecture, parameters + np.float32(0.05) * np.sin(np.arange(parameters.size, dtype=np.float32))


def with_images(table):
    rng = np.random.default_rng(0)
    images = rng.random((table.num_rows, 676), dtype=np.float32)
    return table.append_column(
        "dmdt", pa.FixedSizeListArray.from_arrays(images.ravel(), 676).cast(pa.list_(pa.float32()))
    )


@pytest.fixture
def bundles(fitted):
    """Trees, networks of two architectures, and a shared network, of eight classes."""
    plain = [as_tag(fitted["dnn"], f"d{seed}", model=DnnModel(*random_network(seed))) for seed in range(3)]
    looks = as_tag(fitted["dnn"], "looks", model=DnnModel(*random_network(4, dmdt_branch=True)))
    architecture, parameters = random_network(9, n_outputs=2)
    # Each bundle read its own file: equal parameters, not the same object.
    shared = [
        as_tag(fitted["dnn"], tag, model=DnnSharedModel(architecture, parameters.copy(), tags=("s0", "s1"), output=i))
        for i, tag in enumerate(("s0", "s1"))
    ]
    trees = [as_tag(fitted["xgb"], "t0"), as_tag(fitted["xgb"], "t1", calibration=PLATT)]
    return [trees[0], *plain, looks, *shared, trees[1]]


def test_each_scores_as_alone_in_their_order(bundles, sample, monkeypatch):
    monkeypatch.setattr(batch_scoring, "BLOCK_ROWS", 100)
    table = with_images(sample.table())
    scores = score(bundles, table, n_threads=2)
    assert scores.column_names == [bundle.name for bundle in bundles]
    for bundle in bundles:
        assert scores[bundle.name].type == pa.float32()
        np.testing.assert_array_equal(scores[bundle.name].to_numpy(), bundle.predict(table), err_msg=bundle.name)
    assert not np.array_equal(scores["t0_xgb"].to_numpy(), scores["t1_xgb"].to_numpy()), "one is calibrated"
    assert not np.array_equal(scores["s0_dnn"].to_numpy(), scores["s1_dnn"].to_numpy()), "another output"


def test_a_row_does_not_know_the_others(bundles, sample):
    table = with_images(sample.table())
    whole, order = score(bundles, table), np.random.default_rng(1).permutation(table.num_rows)[:77]
    part = score(bundles, table.take(order), n_threads=3)
    for name in whole.column_names:
        np.testing.assert_array_equal(part[name].to_numpy(), whole[name].to_numpy()[order])


def test_networks_of_one_architecture_go_together_and_a_shared_one_once(bundles, sample, monkeypatch):
    seen = []

    def counted(architecture, parameters, *inputs, **more):
        seen.append((architecture.dmdt_branch, architecture.n_outputs, len(parameters)))
        return score_many(architecture, parameters, *inputs, **more)

    score_many = scoring.score_many
    monkeypatch.setattr(scoring, "score_many", counted)
    score(bundles, with_images(sample.table()))
    assert sorted(seen) == [(False, 1, 3), (False, 2, 1), (True, 1, 1)]


def test_features_are_prepared_once_for_all_that_share_them(bundles, sample, monkeypatch):
    calls = []
    read = batch_scoring.feature_matrix
    monkeypatch.setattr(batch_scoring, "feature_matrix", lambda *given: calls.append(1) or read(*given))
    score(bundles, with_images(sample.table()))
    assert len(calls) == 2


def test_an_ensemble_fills_two_columns(fitted, sample):
    trees = fitted["xgb"].model
    networks = [DnnModel(*random_network(seed)) for seed in (1, 2, 3)]
    members = [Member(seed=seed, model=model, calibration=PLATT) for seed, model in enumerate(networks)]
    several = [
        as_tag(fitted["dnn"], "e", model=EnsembleModel("dnn", members), calibration=None),
        as_tag(
            fitted["xgb"],
            "f",
            model=EnsembleModel("xgb", [Member(seed=1, model=trees), Member(seed=2, model=trees, calibration=PLATT)]),
            calibration=None,
        ),
    ]
    scores = score([several[0], fitted["xgb"], several[1]], sample.table())
    assert scores.column_names == ["e_dnn", "e_dnn_spread", "rrlyr_xgb", "f_xgb", "f_xgb_spread"]
    for bundle in several:
        np.testing.assert_array_equal(scores[bundle.name].to_numpy(), bundle.predict(sample.table()))
        np.testing.assert_array_equal(scores[f"{bundle.name}_spread"].to_numpy(), bundle.spread(sample.table()))
    assert scores["e_dnn_spread"].to_numpy().max() > 0


def test_trees_get_their_threads_back(fitted, sample, monkeypatch):
    model = fitted["xgb"].model
    before, during = model.n_threads, []
    predict = type(model).predict
    monkeypatch.setattr(
        type(model), "predict", lambda self, inputs: during.append(self.n_threads) or predict(self, inputs)
    )
    model.use_threads(2)
    try:
        score([fitted["xgb"]], sample.table())
        assert (model.n_threads, during) == (2, [1])
    finally:
        model.use_threads(before)


def test_a_network_refuses_a_missing_feature(fitted, sample):
    bundle = as_tag(fitted["xgb"], "gap", model=DnnModel(*random_network(1)))
    with pytest.raises(ModelError, match="cannot take missing features"):
        score([bundle], sample.table())


def test_no_rows_and_no_models_are_empty_tables(bundles, sample):
    empty = score(bundles, with_images(sample.table()).slice(0, 0))
    assert (empty.num_rows, empty.num_columns) == (0, len(bundles))
    assert score([], sample.table()).num_columns == 0
