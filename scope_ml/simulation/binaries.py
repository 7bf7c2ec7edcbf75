"""Binary and spotted stars: eclipses, ellipsoidal shape, irradiation, spots.

Light is the sum of two uniform discs on a circular orbit (separation 1) minus the part of the farther disc that the nearer
one hides, times the slow terms of tidal shape (twice per orbit) and of irradiation (once per orbit). That is not a full
Roche model, but has its signs, its symmetries and its depths.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scope_ml.simulation.variation import (
    FloatArray,
    Variation,
    Visits,
    damped_random_walk,
    fourier_series,
    in_bands,
    phase,
)

__all__ = [
    "Binary",
    "algol",
    "beta_lyrae",
    "binary_light",
    "compact_binary",
    "contact_binary",
    "ellipsoidal",
    "equal_minima",
    "hw_virginis",
    "main_sequence_pair",
    "nn_serpentis",
    "redback",
    "rs_canum_venaticorum",
    "spotted",
    "w_ursae_majoris",
    "wide_algol",
]

#: Relative amplitude of star spots in g, r, i.
SPOTS = (1.0, 0.86, 0.74)


@dataclass(frozen=True, kw_only=True)
class Binary:
    """Geometry and light of a binary; radii in units of the separation.

    Attributes
    ----------
    radius_1, radius_2
        Radii of the star eclipsed at phase 0 and of the other.
    inclination
        Angle between orbital axis and line of sight [deg].
    light_2
        Share of the second star in the total light, in g, r and i.
    tides
        Semi-amplitude of the ellipsoidal variation, in flux.
    irradiation
        Semi-amplitude of the light that the second star's heated side adds, brightest at phase 0.5, in g, r, i.
    shift
        Displacement of the secondary eclipse from phase 0.5, the mark of an eccentric orbit.
    """

    radius_1: float
    radius_2: float
    inclination: float
    light_2: tuple[float, float, float]
    tides: float = 0.0
    irradiation: tuple[float, float, float] = (0.0, 0.0, 0.0)
    shift: float = 0.0


def _hidden(separation: FloatArray, near: float, far: float) -> FloatArray:
    """Return the fraction of a disc of radius `far` that a disc of radius `near` covers at each centre distance."""
    small, large = min(near, far), max(near, far)
    inside = small * small / (far * far)
    distance = np.clip(separation, large - small + 1e-9, large + small)
    angle_near = np.arccos(np.clip((distance**2 + near**2 - far**2) / (2.0 * distance * near), -1.0, 1.0))
    angle_far = np.arccos(np.clip((distance**2 + far**2 - near**2) / (2.0 * distance * far), -1.0, 1.0))
    lens = near**2 * (angle_near - 0.5 * np.sin(2.0 * angle_near)) + far**2 * (
        angle_far - 0.5 * np.sin(2.0 * angle_far)
    )
    return np.where(separation <= large - small, inside, lens / (np.pi * far * far))


def binary_light(at: FloatArray, band: np.ndarray, binary: Binary) -> FloatArray:
    """Return the relative flux of a binary, about 1 out of eclipse.

    Parameters
    ----------
    at
        (n,) phases; the primary minimum is at 0.
    band
        (n,) int8 band codes.
    """
    at = at - binary.shift * np.sin(np.pi * at) ** 2
    turn = 2.0 * np.pi * at
    cosine = np.cos(turn)
    tilt = np.cos(np.radians(binary.inclination))
    separation = np.sqrt(np.clip(1.0 - cosine**2 * (1.0 - tilt * tilt), 0.0, None))
    second_in_front = cosine > 0.0
    light_2 = in_bands(band, binary.light_2)
    eclipses = np.flatnonzero(separation < binary.radius_1 + binary.radius_2)
    flux = np.ones_like(at)
    if eclipses.size:
        apart = separation[eclipses]
        lost_1 = (1.0 - light_2[eclipses]) * _hidden(apart, binary.radius_2, binary.radius_1)
        lost_2 = light_2[eclipses] * _hidden(apart, binary.radius_1, binary.radius_2)
        flux[eclipses] -= np.where(second_in_front[eclipses], lost_1, lost_2)
    flux += in_bands(band, binary.irradiation) * (0.5 - 0.5 * cosine) - binary.tides * np.cos(2.0 * turn)
    return np.clip(flux, 1e-3, None)


def _observe(
    rng: np.random.Generator, visits: Visits, period: float, binary: Binary, dilution: float = 0.0
) -> FloatArray:
    """Return the magnitudes of a binary seen from a random phase, with a share `dilution` of steady light beside it."""
    flux = binary_light(phase(visits.time, period, rng.random()), visits.band, binary)
    return -2.5 * np.log10(dilution + (1.0 - dilution) * flux)


def _inclined(rng: np.random.Generator, radii: float, least_overlap: float) -> float:
    """Return an inclination [deg], isotropic among those whose discs overlap by `least_overlap` of their radii or more."""
    return float(np.degrees(np.arccos(rng.random() * min(radii * (1.0 - least_overlap), 0.95))))


def _share(brightness: float, area: float, redder: float) -> tuple[float, float, float]:
    """Return the second star's share of light in g, r, i from its relative surface brightness in r and relative area."""
    values = [brightness * redder**step * area for step in (-1.0, 0.0, 0.7)]
    return (values[0] / (1.0 + values[0]), values[1] / (1.0 + values[1]), values[2] / (1.0 + values[2]))


