"""What moves a row of features, and what does not: its batch, its place, the order of its points, time, magnitude."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.features.choice import Extraction, FeatureChoice
from scope_ml.features.cleaning import Cleaning, clean
from scope_ml.features.extract import extract_features
from scope_ml.features.period_search import PeriodSearch
from scope_ml.features.registry import GROUPS

#: Shift in time [d] and in magnitude; binary fractions, so that differences stay exact.
LATER, FAINTER = 1024.0, 0.5

#: Columns that move with the magnitude as a magnitude does.
MAGNITUDES = {"median", "wmean", "f1_a_ls"}

#: Columns whose formula divides by the magnitude itself, or takes m/e.
NOT_ABOUT_DIFFERENCES = {"norm_peak_to_peak_amp", "norm_excess_var", "ad", "sw"}

#: Loose for what is found by a search or an iteration, tight for the rest.
LOOSE = {"period_ls": 1e-6, "drw_tau": 1e-3, "drw_sigma": 1e-4, "drw_log_likelihood_ratio": 1e-6}

GROUP_NAMES = tuple(name for name, group in GROUPS.items() if group.standard and group.only is None)


def curves(n_sources=6):
    random = np.random.default_rng(11)
    found = []
    for n in random.integers(55, 120, n_sources):
        t = np.sort(random.choice(600 << 10, n, replace=False)) / 1024.0 + 2458400.0
        e = random.uniform(0.01, 0.05, n)
        m = 17 + 0.3 * np.sin(2 * np.pi * t / random.uniform(0.4, 3.0)) + random.normal(0, e)
        found.append((t, np.round(m * 2**20) / 2**20, e))
    return found


def table_of(light_curves, order=None):
    ids = list(range(len(light_curves))) if order is None else list(order)
    batch = LightCurveBatch.from_lists(ids, *[[light_curves[i][k] for i in ids] for k in range(3)])
    n = len(ids)
    numbers = {name: pa.nulls(n, pa.int32()) for name in ("field", "ccd", "quad", "filter")}
    place = {"ra": pa.array(np.full(n, 10.0)), "dec": pa.array(np.full(n, -5.0))}
    key = pa.array(ids, pa.int64())
    rows = pa.table({"id": key, "source_id": key, "band": pa.array(["g"] * n), **place, **numbers})
    extraction = Extraction(
        choice=FeatureChoice(groups=GROUP_NAMES),
        search=PeriodSearch(max_frequency=3.0, samples_per_peak=5),
        device="cpu",
    )
    cleaned = clean(batch, Cleaning(min_cadence_minutes=0)).batch
    return extract_features(cleaned, rows, extraction, n_obs_raw=batch.n_obs)


@pytest.fixture(scope="module")
def light_curves():
    return curves()


@pytest.fixture(scope="module")
def whole(light_curves):
    return table_of(light_curves)


def same(found, expected):
    assert found.schema.equals(expected.schema)
    for name in expected.column_names:
        assert repr(found[name].to_pylist()) == repr(expected[name].to_pylist()), name


def test_neither_batch_nor_place_changes_a_bit(light_curves, whole):
    order = [4, 0, 5, 2, 1, 3]
    same(table_of(light_curves, order), whole.take(pa.array(order)))
    same(table_of(light_curves, [3]), whole.slice(3, 1))


def test_the_order_of_the_points_changes_nothing(light_curves, whole):
    random = np.random.default_rng(1)
    shuffled = [
        tuple(column[order] for column in one) for one in light_curves for order in [random.permutation(len(one[0]))]
    ]
    same(table_of(shuffled), whole)


def test_later_is_the_same_but_for_the_phase(light_curves, whole):
    later = table_of([(t + LATER, m, e) for t, m, e in light_curves])
    for name in whole.column_names:
        before, after = whole[name].to_pylist(), later[name].to_pylist()
        if name == "f1_phi0_ls":
            turned = np.array(before) - 2 * np.pi * LATER / np.array(whole["period_ls"])
            apart = (np.array(after) - turned + np.pi) % (2 * np.pi) - np.pi
            assert np.abs(apart[np.isfinite(apart)]).max() < 1e-3
        elif name == "dmdt":
            assert after == before
        elif isinstance(before[0], float):
            np.testing.assert_allclose(after, before, rtol=LOOSE.get(name, 1e-7), atol=1e-9, err_msg=name)
        else:
            assert after == before, name


def test_fainter_is_the_same_but_for_magnitudes(light_curves, whole):
    fainter = table_of([(t, m + FAINTER, e) for t, m, e in light_curves])
    for name in whole.column_names:
        before, after = whole[name].to_pylist(), fainter[name].to_pylist()
        if name in NOT_ABOUT_DIFFERENCES:
            assert not np.allclose(after, before, rtol=1e-6), name
        elif name == "dmdt":
            assert after == before
        elif isinstance(before[0], float):
            moved = np.array(before) + (FAINTER if name in MAGNITUDES else 0.0)
            np.testing.assert_allclose(after, moved, rtol=LOOSE.get(name, 1e-7), atol=1e-8, err_msg=name)
        else:
            assert after == before, name


#: Fewest points from which on a column has a value; none of these few if it is not here.
DEFINED_FROM = {
    0: {"n", "quality"},
    1: {"median", "wmean", "wstd", "norm_peak_to_peak_amp", "norm_excess_var", "median_abs_dev", "iqr"}
    | {"i60r", "i70r", "i80r", "i90r"},
    2: {"chi2red", "roms", "inv_vonneumannratio", "welch_i", "stetson_j", "stetson_k", "ad"},
    3: {"skew", "sw"},
}

#: What a constant light curve of 60 points at magnitude 15 with errors of 0.1 has beside zeros; all else is NaN.
OF_A_CONSTANT = {
    "n": 60,
    "median": 15,
    "wmean": 15,
    "norm_peak_to_peak_amp": -0.1 / 15,
    "norm_excess_var": -1e-4 / 2.25,
}
ZERO_IF_CONSTANT = {
    "chi2red",
    "roms",
    "wstd",
    "median_abs_dev",
    "iqr",
    "i60r",
    "i70r",
    "i80r",
    "i90r",
    "skew",
    "welch_i",
}
ZERO_IF_CONSTANT |= {"stetson_j", "drw_sigma", "drw_log_likelihood_ratio"}


def columns_with_value(row):
    return {name for name, value in row.items() if isinstance(value, float | int) and np.isfinite(value)}


def test_every_feature_has_a_stated_value_for_few_points():
    t, m, e = np.array([0.0, 1.5, 4.0]) + 2458400, np.array([15.0, 15.5, 15.25]), np.array([0.1, 0.2, 0.1])
    table = table_of([(t[:n], m[:n], e[:n]) for n in range(4)])
    facts = {"id", "source_id", "ra", "dec", "n_obs", "n_obs_raw", "baseline"}
    stated = set()
    for n, row in enumerate(table.to_pylist()):
        stated |= DEFINED_FROM[n]
        assert columns_with_value(row) - facts == stated
        assert not any(isinstance(value, float) and np.isinf(value) for value in row.values())
        assert row["status"] == "too_few_points"
        # All pairs are of different bins but for the scale: n (n - 1) / 2 of equal weight.
        assert np.square(row["dmdt"]).sum() == pytest.approx(1.0 if n > 1 else 0.0)
        assert np.count_nonzero(row["dmdt"]) == n * (n - 1) // 2


def test_every_feature_has_a_stated_value_for_constant_magnitudes():
    t = np.arange(60.0) * 1.37 + 2458400
    row = table_of([(t, np.full(60, 15.0), np.full(60, 0.1))]).to_pylist()[0]
    assert row["status"] == "constant"
    expected = OF_A_CONSTANT | dict.fromkeys(ZERO_IF_CONSTANT, 0.0)
    for name, value in expected.items():
        assert row[name] == pytest.approx(value, abs=1e-12), name
    # 3 (n - 1)^2 / ((n - 2)(n - 3)) is taken off the fourth moment, which is 0.
    assert row["smallkurt"] == pytest.approx(-3 * 59**2 / (58 * 57))
    facts = {"id", "source_id", "ra", "dec", "n_obs", "n_obs_raw", "baseline", "smallkurt", "quality"}
    assert columns_with_value(row) - facts == set(expected)
    # Pairs with dm = 0 all lie in the bin above 0.
    assert np.flatnonzero(np.array(row["dmdt"]).reshape(26, 26).any(axis=1)).tolist() == [13]
