"""Photometry: PUT is idempotent by (source, instrument, origin, mjd, flux, fluxerr), POST is not. May import what lies beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from scope_ml.testing.skyportal.calls import Call, group_list
from scope_ml.testing.skyportal.portal import RefusedError
from scope_ml.testing.skyportal.tables import Obj, Point

__all__ = ["MOST_ROWS", "get_photometry", "post_photometry", "put_photometry"]

#: Most rows of one request.
MOST_ROWS = 10_000

#: Magnitude of one flux unit (AB, micro-Jansky).
ZERO_POINT = 23.9

COLUMNS = ("mjd", "mag", "magerr", "limiting_mag", "magsys", "filter", "ra", "dec", "origin", "altdata")
NEEDED = ("mjd", "mag", "magerr", "limiting_mag", "magsys", "filter")
COERCE = "Unable to coerce passed JSON to a series of packets with monolithic keys and values"


def put_photometry(call: Call) -> Any:
    """Answer PUT /api/photometry: rows that are there get the new groups, others are inserted."""
    said, obj, rows, groups = _read(call)
    ids = []
    for row in rows:
        key = _key(said["instrument_id"], row)
        if key in obj.points:
            obj.points[key].group_ids |= groups
        else:
            obj.points[key] = _point(call, obj, said["instrument_id"], row, groups)
        ids.append(obj.points[key].id)
    return {"ids": ids}


def post_photometry(call: Call) -> Any:
    """Answer POST /api/photometry: refused when one of the rows is there already."""
    said, obj, rows, groups = _read(call)
    made: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        key = _key(said["instrument_id"], row)
        if key in obj.points or key in made:
            raise RefusedError(
                "Traceback (most recent call last):\n  ...\nValueError: The following photometry already exists "
                f"in the database: {obj.id}, mjd={row['mjd']}"
            )
        made[key] = row
    for key, row in made.items():
        obj.points[key] = _point(call, obj, said["instrument_id"], row, groups)
    return {"ids": [obj.points[key].id for key in made]}


def _read(call: Call) -> tuple[dict[str, Any], Obj, list[dict[str, Any]], set[int]]:
    said = call.body()
    rows = _rows(said)
    if len(rows) > MOST_ROWS:
        raise RefusedError(f"Maximum number of photometry rows to post exceeded: {len(rows)} > {MOST_ROWS}")
    obj = call.portal.obj(said.get("obj_id"))
    if obj is None:
        raise RefusedError(f"Invalid object ID: {said.get('obj_id')}")
    number = said.get("instrument_id")
    instrument = call.portal.instruments.get(number) if isinstance(number, int) else None
    if instrument is None:
        raise RefusedError(f"Invalid instrument ID: {number}")
    unknown = {str(row["filter"]) for row in rows} - set(instrument.filters)
    if unknown:
        raise RefusedError(f"Filter(s) {unknown} is not allowed for instrument {instrument.name}")
    given = said.get("group_ids", [])
    groups = {call.portal.public_group_id()} if given == "all" else set(group_list(call, given))
    return said, obj, rows, groups | {call.portal.own_group_id(call.caller.user.id)}


def _rows(said: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of columns of which some may be one value for all."""
    missing = [name for name in NEEDED if name not in said]
    if missing:
        raise RefusedError(f"{COERCE}: {missing[0]} is missing")
    given = {name: said[name] for name in COLUMNS if name in said}
    lengths = {len(value) for value in given.values() if isinstance(value, list)}
    if len(lengths) > 1 or 0 in lengths:
        raise RefusedError(f"{COERCE}: All arrays must be of the same length")
    length = lengths.pop() if lengths else 1
    columns = {name: value if isinstance(value, list) else [value] * length for name, value in given.items()}
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    for row in rows:
        _check(row)
    return rows


def _check(row: dict[str, Any]) -> None:
    for name in ("mjd", "mag", "magerr", "limiting_mag", "ra", "dec"):
        value = row.get(name)
        if isinstance(value, float) and math.isnan(value):
            value = row[name] = None
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise RefusedError(f"Invalid/missing parameters: {name}: Not a valid number (got {value!r})")
    if row["mjd"] is None or row["limiting_mag"] is None:
        raise RefusedError("Invalid/missing parameters: mjd and limiting_mag: Field may not be null")
    if (row["mag"] is None) != (row["magerr"] is None):
        raise RefusedError("Error parsing packet: either both mag and magerr must be null, or neither")
    if row["magsys"] != "ab":
        raise RefusedError(f"Invalid/missing parameters: magsys: {row['magsys']!r} is not a known system here")


def _flux(row: Mapping[str, Any]) -> tuple[float | None, float]:
    if row["mag"] is None:
        return None, 10 ** (-0.4 * (row["limiting_mag"] - ZERO_POINT)) / 5.0
    flux = 10 ** (-0.4 * (row["mag"] - ZERO_POINT))
    return flux, flux * row["magerr"] * math.log(10.0) / 2.5


def _key(instrument_id: int, row: Mapping[str, Any]) -> tuple[Any, ...]:
    # The filter is no part of it.
    return instrument_id, row.get("origin") or "None", float(row["mjd"]), *_flux(row)


def _point(call: Call, obj: Obj, instrument_id: int, row: Mapping[str, Any], groups: set[int]) -> Point:
    return Point(
        id=call.portal.number("photometry"),
        obj_id=obj.id,
        instrument_id=instrument_id,
        mjd=float(row["mjd"]),
        mag=row["mag"],
        magerr=row["magerr"],
        limiting_mag=row["limiting_mag"],
        filter=row["filter"],
        ra=row.get("ra"),
        dec=row.get("dec"),
        origin=row.get("origin") or "None",
        altdata=row.get("altdata"),
        group_ids=set(groups),
        owner_id=call.caller.user.id,
        created_at=call.portal.time(),
    )


def get_photometry(call: Call) -> Any:
    """Answer GET /api/sources/{obj_id}/photometry, in magnitudes (default), flux or both."""
    obj = call.portal.obj(call.path["obj_id"])
    if obj is None:
        raise RefusedError(f"Invalid object ID: {call.path['obj_id']}")
    kind = call.said("format") or "mag"
    if kind not in ("mag", "flux", "both"):
        raise RefusedError("Invalid output format.")
    return [_json(call, one, kind) for one in obj.points.values() if call.caller.sees(one.group_ids)]


def _json(call: Call, one: Point, kind: str) -> dict[str, Any]:
    row = {"mag": one.mag, "magerr": one.magerr, "limiting_mag": one.limiting_mag}
    flux, error = _flux(row)
    shown: dict[str, Any] = {} if kind == "flux" else row
    if kind != "mag":
        shown = shown | {"flux": flux, "fluxerr": error, "zp": ZERO_POINT}
    return {
        "id": one.id,
        "obj_id": one.obj_id,
        "mjd": one.mjd,
        **shown,
        "magsys": "ab",
        "filter": one.filter,
        "ra": one.ra,
        "dec": one.dec,
        "instrument_id": one.instrument_id,
        "instrument_name": call.portal.instruments[one.instrument_id].name,
        "snr": None if flux is None or not error else flux / error,
        "origin": one.origin,
        "altdata": one.altdata,
        "groups": call.portal.groups_json(sorted(one.group_ids)),
        "owner_id": one.owner_id,
        "created_at": one.created_at.isoformat(),
    }
