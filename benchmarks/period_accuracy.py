"""How right periodograms are: against the float64 definitions of the methods, on some frequencies of the grid.

The grid comes from a baseline 1.0137 times longer than the light curve's (see `period_sources.LONGER`). Our values are
those of the whole grid as a user gets them, so phases that drift over millions of steps would show.
"""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module

import numpy as np
from numpy.typing import NDArray

from benchmarks.period_peers import Peer, light_curve_grid
from benchmarks.period_sources import START, Source, longer_grid
from scope_ml.kernels import registry
from scope_ml.kernels.curve import make_curve
from scope_ml.kernels.peaks import SearchOptions

#: Frequencies at which the definition is evaluated.
N_CHECKED = 20_000

#: Difference beyond which a point must have fallen into another bin: by method, and whether it is relative.
BIN_METHODS: dict[str, tuple[float, bool]] = {
    "ce": (1e-6, False),
    "aov": (1e-5, True),
    "pdm": (1e-5, True),
    "fpw": (1e-5, True),
    "bls": (1e-5, True),
}


def definition(
    method: str, source: Source, frequency: NDArray[np.float64], options: SearchOptions
) -> NDArray[np.float64]:
    """Return the method's statistic by its float64 definition, float64 (n_frequencies,)."""
    module = import_module(registry.spec(method).targets["reference"].partition(":")[0])
    values: NDArray[np.float64] = module.statistic(make_curve(source.batch, 0), frequency, options)
    return values


def describe(method: str, found: NDArray[np.float64], right: NDArray[np.float64]) -> str:
    """Return the largest error in words; for binned methods, the share of frequencies with another bin apart."""
    short = registry.spec(method).short
    error = np.abs(found - right)
    if short not in BIN_METHODS:
        return f"{error.max():.0e}" if short == "ls" else f"{np.max(error / np.maximum(np.abs(right), 1e-3)):.0e} rel."
    limit, is_relative = BIN_METHODS[short]
    if is_relative:
        error = error / np.maximum(np.abs(right), 1e-12)
    other = error > limit
    share = f"{other.mean():.0e} of freq." if other.any() else "0 of freq."
    return f"{share}, else {error[~other].max(initial=0.0):.0e}{' rel.' if is_relative else ''}"


def checked_frequencies(n_frequencies: int) -> NDArray[np.int64]:
    """Return the indices that are compared, ascending."""
    rng = np.random.default_rng(1)
    return np.sort(rng.choice(n_frequencies, size=min(N_CHECKED, n_frequencies), replace=False))


def has_definition(method: str) -> bool:
    """Return whether a method is one statistic with a definition; those made of several searches are not."""
    module = import_module(registry.spec(method).targets["reference"].partition(":")[0])
    return hasattr(module, "statistic")


def our_error(method: str, sources: list[Source], options: SearchOptions) -> str:
    """Return our error in words over all `sources`."""
    if not has_definition(method):
        return "-"
    found, right = [], []
    for source in sources:
        grid = longer_grid(source)
        peaks = registry.load(method, "cpu")(source.batch, grid, replace(options, return_spectrum=True))
        if not peaks.spectra or peaks.spectra[0] is None:
            return "-"
        at = checked_frequencies(int(grid.n_frequencies[0]))
        found.append(peaks.spectra[0].statistic[at])
        right.append(definition(method, source, grid.frequencies(0)[at], options))
    return describe(method, np.concatenate(found), np.concatenate(right))


def peer_error(method: str, name: str, peer: Peer, sources: list[Source], options: SearchOptions) -> str:
    """Return another package's error in words over all `sources`, by the same definition on the same frequencies."""
    if not peer.is_periodogram or registry.spec(method).short not in ("ls", "ce"):
        return "-"
    found, right = [], []
    for source in sources:
        stretched = StretchedSource.of(source)
        at = checked_frequencies(stretched.n_frequencies)
        found.append(peer.prepare(stretched)()[at + peer.offset])
        frequency = stretched.frequency[at]
        if name == "light_curve":
            right.append(unweighted_power(source, light_curve_grid(stretched)[at + peer.offset]))
        else:
            right.append(definition(method, source, frequency, options))
    return describe(method, np.concatenate(found), np.concatenate(right))


class StretchedSource(Source):
    """A light curve with the grid for accuracy in the place of its own."""

    @classmethod
    def of(cls, source: Source) -> StretchedSource:
        """Return the same light curve with the longer grid."""
        found = cls(time=source.time, mag=source.mag, mag_err=source.mag_err, max_frequency=source.max_frequency)
        found.__dict__["grid"] = longer_grid(source)
        return found


def unweighted_power(source: Source, frequency: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the classical Lomb-Scargle power: no errors, mean taken off before; what light-curve approximates."""
    centred = source.mag - source.mag.mean()
    power = np.empty(frequency.size)
    for first in range(0, frequency.size, 512):
        angle = 2.0 * np.pi * (frequency[first : first + 512, None] * source.time % 1.0)
        cosine, sine = np.cos(angle), np.sin(angle)
        yc, ys = cosine @ centred, sine @ centred
        cc, ss, cs = (cosine**2).sum(1), (sine**2).sum(1), (cosine * sine).sum(1)
        power[first : first + 512] = (ss * yc**2 + cc * ys**2 - 2.0 * cs * yc * ys) / (cc * ss - cs**2)
    return power / np.sum(centred**2)


def astropy_error(sources: list[Source], options: SearchOptions) -> str:
    """Return the largest difference of our Lomb-Scargle power from astropy's slow one.

    Raises
    ------
    ImportError
        If astropy is not installed.
    """
    from astropy.timeseries import LombScargle

    worst = 0.0
    for source in sources:
        grid = longer_grid(source)
        peaks = registry.load("ls", "cpu")(source.batch, grid, replace(options, return_spectrum=True))
        at = checked_frequencies(int(grid.n_frequencies[0]))[::10]
        theirs = LombScargle(source.batch.time - START, source.mag, source.mag_err).power(
            grid.frequencies(0)[at], method="slow"
        )
        worst = max(worst, float(np.abs(peaks.spectra[0].statistic[at] - theirs).max()))
    return f"{worst:.0e}"
