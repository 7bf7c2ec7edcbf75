"""Light curves for the kernels that sum by phase bin (``source/variance.cu``, ``source/weighted.cu``), and those kernels.

May import the rooms `chunk`, `columns` and `device`, `kernels.bands`.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from scope_ml.kernels.bands import normalise
from scope_ml.kernels.curve import Curve
from scope_ml.kernels.gpu.chunk import Chunk
from scope_ml.kernels.gpu.columns import Columns, Packed, Variant, numbers
from scope_ml.kernels.gpu.device import Program

__all__ = ["pack_plain", "pack_weighted", "variance_program", "weighted_program"]

#: Bytes of a staged point.
POINT_BYTES = 16
THREADS = 128
#: A word of 32 bits holds the count of so many bits above the sum. The fewer bits, the finer the magnitudes: 2^-20 of
#: the range, 2^-22, 2^-24; needed where a few outliers make the range many times the scatter.
COUNT_BITS = ((16.0, 6), (64.0, 5), (np.inf, 4))
#: Sums of more than 32 bits go to wider ones.
LARGEST_SUM = 2**32 - 1
#: Bins up to which a thread does two frequencies.
FEW_BINS = 20
#: Bins up to which a block has 128 threads: its sums must fit into 48 KiB.
FEW_WEIGHTED_BINS = 40


@cache
def _inverses(n_obs: int) -> NDArray[np.float64]:
    """Return ``1 / n`` for n up to `n_obs`, and 0 for 0."""
    inverse = np.zeros(n_obs + 1)
    inverse[1:] = 1.0 / np.arange(1, n_obs + 1)
    return inverse


def pack_plain(chunk: Chunk, *, factor: NDArray[np.float64] | float = 1.0, least: float = 0.0) -> Columns:
    """Return light curves for sums without weights, their magnitudes as integers.

    Parameters
    ----------
    chunk
        Light curves; several bands are brought to one scale.
    factor, least
        ``Task.real[2]`` (of all, or of each) and ``Task.real[3]`` of the kernel.
    """
    n_obs = chunk.n_obs
    start = np.cumsum(n_obs) - n_obs
    if chunk.flat is None:
        time = np.concatenate([curve.time for curve in chunk.curves])
        mag = np.concatenate([normalise(curve).mag for curve in chunk.curves])
    else:
        time, mag = chunk.flat.time, chunk.flat.mag
    low = np.minimum.reduceat(mag, start)
    spread = np.maximum.reduceat(mag, start) - low
    centred = mag - np.repeat(np.add.reduceat(mag, start) / n_obs, n_obs)
    scatter = np.sqrt(np.add.reduceat(centred**2, start) / n_obs)
    outlying = np.divide(spread, scatter, out=np.zeros_like(spread), where=scatter > 0)
    bits = np.select([outlying <= limit for limit, _ in COUNT_BITS], [bits for _, bits in COUNT_BITS])
    count_limit = 2**bits - 1
    largest = (2 ** (32 - bits) - 1) // count_limit
    unit = np.where(spread > 0, spread / largest, 1.0)
    whole = np.rint((mag - np.repeat(low, n_obs)) / np.repeat(unit, n_obs))
    mean = np.rint(np.add.reduceat(whole, start) / n_obs)
    residual = whole - np.repeat(mean, n_obs)
    left = np.add.reduceat(residual, start) ** 2 / n_obs
    squares = np.add.reduceat(residual**2, start)
    return Columns(
        variants=((("LONG", 0),), (("LONG", 1),)),
        variant=(n_obs * largest > LARGEST_SUM).astype(np.int64),
        n_obs=n_obs.astype(np.int32),
        arrays=(time, whole.astype(np.uint32), _inverses(int(n_obs.max()))),
        real=numbers(n_obs.size, squares - left, left, factor, least, dtype=np.float64),
        whole=numbers(n_obs.size, mean, 32 - bits, count_limit, dtype=np.int32),
    )


def variance_program(variant: Variant, n_bins: int, *, dispersion: bool) -> Program:
    """Return the kernel of analysis of variance or of phase dispersion for light curves of a variant."""
    lanes = 2 if n_bins <= FEW_BINS else 1
    # Of 3 to 7 blocks at once 6 are the fastest on an H100, although some sums then leave the registers.
    blocks = 6 if n_bins <= FEW_BINS and not dict(variant)["LONG"] else 2
    defines = (
        ("PHASE_BINS", n_bins),
        ("STATISTIC", int(dispersion)),
        ("THREADS", THREADS),
        ("LANES", lanes),
        ("BLOCKS", blocks),
        *variant,
    )
    return Program(
        sources=("task", "phase", "variance"),
        name="variance",
        defines=defines,
        per_block=THREADS * lanes,
        shared=THREADS * (POINT_BYTES + 4 * lanes * n_bins),
    )


def pack_weighted(curve: Curve) -> tuple[Packed, float]:
    """Return a light curve for weighted sums, and half its weighted sum of squares.

    The packed weights add up to one; the magnitudes have no weighted mean and unit variance.
    """
    scaled = normalise(curve)
    weight = scaled.mag_err**-2.0
    total = float(weight.sum())
    weight /= total
    residual = scaled.mag - weight @ scaled.mag
    variance = float(weight @ residual**2)
    residual = residual / np.sqrt(variance) if variance > 0 else np.zeros_like(residual)
    strength = np.stack((weight, weight * residual), axis=1).astype(np.float32)
    return Packed(variant=(), points=(curve.time, strength)), 0.5 * total * variance


def weighted_program(n_bins: int, *, boxes: bool) -> Program:
    """Return the kernel of the phase-folded weighted signal or of box least squares."""
    threads = THREADS if n_bins <= FEW_WEIGHTED_BINS else THREADS // 2
    return Program(
        sources=("task", "phase", "weighted"),
        name="weighted",
        defines=(("BINS", n_bins), ("STATISTIC", int(boxes)), ("THREADS", threads)),
        per_block=threads,
        shared=threads * (POINT_BYTES + 8 * n_bins),
    )
