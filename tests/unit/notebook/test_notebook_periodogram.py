from __future__ import annotations

import math

import numpy as np
import pytest

import scope_ml
from scope_ml.errors import BackendUnavailableError, ConfigError, DataError
from scope_ml.kernels.peaks import SearchStatus
from scope_ml.notebook.periodogram import REASONS, Periodogram

PERIOD = 0.7731


def star(n=150, seed=1, noise=0.02):
    rng = np.random.default_rng(seed)
    t = np.sort(rng.uniform(2459000, 2459400, n))
    return t, 15 + 0.3 * np.sin(2 * np.pi * t / PERIOD) + rng.normal(0, noise, n), np.full(n, noise)


def search(t, m, e, **options):
    return scope_ml.periodogram(t, m, e, **{"max_frequency": 3.0, "samples_per_peak": 5} | options)


def test_the_period_comes_first_and_the_arrays_belong_together():
    found = search(*star(), n_peaks=4)
    assert found.status == "ok"
    assert found.reason == ""
    assert found.period[0] == pytest.approx(PERIOD, rel=1e-4)
    for values in (found.period, found.frequency, found.statistic, found.significance, found.false_alarm_probability):
        assert values.shape == (4,)
        assert values.dtype == np.float64
    np.testing.assert_array_equal(found.period, 1 / found.frequency)
    assert (np.diff(found.statistic) < 0).all()
    assert (np.diff(found.significance) < 0).all()
    assert found.false_alarm_probability[0] < 1e-20
    assert found.spectrum is None


def test_the_spectrum_is_kept_if_asked_for_and_found_again_if_not():
    kept = search(*star(), return_spectrum=True)
    t = star()[0]
    assert kept.spectrum.frequency[0] == pytest.approx(2 / np.ptp(t))
    assert kept.spectrum.frequency[-1] < 3.0 <= kept.spectrum.frequency[-1] + 1 / (5 * np.ptp(t))
    assert kept.spectrum.statistic.max() == pytest.approx(kept.statistic[0], abs=0.02)
    assert kept.with_spectrum() is kept
    again = search(*star()).with_spectrum()
    np.testing.assert_array_equal(again.spectrum.statistic, kept.spectrum.statistic)
    np.testing.assert_array_equal(again.frequency, kept.frequency)


def test_best_has_no_spectrum_and_does_not_search_for_it_again():
    found = search(*star(), method="best", return_spectrum=True)
    assert found.spectrum is None
    assert found.with_spectrum() is found


@pytest.mark.parametrize("method", ["ls", "mhaov"])
def test_a_flat_periodogram_gives_no_period(method):
    # One point has all the weight, so every frequency fits it.
    t, m, e = star()
    e[3] = 1e-9
    found = search(t, m, e, method=method)
    assert found.status == "no_peak"
    assert np.isnan(found.period).all()


def test_neither_order_nor_kind_of_the_arrays_changes_the_result():
    t, m, e = star()
    expected = search(t, m, e).frequency
    mixed = np.random.default_rng(2).permutation(t.size)
    for given in (
        (t[mixed], m[mixed], e[mixed]),
        (t.tolist(), tuple(m), e.tolist()),
        (t, m, 0.02),
        (t.astype(">f8"), m.astype(">f8"), e),
        (np.ma.masked_array(t), np.ma.masked_array(m, mask=np.zeros(t.size, bool)), e),
        (t, m.astype(object), e),
    ):
        np.testing.assert_allclose(search(*given).frequency, expected, rtol=1e-12)
    # float32 magnitudes are a measurement of 1e-6 mag.
    assert search(t, m.astype(np.float32), e).frequency[0] == pytest.approx(expected[0], rel=1e-6)


def test_astropy_objects_are_taken_by_their_units():
    units = pytest.importorskip("astropy.units")
    times = pytest.importorskip("astropy.time")
    t, m, e = star()
    expected = search(t, m, e).frequency[0]
    hours = (t - 2459000) * 24 * units.hour
    assert search(hours, m * units.mag, e * units.mag).frequency[0] == pytest.approx(expected, rel=1e-9)
    assert search(times.Time(t, format="jd", scale="utc"), m, e).frequency[0] == pytest.approx(expected, rel=1e-9)
    with pytest.raises(DataError, match="unit 'km', which is none of time"):
        search(t * units.km, m, e)
    with pytest.raises(DataError, match="mag has the unit 'Jy'"):
        search(t, m * units.Jy, e)


