from __future__ import annotations

import sys
import warnings

import numpy as np
import pytest
from scipy.signal import find_peaks

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.errors import BackendUnavailableError, ConfigError
from scope_ml.features.external import (
    DEFAULT,
    cesium_columns,
    light_curve_columns,
    light_curve_spec,
    measure_cesium,
    measure_light_curve,
    require,
)
from scope_ml.features.external.cesium import MINUTES
from scope_ml.features.registry import FEATURES


def star(n=120, seed=0):
    random = np.random.default_rng(seed)
    t = 2458400.0 + np.sort(random.uniform(0, 900, n))
    e = random.uniform(0.01, 0.05, n)
    return t, 16 + 0.3 * np.sin(2 * np.pi * t / 37.0) + random.normal(0, e), e


def batch_of(*light_curves):
    return LightCurveBatch.from_lists(
        np.arange(len(light_curves)), *(list(part) for part in zip(*light_curves, strict=True))
    )


@pytest.fixture(scope="module")
def cesium():
    found = measure_cesium(batch_of(star()))
    return {name: values[0] for name, values in found.items()}


def test_names_are_apart_from_ours():
    others = {spec.name for spec in FEATURES.values() if spec.group not in ("cesium", "light_curve")}
    names = [spec.name for spec in (*cesium_columns(), *light_curve_columns())]
    assert len(set(names)) == len(names)
    assert not others & set(names)
    assert "skew" not in names
    for spec in (*cesium_columns(), *light_curve_columns()):
        assert spec.formula
        assert spec.reference
        assert spec.sets == ()


def test_specs_need_no_package(monkeypatch):
    for name in ("cesium", "cesium.features", "cesium.features.graphs", "light_curve", "light_curve.light_curve_ext"):
        monkeypatch.setitem(sys.modules, name, None)
    assert len(cesium_columns()) == 59
    assert len(light_curve_columns()) > 20
    assert light_curve_spec("lc_skew").unit == ""
    for group, extra, measure in (
        ("cesium", "cesium", measure_cesium),
        ("light_curve", "lightcurve", measure_light_curve),
    ):
        with pytest.raises(BackendUnavailableError, match=rf"pip install 'scope_ml\[{extra}\]'"):
            require(group)
        with pytest.raises(BackendUnavailableError):
            measure(batch_of(star()))


@pytest.mark.parametrize(
    ("measure", "columns"), [(measure_cesium, cesium_columns), (measure_light_curve, light_curve_columns)]
)
def test_rows_stand_alone(measure, columns):
    good, other = star(), star(n=60, seed=1)
    t, m, e = star(n=30, seed=2)
    light_curves = [
        good,
        (np.empty(0), np.empty(0), np.empty(0)),
        (t[:3], m[:3], e[:3]),
        (np.full(30, t[0]), m, e),
        (t[::-1], m, e),
        (t, np.where(np.arange(30) == 4, np.nan, m), e),
        (t, m, np.where(np.arange(30) == 4, 0.0, e)),
        # From here on there is something to measure.
        (t, np.full(30, 16.0), e),
        (np.repeat(t[:10], 3), m, e),
        (t[:4], m[:4], e[:4]),
        other,
    ]
    batch = batch_of(*light_curves)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        whole = measure(batch)
    assert list(whole) == [spec.name for spec in columns()]
    for name, values in whole.items():
        assert values.dtype == np.float64
        assert values.shape == (len(batch),)
        assert not np.isinf(values).any(), name
        assert np.isnan(values[1:7]).all(), name
    alone = measure(batch.slice(10, 11))
    for name, values in whole.items():
        np.testing.assert_array_equal(alone[name], values[10:], err_msg=name)
    mean = whole.get("mean", whole.get("lc_mean"))
    np.testing.assert_allclose(mean[[0, 10]], [good[1].mean(), other[1].mean()])
    assert mean[7] == 16.0
    if measure is measure_cesium:
        assert np.isnan(whole["max_slope"][8])


