"""The service for single stars of the test server: ``nph_light_curves`` over light curves that are given.

May import io, core and errors.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
import numpy.typing as npt
from aiohttp import web

from scope_ml.core.lightcurve import LightCurve
from scope_ml.core.protocols import LightCurveChunk
from scope_ml.core.sphere import separation_arcsec
from scope_ml.io.irsa_tree import parse_name
from scope_ml.io.lightcurves import open_light_curves

__all__ = ["COLUMNS", "Epochs", "PublicLightCurves", "read_epochs"]

#: The columns of a reply, with VOTable's names of their types.
COLUMNS = {
    "oid": "long",
    "expid": "long",
    "hjd": "double",
    "mjd": "double",
    "mag": "float",
    "magerr": "float",
    "catflags": "int",
    "filtercode": "char",
    "ra": "double",
    "dec": "double",
    "chi": "float",
    "sharp": "float",
    "filefracday": "long",
    "field": "int",
    "ccdid": "int",
    "qid": "int",
    "limitmag": "float",
    "magzp": "float",
    "magzprms": "float",
    "clrcoeff": "float",
    "clrcounc": "float",
    "exptime": "int",
    "airmass": "float",
    "programid": "int",
}

CODES = {"g": "zg", "r": "zr", "i": "zi"}

MJD_ZERO = 2400000.5

#: Scatter of the epochs' positions around the object's [deg].
SCATTER_DEG = 3e-5

#: Largest radius of a cone [deg].
LARGEST_RADIUS_DEG = 0.1667

FORMATS = ("csv", "tsv", "votable")


@dataclass(frozen=True, kw_only=True)
class _Star:
    """One light curve and its facts."""

    curve: LightCurve
    band: str
    ra: float
    dec: float
    field: int
    ccd: int
    quad: int


class Epochs:
    """Light curves that the service knows.

    Parameters
    ----------
    chunks
        Light curves with whole-number ids and positions, such as ``open_light_curves(...).chunks()``.
    """

    def __init__(self, chunks: Iterable[LightCurveChunk]) -> None:
        self._stars: list[_Star] = []
        for chunk in chunks:
            facts = chunk.rows.select(["band", "ra", "dec", "field", "ccd", "quad"]).to_pylist()
            self._stars += [
                _Star(
                    curve=curve,
                    band=one["band"],
                    ra=one["ra"],
                    dec=one["dec"],
                    field=one["field"] or 0,
                    ccd=one["ccd"] or 0,
                    quad=one["quad"] or 0,
                )
                for curve, one in zip(chunk.batch, facts, strict=True)
            ]
        self._ra, self._dec = (np.array([getattr(star, name) for star in self._stars]) for name in ("ra", "dec"))

    def __len__(self) -> int:
        return len(self._stars)

    def within(self, ra: float, dec: float, radius_deg: float) -> list[_Star]:
        """Return the stars of a cone."""
        near = separation_arcsec(self._ra, self._dec, ra, dec) <= radius_deg * 3600.0
        return [self._stars[at] for at in np.flatnonzero(near)]

    def named(self, ids: set[int]) -> list[_Star]:
        """Return the light curves with given ids."""
        return [star for star in self._stars if star.curve.id in ids]


def read_epochs(folder: Path) -> Epochs:
    """Return the light curves of an embedded survey, or of a folder with bulk files of IRSA anywhere below."""
    survey = folder / "ZTF_sources"
    if survey.is_dir():
        return Epochs(open_light_curves(survey).chunks())
    files = sorted(path for path in folder.rglob("ztf_*.parquet") if parse_name(path.name))
    return Epochs(chunk for path in files for chunk in open_light_curves(path, layout="irsa").chunks())


class PublicLightCurves:
    """The service."""

    def __init__(self, epochs: Epochs | None) -> None:
        self._epochs = epochs if epochs is not None else Epochs(())

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer one query."""
        query = {name.upper(): request.query.getall(name) for name in request.query}
        form = query.get("FORMAT", ["votable"])[-1].lower()
        try:
            rows = list(self._rows(query, form))
        except (ValueError, IndexError) as error:
            return web.Response(status=400, text=_votable((), str(error)), content_type="application/x-votable+xml")
        damage = request.get("damage")
        text = _votable(rows) if form == "votable" else _separated(rows, "," if form == "csv" else "\t")
        body = text.encode()
        if damage is not None and damage.kind == "cut":
            # As a program that is killed while it writes: no length was promised, so the end looks like an end.
            return await _unpromised(request, body[: damage.n_bytes])
        return web.Response(body=body, content_type="text/csv" if form == "csv" else "text/plain")

    def _rows(self, query: dict[str, list[str]], form: str) -> Iterator[list[str]]:
        if form not in FORMATS:
            raise ValueError(f"FORMAT {form} is not supported")
        bands = {CODES[one.strip()] for text in query.get("BANDNAME", ["g,r,i"]) for one in text.split(",")}
        mask = int(query.get("BAD_CATFLAGS_MASK", ["0"])[-1])
        fewest = int(query.get("NOBS_MIN", ["1"])[-1])
        begin, end = _span(query.get("TIME"))
        for star in self._chosen(query):
            curve, mjd = star.curve, star.curve.time - MJD_ZERO
            flags = np.zeros(len(curve), np.int64) if curve.flags is None else curve.flags.astype(np.int64)
            kept = np.flatnonzero((flags & mask == 0) & (mjd >= begin) & (mjd <= end))
            if CODES.get(star.band) not in bands or len(curve) < fewest:
                continue
            yield from (_row(star, int(at), mjd, flags) for at in kept)

    def _chosen(self, query: dict[str, list[str]]) -> list[_Star]:
        if "ID" in query:
            return self._epochs.named({int(one) for text in query["ID"] for one in text.split(",")})
        words = query["POS"][-1].split() if "POS" in query else ["CIRCLE", *query.get("CIRCLE", [""])[-1].split()]
        if words[:1] != ["CIRCLE"] or len(words) != 4:
            raise ValueError("give POS=CIRCLE ra dec radius, or ID")
        ra, dec, radius = (float(word) for word in words[1:])
        if not (0 <= ra <= 360 and -90 <= dec <= 90 and 0 < radius <= LARGEST_RADIUS_DEG):
            raise ValueError(f"POS {words[1:]} is out of range")
        return self._epochs.within(ra, dec, radius)


