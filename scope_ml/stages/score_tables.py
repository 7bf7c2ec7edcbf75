"""Tables of scores, read as one: stacked where they hold other light curves, joined where they hold other scores.

Those of `infer`, of SCoPe's inference (one table an algorithm) and any with columns ``<tag>_<algorithm>``. Used by the
stages `select_sample` and `fritz_disagreements`. May import selection, models' list of algorithms, io, taxonomy, core, errors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from scope_ml.core.identifiers import exact_ids, one_chunk
from scope_ml.core.provenance import Input, digest_file
from scope_ml.datasets.identifiers import comparable, row_codes
from scope_ml.errors import ConfigError, DataError, MetadataError, MissingColumnError, SchemaError
from scope_ml.io.tables import read_foreign_table, read_table, table_columns
from scope_ml.models.algorithms import ALGORITHMS
from scope_ml.selection.score_columns import SPREAD, ScoreColumn, check_scores, score_columns
from scope_ml.selection.stars import id_columns
from scope_ml.taxonomy.graph import Taxonomy

__all__ = ["ScoreTable", "join_tables", "read_scores", "rows_of", "with_catalogue_columns"]

IntArray = npt.NDArray[np.int64]

#: What ids of light curves are called; in what is read they are called `id`.
IDS = ("id", "_id", "ztf_id")

#: What a score's row is known by besides its id.
BAND = "band"

#: What is read of a table besides its scores, where it is there.
KEPT = (
    *("source_id", "obj_id", BAND, "ra", "dec", "field", "ccd", "quad", "filter"),
    *("period", "period_class", "period_confidence"),
)


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoreTable:
    """Scores of light curves (or of stars).

    Attributes
    ----------
    data
        One row a light curve: `id` where the tables have ids, place, period, ids of catalogues, and the scores.
    columns
        The columns that are scores.
    spreads
        Columns that say how far the members of an ensemble are apart, by score column.
    thresholds
        Threshold of each score column, as far as the tables' records say it.
    models
        Digest of each model, as far as the records say it.
    inputs
        The tables.
    n_read
        Rows of all tables; `data` has fewer where tables were joined.
    """

    data: pa.Table
    columns: tuple[ScoreColumn, ...]
    spreads: Mapping[str, str]
    thresholds: Mapping[str, float]
    models: Mapping[str, str]
    inputs: tuple[Input, ...]
    n_read: int


def read_scores(paths: Sequence[Path], taxonomy: Taxonomy) -> ScoreTable:
    """Read tables of scores as one.

    Raises
    ------
    ConfigError
        If no table is given.
    FormatError, SchemaError
        If one cannot be read, or has no scores.
    DataError
        If scores are outside [0, 1], or two tables score one light curve with the same model.
    """
    if not paths:
        raise ConfigError("no tables of scores; give predictions=[TABLE,...]", key="predictions")
    tables = [_read(path, taxonomy) for path in paths]
    return join_tables(tables, ", ".join(str(path) for path in paths)) if len(tables) > 1 else tables[0]


def _read(path: Path, taxonomy: Taxonomy) -> ScoreTable:
    names = list(table_columns(path))
    columns = score_columns(names, taxonomy.tags, tuple(ALGORITHMS))
    if not columns:
        raise MissingColumnError(f"{path} (to be a table of scores)", ["vnv_xgb"], names)
    spreads = {column.name: column.name + SPREAD for column in columns if column.name + SPREAD in names}
    own = next((name for name in IDS if name in names), None)
    kept = [name for name in KEPT if name in names]
    wanted = [*kept, *id_columns(names), *(column.name for column in columns), *spreads.values()]
    facts = _facts(path)
    data = read_foreign_table(path, [*([] if own is None else [own]), *wanted])
    rows = data.select(wanted)
    # Looked at here, where the file can still be named.
    for column in columns:
        values = check_scores(one_chunk(data[column.name]), column.name, where=str(path))
        if np.isnan(values).any():
            place = rows.column_names.index(column.name)
            rows = rows.set_column(place, column.name, pa.array(values, mask=np.isnan(values)))
    if own is not None:
        rows = rows.add_column(0, "id", exact_ids(data[own], own, where=str(path)))
    return ScoreTable(
        data=rows,
        columns=columns,
        spreads=spreads,
        thresholds={name: float(value) for name, value in facts.get("thresholds", {}).items()},
        models={name: str(value) for name, value in facts.get("models", {}).items()},
        inputs=(Input(name="scores", digest=digest_file(path), n_rows=data.num_rows),),
        n_read=data.num_rows,
    )


def _facts(path: Path) -> dict[str, dict[str, Any]]:
    """Return what a table's record says of its models; nothing for a table without one."""
    try:
        facts = read_table(path, columns=()).metadata.facts
    except MetadataError:
        return {}
    return {name: facts[name] for name in ("thresholds", "models") if isinstance(facts.get(name), dict)}