def test_failures_are_counted(monkeypatch):
    graph = require("cesium").dask_feature_graph

    def fails(*_):
        raise ZeroDivisionError

    monkeypatch.setitem(graph, "qso_model", (fails, "t", "m", "e"))
    found = measure_cesium(batch_of(star(), star(seed=1)))
    assert list(found["cesium_failures"]) == [2.0, 2.0]
    assert np.isnan(found["qso_log_chi2_qsonu"]).all()
    assert np.isfinite(found["std"]).all()


def test_cesium_times_and_errors(cesium):
    t, m, e = star()
    gaps = np.diff(t)
    ratios = (gaps[2:] + gaps[:-2]) / (gaps[1:-1] - gaps[:-2])
    expected = {
        "avg_err": e.mean(),
        "med_err": np.median(e),
        "std_err": e.std(),
        "total_time": t[-1] - t[0],
        "avgt": t.mean(),
        "mean": m.mean(),
        "cads_std": gaps.std(),
        "cads_avg": gaps.mean(),
        "cads_med": np.median(gaps),
        "med_double_to_single_step": np.median(ratios),
        "avg_double_to_single_step": ratios.mean(),
        "std_double_to_single_step": ratios.std(),
    }
    for minutes in MINUTES:
        # No gap is equal to one of these, so that the two halves of an equal one do not matter.
        expected[f"cad_probs_{minutes}"] = np.mean(gaps < minutes / 1440)
    for name, value in expected.items():
        assert cesium[name] == pytest.approx(value, rel=1e-10), name
    assert 0 < cesium["cad_probs_5000"] < cesium["cad_probs_10000"] < 1


def test_cesium_magnitudes(cesium):
    t, m, e = star()
    flux = 10 ** (-0.4 * m)
    f5, f50, f95 = np.percentile(flux, [5, 50, 95])
    mean = np.sum(m / e**2) / np.sum(e**-2)
    scatter = np.sqrt(np.sum((m - mean) ** 2 / e**2) / np.sum(e**-2))
    expected = {
        "amplitude": np.ptp(m) / 2,
        "max_slope": np.abs(np.diff(m) / np.diff(t)).max(),
        "maximum": m.max(),
        "minimum": m.min(),
        "percent_amplitude": max(flux.max() / f50 - 1, 1 - flux.min() / f50),
        "percent_beyond_1_std": np.mean(np.abs(m - mean) > scatter),
        "percent_close_to_median": np.mean(np.abs(m - np.median(m)) < 0.1 * np.ptp(m)),
        "percent_difference_flux_percentile": (f95 - f5) / f50,
        "std": m.std(),
    }
    for width in (20, 35, 50, 65, 80):
        low, high = np.percentile(flux, [50 - width / 2, 50 + width / 2])
        expected[f"flux_percentile_ratio_mid{width}"] = (high - low) / (f95 - f5)
    for name, value in expected.items():
        assert cesium[name] == pytest.approx(value, rel=1e-10), name
    assert cesium["period_fast"] == pytest.approx(37, rel=0.01)
    assert cesium["cesium_failures"] == 0


def test_cesium_quasar_is_a_dense_random_walk(cesium):
    t, m, e = star()
    covariance = 0.5 * 10**-4.10 * 10**2.92 * np.exp(-np.abs(t[:, None] - t) / 10**2.92) + np.diag(e**2)
    inverse = np.linalg.inv(covariance)
    residual = m - inverse.sum(axis=0) @ m / inverse.sum()
    chi2 = residual @ inverse @ residual / (t.size - 1)
    expected = np.trace(inverse) * m.var() / (t.size - 1)
    assert cesium["qso_log_chi2_qsonu"] == pytest.approx(np.log(chi2), rel=1e-8)
    assert cesium["qso_log_chi2nuNULL_chi2nu"] == pytest.approx(np.log(expected / chi2), rel=1e-8)


