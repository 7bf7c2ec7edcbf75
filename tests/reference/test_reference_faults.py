"""The faults of the system that this one rebuilds (docs/faults.md), one test each: none of them is here.

Each test is named after its fault. Where a fault belongs to a room with its own tests, docs/faults.md names those.
"""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.errors import DataError
from scope_ml.features.choice import Extraction, FeatureChoice
from scope_ml.features.cleaning import Cleaning, CleaningStatus, clean
from scope_ml.features.extract import extract_features
from scope_ml.features.period_search import PeriodSearch
from scope_ml.features.registry import FEATURES, column_spec, feature_columns, feature_digest
from scope_ml.kernels.fourier import FourierOptions
from scope_ml.kernels.grid import make_grid
from scope_ml.kernels.peaks import SearchOptions, SearchStatus
from scope_ml.kernels.registry import load

PERIOD = 0.613


def wave(n=200, period=PERIOD, seed=0, noise=0.01, amplitude=0.3, baseline=1500.0):
    random = np.random.default_rng(seed)
    t = np.sort(random.uniform(0, baseline, n)) + 2458300.0
    return t, 15 + amplitude * np.cos(2 * np.pi * t / period) + random.normal(0, noise, n) if noise else (
        15 + amplitude * np.cos(2 * np.pi * t / period)
    )


def batch_of(*curves, ids=None):
    ids = list(range(len(curves))) if ids is None else ids
    return LightCurveBatch.from_lists(
        ids, [t for t, _ in curves], [m for _, m in curves], [np.full(len(t), 0.01) for t, _ in curves]
    )


def rows_for(ids):
    n, ids = len(ids), pa.array(ids, pa.int64())
    kinds = {"ra": pa.float64(), "dec": pa.float64()} | dict.fromkeys(("field", "ccd", "quad", "filter"), pa.int32())
    facts = {name: pa.nulls(n, kind) for name, kind in kinds.items()}
    return pa.table({"id": ids, "source_id": ids, "band": pa.array(["g"] * n), **facts})


def search(method, batch, *, max_frequency=3.0, **options):
    grid = make_grid(batch, max_frequency=max_frequency, samples_per_peak=5)
    return load(method, "cpu")(batch, grid, SearchOptions(**options))


def fitted(batch, period=PERIOD):
    return load("fourier", "cpu")(batch, FourierOptions(period=np.full(len(batch), period)))


def extraction(groups=("basic", "period", "fourier"), **options):
    return Extraction(
        choice=FeatureChoice(groups=groups),
        search=PeriodSearch(**({"max_frequency": 2.0, "samples_per_peak": 5} | options)),
        device="cpu",
    )


def test_b01_points_after_the_last_timestamp_and_of_other_programmes_go_one_by_one():
    t = np.arange(10.0)
    batch = LightCurveBatch.from_lists(
        [1], [t], [t], [np.ones(10)], programids=[np.array([1, 1, 2, 1, 1, 3, 1, 1, 1, 1])]
    )
    kept = clean(batch, Cleaning(min_n_obs=1, max_timestamp_hjd=6.5, programids=(1, 2))).batch[0]
    np.testing.assert_array_equal(kept.time, [0, 1, 2, 3, 4, 6])


def test_b02_times_keep_their_digits_at_julian_dates():
    with pytest.raises(DataError, match="float32"):
        LightCurveBatch.from_lists([1], [np.ones(3, np.float32)], [np.ones(3)], [np.ones(3)])
    for period in (0.6, 0.25, 0.02):
        batch = batch_of(wave(300, period, noise=0.0))
        assert fitted(batch, period)["f1_power"][0] > 1 - 1e-12


def test_b03_raw_coefficients_have_names_of_their_own_and_another_digest():
    ours, theirs = feature_digest(["f1_amp_ls_ce_aov"]), feature_digest(["f1_amp_ELS_ECE_EAOV"])
    assert ours != theirs
    assert "sqrt" in column_spec("f1_amp_ls_ce_aov").formula
    assert column_spec("f1_amp_ELS_ECE_EAOV").formula.startswith("A_1")


def test_b04_harmonics_that_were_not_taken_have_no_phase():
    columns = fitted(batch_of(wave(amplitude=0.0)))
    assert columns["f1_amp"][0] == 0
    assert all(columns[f"f1_relamp{n}"][0] == 0 for n in range(1, 5))
    assert np.isnan(columns["f1_phi0"][0])
    assert all(np.isnan(columns[f"f1_relphi{n}"][0]) for n in range(1, 5))


def test_b05_one_fit_a_light_curve_and_a_failure_is_its_own(monkeypatch):
    calls = []
    fit = load("fourier", "cpu")

    def counted(batch, options):
        calls.append(len(batch))
        return fit(batch, options)

    monkeypatch.setattr(
        "scope_ml.features.measures.load", lambda name, device: counted if name == "fourier" else load(name, device)
    )
    t, m = wave()
    constant = (t, np.full(200, 15.0))
    table = extract_features(batch_of((t, m), constant, (t, m)), rows_for([1, 2, 3]), extraction())
    assert calls == [3]
    assert np.isnan(table["f1_power_ls"].to_numpy()[1])
    assert (table["f1_power_ls"].to_numpy()[[0, 2]] > 0.9).all()


def test_b09_what_is_scaled_by_errors_says_so():
    for name in ("skew", "smallkurt"):
        assert "scaled by errors" in FEATURES[name].formula
    for name in ("ad", "sw"):
        assert "m/e" in FEATURES[name].formula