@pytest.mark.parametrize("kind", [str, "S1", int])
def test_bands_are_searched_together(kind):
    t, m, e = star(n=160)
    band = np.array(["g", "r"] * 80) if kind is not int else np.array([1, 2] * 80)
    offset = np.where(np.arange(160) % 2, -1.5, 0.0)
    found = search(t, m + offset, e, band=band if kind is str or kind is int else band.astype(kind))
    assert found.period[0] == pytest.approx(PERIOD, rel=1e-4)
    assert found.statistic[0] > 0.9
    assert search(t, m + offset, e).statistic[0] < 0.5


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (lambda t, m, e: (t[:0], m[:0], e[:0]), "too_few_points"),
        (lambda t, m, e: ([], [], []), "too_few_points"),
        (lambda t, m, e: (t[:2], m[:2], e[:2]), "too_few_points"),
        (lambda t, m, e: (t, np.full(t.size, 15.0), e), "constant"),
        (lambda t, m, e: (np.full(t.size, 2459000.0), m, e), "zero_baseline"),
        (lambda t, m, e: (t, m, np.zeros(t.size)), "invalid_points"),
        (lambda t, m, e: (t, m, -e), "invalid_points"),
        (lambda t, m, e: (t, m, np.where(np.arange(t.size) == 3, np.nan, e)), "invalid_points"),
        (lambda t, m, e: (t, m, np.where(np.arange(t.size) == 3, np.inf, e)), "invalid_points"),
        (lambda t, m, e: (t, np.where(np.arange(t.size) == 3, np.nan, m), e), "invalid_points"),
        (lambda t, m, e: (t, [None, *m[1:]], e), "invalid_points"),
        (lambda t, m, e: (t, np.ma.masked_array(m, mask=np.arange(t.size) == 3), e), "invalid_points"),
        (lambda t, m, e: (np.where(np.arange(t.size) == 3, np.inf, t), m, e), "invalid_points"),
        (lambda t, m, e: (2459000 + 1e-5 * np.arange(t.size), m, e), "grid_too_short"),
        (lambda t, m, e: (np.where(np.arange(t.size) == 3, 0.0, t), m, e), "grid_too_long"),
    ],
)
def test_what_cannot_be_searched_has_a_status_and_no_period(change, status):
    found = search(*change(*star()), return_spectrum=True)
    assert found.status == status
    assert np.isnan(found.period).all()
    assert found.period.shape == (5,)
    assert found.spectrum is None
    assert found.with_spectrum().spectrum is None
    assert found.reason in repr(found)
    assert len(found.reason) > 10


def test_every_status_has_its_reason():
    assert set(REASONS) == {status.label for status in SearchStatus} - {"ok"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, m, e: (t.astype(np.float32), m, e), "time is float32, whose steps are 0.25 d"),
        (lambda t, m, e: ((t - 2459000).astype(np.float16), m, e), "time is float16"),
        (lambda t, m, e: (t[1:], m, e), "mag has 150 points but time has 149"),
        (lambda t, m, e: (t, m, e[1:]), "mag_err has 149 points but time has 150"),
        (lambda t, m, e: (t, m, None), "mag_err is None; give errors"),
        (lambda t, m, e: (t, m.reshape(2, -1), e), r"mag has shape \(2, 75\)"),
        (lambda t, m, e: (t[0], m[0], e[0]), r"time has shape \(\)"),
        (lambda t, m, e: (t.astype(str), m, e), "time is of type str"),
        (lambda t, m, e: (t.astype("datetime64[D]"), m, e), "time is of type datetime64"),
        (lambda t, m, e: (t, [*m[1:], "x"], e), "mag is of type str"),
        (lambda t, m, e: (t, m > 15, e), "mag is of type bool"),
        (lambda t, m, e: (t, [m[:3], m[3:]], e), "mag is not an array of numbers"),
        (lambda t, m, e: (t, [{}, *m[1:]], e), "mag holds something that is no number"),
    ],
)
def test_what_is_no_light_curve_is_refused_in_one_line(change, message):
    with pytest.raises(DataError, match=message) as caught:
        search(*change(*star()))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("band", "message"),
    [
        (["g"] * 149, r"band has shape \(149,\) but time has 150"),
        ("g", r"band has shape \(\)"),
        ([1.5] * 150, "band is of type float64"),
        ([None] * 150, "band holds something that is no text"),
    ],
)
def test_bands_that_are_none_are_refused(band, message):
    with pytest.raises(DataError, match=message):
        search(*star(), band=band)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "lss"}, "did you mean 'ls'"),
        ({"method": "lomb_scargle"}, "method='lomb_scargle' is not one of"),
        ({"max_frequency": 0}, "more than 0"),
        ({"max_frequency": math.inf}, "max_frequency=inf is not a number"),
        ({"max_frequency": math.nan}, "max_frequency=nan is not a number"),
        ({"min_frequency": 3.0}, r"min_frequency has 3.0; give less than max_frequency=3"),
        ({"min_frequency": -1}, "more than 0"),
        ({"samples_per_peak": 1}, "at least 2"),
        ({"samples_per_peak": 2.5}, "whole number"),
        ({"n_peaks": 0}, "at least 1"),
        ({"n_phase_bin": 10}, "did you mean 'n_phase_bins'"),
        ({"also": ["ce"]}, "there is no option 'also'"),
        ({"terrestrial_windows": [[2, 1]]}, "each window is"),
    ],
)
def test_options_that_cannot_be_are_named(options, message):
    with pytest.raises(ConfigError, match=message) as caught:
        search(*star(), **options)
    assert "\n" not in str(caught.value)


