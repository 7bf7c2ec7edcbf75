"""Stars that keep no clock: quasars, cataclysmic variables, flares, dips, young stars, trends; and periods that mislead."""

from __future__ import annotations

import numpy as np

from scope_ml.simulation.binaries import spotted
from scope_ml.simulation.variation import FloatArray, Variation, Visits, damped_random_walk, in_bands, phase

__all__ = [
    "active_nucleus",
    "cataclysmic",
    "dipping",
    "double_period",
    "flaring",
    "irregular",
    "trend",
    "young_star",
]


def active_nucleus(rng: np.random.Generator, visits: Visits, period: float, amplitude: float) -> Variation:
    """Draw a quasar's damped random walk (MacLeod et al. 2010, ApJ 721, 1014), bluer when brighter."""
    timescale = float(np.exp(rng.normal(np.log(220.0), 0.8)))
    delta = damped_random_walk(rng, visits.time, timescale, 0.5 * amplitude)
    return Variation(delta=delta * in_bands(visits.band, (1.0, 0.82, 0.70)))


def irregular(rng: np.random.Generator, visits: Visits, period: float, amplitude: float) -> Variation:
    """Draw a star that varies on several time scales without a pattern."""
    short = float(np.exp(rng.uniform(np.log(1.0), np.log(15.0))))
    delta = damped_random_walk(rng, visits.time, short, 0.25 * amplitude)
    delta = delta + damped_random_walk(rng, visits.time, short * rng.uniform(10.0, 60.0), 0.35 * amplitude)
    return Variation(delta=delta * in_bands(visits.band, (1.0, 0.9, 0.8)))


def trend(rng: np.random.Generator, visits: Visits, period: float, amplitude: float) -> Variation:
    """Draw a slow trend or a cycle longer than the survey, as of Be stars, dusty giants and long secondary periods."""
    at = phase(visits.time, period, rng.random())
    delta = 0.5 * amplitude * np.cos(2.0 * np.pi * at)
    delta = delta + damped_random_walk(rng, visits.time, 0.25 * period, 0.12 * amplitude)
    return Variation(delta=delta * in_bands(visits.band, (0.95, 1.0, 1.0)), period=period)


def _flare_brightness(
    rng: np.random.Generator, time: FloatArray, rate: float, decay: float, strength: float
) -> FloatArray:
    """Return the flare light at each time in units of the quiet star: the latest flare, decaying exponentially.

    Flares come at `rate` [1/d] at random, with a power law of energies and instant rise.
    """
    span = float(np.ptp(time)) + 1.0 if time.size else 1.0
    n_flares = int(rng.poisson(rate * span))
    begins = np.sort(time[:1].sum() - 0.5 + span * rng.random(n_flares))
    sizes = np.minimum(strength * (1.0 - rng.random(n_flares)) ** -0.7, 40.0)
    lengths = decay * np.exp(0.5 * rng.standard_normal(n_flares))
    latest = np.searchsorted(begins, time, side="right") - 1
    light = np.zeros_like(time)
    seen = np.flatnonzero(latest >= 0)
    index = latest[seen]
    light[seen] = sizes[index] * np.exp(-(time[seen] - begins[index]) / lengths[index])
    return light


def flaring(rng: np.random.Generator, visits: Visits, period: float, amplitude: float) -> Variation:
    """Draw an active red dwarf: flares, far stronger in g, on a weak rotational modulation."""
    light = _flare_brightness(
        rng, visits.time, float(np.exp(rng.uniform(np.log(0.5), np.log(4.0)))), rng.uniform(0.03, 0.1), 0.5 * amplitude
    )
    rotation = spotted(rng, visits, float(np.exp(rng.uniform(-1.0, 3.0))), rng.uniform(0.0, 0.05)).delta
    return Variation(delta=rotation - 2.5 * np.log10(1.0 + light * in_bands(visits.band, (1.0, 0.38, 0.16))))


def _dips(rng: np.random.Generator, time: FloatArray, count: int, width: float, depth: float) -> FloatArray:
    """Return `count` random fadings: quick decline, slower recovery [mag]."""
    total = np.zeros_like(time)
    if time.size == 0:
        return total
    for _ in range(count):
        begin = float(rng.uniform(time[0], time[-1]))
        length = width * float(np.exp(0.6 * rng.standard_normal()))
        fall, rise = 0.25 * length, 0.75 * length
        since = time - begin
        profile = np.where(since < 0.0, np.exp(-np.square(since / fall)), np.exp(-np.square(since / rise)))
        total = np.maximum(total, depth * rng.uniform(0.3, 1.0) * profile)
    return total


def dipping(rng: np.random.Generator, visits: Visits, period: float, amplitude: float) -> Variation:
    """Draw a star with sudden fadings by dust, as R Coronae Borealis stars (months) or disc occultations (days)."""
    if rng.random() < 0.5:
        delta = _dips(rng, visits.time, int(rng.integers(1, 6)), float(rng.uniform(20.0, 120.0)), 1.6 * amplitude)
    else:
        delta = _dips(rng, visits.time, int(rng.integers(25, 90)), float(rng.uniform(1.0, 6.0)), amplitude)
    delta = delta + damped_random_walk(rng, visits.time, 20.0, 0.02)
    return Variation(delta=delta * in_bands(visits.band, (1.0, 0.85, 0.68)))


