"""What a star's light curves are: their bands, fields and magnitudes, and whether two of them cannot be of one star.

May import `core` and `errors`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from scope_ml.core.identifiers import one_chunk
from scope_ml.selection.star_columns import BANDS
from scope_ml.selection.stars import Stars

__all__ = ["bands_of", "crowded", "distinct_values", "magnitudes"]

IntArray = npt.NDArray[np.int64]

#: ZTF's filters by number.
FILTERS = ("g", "r", "i")

#: What two light curves of one star cannot share.
EXPOSURE = ("field", "ccd", "quad")


def bands_of(table: pa.Table) -> pa.Array | None:
    """Return the band of each light curve: `band`, else the name of ZTF's `filter`; None where there is neither."""
    if "band" in table.column_names:
        return _plain(table["band"]).cast(pa.string())
    if "filter" not in table.column_names:
        return None
    number = _plain(table["filter"])
    if not pa.types.is_integer(number.type):
        return number.cast(pa.string())
    known = pc.and_(pc.greater_equal(number, 1), pc.less_equal(number, len(FILTERS)))
    place = pc.if_else(known, pc.subtract(number.cast(pa.int64()), 1), pa.scalar(None, pa.int64()))
    return pc.coalesce(pa.array(FILTERS).take(place), number.cast(pa.string()))


def distinct_values(stars: Stars, column: pa.ChunkedArray | pa.Array | None, dtype: pa.DataType) -> pa.ListArray:
    """Return the values of each star's light curves, each once and sorted, as one list a star; nulls are left out.

    Parameters
    ----------
    stars
        The stars.
    column
        Of the light curves, (n_rows,); None gives empty lists.
    dtype
        Of the values of the lists.
    """
    values = pa.nulls(len(stars.star), dtype) if column is None else _plain(column).cast(dtype)
    codes, dictionary = _codes(values)
    codes = codes[stars.order]
    width = max(len(dictionary), 1)
    of = np.repeat(np.arange(len(stars), dtype=np.int64), stars.counts)
    # Sorted before: rows stand star by star.
    found = np.sort((of * width + codes)[codes >= 0])
    found = found[np.append(True, np.diff(found) > 0)] if len(found) else found
    counts = np.bincount(found // width, minlength=len(stars))
    offsets = pa.array(np.append(0, np.cumsum(counts)).astype(np.int32))
    return pa.ListArray.from_arrays(offsets, dictionary.take(pa.array(found % width)))


def crowded(table: pa.Table, stars: Stars) -> pa.Array:
    """Return which stars have two light curves of one field, band, CCD and quadrant: bool, null where fields are unknown."""
    band = bands_of(table)
    if "field" not in table.column_names or band is None:
        return pa.nulls(len(stars), pa.bool_())
    there = [name for name in EXPOSURE if name in table.column_names]
    several = np.repeat(stars.counts > 1, stars.counts)
    of = np.repeat(np.arange(len(stars), dtype=np.int64), stars.counts)[several]
    rows = stars.order[several]
    key = of
    unknown = np.zeros(len(rows), dtype=bool)
    for values in (band, *(_plain(table[name]) for name in there)):
        code, dictionary = _codes(values)
        code = code[rows]
        unknown |= code < 0
        key = key * (len(dictionary) + 1) + code + 1
    # A light curve of which a part is not known is like no other.
    key, of = key[~unknown], of[~unknown]
    order = np.argsort(key, kind="stable")
    twice = np.flatnonzero(np.diff(key[order]) == 0)
    flag = np.zeros(len(stars), dtype=bool)
    flag[of[order[twice]]] = True
    return pa.array(flag)


def magnitudes(table: pa.Table, stars: Stars) -> dict[str, pa.Array]:
    """Return the columns `mag_g`, `mag_r`, `mag_i` [mag], float32, null where there is no light curve in the band.

    Parameters
    ----------
    table
        `median` [mag] and the band of each light curve.
    stars
        The stars.
    """
    band = bands_of(table)
    names = {band_name: f"mag_{band_name}" for band_name in BANDS}
    if band is None or "median" not in table.column_names:
        return {name: pa.nulls(len(stars), pa.float32()) for name in names.values()}
    median = (
        _plain(table["median"]).cast(pa.float64()).fill_null(float("nan")).to_numpy(zero_copy_only=False)[stars.order]
    )
    of = np.repeat(np.arange(len(stars), dtype=np.int64), stars.counts)
    known = np.isfinite(median)
    columns = {}
    for band_name, name in names.items():
        is_band = pc.fill_null(pc.equal(band, band_name), False).to_numpy(zero_copy_only=False)[stars.order] & known
        count = np.bincount(of[is_band], minlength=len(stars))
        total = np.bincount(of[is_band], weights=median[is_band], minlength=len(stars))
        columns[name] = pa.array((total / np.maximum(count, 1)).astype(np.float32), mask=count == 0)
    return columns


def _codes(values: pa.Array) -> tuple[IntArray, pa.Array]:
    """Return the place of each value in the sorted distinct ones, -1 for null, and these."""
    dictionary = pc.unique(values.drop_null())
    dictionary = dictionary.take(pc.sort_indices(dictionary))
    codes = pc.fill_null(pc.index_in(values, value_set=dictionary), -1)
    return np.asarray(codes, dtype=np.int64), dictionary


def _plain(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    array = one_chunk(column)
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array
