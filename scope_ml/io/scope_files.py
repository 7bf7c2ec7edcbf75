"""Files of SCoPe (the scope-ml package): folders of ids, and tables adopted as ours.

`io.tables` reads a single file of SCoPe's wherever a table is read; here are what takes several files, and what makes a
table of ours of one that has no attrs (CSV) or that other formats cannot hold (nested dm-dt images). May import core and
errors only.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scope_ml.core.identifiers import exact_ids, one_chunk
from scope_ml.core.provenance import Input, TableMetadata, digest_file
from scope_ml.errors import DataError, EmptySelectionError, MissingColumnError, SchemaError
from scope_ml.io.parquet_files import require_file
from scope_ml.io.scope_records import ID_COLUMN, adopted_record
from scope_ml.io.tables import FORMATS, read_foreign_table, read_table, table_columns, table_format, write_table

__all__ = ["META_FILE", "IdFolder", "adopt", "flat_images", "read_id_folder"]

#: What SCoPe's get-quad-ids writes beside its lists: how many ids it found.
META_FILE = "meta.json"

#: Names of the column of ids, of ours and of SCoPe's lists.
IDS = (ID_COLUMN, "id", "ztf_id")

#: Columns that repeat `ra` and `dec` as a structure.
POSITIONS = ("coordinates", "radec_geojson")

#: Column of dm-dt images, and pixels of one.
IMAGE, PIXELS = "dmdt", 26 * 26

#: Bands by the number that ZTF gives to a filter.
BANDS = {1: "g", 2: "r", 3: "i"}


@dataclass(frozen=True, kw_only=True, eq=False)
class IdFolder:
    """The ids of a folder of lists, such as ``ids/field_301``.

    Attributes
    ----------
    ids
        int64, in the order of the files, each id once.
    n_files
        Lists read.
    n_repeated
        Ids that stood in a list before.
    warnings
        One line each: where the folder's ``meta.json`` counts other ids than are there.
    """

    ids: pa.Array
    n_files: int
    n_repeated: int
    warnings: tuple[str, ...] = ()


def read_id_folder(folder: Path) -> IdFolder:
    """Read all lists of ids in a folder and below: Parquet and HDF5, or CSV where there are none of these.

    SCoPe writes each list twice, as HDF5 and as CSV; where a quadrant has more than one page, only its last page is in
    them, which the counts of ``meta.json`` tell.

    Raises
    ------
    EmptySelectionError
        If there is no list, or no id in them.
    FormatError, MissingColumnError, DataError
        If a list cannot be read, or its ids are not exact.
    """
    files = _lists(folder)
    if not files:
        raise EmptySelectionError(f"{folder} holds no list of ids (.parquet, .h5 or .csv, such as get_quad_ids writes)")
    ids = [_ids_of(path) for path in files]
    all_ids = pa.concat_arrays(ids)
    if not len(all_ids):
        raise EmptySelectionError(f"the {len(files)} lists in {folder} hold no id")
    distinct = all_ids.unique()
    warnings = [line for path in sorted(folder.rglob(META_FILE)) if (line := _differs(path, ids, files))]
    return IdFolder(
        ids=distinct,
        n_files=len(files),
        n_repeated=len(all_ids) - len(distinct),
        warnings=tuple(warnings),
    )


def adopt(path: Path, output: Path, *, kind: str | None = None, columns: Sequence[str] | None = None) -> TableMetadata:
    """Write a table of SCoPe's as one of ours: what every door takes as `features`.

    Adds `id` (SCoPe's ``_id``) and `band` (by its ``filter``); dm-dt images become lists of 676 numbers, missing ones zeros
    as SCoPe takes them, also those that CSV holds as text; structures that repeat `ra` and `dec` are left out.

    Parameters
    ----------
    path
        Parquet, HDF5 or CSV.
    output
        The new table.
    kind
        ``"features"``, ``"predictions"``, ``"labels"``; None: as the columns tell.
    columns
        Names to keep; None: all.

    Returns
    -------
    TableMetadata
        The record: the file's attrs are the fact ``scope``, images that were missing are counted in ``images_missing``.

    Raises
    ------
    FormatError, MissingColumnError
        If the file cannot be read, or not all of what is wanted of it.
    SchemaError
        If `output` cannot hold the columns.
    DataError
        If its ids are not exact.
    """
    path = Path(path)
    data = read_foreign_table(path, columns)
    record = adopted_record(_attrs(path), data.column_names)
    facts: dict[str, Any] = dict(record.facts)
    if {"ra", "dec"} <= set(data.column_names):
        data = data.drop_columns([name for name in POSITIONS if name in data.column_names])
    if IMAGE in data.column_names:
        images, facts["images_missing"] = flat_images(data[IMAGE], where=str(path))
        data = data.set_column(data.column_names.index(IMAGE), IMAGE, images)
    if ID_COLUMN in data.column_names and "id" not in data.column_names:
        data = data.append_column("id", _whole_ids(data[ID_COLUMN], ID_COLUMN, path))
    if "filter" in data.column_names and "band" not in data.column_names:
        data = data.append_column("band", _bands(data["filter"]))
    record = TableMetadata(
        kind=kind or record.kind,
        inputs=(Input(name="scope", digest=digest_file(path), n_rows=data.num_rows),),
        facts=facts,
    )
    write_table(data, Path(output), record)
    return read_table(Path(output), columns=()).metadata


def flat_images(column: pa.ChunkedArray | pa.Array, *, where: str) -> tuple[pa.Array, int]:
    """Return dm-dt images as lists of 676 numbers (double), and how many were missing and are zeros now.

    Parameters
    ----------
    column
        Lists of 26 lists of 26 numbers, lists of 676, or JSON of either.
    where
        For messages.

    Raises
    ------
    SchemaError
        If one is neither missing nor of 26 by 26 numbers.
    """
    values = one_chunk(column)
    missing = values.is_null().to_numpy(zero_copy_only=False)
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        values = pa.array([None if text is None else _json_image(text, where) for text in values.to_pylist()])
    flat = values.drop_null()
    images = np.zeros((len(values), PIXELS))
    while _is_list(flat.type):
        flat = flat.flatten()
    n_whole = int((~missing).sum())
    if len(flat) != n_whole * PIXELS or flat.null_count:
        raise SchemaError(f"{where}: column '{IMAGE}' must hold 26 x 26 numbers in each row, or nothing")
    if n_whole:
        images[~missing] = np.asarray(flat.cast(pa.float64()), dtype=np.float64).reshape(n_whole, PIXELS)
    return pa.FixedSizeListArray.from_arrays(pa.array(images.ravel()), PIXELS), int(missing.sum())


def _is_list(dtype: pa.DataType) -> bool:
    return bool(pa.types.is_list(dtype) or pa.types.is_large_list(dtype) or pa.types.is_fixed_size_list(dtype))


def _json_image(text: str, where: str) -> list[float]:
    try:
        image: npt.NDArray[np.float64] = np.asarray(json.loads(text), dtype=np.float64)
    except ValueError as error:
        raise SchemaError(f"{where}: column '{IMAGE}' has '{text[:40]}', which is no list of numbers") from error
    return image.ravel().tolist()


def _bands(filters: pa.ChunkedArray) -> pa.Array:
    return pa.array([BANDS.get(number) for number in filters.to_pylist()], pa.string())


def _attrs(path: Path) -> dict[str, Any]:
    """Return the attrs that SCoPe kept with a table, as far as there are any."""
    if table_format(path) == "csv":
        return {}
    try:
        found: dict[str, Any] = dict(read_table(path, columns=()).metadata.facts.get("scope", {}))
    except SchemaError:
        # Without attrs: a table of pandas alone.
        return {}
    return found


def _lists(folder: Path) -> list[Path]:
    tables = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and path.suffix.lower() in FORMATS
        and not path.name.startswith(".")
        # What get_quad_ids and others write beside a list is no list: x.parquet.not_found.parquet.
        and not any(end in FORMATS for end in (suffix.lower() for suffix in path.suffixes[:-1]))
    ]
    first = [path for path in tables if table_format(path) != "csv"]
    return first or tables


def _ids_of(path: Path) -> pa.Array:
    available = table_columns(path)
    name = next((one for one in IDS if one in available), None)
    if name is None:
        raise MissingColumnError(str(path), [f"{IDS[0]} (or {', '.join(IDS[1:])})"], available)
    return _whole_ids(read_foreign_table(path, [name])[name], name, path)


def _whole_ids(column: pa.ChunkedArray, name: str, path: Path) -> pa.Array:
    ids = exact_ids(column, name, where=str(path))
    try:
        return ids.cast(pa.int64())
    except pa.ArrowInvalid as error:
        raise DataError(f"{path}: column '{name}' holds what is no exact whole number ({error})") from error


def _differs(meta: Path, ids: Sequence[pa.Array], files: Sequence[Path]) -> str:
    """Return what to warn of where a folder's lists hold another number of ids than its ``meta.json`` counts."""
    require_file(meta)
    try:
        total = json.loads(meta.read_text(encoding="utf-8")).get("total")
    except (ValueError, AttributeError, OSError):
        return f"{meta} cannot be read; whether the lists are whole cannot be said"
    below = [found for found, path in zip(ids, files, strict=True) if meta.parent in path.parents]
    found = len(pa.concat_arrays(below).unique()) if below else 0
    if not isinstance(total, int) or total == found:
        return ""
    return f"{meta.parent} has {found} ids, but {META_FILE} counts {total}; make the lists again with get_quad_ids"
