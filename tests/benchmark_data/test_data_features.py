"""The stage `generate_features` on real light curves: counts add up, and the periods of RR Lyrae stars come out."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq

from scope_ml.core.configuration import build
from scope_ml.core.protocols import NullProgress
from scope_ml.io.tables import read_table
from scope_ml.stages.generate_features import GenerateFeatures, run

#: Frequency of the sidereal day [1/d]: observing once a night mixes a frequency with its neighbours at this distance.
DAILY = 1.0027


def generate(source, output, **groups):
    config = build(GenerateFeatures, {"source": {"path": str(source)}, "output": str(output), **groups})
    return run(config, progress=NullProgress())


def test_rr_lyrae_of_stripe_82(benchmark_data, tmp_path):
    report = generate(
        benchmark_data / "s82_rrlyrae",
        tmp_path / "features.parquet",
        band="g",
        limit=40,
        cleaning={"min_n_obs": 20, "min_cadence_minutes": 0},
        period_search={"max_frequency": 5.0, "samples_per_peak": 5},
    )
    assert report.n_in == 40
    assert report.n_out > 37
    table = read_table(tmp_path / "features.parquet").data
    labels = pq.read_table(benchmark_data / "s82_rrlyrae" / "labels.parquet", columns=["id", "period"])
    truth = dict(zip(labels["id"].to_pylist(), labels["period"].to_pylist(), strict=True))
    expected = 1 / np.array([truth[name] for name in table["id"].to_pylist()])
    found = 1 / table["period_ls"].to_numpy()
    right = np.abs(found / expected - 1) < 0.01
    alias = np.any([np.abs(found - expected - k * DAILY) < 0.01 for k in (-2, -1, 1, 2)], axis=0)
    # About 55 points of a sawtooth: three in four at the true period, nearly all of the rest at a daily alias.
    assert right.mean() > 0.65
    assert (right | alias).mean() > 0.95
    assert (table["f1_power_ls"].to_numpy()[right] > 0.7).mean() > 0.9


def test_raw_quadrant_of_ztf(benchmark_data, tmp_path):
    output = tmp_path / "features.parquet"
    report = generate(benchmark_data / "ztf_field250", output, limit=400, period_search={"max_frequency": 1.0})
    assert report.n_in == 400
    assert report.n_out + sum(report.dropped.values()) == 400
    assert set(report.dropped) <= {"all_flagged", "too_few_points"}
    assert report.facts["points_dropped"]["flagged"] > 0
    table = read_table(output).data
    assert set(table["filter"].to_pylist()) == {1}
    assert min(table["n_obs"].to_pylist()) >= 50
    for name in table.column_names:
        if str(table.schema.field(name).type) == "double":
            assert not np.isinf(table[name].to_numpy()).any(), name
