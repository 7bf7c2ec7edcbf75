"""Places close together on the sphere: friends of friends, mean directions, the nearest of others.

For some 10^7 places at once: pairs are looked for in strips of declination, and what is kept of a strip is one link a
place. May import `core` only.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from scope_ml.core.sphere import chord, unit_vectors

__all__ = ["friends", "mean_positions", "nearest"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

#: Places of a strip.
STRIP = 1 << 19


def friends(ra: FloatArray, dec: FloatArray, radius_arcsec: float) -> IntArray:
    """Give each place the number of its group: places that distances of at most the radius link.

    Parameters
    ----------
    ra, dec
        float64 (n,) [deg]; a place that is not finite is a group of its own.
    radius_arcsec
        0: every place is a group of its own, also where two are the same.

    Returns
    -------
    group
        int64 (n,), counting from 0 in the order of first appearance.
    """
    n = len(ra)
    if radius_arcsec <= 0 or n < 2:
        return np.arange(n, dtype=np.int64)
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    known = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
    # Equal places first: they need no search.
    places, at = np.unique(np.stack([dec[known], ra[known]], axis=1), axis=0, return_inverse=True)
    links = [*_links(places[:, 1], places[:, 0], radius_arcsec)]
    ends = np.concatenate([link[0] for link in links]) if links else np.zeros(0, dtype=np.int64)
    others = np.concatenate([link[1] for link in links]) if links else np.zeros(0, dtype=np.int64)
    graph = coo_array((np.ones(len(ends), dtype=np.int8), (ends, others)), shape=(len(places), len(places)))
    n_groups, component = connected_components(graph, directed=False)
    group = n_groups + np.arange(n, dtype=np.int64)
    group[known] = component[np.ravel(at)]
    _, first, inverse = np.unique(group, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    numbered: IntArray = rank[np.ravel(inverse)]
    return numbered


def _links(ra: FloatArray, dec: FloatArray, radius_arcsec: float) -> Iterator[tuple[IntArray, IntArray]]:
    """Yield pairs of places that belong together, at most one a place and strip; places are sorted by declination."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    reach = radius_arcsec / 3600.0 * (1 + 1e-9)
    # A little longer, so that rounding leaves out nothing at the radius itself.
    longest = chord(radius_arcsec) * (1 + 1e-9) + 1e-15
    for low in range(0, len(ra), STRIP):
        # A strip reaches as far into the next one as a pair can.
        high = int(np.searchsorted(dec, dec[min(low + STRIP, len(ra)) - 1] + reach, side="right"))
        pairs = cKDTree(unit_vectors(ra[low:high], dec[low:high])).query_pairs(longest, output_type="ndarray")
        if not len(pairs):
            continue
        n = high - low
        graph = coo_array((np.ones(len(pairs), dtype=np.int8), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
        _, component = connected_components(graph, directed=False)
        _, first = np.unique(component, return_index=True)
        head = first[component].astype(np.int64)
        tail = np.flatnonzero(head != np.arange(n)).astype(np.int64)
        yield low + head[tail], low + tail


def mean_positions(group: IntArray, n_groups: int, ra: FloatArray, dec: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the mean direction of each group's places.

    Parameters
    ----------
    group
        int64 (n,) in [0, n_groups).
    ra, dec
        float64 (n,) [deg]; those that are not finite do not count.

    Returns
    -------
    ra, dec
        float64 (n_groups,) [deg], ra in [0, 360); NaN for a group without a place. A place that all of a group share is
        returned as it is given.
    """
    known = np.isfinite(ra) & np.isfinite(dec)
    of, ra, dec = group[known], ra[known], dec[known]
    vectors = unit_vectors(ra, dec)
    x, y, z = (np.bincount(of, weights=vectors[:, axis], minlength=n_groups) for axis in range(3))
    mean_ra = np.mod(np.degrees(np.arctan2(y, x)), 360.0)
    # An arcsine would lose digits at the poles.
    mean_dec = np.degrees(np.arctan2(z, np.hypot(x, y)))
    first_ra, first_dec = np.full(n_groups, np.nan), np.full(n_groups, np.nan)
    first_ra[of[::-1]], first_dec[of[::-1]] = ra[::-1], dec[::-1]
    differs = np.bincount(of, weights=(ra != first_ra[of]) | (dec != first_dec[of]), minlength=n_groups) > 0
    result_ra, result_dec = np.where(differs, mean_ra, first_ra), np.where(differs, mean_dec, first_dec)
    return np.where(result_ra >= 360.0, 0.0, result_ra), result_dec


def nearest(
    ra: FloatArray, dec: FloatArray, among_ra: FloatArray, among_dec: FloatArray, radius_arcsec: float
) -> IntArray:
    """Return for each place [deg] the index of the nearest of others within the radius, or -1; int64 (n,)."""
    from scipy.spatial import cKDTree

    found = np.full(len(ra), -1, dtype=np.int64)
    known = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
    among = np.flatnonzero(np.isfinite(among_ra) & np.isfinite(among_dec))
    if not len(known) or not len(among):
        return found
    tree = cKDTree(unit_vectors(among_ra[among], among_dec[among]))
    # The tree's bound is exclusive; the radius itself is to count.
    bound = chord(radius_arcsec) * (1 + 1e-9) + 1e-15
    distance, index = tree.query(unit_vectors(ra[known], dec[known]), distance_upper_bound=bound)
    hit = np.isfinite(distance)
    found[known[hit]] = among[index[hit]]
    return found
