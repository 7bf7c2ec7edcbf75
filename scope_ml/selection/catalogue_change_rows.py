"""The table of changed stars: a row a group of stars of two catalogues that is not as it was.

May import the rooms of this package, core and errors.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scope_ml.core.provenance import Column
from scope_ml.selection.catalogue_changes import KINDS, SAME, Compared
from scope_ml.selection.catalogue_parts import floats
from scope_ml.selection.catalogue_tallies import Judged

__all__ = ["CHANGE_COLUMNS", "CHANGE_SCHEMA", "change_rows"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

_TEXTS = pa.list_(pa.string())

CHANGE_SCHEMA = pa.schema(
    [
        ("change", pa.string()),
        ("names_before", _TEXTS),
        ("names", _TEXTS),
        ("ra", pa.float64()),
        ("dec", pa.float64()),
        ("n_light_curves_before", pa.int32()),
        ("n_light_curves", pa.int32()),
        ("n_light_curves_shared", pa.int32()),
        ("classes_gained", _TEXTS),
        ("classes_lost", _TEXTS),
        ("period_before", pa.float64()),
        ("period", pa.float64()),
        ("period_change", pa.string()),
        ("score_change", pa.float32()),
        ("score_change_class", pa.string()),
    ]
)

UNITS = {"ra": "deg", "dec": "deg", "period_before": "d", "period": "d"}

#: The columns as a metadata record lists them.
CHANGE_COLUMNS = tuple(
    Column(name=field.name, dtype=str(field.type), unit=UNITS.get(field.name, "")) for field in CHANGE_SCHEMA
)


def change_rows(compared: Compared, judged: Judged) -> pa.Table:
    """Return the groups that changed, in the order of the sky of the newer catalogue, those that are gone last.

    A star that is the same is listed if its classes, light curves, period or scores changed (`Judged.changed`). What is
    said of periods and scores is said of such stars only, null elsewhere; a place is that of the first star now, or of
    the first that was.
    """
    groups = compared.groups
    listed = compared.kind != SAME
    listed[compared.same[judged.changed]] = True
    first_old, first_new = (_first(of_star, len(groups)) for of_star in compared.group_of)
    group = np.flatnonzero(listed)
    # Numbers are those of rows; a group without a star now comes behind all that have one.
    last = max(compared.rows[1].num_rows, 1)
    key = np.where(first_new[group] >= 0, first_new[group], last + first_old[group])
    group = group[np.argsort(key, kind="stable")]
    names = [
        _names(rows, side.name, of_star, group, len(groups))
        for rows, side, of_star in zip(compared.rows, compared.sides, compared.group_of, strict=True)
    ]
    was, now = (
        _of_groups(classes, of_star, len(groups))[group]
        for classes, of_star in zip(compared.classes, compared.group_of, strict=True)
    )
    places = [_place(compared, name, first_old[group], first_new[group]) for name in ("ra", "dec")]
    tags = pa.array(compared.sides[0].tags, pa.string())
    counts = [groups.n_shared + groups.n_lost, groups.n_shared + groups.n_gained, groups.n_shared]
    return pa.table(
        [
            pa.array(KINDS, pa.string()).take(pa.array(compared.kind[group])),
            *names,
            *places,
            *(pa.array(one[group].astype(np.int32)) for one in counts),
            _lists(now & ~was, tags),
            _lists(was & ~now, tags),
            *_of_same(compared, judged, group, tags),
        ],
        schema=CHANGE_SCHEMA,
    )


def _first(of_star: IntArray, n_groups: int) -> IntArray:
    """Return the first row of each group, -1 where it has none."""
    first = np.full(n_groups, -1, dtype=np.int64)
    first[of_star[::-1]] = np.arange(len(of_star))[::-1]
    return first


def _names(rows: pa.Table, name: str, of_star: IntArray, group: IntArray, n_groups: int) -> pa.Array:
    """Return the names of the stars of some groups, a list each, in the order of the rows."""
    place = np.full(n_groups, -1, dtype=np.int64)
    place[group] = np.arange(len(group))
    star = np.flatnonzero(place[of_star] >= 0)
    star = star[np.argsort(place[of_star[star]], kind="stable")]
    count = np.bincount(place[of_star[star]], minlength=len(group))
    names = rows[name].combine_chunks().cast(pa.string()).take(pa.array(star))
    return pa.ListArray.from_arrays(pa.array(np.append(0, np.cumsum(count)).astype(np.int32)), names)


def _of_groups(classes: BoolArray, of_star: IntArray, n_groups: int) -> BoolArray:
    """Return the classes that any star of a group is of, bool (n_groups, n_tags)."""
    any_star = np.zeros((n_groups, classes.shape[1]), dtype=bool)
    star, tag = np.nonzero(classes)
    any_star[of_star[star], tag] = True
    return any_star


def _lists(member: BoolArray, tags: pa.Array) -> pa.Array:
    offsets = np.append(0, np.cumsum(member.sum(axis=1))).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), tags.take(pa.array(np.nonzero(member)[1])))


def _place(compared: Compared, name: str, first_old: IntArray, first_new: IntArray) -> pa.Array:
    old, new = (np.append(floats(rows, name), np.nan) for rows in compared.rows)
    # Row -1 is the one that was appended.
    return pa.array(np.where(first_new >= 0, new[first_new], old[first_old]), from_pandas=True)


def _of_same(compared: Compared, judged: Judged, group: IntArray, tags: pa.Array) -> list[pa.Array]:
    """Return periods, what became of them, and the largest change of a score; null where stars are not the same."""
    at = np.full(len(compared.groups), -1, dtype=np.int64)
    at[compared.same] = np.arange(len(compared.same))
    row = at[group]
    is_same = row >= 0
    before, now = (np.append(period, np.nan)[row] for period in compared.same_periods)
    words = pa.array(["harmonic", "moved", "came", "went"], pa.string())
    kinds = (
        judged.period_harmonic,
        judged.period_moved & ~judged.period_harmonic,
        judged.period_came,
        judged.period_went,
    )
    word = np.append(np.select(list(kinds), [0, 1, 2, 3], -1), -1)[row]
    most, tag = np.append(judged.most, np.nan)[row], np.append(judged.most_tag, -1)[row]
    known = is_same & (tag >= 0)
    return [
        pa.array(before, from_pandas=True),
        pa.array(now, from_pandas=True),
        words.take(pa.array(word, mask=word < 0)),
        pa.array(np.where(known, most, np.nan).astype(np.float32), from_pandas=True),
        tags.take(pa.array(tag, mask=~known)),
    ]
