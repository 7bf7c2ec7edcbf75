"""Tables that give the bin of a difference from whole numbers, and say where only the exact comparison can.

Times and magnitudes are counted in small steps, once a point: q = floor(x * scale). A difference of two values then lies
less than one step to either side of the difference of their q, so that an entry per difference of q holds the bin,
unless an edge lies within that reach: such an entry holds the lower bin and `UNSURE`. One look-up a pair and axis takes
the place of two conversions and a comparison, and counts stay exact. May import the package alone.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numba import types
from numpy.typing import NDArray

from scope_ml.kernels.dmdt import DmDtOptions

__all__ = ["MAX_STEPS", "SHIFT", "TABLES", "UNSURE", "Tables", "tables_of"]

#: Steps up to the outermost edge: 1/4096 of 8 mag and 0.06 d of 2000 d. Finer steps leave fewer pairs unsure, coarser
#: ones fit the first caches.
N_STEPS = 1 << 15

#: Binary logarithm of the room for bins in magnitude; a constant spares the loop a register.
SHIFT = 6

#: Bit of an entry that tells that an edge lies within a step.
UNSURE = 1 << 15

#: Steps by which an edge may be missed for rounding; values are fewer than `MAX_STEPS`, so are good to 1e-6, and whole
#: numbers of 32 bits.
MARGIN = 1e-3
MAX_STEPS = 1 << 31


class Tables(NamedTuple):
    """What the loops need to know of a set of edges.

    A pair's entries of `dm_codes` and `dt_codes` add up to its place among padded counts: the number of edges not above
    dm, plus 2^SHIFT times the number of edges not above dt.

    Attributes
    ----------
    dm_edges, dt_edges
        Float64; the last is the next float above the given one, which closes the last bin.
    dm_codes, dt_codes
        uint16 for differences of q from -dm_reach to dm_reach and from 0 up; empty where the bins are too many to number.
    dm_reach
        Largest difference of q in `dm_codes`.
    dm_scale, dt_scale
        Steps per mag and per day.
    """

    dm_edges: NDArray[np.float64]
    dt_edges: NDArray[np.float64]
    dm_codes: NDArray[np.uint16]
    dt_codes: NDArray[np.uint16]
    dm_reach: int
    dm_scale: float
    dt_scale: float


#: The type of `Tables` in numba.
TABLES = types.NamedTuple(
    (
        *(types.float64[::1], types.float64[::1], types.uint16[::1], types.uint16[::1]),
        *(types.int64, types.float64, types.float64),
    ),
    Tables,
)


@lru_cache(maxsize=8)
def tables_of(options: DmDtOptions) -> Tables:
    """Return the tables of a set of edges; made once."""
    dm_edges, dt_edges = _half_open(options.dm_edges), _half_open(options.dt_edges)
    dm_furthest = max(-options.dm_edges[0], options.dm_edges[-1])
    is_small = dm_edges.size < 1 << SHIFT and (dt_edges.size + 1) << SHIFT <= UNSURE
    reach = N_STEPS + 2
    dm_scale, dt_scale = N_STEPS / dm_furthest, N_STEPS / options.dt_edges[-1]
    is_small &= math.isfinite(dm_scale) and math.isfinite(dt_scale)
    dm_steps = np.arange(-reach, reach + 1) if is_small else np.zeros(0)
    return Tables(
        dm_edges=dm_edges,
        dt_edges=dt_edges,
        dm_codes=_codes(dm_edges, dm_steps, dm_scale, 1),
        dt_codes=_codes(dt_edges, dm_steps[dm_steps >= 0], dt_scale, 1 << SHIFT, lowest=0.0),
        dm_reach=reach,
        dm_scale=dm_scale,
        dt_scale=dt_scale,
    )


def _half_open(edges: tuple[float, ...]) -> NDArray[np.float64]:
    """Return edges whose last bin holds its upper edge where every bin is [lower, upper)."""
    values = np.array(edges)
    values[-1] = np.nextafter(values[-1], np.inf)
    return values


def _codes(
    edges: NDArray[np.float64],
    steps: NDArray[np.float64] | NDArray[np.int64],
    scale: float,
    factor: int,
    lowest: float = -np.inf,
) -> NDArray[np.uint16]:
    """Return the entry for each difference in steps; `lowest` is the smallest difference there is [mag or d]."""
    least = np.maximum((steps - (1 + MARGIN)) / scale, lowest)
    surely = np.searchsorted(edges, least, side="right")
    maybe = np.searchsorted(edges, (steps + (1 + MARGIN)) / scale, side="right")
    return (surely * factor + UNSURE * (maybe > surely)).astype(np.uint16)
