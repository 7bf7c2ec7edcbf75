"""dm-dt image: how often magnitude changes by how much over which time (Mahabal et al. 2017).

All pairs of points i < j of a light curve in time order (points at equal times in the order given) count in a
histogram of dt = t_j - t_i >= 0 [d] and dm = m_j - m_i [mag], later minus earlier: positive is fading. Bins are
[lower, upper), the last one [lower, upper]; pairs outside are left out. Differences and comparisons are float64: counts
are exact, bit for bit those of `numpy.histogram2d`.

The image is the counts over their Frobenius norm, float32 (n_dm, n_dt), outer index dm as in SCoPe:

* no pair inside the edges (no point, one point, all pairs outside): zeros;
* constant magnitudes: everything in the bins of dm = 0, that is [0, 0.05) of the default edges;
* equal times: dt = 0 is a pair like any other, in the first bin if the edges start at 0;
* a value that is not finite or an error that is not positive: NaN, all of it (and counts of zero). Errors have no
  other part in it.

`reference` defines it. `cpu` looks pairs up in tables (`tables`, `pairs`), or, where there are very many, counts
them without visiting each (`ordered`). No numba here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from scope_ml.core.configuration import option
from scope_ml.errors import ConfigError

__all__ = ["DM_EDGES", "DT_EDGES", "DmDtOptions"]

#: SCoPe's edges in time [d] and magnitude [mag], 26 bins each.
DT_EDGES: tuple[float, ...] = (
    *(0.0, 0.02759, 0.04, 0.08, 0.12, 0.3, 0.75, 1.0, 1.5, 2.5, 3.5, 4.5, 5.5, 7.0),
    *(10.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0, 180.0, 240.0, 360.0, 500.0, 650.0, 2000.0),
)
DM_EDGES: tuple[float, ...] = (
    *(-8.0, -4.5, -3.0, -2.5, -2.0, -1.5, -1.25, -0.75, -0.5, -0.3, -0.2, -0.1, -0.05),
    *(0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.25, 1.5, 2.0, 2.5, 3.0, 4.5, 8.0),
)


@dataclass(frozen=True, kw_only=True)
class DmDtOptions:
    """Edges of the bins.

    Attributes
    ----------
    dt_edges, dm_edges
        Ascending edges in time [d], none below 0, and in magnitude [mag]; two or more, one more than there are bins.

    Raises
    ------
    ConfigError
        If there are fewer than two edges, or one is not finite, not above the one before, or a time below 0.
    """

    dt_edges: tuple[float, ...] = option(DT_EDGES, unit="d", doc="edges of the dm-dt image in time", at_least=0.0)
    dm_edges: tuple[float, ...] = option(DM_EDGES, unit="mag", doc="edges of the dm-dt image in magnitude")

    def __post_init__(self) -> None:
        for name in ("dt_edges", "dm_edges"):
            # Plain floats in a tuple: equal edges are then one entry of the cache of tables, however they were given.
            edges = tuple(float(edge) for edge in getattr(self, name))
            object.__setattr__(self, name, edges)
            if len(edges) < 2:
                raise ConfigError(f"{name}={list(edges)} makes no bin; give two edges or more", key=name)
            for lower, upper in pairwise(edges):
                if not (lower < upper and math.isfinite(lower) and math.isfinite(upper)):
                    raise ConfigError(
                        f"{name} must ascend from edge to edge, but {upper:g} follows {lower:g};"
                        " give finite numbers in ascending order, each once",
                        key=name,
                    )
        if self.dt_edges[0] < 0:
            raise ConfigError(
                f"dt_edges starts at {self.dt_edges[0]:g}, but pairs are taken in time order: start at 0 or above",
                key="dt_edges",
            )

    @property
    def shape(self) -> tuple[int, int]:
        """Bins in magnitude and in time: ``(n_dm, n_dt)``."""
        return len(self.dm_edges) - 1, len(self.dt_edges) - 1
