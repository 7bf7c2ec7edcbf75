"""The table that was uploaded, with the names that its sources have on Fritz. May import `upload_table`, `io`, core and errors."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from scope_ml.core.configuration import option
from scope_ml.core.provenance import Input, TableMetadata, digest_file
from scope_ml.errors import MetadataError
from scope_ml.io.tables import read_foreign_table, read_table, write_table
from scope_ml.stages.fritz_plans import LEFT, REFUSED
from scope_ml.stages.upload_table import InputTable, UploadRows

__all__ = ["NamesOptions", "names_path", "write_names"]

#: Kind of a table that had no record of ours.
KIND = "uploaded"

SUFFIXES = {"parquet": ".parquet", "h5": ".h5", "csv": ".csv"}


@dataclass(frozen=True, kw_only=True)
class NamesOptions:
    """The table with names."""

    write: bool = option(False, doc="write OUTPUT/TABLE_TAG with the column obj_id filled", machine=True)
    tag: str = option("fritzUpload", doc="what its name ends in", machine=True)
    format: Literal["parquet", "h5", "csv"] | None = option(None, doc="null: the table's own", machine=True)


def names_path(table: Path, options: NamesOptions, folder: Path) -> Path:
    """Return where the table with names is written."""
    suffix = table.suffix if options.format is None else SUFFIXES[options.format]
    return folder / f"{table.stem}_{options.tag}{suffix}"


def write_names(table: InputTable, rows: UploadRows, options: NamesOptions, folder: Path) -> Path:
    """Write the table with ``obj_id``: of each row its source's name on Fritz, "" where it was left out or not made.

    Parameters
    ----------
    table, rows
        What was uploaded.
    options
        How it is written.
    folder
        Where plan and receipt are.

    Returns
    -------
    Path
        Where it is.

    Raises
    ------
    ScopeError
        If plan or receipt cannot be read, or the table not be written.
    """
    names = _names_of(folder)
    of_source = [names.get(rows.key(source), "") for source in range(len(rows))]
    column = pa.array([of_source[at] if at >= 0 else "" for at in rows.source_of.tolist()], pa.string())
    data = table.data
    at = data.schema.get_field_index("obj_id")
    if at >= 0:
        # Rows that were not uploaded keep what they had.
        before = pc.fill_null(data["obj_id"].cast(pa.string()), "")
        column = pc.if_else(pc.equal(column, ""), before, column)
    field = pa.field("obj_id", pa.string())
    data = data.append_column(field, column) if at < 0 else data.set_column(at, field, column)
    path = names_path(table.path, options, folder)
    write_table(data, path, _record(table))
    return path


def _names_of(folder: Path) -> dict[str, str]:
    """Return the name of each source by its key, of those that are on Fritz."""
    plan = read_foreign_table(folder / "plan.parquet", ["key", "obj_id", "kind", "is_new"]).to_pylist()
    # A new source is in the plan with its first step, or it is not made.
    not_there = {row["key"] for row in plan if row["kind"] == REFUSED or (row["is_new"] and row["kind"] == LEFT)}
    names = {row["key"]: row["obj_id"] for row in plan if row["key"] not in not_there}
    receipt = folder / "receipt.parquet"
    if any(row["is_new"] for row in plan) and receipt.is_file():
        for row in read_foreign_table(receipt, ["key", "kind", "status"]).to_pylist():
            if row["kind"] == "create" and row["status"] == "failed":
                names.pop(row["key"], None)
    return names


def _record(table: InputTable) -> TableMetadata:
    """Return the table's own record, or one for a table that had none."""
    try:
        record = read_table(table.path, columns=()).metadata
    except MetadataError:
        record = TableMetadata(kind=KIND)
    source = Input(name="table", digest=digest_file(table.path), n_rows=table.data.num_rows)
    return TableMetadata(
        kind=record.kind,
        config_digest=record.config_digest,
        inputs=(source,),
        columns=record.columns,
        facts=json.loads(json.dumps(record.facts)),
    )