def test_cesium_histogram_of_separations(cesium):
    t = star()[0]
    # Bins of a 50th of a bin first, as cesium counts, then the separations of those.
    fine = np.minimum(((t - t[0]) / (t[-1] - t[0]) * 2500).astype(int), 2499)
    apart = (fine[None, :] - fine[:, None])[np.triu_indices(t.size, 1)]
    counts = np.bincount(np.abs(apart) // 50, minlength=50).astype(float)
    # It takes pairs in the same fine bin twice.
    counts[0] += np.sum(apart == 0)
    heights = counts / ((t[-1] - t[0]) * counts.mean())
    # Of a level top the first bin counts, and the ends may be tops.
    _, tops = find_peaks(np.concatenate([[-1.0], heights, [-1.0]]), plateau_size=1)
    peaks = sorted(tops["left_edges"] - 1, key=lambda k: -heights[k])
    assert cesium["all_times_nhist_numpeaks"] == len(peaks)
    assert cesium["all_times_nhist_peak_val"] == pytest.approx(heights.max(), rel=1e-12)
    for rank in range(1, 5):
        assert cesium[f"all_times_nhist_peak{rank}_bin"] == peaks[rank]
    assert cesium["all_times_nhist_peak_1_to_3"] == pytest.approx(heights[peaks[1]] / heights[peaks[3]], rel=1e-12)


def test_light_curve_names():
    specs = light_curve_columns(("StetsonK", "Skew", "LinearFit"))
    assert [spec.name for spec in specs][:2] == ["lc_stetson_K", "lc_skew"]
    found = measure_light_curve(batch_of(star()), ("StetsonK", "Skew", "LinearFit"))
    assert list(found) == [spec.name for spec in specs]
    assert light_curve_spec("lc_linear_fit_slope").unit == "mag/d"
    assert light_curve_spec("stetson_k") is None
    for names, words in (
        (("Skewness",), "did you mean 'Skew'"),
        (("Periodogram",), "is offered"),
        (("PeakToPeakVar",), "no feature"),
        (("VillarFit",), "no feature"),
        (("Skew", "Skew"), "twice"),
        ((), "names no feature"),
    ):
        with pytest.raises(ConfigError, match=words):
            measure_light_curve(batch_of(star()), names)


def test_table_of_light_curve_is_that_of_the_package():
    package = require("light_curve")
    for name in DEFAULT:
        assert list(getattr(package, name)().names) == [
            spec.name.removeprefix("lc_") for spec in light_curve_columns((name,))
        ]


def test_light_curve_values():
    t, m, e = star()
    n, s, mean = m.size, m.std(ddof=1), m.mean()
    found = {name: values[0] for name, values in measure_light_curve(batch_of((t, m, e))).items()}
    dm, dt, median = np.diff(m), np.diff(t), np.median(m)
    sums = np.cumsum(m - mean) / (n * s)
    line, covariance = np.polyfit(t - t[0], m, 1, cov=True)
    weighted, scaled = np.polyfit(t - t[0], m, 1, w=1 / e, cov="unscaled")
    expected = {
        "amplitude": np.ptp(m) / 2,
        "beyond_1_std": np.mean(np.abs(m - mean) > s),
        "cusum": np.ptp(sums),
        "eta": np.sum(dm**2) / ((n - 1) * s**2),
        "eta_e": (t[-1] - t[0]) ** 2 * np.sum((dm / dt) ** 2) / ((n - 1) ** 3 * s**2),
        "excess_variance": (s**2 - np.mean(e**2)) / mean**2,
        "linear_fit_slope": weighted[0],
        "linear_fit_slope_sigma": np.sqrt(scaled[0, 0]),
        "linear_fit_reduced_chi2": np.sum(((m - np.polyval(weighted, t - t[0])) / e) ** 2) / (n - 2),
        "linear_trend": line[0],
        "linear_trend_sigma": np.sqrt(covariance[0, 0]),
        "linear_trend_noise": np.sqrt(np.sum((m - np.polyval(line, t - t[0])) ** 2) / (n - 2)),
        "maximum_slope": np.abs(dm / dt).max(),
        "mean_variance": s / mean,
        "median_buffer_range_percentage_10": np.mean(np.abs(m - median) < np.ptp(m) / 20),
        "percent_amplitude": np.abs(m - median).max(),
        "standard_deviation": s,
    }
    for name, value in expected.items():
        assert found[f"lc_{name}"] == pytest.approx(value, rel=1e-8), name
