"""Replies of IRSA's light-curve service, one row an epoch, as light curves. May import io, core and errors only.

CSV says nowhere that it ends; a reply that was cut between two rows is whole to the eye. A VOTable ends with its
closing tag, so that a cut is always seen.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.core.sphere import on_sky, unit_vectors
from scope_ml.errors import ReplyError
from scope_ml.io.layouts import ROW_SCHEMA, Chunk
from scope_ml.services.irsa.votable import read_votable

__all__ = ["BANDS", "COLUMNS", "FILTERS", "html_title", "light_curves", "no_light_curves"]

#: What is read of a reply, with its type; the service's other columns are left.
COLUMNS: dict[str, pa.DataType] = {
    "oid": pa.int64(),
    "hjd": pa.float64(),
    "mag": pa.float64(),
    "magerr": pa.float64(),
    "catflags": pa.int32(),
    "filtercode": pa.string(),
    "ra": pa.float64(),
    "dec": pa.float64(),
    "field": pa.int32(),
    "ccdid": pa.int32(),
    "qid": pa.int32(),
    "programid": pa.int32(),
}

#: Columns that a reply may lack.
OPTIONAL = ("field", "ccdid", "qid", "programid")

#: Columns that say which light curve an epoch belongs to; a row without them is half a row.
NEEDED = ("oid", "hjd", "filtercode", "ra", "dec", "catflags")

#: ZTF's filters: the service's code, our band, ZTF's number.
FILTERS = {"zg": ("g", 1), "zr": ("r", 2), "zi": ("i", 3)}

BANDS = tuple(band for band, _ in FILTERS.values())

#: Text that begins a page for people.
PAGE = re.compile(rb"\s*(<!--.*?-->\s*)*<(!doctype\s+html|html|head|body)\b", re.IGNORECASE | re.DOTALL)
TITLE = re.compile(rb"<(title|h1)[^>]*>(.*?)</\1>", re.IGNORECASE | re.DOTALL)

#: Longest piece of a service's words that an error repeats [bytes].
SHOWN = 120


def html_title(body: bytes) -> str | None:
    """Return what a web page calls itself, or None if `body` is none: proxies and failing services send them for data."""
    if not PAGE.match(body[:2000]):
        return None
    found = TITLE.search(body[:20_000])
    text = found[2][:SHOWN].decode("utf-8", "replace") if found else ""
    return " ".join(text.split()) or "untitled"


def light_curves(body: bytes, form: str) -> Chunk:
    """Return the light curves of a reply, in the order of their ids, epochs in the order of time.

    Parameters
    ----------
    body
        The whole reply.
    form
        ``csv`` or ``votable``.

    Returns
    -------
    Chunk
        One light curve an `oid`: `id` int64, time full HJD [d, float64], `mag` and `mag_err` [mag, float64], `flags`,
        `programid`; its position [deg] is the median of its epochs'.

    Raises
    ------
    ReplyError
        If the reply is not such a table, or was cut.
    QueryRefusedError
        If it says that something went wrong.
    """
    # Where something went wrong, the service may answer in XML whatever was asked.
    is_xml = form == "votable" or body.lstrip()[:1] == b"<"
    table = read_votable(body, COLUMNS) if is_xml else _read_csv(body)
    lacking = [name for name in COLUMNS if name not in table.column_names and name not in OPTIONAL]
    if lacking:
        raise ReplyError(f"the reply lacks {', '.join(lacking)}; it begins with {_shown(body)}")
    for name in NEEDED:
        if table[name].null_count:
            row = pc.index(pc.is_null(table[name]), True).as_py()
            raise ReplyError(
                f"row {row + 1} of {table.num_rows} of the reply has no {name}: the reply was cut or is broken"
            )
    return _grouped(table)


def no_light_curves() -> Chunk:
    """Return a chunk without light curves, with the columns of the others."""
    return _grouped(pa.table({name: pa.array([], dtype) for name, dtype in COLUMNS.items()}))


def _read_csv(body: bytes) -> pa.Table:
    import pyarrow.csv

    if not body.strip():
        raise ReplyError("the reply is empty, without even a header")
    header = [name.strip().lower() for name in body.split(b"\n", 1)[0].decode("utf-8", "replace").split(",")]
    if "oid" not in header:
        raise ReplyError(f"the reply is no table of epochs; it begins with {_shown(body)}")
    wanted = [name for name in COLUMNS if name in header]
    try:
        return pyarrow.csv.read_csv(
            pa.py_buffer(body),
            read_options=pyarrow.csv.ReadOptions(column_names=header, skip_rows=1, use_threads=False),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=COLUMNS,
                include_columns=wanted,
                null_values=["", "null", "NaN", "nan"],
                strings_can_be_null=True,
            ),
        )
    except pa.ArrowInvalid as error:
        if body.count(b"\n") <= 1 and not body.partition(b"\n")[2].strip():
            return pa.table({name: pa.array([], COLUMNS[name]) for name in wanted})
        raise ReplyError(
            f"the reply cannot be read as CSV, or was cut ({' '.join(str(error).split())[:SHOWN]})"
        ) from error


def _shown(body: bytes) -> str:
    return repr(" ".join(body[:SHOWN].decode("utf-8", "replace").split()))


def _grouped(table: pa.Table) -> Chunk:
    columns = {name: table[name].combine_chunks() for name in table.column_names}
    oid = columns["oid"].to_numpy()
    time = columns["hjd"].to_numpy()
    order = np.lexsort((time, oid))
    oid = oid[order]
    first = np.flatnonzero(np.concatenate([np.ones(min(1, len(oid)), bool), oid[1:] != oid[:-1]]))
    offsets = np.append(first, len(oid)).astype(np.int64)
    points: dict[str, Any] = {
        "time": time[order],
        "mag": _floats(columns["mag"])[order],
        "mag_err": _floats(columns["magerr"])[order],
        "flags": columns["catflags"].to_numpy()[order],
    }
    if "programid" in columns:
        # A programme that is not said has all bits set: it is never one of the allowed ones.
        points["programid"] = columns["programid"].fill_null(-1).to_numpy()[order]
    batch = LightCurveBatch(id=oid[first], offsets=offsets, **points)
    return Chunk(batch=batch, rows=_facts(columns, order, offsets))


def _facts(columns: dict[str, pa.Array], order: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64]) -> pa.Table:
    """Return one row of facts a light curve; `order` sorts the epochs by light curve."""
    first = order[offsets[:-1]]
    ids = columns["oid"].take(pa.array(first))
    _same_in_each(columns["filtercode"], order, offsets, ids)
    codes = columns["filtercode"].take(pa.array(first)).to_pylist()
    unknown = sorted({code for code in codes if code not in FILTERS})
    if unknown:
        raise ReplyError(f"the reply has filter {unknown[0]!r}, which is none of {', '.join(FILTERS)}")
    if not on_sky(columns["ra"].to_numpy(), columns["dec"].to_numpy()).all():
        raise ReplyError("the reply has positions that are not on the sky")
    ra, dec = _median_position(columns["ra"].to_numpy()[order], columns["dec"].to_numpy()[order], offsets)
    values = {
        "band": pa.array([FILTERS[code][0] for code in codes], pa.string()),
        "ra": pa.array(ra),
        "dec": pa.array(dec),
        "filter": pa.array([FILTERS[code][1] for code in codes], pa.int32()),
    }
    for name, theirs in (("field", "field"), ("ccd", "ccdid"), ("quad", "qid")):
        given = columns.get(theirs)
        values[name] = pa.nulls(len(ids), pa.int32()) if given is None else given.take(pa.array(first))
    rows = {"id": ids, "source_id": ids} | {field.name: values[field.name].cast(field.type) for field in ROW_SCHEMA}
    return pa.table(rows)


def _same_in_each(
    column: pa.Array, order: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64], ids: pa.Array
) -> None:
    codes = np.asarray(column.dictionary_encode().indices)[order]
    mixed = np.flatnonzero(codes != np.repeat(codes[offsets[:-1]], np.diff(offsets)))
    if len(mixed):
        at = int(np.searchsorted(offsets, mixed[0], side="right")) - 1
        raise ReplyError(f"light curve {ids[at].as_py()} of the reply is in two filters; it cannot be of one object")


def _median_position(
    ra: npt.NDArray[np.float64], dec: npt.NDArray[np.float64], offsets: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the median direction of each run of epochs [deg]: of vectors, since right ascensions wrap at 360."""
    vectors = unit_vectors(ra, dec)
    medians = [np.median(vectors[start:stop], axis=0) for start, stop in pairwise(offsets)]
    x, y, z = np.array(medians).reshape(-1, 3).T
    return np.degrees(np.arctan2(y, x)) % 360.0, np.degrees(np.arctan2(z, np.hypot(x, y)))


def _floats(column: pa.Array) -> npt.NDArray[np.float64]:
    return np.asarray(column.fill_null(float("nan")).to_numpy())
