"""Light curves for the least-squares kernels (``source/harmonics.cu`` and what follows it), and those kernels.

May import the rooms `columns`, `device` and `flat`, `kernels.bands` and `kernels.curve`.
"""

from __future__ import annotations

import numpy as np

from scope_ml.kernels.bands import normalise
from scope_ml.kernels.curve import Curve
from scope_ml.kernels.gpu.columns import Columns, Packed, Variant, numbers
from scope_ml.kernels.gpu.device import Program
from scope_ml.kernels.gpu.flat import Flat

__all__ = ["BAND", "harmonic_programs", "pack_fit", "pack_fits", "refine_programs"]

#: `Band` of ``source/harmonics.cu``.
BAND = np.dtype([("weight", "f8"), ("end", "i4"), ("unused", "i4")])

THREADS = 128
#: Frequencies that a block looks through for those to be computed again.
SPAN = 1024
#: From this many points on float32 sums are passed on to float64 ones now and then.
LONG = 4097
#: Frequencies of a thread by number of harmonics; where sums are also kept by band or in float64, one or few.
LANES = {1: 8, 2: 4, 3: 2}
LANES_FOLDED = {1: 4}
#: Norm of a term, less what the terms before it describe, below which it counts as described: as on the CPU.
SINGULAR = "1e-12"
SINGULAR_IN_REFINEMENT = "1e-10"


def pack_fit(curve: Curve) -> Packed:
    """Return a light curve with its bands one after the other, weights of sum one, and magnitudes of unit variance."""
    scaled = normalise(curve)
    weight = scaled.mag_err**-2.0
    weight /= weight.sum()
    variance = float(weight @ scaled.mag**2)
    residual = scaled.mag / np.sqrt(variance) if variance > 0 else np.zeros_like(scaled.mag)
    time = scaled.time
    bands = np.zeros(curve.n_bands, dtype=BAND)
    if curve.n_bands > 1:
        order = np.argsort(scaled.band, kind="stable")
        time, weight, residual = time[order], weight[order], residual[order]
        bands["weight"] = np.bincount(scaled.band[order], weight, minlength=curve.n_bands)
        bands["end"] = np.cumsum(np.bincount(scaled.band, minlength=curve.n_bands))
    else:
        bands["weight"], bands["end"] = 1.0, time.size
    strength = np.stack((weight, weight * residual), axis=1)
    return Packed(
        variant=(("BANDS", int(curve.n_bands > 1)), ("LONG", int(time.size >= LONG))),
        points=(time, strength.astype(np.float32), strength),
        lists=((bands, 0),),
        whole=(0, curve.n_bands),
    )


def pack_fits(flat: Flat) -> Columns:
    """Return light curves of one band, as `pack_fit` does."""
    # Ten times as fast as a power.
    weight = 1.0 / (flat.mag_err * flat.mag_err)
    weight /= flat.spread(flat.sum(weight))
    residual = flat.mag - flat.spread(flat.sum(weight * flat.mag))
    variance = flat.sum(weight * residual**2)
    residual /= flat.spread(np.sqrt(variance))
    strength = np.stack((weight, weight * residual), axis=1)
    n = flat.n_obs.size
    bands = np.zeros(n, dtype=BAND)
    bands["weight"], bands["end"] = 1.0, flat.n_obs
    return Columns(
        variants=tuple((("BANDS", 0), ("LONG", long)) for long in (0, 1)),
        variant=(flat.n_obs >= LONG).astype(np.int64),
        n_obs=flat.n_obs.astype(np.int32),
        arrays=(flat.time, strength.astype(np.float32), strength, bands),
        real=numbers(n, dtype=np.float64),
        whole=numbers(n, np.arange(n), 1, dtype=np.int32),
    )


def harmonic_programs(variant: Variant, *, n_harmonics: int, ratio: bool) -> tuple[Program, ...]:
    """Return the kernels of a fit: over the grid in float32, and again in float64 where that was not enough.

    Parameters
    ----------
    variant
        ``Columns.variants``.
    n_harmonics
        Sinusoids.
    ratio
        Whether the statistic is theta of multi-harmonic analysis of variance, or the power.
    """
    folded = any(value for _, value in variant)
    lanes = (LANES_FOLDED if folded else LANES).get(n_harmonics, 1)
    defines = (
        ("HARMONICS", n_harmonics),
        ("STATISTIC", int(ratio)),
        ("THREADS", THREADS),
        ("LANES", lanes),
        *variant,
    )
    sources = ("task", "phase", "harmonics")
    again: tuple[tuple[str, int | str], ...] = (*defines, ("SPAN", SPAN), ("SINGULAR", SINGULAR))
    return (
        Program(sources=sources, name="harmonics", defines=defines, per_block=THREADS * lanes),
        Program(sources=(*sources, "repair"), name="repair", defines=again, per_block=SPAN),
    )


def refine_programs(n_harmonics: int, n_trials: int) -> tuple[Program, Program]:
    """Return the kernels that fit `n_harmonics` sinusoids near peaks, and that move the peaks; `n_trials` is odd."""
    defines = (
        ("HARMONICS", n_harmonics),
        ("STATISTIC", 1),
        ("THREADS", THREADS),
        ("LANES", 1),
        ("BANDS", 1),
        ("LONG", 0),
        ("SPAN", 1),
        ("SINGULAR", SINGULAR_IN_REFINEMENT),
        ("TRIALS", n_trials),
    )
    sources = ("task", "phase", "harmonics", "repair", "refine")
    return (
        Program(sources=sources, name="fit_near", defines=defines, per_block=1),
        Program(sources=sources, name="move_peaks", defines=defines, per_block=THREADS),
    )