def algol(rng: np.random.Generator, visits: Visits, period: float, amplitude: float) -> Variation:
    """Draw a detached or Algol-like eclipsing binary: flat outside unequal eclipses."""
    radius_1, radius_2 = rng.uniform(0.08, 0.28), rng.uniform(0.08, 0.30)
    brightness = float(rng.beta(1.1, 1.3))
    binary = Binary(
        radius_1=radius_1,
        radius_2=radius_2,
        inclination=_inclined(rng, radius_1 + radius_2, 0.35),
        light_2=_share(brightness, (radius_2 / radius_1) ** 2, 1.0 + 0.5 * (1.0 - brightness)),
        tides=0.5 * max(radius_1, radius_2) ** 3,
        shift=float(rng.normal(0.0, 0.03)) if rng.random() < 0.25 else 0.0,
    )
    return Variation(delta=_observe(rng, visits, period, binary, rng.uniform(0.0, 0.3)), period=period)


def wide_algol(rng: np.random.Generator, visits: Visits, period: float, amplitude: float) -> Variation:
    """Draw a wide binary with a few narrow eclipses in the data, whose period is easily got wrong."""
    radius_1, radius_2 = rng.uniform(0.03, 0.07, 2)
    binary = Binary(
        radius_1=radius_1,
        radius_2=radius_2,
        inclination=_inclined(rng, radius_1 + radius_2, 0.5),
        light_2=_share(float(rng.uniform(0.3, 1.0)), (radius_2 / radius_1) ** 2, 1.1),
        shift=float(rng.normal(0.0, 0.08)),
    )
    return Variation(delta=_observe(rng, visits, period, binary), period=period)


def main_sequence_pair(rng: np.random.Generator, visits: Visits, period: float, amplitude: float) -> Variation:
    """Draw a detached pair of main-sequence stars: narrow eclipses, of similar depth where the stars are alike."""
    radius_1 = rng.uniform(0.06, 0.22)
    mass_ratio = float(np.clip(1.0 - abs(rng.normal(0.0, 0.25)), 0.3, 1.0))
    binary = Binary(
        radius_1=radius_1,
        radius_2=radius_1 * mass_ratio**0.8,
        inclination=_inclined(rng, radius_1 * (1.0 + mass_ratio**0.8), 0.35),
        light_2=_share(mass_ratio**2.5, mass_ratio**1.6, 1.0 + 0.4 * (1.0 - mass_ratio)),
        tides=0.4 * radius_1**3,
        shift=float(rng.normal(0.0, 0.03)) if rng.random() < 0.3 else 0.0,
    )
    return Variation(delta=_observe(rng, visits, period, binary, rng.uniform(0.0, 0.2)), period=period)


