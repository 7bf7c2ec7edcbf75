"""Shapes have the signs and symmetries of the stars they are named after."""

from __future__ import annotations

import numpy as np
import pytest

from scope_ml.simulation import artefacts, binaries, pulsators, stochastic
from scope_ml.simulation.binaries import Binary, binary_light
from scope_ml.simulation.census import CENSUS
from scope_ml.simulation.variation import Visits, damped_random_walk, fourier_series, peak_to_peak, phase

START = 2458250.0


def visits(n: int = 3000, span: float = 1000.0, band: int = 0, seed: int = 5) -> Visits:
    rng = np.random.default_rng(seed)
    return Visits(
        time=START + np.sort(rng.random(n)) * span,
        band=np.full(n, band, dtype=np.int8),
        seeing=2.0 + 0.3 * rng.standard_normal(n),
        airmass=1.2 + 0.4 * rng.random(n),
    )


def rise_fraction(delta: np.ndarray, at: np.ndarray) -> float:
    """Fraction of the cycle from faintest to brightest, from the running mean of the folded curve."""
    bins = np.array([delta[(at >= k / 50) & (at < (k + 1) / 50)].mean() for k in range(50)])
    return float(((np.argmin(bins) - np.argmax(bins)) % 50) / 50)


@pytest.mark.parametrize("seed", range(4))
def test_rr_lyrae_brightens_faster_than_it_fades(seed: int) -> None:
    seen = visits()
    star = pulsators.fundamental_rr_lyrae(np.random.default_rng(seed), seen, 0.55, 0.9)
    assert 0.05 < rise_fraction(star.delta, phase(seen.time, star.period)) < 0.35


@pytest.mark.parametrize("shape", [pulsators.cepheid, pulsators.delta_scuti, pulsators.mira])
def test_other_pulsators_do_not_fade_faster_than_they_brighten(shape) -> None:
    seen = visits(6000)
    fractions = []
    for seed in range(5):
        period = {"mira": 300.0, "cepheid": 4.0}.get(shape.__name__, 0.09)
        star = shape(np.random.default_rng(seed), seen, period, 0.5)
        fractions.append(rise_fraction(star.delta, phase(seen.time, star.period)))
    assert np.median(fractions) < 0.52


def test_pulsations_are_larger_in_blue_than_in_red() -> None:
    blue = pulsators.overtone_rr_lyrae(np.random.default_rng(1), visits(band=0), 0.32, 0.4)
    red = pulsators.overtone_rr_lyrae(np.random.default_rng(1), visits(band=1), 0.32, 0.4)
    assert np.ptp(blue.delta) == pytest.approx(0.4, rel=0.02)
    assert np.ptp(red.delta) == pytest.approx(0.71 * 0.4, rel=0.02)


def test_double_mode_star_has_both_modes_in_the_ratio_of_the_sky() -> None:
    seen = visits(800, span=300.0)
    star = pulsators.double_mode_rr_lyrae(np.random.default_rng(3), seen, 0.36, 0.4)
    frequency = np.arange(1.5, 4.0, 5e-4)
    amplitude = np.abs(np.exp(-2j * np.pi * np.outer(frequency, seen.time - START)) @ star.delta) / len(seen)
    first = frequency[np.argmax(amplitude)]
    away = np.abs(frequency - first) > 0.1
    second = frequency[away][np.argmax(amplitude[away])]
    assert min(first, second) / max(first, second) == pytest.approx(0.744, abs=0.005)
    assert "mp" in star.tags


def test_rv_tauri_alternates_minima() -> None:
    seen = visits(4000)
    star = pulsators.rv_tauri(np.random.default_rng(11), seen, 80.0, 1.0)
    at = phase(seen.time, star.period)
    odd = np.abs(np.mean(star.delta * np.exp(-2j * np.pi * at)))
    even = np.abs(np.mean(star.delta * np.exp(-4j * np.pi * at)))
    assert even > odd > 0.01


def test_algol_is_flat_outside_its_eclipses_and_fainter_within() -> None:
    binary = Binary(radius_1=0.15, radius_2=0.18, inclination=88.0, light_2=(0.2, 0.2, 0.2))
    at = np.linspace(0.0, 1.0, 2000, endpoint=False)
    mag = -2.5 * np.log10(binary_light(at, np.zeros(2000, dtype=np.int8), binary))
    outside = (np.abs(at - 0.5) > 0.1) & (np.minimum(at, 1 - at) > 0.1)
    assert np.ptp(mag[outside]) < 1e-9
    primary, secondary = mag[at < 0.02].max(), mag[np.abs(at - 0.5) < 0.02].max()
    assert primary > secondary > 0.05


