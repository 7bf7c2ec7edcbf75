"""Which columns of a HATS catalogue are a light curve, and a piece of the catalogue as a table of our layouts.

Survey names are found whatever their case, by `NAMES`; anything else is told by `HatsOptions.columns`. Knows Arrow, not lsdb.
May import core, `io.layouts` and errors only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from scope_ml.core.configuration import option
from scope_ml.core.identifiers import one_chunk
from scope_ml.core.lightcurve_arrow import is_list, list_lengths
from scope_ml.errors import ConfigError, MissingColumnError, SchemaError, suggest
from scope_ml.io.layouts import LAYOUTS, MJD_ZERO, ZTF_FILTERS, Layout

__all__ = ["Cone", "HatsColumns", "HatsOptions", "find_columns"]

#: Our names of what may stand in the nested column, one value an epoch, with the survey names that are known.
POINT_NAMES: Mapping[str, tuple[str, ...]] = {
    "hjd": ("hjd",),
    "hmjd": ("hmjd",),
    "mag": ("mag",),
    "magerr": ("magerr", "mag_err"),
    "catflags": ("catflags",),
    "programid": ("programid",),
    "band": ("band", "filter", "filterid", "fid"),
}

#: Our names of what stands once a row; `band` may stand here too, as text.
ROW_NAMES: Mapping[str, tuple[str, ...]] = {
    "id": ("id", "objectid", "object_id", "objid", "oid", "sourceid", "source_id"),
    "source_id": ("source_id",),
    "band": ("band", "filter"),
    "ra": ("ra", "objra"),
    "dec": ("dec", "objdec"),
    "field": ("field", "fieldid"),
    "ccd": ("ccd",),
    "quad": ("quad",),
    "filter": ("filter", "filterid", "fid"),
    "rcid": ("rcid",),
}

#: Columns of `ROW_NAMES` that hold whole numbers; a `filter` of text is a band.
WHOLE = ("field", "ccd", "quad", "filter", "rcid")

#: Types of columns by name.
Types = dict[str, pa.DataType]


@dataclass(frozen=True, kw_only=True)
class Cone:
    """A circle on the sky."""

    ra: float = option(unit="deg", doc="right ascension of the centre", at_least=-180, at_most=360)
    dec: float = option(unit="deg", doc="declination of the centre", at_least=-90, at_most=90)
    radius_arcsec: float = option(unit="arcsec", doc="radius", more_than=0, at_most=648000)


@dataclass(frozen=True, kw_only=True)
class HatsOptions:
    """What is read of a HATS catalogue, and under which names it stands there.

    Attributes
    ----------
    cone
        Take only what lies in it.
    nested
        The nested column with the epochs; by default the one that holds times and magnitudes.
    columns
        Our name of a column -> the catalogue's, for names that are not known. Ours are `id`, `source_id`, `ra`, `dec`, `field`, `ccd`,
        `quad`, `filter`, `rcid`, and of the epochs `hjd` or `hmjd`, `mag`, `magerr`, `catflags`, `programid`,
        `band`.
    read_ahead
        Partitions that an active Dask cluster reads while the last one is measured; without a cluster there is one at a time.
    """

    cone: Cone | None = option(None, doc="take only a circle on the sky (kind hats)")
    nested: str | None = option(
        None, doc="nested column with the epochs (kind hats); null finds it by its fields", machine=True
    )
    columns: dict[str, str] | None = option(
        None,
        doc="names of columns (kind hats) where they are not found, such as {hmjd: mjd}: ours, then theirs",
        machine=True,
    )
    read_ahead: int = option(
        2, unit="partitions", doc="what a Dask cluster reads ahead (kind hats)", at_least=0, machine=True
    )


@dataclass(frozen=True, kw_only=True)
class HatsColumns:
    """Where the light curves of a catalogue stand.

    Attributes
    ----------
    nested
        The nested column, or None where the lists are columns of their own.
    whole
        Whether the nested column can only be read as a whole.
    points, rows
        Our names -> the catalogue's, of what there is for each epoch and for each row.
    """

    nested: str | None
    whole: bool
    points: Mapping[str, str]
    rows: Mapping[str, str]

    @property
    def layout(self) -> Layout:
        """The layout that `table` gives: ``dataset`` with a band an epoch, else ``scope``."""
        return LAYOUTS["dataset" if "band" in self.points else "scope"]

    @property
    def wanted(self) -> list[str]:
        """The columns to read, as lsdb names them."""
        fields = list(dict.fromkeys(self.points.values()))
        if self.nested is not None:
            fields = [self.nested] if self.whole else [f"{self.nested}.{field}" for field in fields]
        return list(dict.fromkeys([*self.rows.values(), *fields]))

    def table(self, rows: Mapping[str, Any], points: Mapping[str, Any]) -> pa.Table:
        """Return a table of `layout`.

        Parameters
        ----------
        rows, points
            Arrow arrays by the catalogue's names: one value, and one list, a row.
        """
        columns = {ours: rows[theirs] for ours, theirs in self.rows.items() if ours != "rcid"}
        if "rcid" in self.rows and "ccd" not in columns:
            # ZTF: readout channels 0..63 are CCDs 1..16 with four quadrants each.
            rcid = rows[self.rows["rcid"]].cast(pa.int32())
            columns["ccd"], columns["quad"] = pc.add(pc.divide(rcid, 4), 1), pc.add(pc.bit_wise_and(rcid, 3), 1)
        for ours, theirs in self.points.items():
            values = one_chunk(points[theirs])
            if ours == "hmjd":
                columns["hjd"] = _of_epochs(values, _hjd)
            elif ours == "band" and pa.types.is_integer(values.type.value_type):
                columns["band"] = _of_epochs(values, _ztf_bands)
            else:
                columns[ours] = values
        return pa.table(columns)


def find_columns(
    schema: pa.Schema, options: HatsOptions, where: str, *, position: tuple[str | None, str | None] = (None, None)
) -> HatsColumns:
    """Find the light curves of a catalogue.

    Parameters
    ----------
    schema
        Of the catalogue: a nested column is a struct of lists (or a list of structs).
    options
        Names given by the user.
    where
        What messages call the catalogue.
    position
        Names of right ascension and declination in the catalogue's properties.

    Raises
    ------
    ConfigError
        If a key of `options.columns` is not a name of ours.
    MissingColumnError
        If id, times, magnitudes or errors are not there, or a named column is not.
    SchemaError
        If several nested columns could be meant, or `options.nested` is not nested.
    """
    known = dict.fromkeys([*ROW_NAMES, *POINT_NAMES])
    given = options.columns or {}
    for ours in given:
        if ours not in known:
            raise ConfigError(
                f"source.hats.columns: '{ours}' is not a column of ours; known are {', '.join(known)}{suggest(ours, known)}",
                key="source.hats.columns",
                choices=known,
            )
    nested = _nested_column(schema, options.nested, given, where)
    fields = _inner(schema.field(nested).type) if nested is not None else _lists(schema)
    scalars: Types = {field.name: field.type for field in schema if not is_list(field.type) and not _inner(field.type)}
    for name in given.values():
        if name not in {**scalars, **fields}:
            raise MissingColumnError(f"{where} (source.hats.columns)", [name], [*scalars, *fields])
    points = _points(fields, given, where if nested is None else f"{where}: nested column '{nested}'")
    at = dict(zip(("ra", "dec"), position, strict=True))
    rows: dict[str, str] = {}
    for ours, names in ROW_NAMES.items():
        theirs = given.get(ours) or at.get(ours)
        fitting = {column: dtype for column, dtype in scalars.items() if _fits(ours, dtype)}
        found = theirs if theirs in scalars else _find(fitting, names)
        if found is not None:
            rows[ours] = found
    if "id" not in rows:
        raise MissingColumnError(
            f"{where} (no id is known; name it with source.hats.columns={{id: ...}})", ["id"], [*scalars]
        )
    if "band" in points:
        rows.pop("band", None)
    if rows.get("source_id") == rows["id"]:
        rows.pop("source_id")
    whole = nested is not None and is_list(schema.field(nested).type)
    return HatsColumns(nested=nested, whole=whole, points=points, rows=rows)


def _points(fields: Types, given: Mapping[str, str], where: str) -> dict[str, str]:
    """Return where the epochs stand, by our names; there is one time."""
    points = {}
    for ours, names in POINT_NAMES.items():
        theirs = given.get(ours)
        found = theirs if theirs in fields else _find(fields, names)
        if found is not None:
            points[ours] = found
    if "hjd" in points and "hmjd" in points:
        # A name that was given counts more; else full HJD, which needs no sum.
        points.pop("hjd" if "hmjd" in given else "hmjd")
    missing = [name for name in ("mag", "magerr") if name not in points]
    if not {"hjd", "hmjd"} & set(points):
        missing.insert(0, "hjd or hmjd")
    if missing:
        hint = "name them with source.hats.columns, such as {hmjd: mjd} for times that are not heliocentric but good enough"
        raise MissingColumnError(f"{where} ({hint})", missing, [*fields])
    return points


def _nested_column(schema: pa.Schema, wanted: str | None, given: Mapping[str, str], where: str) -> str | None:
    """Return the name of the nested column, or None where the epochs are lists of their own."""
    nested = {field.name: [*_inner(field.type)] for field in schema if _inner(field.type)}
    listed = "; ".join(f"{name} ({', '.join(fields)})" for name, fields in nested.items()) or "none"
    if wanted is not None:
        if wanted not in nested:
            raise SchemaError(f"{where} has no nested column '{wanted}'; nested are: {listed}")
        return wanted
    times = {given.get(name, name).lower() for name in ("hjd", "hmjd")}
    lists = _lists(schema)
    if times & {name.lower() for name in lists}:
        return None
    with_time = [name for name, fields in nested.items() if times & {field.lower() for field in fields}]
    # One nested column without a time that is known: the message about what it lacks is the more helpful one.
    candidates = with_time or (list(nested) if len(nested) == 1 else [])
    if len(candidates) > 1:
        raise SchemaError(
            f"{where}: several nested columns hold light curves; choose with source.hats.nested: {listed}"
        )
    if candidates:
        return str(candidates[0])
    if nested or not lists:
        columns = ", ".join(schema.names)
        raise SchemaError(
            f"{where} holds no light curves: no nested column or list has a time called hjd or hmjd; nested are: {listed};"
            f" columns are: {columns}; name what there is with source.hats.nested and source.hats.columns={{hmjd: ...}}"
        )
    return None


def _inner(dtype: pa.DataType) -> Types:
    """Return the fields of a nested column with the type of their lists, none for any other column."""
    if pa.types.is_struct(dtype):
        fields = [dtype.field(index) for index in range(dtype.num_fields)]
        return {field.name: field.type for field in fields} if all(is_list(field.type) for field in fields) else {}
    if is_list(dtype) and pa.types.is_struct(dtype.value_type):
        fields = [dtype.value_type.field(index) for index in range(dtype.value_type.num_fields)]
        return {field.name: pa.list_(field.type) for field in fields}
    return {}


def _lists(schema: pa.Schema) -> Types:
    return {field.name: field.type for field in schema if is_list(field.type) and not _inner(field.type)}


def _find(columns: Iterable[str], names: tuple[str, ...]) -> str | None:
    """Return the first column called one of `names`, whatever its case."""
    lower = {column.lower(): column for column in columns}
    return next((lower[name] for name in names if name in lower), None)


def _fits(ours: str, dtype: pa.DataType) -> bool:
    """Return whether a column of `dtype` may be the one that we call `ours`."""
    if ours in WHOLE:
        return bool(pa.types.is_integer(dtype))
    if ours == "band":
        inner = dtype.value_type if pa.types.is_dictionary(dtype) else dtype
        return bool(pa.types.is_string(inner) or pa.types.is_large_string(inner))
    return True


def _of_epochs(lists: pa.Array, change: Callable[[pa.Array], pa.Array]) -> pa.Array:
    """Return lists of the same lengths with all values changed; a null list is an empty one."""
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(list_lengths(lists), dtype=np.int64)])
    return pa.LargeListArray.from_arrays(pa.array(offsets), change(lists.flatten()))


def _hjd(hmjd: pa.Array) -> pa.Array:
    """Return full HJD, added in float64 whatever the catalogue holds."""
    return pa.array(np.asarray(hmjd.to_numpy(zero_copy_only=False), dtype=np.float64) + MJD_ZERO)


def _ztf_bands(codes: pa.Array) -> pa.Array:
    return pc.take(
        pa.array(list(ZTF_FILTERS.values())), pc.index_in(codes.cast(pa.int32()), pa.array(ZTF_FILTERS, pa.int32()))
    )