def beta_lyrae(rng: np.random.Generator, visits: Visits, period: float, amplitude: float) -> Variation:
    """Draw a semi-detached binary (EB): eclipses of unequal depth on a curve that is never flat."""
    radius_1, radius_2 = rng.uniform(0.28, 0.42), rng.uniform(0.26, 0.38)
    brightness = rng.uniform(0.15, 0.75)
    binary = Binary(
        radius_1=radius_1,
        radius_2=radius_2,
        inclination=_inclined(rng, radius_1 + radius_2, 0.3),
        light_2=_share(brightness, (radius_2 / radius_1) ** 2, 1.0 + 0.4 * (1.0 - brightness)),
        tides=rng.uniform(0.03, 0.11),
        irradiation=(0.01, 0.015, 0.02),
    )
    return Variation(delta=_observe(rng, visits, period, binary, rng.uniform(0.0, 0.25)), period=period)


def contact_binary(rng: np.random.Generator, visits: Visits, period: float, amplitude: float) -> Variation:
    """Draw a contact binary (EW): two nearly equal, round minima an orbit."""
    mass_ratio = float(rng.uniform(0.15, 1.0))
    radius_1 = 0.44 + 0.16 * (1.0 - mass_ratio)
    radius_2 = radius_1 * mass_ratio**0.46
    inclination = float(np.degrees(np.arccos(rng.random() * 0.75)))
    binary = Binary(
        radius_1=radius_1,
        radius_2=radius_2,
        inclination=inclination,
        light_2=_share(float(np.clip(rng.normal(0.97, 0.08), 0.7, 1.1)), (radius_2 / radius_1) ** 2, 1.0),
        tides=rng.uniform(0.09, 0.17) * mass_ratio**0.2 * float(np.sin(np.radians(inclination))) ** 2,
    )
    spot = rng.normal(0.0, 0.012) * np.sin(2.0 * np.pi * phase(visits.time, period))
    return Variation(delta=_observe(rng, visits, period, binary, rng.uniform(0.0, 0.25)) + spot, period=period)


def w_ursae_majoris(rng: np.random.Generator, visits: Visits, period: float, amplitude: float) -> Variation:
    """Draw a cool contact binary of W UMa type; it differs from a plain contact binary by its star, not its shape."""
    return contact_binary(rng, visits, period, amplitude)


def equal_minima(rng: np.random.Generator, visits: Visits, period: float, amplitude: float) -> Variation:
    """Draw a binary of two equal stars, whose strongest period in any search is half of the true one."""
    contact = bool(rng.random() < 0.6)
    radius = rng.uniform(0.34, 0.40) if contact else rng.uniform(0.12, 0.3)
    binary = Binary(
        radius_1=radius,
        radius_2=radius,
        inclination=_inclined(rng, 2.0 * radius, 0.45),
        light_2=(0.5, 0.5, 0.5),
        tides=rng.uniform(0.06, 0.13) if contact else 0.01,
    )
    return Variation(
        delta=_observe(rng, visits, period, binary), period=period, tags=("ew",) if contact else ("ea", "emsms")
    )


def ellipsoidal(rng: np.random.Generator, visits: Visits, period: float, amplitude: float) -> Variation:
    """Draw a non-eclipsing distorted star: two equal maxima, slightly unequal minima."""
    turn = 2.0 * np.pi * phase(visits.time, period, rng.random())
    delta = (
        0.5
        * amplitude
        * (np.cos(2.0 * turn) + rng.uniform(0.0, 0.25) * np.cos(turn) + rng.normal(0, 0.06) * np.sin(turn))
    )
    return Variation(delta=delta * in_bands(visits.band, (1.0, 0.96, 0.92)), period=period)


def hw_virginis(rng: np.random.Generator, visits: Visits, period: float, amplitude: float) -> Variation:
    """Draw a hot subdwarf with a red dwarf: deep eclipse, strong irradiation, small secondary eclipse at its top."""
    radius_1, radius_2 = rng.uniform(0.18, 0.26), rng.uniform(0.17, 0.25)
    heat = rng.uniform(0.10, 0.32)
    binary = Binary(
        radius_1=radius_1,
        radius_2=radius_2,
        inclination=_inclined(rng, radius_1 + radius_2, 0.45),
        light_2=(0.5 * heat, 0.6 * heat, 0.7 * heat),
        tides=0.008,
        irradiation=(heat, 1.2 * heat, 1.35 * heat),
    )
    return Variation(delta=_observe(rng, visits, period, binary), period=period)