def test_a_device_that_is_not_there_is_an_error():
    with pytest.raises(BackendUnavailableError, match="tpu"):
        search(*star(), device="tpu")


def test_the_definition_can_be_asked_for():
    cpu, reference = search(*star(n=60)), search(*star(n=60), device="reference")
    np.testing.assert_allclose(cpu.frequency, reference.frequency, rtol=1e-6)
    assert reference.device == "reference"


def test_numbers_of_numpy_are_options_like_any_other():
    found = search(*star(), max_frequency=np.float64(3.0), n_peaks=np.int64(2), exclude_terrestrial=np.True_)
    assert found.period.size == 2
    windows = np.array([[1 / PERIOD - 0.1, 1 / PERIOD + 0.1]])
    away = search(*star(), exclude_terrestrial=True, terrestrial_windows=windows)
    assert abs(away.frequency[0] - 1 / PERIOD) > 0.09


def test_min_frequency_is_where_the_grid_begins():
    assert search(*star(), min_frequency=2.0, return_spectrum=True).spectrum.frequency[0] == 2.0


def test_few_peaks_leave_nan():
    found = search(*star(), max_frequency=0.006, n_peaks=50)
    n_found = np.count_nonzero(np.isfinite(found.frequency))
    assert 0 < n_found < 50
    assert np.isfinite(found.frequency[:n_found]).all()
    assert str(n_found) in repr(found).splitlines()[-1].split()[0]


def test_it_tells_what_it_is():
    shown = repr(search(*star(), n_peaks=3)).splitlines()
    assert shown[0] == "Periodogram of 150 points, method 'ls', status 'ok'"
    assert len(shown) == 2 + 3
    assert shown[2].split()[0] == "1"
    assert float(shown[2].split()[1]) == pytest.approx(PERIOD, rel=1e-4)


def test_nested_searches_show_their_components():
    found = search(*star(), method="ls_ce_aov", n_peaks=2, aov_everywhere=False)
    assert found.period[0] == pytest.approx(PERIOD, rel=1e-3)
    assert set(found.components) == {"ls", "ce"}
    alone = search(*star(), method="ls", n_peaks=2)
    np.testing.assert_allclose(found.components["ls"].frequency, alone.frequency)
    np.testing.assert_allclose(found.components["ls"].significance, alone.significance)
    assert found.components["ce"].method == "ce"
    whole = search(*star(), method="ls_ce_aov")
    assert set(whole.components) == {"ls", "ce", "aov"}
    np.testing.assert_allclose(whole.components["aov"].frequency, search(*star(), method="aov").frequency)


def test_the_arrays_given_are_not_changed():
    t, m, e = (values.copy() for values in star())
    for values in (t, m, e):
        values.setflags(write=False)
    assert isinstance(search(t, m, e), Periodogram)
