"""What Kowalski's replies mean: documents, light curves, tables; relaxed extended JSON of MongoDB.

Finite numbers, whole numbers of 64 bits and texts are plain JSON, which orjson reads exactly; the rest comes wrapped, as
``{"$numberDouble": "NaN"}``. May import io, core and errors; orjson is imported inside functions.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scope_ml.errors import DataError, ReplyError
from scope_ml.io.layouts import LAYOUTS, ROW_SCHEMA, Chunk

__all__ = ["POINT_FIELDS", "Curves", "data_of", "light_curves", "plain", "sky_position", "table"]

#: What a point of a light curve has that is read, in this order; ask for ``data.<name>`` of each.
POINT_FIELDS = ("hjd", "mag", "magerr", "catflags", "programid")

#: Those that are fractions; the others are whole numbers.
FLOATS = frozenset(POINT_FIELDS[:3])

#: What stands for a whole number that a point does not have.
NO_NUMBER = -1

#: How a wrapped value begins in a body.
WRAPPED = b'"$'

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Curves:
    """The light curves of one reply.

    Attributes
    ----------
    chunk
        Light curves in the order of the reply, an empty one for a document without points; time and magnitudes float64, `flags`
        and `programid` int64.
    points_trimmed
        Points that were left out since their programme is not allowed, shape (n,), int64.
    """

    chunk: Chunk
    points_trimmed: npt.NDArray[np.int64]


def data_of(body: bytes) -> Any:
    """Return what a reply holds under ``data``: plain numbers, texts, lists and dicts; None where there is nothing.

    Raises
    ------
    ReplyError
        If the body is cut off, is not JSON, or says that the query failed.
    """
    content = _loads(body)
    if not isinstance(content, dict) or "status" not in content:
        raise ReplyError(f"a reply of Kowalski ({len(body)} bytes) is not of its form; maybe something else answered")
    if content["status"] != "success":
        raise ReplyError(f"Kowalski could not answer: {str(content.get('message', 'no reason'))[:200]}")
    data = content.get("data")
    return plain(data) if WRAPPED in body else data


def _loads(body: bytes) -> Any:
    import orjson

    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        # Some encoders write NaN bare, which is not JSON; the standard library reads it.
        try:
            return json.loads(body)
        except (ValueError, RecursionError) as error:
            raise ReplyError(
                f"a reply of Kowalski ({len(body)} bytes) is cut off or not JSON ({str(error)[:80]})"
            ) from None


def plain(value: Any) -> Any:
    """Return a value without the wraps of extended JSON, at every depth.

    ``$oid`` becomes text, ``$date`` a datetime (UTC), ``$binary`` bytes, ``$numberDecimal`` text; wraps that mean nothing
    in Python (regular expressions, timestamps) stay as they are.

    Raises
    ------
    ReplyError
        If a wrapped value cannot be read.
    """
    if isinstance(value, list):
        return [plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((name, inner),) = value.items()
        unwrap = _WRAPS.get(name)
        if unwrap is not None:
            try:
                return unwrap(inner)
            except (TypeError, ValueError, KeyError, AttributeError, OverflowError):
                raise ReplyError(f"a reply of Kowalski has a {name} that cannot be read: {inner!r:.50}") from None
    return {name: plain(inner) for name, inner in value.items()}


def _date(value: Any) -> datetime:
    if isinstance(value, str):
        return datetime.fromisoformat(value).astimezone(UTC)
    return EPOCH + timedelta(milliseconds=int(plain(value)))


def _bytes(value: Any) -> bytes:
    return base64.b64decode(value["base64"], validate=True)


#: How each wrap is taken off.
_WRAPS: Mapping[str, Callable[[Any], Any]] = {
    "$numberDouble": float,
    "$numberLong": int,
    "$numberInt": int,
    "$numberDecimal": str,
    "$oid": str,
    "$date": _date,
    "$binary": _bytes,
    "$uuid": str,
}


def light_curves(body: bytes, *, programids: Sequence[int]) -> Curves:
    """Return the light curves of a reply to a ``find`` in a catalogue of light curves.

    Points of programmes that are not allowed are left out and counted. A light curve none of whose points says its programme
    (public catalogues do not) is kept whole, its `programid` -1; so is one without any `catflags`, its flags 0. A flag that
    only some points lack is -1, never clean; a point that alone lacks its programme is left out. A time, magnitude or error
    that a point lacks is NaN.

    Parameters
    ----------
    body
        The reply.
    programids
        Programmes whose points are taken.

    Raises
    ------
    ReplyError
        If the reply is cut off, says that the query failed, or does not hold documents with an ``_id``.
    """
    documents = _documents(_loads_data(body))
    curves, points = [document.get("data") or [] for document in documents], list[Any]()
    for one in curves:
        points += one
    lengths = np.fromiter(map(len, curves), np.int64, len(curves))
    time, mag, mag_err, flags, programid = _columns(points)
    owner = np.repeat(np.arange(len(curves)), lengths)
    flags = _where_known(flags, owner, len(curves), otherwise=0)
    says = np.bincount(owner[programid != NO_NUMBER], minlength=len(curves)) > 0
    keep = np.isin(programid, np.asarray(programids, np.int64)) | ~says[owner]
    kept = np.bincount(owner[keep], minlength=len(curves)).astype(np.int64)
    offsets = pa.array(np.concatenate([np.zeros(1, np.int64), np.cumsum(kept)]))
    values = {"hjd": time, "mag": mag, "magerr": mag_err, "catflags": flags, "programid": programid}
    if not keep.all():
        values = {name: column[keep] for name, column in values.items()}
    lists = {
        name: pa.LargeListArray.from_arrays(offsets, pa.array(column, from_pandas=False))
        for name, column in values.items()
    }
    return Curves(chunk=_chunk(documents, lists), points_trimmed=lengths - kept)


def _loads_data(body: bytes) -> Any:
    """Return ``data`` of a light-curve reply with the wraps still on, which only few values have."""
    content = _loads(body)
    if not isinstance(content, dict) or content.get("status") != "success":
        return data_of(body)
    return content.get("data")


def _documents(data: Any) -> list[dict[str, Any]]:
    documents = [] if data is None else data
    if not isinstance(documents, list) or not all(isinstance(one, dict) and "_id" in one for one in documents):
        raise ReplyError("a reply of Kowalski does not hold documents with an _id")
    if not all(isinstance(one.get("data") or [], list) for one in documents):
        raise ReplyError("a document of Kowalski's holds light-curve data that are no list")
    return documents


def _columns(points: list[Any]) -> list[npt.NDArray[Any]]:
    """Return the fields of points as arrays: three of float64, two of int64."""
    columns = list[npt.NDArray[Any]]()
    for name in POINT_FIELDS:
        kind = np.float64 if name in FLOATS else np.int64
        try:
            # One pass a field makes no object that the garbage collector would look at.
            columns.append(np.fromiter(map(itemgetter(name), points), kind, len(points)))
        except (KeyError, TypeError, ValueError, OverflowError):
            columns.append(_careful_column(points, name))
    return columns


def _careful_column(points: list[Any], name: str) -> npt.NDArray[Any]:
    """Do the same where some points lack the field, have it null or wrapped."""
    is_float = name in FLOATS
    try:
        values = [plain(point.get(name)) for point in points]
        if is_float:
            return np.array([np.nan if value is None else float(value) for value in values], np.float64)
        return np.array([NO_NUMBER if value is None or value != value else int(value) for value in values], np.int64)  # noqa: PLR0124 - NaN
    except (AttributeError, TypeError, ValueError, OverflowError):
        raise ReplyError(f"a point of a light curve of Kowalski's has a '{name}' that is no number") from None


def _where_known(
    values: npt.NDArray[np.int64], owner: npt.NDArray[np.int64], n: int, *, otherwise: int
) -> npt.NDArray[np.int64]:
    """Return `values` with `otherwise` in all points of light curves of which no point has a value."""
    unknown = values == NO_NUMBER
    if not unknown.any():
        return values
    knows = np.bincount(owner[~unknown], minlength=n) > 0
    return np.where(unknown & ~knows[owner], otherwise, values)


def _chunk(documents: list[dict[str, Any]], lists: Mapping[str, pa.Array]) -> Chunk:
    facts = {"id": "_id", **{name: name for name in ROW_SCHEMA.names if name != "band"}}
    columns = {}
    for name, field in facts.items():
        values = [document.get(field) for document in documents]
        if any(isinstance(value, dict) for value in values):
            values = [plain(value) for value in values]
        kind = ROW_SCHEMA.field(name).type if name != "id" else None
        columns[name] = _array(values, field, kind or (pa.int64() if not documents else None))
    try:
        return LAYOUTS["scope"].to_chunk(pa.table(columns | dict(lists)))
    except DataError as error:
        raise ReplyError(f"documents of Kowalski's cannot be read as light curves: {error}") from None


def _array(values: list[Any], name: str, kind: pa.DataType | None) -> pa.Array:
    try:
        return pa.array(values, kind, from_pandas=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError):
        pass
    # Whole numbers among fractions, and NaN where whole numbers were expected.
    if all(value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)) for value in values):
        if kind is None or pa.types.is_floating(kind):
            return pa.array([None if value is None else float(value) for value in values], pa.float64())
        if pa.types.is_integer(kind):
            whole = [int(value) if value is not None and value % 1 == 0 else None for value in values]
            return pa.array(whole, kind)
    raise ReplyError(f"documents of Kowalski's have values of several kinds in '{name}'")


def table(documents: Sequence[Mapping[str, Any]], columns: Sequence[str], optional: Sequence[str] = ()) -> pa.Table:
    """Return documents as a table, one row each in their order.

    Parameters
    ----------
    documents
        As `data_of` returns them.
    columns
        What to take; a dot goes down, as in ``classifications.braai`` (also ``coordinates.radec_geojson.coordinates``). A value
        that a document does not have is null; one that none has is a column of nulls.
    optional
        The same, but left out where no document has it.

    Raises
    ------
    ReplyError
        If the values of a column are of several kinds.
    """
    made: dict[str, pa.Array] = {}
    for name in dict.fromkeys((*columns, *optional)):
        values = _values(documents, name)
        if name in columns or any(value is not None for value in values):
            made[name] = _array(values, name, None)
    return pa.table(made)


def _values(documents: Sequence[Mapping[str, Any]], name: str) -> list[Any]:
    first, _, rest = name.partition(".")
    values = [document.get(first) for document in documents]
    if not rest:
        return values
    inner = [value if isinstance(value, Mapping) else {} for value in values]
    found = _values(inner, rest)
    # A field whose own name has the dot in it stands for itself.
    return [document.get(name, value) for document, value in zip(documents, found, strict=True)]


def sky_position(document: Mapping[str, Any]) -> tuple[float, float] | None:
    """Return right ascension in [0, 360) and declination [deg] of a document; None where it says neither.

    ``coordinates.radec_geojson`` holds the right ascension minus 180.
    """
    ra, dec = document.get("ra"), document.get("dec")
    if isinstance(ra, (int, float)) and isinstance(dec, (int, float)):
        return float(ra), float(dec)
    try:
        longitude, latitude = document["coordinates"]["radec_geojson"]["coordinates"]
        return (float(longitude) + 180.0) % 360.0, float(latitude)
    except (KeyError, TypeError, ValueError):
        return None