def _outbursts(
    rng: np.random.Generator, time: FloatArray, recurrence: float, height: float, length: float
) -> FloatArray:
    """Return outbursts [mag, negative]: a rise of a day, a plateau, a decline."""
    n_bursts = int(np.ptp(time) / recurrence) + 2 if time.size else 0
    begins = time[:1].sum() + recurrence * (np.arange(n_bursts) - rng.random() + 0.22 * rng.standard_normal(n_bursts))
    sizes = height * rng.uniform(0.6, 1.0, n_bursts)
    spans = length * rng.uniform(0.6, 1.6, n_bursts)
    latest = np.searchsorted(np.sort(begins), time, side="right") - 1
    since = time - np.sort(begins)[np.clip(latest, 0, None)]
    size, span = sizes[np.clip(latest, 0, None)], spans[np.clip(latest, 0, None)]
    rising = np.clip(since / 1.2, 0.0, 1.0)
    falling = np.clip((1.5 * span - since) / (0.5 * span), 0.0, 1.0)
    return np.where(latest >= 0, -size * rising * falling, 0.0)


def cataclysmic(rng: np.random.Generator, visits: Visits, period: float, amplitude: float) -> Variation:
    """Draw a cataclysmic variable: dwarf nova outbursts, a nova-like's high and low states, or a polar's; all flicker."""
    kind = rng.random()
    flicker = rng.normal(0.0, rng.uniform(0.04, 0.18), len(visits))
    orbit = rng.uniform(0.0, 0.2) * np.cos(2.0 * np.pi * phase(visits.time, period, rng.random()))
    if kind < 0.6:
        recurrence = float(np.exp(rng.uniform(np.log(15.0), np.log(400.0))))
        state = _outbursts(rng, visits.time, recurrence, amplitude, float(rng.uniform(3.0, 12.0)))
    else:
        walk = damped_random_walk(rng, visits.time, float(rng.uniform(60.0, 300.0)), 1.0)
        low = 1.0 / (1.0 + np.exp(-4.0 * (walk - rng.uniform(0.2, 1.6))))
        state = 0.5 * amplitude * low
    delta = state + (flicker + orbit) * np.clip(1.0 + 0.25 * state, 0.25, 1.0)
    return Variation(delta=delta * in_bands(visits.band, (1.0, 0.94, 0.88)), period=period)


def young_star(rng: np.random.Generator, visits: Visits, period: float, amplitude: float) -> Variation:
    """Draw a young stellar object: stochastic, dipping, bursting, periodic or slowly climbing (Cody et al. 2014, AJ 147, 82)."""
    kind = rng.random()
    base = damped_random_walk(rng, visits.time, float(np.exp(rng.uniform(np.log(1.5), np.log(40.0)))), 1.0)
    if kind < 0.38:
        return Variation(delta=0.35 * amplitude * base * in_bands(visits.band, (1.0, 0.85, 0.7)), tags=("i",))
    if kind < 0.58:
        dips = _dips(rng, visits.time, int(rng.integers(30, 120)), float(rng.uniform(0.8, 3.0)), amplitude)
        beat = np.clip(np.cos(2.0 * np.pi * phase(visits.time, period, rng.random())) - 0.2, 0.0, None)
        delta = dips + 0.5 * amplitude * beat * np.clip(1.0 + 0.6 * base, 0.0, None) + 0.05 * base
        return Variation(delta=delta * in_bands(visits.band, (1.0, 0.83, 0.66)), tags=("i", "dip"))
    if kind < 0.70:
        bursts = _flare_brightness(rng, visits.time, 0.15, float(rng.uniform(0.5, 3.0)), 0.5 * amplitude)
        return Variation(
            delta=-2.5 * np.log10(1.0 + bursts * in_bands(visits.band, (1.0, 0.7, 0.5))) + 0.06 * base, tags=("i",)
        )
    if kind < 0.90:
        rotation = spotted(rng, visits, period, 0.3 * amplitude)
        return Variation(delta=rotation.delta + 0.02 * base, period=period, tags=("pnp", *rotation.tags))
    climb = phase(visits.time, float(rng.uniform(1500.0, 6000.0)), rng.random())
    delta = amplitude * np.cos(2.0 * np.pi * climb) + 0.15 * amplitude * base
    return Variation(delta=delta * in_bands(visits.band, (1.0, 0.88, 0.78)), tags=("i", "longt"))


def double_period(rng: np.random.Generator, visits: Visits, period: float, amplitude: float) -> Variation:
    """Draw a pulsation of the given `period` whose cycles alternate, so that a search finds twice the period."""
    at = phase(visits.time, 2.0 * period, rng.random())
    uneven = rng.uniform(0.8, 1.8)
    delta = 0.5 * amplitude * (np.cos(4.0 * np.pi * at) + uneven * np.cos(2.0 * np.pi * at + rng.uniform(0.0, 6.28)))
    return Variation(delta=delta * in_bands(visits.band, (1.0, 0.8, 0.68)), period=period)
