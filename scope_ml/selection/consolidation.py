"""One row a star of the scores of its light curves, and the names of stars.

Scores are joined by mean, max or median; a period is never averaged, but that of one of the light curves. Columns are
worked on one after the other, so that memory does not grow with their number. May import `core` and `errors`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from scope_ml.core.identifiers import one_chunk
from scope_ml.selection.stars import Stars, id_columns

__all__ = ["NAME_PREFIX", "Combine", "combined", "consolidate", "first_known", "star_names"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

Combine = Literal["mean", "max", "median"]

#: SCoPe's prefix of names made of coordinates.
NAME_PREFIX = "ZTFJ"

#: What is known of a light curve's period; all from the same light curve.
PERIODS = ("period", "period_class", "period_confidence")

#: Columns of ids of which a star has those of its first row that has any.
IDS = ("id", "_id", "source_id")

#: Decimals of a name's seconds of time and of arc: SCoPe's, and more of each where stars would share a name.
DECIMALS = ((2, 1), (3, 2), (4, 3), (5, 4))


def combined(stars: Stars, values: npt.NDArray[np.floating], how: Combine) -> FloatArray:
    """Return one value a star.

    Parameters
    ----------
    stars
        The stars of n_rows rows.
    values
        Of each row, (n_rows,); NaN does not count.
    how
        What to make of several.

    Returns
    -------
    ndarray
        float64 (n_stars,); NaN for a star without a value. The order of rows does not matter.
    """
    if not len(stars):
        return np.zeros(0)
    sorted_values = np.asarray(values, dtype=np.float64)[stars.order]
    if how == "max":
        largest: FloatArray = np.fmax.reduceat(sorted_values, stars.starts)
        return largest
    known = ~np.isnan(sorted_values)
    count = np.add.reduceat(known.astype(np.int64), stars.starts)
    if how == "median":
        low, high = (count - 1) // 2, count // 2
        ranked = sorted_values[_ranked(stars, sorted_values)]
        # NaN is last, so that the known ones of a star are its first.
        start = stars.starts
        middle = 0.5 * (ranked[start + np.maximum(low, 0)] + ranked[start + np.minimum(high, stars.counts - 1)])
        return np.where(count > 0, middle, np.nan)
    total = np.add.reduceat(np.where(known, sorted_values, 0.0), stars.starts)
    mean = total / np.maximum(count, 1)
    # Rounding must not take a mean out of the range of its values.
    low_value, high_value = (fold.reduceat(sorted_values, stars.starts) for fold in (np.fmin, np.fmax))
    return np.where(count > 0, np.clip(mean, low_value, high_value), np.nan)


def _ranked(stars: Stars, sorted_values: FloatArray) -> IntArray:
    """Return the places in `stars.order`, star by star, by value, NaN last; int64 (n_rows,)."""
    of = np.repeat(np.arange(len(stars)), stars.counts)
    return np.lexsort((sorted_values, of)).astype(np.int64)


def consolidate(
    table: pa.Table,
    stars: Stars,
    *,
    scores: Sequence[str],
    how: Combine = "mean",
    further: Sequence[str] = (),
    prefix: str = NAME_PREFIX,
    told: Callable[[int], None] | None = None,
) -> pa.Table:
    """Return one row a star.

    Parameters
    ----------
    table
        One row a light curve, as it was given to `find_stars`.
    stars
        Its stars.
    scores
        Columns to join by `how`; of other columns, those named below are kept.
    how
        What to make of the scores of several light curves.
    further
        Other columns to keep, of the first light curve that has them.
    prefix
        Of names made of coordinates.
    told
        Is told 1 after each column of scores.

    Returns
    -------
    Table
        ``obj_id`` (the table's own, or `star_names`), ``ra``, ``dec`` [deg], ``survey_id`` (such as
        ``Gaia_EDR3___123``), ``ids`` (of all light curves, joined by ``;``) and ``n_light_curves``; of the first light curve
        that has it ``id`` or ``_id``, ``source_id``, the ids of catalogues and `further`; ``period`` and what is known of it, of one
        light curve: the one with the highest ``period_confidence``, or else the (lower) median period; then `scores`, in
        the type that they have (float64 for whole numbers).
    """
    columns: dict[str, pa.Array] = {
        "obj_id": _names(table, stars, prefix),
        "ra": pa.array(stars.ra, mask=np.isnan(stars.ra)),
        "dec": pa.array(stars.dec, mask=np.isnan(stars.dec)),
        "survey_id": stars.key if stars.by == "survey_id" else pa.nulls(len(stars), pa.string()),
    }
    own = next((name for name in ("id", "_id", "ztf_id") if name in table.column_names), None)
    if own is not None:
        members = stars.members(one_chunk(table[own]).cast(pa.string()))
        columns["ids"] = pc.binary_join(members, ";")
    columns["n_light_curves"] = pa.array(stars.counts.astype(np.int32))
    # `survey_id` stands for the column of that name already.
    kept = [own, "source_id", *(name for name in id_columns(table.column_names) if name != "survey_id"), *further]
    for name in kept:
        if name is not None and name in table.column_names:
            columns[name] = first_known(stars, one_chunk(table[name]))
    if "period" in table.column_names:
        at = pa.array(_period_rows(table, stars))
        columns |= {name: one_chunk(table[name]).take(at) for name in PERIODS if name in table.column_names}
    for name in scores:
        column = one_chunk(table[name])
        values = combined(stars, _floats(column), how)
        dtype = column.type if pa.types.is_floating(column.type) else pa.float64()
        columns[name] = pa.array(values, mask=np.isnan(values)).cast(dtype)
        if told is not None:
            told(1)
    units = {name: table.schema.field(name).metadata for name in columns if name in table.column_names}
    fields = [pa.field(name, column.type, metadata=units.get(name)) for name, column in columns.items()]
    return pa.table(list(columns.values()), schema=pa.schema(fields))


def _names(table: pa.Table, stars: Stars, prefix: str) -> pa.Array:
    made = star_names(stars.ra, stars.dec, prefix)
    if "obj_id" not in table.column_names:
        return made
    given = one_chunk(table["obj_id"]).cast(pa.string())
    given = pc.if_else(pc.equal(given, ""), pa.scalar(None, pa.string()), given)
    return pc.coalesce(first_known(stars, given), made)


def first_known(stars: Stars, column: pa.Array) -> pa.Array:
    """Return the value of each star's first row that has one: not null, no NaN, no id 0."""
    known = column.is_valid().to_numpy(zero_copy_only=False)
    if pa.types.is_floating(column.type):
        known &= ~np.isnan(_floats(column))
    if pa.types.is_integer(column.type):
        known &= pc.fill_null(column, 0).to_numpy(zero_copy_only=False) != 0
    place = np.where(known[stars.order], np.arange(len(stars.order)), len(stars.order))
    first = np.minimum.reduceat(place, stars.starts) if len(stars) else np.zeros(0, dtype=np.int64)
    found = first < len(stars.order)
    row = np.where(found, stars.order[np.where(found, first, 0)] if len(stars.order) else 0, -1)
    return column.take(pa.array(row, mask=row < 0))


