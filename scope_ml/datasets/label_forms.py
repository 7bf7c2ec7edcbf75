"""The two forms of label tables, and what their columns mean; `labels` is what calls this room.

Here a table is already in memory; its file's path serves the messages. May import `taxonomy` and below.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from scope_ml.errors import DataError, MissingColumnError, suggest
from scope_ml.taxonomy.graph import Taxonomy

__all__ = [
    "assertions",
    "check_is_long",
    "class_columns",
    "closed_upward",
    "degrees",
    "no_classes",
    "sample_weights",
    "texts",
    "uncertain_classes",
    "wide_labels",
]

#: What a list of classes may call a star that belongs to none (a node of SCoPe's tree without a classifier).
NON_VARIABLE = frozenset({"nonvar", "non-variable", "nonvariable", "non variable"})

#: Columns of labels from which a table with a column ``class`` counts as wide too.
FEWEST_WIDE = 2

#: Labels of SCoPe's voters. Others between 0 and 1 are read as probabilities, and counted.
GRID = (0.0, 0.25, 0.5, 0.75, 1.0)

#: Column that says how much a row counts in training.
WEIGHT_COLUMN = "weight"

BoolArray = npt.NDArray[np.bool_]


def class_columns(table: pa.Table, taxonomy: Taxonomy) -> dict[str, str]:
    """Return the column of each class that has one: its tag, or else its label or alias (SCoPe's own tables)."""
    columns = {tag: tag for tag in taxonomy.tags if tag in table.column_names}
    for name in table.column_names:
        tag = taxonomy.find(name)
        # Labels of one letter would take a band's or a coordinate's column for a class.
        if tag is not None and len(name) > 1:
            columns.setdefault(tag, name)
    return columns


def check_is_long(path: Path, table: pa.Table, columns: dict[str, str]) -> None:
    """Refuse a table that is long by its column ``class`` and wide by its other columns.

    One column that is named like a class is another thing: ``i`` and ``e`` are magnitudes and errors to most people.

    Raises
    ------
    DataError
        If `FEWEST_WIDE` or more of the class `columns` hold labels.
    """
    labels = [name for name in columns.values() if name != "class" and _holds_labels(table, name)]
    if len(labels) >= FEWEST_WIDE:
        raise DataError(
            f"label table {path} has a column 'class' and columns of labels ({', '.join(labels[:6])}), which may not agree;"
            " drop 'class' for one column a class, or drop those for one row an assertion"
        )


def _holds_labels(table: pa.Table, name: str) -> bool:
    """Say whether a column has values and all of them are labels, 0 to 1."""
    dtype = table.schema.field(name).type
    if not (pa.types.is_integer(dtype) or pa.types.is_floating(dtype) or pa.types.is_boolean(dtype)):
        return False
    values = _floats(table, name)
    values = values[~np.isnan(values)]
    return bool(values.size and ((values >= 0) & (values <= 1)).all())


def no_classes(path: Path, table: pa.Table, taxonomy: Taxonomy) -> MissingColumnError:
    """Return the error for a table that names no class in any way, with what its columns come closest to."""
    known = (*taxonomy.tags, "class")
    # Names of one or two letters, such as id, are close to many tags and mean none.
    hints = [hint for name in table.column_names if len(name) > 2 and (hint := suggest(name.casefold(), known))]
    error = MissingColumnError(f"label table {path}", ["class"], table.column_names)
    error.args = (
        f"label table {path} has neither a column 'class' nor one column a class (vnv, pnp, rrlyr, ...);"
        f" it has: {', '.join(table.column_names[:12])}{hints[0] if hints else ''}",
    )
    return error


def wide_labels(
    path: Path, table: pa.Table, taxonomy: Taxonomy, columns: dict[str, str], threshold: float
) -> tuple[npt.NDArray[np.int8], BoolArray, int]:
    """Return y and known of a wide table, as its class columns say, and how many labels are not on `GRID`.

    Classes without a column are unknown.
    """
    n_off_grid = 0
    y = np.zeros((table.num_rows, len(taxonomy)), dtype=np.int8)
    known = np.zeros(y.shape, dtype=bool)
    for tag, name in columns.items():
        dtype = table.schema.field(name).type
        if not (pa.types.is_integer(dtype) or pa.types.is_floating(dtype) or pa.types.is_boolean(dtype)):
            if pa.types.is_null(dtype):
                continue
            raise DataError(f"label table {path}: column '{name}' is {dtype}; labels are 0/1 or probabilities")
        values = _floats(table, name)
        decided = ~np.isnan(values)
        outside = np.flatnonzero(decided & ~((values >= 0) & (values <= 1)))
        if len(outside):
            row = int(outside[0])
            # Tags of one letter are names of bands and errors too.
            hint = f"; '{tag}' is a class here, rename the column if it means another thing" if len(name) == 1 else ""
            raise DataError(
                f"label table {path}: {len(outside)} row(s) hold no label: column '{name}' is {values[row]:g} in row"
                f" {row + 1}; labels lie between 0 and 1{hint}"
            )
        n_off_grid += int((decided & ~np.isin(values, GRID)).sum())
        column = taxonomy.index(tag)
        y[:, column] = decided & (values > threshold)
        known[:, column] = decided
    return y, known, n_off_grid


def closed_upward(taxonomy: Taxonomy, y: npt.NDArray[np.int8], known: BoolArray, uncertain: BoolArray) -> BoolArray:
    """Close `y` upward in place and return what is known; an uncertain class stays so, whatever its children say."""
    closed, decided = taxonomy.close_upward(y, known & ~uncertain)
    y[...] = closed
    return decided & ~uncertain


def assertions(
    path: Path,
    table: pa.Table,
    taxonomy: Taxonomy,
    uncertain: BoolArray,
    codes: npt.NDArray[np.int64],
    n_stars: int,
) -> tuple[npt.NDArray[np.int8], BoolArray]:
    """Return y and known per star of a long table: what any row asserts; all else is 0, unless a row leaves it open."""
    encoded = pc.dictionary_encode(table["class"].combine_chunks(), null_encoding="encode")
    names = encoded.dictionary.to_pylist()
    meant = [taxonomy.find(name) if isinstance(name, str) else None for name in names]
    number = np.asarray(encoded.indices)
    columns = np.array([-1 if tag is None else taxonomy.index(tag) for tag in meant], dtype=np.int64)[number]
    none = np.array([isinstance(name, str) and name.strip().casefold() in NON_VARIABLE for name in names], dtype=bool)
    strange = (columns < 0) & ~none[number]
    if strange.any():
        row = int(np.flatnonzero(strange)[0])
        name = names[number[row]]
        # The first line of a CSV file holds the names.
        place = f"line {row + 2}" if path.suffix.lower() == ".csv" else f"row {row + 1}"
        hint = taxonomy.suggestion(name) if isinstance(name, str) else ""
        raise DataError(f"label table {path}, {place}: class {name!r} is unknown{hint}")
    rows = np.zeros((table.num_rows, len(taxonomy)), dtype=np.int8)
    asserted = np.flatnonzero(columns >= 0)
    rows[asserted, columns[asserted]] = 1
    sure = closed_upward(taxonomy, rows, np.ones(rows.shape, dtype=bool), uncertain)
    y = np.zeros((n_stars, len(taxonomy)), dtype=np.int8)
    np.maximum.at(y, codes, rows * sure)
    left_open = np.zeros(y.shape, dtype=bool)
    np.logical_or.at(left_open, codes, uncertain)
    return y, (y == 1) | ~left_open


def uncertain_classes(path: Path, table: pa.Table, taxonomy: Taxonomy) -> BoolArray:
    """Return bool (n, n_tags) of the column ``uncertain_tags``; all False without one."""
    mask = np.zeros((table.num_rows, len(taxonomy)), dtype=bool)
    if "uncertain_tags" not in table.column_names or pa.types.is_null(table.schema.field("uncertain_tags").type):
        return mask
    encoded = pc.dictionary_encode(pc.fill_null(table["uncertain_tags"].combine_chunks().cast(pa.string()), ""))
    patterns = np.zeros((max(len(encoded.dictionary), 1), len(taxonomy)), dtype=bool)
    for number, text in enumerate(encoded.dictionary.to_pylist()):
        for name in filter(None, (part.strip() for part in text.split(","))):
            tag = taxonomy.find(name)
            if tag is None:
                hint = taxonomy.suggestion(name)
                raise DataError(f"label table {path}: uncertain_tags holds '{name}', which is no class{hint}")
            patterns[number, taxonomy.index(tag)] = True
    mask[...] = patterns[np.asarray(encoded.indices)]
    return mask


def sample_weights(path: Path, table: pa.Table) -> npt.NDArray[np.float32] | None:
    """Return float32 (n,) of the column ``weight``; None without one.

    Raises
    ------
    DataError
        If a weight is missing, negative, not finite or no number; names the first and how many there are.
    """
    if WEIGHT_COLUMN not in table.column_names:
        return None
    dtype = table.schema.field(WEIGHT_COLUMN).type
    if not (pa.types.is_integer(dtype) or pa.types.is_floating(dtype) or pa.types.is_boolean(dtype)):
        raise DataError(f"label table {path}: column 'weight' is {dtype}; weights are numbers of 0 or more")
    values = _floats(table, WEIGHT_COLUMN).astype(np.float32)
    wrong = np.flatnonzero(~(np.isfinite(values) & (values >= 0)))
    if len(wrong):
        row = int(wrong[0])
        seen = "missing" if np.isnan(values[row]) else f"{values[row]:g}"
        raise DataError(
            f"label table {path}: {len(wrong)} row(s) have no weight of 0 or more: it is {seen} in row {row + 1};"
            " write 1 for rows that count as usual, 0 for rows that must not train"
        )
    return values


def _floats(table: pa.Table, name: str) -> npt.NDArray[np.float64]:
    """Return a numeric column as float64, NaN where null."""
    return np.asarray(table[name].cast(pa.float64()).to_numpy(), dtype=np.float64)


def degrees(table: pa.Table, name: str) -> npt.NDArray[np.float64]:
    """Return a coordinate [deg] as float64, NaN where there is none."""
    if name not in table.column_names:
        return np.full(table.num_rows, np.nan)
    dtype = table.schema.field(name).type
    return (
        _floats(table, name)
        if pa.types.is_floating(dtype) or pa.types.is_integer(dtype)
        else np.full(table.num_rows, np.nan)
    )


def texts(table: pa.Table, names: Sequence[str]) -> npt.NDArray[np.str_]:
    """Return the first of the columns `names` that there is, as text; "" where there is none."""
    for name in names:
        if name in table.column_names:
            return np.array(pc.fill_null(table[name].cast(pa.string()), "").to_pylist(), dtype=np.str_)
    return np.full(table.num_rows, "", dtype=np.str_)
