"""The layouts of light-curve files: which columns each needs, and how its rows become single-band light curves.

``scope``
    Ours: one row a light curve, i.e. an object in one band. Needs `id` and the lists `hjd` [d], `mag`, `magerr`
    [mag]; may have the lists `catflags`, `programid` and the scalars `source_id`, `band`, `ra`, `dec` [deg], `field`, `ccd`, `quad`,
    `filter`.
``irsa``
    The bulk files of IRSA: time is `hmjd` + 2400000.5, computed in float64 whatever the file holds; ccd and quadrant
    follow from `rcid`.
``dataset``
    One row a star, all bands interleaved, with a list `band`; split here into one light curve per (id, band).

A new layout is a new entry of `LAYOUTS`. May import core and errors only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from scope_ml.core.identifiers import exact_ids, one_chunk
from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.core.lightcurve_arrow import is_list, list_lengths
from scope_ml.core.lightcurve_checks import check_lengths
from scope_ml.errors import DataError, MissingColumnError, SchemaError

__all__ = ["LAYOUTS", "ROW_SCHEMA", "Chunk", "Layout", "detect_layout"]

#: What messages call a table of light curves.
WHERE = "light-curve table"

#: HJD of hmjd = 0.
MJD_ZERO = 2400000.5

#: ZTF's filter codes.
ZTF_FILTERS = {1: "g", 2: "r", 3: "i"}

#: ZTF's readout channels: 16 ccds of 4 quadrants.
N_CHANNELS = 64

#: Names of the columns that a selection looks at, where they are called as in `Chunk.rows`.
SAME_NAMES = {name: name for name in ("id", "ra", "dec", "field")}

#: Columns of `Chunk.rows` after `id` and `source_id`, whose type is the file's.
ROW_SCHEMA = pa.schema(
    [
        ("band", pa.string()),
        ("ra", pa.float64()),
        ("dec", pa.float64()),
        ("field", pa.int32()),
        ("ccd", pa.int32()),
        ("quad", pa.int32()),
        ("filter", pa.int32()),
    ]
)


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Single-band light curves and one row of facts about each, in the same order.

    Attributes
    ----------
    batch
        The light curves.
    rows
        `id` and `source_id` (int64 or string; the star, `id` where the file does not say), `band` (string or null),
        `ra`, `dec` [deg], `field`, `ccd`, `quad`, `filter` (null where unknown).
    """

    batch: LightCurveBatch
    rows: pa.Table


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One way in which light curves lie in a Parquet file.

    Attributes
    ----------
    lists, scalars
        Columns that must be there, with one list or one value a row.
    optional
        Columns that are read if they are there.
    to_chunk
        Makes a chunk of a piece of the file.
    keys
        Which column says `id`, `ra`, `dec` and `field`, by these names.
    quadrant_values
        Makes of a ccd and a quadrant, each None for any, the values that say them, by column.
    """

    name: str
    lists: tuple[str, ...]
    scalars: tuple[str, ...]
    optional: tuple[str, ...]
    to_chunk: Callable[[pa.Table], Chunk]
    keys: Mapping[str, str]
    quadrant_values: Callable[[int | None, int | None], dict[str, tuple[int, ...]]]

    def missing(self, schema: pa.Schema) -> list[str]:
        """Return the required columns that `schema` lacks."""
        return [name for name in (*self.scalars, *self.lists) if name not in schema.names]

    def columns(self, schema: pa.Schema) -> list[str]:
        """Return the columns to read from a file of `schema`."""
        return [name for name in (*self.scalars, *self.lists, *self.optional) if name in schema.names]

    def check(self, schema: pa.Schema, where: str) -> None:
        """Check that a file of `schema` is of this layout.

        Raises
        ------
        MissingColumnError
            If it lacks columns.
        SchemaError
            If a list column is not one, or a scalar column is.
        """
        missing = self.missing(schema)
        if missing:
            raise MissingColumnError(f"{where} (light-curve layout '{self.name}')", missing, schema.names)
        for name in self.lists:
            if not is_list(schema.field(name).type):
                raise SchemaError(
                    f"{where}: column '{name}' is {schema.field(name).type}, not a list; layout '{self.name}' has one"
                    " row a light curve with lists of its epochs"
                )
        for name in self.columns(schema):
            if (
                name in (*self.scalars, *ROW_SCHEMA.names)
                and name not in self.lists
                and is_list(schema.field(name).type)
            ):
                raise SchemaError(f"{where}: column '{name}' is {schema.field(name).type}, not one value a light curve")


def detect_layout(schema: pa.Schema, where: str) -> Layout:
    """Return the layout whose columns a file of `schema` has.

    Raises
    ------
    MissingColumnError
        If no layout fits; the message says what each needs.
    """
    if "hmjd" in schema.names and "hjd" not in schema.names:
        closest = LAYOUTS["irsa"]
    else:
        per_epoch_band = "band" in schema.names and is_list(schema.field("band").type)
        closest = LAYOUTS["dataset" if per_epoch_band else "scope"]
    missing = closest.missing(schema)
    if missing:
        needs = " | ".join(f"{name}: {', '.join((*one.scalars, *one.lists))}" for name, one in LAYOUTS.items())
        raise MissingColumnError(
            f"{where} fits no light-curve layout ({needs}); as '{closest.name}' it", missing, schema.names
        )
    return closest


def _scope_chunk(table: pa.Table) -> Chunk:
    rows = _rows(table)
    if "band" not in table.column_names and "filter" in table.column_names:
        rows = rows.set_column(rows.schema.get_field_index("band"), "band", _ztf_band(rows["filter"]))
    return Chunk(batch=LightCurveBatch.from_arrow(table), rows=rows)


def _irsa_chunk(table: pa.Table) -> Chunk:
    rcid = table["rcid"].cast(pa.int32())
    filters = table["filterid"].cast(pa.int32())
    facts = pa.table(
        {
            "id": table["objectid"],
            "band": _ztf_band(filters),
            "ra": table["objra"],
            "dec": table["objdec"],
            "field": table["fieldid"],
            "ccd": pc.add(pc.divide(rcid, 4), 1),
            "quad": pc.add(pc.bit_wise_and(rcid, 3), 1),
            "filter": filters,
        }
    )
    hmjd = one_chunk(table["hmjd"])
    days = np.asarray(hmjd.flatten().to_numpy(zero_copy_only=False), dtype=np.float64) + MJD_ZERO
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(list_lengths(hmjd))])
    lists = {name: table[name] for name in ("mag", "magerr", "catflags")}
    hjd = pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(days))
    batch = LightCurveBatch.from_arrow(pa.table({"id": table["objectid"], "hjd": hjd, **lists}))
    return Chunk(batch=batch, rows=_rows(facts))


def _dataset_chunk(table: pa.Table) -> Chunk:
    """Split rows of interleaved bands into one light curve per (row, band), bands in alphabetical order.

    A row without epochs stays, as one empty light curve of unknown band, so that it is counted somewhere.
    """
    mixed = LightCurveBatch.from_arrow(table)
    per_point = one_chunk(table["band"])
    check_lengths(mixed.id, mixed.n_obs, list_lengths(per_point), "hjd", "band")
    names, codes = _alphabetical(per_point.flatten())
    row = np.repeat(np.arange(len(mixed)), mixed.n_obs)
    empty = np.flatnonzero(mixed.n_obs == 0)
    key = row * len(names) + codes
    points: dict[str, npt.NDArray[Any]] = {"time": mixed.time, "mag": mixed.mag, "mag_err": mixed.mag_err}
    for name in ("flags", "programid"):
        if getattr(mixed, name) is not None:
            points[name] = getattr(mixed, name)
    if np.any(key[1:] < key[:-1]):
        order = np.argsort(key, kind="stable")
        key = key[order]
        points = {name: values[order] for name, values in points.items()}
    first = np.flatnonzero(np.concatenate([np.ones(min(1, len(key)), bool), key[1:] != key[:-1]]))
    # Empty rows are slipped in where their row number belongs; they take no points.
    at = np.searchsorted(key[first] // len(names), empty)
    starts = np.insert(first, at, np.append(first, len(key))[at])
    rows = np.insert(key[first] // len(names), at, empty)
    bands = np.insert(key[first] % len(names), at, len(names) - 1)
    batch = LightCurveBatch(id=mixed.id[rows], offsets=np.append(starts, len(key)).astype(np.int64), **points)
    facts = table.drop_columns(["hjd", "mag", "magerr", "band"]).take(pa.array(rows))
    band = pa.array(np.array([*names[:-1], None], dtype=object)[bands], pa.string())
    return Chunk(batch=batch, rows=_rows(facts.append_column("band", band)))


def _alphabetical(bands: pa.Array) -> tuple[list[str | None], npt.NDArray[np.int64]]:
    """Return the band names in alphabetical order with None at the end, and each point's index into them."""
    encoded = bands if pa.types.is_dictionary(bands.type) else bands.dictionary_encode()
    found = encoded.dictionary.cast(pa.string()).to_pylist()
    names = sorted(set(found))
    rank = np.array([names.index(name) for name in found] + [len(names)], dtype=np.int64)
    return [*names, None], rank[np.asarray(encoded.indices.fill_null(len(found)).to_numpy(), dtype=np.int64)]


