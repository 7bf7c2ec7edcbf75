"""Documents of each catalogue, as Kowalski's ingesters write them, from the tables of an embedded survey.

Column names follow the service (kowalski.md, section 3). What a survey does not have (field of view of each exposure,
chi and sharpness of a point) is filled with plausible values that follow from the row. May import `core`, `io` and errors.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from scope_ml.errors import ConfigError
from scope_ml.io.tables import read_foreign_table

__all__ = ["SOURCES", "documents_of", "indexes_of", "read_survey", "sexagesimal"]

Document = dict[str, Any]

#: The catalogue of light curves of a server of our own, dated as the service's are.
SOURCES = "ZTF_sources_20240117"

SPHERE = ("coordinates.radec_geojson", "2dsphere")

#: Fields of each index, by the beginning of a catalogue's name; the longest that fits counts.
INDEXES: dict[str, list[list[tuple[str, Any]]]] = {
    "": [[SPHERE, ("_id", 1)]],
    "ZTF_sources": [[SPHERE, ("_id", 1)], [("field", 1), ("ccd", 1), ("quad", 1)], [("nobs", 1), ("_id", 1)]],
    "ZTF_source_features": [[SPHERE, ("_id", 1)], [("period", -1), ("significance", -1)]],
    "ZTF_source_classifications": [[("vnv_xgb", 1)], [("vnv_dnn", 1)]],
    "ZTF_alerts": [[SPHERE, ("_id", 1)], [("objectId", 1)], [("candid", 1)]],
}

#: Tables of a survey and the catalogues they become.
TABLES = ("ZTF_sources", "ZTF_alerts", "Gaia_EDR3", "AllWISE", "PS1_DR1")


def indexes_of(name: str) -> list[list[tuple[str, Any]]]:
    """Return the indexes that catalogue `name` has."""
    return INDEXES[max((start for start in INDEXES if name.startswith(start)), key=len)]


def read_survey(folder: Path) -> dict[str, pa.Table]:
    """Return the tables of a survey that ``scope simulate`` wrote.

    Raises
    ------
    ConfigError
        There are no light curves in it.
    """
    tables = {}
    for name in TABLES:
        parts = sorted((folder / name).glob("*.parquet"))
        if parts:
            tables[name] = pa.concat_tables([read_foreign_table(part) for part in parts])
    if "ZTF_sources" not in tables:
        raise ConfigError(f"{folder}: no survey there (no ZTF_sources/*.parquet); make one with: scope simulate")
    return tables


def documents_of(
    tables: Mapping[str, pa.Table], *, sources: str = SOURCES, max_sources: int | None = None
) -> Iterator[tuple[str, list[Document]]]:
    """Make the documents of each catalogue.

    Parameters
    ----------
    tables
        Those of a survey, by name.
    sources
        Name of the catalogue of light curves.
    max_sources
        Most light curves; the first ones. Rows of other catalogues come all: there is nothing to find near most.
    """
    light_curves = tables["ZTF_sources"]
    if max_sources is not None:
        light_curves = light_curves.slice(0, max_sources)
    yield sources, light_curve_documents(light_curves)
    makers = {"ZTF_alerts": _alert, "Gaia_EDR3": _gaia, "AllWISE": _plain, "PS1_DR1": _plain}
    for name, make in makers.items():
        if name in tables:
            yield name, [make(row) for row in tables[name].to_pylist()]


def light_curve_documents(table: pa.Table) -> list[Document]:
    """Return one document a light curve."""
    return [_light_curve(row) for row in table.to_pylist()]


def _light_curve(row: Mapping[str, Any]) -> Document:
    ra, dec, code = row["ra"], row["dec"], row["filter"]
    prefix = 10**16 + row["field"] * 10**12 + row["rc"] * 10**10 + code * 10**9
    # An exposure has one number, whichever star it saw.
    exposures = [int((hjd - 2458000.0) * 1440.0) * 10 + code for hjd in row["hjd"]]
    points = zip(row["hjd"], row["mag"], row["magerr"], row["catflags"], row["programid"], exposures, strict=True)
    return {
        "_id": row["id"],
        "matchid": row["id"] % 10**6,
        "ra": ra,
        "dec": dec,
        "filter": code,
        "field": row["field"],
        "ccd": row["ccd"],
        "quad": row["quad"],
        "rc": row["rc"],
        "nobs": row["nobs"],
        "meanmag": row["meanmag"],
        "vonneumannratio": row["vonneumannratio"],
        "refchi": round(1.0 + 0.2 * np.sin(row["id"]), 3),
        "refmag": row["refmag"],
        "refmagerr": row["refmagerr"],
        "refsharp": round(0.05 * np.cos(row["id"]), 3),
        "iqr": row["iqr"],
        "coordinates": coordinates(ra, dec),
        "data": [
            {
                "hjd": hjd,
                "mag": round(mag, 5),
                "magerr": round(error, 5),
                "expid": exposure,
                "programid": programme,
                "catflags": flags,
                "ra": ra,
                "dec": dec,
                "chi": 1.0,
                "sharp": 0.0,
                "uexpid": prefix + exposure,
            }
            for hjd, mag, error, flags, programme, exposure in points
        ],
    }


def _alert(row: Mapping[str, Any]) -> Document:
    from bson import ObjectId

    inner = ("jd", "fid", "ra", "dec", "magpsf", "sigmapsf", "isdiffpos", "rb", "drb")
    candidate = {name: row[name] for name in inner} | {
        "pid": row["candid"] // 10**6,
        "programid": 1,
        "candid": row["candid"],
    }
    scores = (
        {}
        if row["classifications_braai"] is None
        else {"braai": row["classifications_braai"], "braai_version": "d6_m9"}
    )
    return {
        "_id": ObjectId(f"{row['candid'] % 16**24:024x}"),
        "objectId": row["objectId"],
        "candid": row["candid"],
        "candidate": candidate | {"isdiffpos": "t" if row["isdiffpos"] else "f"},
        "classifications": scores,
        "coordinates": coordinates(row["ra"], row["dec"]),
    }


def _gaia(row: Mapping[str, Any]) -> Document:
    # Columns without a value are absent there, not null.
    kept = {name: value for name, value in row.items() if name != "_id" and not _is_missing(value)}
    return {"_id": str(row["_id"])} | kept | _place(row)


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _plain(row: Mapping[str, Any]) -> Document:
    return dict(row) | _place(row)


def _place(row: Mapping[str, Any]) -> Document:
    return {"coordinates": coordinates(row["ra"], row["dec"])}


def coordinates(ra: float, dec: float) -> Document:
    """Return the field ``coordinates`` of a place [deg]: longitude is right ascension - 180."""
    return {
        "radec_str": sexagesimal(ra, dec),
        "radec_geojson": {"type": "Point", "coordinates": [ra - 180.0, dec]},
    }


def sexagesimal(ra: float, dec: float) -> list[str]:
    """Return a place [deg] as ["HH:MM:SS.ssss", "DD:MM:SS.sss"]."""
    return [_sexagesimal(ra / 15.0, 4), ("-" if dec < 0 else "") + _sexagesimal(abs(dec), 3)]


def _sexagesimal(value: float, digits: int) -> str:
    # In units of the last digit, so that 59.9999 seconds never become 60.
    unit = 10**digits
    whole, rest = divmod(round(value * 3600 * unit), 3600 * unit)
    minutes, seconds = divmod(rest, 60 * unit)
    return f"{whole:02d}:{minutes:02d}:{seconds // unit:02d}.{seconds % unit:0{digits}d}"


def point_documents(
    ids: Sequence[int], ra: Sequence[float], dec: Sequence[float], points: list[Document]
) -> list[Document]:
    """Return light curves with given ids and places and one list of points for all, for loads and edges."""
    made = []
    for key, one_ra, one_dec in zip(ids, ra, dec, strict=True):
        made.append(
            {
                "_id": key,
                "ra": one_ra,
                "dec": one_dec,
                "filter": 1 + key % 3,
                "field": 245,
                "ccd": 1 + key % 16,
                "quad": 1 + key % 4,
                "nobs": len(points),
                "coordinates": coordinates(one_ra, one_dec),
                "data": points,
            }
        )
    return made