def _span(given: list[str] | None) -> tuple[float, float]:
    begin, end = given[-1].split() if given else ("-inf", "inf")
    return float(begin), float(end)


def _row(star: _Star, at: int, mjd: npt.NDArray[np.float64], flags: npt.NDArray[np.int64]) -> list[str]:
    curve = star.curve
    turn = SCATTER_DEG * np.sin(1.0 + at)
    ra = (star.ra + turn / max(np.cos(np.radians(star.dec)), 1e-9)) % 360.0 if abs(star.dec) < 89.9 else star.ra
    program = 1 if curve.programid is None else int(curve.programid[at])
    values = [curve.id, 40_000_000 + at, float(curve.time[at]), float(mjd[at]), float(curve.mag[at])]
    values += [float(curve.mag_err[at]), int(flags[at]), CODES[star.band], float(ra), float(star.dec)]
    values += [1.0, 0.0, 20190101000000 + at, star.field, star.ccd, star.quad, 20.5, 26.0, 0.02, 0.0, 0.0, 30, 1.2]
    return [str(value) for value in (*values, program)]


def _separated(rows: list[list[str]], separator: str) -> str:
    return "".join(f"{separator.join(row)}\n" for row in ([*COLUMNS], *rows))


def _votable(rows: Iterable[list[str]], error: str | None = None) -> str:
    status = "OK" if error is None else "ERROR"
    parts = [
        '<?xml version="1.0" encoding="UTF-8"?>\n<VOTABLE version="1.3" xmlns="http://www.ivoa.net/xml/VOTable/v1.3">\n',
        f'<RESOURCE type="results"><INFO name="QUERY_STATUS" value="{status}">{escape(error or "")}</INFO>\n<TABLE>\n',
    ]
    for name, datatype in COLUMNS.items():
        size = ' arraysize="*"' if datatype == "char" else ""
        parts.append(f'<FIELD name="{name}" datatype="{datatype}"{size}/>\n')
    parts.append("<DATA><TABLEDATA>\n")
    parts += [f"<TR>{''.join(f'<TD>{escape(cell)}</TD>' for cell in row)}</TR>\n" for row in rows]
    parts.append("</TABLEDATA></DATA></TABLE></RESOURCE></VOTABLE>\n")
    return "".join(parts)


async def _unpromised(request: web.Request, body: bytes) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Connection": "close"})
    response.force_close()
    response.content_type = "text/csv"
    await response.prepare(request)
    await response.write(body)
    await response.write_eof()
    return response