def nn_serpentis(rng: np.random.Generator, visits: Visits, period: float, amplitude: float) -> Variation:
    """Draw an eclipsing white dwarf with a red dwarf: a narrow, flat-bottomed, deep eclipse, deepest in g, and irradiation."""
    hot = float(rng.beta(1.2, 2.2))
    dwarf = (0.04 + 0.12 * (1 - hot), 0.12 + 0.3 * (1 - hot), 0.25 + 0.45 * (1 - hot))
    radius_1, radius_2 = rng.uniform(0.012, 0.03), rng.uniform(0.14, 0.30)
    binary = Binary(
        radius_1=radius_1,
        radius_2=radius_2,
        inclination=_inclined(rng, radius_2, 0.2),
        light_2=dwarf,
        tides=0.015 * (1 - hot),
        irradiation=(0.25 * hot, 0.3 * hot, 0.3 * hot),
    )
    return Variation(delta=_observe(rng, visits, period, binary), period=period)


def compact_binary(rng: np.random.Generator, visits: Visits, period: float, amplitude: float) -> Variation:
    """Draw a close white dwarf pair that need not eclipse: irradiation or tidal shape, sinusoidal in the main."""
    irradiated = bool(rng.random() < 0.6)
    at = phase(visits.time, period, rng.random())
    if irradiated:
        delta = amplitude * 0.5 * fourier_series(at, (1.0, 0.1), (0.0, 0.0)) * in_bands(visits.band, (0.85, 1.0, 1.1))
        return Variation(delta=delta, period=period, tags=("sin",))
    delta = amplitude * 0.5 * fourier_series(at, (0.15, 1.0), (0.0, 0.0)) * in_bands(visits.band, (0.8, 1.0, 1.05))
    return Variation(delta=delta, period=period, tags=("el",))


def redback(rng: np.random.Generator, visits: Visits, period: float, amplitude: float) -> Variation:
    """Draw a redback pulsar's companion: tidal shape and heating of a few tenths of a magnitude, with flickering."""
    heat = rng.uniform(0.1, 0.9)
    at = phase(visits.time, period, rng.random())
    delta = 0.5 * amplitude * fourier_series(at, (heat, 0.85 * (1.0 - 0.4 * heat)), (0.0, 0.0))
    delta = delta + damped_random_walk(rng, visits.time, 20.0, 0.05 * amplitude)
    return Variation(delta=delta * in_bands(visits.band, (1.0, 0.85, 0.75)), period=period)


def spotted(rng: np.random.Generator, visits: Visits, period: float, amplitude: float) -> Variation:
    """Draw a rotating spotted star: a sinusoid whose amplitude and phase drift from season to season."""
    lifetime = float(np.exp(rng.uniform(np.log(60.0), np.log(1500.0))))
    size = 1.0 + 0.35 * damped_random_walk(rng, visits.time, lifetime, 1.0)
    drift = damped_random_walk(rng, visits.time, lifetime, 0.07)
    second = rng.uniform(0.0, 0.4)
    at = phase(visits.time, period, rng.random()) + drift
    delta = 0.5 * amplitude * size * fourier_series(at, (1.0, second), (0.0, rng.uniform(0.0, 6.28)))
    tags = ("sin",) if second < 0.25 else ()
    return Variation(delta=delta * in_bands(visits.band, SPOTS), period=period, tags=tags)


def rs_canum_venaticorum(rng: np.random.Generator, visits: Visits, period: float, amplitude: float) -> Variation:
    """Draw an RS CVn binary: spots that drift against the orbit, a slow activity cycle, in some cases shallow eclipses."""
    spots = spotted(rng, visits, period * (1.0 + 0.004 * rng.standard_normal()), amplitude)
    cycle = phase(visits.time, float(rng.uniform(900.0, 4000.0)), rng.random())
    delta = spots.delta + 0.25 * amplitude * np.cos(2.0 * np.pi * cycle)
    tags = spots.tags
    if rng.random() < 0.3:
        eclipses = algol(rng, visits, period, amplitude)
        delta, tags = delta + 0.3 * eclipses.delta, ("ea",)
    return Variation(delta=delta, period=period, tags=tags)
