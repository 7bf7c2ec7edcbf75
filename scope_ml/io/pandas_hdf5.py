"""HDF5 as pandas writes it (`HDFStore`, "fixed" and "table"), read without pandas and without running anything in it.

A group with the attribute ``pandas_type`` is a frame or a series. Fixed frames are blocks of columns of one type
(``block0_items``, ``block0_values``), table frames one compound dataset ``table``. Names, and the attribute
``metadata`` in which SCoPe keeps a frame's attrs, are the text of a literal, which is read as such. Columns of Python
objects (text in fixed frames, lists, dicts) are pickled and are not read. May import core and errors only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from scope_ml.errors import FormatError
from scope_ml.io.parquet_files import check_columns
from scope_ml.io.pytables_literals import literal, literal_or_text

__all__ = ["is_pandas", "pandas_columns", "read_pandas"]

#: Attribute by which pandas tells its groups.
KIND = "pandas_type"

#: What a group may be.
FRAME, TABLES, SERIES = "frame", ("frame_table", "series_table"), "series"

#: Key of the main frame in SCoPe's files; others stand beside it, a column each.
MAIN_KEY = "df"

#: Attribute of a group in which SCoPe keeps a frame's attrs.
ATTRS = "metadata"

#: How pandas writes a missing text in a table.
NAN_TEXT = b"nan"

#: Most names in a message.
WORDS_SHOWN = 12


@dataclass(frozen=True, eq=False)
class _Column:
    """One column: its dataset, the field of a compound dataset, its place in the block; `obstacle` says why it is not read."""

    name: str
    dataset: Any
    field: str | None = None
    place: int | None = None
    obstacle: str = ""
    dtype: str = ""
    n_rows: int | None = None


def is_pandas(file: Any) -> bool:
    """Return whether a file (or group) of h5py holds frames or series of pandas."""
    import h5py

    return any(isinstance(item, h5py.Group) and KIND in item.attrs for item in file.values())


def read_pandas(file: Any, path: Path, columns: Sequence[str] | None) -> tuple[pa.Table, dict[str, Any] | None]:
    """Return the columns of a file of pandas, and the attrs that SCoPe kept with it, if any.

    The frame is that of the key ``df``, or the only one; series beside it (SCoPe's ``coordinates``, ``dmdt``) are
    columns too. An index that has a name is a column.

    Parameters
    ----------
    file
        The open file of h5py.
    path
        For messages.
    columns
        Names to read, in this order; all by default.

    Raises
    ------
    FormatError
        If there is no frame or more than one, a wanted column holds pickled objects or categories, or the file was not
        written whole.
    MissingColumnError
        If it lacks columns.
    """
    key = _main_key(file, path)
    raw = file[key].attrs.get(ATTRS)
    attrs = literal(raw) if raw is not None else None
    found = _all_columns(file, key, path)
    check_columns(path, columns, list(found))
    wanted = [found[name] for name in (columns if columns is not None else found)]
    if any(column.obstacle for column in wanted):
        raise _unread(path, wanted, found)
    blocks: dict[tuple[str, str | None], Any] = {}
    arrays = {column.name: _array(column, blocks) for column in wanted}
    lengths = {len(values) for values in arrays.values()}
    if len(lengths) > 1:
        raise FormatError(f"{path} has columns of different lengths ({sorted(lengths)}); write it again as Parquet")
    return pa.table(arrays), attrs if isinstance(attrs, dict) else None


def _some(words: Sequence[str]) -> str:
    return ", ".join(words[:WORDS_SHOWN]) + (
        f" and {len(words) - WORDS_SHOWN} more" if len(words) > WORDS_SHOWN else ""
    )


def pandas_columns(file: Any, path: Path) -> tuple[str, ...]:
    """Return the names of the columns that `read_pandas` can read.

    Raises
    ------
    FormatError
        If there is no frame or more than one, none of its columns can be read, or the file was not written whole.
    """
    found = _all_columns(file, _main_key(file, path), path)
    readable = tuple(name for name, column in found.items() if not column.obstacle)
    if found and not readable:
        raise _unread(path, list(found.values()), found)
    return readable


def _unread(path: Path, wanted: Sequence[_Column], found: Mapping[str, _Column]) -> FormatError:
    listed = _some([f"{column.name} ({column.obstacle})" for column in wanted if column.obstacle])
    others = _some([name for name, column in found.items() if not column.obstacle])
    return FormatError(
        f"{path}: cannot be read without pandas: {listed}; write the table as Parquet with SCoPe"
        f" (scope.utils: read_hdf, write_parquet). Readable: {others or 'none'}"
    )


def _all_columns(file: Any, key: str, path: Path) -> dict[str, _Column]:
    """Return the columns of the frame `key` and, behind them, the series beside it."""
    found = {column.name: column for column in _columns(file[key], key, path)}
    for name, item in file.items():
        if name != key and KIND in item.attrs and _text(item.attrs[KIND]) == SERIES:
            found.setdefault(name, _series(item, name))
    return found


def _main_key(file: Any, path: Path) -> str:
    kinds = {name: _text(item.attrs[KIND]) for name, item in file.items() if KIND in item.attrs}
    frames = [name for name, kind in kinds.items() if kind in (FRAME, *TABLES)]
    if MAIN_KEY in kinds:
        return MAIN_KEY
    if len(frames or kinds) != 1:
        raise FormatError(
            f"{path} holds several tables of pandas ({', '.join(frames or kinds)}); write the one that is wanted as"
            f" Parquet, or under the key '{MAIN_KEY}'"
        )
    return str((frames or list(kinds))[0])


def _columns(group: Any, key: str, path: Path) -> list[_Column]:
    """Return the columns of a frame or series, in its order, a named index first."""
    kind = _text(group.attrs[KIND])
    try:
        if kind == SERIES:
            return [
                *_index(group, "index"),
                _series(group, _text(literal_or_text(group.attrs.get("name", key))) or key),
            ]
        if kind == FRAME:
            return [*_index(group, "axis1"), *_fixed(group)]
        if kind in TABLES:
            return list(_table(group))
    except KeyError as error:
        raise FormatError(f"{path}: the table '{key}' was not written whole ({error}); write it again") from error
    raise FormatError(f"{path}: '{key}' is a {kind} of pandas, not a table; write it as Parquet")


def _fixed(group: Any) -> list[_Column]:
    """Return the columns of a fixed frame in the order of ``axis0``."""
    found = {}
    n_rows = _n_rows(group["axis1"])
    for block in range(int(group.attrs.get("nblocks", 0))):
        values = group[f"block{block}_values"]
        for place, name in enumerate(_items(group[f"block{block}_items"])):
            found[name] = _Column(
                name, values, place=place, obstacle=_obstacle(values), dtype=_value_type(values), n_rows=n_rows
            )
    return [found[name] for name in _items(group["axis0"])] if found else []


def _table(group: Any) -> Iterator[_Column]:
    """Yield the columns of a table, in the order that the frame had."""
    dataset = group["table"]
    attrs = dataset.attrs
    info = literal(group.attrs.get("info"))
    index_name = (info.get("index") or {}).get("index_name") if isinstance(info, dict) else None
    found = {}
    for name in dataset.dtype.names:
        if name == "index":
            if isinstance(index_name, str):
                yield _Column(index_name, dataset, field=name)
            continue
        is_coded = _text(literal_or_text(attrs.get(f"{name}_meta", b""))) == "category"
        obstacle = "categories" if is_coded else _unknown_filter(dataset)
        dtype = _text(attrs.get(f"{name}_dtype", b""))
        in_block = dataset.dtype[name].shape != ()
        names = literal(attrs.get(f"{name}_kind"))
        for place, column in enumerate(names if isinstance(names, list) else [name]):
            at = place if in_block else None
            found[str(column)] = _Column(str(column), dataset, field=name, place=at, obstacle=obstacle, dtype=dtype)
    axes = literal(group.attrs.get("non_index_axes"))
    order = axes[0][1] if isinstance(axes, list) and axes else list(found)
    yield from (found[str(name)] for name in order)


def _series(group: Any, name: str) -> _Column:
    values = group["values"]
    return _Column(name, values, obstacle=_obstacle(values), dtype=_value_type(values), n_rows=_n_rows(group["index"]))


def _index(group: Any, axis: str) -> list[_Column]:
    """Return the index as a column, if it has a name and is of numbers."""
    values = group[axis]
    name = literal_or_text(values.attrs.get("name"))
    is_plain = not _obstacle(values) and values.dtype.kind in "iuf"
    return [_Column(str(name), values, dtype=_value_type(values), n_rows=_n_rows(values))] if name and is_plain else []


def _array(column: _Column, blocks: dict[tuple[str, str | None], Any]) -> pa.Array:
    """Return a column; `blocks` keeps what was read, since many columns lie in one block."""
    dataset = column.dataset
    block = (dataset.name, column.field)
    if block not in blocks:
        # One field of a compound, not the whole row.
        blocks[block] = dataset.fields(column.field)[()] if column.field is not None else dataset[()]
    values = blocks[block]
    if column.n_rows == 0:
        # An empty block is written as one of one value.
        values = np.empty(0, dtype=column.dtype or values.dtype)
    elif column.place is not None and values.ndim == 2:
        values = values[:, column.place] if column.field or _is_transposed(dataset) else values[column.place]
    if values.dtype.kind == "S":
        missing = values == NAN_TEXT
        return pa.array(np.char.decode(values, "utf-8"), pa.string(), mask=missing)
    if column.dtype == "bool" or _is_bits(dataset, column.field):
        values = values.astype(bool)
    elif column.dtype.startswith("datetime64"):
        values = values.view(column.dtype if "[" in column.dtype else "datetime64[ns]")
    return pa.array(values.astype(values.dtype.newbyteorder("="), copy=False))


def _is_transposed(dataset: Any) -> bool:
    return bool(dataset.attrs.get("transposed", 0))


def _is_bits(dataset: Any, field: str | None) -> bool:
    """Return whether the numbers are booleans, which PyTables writes as bits."""
    import h5py

    kind = dataset.id.get_type()
    if field is not None:
        kind = kind.get_member_type(kind.get_member_index(field.encode()))
        kind = kind.get_super() if kind.get_class() == h5py.h5t.ARRAY else kind
    return bool(kind.get_class() == h5py.h5t.BITFIELD)


def _obstacle(dataset: Any) -> str:
    is_object = dataset.dtype.kind == "O" or _text(dataset.attrs.get("PSEUDOATOM", b"")) == "object"
    return "pickled objects" if is_object else _unknown_filter(dataset)


def _unknown_filter(dataset: Any) -> str:
    """Return by what a dataset is compressed that HDF5 itself does not know, such as PyTables' blosc."""
    import h5py

    pipeline = dataset.id.get_create_plist()
    filters = [pipeline.get_filter(place) for place in range(pipeline.get_nfilters())]
    unknown = [one[3].decode("utf-8", "replace") or str(one[0]) for one in filters if not h5py.h5z.filter_avail(one[0])]
    return f"compressed by {unknown[0]}" if unknown else ""


def _value_type(dataset: Any) -> str:
    return _text(dataset.attrs.get("value_type", b""))


def _n_rows(dataset: Any) -> int:
    shape = literal(dataset.attrs.get("shape")) if "shape" in dataset.attrs else None
    return int(shape[0]) if isinstance(shape, tuple) and shape else int(dataset.shape[0])


def _items(dataset: Any) -> list[str]:
    """Return the names on an axis.

    Raises
    ------
    KeyError
        If they are not text.
    """
    if dataset.dtype.kind != "S":
        raise KeyError(f"{dataset.name} holds no names of columns")
    return [name.decode("utf-8") for name in dataset[()]][: _n_rows(dataset)]


def _text(raw: Any) -> str:
    if isinstance(raw, (bytes, np.bytes_)):
        return bytes(raw).decode("utf-8", "replace")
    return raw if isinstance(raw, str) else ""
