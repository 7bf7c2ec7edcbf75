"""The other packages, each through its fastest public call with one thread, for `benchmarks.periods`.

A peer is prepared once a light curve (import, grid, arrays in its layout: not timed) and then called. Nothing of these
packages is part of scope_ml; cuperiod and light-curve are under the GPL and are only called here, to be timed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.period_sources import Source

#: What is timed: gives the periodogram, or some of it.
Call = Callable[[], NDArray[np.float64]]


@dataclass(frozen=True, kw_only=True)
class Peer:
    """One call of another package.

    Attributes
    ----------
    label
        What is called, for the table.
    install
        What to type where it is not there.
    prepare
        Gives the call for a light curve; raises ImportError where the package is missing.
    share
        Part of the grid that the call computes; its time is divided by it (for peers whose cost is
        proportional to the number of frequencies and minutes long).
    offset
        Grid points before the light curve's own first frequency.
    is_periodogram
        Whether values are the same statistic as ours, so that errors and best frequencies can be compared.
    is_minimum
        Whether smaller is better.
    """

    label: str
    install: str
    prepare: Callable[[Source], Call]
    share: float = 1.0
    offset: int = 0
    is_periodogram: bool = True
    is_minimum: bool = False


def nifty_ls(source: Source) -> Call:
    """Return the call of nifty-ls: float64 through finufft, with errors and floating mean."""
    from nifty_ls.finufft import lombscargle

    def call() -> NDArray[np.float64]:
        return lombscargle(
            source.time,
            source.mag,
            source.minimum,
            source.step,
            source.n_frequencies,
            dy=source.mag_err,
            nthreads=1,
        )

    return call


def nifty_chi2(n_harmonics: int) -> Callable[[Source], Call]:
    """Return what prepares nifty-ls with several harmonics ("chi2") through finufft."""

    def prepare(source: Source) -> Call:
        from nifty_ls.finufft_chi2 import lombscargle

        def call() -> NDArray[np.float64]:
            return lombscargle(
                source.time,
                source.mag,
                source.minimum,
                source.step,
                source.n_frequencies,
                dy=source.mag_err,
                nthreads=1,
                nterms=n_harmonics,
            )

        return call

    return prepare


def light_curve_grid(source: Source) -> NDArray[np.float64]:
    """Return the frequencies [1/d] of light-curve's fast periodogram: 2^k + 1 from 0 in our step, past our end."""
    needed = source.max_frequency / source.step
    return np.arange(2 ** int(np.ceil(np.log2(needed))) + 1) * source.step


def light_curve_fast(source: Source) -> Call:
    """Return the call of light-curve's approximate, unweighted periodogram."""
    from light_curve import Periodogram

    frequency = light_curve_grid(source)
    grid = np.linspace(0.0, 2.0 * np.pi * frequency[-1], frequency.size)
    extractor = Periodogram(freqs=grid, fast=True, normalization="standard")

    def call() -> NDArray[np.float64]:
        return extractor.power(source.time, source.mag)

    return call


def cuperiod_ce(source: Source) -> Call:
    """Return the call of conditional entropy of cuperiod[fast] (numba), 20 x 10 bins."""
    import numba  # noqa: F401  without it cuperiod falls back to NumPy, which is no peer
    from cuperiod.methods.conditional_entropy import conditional_entropy

    period = 1.0 / source.frequency

    def call() -> NDArray[np.float64]:
        return conditional_entropy(source.time, source.mag, period, n_phase_bins=20, n_mag_bins=10, backend="numba")

    return call


def cuperiod_mhaov(n_harmonics: int, share: float) -> Callable[[Source], Call]:
    """Return what prepares multi-harmonic AOV of cuperiod[fast] (numba) on part of the grid."""

    def prepare(source: Source) -> Call:
        import numba  # noqa: F401
        from cuperiod.methods.mhaov import aov_power

        frequency = source.frequency[: int(source.n_frequencies * share)]

        def call() -> NDArray[np.float64]:
            return aov_power(source.time, source.mag, frequency, n_harmonics=n_harmonics, backend="numba")

        return call

    return prepare


#: What to type for packages that scope_ml itself does not need.
INSTALL = "pip install 'scope_ml[benchmarks]'"
#: A thousand epochs would take a minute a call.
MHAOV_SHARE = 1 / 64

#: Everything that is timed beside ours.
PEERS: dict[str, Peer] = {
    "nifty_ls": Peer(label="nifty-ls LS float64", install="pip install nifty-ls", prepare=nifty_ls),
    "light_curve": Peer(label="light-curve LS fast", install=INSTALL, prepare=light_curve_fast, offset=20),
    "cuperiod_ce": Peer(label="cuperiod CE", install=INSTALL, prepare=cuperiod_ce, is_minimum=True),
    "nifty_chi2_1": Peer(
        label="nifty-ls chi2, 1 harmonic", install="pip install nifty-ls", prepare=nifty_chi2(1), is_periodogram=False
    ),
    "nifty_chi2_3": Peer(
        label="nifty-ls chi2, 3 harmonics", install="pip install nifty-ls", prepare=nifty_chi2(3), is_periodogram=False
    ),
    "cuperiod_mhaov_1": Peer(
        label="cuperiod MHAOV, 1 harmonic",
        install=INSTALL,
        prepare=cuperiod_mhaov(1, MHAOV_SHARE),
        share=MHAOV_SHARE,
        is_periodogram=False,
    ),
}
