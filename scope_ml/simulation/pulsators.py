"""Pulsating stars: RR Lyrae, Cepheids of both populations, RV Tauri, Delta Scuti, slow multi-periodic stars, and long-period variables.

Templates are short Fourier series in magnitudes, ``sum A_k cos(2 pi k phase + phi_k)``, with amplitude ratios R_k1 and phase
differences phi_k1 near the published loci (Simon & Lee 1981, ApJ 248, 291; Soszynski et al. 2008-2011, AcA 58-61) and
star-to-star scatter. Pulsations shrink towards the red.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scope_ml.simulation.variation import (
    FloatArray,
    Terms,
    Variation,
    Visits,
    damped_random_walk,
    fourier_series,
    in_bands,
    peak_to_peak,
    phase,
)

__all__ = [
    "blazhko_rr_lyrae",
    "cepheid",
    "delta_scuti",
    "double_mode_rr_lyrae",
    "fundamental_rr_lyrae",
    "mira",
    "overtone_cepheid",
    "overtone_rr_lyrae",
    "population_two_cepheid",
    "red_giant",
    "rv_tauri",
    "semiregular",
    "slow_pulsator",
]

#: Amplitude in g, r, i relative to g for hot pulsators, and for cool giants, whose molecules exaggerate the blue.
PULSATION, GIANT = (1.0, 0.71, 0.55), (1.0, 0.78, 0.50)

#: Period ratio of first overtone to fundamental mode in double-mode RR Lyrae and Cepheids.
RR_LYRAE_RATIO, CEPHEID_RATIO = 0.744, 0.715

#: R_k1 and phi_k1 (k = 1, 2, ...) of a fundamental-mode RR Lyrae star: fast rise, slow decline.
RRAB_RATIOS, RRAB_PHASES = (1.0, 0.47, 0.34, 0.22, 0.14, 0.08), (0.0, 3.95, 2.0, 0.15, 4.55, 2.7)


def _scattered(
    rng: np.random.Generator, ratios: Sequence[float], phases: Sequence[float], strength: float = 1.0
) -> tuple[FloatArray, FloatArray]:
    """Return a template's ratios and phases with a star's own departures, larger in higher harmonics."""
    order = np.arange(len(ratios))
    scatter = rng.standard_normal((2, len(ratios)))
    own = np.asarray(ratios) * np.where(order > 0, strength * np.exp(0.12 * scatter[0]), 1.0)
    return own, np.asarray(phases) + 0.06 * order * scatter[1]


def _template(at: FloatArray, ratios: Terms, phases: Terms) -> FloatArray:
    """Return a template with a range of 1 at the phases `at`."""
    return fourier_series(at, ratios, phases) / peak_to_peak(ratios, phases)


def fundamental_rr_lyrae(rng: np.random.Generator, visits: Visits, period: float, amplitude: float) -> Variation:
    """Draw an RRab: a sawtooth whose amplitude falls with period (the Bailey diagram)."""
    amplitude *= float(np.clip(1.0 - 2.0 * (period - 0.55), 0.35, 1.4))
    strength = float(np.clip(0.75 + 0.35 * amplitude, 0.6, 1.1))
    ratios, phases = _scattered(rng, RRAB_RATIOS, RRAB_PHASES, strength)
    delta = amplitude * _template(phase(visits.time, period, rng.random()), ratios, phases)
    tags = ("saw",) if strength > 0.85 and rng.random() < 0.85 else ()
    return Variation(delta=delta * in_bands(visits.band, PULSATION), period=period, tags=tags)


def blazhko_rr_lyrae(rng: np.random.Generator, visits: Visits, period: float, amplitude: float) -> Variation:
    """Draw an RRab whose amplitude and phase are modulated over weeks to months (the Blazhko effect)."""
    cycle = 2.0 * np.pi * phase(visits.time, float(np.exp(rng.uniform(np.log(18.0), np.log(160.0)))), rng.random())
    depth, shift = rng.uniform(0.12, 0.45), rng.uniform(0.01, 0.05)
    ratios, phases = _scattered(rng, RRAB_RATIOS, RRAB_PHASES, 0.9)
    at = phase(visits.time, period, rng.random()) + shift * np.sin(cycle + rng.uniform(0.0, 6.28))
    delta = amplitude * (1.0 + depth * np.cos(cycle)) / (1.0 + depth) * _template(at, ratios, phases)
    return Variation(delta=delta * in_bands(visits.band, PULSATION), period=period)


def overtone_rr_lyrae(rng: np.random.Generator, visits: Visits, period: float, amplitude: float) -> Variation:
    """Draw an RRc: nearly sinusoidal, sometimes with a hump before maximum."""
    strength = float(np.exp(0.45 * rng.standard_normal()))
    ratios, phases = _scattered(rng, (1.0, 0.13, 0.06, 0.03), (0.0, 4.4, 3.0, 1.6), strength)
    delta = amplitude * _template(phase(visits.time, period, rng.random()), ratios, phases)
    tags = ("sin",) if strength < 1.1 and rng.random() < 0.8 else ()
    return Variation(delta=delta * in_bands(visits.band, PULSATION), period=period, tags=tags)


def double_mode_rr_lyrae(rng: np.random.Generator, visits: Visits, period: float, amplitude: float) -> Variation:
    """Draw an RRd: first overtone of the given `period` and a weaker fundamental mode, period ratio 0.744, and their sum."""
    fundamental = period / (RR_LYRAE_RATIO + 0.0015 * rng.standard_normal())
    share = float(rng.uniform(0.25, 0.9))
    first, second = phase(visits.time, period, rng.random()), phase(visits.time, fundamental, rng.random())
    delta = _template(first, *_scattered(rng, (1.0, 0.13, 0.05), (0.0, 4.4, 3.0)))
    delta += share * _template(second, *_scattered(rng, (1.0, 0.25, 0.1), (0.0, 4.0, 2.1)))
    delta += 0.12 * share * np.cos(2.0 * np.pi * (first + second))
    return Variation(delta=amplitude * delta * in_bands(visits.band, PULSATION), period=period, tags=("mp",))


def cepheid(rng: np.random.Generator, visits: Visits, period: float, amplitude: float) -> Variation:
    """Draw a fundamental-mode classical Cepheid with the Hertzsprung progression of its bump with period."""
    log_period = float(np.log10(period))
    bump = float(np.exp(-(((log_period - 1.0) / 0.12) ** 2)))
    ratios = (1.0, 0.46 - 0.28 * bump - 0.08 * log_period, 0.22 * (1.0 - 0.7 * bump), 0.1, 0.05)
    turn = 4.0 + 1.1 * (log_period - 0.5) + (0.0 if log_period < 1.0 else 0.3)
    ratios_here, phases = _scattered(rng, ratios, (0.0, turn, 2.0 * turn - 6.1, 3.0 * turn - 12.0, 4.0 * turn - 18.0))
    delta = amplitude * _template(phase(visits.time, period, rng.random()), ratios_here, phases)
    tags = ("saw",) if bump < 0.3 and rng.random() < 0.7 else ()
    if rng.random() < 0.08:
        second = phase(visits.time, period * CEPHEID_RATIO, rng.random())
        delta = delta + 0.35 * amplitude * np.cos(2.0 * np.pi * second)
        tags = ("mp",)
    return Variation(delta=delta * in_bands(visits.band, PULSATION), period=period, tags=tags)


def overtone_cepheid(rng: np.random.Generator, visits: Visits, period: float, amplitude: float) -> Variation:
    """Draw a first-overtone Cepheid: smaller and rounder."""
    strength = float(np.exp(0.4 * rng.standard_normal()))
    ratios, phases = _scattered(rng, (1.0, 0.18, 0.06), (0.0, 4.5, 2.8), strength)
    delta = amplitude * _template(phase(visits.time, period, rng.random()), ratios, phases)
    tags = ("sin",) if strength < 0.9 else ()
    return Variation(delta=delta * in_bands(visits.band, PULSATION), period=period, tags=tags)


def population_two_cepheid(rng: np.random.Generator, visits: Visits, period: float, amplitude: float) -> Variation:
    """Draw a BL Herculis (below 4 d) or W Virginis star: broad maxima, some with a bump, slightly irregular cycles."""
    if period < 4.0:
        ratios, phases = _scattered(rng, (1.0, 0.36, 0.2, 0.09), (0.0, 4.2 + 0.5 * rng.random(), 2.3, 0.5))
    else:
        ratios, phases = _scattered(rng, (1.0, 0.22, 0.12, 0.05), (0.0, 4.9 + rng.random(), 4.2, 1.9))
    wander = damped_random_walk(rng, visits.time, 60.0 * period, 0.004 * np.sqrt(period))
    delta = amplitude * _template(phase(visits.time, period, rng.random()) + wander, ratios, phases)
    tags = ("saw",) if period < 4.0 and rng.random() < 0.5 else ()
    return Variation(delta=delta * in_bands(visits.band, PULSATION), period=period, tags=tags)


def rv_tauri(rng: np.random.Generator, visits: Visits, period: float, amplitude: float) -> Variation:
    """Draw an RV Tauri star: deep and shallow minima alternate in the formal `period`, not quite regularly."""
    wander = damped_random_walk(rng, visits.time, 6.0 * period, 0.03)
    at = phase(visits.time, period, rng.random()) + wander
    swing = 1.0 + damped_random_walk(rng, visits.time, 4.0 * period, 0.22)
    contrast = rng.uniform(0.15, 0.5)
    delta = 0.5 * amplitude * swing * (np.cos(4.0 * np.pi * at) + contrast * np.cos(2.0 * np.pi * at))
    if rng.random() < 0.35:
        delta = delta + rng.uniform(0.2, 0.8) * np.cos(
            2.0 * np.pi * phase(visits.time, rng.uniform(500, 1500), rng.random())
        )
    return Variation(delta=delta * in_bands(visits.band, (1.0, 0.8, 0.66)), period=period)


def delta_scuti(rng: np.random.Generator, visits: Visits, period: float, amplitude: float) -> Variation:
    """Draw a Delta Scuti star: one to five modes; the high-amplitude ones pulse in one mode, as a sawtooth."""
    if amplitude > 0.2:
        ratios, phases = _scattered(rng, (1.0, 0.36, 0.16, 0.07), (0.0, 4.0, 2.1, 0.3))
        delta = amplitude * _template(phase(visits.time, period, rng.random()), ratios, phases)
        return Variation(delta=delta * in_bands(visits.band, PULSATION), period=period, tags=("saw",))
    n_modes = int(rng.integers(1, 6))
    sizes = np.concatenate([[1.0], np.sort(rng.uniform(0.1, 0.9, n_modes - 1))[::-1]])
    frequencies = np.concatenate([[1.0 / period], rng.uniform(0.55, 1.6, n_modes - 1) / period])
    turns = np.outer(visits.time - visits.time[:1], frequencies) + rng.random(n_modes)
    delta = 0.5 * amplitude * np.cos(2.0 * np.pi * turns) @ sizes
    several = n_modes > 1 and sizes[1] > 0.45
    tags = ("mp",) if several else ("sin",) if n_modes == 1 or sizes[1] < 0.3 else ()
    return Variation(delta=delta * in_bands(visits.band, PULSATION), period=period, tags=tags)


def slow_pulsator(rng: np.random.Generator, visits: Visits, period: float, amplitude: float) -> Variation:
    """Draw a Gamma Doradus or slowly pulsating B star: two to five close modes of about a day."""
    n_modes = int(rng.integers(2, 6))
    sizes = np.concatenate([[1.0], np.sort(rng.uniform(0.3, 0.95, n_modes - 1))[::-1]])
    frequencies = np.concatenate([[1.0], rng.uniform(0.75, 1.3, n_modes - 1)]) / period
    turns = np.outer(visits.time - visits.time[:1], frequencies) + rng.random(n_modes)
    delta = 0.5 * amplitude * np.cos(2.0 * np.pi * turns) @ sizes
    return Variation(delta=delta * in_bands(visits.band, (1.0, 0.76, 0.6)), period=period)


def mira(rng: np.random.Generator, visits: Visits, period: float, amplitude: float) -> Variation:
    """Draw a Mira: a large, slightly unequal cycle; rise faster than decline."""
    wander = damped_random_walk(rng, visits.time, 4.0 * period, 0.02)
    at = phase(visits.time, period, rng.random()) + wander
    skewed = rng.uniform(0.0, 0.28)
    swing = 1.0 + damped_random_walk(rng, visits.time, 1.5 * period, 0.10)
    delta = amplitude * swing * _template(at, (1.0, skewed, 0.3 * skewed), (0.0, 4.2, 2.5))
    delta = delta + damped_random_walk(rng, visits.time, 3.0 * period, 0.08 * amplitude)
    return Variation(delta=delta * in_bands(visits.band, GIANT), period=period)


def semiregular(rng: np.random.Generator, visits: Visits, period: float, amplitude: float) -> Variation:
    """Draw a semiregular variable: a cycle that wanders in phase and swells and fades, often with a second or a long one."""
    wander = damped_random_walk(rng, visits.time, 3.0 * period, rng.uniform(0.04, 0.16))
    swell = 1.0 + 0.6 * np.sin(2.0 * np.pi * phase(visits.time, period * rng.uniform(4.0, 9.0), rng.random()))
    delta = 0.5 * amplitude * swell * np.cos(2.0 * np.pi * (phase(visits.time, period, rng.random()) + wander))
    tags: tuple[str, ...] = ()
    if rng.random() < 0.5:
        other = phase(visits.time, period * rng.choice([0.53, 1.85]) * rng.uniform(0.95, 1.05), rng.random())
        delta = delta + 0.3 * amplitude * np.cos(2.0 * np.pi * other)
        tags = ("mp",)
    if rng.random() < 0.3:
        long_cycle = phase(visits.time, period * rng.uniform(6.0, 11.0), rng.random())
        delta = delta + 0.4 * amplitude * np.cos(2.0 * np.pi * long_cycle)
    delta = delta + damped_random_walk(rng, visits.time, 2.0 * period, 0.10 * amplitude)
    return Variation(delta=delta * in_bands(visits.band, GIANT), period=period, tags=tags)


def red_giant(rng: np.random.Generator, visits: Visits, period: float, amplitude: float) -> Variation:
    """Draw an OGLE small-amplitude red giant: several modes of weeks to months, of a few hundredths of a magnitude."""
    n_modes = int(rng.integers(2, 5))
    sizes = np.concatenate([[1.0], rng.uniform(0.35, 0.9, n_modes - 1)])
    periods = period * np.concatenate(
        [[1.0], rng.choice([0.5, 0.69, 1.42, 2.0], n_modes - 1) * rng.uniform(0.96, 1.04)]
    )
    turns = np.outer(visits.time - visits.time[:1], 1.0 / periods) + rng.random(n_modes)
    turns = turns + damped_random_walk(rng, visits.time, 5.0 * period, 0.08)[:, None]
    delta = 0.5 * amplitude * np.cos(2.0 * np.pi * turns) @ sizes
    if rng.random() < 0.3:
        delta = delta + amplitude * np.cos(
            2.0 * np.pi * phase(visits.time, period * rng.uniform(5.0, 12.0), rng.random())
        )
    tags = ("mp",) if rng.random() < 0.6 else ()
    return Variation(delta=delta * in_bands(visits.band, GIANT), period=period, tags=tags)