def test_eclipse_depth_is_that_of_the_hidden_disc() -> None:
    binary = Binary(radius_1=0.2, radius_2=0.1, inclination=90.0, light_2=(0.0, 0.0, 0.0))
    flux = binary_light(np.array([0.0, 0.25, 0.5]), np.zeros(3, dtype=np.int8), binary)
    np.testing.assert_allclose(flux, [1.0 - 0.25, 1.0, 1.0], atol=1e-12)


def test_contact_binary_varies_all_the_time() -> None:
    seen = visits()
    star = binaries.contact_binary(np.random.default_rng(4), seen, 0.35, np.nan)
    at = phase(seen.time, star.period)
    bins = np.array([star.delta[(at >= k / 20) & (at < (k + 1) / 20)].mean() for k in range(20)])
    # An Algol spends most of its time within a tenth of its range; a contact binary does not.
    near_top = bins < bins.min() + 0.1 * np.ptp(bins)
    assert near_top.mean() < 0.5


def test_equal_minima_repeat_at_half_the_period() -> None:
    seen = visits()
    star = binaries.equal_minima(np.random.default_rng(2), seen, 0.7, np.nan)
    at = phase(seen.time, star.period)
    once = np.abs(np.mean(star.delta * np.exp(-2j * np.pi * at)))
    twice = np.abs(np.mean(star.delta * np.exp(-4j * np.pi * at)))
    assert twice > 10.0 * once


def test_white_dwarf_eclipse_is_deepest_in_the_blue() -> None:
    blue = binaries.nn_serpentis(np.random.default_rng(8), visits(band=0), 0.15, np.nan)
    red = binaries.nn_serpentis(np.random.default_rng(8), visits(band=2), 0.15, np.nan)
    assert blue.delta.max() > red.delta.max() + 0.1


def test_flares_brighten_and_dips_dim() -> None:
    flares = stochastic.flaring(np.random.default_rng(1), visits(), np.nan, 0.8)
    dips = stochastic.dipping(np.random.default_rng(1), visits(), np.nan, 1.0)
    assert np.median(flares.delta) - flares.delta.min() > 5 * (flares.delta.max() - np.median(flares.delta))
    assert dips.delta.max() - np.median(dips.delta) > 3 * (np.median(dips.delta) - dips.delta.min())


def test_damped_random_walk_has_its_variance_and_its_memory() -> None:
    time = START + np.arange(20000.0)
    walk = damped_random_walk(np.random.default_rng(0), time, 30.0, 0.2)
    assert np.std(walk) == pytest.approx(0.2, rel=0.15)
    lag = np.mean(walk[:-30] * walk[30:]) / np.var(walk)
    assert lag == pytest.approx(np.exp(-1.0), abs=0.12)


def test_damped_random_walk_takes_any_number_of_points() -> None:
    assert damped_random_walk(np.random.default_rng(0), np.empty(0), 10.0, 1.0).shape == (0,)
    assert np.isfinite(damped_random_walk(np.random.default_rng(0), np.array([START]), 10.0, 1.0)).all()


def test_fourier_series_is_the_sum_of_its_terms() -> None:
    at = np.array([0.0, 0.1, 0.73])
    expected = 1.0 * np.cos(2 * np.pi * at + 0.3) + 0.5 * np.cos(4 * np.pi * at + 1.1)
    np.testing.assert_allclose(fourier_series(at, (1.0, 0.5), (0.3, 1.1)), expected, atol=1e-12)
    assert peak_to_peak((1.0,), (0.0,)) == pytest.approx(2.0)


def test_extended_source_depends_on_seeing_and_not_on_time() -> None:
    seen = visits()
    delta = artefacts.extended(np.random.default_rng(0), seen, np.nan, 0.5).delta
    assert abs(np.corrcoef(delta, seen.seeing)[0, 1]) > 0.4
    assert abs(np.corrcoef(delta, seen.time)[0, 1]) < 0.1


@pytest.mark.parametrize("population", CENSUS, ids=lambda population: population.name)
@pytest.mark.parametrize("n", [0, 1, 2, 40])
def test_every_shape_is_finite_at_any_number_of_visits(population, n: int) -> None:
    rng = np.random.default_rng(9)
    period = population.period.draw(rng) if population.period else np.nan
    amplitude = population.amplitude.draw(rng) if population.amplitude else np.nan
    made = population.shape(rng, visits(n), period, amplitude)
    assert made.delta.shape == (n,)
    assert np.isfinite(made.delta).all()
