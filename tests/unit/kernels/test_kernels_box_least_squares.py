from __future__ import annotations

import numpy as np
import pytest
from astropy.timeseries import BoxLeastSquares

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.errors import ConfigError
from scope_ml.kernels.box_least_squares import MIN_N_OBS, box_lengths, cpu, reference
from scope_ml.kernels.curve import Curve
from scope_ml.kernels.grid import make_grid
from scope_ml.kernels.peaks import SearchOptions, SearchStatus

#: Cycles by which a point may miss its bin: the bound that `phase_bins` states.
PHASE_BOUND = 2.0**-24
LONGER = 1.0137


def make(n, seed=0, period=1.8321, depth=0.3, n_bands=1, noise=0.03):
    """A star that is fainter during 6 % of its period."""
    random = np.random.default_rng(seed)
    time = np.sort(random.uniform(0, 1000, n))
    time -= time[0]
    band = random.integers(0, n_bands, n)
    mag = depth * (time / period % 1.0 < 0.06) + random.normal(0, noise, n) + 0.8 * band
    return Curve(time=time, mag=mag - mag[0], mag_err=random.uniform(0.02, 0.1, n), band=band, n_bands=n_bands)


def evaluate(curve, frequency, step, n, options=None):
    room = np.full(n + 2, -7.0)
    cpu.prepare(curve, options or SearchOptions()).evaluate(frequency, step, room[1:-1])
    assert room[0] == room[-1] == -7.0
    return room[1:-1]


def off_edges(curve, frequency, n_bins):
    place = frequency[:, None] * curve.time[1:] % 1.0 * n_bins
    return np.all(np.abs(place - np.rint(place)) > 2 * n_bins * PHASE_BOUND, axis=1)


def agree(curve, frequency, step, n, options=None):
    options = options or SearchOptions()
    trial = frequency + np.arange(n) * step
    found = evaluate(curve, frequency, step, n, options)
    compared = off_edges(curve, trial, options.n_box_bins)
    assert compared.mean() > 0.5
    np.testing.assert_allclose(found[compared], reference.statistic(curve, trial[compared], options), rtol=2e-6)
    assert np.all((found >= 0) & (found <= 1))
    return found


@pytest.mark.parametrize("n", [3, 10, 50, 200, 1000, 20_000])
def test_agrees_with_the_definition(n):
    curve = make(n, seed=n)
    agree(curve, 0.5, 1 / (10 * LONGER * curve.time[-1]), 75)


@pytest.mark.parametrize(("n_bins", "q_min", "q_max"), [(50, 0.1, 0.2), (64, 0.0, 0.99), (7, 0.3, 0.3), (2, 0.5, 0.5)])
def test_agrees_with_the_definition_for_other_boxes(n_bins, q_min, q_max):
    agree(make(150), 0.5, 1e-4, 75, SearchOptions(n_box_bins=n_bins, q_min=q_min, q_max=q_max))


@pytest.mark.parametrize("n_frequencies", [1, 33, 1000])
def test_any_number_of_frequencies_at_480_cycles_a_day(n_frequencies):
    agree(make(60), 480.0, 1 / (10 * LONGER * 1000), n_frequencies)


def test_agrees_with_astropy():
    # astropy takes dips only and one box at a time: the square of depth over its error is what the box takes off chi2.
    curve = make(300)
    weight = curve.mag_err**-2.0
    mean = weight @ curve.mag / weight.sum()
    chi2 = weight @ (curve.mag - mean) ** 2
    for period in (1.8321, 0.77123, 5.1):
        # A bin a little wider than a 50th keeps astropy from adding an empty one by rounding.
        durations = np.arange(1, 26) * period / 50 * (1 + 1e-12)
        expected = 0.0
        for sign in (1, -1):
            model = BoxLeastSquares(curve.time, sign * curve.mag, curve.mag_err)
            result = model.power([period], durations, objective="snr", oversample=1)
            expected = max(expected, result.depth_snr[0] ** 2 / chi2)
        assert evaluate(curve, 1 / period, 0.0, 1)[0] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("statistic", ["cpu", "reference"])
