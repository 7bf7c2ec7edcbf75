"""The training set that votes update: which of its columns are classes, and what tells its rows apart.

Three kinds are read: a label table of ours (wide, or long, which becomes wide), by id or by position, and SCoPe's one table of
features and labels, by ``ztf_id``. May import datasets, taxonomy, io, core and errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa

from scope_ml.core.identifiers import exact_ids
from scope_ml.core.provenance import digest_file
from scope_ml.datasets.label_forms import class_columns
from scope_ml.datasets.labels import ID_COLUMNS, read_labels
from scope_ml.errors import MissingColumnError
from scope_ml.io.tables import read_foreign_table, table_columns
from scope_ml.taxonomy.fritz_names import NONVAR, FritzNames, old_mapper
from scope_ml.taxonomy.graph import Taxonomy

__all__ = ["SCOPE_ID", "UNCERTAIN", "TrainingSet", "empty_set", "read_training_set"]

#: SCoPe's name of the id of a light curve in its training set.
SCOPE_ID = "ztf_id"

#: Columns of SCoPe's tables from which on they are taken for its training set's, one-letter names among them.
ENOUGH = 10

#: Column of classes that a row leaves open.
UNCERTAIN = "uncertain_tags"


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingSet:
    """A training set as it was read.

    Attributes
    ----------
    table
        All of its columns.
    form
        ``labels``, or ``one_table``: features and labels together.
    key
        Column of ids; None where positions (`ra`, `dec`) tell the rows apart.
    classes
        Column of each class (and of `NONVAR`) that has one.
    uncertain
        Classes that each row leaves open by its column ``uncertain_tags``; empty without one.
    digest
        Of the file; "" where there is none yet.
    name
        For messages.
    """

    table: pa.Table
    form: Literal["labels", "one_table"]
    key: str | None
    classes: Mapping[str, str]
    uncertain: tuple[tuple[str, ...], ...] = ()
    digest: str = ""
    name: str = "a new training set"


def read_training_set(path: Path, taxonomy: Taxonomy, names: FritzNames) -> TrainingSet:
    """Read a training set.

    Raises
    ------
    FormatError
        If the file cannot be read, or not all of its columns.
    MissingColumnError
        If it has neither ids nor positions, or no column of a class.
    DataError
        If its ids are not exact, or its long form has an unknown class.
    """
    if "class" in table_columns(path):
        return _from_long(path, taxonomy)
    table = read_foreign_table(path)
    classes = _classes(table, taxonomy, names)
    if not classes:
        raise MissingColumnError(f"training.path={path}", ["class (or one column a class)"], table.column_names)
    key = (
        SCOPE_ID
        if SCOPE_ID in table.column_names
        else next((one for one in ID_COLUMNS if one in table.column_names), None)
    )
    if key is None and not {"ra", "dec"} <= set(table.column_names):
        raise MissingColumnError(f"training.path={path}", [f"{SCOPE_ID}, id (or ra and dec)"], table.column_names)
    if key is not None:
        ids = exact_ids(table[key], key, where=str(path))
        table = table.set_column(table.column_names.index(key), key, ids)
    return TrainingSet(
        table=table,
        form="one_table" if key == SCOPE_ID else "labels",
        key=key,
        classes=classes,
        uncertain=_uncertain(table, taxonomy),
        digest=digest_file(path),
        name=str(path),
    )


def empty_set(taxonomy: Taxonomy, *, by_id: bool) -> TrainingSet:
    """Return a label table without rows, by id or by position."""
    fields = [pa.field("id", pa.int64())] if by_id else []
    fields += [pa.field("obj_id", pa.string())]
    fields += [pa.field(name, pa.float64(), metadata={"unit": "deg"}) for name in ("ra", "dec")]
    fields += [pa.field(tag, pa.int8()) for tag in taxonomy.tags]
    return TrainingSet(
        table=pa.schema(fields).empty_table(),
        form="labels",
        key="id" if by_id else None,
        classes={tag: tag for tag in taxonomy.tags},
    )


def _classes(table: pa.Table, taxonomy: Taxonomy, names: FritzNames) -> dict[str, str]:
    """Return the column of each class, also those that SCoPe's training set calls by one letter."""
    classes = class_columns(table, taxonomy)
    golden = {entry.tag: entry.column for entry in old_mapper("golden", names) if entry.tag is not None}
    if sum(column in table.column_names for column in golden.values()) >= ENOUGH:
        classes = {tag: column for tag, column in golden.items() if column in table.column_names} | classes
    for name in (NONVAR, "non-variable"):
        if name in table.column_names:
            classes.setdefault(NONVAR, name)
    return classes


def _uncertain(table: pa.Table, taxonomy: Taxonomy) -> tuple[tuple[str, ...], ...]:
    if UNCERTAIN not in table.column_names:
        return ()
    texts = [(text or "").split(",") for text in table[UNCERTAIN].cast(pa.string()).to_pylist()]
    return tuple(tuple(taxonomy.find(name) or name for one in text if (name := one.strip())) for text in texts)


def _from_long(path: Path, taxonomy: Taxonomy) -> TrainingSet:
    """Read a table of one row an assertion as one of one row a star."""
    labels = read_labels(path, taxonomy)
    columns = {} if labels.id is None else {"id": labels.id}
    columns |= {"ra": pa.array(labels.ra, from_pandas=True), "dec": pa.array(labels.dec, from_pandas=True)}
    if any(labels.origin):
        columns["origin"] = pa.array(labels.origin.tolist(), pa.string())
    if labels.weight is not None:
        columns["weight"] = pa.array(labels.weight)
    for column, tag in enumerate(labels.tags):
        columns[tag] = pa.array(labels.y[:, column], mask=~labels.known[:, column])
    return TrainingSet(
        table=pa.table(columns),
        form="labels",
        key=None if labels.id is None else "id",
        classes={tag: tag for tag in labels.tags},
        digest=digest_file(path),
        name=str(path),
    )
