"""The nearest star of AllWISE, Gaia EDR3 and Pan-STARRS1 within a few arcseconds, and what these catalogues measured.

A match is the row nearest on the sky within the radius, at the same separation that of the smallest id; positions are
compared as they are, without proper motion. Columns are named ``<catalogue>__<field>``, and the id, whose field is
``_id``, has three underscores: ``Gaia_EDR3___id``. A catalogue's sentinels (-999) are missing values, one by one. May
import `spec`, `sky` and `core`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scope_ml.core.configuration import option
from scope_ml.core.identifiers import one_chunk
from scope_ml.core.protocols import CatalogSource
from scope_ml.errors import ConfigError, DataError
from scope_ml.features.sky import CatalogTiles, Neighbours, Query
from scope_ml.features.spec import FeatureSpec

__all__ = [
    "CATALOGS",
    "SENTINELS",
    "CrossMatch",
    "CrossMatcher",
    "Matches",
    "UnknownMatches",
    "crossmatch_columns",
    "measured",
]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

CatalogName = Literal["AllWISE", "Gaia_EDR3", "PS1_DR1"]

#: Numbers by which catalogues say that there is no value.
SENTINELS = (-999.0, -9999.0)

#: The field that tells the rows of a catalogue apart.
ID = "_id"


class _Field(NamedTuple):
    """A field of a catalogue: its unit, what it is, whether models take it."""

    name: str
    unit: str
    meaning: str
    used: bool = True
    dtype: str = "double"


_ID = _Field(ID, "", "identifier", used=False, dtype="int64")


def _wise() -> tuple[_Field, ...]:
    fields = [
        _Field(f"w{band}{kind}", "mag", meaning.format(f"W{band}"), used=kind == "mpro" or band < 3)
        for band in range(1, 5)
        for kind, meaning in (("mpro", "profile-fit magnitude in {}"), ("sigmpro", "error of the magnitude in {}"))
    ]
    return *fields, _Field("ph_qual", "", "photometric quality, a letter a band", used=False, dtype="string")


def _gaia() -> tuple[_Field, ...]:
    return (
        *(_Field(f"phot_{band}_mean_mag", "mag", f"mean {band.upper()} magnitude") for band in ("g", "bp", "rp")),
        _Field("parallax", "mas", "parallax"),
        _Field("parallax_error", "mas", "error of the parallax"),
        _Field("pmra", "mas/yr", "proper motion in right ascension, times cos(dec)", used=False),
        _Field("pmra_error", "mas/yr", "error of pmra", used=False),
        _Field("pmdec", "mas/yr", "proper motion in declination", used=False),
        _Field("pmdec_error", "mas/yr", "error of pmdec", used=False),
        _Field("astrometric_excess_noise", "mas", "excess noise of the astrometric solution", used=False),
        _Field("phot_bp_rp_excess_factor", "", "(flux BP + flux RP) / flux G"),
    )


def _ps1() -> tuple[_Field, ...]:
    fields = [
        _Field(f"{band}MeanPSFMag{kind}", "mag", f"{meaning} in {band}")
        for band in "grizy"
        for kind, meaning in (("", "mean PSF magnitude"), ("Err", "error of the mean PSF magnitude"))
    ]
    return *fields, _Field("qualityFlag", "", "bits of the quality of the object", used=False, dtype="int64")


#: Fields taken from each catalogue, in the order of the columns.
_FIELDS: Mapping[CatalogName, tuple[_Field, ...]] = {"AllWISE": _wise(), "Gaia_EDR3": _gaia(), "PS1_DR1": _ps1()}

#: Papers of the catalogues.
_PAPERS: Mapping[CatalogName, str] = {
    "AllWISE": "Cutri et al. 2014, AllWISE Data Release",
    "Gaia_EDR3": "Gaia Collaboration et al. 2021, A&A 649, A1",
    "PS1_DR1": "Chambers et al. 2016, arXiv:1612.05560",
}

#: Catalogues that can be matched, in the order of the columns.
CATALOGS: tuple[CatalogName, ...] = tuple(_FIELDS)


@dataclass(frozen=True, kw_only=True)
class CrossMatch:
    """The crossmatch group of the configuration."""

    radius_arcsec: float = option(
        2.0, unit="arcsec", doc="how far a star of a catalogue, or an alert, may be", more_than=0, at_most=60
    )
    catalogs: tuple[CatalogName, ...] = option(CATALOGS, doc="catalogues to match, of " + ", ".join(CATALOGS))

    def __post_init__(self) -> None:
        """Refuse a list that names no catalogue, or one twice.

        Raises
        ------
        ConfigError
            If it does.
        """
        if not self.catalogs or len(set(self.catalogs)) < len(self.catalogs):
            raise ConfigError(
                f"crossmatch.catalogs=[{','.join(self.catalogs)}] must name each catalogue once, at least one of"
                f" {', '.join(CATALOGS)}",
                key="crossmatch.catalogs",
                choices=CATALOGS,
            )


def crossmatch_columns(catalogs: Sequence[CatalogName] = CATALOGS) -> tuple[FeatureSpec, ...]:
    """Return the features of the group ``crossmatch``, all or those of some `catalogs`, in the order of the table."""
    specs = []
    for catalog in (name for name in CATALOGS if name in catalogs):
        nearest = f"of the nearest row of {catalog} within crossmatch.radius_arcsec"
        for field in (_ID, *_FIELDS[catalog]):
            name = f"{catalog}__{field.name}"
            specs.append(
                FeatureSpec(
                    name=name,
                    group="crossmatch",
                    unit=field.unit,
                    formula=f"{field.meaning}, {nearest}; null without one",
                    reference=_PAPERS[catalog],
                    sets=("ontological",) if field.used else (),
                    missing="median" if field.used else "none",
                    dtype=field.dtype,
                    legacy=name,
                )
            )
    return tuple(specs)


class Matches(NamedTuple):
    """What `CrossMatcher.match` returns for n positions.

    Attributes
    ----------
    columns
        The columns of `crossmatch_columns` for the catalogues that were asked, Arrow (n,), null without a match.
    n_within
        Rows of each catalogue within the radius, int64 (n,): more than 1 means a blend or a doubtful match.
    separation
        Angle to the match in each catalogue [arcsec], float64 (n,), NaN without one.
    """

    columns: dict[str, pa.Array]
    n_within: dict[str, IntArray]
    separation: dict[str, FloatArray]


class CrossMatcher:
    """Matches positions with catalogues; threads may share it.

    Parameters
    ----------
    source
        Where the catalogues are.
    config
        Radius and catalogues.
    cache
        Folder that keeps what was asked, see `sky.CatalogTiles`.

    Raises
    ------
    ScopeError
        If the source does not have a catalogue.
    """

    def __init__(self, source: CatalogSource, config: CrossMatch, cache: Path | None = None) -> None:
        self.config = config
        self._tiles = {
            catalog: CatalogTiles(
                source,
                Query(
                    catalog=catalog,
                    columns=tuple(field.name for field in _FIELDS[catalog]),
                    margin_arcsec=config.radius_arcsec,
                    id_column=ID,
                    ids="number",
                ),
                cache=cache,
                prepare=partial(_measured_rows, catalog),
            )
            for catalog in CATALOGS
            if catalog in config.catalogs
        }

    def match(self, ra: FloatArray, dec: FloatArray) -> Matches:
        """Return the nearest rows of each catalogue.

        Parameters
        ----------
        ra, dec
            float64 (n,) [deg]; NaN matches nothing.

        Raises
        ------
        DataError
            If a catalogue's ids are not 64-bit whole numbers, or its measurements no numbers.
        ScopeError
            If a catalogue cannot be asked.
        """
        columns: dict[str, pa.Array] = {}
        n_within: dict[str, IntArray] = {}
        separation: dict[str, FloatArray] = {}
        for catalog, tiles in self._tiles.items():
            found = tiles.within(ra, dec, self.config.radius_arcsec)
            nearest = found.nearest()
            position = found.position[nearest]
            n_within[catalog] = np.bincount(found.position, minlength=len(ra)).astype(np.int64)
            separation[catalog] = np.full(len(ra), np.nan)
            separation[catalog][position] = found.separation[nearest]
            columns |= _columns(catalog, found, nearest, len(ra))
        return Matches(columns, n_within, separation)

    def columns(self, ra: FloatArray, dec: FloatArray) -> dict[str, pa.Array]:
        """Return the columns of `match` alone."""
        return self.match(ra, dec).columns

    def requests(self, ra: FloatArray, dec: FloatArray) -> list[Callable[[], object]]:
        """Return what must be asked first, see `sky.CatalogTiles.requests`."""
        return [one for tiles in self._tiles.values() for one in tiles.requests(ra, dec)]


class UnknownMatches:
    """In the place of a `CrossMatcher` where there are no catalogues: nobody knows, so no value.

    Parameters
    ----------
    config
        Catalogues whose columns are wanted.
    """

    def __init__(self, config: CrossMatch) -> None:
        self.config = config

    def match(self, ra: FloatArray, dec: FloatArray) -> Matches:
        """Return no match for positions [deg], float64 (n,)."""
        n, names = len(ra), self.config.catalogs
        specs = crossmatch_columns(names)
        return Matches(
            {spec.name: pa.nulls(n, pa.type_for_alias(spec.dtype)) for spec in specs},
            {name: np.zeros(n, dtype=np.int64) for name in names},
            {name: np.full(n, np.nan) for name in names},
        )

    def columns(self, ra: FloatArray, dec: FloatArray) -> dict[str, pa.Array]:
        """Return the columns of `match` alone."""
        return self.match(ra, dec).columns

    def requests(self, ra: FloatArray, dec: FloatArray) -> list[Callable[[], object]]:
        """Return that nothing must be asked."""
        return []


def _measured_rows(catalog: CatalogName, rows: pa.Table) -> pa.Table:
    """Give the columns of a tile their types, with null for what was not measured."""
    where = f"catalogue '{catalog}'"
    columns = {name: rows[name] for name in ("ra", "dec", ID)}
    for field in _FIELDS[catalog]:
        if field.dtype == "string":
            columns[field.name] = rows[field.name].cast(pa.string())
            continue
        values = measured(rows[field.name], field.name, where=where)
        if field.dtype == "double":
            columns[field.name] = pa.array(values)
        elif np.any(values[np.isfinite(values)] % 1 != 0):
            raise DataError(
                f"{where}: column '{field.name}' holds bits, but not all are whole numbers; write it as int32"
            )
        else:
            columns[field.name] = pa.array(values, pa.int64(), from_pandas=True)
    return pa.table(columns)


def _columns(catalog: CatalogName, found: Neighbours, nearest: IntArray, n: int) -> dict[str, pa.Array]:
    """Return a catalogue's columns; `nearest` are the pairs that are matches."""
    pair_of = np.full(n, -1, dtype=np.int64)
    pair_of[found.position[nearest]] = nearest
    columns = {}
    for field in (_ID, *_FIELDS[catalog]):
        name, dtype = f"{catalog}__{field.name}", pa.type_for_alias(field.dtype)
        if not nearest.size:
            columns[name] = pa.nulls(n, dtype)
        elif field.dtype == "double":
            values = found.rows[field.name].to_numpy()
            columns[name] = pa.array(np.where(pair_of >= 0, values[pair_of], np.nan), dtype, from_pandas=True)
        else:
            taken = pa.array(pair_of, mask=pair_of < 0)
            columns[name] = one_chunk(found.rows[field.name]).take(taken)
    return columns


def measured(column: pa.ChunkedArray, name: str, *, where: str) -> FloatArray:
    """Return a column of a catalogue as float64, NaN where null, not finite or one of `SENTINELS`.

    Raises
    ------
    DataError
        If the column does not hold numbers.
    """
    kind = column.type
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind)):
        raise DataError(f"{where}: column '{name}' is {kind}, not a number; write it as double")
    values: FloatArray = column.cast(pa.float64(), safe=False).to_numpy().astype(np.float64)
    missing = ~np.isfinite(values) | np.isin(values, SENTINELS)
    return np.where(missing, np.nan, values)