def test_is_the_residue_of_kovacs_over_the_variance(statistic):
    curve = make(25, seed=2)
    options = SearchOptions(n_box_bins=10, q_min=0.1, q_max=0.3)
    frequency = 0.61
    weight = curve.mag_err**-2.0 / np.sum(curve.mag_err**-2.0)
    mag = curve.mag - weight @ curve.mag
    bins = np.floor(frequency * curve.time % 1.0 * 10)
    best = 0.0
    for start in range(10):
        for length in (1, 2, 3):
            inside = np.isin(bins, [(start + i) % 10 for i in range(length)])
            if 0 < inside.sum() < 25:
                r, s = weight[inside].sum(), (weight * mag)[inside].sum()
                best = max(best, s**2 / (r * (1 - r)))
    expected = best / (weight @ mag**2)
    if statistic == "cpu":
        assert evaluate(curve, frequency, 0.0, 1, options)[0] == pytest.approx(expected, rel=1e-6)
    else:
        assert reference.statistic(curve, np.array([frequency]), options)[0] == pytest.approx(expected)


def test_neither_sign_nor_unit_nor_mean_matters():
    curve = make(200)
    found = evaluate(curve, 0.5, 1e-4, 200)
    for mag in (-curve.mag, 1e-6 * curve.mag, curve.mag + 100.0):
        other = Curve(time=curve.time, mag=mag, mag_err=curve.mag_err, band=curve.band)
        np.testing.assert_allclose(evaluate(other, 0.5, 1e-4, 200), found, rtol=2e-6)


def test_a_perfect_box_explains_everything():
    time = make(300).time
    mag = (time / 1.8321 % 1.0 >= 0.92).astype(np.float64)
    curve = Curve(time=time, mag=mag, mag_err=np.full(300, 0.01), band=np.zeros(300, dtype=np.int64))
    assert evaluate(curve, 1 / 1.8321, 0.0, 1)[0] == pytest.approx(1.0, abs=1e-6)
    # The same box around the end of the cycle.
    around = (np.abs(time / 1.8321 % 1.0 - 0.5) > 0.46).astype(np.float64)
    turned = Curve(time=time, mag=around, mag_err=curve.mag_err, band=curve.band)
    assert evaluate(turned, 1 / 1.8321, 0.0, 1)[0] == pytest.approx(1.0, abs=1e-6)


def test_all_points_at_one_phase_give_nothing():
    time = np.arange(40.0)
    random = np.random.default_rng(1)
    curve = Curve(
        time=time, mag=random.normal(0, 1, 40), mag_err=random.uniform(0.1, 1, 40), band=np.zeros(40, dtype=np.int64)
    )
    assert evaluate(curve, 1.0, 0.0, 1)[0] < 1e-12
    assert reference.statistic(curve, np.array([1.0]), SearchOptions())[0] < 1e-12


def test_several_bands():
    curve = make(300, n_bands=3)
    found = agree(curve, 1 / 1.8321 - 50 * 1e-4, 1e-4, 100)
    assert abs(int(np.argmax(found)) - 50) <= 2


def test_search_finds_a_transit():
    curves = [make(200), make(MIN_N_OBS), make(MIN_N_OBS - 1)]
    batch = LightCurveBatch.from_lists(
        [1, 2, 3], [c.time + 2458000 for c in curves], [c.mag + 15 for c in curves], [c.mag_err for c in curves]
    )
    grid = make_grid(batch, max_frequency=2.0, samples_per_peak=10)
    peaks = cpu.run(batch, grid, SearchOptions())
    assert 1 / peaks.frequency[0, 0] == pytest.approx(1.8321, rel=2e-4)
    assert np.isnan(peaks.false_alarm_probability[0, 0])
    assert peaks.status.tolist() == [SearchStatus.OK, SearchStatus.OK, SearchStatus.TOO_FEW_POINTS]


def test_lengths_of_boxes():
    assert box_lengths(SearchOptions()) == (1, 25)
    assert box_lengths(SearchOptions(n_box_bins=50, q_min=0.05, q_max=0.101)) == (2, 6)
    assert box_lengths(SearchOptions(n_box_bins=4, q_min=0.0, q_max=1.0)) == (1, 3)
    for q_min, q_max in ((0.3, 0.2), (-0.1, 0.2), (1.0, 1.0)):
        with pytest.raises(ConfigError, match=f"boxes from q_min={q_min:g} to q_max={q_max:g}"):
            box_lengths(SearchOptions(q_min=q_min, q_max=q_max))
    with pytest.raises(ConfigError, match="n_box_bins is 65"):
        cpu.prepare(make(50), SearchOptions(n_box_bins=65))
