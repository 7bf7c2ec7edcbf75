"""Which rows are one and the same star: by their source, by the label they share, and by their place on the sky.

All rows of a star (bands, fields, surveys) lie on one side of every split; otherwise the test would
ask for what the training has seen. May import `core` and `errors`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from scope_ml.core.sphere import ARCSEC_PER_DEGREE, chord, unit_vectors

__all__ = ["group_stars", "nearest_positions"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def nearest_positions(
    ra: FloatArray, dec: FloatArray, among_ra: FloatArray, among_dec: FloatArray
) -> tuple[IntArray, FloatArray]:
    """Return for each position [deg] the nearest of `among` and its distance.

    Returns
    -------
    nearest
        int64 (n,), -1 where the position is not finite.
    distance
        float64 (n,) [arcsec], infinite where there is no nearest one.
    """
    from scipy.spatial import cKDTree

    nearest = np.full(len(ra), -1, dtype=np.int64)
    distance = np.full(len(ra), np.inf)
    finite = np.isfinite(ra) & np.isfinite(dec)
    if finite.any() and len(among_ra):
        straight, nearest[finite] = cKDTree(unit_vectors(among_ra, among_dec)).query(
            unit_vectors(ra[finite], dec[finite])
        )
        distance[finite] = np.degrees(2 * np.arcsin(np.minimum(straight / 2, 1.0))) * ARCSEC_PER_DEGREE
    return nearest, distance


def group_stars(keys: pa.Array, links: IntArray, ra: FloatArray, dec: FloatArray, *, radius_arcsec: float) -> IntArray:
    """Give each of n rows the number of its star.

    Parameters
    ----------
    keys
        String (n,): rows with the same key are one star.
    links
        int64 (n,): rows with the same number (0 or more) are one star as well; -1 links nothing.
    ra, dec
        float64 (n,) [deg], NaN where unknown: stars closer than `radius_arcsec` to one another are one.
    radius_arcsec
        0 leaves positions out.

    Returns
    -------
    group
        int64 (n,), counting from 0 in the order of the stars' first keys: the order of rows does not matter.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    encoded = pc.dictionary_encode(keys)
    order = np.asarray(pc.array_sort_indices(encoded.dictionary), dtype=np.int64)
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    star = rank[np.asarray(encoded.indices, dtype=np.int64)]
    n_stars = len(order)
    linked = links >= 0
    n_links = int(links.max(initial=-1)) + 1
    pairs = _close_pairs(star, n_stars, ra, dec, radius_arcsec)
    ends = np.concatenate([star[linked], pairs[:, 0]])
    others = np.concatenate([n_stars + links[linked], pairs[:, 1]])
    n_nodes = n_stars + n_links
    graph = coo_array((np.ones(len(ends), dtype=np.int8), (ends, others)), shape=(n_nodes, n_nodes))
    _, component = connected_components(graph, directed=False)
    # Stars come in the order of their keys, so the first star of each component is its first key.
    _, first, inverse = np.unique(component[:n_stars], return_index=True, return_inverse=True)
    group_rank = np.empty(len(first), dtype=np.int64)
    group_rank[np.argsort(first)] = np.arange(len(first))
    group: IntArray = group_rank[inverse][star]
    return group


def _close_pairs(star: IntArray, n_stars: int, ra: FloatArray, dec: FloatArray, radius_arcsec: float) -> IntArray:
    """Return the pairs of stars, int64 (n_pairs, 2), whose mean positions are closer than the radius."""
    from scipy.spatial import cKDTree

    finite = np.isfinite(ra) & np.isfinite(dec)
    if radius_arcsec <= 0 or not finite.any():
        return np.empty((0, 2), dtype=np.int64)
    total = np.zeros((n_stars, 3))
    np.add.at(total, star[finite], unit_vectors(ra[finite], dec[finite]))
    length = np.linalg.norm(total, axis=1)
    placed = np.flatnonzero(length > 0)
    tree = cKDTree(total[placed] / length[placed, None])
    pairs = tree.query_pairs(chord(radius_arcsec), output_type="ndarray").astype(np.int64)
    close: IntArray = placed[pairs].reshape(-1, 2).astype(np.int64)
    return close