def _period_rows(table: pa.Table, stars: Stars) -> IntArray:
    """Return the row whose period each star has, int64 (n_stars,)."""
    if not len(stars):
        return np.zeros(0, dtype=np.int64)
    period = _floats(one_chunk(table["period"]))[stars.order]
    period = np.where(period > 0, period, np.nan)
    count = np.add.reduceat((~np.isnan(period)).astype(np.int64), stars.starts)
    place = _ranked(stars, period)[stars.starts + np.maximum(count - 1, 0) // 2]
    if "period_confidence" in table.column_names:
        confidence = np.where(np.isnan(period), np.nan, _floats(one_chunk(table["period_confidence"]))[stars.order])
        best = np.fmax.reduceat(confidence, stars.starts)
        is_best = confidence == np.repeat(best, stars.counts)
        first = np.minimum.reduceat(np.where(is_best, np.arange(len(period)), len(period)), stars.starts)
        # Where no light curve is sure of its period, the median says more than the first.
        place = np.where(best > 0, np.minimum(first, len(period) - 1), place)
    rows: IntArray = stars.order[place]
    return rows


def _floats(column: pa.Array) -> FloatArray:
    """Return a column as float64, NaN for null."""
    values: FloatArray = pc.fill_null(column.cast(pa.float64()), float("nan")).to_numpy(zero_copy_only=False)
    return values


def star_names(
    ra: FloatArray,
    dec: FloatArray,
    prefix: str = NAME_PREFIX,
    *,
    apart: npt.NDArray[np.bool_] | None = None,
    of: pa.Array | None = None,
) -> pa.Array:
    """Return distinct names of places, such as ``ZTFJ170337.70+123413.0``: those of `core.sexagesimal.iau_name`.

    Stars that would share a name get more decimals, all of them, until they differ (``ZTFJ170337.703+123413.02``), and
    letters behind these in their order where they are in the same place (``ZTFJ170337.70000+123413.0000b``).

    Parameters
    ----------
    ra, dec
        float64 (n,) [deg]; NaN gives null.
    prefix
        What names begin with.
    apart
        Stars whose names are told apart without looking at others, bool (n,): they end in a digest of `of`
        (``ZTFJ170337.70+123413.0_3f9a2c01``), and the others' names are as if they were not there.
    of
        What only this star has, such as the id of its first light curve, string (n,); needed for `apart`. Where it is given,
        stars in the same place get its digest instead of letters.
    """
    known = np.isfinite(ra) & np.isfinite(dec)
    names = _formatted(np.where(known, ra, 0.0), np.where(known, dec, 0.0), DECIMALS[0], prefix)
    if apart is not None and of is not None and (marked := np.flatnonzero(apart)).size:
        names = _replaced(names, marked, _digested(names.take(pa.array(marked)), of.take(pa.array(marked))))
    # Names that are marked are nobody else's.
    shared = _shared(names, known if apart is None else known & ~apart)
    for decimals in DECIMALS[1:]:
        if not len(shared):
            break
        names = _replaced(names, shared, _formatted(ra[shared], dec[shared], decimals, prefix))
        shared = shared[_shared(names.take(pa.array(shared)), np.ones(len(shared), dtype=bool))]
    if len(shared):
        at = pa.array(shared)
        # A digest does not depend on who else is in view; letters do.
        told = _lettered(names.take(at).to_pylist()) if of is None else _digested(names.take(at), of.take(at))
        names = _replaced(names, shared, told)
    return pc.if_else(pa.array(known), names, pa.scalar(None, pa.string()))


def _digested(names: pa.Array, of: pa.Array) -> pa.Array:
    """Return names with eight hexadecimal digits behind each that stand for what the star alone has."""
    digests = [blake2b(str(one).encode(), digest_size=4).hexdigest() for one in of.to_pylist()]
    return pc.binary_join_element_wise(names, pa.array(digests, pa.string()), "_")


def _shared(names: pa.Array, known: npt.NDArray[np.bool_]) -> IntArray:
    """Return which of some names are another's too, int64."""
    codes = np.asarray(pc.dictionary_encode(names).indices)
    count = np.bincount(codes[known], minlength=int(codes.max(initial=-1)) + 1)
    return np.flatnonzero((count[codes] > 1) & known).astype(np.int64)


def _replaced(names: pa.Array, at: IntArray, by: pa.Array) -> pa.Array:
    mask = np.zeros(len(names), dtype=bool)
    mask[at] = True
    return pc.replace_with_mask(names, pa.array(mask), by)


def _lettered(names: Sequence[str]) -> pa.Array:
    """Return distinct names: the first of equal ones as it is, the others with b, c, ... behind them."""
    seen: dict[str, int] = {}
    lettered = []
    for name in names:
        number = seen.get(name, 0)
        seen[name] = number + 1
        lettered.append(name + _letters(number))
    return pa.array(lettered, pa.string())


def _letters(number: int) -> str:
    """Return nothing for 0, then b, c, ..., z, ba, bb, ..."""
    text = ""
    while number:
        number, digit = divmod(number, 26)
        text = chr(ord("a") + digit) + text
    return text


def _formatted(ra: FloatArray, dec: FloatArray, decimals: tuple[int, int], prefix: str) -> pa.Array:
    """Return names with so many decimals of the seconds of time and of arc, rounded and carried."""
    time, arc = (10**n for n in decimals)
    # As `iau_name` computes it, so that rounding falls the same way.
    of_day = np.rint(ra / 15.0 * (3600 * time)).astype(np.int64) % (24 * 3600 * time)
    of_arc = np.rint(np.abs(dec) * (3600 * arc)).astype(np.int64)
    sign = pc.if_else(pa.array(dec < 0), "-", "+")
    right = [of_day // (3600 * time), of_day // (60 * time) % 60, of_day // time % 60]
    up = [of_arc // (3600 * arc), of_arc // (60 * arc) % 60, of_arc // arc % 60]
    return pc.binary_join_element_wise(
        prefix,
        *(_digits(part, 2) for part in right),
        ".",
        _digits(of_day % time, decimals[0]),
        sign,
        *(_digits(part, 2) for part in up),
        ".",
        _digits(of_arc % arc, decimals[1]),
        "",
    )


def _digits(values: IntArray, width: int) -> pa.Array:
    return pc.utf8_lpad(pa.array(values).cast(pa.string()), width=width, padding="0")