@pytest.mark.parametrize("method", ["ls", "ce", "aov", "ls_ce_aov"])
def test_b10_the_most_significant_candidates_are_taken(method):
    peaks = search(method, batch_of(wave()), n_peaks=3)
    ratio = 1 / peaks.frequency[0, 0] / PERIOD
    assert min(abs(ratio - n) for n in (1, 2)) < 1e-3
    assert peaks.significance[0, 0] == peaks.significance[0].max()


def test_b11_the_highest_peak_wins_where_probabilities_underflow():
    t, m = wave(2000, noise=1e-4)
    weak = 0.05 * np.cos(2 * np.pi * t * 0.11)
    peaks = search("ls", batch_of((t, m + weak)), n_peaks=2)
    assert peaks.false_alarm_probability[0, 0] < 1e-300
    assert np.isfinite(peaks.significance).all()
    assert 1 / peaks.frequency[0, 0] == pytest.approx(PERIOD, rel=1e-4)


@pytest.mark.parametrize("method", ["ls", "ce", "aov", "fpw", "bls"])
def test_b12_each_frequency_has_its_own_value_and_windows_fall_where_they_say(method):
    batch = batch_of(wave(80, noise=0.05, baseline=300.0))
    grid = make_grid(batch, max_frequency=1.0, samples_per_peak=5)
    exclude = ((0.4, 0.6),)
    peaks = load(method, "cpu")(batch, grid, SearchOptions(return_spectrum=True, exclude=exclude, n_peaks=5))
    spectrum = peaks.spectra[0]
    assert spectrum.frequency.shape == spectrum.statistic.shape == (int(grid.n_frequencies[0]),)
    found = peaks.frequency[0][np.isfinite(peaks.frequency[0])]
    assert not ((found > 0.4) & (found < 0.6)).any()


@pytest.mark.parametrize("method", ["ls", "ce", "aov", "fpw", "bls", "ls_ce_aov", "best"])
def test_b13_a_constant_light_curve_has_a_status(method):
    t, _ = wave(100)
    peaks = search(method, batch_of((t, np.full(100, 15.0))))
    assert peaks.status[0] == SearchStatus.CONSTANT
    assert np.isnan(peaks.frequency[0, 0])


@pytest.mark.parametrize("method", ["fpw", "bls", "mhaov"])
def test_b14_a_constant_added_to_the_magnitudes_changes_no_statistic(method):
    t, m = wave(120, noise=0.05, baseline=300.0)
    first, shifted = search(method, batch_of((t, m))), search(method, batch_of((t, m + 5.0)))
    np.testing.assert_allclose(shifted.statistic, first.statistic, rtol=1e-6)
    np.testing.assert_allclose(shifted.frequency, first.frequency, rtol=1e-6)


def test_b15_minima_are_minima_however_fine_the_grid():
    batch = batch_of(wave(150, baseline=200.0))
    grid = make_grid(batch, max_frequency=2.0, samples_per_peak=100)
    spectrum = (peaks := load("ce", "cpu")(batch, grid, SearchOptions(return_spectrum=True, n_peaks=3))).spectra[0]
    assert peaks.statistic[0, 0] == spectrum.statistic.min()
    assert (np.diff(peaks.statistic[0]) > 0).all()


def test_b16_peaks_are_distinct_and_a_light_curve_keeps_its_grid_in_any_batch():
    short, long = wave(150, baseline=100.0), wave(150, baseline=1500.0, seed=1)
    alone = search("ls_ce_aov", batch_of(short), n_peaks=5)
    beside = search("ls_ce_aov", batch_of(short, long), n_peaks=5)
    np.testing.assert_array_equal(alone.frequency[0], beside.frequency[0])
    found = np.sort(alone.frequency[0][np.isfinite(alone.frequency[0])])
    assert found.size > 1
    assert np.diff(found).min() > 1 / 100.0


def test_b17_a_light_curve_that_is_dropped_shifts_no_other():
    periods = (0.613, 0.77, 1.31)
    curves = [wave(period=period, seed=seed) for seed, period in enumerate(periods)]
    bad = (curves[1][0], np.full(200, np.nan))
    batch = batch_of(curves[0], bad, curves[1], curves[2], ids=[10, 11, 12, 13])
    cleaned = clean(batch, Cleaning(min_cadence_minutes=0))
    kept = np.flatnonzero(cleaned.status == CleaningStatus.OK)
    table = extract_features(cleaned.batch.take(kept), rows_for([10, 11, 12, 13]).take(pa.array(kept)), extraction())
    assert table["id"].to_pylist() == [10, 12, 13]
    np.testing.assert_allclose(table["period_ls"].to_numpy(), periods, rtol=1e-3)


def test_b29_a_method_has_one_name_whatever_ran_it():
    for method in ("ls", "fpw", "ls_ce_aov"):
        columns = feature_columns(("period",), method)
        assert columns == (f"period_{method}", f"significance_{method}")


def test_without_search_the_period_is_one_day_and_says_so():
    table = extract_features(batch_of(wave()), rows_for([1]), extraction(method="none"))
    row = table.to_pylist()[0]
    assert (row["period_none"], row["significance_none"], row["status"]) == (1.0, 1.0, "not_searched")
    assert np.isfinite(row["f1_power_none"])
    assert json.dumps(PeriodSearch(method="none").binding) == '{"method": "none"}'
