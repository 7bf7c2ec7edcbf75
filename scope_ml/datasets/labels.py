"""Label tables: which classes a star was said to belong to, and which the labeller left undecided.

Two forms are read, each from Parquet, HDF5 or CSV:

* wide: one row a star, a column ``id`` (or ``ra``, ``dec``), one column a class with 0/1 or a probability, and
  optionally ``uncertain_tags``, a comma-separated list of classes that the row does not decide;
* long: ``id,class`` or ``ra,dec,class``, one row an assertion; ``class`` is a tag (``rrlyr``) or its label,
  or ``nonvar`` for a star that belongs to no class. A table with a column ``class`` is long, whatever its other columns
  are called: ``i`` and ``e`` are tags, but more often magnitudes. Where two or more of them hold labels it is refused.

Either may have a column ``weight``: how much a star counts in training (0: not at all), 1 where there is none.

A label that is missing or uncertain is unknown: never a negative. May import `io`, `taxonomy` and below.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scope_ml.core.identifiers import exact_ids
from scope_ml.core.provenance import Input, digest_file, digest_json
from scope_ml.datasets.identifiers import comparable, row_codes
from scope_ml.datasets.label_forms import (
    assertions,
    check_is_long,
    class_columns,
    closed_upward,
    degrees,
    no_classes,
    sample_weights,
    texts,
    uncertain_classes,
    wide_labels,
)
from scope_ml.errors import ConfigError, DataError, EmptySelectionError, MissingColumnError
from scope_ml.io.tables import read_foreign_table
from scope_ml.taxonomy.graph import Taxonomy

__all__ = ["ID_COLUMNS", "LABEL_THRESHOLD", "Labels", "merge_labels", "read_labels"]

#: A probability above this is a positive. On the grid of SCoPe's voters (0, 0.25, 0.5, 0.75, 1) it selects the same
#: stars as SCoPe's own cut of 0.7.
LABEL_THRESHOLD = 0.5

#: Columns that may hold the id, best first; ``_id`` is Kowalski's and SCoPe's name.
ID_COLUMNS = ("id", "source_id", "_id")

#: Columns that may say which survey a row comes from.
ORIGIN_COLUMNS = ("origin", "survey")

BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Labels:
    """Labels of n stars, closed upward.

    Attributes
    ----------
    tags
        Classes, in the taxonomy's order: the columns of `y` and `known`.
    id
        int64 or string ids, exactly as given; None where the stars are known by position alone.
    y
        int8 (n, n_tags), 1 where the star was said to belong to the class. Where `known` is False the value is the
        table's default and means nothing.
    known
        bool (n, n_tags), False where the label is missing or in ``uncertain_tags``.
    origin
        str (n,), the table's ``survey`` or ``origin``, "" where it has none.
    ra, dec
        float64 (n,) [deg], NaN where unknown.
    name
        File name of the table, for messages.
    source
        The table that was read, with its digest.
    weight
        float32 (n,), how much each star counts in training; None where the table does not say.
    n_off_grid
        Labels that are neither 0, 0.25, 0.5, 0.75 nor 1; they were read as probabilities.
    """

    tags: tuple[str, ...]
    id: pa.Array | None
    y: npt.NDArray[np.int8]
    known: BoolArray
    origin: npt.NDArray[np.str_]
    ra: npt.NDArray[np.float64]
    dec: npt.NDArray[np.float64]
    name: str
    source: Input
    weight: npt.NDArray[np.float32] | None = None
    n_off_grid: int = 0

    def __len__(self) -> int:
        """Return the number of stars."""
        return len(self.y)


def read_labels(path: Path, taxonomy: Taxonomy, *, threshold: float = LABEL_THRESHOLD) -> Labels:
    """Read a label table of either form.

    Parameters
    ----------
    path
        Parquet, HDF5 or CSV file.
    taxonomy
        The classes; columns that are no class are ignored.
    threshold
        Probabilities above it are positives.

    Raises
    ------
    FormatError
        If the file is missing, empty or not of its format.
    MissingColumnError
        If it has neither ids nor coordinates, or neither class columns nor ``class``.
    DataError
        If it has no rows; if it is of both forms at once; for an unknown class, a value outside [0, 1], a weight below 0,
        an id that is missing or not exact, or a star with two rows that contradict one another.
    """
    # Of SCoPe's training sets in HDF5 the images and coordinates cannot be read, nor are they labels.
    table = read_foreign_table(path, readable_only=True)
    if not table.num_rows:
        raise EmptySelectionError(f"label table {path} has no rows; give at least one label")
    columns = class_columns(table, taxonomy)
    is_long = "class" in table.column_names
    if is_long:
        check_is_long(path, table, columns)
    elif not columns:
        raise no_classes(path, table, taxonomy)
    keys, ids = _keys(path, table)
    uncertain = uncertain_classes(path, table, taxonomy)
    weight = sample_weights(path, table)
    n_off_grid = 0
    if is_long:
        codes, first = row_codes(keys)
        y, known = assertions(path, table, taxonomy, uncertain, codes, len(first))
    else:
        y, known, n_off_grid = wide_labels(path, table, taxonomy, columns, threshold)
        known = closed_upward(taxonomy, y, known, uncertain)
        first, y, known = _combined(str(path), keys, y, known)
    kept = table.take(pa.array(first))
    return Labels(
        tags=taxonomy.tags,
        id=None if ids is None else ids.take(pa.array(first)),
        y=y,
        known=known,
        origin=texts(kept, ORIGIN_COLUMNS),
        ra=degrees(kept, "ra"),
        dec=degrees(kept, "dec"),
        name=path.name,
        source=Input(name="labels", digest=digest_file(path), n_rows=table.num_rows),
        weight=_star_weights(str(path), keys, weight),
        n_off_grid=n_off_grid,
    )


def _keys(path: Path, table: pa.Table) -> tuple[pa.Array, pa.Array | None]:
    """Return what tells the stars apart, and the ids (None if it is their positions)."""
    where = f"label table {path}"
    for name in ID_COLUMNS:
        if name in table.column_names:
            ids = exact_ids(table[name], name, where=where)
            return ids, ids
    if not {"ra", "dec"} <= set(table.column_names):
        raise MissingColumnError(where, ["id (or ra and dec)"], table.column_names)
    ra, dec = degrees(table, "ra"), degrees(table, "dec")
    wrong = np.flatnonzero(~(np.isfinite(ra) & np.isfinite(dec) & (np.abs(dec) <= 90)))
    if len(wrong):
        row = int(wrong[0])
        raise DataError(f"{where}: row {row + 1} has no position on the sky (ra={ra[row]}, dec={dec[row]})")
    return _position_keys(ra, dec), None


def _combined(
    name: str, keys: pa.Array, y: npt.NDArray[np.int8], known: BoolArray
) -> tuple[IntArray, npt.NDArray[np.int8], BoolArray]:
    """Put the rows of each star together: what one leaves open, another may decide; none may contradict.

    Returns the first row of each star, and y and known per star.
    """
    codes, first = row_codes(keys)
    if len(first) == len(keys):
        return first, y, known
    positive, negative = (np.zeros((len(first), y.shape[1]), dtype=bool) for _ in range(2))
    np.logical_or.at(positive, codes, known & (y == 1))
    np.logical_or.at(negative, codes, known & (y == 0))
    contradicted = np.flatnonzero((positive & negative).any(axis=1))
    if len(contradicted):
        rows = np.flatnonzero(codes == contradicted[0])
        raise DataError(
            f"label table {name}: '{keys[int(rows[0])].as_py()}' has different labels in rows"
            f" {', '.join(str(row + 1) for row in rows[:5].tolist())}; keep one of them, or write one row an assertion"
            " (columns id,class)"
        )
    decided = positive | negative
    return first, np.where(decided, positive.astype(np.int8), y[first]), decided


def _star_weights(name: str, keys: pa.Array, weight: npt.NDArray[np.float32] | None) -> npt.NDArray[np.float32] | None:
    """Return the weight of each star; its rows must agree."""
    if weight is None:
        return None
    codes, first = row_codes(keys)
    different = np.flatnonzero(weight != weight[first][codes])
    if len(different):
        row = int(different[0])
        raise DataError(
            f"label table {name}: '{keys[row].as_py()}' has weight {weight[row]:g} in row {row + 1} and"
            f" {weight[first][codes[row]]:g} in another; give each star one weight"
        )
    return weight[first]


def merge_labels(several: Sequence[Labels]) -> Labels:
    """Put label tables one below the other; all by id, or all by position.

    Raises
    ------
    ConfigError
        If some have ids and others positions alone.
    DataError
        If they contradict one another.
    """
    if len(several) == 1:
        return several[0]
    if len({one.id is None for one in several}) > 1:
        raise ConfigError(
            "some label tables have ids and others only ra and dec; give one feature table for each", key="labels"
        )
    ra, dec = np.concatenate([one.ra for one in several]), np.concatenate([one.dec for one in several])
    columns = [one.id for one in several if one.id is not None]
    for other in list(columns):
        columns = [comparable(column, other)[0] for column in columns]
    ids = pa.concat_arrays(columns) if columns else None
    name = " and ".join(one.name for one in several)
    keys = _position_keys(ra, dec) if ids is None else ids
    weights = [np.ones(len(one), dtype=np.float32) if one.weight is None else one.weight for one in several]
    weighted = any(one.weight is not None for one in several)
    first, y, known = _combined(
        name, keys, np.concatenate([one.y for one in several]), np.concatenate([one.known for one in several])
    )
    return Labels(
        tags=several[0].tags,
        id=None if ids is None else ids.take(pa.array(first)),
        y=y,
        known=known,
        origin=np.concatenate([one.origin for one in several])[first],
        ra=ra[first],
        dec=dec[first],
        name=name,
        source=Input(name="labels", digest=digest_json([one.source.digest for one in several]), n_rows=len(y)),
        weight=_star_weights(name, keys, np.concatenate(weights) if weighted else None),
        n_off_grid=sum(one.n_off_grid for one in several),
    )


def _position_keys(ra: npt.NDArray[np.float64], dec: npt.NDArray[np.float64]) -> pa.Array:
    return pa.array([f"{x!r} {y!r}" for x, y in zip(ra.tolist(), dec.tolist(), strict=True)], pa.string())