def join_tables(tables: Sequence[ScoreTable], where: str) -> ScoreTable:
    """Return several tables as one: rows of the same light curve are joined, the others stand one after the other.

    Raises
    ------
    DataError
        If tables cannot be told apart, or both score one light curve in the same column.
    """
    key = next((name for name in ("id", "obj_id") if all(name in table.data.column_names for table in tables)), None)
    if key is None:
        raise DataError(f"{where}: the tables have neither 'id' nor 'obj_id' in common by which rows could be joined")
    columns = tuple(dict.fromkeys(column for table in tables for column in table.columns))
    stacked = _stacked([table.data for table in tables], key, where)
    with_band = all(BAND in table.data.column_names for table in tables)
    code, first = row_codes(_row_keys(stacked, key, with_band))
    data = stacked
    if len(first) < len(code):
        data = _merged(stacked, code, len(first), {column.name for column in columns}, where)
    order = {column.name: place for place, column in enumerate(columns)}
    return ScoreTable(
        data=data,
        columns=tuple(sorted(columns, key=lambda column: order[column.name])),
        spreads={name: spread for table in tables for name, spread in table.spreads.items()},
        thresholds={name: value for table in reversed(tables) for name, value in table.thresholds.items()},
        models={name: value for table in reversed(tables) for name, value in table.models.items()},
        inputs=tuple(item for table in tables for item in table.inputs),
        n_read=sum(table.n_read for table in tables),
    )


def _stacked(tables: Sequence[pa.Table], key: str, where: str) -> pa.Table:
    """Return the rows of all tables, one table after the other, null where one lacks a column."""
    types = {table.schema.field(key).type for table in tables}
    if len(types) > 1:
        tables = [_as_text(table, key) for table in tables]
    try:
        return pa.concat_tables(tables, promote_options="permissive").combine_chunks()
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise SchemaError(f"{where}: columns of one name are of different types ({error})") from error


def _as_text(table: pa.Table, name: str) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, table[name].cast(pa.string()))


def _row_keys(rows: pa.Table, key: str, with_band: bool) -> pa.Array:
    ids = one_chunk(rows[key])
    if not with_band:
        return ids
    bands = pc.fill_null(one_chunk(rows[BAND]).cast(pa.string()), "")
    return pc.binary_join_element_wise(ids.cast(pa.string()), bands, "\x1f")


def _merged(rows: pa.Table, code: IntArray, n: int, scores: set[str], where: str) -> pa.Table:
    """Return one row a light curve: of each column the first value that there is."""
    order = np.argsort(code, kind="stable")
    starts = np.flatnonzero(np.diff(code[order], prepend=-1))
    columns = []
    for name in rows.column_names:
        column = one_chunk(rows[name])
        valid = column.is_valid().to_numpy(zero_copy_only=False)[order]
        if name in scores and (np.add.reduceat(valid.astype(np.int64), starts) > 1).any():
            of = int(np.flatnonzero(np.add.reduceat(valid.astype(np.int64), starts) > 1)[0])
            row = int(order[starts[of]])
            what = rows["id"][row].as_py() if "id" in rows.column_names else row + 1
            raise DataError(
                f"{where}: light curve {what} has two scores '{name}'; give each table once, and tables of two versions of"
                " the models to fritz_disagreements"
            )
        place = np.minimum.reduceat(np.where(valid, np.arange(len(order)), len(order)), starts)
        known = place < len(order)
        columns.append(column.take(pa.array(order[np.where(known, place, 0)], mask=~known)))
    assert len(starts) == n
    return pa.table(columns, schema=rows.schema)


def with_catalogue_columns(scores: ScoreTable, path: Path, further: Sequence[str] = ()) -> ScoreTable:
    """Return the scores with ids of catalogues, and `further` columns as far as they are there, from a feature table.

    Rows are found by id, and by band where both have bands; columns that the scores have already are left as they are.

    Raises
    ------
    FormatError, MissingColumnError
        If the table cannot be read, or has no ids.
    DataError
        If it has none of the light curves.
    """
    if "id" not in scores.data.column_names:
        raise MissingColumnError(f"the scores (to find their rows in {path})", ["id"], scores.data.column_names)
    names = list(table_columns(path))
    own = next((name for name in IDS if name in names), None)
    if own is None:
        raise MissingColumnError(str(path), ["id"], names)
    wanted = [name for name in (*id_columns(names), *further) if name in names and name not in scores.data.column_names]
    features = read_foreign_table(path, list(dict.fromkeys([own, *([BAND] if BAND in names else []), *wanted])))
    rows = features.select([*([BAND] if BAND in features.column_names else []), *wanted])
    rows = rows.append_column("id", exact_ids(features[own], own, where=str(path)))
    at = rows_of(scores.data, rows, str(path))
    if scores.data.num_rows and not (at >= 0).any():
        raise DataError(
            f"{path} has none of the {scores.data.num_rows} light curves of the scores; are these their features?"
        )
    data = scores.data
    for name in wanted:
        data = data.append_column(features.schema.field(name), one_chunk(rows[name]).take(pa.array(at, mask=at < 0)))
    added = Input(name="features", digest=digest_file(path), n_rows=features.num_rows)
    return replace(scores, data=data, inputs=(*scores.inputs, added))


def rows_of(rows: pa.Table, among: pa.Table, where: str) -> IntArray:
    """Return the row of each light curve among others, or -1; int64 (n,). Of several equal ones the first.

    Compared are ids (`obj_id` where one of the tables has none), and bands where both have them.

    Raises
    ------
    DataError
        If the tables have no ids in common.
    """
    key = next((name for name in ("id", "obj_id") if name in rows.column_names and name in among.column_names), None)
    if key is None:
        raise DataError(f"{where}: the tables have neither 'id' nor 'obj_id' in common by which rows could be found")
    ids, other_ids = comparable(one_chunk(rows[key]), one_chunk(among[key]))
    if BAND in rows.column_names and BAND in among.column_names:
        ids = _row_keys(pa.table({key: ids, BAND: rows[BAND]}), key, True)
        other_ids = _row_keys(pa.table({key: other_ids, BAND: among[BAND]}), key, True)
    return np.asarray(pc.fill_null(pc.index_in(ids, value_set=other_ids), -1), dtype=np.int64)
