"""Stars that one light curve knows by a survey's id and another one by that of a lesser survey.

Each light curve is matched with catalogues by its own place, so that one of a star may have an id of Gaia and another one, a
little off or of a field that was matched with less, an id of AllWISE only. May import `core` and `friends`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from scope_ml.selection.friends import mean_positions, nearest

__all__ = ["key_ranks", "lesser_joined"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def key_ranks(keys: pa.Array, surveys: tuple[str, ...]) -> IntArray:
    """Return the place of each key's survey among `surveys`, int64; 0 for keys of others, their number for null."""
    ranks = np.zeros(len(keys), dtype=np.int64)
    for rank, survey in enumerate(surveys):
        ranks[np.asarray(pc.fill_null(pc.starts_with(keys, survey), False))] = rank
    ranks[np.asarray(keys.is_null())] = len(surveys)
    return ranks


def lesser_joined(
    code: IntArray,
    keys: pa.Array,
    ranks: IntArray,
    own: Mapping[int, pa.Array],
    places: tuple[FloatArray, FloatArray],
    radius_arcsec: float,
) -> IntArray:
    """Return for each key the one whose star it is: itself, or a key of a better survey within the radius.

    A key is joined to the nearest better one, unless that star has another id of the same survey as the key, or several keys
    of that survey are as near to it: then nobody can say which of them it is.

    Parameters
    ----------
    code
        Key of each light curve, int64 (n_rows,); -1 for none.
    keys, ranks
        The keys, string (n_keys,), and the ranks of their surveys.
    own
        Ids of each lesser survey by its rank, written as keys, string (n_rows,), null where there is none.
    places
        ra and dec of the light curves [deg].
    radius_arcsec
        How near.
    """
    owner = np.arange(len(keys), dtype=np.int64)
    known = code >= 0
    ra, dec = mean_positions(code[known], len(keys), places[0][known], places[1][known])
    for rank, ids in own.items():
        lesser, better = np.flatnonzero(ranks == rank), np.flatnonzero(ranks < rank)
        if not len(lesser) or not len(better):
            continue
        found = nearest(ra[lesser], dec[lesser], ra[better], dec[better], radius_arcsec)
        lesser, at = lesser[found >= 0], better[found[found >= 0]]
        # A better key may itself have been joined to a still better one, whose star it then is.
        at = owner[at]
        rows = np.flatnonzero(known & np.asarray(ids.is_valid()))
        number = np.asarray(pc.fill_null(pc.index_in(ids.take(pa.array(rows)), value_set=keys), -1), dtype=np.int64)
        of = owner[code[rows]]
        is_other = (ranks[code[rows]] < rank).astype(bool)
        has_own = np.zeros(len(keys), dtype=bool)
        has_own[of[is_other]] = True
        agrees = np.isin(at * len(keys) + lesser, (of * len(keys) + number)[is_other & (number >= 0)])
        alone = np.bincount(at, minlength=len(keys))[at] == 1
        joined = agrees | (alone & ~has_own[at])
        owner[lesser[joined]] = at[joined]
    return owner