def _rows(facts: pa.Table) -> pa.Table:
    """Return `id`, `source_id` and the columns of `ROW_SCHEMA`; what `facts` lacks is null."""
    ids = exact_ids(facts["id"], "id", where=WHERE)
    source = exact_ids(facts["source_id"], "source_id", where=WHERE) if "source_id" in facts.column_names else ids
    columns = {"id": ids, "source_id": source}
    for field in ROW_SCHEMA:
        if field.name not in facts.column_names:
            columns[field.name] = pa.nulls(len(ids), field.type)
            continue
        try:
            columns[field.name] = facts[field.name].cast(field.type)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise DataError(f"column '{field.name}' cannot be read as {field.type} ({error})") from error
    return pa.table(columns)


def _ccd_and_quad(ccd: int | None, quad: int | None) -> dict[str, tuple[int, ...]]:
    return {name: (value,) for name, value in (("ccd", ccd), ("quad", quad)) if value is not None}


def _rcid(ccd: int | None, quad: int | None) -> dict[str, tuple[int, ...]]:
    """Return the readout channels (0 to 63) of a ccd, of a quadrant of each ccd, or of both."""
    if ccd is None and quad is None:
        return {}
    channels = range(N_CHANNELS)
    return {"rcid": tuple(one for one in channels if ccd in (None, one // 4 + 1) and quad in (None, one % 4 + 1))}


def _ztf_band(filters: pa.ChunkedArray) -> pa.ChunkedArray:
    codes = pa.array(list(ZTF_FILTERS), pa.int32())
    return pc.take(pa.array(list(ZTF_FILTERS.values())), pc.index_in(filters, value_set=codes))


def _layouts(*layouts: Layout) -> dict[str, Layout]:
    return {layout.name: layout for layout in layouts}


def _all(*parts: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for part in parts for name in part)


#: Every layout by name; the order is that of messages.
LAYOUTS = _layouts(
    Layout(
        name="scope",
        scalars=("id",),
        lists=("hjd", "mag", "magerr"),
        optional=_all(("source_id", "catflags", "programid"), ROW_SCHEMA.names),
        to_chunk=_scope_chunk,
        keys=SAME_NAMES,
        quadrant_values=_ccd_and_quad,
    ),
    Layout(
        name="irsa",
        scalars=("objectid", "filterid", "fieldid", "rcid", "objra", "objdec"),
        lists=("hmjd", "mag", "magerr", "catflags"),
        optional=(),
        to_chunk=_irsa_chunk,
        keys={"id": "objectid", "ra": "objra", "dec": "objdec", "field": "fieldid"},
        quadrant_values=_rcid,
    ),
    Layout(
        name="dataset",
        scalars=("id",),
        lists=("hjd", "mag", "magerr", "band"),
        optional=("catflags", "programid", "source_id", "ra", "dec", "field", "ccd", "quad", "filter"),
        to_chunk=_dataset_chunk,
        keys=SAME_NAMES,
        quadrant_values=_ccd_and_quad,
    ),
)
