"""One star: which population, where, how bright, how far, which colours.

Everything is drawn from the star's own stream, so that a star is the same in every survey of the same seed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scope_ml.simulation.census import CENSUS, DECK_SHARES
from scope_ml.simulation.populations import Population, deal
from scope_ml.simulation.sky import QUADRANT_SIDE_DEG, QUADRANTS, Quadrant

__all__ = ["MAX_SOURCES", "Star", "draw_star", "light_curve_id", "object_name", "red_colour", "source_id"]

#: Most sources of a survey: Kowalski's ids leave six digits for a star's number in its quadrant and filter.
MAX_SOURCES = 1_000_000

#: Reddening of g - r and extinction in r for one magnitude of E(B - V), after Schlafly & Finkbeiner 2011, ApJ 737, 103.
REDDENING_GR, EXTINCTION_R = 0.99, 2.27

#: Distance over which dust in the plane of the Galaxy reddens a star by 1 - 1/e of the most it can [pc].
DUST_LENGTH_PC = 900.0

#: Distance given to what is outside the Galaxy [pc].
EXTRAGALACTIC_PC = 1e9

_IN_PLANE = np.flatnonzero([quadrant.plane for quadrant in QUADRANTS])
_OUT_OF_PLANE = np.flatnonzero([not quadrant.plane for quadrant in QUADRANTS])


@dataclass(frozen=True, kw_only=True, slots=True)
class Star:
    """The facts of one star that do not change.

    Attributes
    ----------
    index
        Number in the survey, from 0.
    quadrant
        Index into `sky.QUADRANTS`.
    ra, dec
        Position [deg].
    mag
        Mean magnitudes in g, r, i.
    reddening
        E(B - V) on the way [mag].
    distance
        Distance [pc].
    period, amplitude
        Drawn from the population's laws; NaN where it has none [d], [mag].
    crowding
        Scatter added by neighbours [mag].
    """

    index: int
    population: Population
    quadrant: int
    ra: float
    dec: float
    mag: tuple[float, float, float]
    reddening: float
    distance: float
    period: float
    amplitude: float
    crowding: float

    @property
    def where(self) -> Quadrant:
        """Return the quadrant."""
        return QUADRANTS[self.quadrant]


def red_colour(g_minus_r: float | np.ndarray) -> np.ndarray:
    """Return r - i [mag] of a star from its g - r: the stellar locus, which climbs steeply for cool stars."""
    cool = np.clip(np.asarray(g_minus_r) - 1.15, 0.0, None)
    return np.minimum(0.42 * np.asarray(g_minus_r) - 0.03 + 1.6 * cool, 2.4)


def draw_star(rng: np.random.Generator, seed: int, index: int) -> Star:
    """Draw star number `index` of the survey with this `seed`.

    Parameters
    ----------
    rng
        The star's own stream.
    """
    population = CENSUS[deal(seed, index, DECK_SHARES)]
    places = _IN_PLANE if rng.random() < population.plane else _OUT_OF_PLANE
    which = int(places[rng.integers(places.size)])
    quadrant = QUADRANTS[which]
    offset = (rng.random(2) - 0.5) * QUADRANT_SIDE_DEG
    dec = quadrant.dec + float(offset[0])
    low, high = population.mag
    r_mag = low + (high - low) * float(rng.random()) ** 0.65
    normal = rng.standard_normal(4)
    distance = EXTRAGALACTIC_PC
    if population.absolute_mag is not None:
        absolute = population.absolute_mag[0] + population.absolute_mag[1] * float(normal[0])
        distance = float(np.clip(10.0 ** (0.2 * (r_mag - absolute) + 1.0), 20.0, 60_000.0))
    reddening = quadrant.reddening * float(np.exp(0.3 * normal[1])) * (1.0 - float(np.exp(-distance / DUST_LENGTH_PC)))
    if distance < EXTRAGALACTIC_PC:
        distance *= 10.0 ** (-0.2 * EXTINCTION_R * reddening)
    colour = population.colour[0] + population.colour[1] * float(normal[2]) + REDDENING_GR * reddening
    i_mag = r_mag - float(red_colour(colour))
    crowding = float(np.exp(normal[3])) * (0.006 if quadrant.plane else 0.002)
    return Star(
        index=index,
        population=population,
        quadrant=which,
        ra=(quadrant.ra + float(offset[1]) / float(np.cos(np.radians(dec)))) % 360.0,
        dec=dec,
        mag=(r_mag + colour, r_mag, i_mag),
        reddening=reddening,
        distance=distance,
        period=population.period.draw(rng) if population.period else float("nan"),
        amplitude=population.amplitude.draw(rng) if population.amplitude else float("nan"),
        crowding=crowding,
    )


def light_curve_id(star: Star, band: int) -> int:
    """Return a light curve's id in Kowalski's scheme: 1e13 + field 1e9 + rc 1e7 + filter 1e6 + number in the quadrant."""
    # As in ZTF, a star has another number in each filter; multiplying by 7 or 3 modulo 10^6 is one to one.
    number = (star.index * (387_423, 598_871, 712_099)[band] + 17 * band) % MAX_SOURCES
    return 10**13 + star.where.field * 10**9 + star.where.rc * 10**7 + (band + 1) * 10**6 + number


def source_id(star: Star) -> int:
    """Return the id that all light curves of a star share; above 2^53, as Gaia's are, so that it cannot pass through a float."""
    return star.where.field * 10**15 + star.where.rc * 10**12 + star.index


def object_name(index: int) -> str:
    """Return an alert object's name such as ``ZTF18aabcdef``, one per star."""
    number = (index * 1_000_003 + 4_567_891) % 26**7
    letters = []
    for _ in range(7):
        number, letter = divmod(number, 26)
        letters.append(chr(ord("a") + letter))
    return "ZTF18" + "".join(reversed(letters))
