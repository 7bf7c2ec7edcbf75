"""What is not the star: bogus detections, extended sources, blends, saturation, detector artefacts; and the quiet stars."""

from __future__ import annotations

import numpy as np

from scope_ml.simulation.binaries import contact_binary, main_sequence_pair
from scope_ml.simulation.pulsators import fundamental_rr_lyrae
from scope_ml.simulation.variation import Variation, Visits, damped_random_walk, in_bands

__all__ = ["artefact", "blended", "bogus", "constant", "extended", "saturated"]

#: Periods of the variables that hide in blends [d].
HIDDEN_PERIODS = (0.25, 3.0)


def constant(rng: np.random.Generator, visits: Visits, period: float, amplitude: float) -> Variation:
    """Draw a star that does not vary; some show the survey's own trends with airmass, or a slow drift of its zero point."""
    delta = np.zeros(len(visits))
    if rng.random() < 0.25:
        delta = delta + rng.normal(0.0, 0.02) * (visits.airmass - 1.3) * in_bands(visits.band, (1.0, 0.4, 0.3))
    if rng.random() < 0.12:
        delta = delta + damped_random_walk(rng, visits.time, 300.0, 0.012)
    if rng.random() < 0.10:
        delta = delta + rng.normal(0.0, 0.05) * (visits.seeing - 2.0)
    return Variation(delta=delta)


def bogus(rng: np.random.Generator, visits: Visits, period: float, amplitude: float) -> Variation:
    """Draw a spurious source: wrong matches and bad subtractions make erratic excursions."""
    delta = rng.normal(0.0, 0.15 * amplitude, len(visits))
    wild = rng.random(len(visits)) < rng.uniform(0.05, 0.35)
    delta = delta + np.where(wild, amplitude * rng.standard_normal(len(visits)), 0.0)
    return Variation(delta=delta)


def extended(rng: np.random.Generator, visits: Visits, period: float, amplitude: float) -> Variation:
    """Draw a galaxy measured as a star: fainter in good seeing, by a fixed law and some noise."""
    slope = -amplitude * rng.uniform(0.4, 1.0)
    delta = slope * (visits.seeing / 2.0 - 1.0) + rng.normal(0.0, 0.04, len(visits))
    return Variation(delta=delta)


def blended(rng: np.random.Generator, visits: Visits, period: float, amplitude: float) -> Variation:
    """Draw two stars that part in good seeing only; one in three hides a periodic variable."""
    together = 1.0 / (1.0 + np.exp(-(visits.seeing - rng.uniform(1.7, 2.6)) / 0.18))
    lucky = rng.random(len(visits)) < 0.9
    delta = -amplitude * (np.where(lucky, together, 1.0 - together) - 0.5) + rng.normal(0.0, 0.02, len(visits))
    if rng.random() > 0.33:
        return Variation(delta=delta)
    hidden = (fundamental_rr_lyrae, contact_binary, main_sequence_pair)[int(rng.integers(3))]
    own_period = float(np.exp(rng.uniform(*np.log(HIDDEN_PERIODS))))
    inner = hidden(rng, visits, own_period, 0.5)
    return Variation(delta=delta + 0.5 * inner.delta, period=inner.period, tags=("vnv", "pnp"))


def saturated(rng: np.random.Generator, visits: Visits, period: float, amplitude: float) -> Variation:
    """Draw a star near saturation: losses of light that depend on seeing, large and one-sided."""
    sharp = np.clip(2.1 - visits.seeing, 0.0, None)
    delta = amplitude * sharp * rng.uniform(0.4, 1.0) + np.abs(rng.normal(0.0, 0.25 * amplitude, len(visits)))
    return Variation(delta=delta * in_bands(visits.band, (0.8, 1.0, 0.9)))


def artefact(rng: np.random.Generator, visits: Visits, period: float, amplitude: float) -> Variation:
    """Draw a detector artefact: steps when the reference or the CCD changed, a ghost that returns each season, airmass terms."""
    delta = rng.normal(0.0, 0.03, len(visits))
    if len(visits) == 0:
        return Variation(delta=delta)
    kind = rng.random()
    if kind < 0.4:
        for _ in range(int(rng.integers(1, 4))):
            step = float(rng.uniform(visits.time[0], visits.time[-1]))
            delta = delta + amplitude * rng.normal(0.0, 0.6) * (visits.time > step)
    elif kind < 0.75:
        year = (visits.time - rng.uniform(0.0, 365.25)) / 365.25
        delta = delta - amplitude * np.clip(np.cos(2.0 * np.pi * year), 0.0, None) ** 4
    else:
        delta = delta + amplitude * (visits.airmass - 1.3)
    return Variation(delta=delta * in_bands(visits.band, (1.0, 0.9, 1.2)))
