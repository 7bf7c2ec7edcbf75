"""Photometry that `fritz_upload` sends: the light curves around each star, cleaned as SCoPe cleaned them, by star.

Points are kept whose `catflags` are 0 and whose time, magnitude and error are numbers; an exposure that is in several light
curves counts once, as the nearest one has it. All are fetched once, before anything is looked for on Fritz, and held as
flat columns (some 20 bytes a point). May import `feature_sources`, services, reporting and what lies below.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scope_ml.core.configuration import option
from scope_ml.core.identifiers import one_chunk
from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.core.protocols import LightCurveSource, Progress
from scope_ml.core.sphere import separation_arcsec
from scope_ml.errors import ConfigError
from scope_ml.features.surroundings import Survey
from scope_ml.io.selection import Positions, Selection, nearest_positions
from scope_ml.reporting.light_curve_plots import BandPoints
from scope_ml.services.settings import AllServicesConfig, ServicesConfig
from scope_ml.stages.feature_sources import SourceConfig, check_source, light_curves_of, open_client

__all__ = ["FILTERS", "MJD_ZERO", "StarPoints", "UploadSource", "fetch_points"]

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

#: HJD of MJD 0. Times stay heliocentric, as in SCoPe's uploads: corrected ones would not match the points already there.
MJD_ZERO = 2_400_000.5

#: Band -> filter on Fritz.
FILTERS: Mapping[str, str] = {"g": "ztfg", "r": "ztfr", "i": "ztfi"}
BANDS = tuple(FILTERS)

#: Two points of one band closer than this are one exposure [d]: ZTF's take 30 s.
SAME_EXPOSURE_D = 10.0 / 86_400.0

#: Why points are left out, in the order in which the cuts are made.
REASONS = ("flagged", "not_finite", "bad_error", "other_band", "same_exposure")

#: Kinds of sources that need no path.
SERVICES = ("kowalski", "irsa_stars")


@dataclass(frozen=True, kw_only=True)
class UploadSource(SourceConfig):
    """The source group where light curves are not necessary; `kind` none, or no `path`, means that there are none."""

    kind: Literal["parquet", "survey", "irsa", "irsa_stars", "hats", "kowalski"] = option(
        "parquet", doc="where light curves are", machine=True
    )
    path: str | None = option(None, doc="file, folder or address of light curves; null: none are sent", machine=True)

    @property
    def there(self) -> bool:
        """Whether light curves are to be had."""
        return self.kind in SERVICES or self.path is not None

    def check(self) -> None:
        """Find out that there are none at the path, or that a path is not wanted.

        Raises
        ------
        ConfigError, FormatError
            If so.
        """
        if self.path == "":
            raise ConfigError("'source.path' is empty; give source.path=..., or leave it out", key="source.path")
        if self.there:
            check_source(self)


@dataclass(frozen=True, kw_only=True, eq=False)
class StarPoints:
    """Points of all stars, by star, band and time.

    Attributes
    ----------
    offsets
        int64 (n_stars + 1,): the points of star ``i`` are ``offsets[i]:offsets[i + 1]``.
    mjd
        Heliocentric modified Julian dates [d].
    mag, mag_err
        float32 [mag].
    band
        Index into `BANDS`, uint8.
    n_light_curves
        Light curves within the radius of each star, int64 (n_stars,), those without a usable point too.
    dropped
        Points left out by reason.
    """

    offsets: npt.NDArray[np.int64]
    mjd: Floats
    mag: npt.NDArray[np.float32]
    mag_err: npt.NDArray[np.float32]
    band: npt.NDArray[np.uint8]
    n_light_curves: npt.NDArray[np.int64]
    dropped: Mapping[str, int]

    def n_points(self, star: int) -> int:
        """Return how many points a star has."""
        return int(self.offsets[star + 1] - self.offsets[star])

    def rows(self, star: int) -> slice:
        """Return where the points of a star lie."""
        return slice(int(self.offsets[star]), int(self.offsets[star + 1]))

    def filters(self, star: int) -> list[str]:
        """Return the filter of each point of a star, as Fritz names them."""
        return [FILTERS[BANDS[code]] for code in self.band[self.rows(star)].tolist()]

    def by_band(self, star: int) -> list[BandPoints]:
        """Return a star's points for a plot."""
        here = self.rows(star)
        band, mjd, mag, mag_err = (column[here] for column in (self.band, self.mjd, self.mag, self.mag_err))
        return [
            BandPoints(band=name, mjd=mjd[band == code], mag=mag[band == code], mag_err=mag_err[band == code])
            for code, name in enumerate(BANDS)
            if (band == code).any()
        ]


def fetch_points(
    source: UploadSource,
    ra: Floats,
    dec: Floats,
    *,
    radius_arcsec: float,
    survey: Survey,
    services: AllServicesConfig,
    progress: Progress,
) -> StarPoints:
    """Read the light curves around stars.

    Parameters
    ----------
    source
        Where they are.
    ra, dec
        Of the stars, float64 (n,) [deg].
    radius_arcsec
        How far from a star a light curve may be [arcsec]; one near two stars is the nearer one's.

    Raises
    ------
    ScopeError
        If there is no such source, or a service fails.
    """
    positions = Positions(ra, dec, radius_arcsec)
    gathered = _Gathered(positions=Selection(positions=positions), n_stars=len(ra))
    asked = ServicesConfig(kowalski=services.kowalski, irsa=services.irsa)
    with open_client(asked, needed=source.kind == "kowalski") as client:
        opener = light_curves_of(
            source,
            collection=survey.collections.sources,
            client=client,
            services=asked,
            progress=progress,
        )
        _read(opener(gathered.positions), gathered, progress)
    return gathered.points()


def _read(curves: LightCurveSource, gathered: _Gathered, progress: Progress) -> None:
    progress.start("light curves", curves.n_rows)
    for chunk in curves.chunks():
        gathered.add(chunk.batch, chunk.rows)
        progress.advance(len(chunk.batch))
    progress.finish()


@dataclass(kw_only=True)
class _Gathered:
    """Usable points as they come in."""

    positions: Selection
    n_stars: int
    stars: list[Counts] = field(default_factory=list)
    distances: list[Floats] = field(default_factory=list)
    times: list[Floats] = field(default_factory=list)
    mags: list[npt.NDArray[np.float32]] = field(default_factory=list)
    errors: list[npt.NDArray[np.float32]] = field(default_factory=list)
    bands: list[npt.NDArray[np.uint8]] = field(default_factory=list)
    dropped: dict[str, int] = field(default_factory=lambda: dict.fromkeys(REASONS, 0))
    n_light_curves: Counts = field(init=False)

    def __post_init__(self) -> None:
        self.n_light_curves = np.zeros(self.n_stars, dtype=np.int64)

    def add(self, batch: LightCurveBatch, rows: pa.Table) -> None:
        """Take the usable points of some light curves."""
        asked = self.positions.positions
        assert asked is not None
        ra, dec = (
            one_chunk(rows[name]).cast(pa.float64()).fill_null(np.nan).to_numpy(zero_copy_only=False)
            for name in ("ra", "dec")
        )
        star = nearest_positions(self.positions.tree, ra, dec, asked.radius_arcsec)
        np.add.at(self.n_light_curves, star[star >= 0], 1)
        codes = np.array([BANDS.index(band) if band in BANDS else len(BANDS) for band in rows["band"].to_pylist()])
        at = np.maximum(star, 0)
        distance = separation_arcsec(ra, dec, asked.ra[at], asked.dec[at])
        curve = np.repeat(np.arange(len(batch)), batch.n_obs)
        keep = star[curve] >= 0
        with np.errstate(invalid="ignore"):
            cuts = (
                ("flagged", np.zeros(batch.n_points, bool) if batch.flags is None else batch.flags != 0),
                ("not_finite", ~(np.isfinite(batch.time) & np.isfinite(batch.mag) & np.isfinite(batch.mag_err))),
                ("bad_error", ~(batch.mag_err > 0)),
                ("other_band", codes[curve] == len(BANDS) if len(codes) else np.zeros(0, bool)),
            )
        for reason, bad in cuts:
            self.dropped[reason] += int(np.count_nonzero(keep & bad))
            keep = keep & ~bad
        of = curve[keep]
        self.stars.append(star[of])
        self.distances.append(distance[of])
        self.times.append(batch.time[keep] - MJD_ZERO)
        self.mags.append(batch.mag[keep].astype(np.float32))
        self.errors.append(batch.mag_err[keep].astype(np.float32))
        self.bands.append(codes[of].astype(np.uint8))

    def points(self) -> StarPoints:
        """Return all points by star, band and time, each exposure once."""
        star = _joined(self.stars, np.int64)
        distance, mjd = _joined(self.distances, np.float64), _joined(self.times, np.float64)
        mag, mag_err = _joined(self.mags, np.float32), _joined(self.errors, np.float32)
        band = _joined(self.bands, np.uint8)
        order = np.lexsort((mag_err, mag, distance, mjd, band, star))
        star, distance, mjd, band = star[order], distance[order], mjd[order], band[order]
        keep = _once(star, band, mjd, distance)
        self.dropped["same_exposure"] += int(np.count_nonzero(~keep))
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.bincount(star[keep], minlength=self.n_stars))])
        return StarPoints(
            offsets=offsets,
            mjd=mjd[keep],
            mag=mag[order][keep],
            mag_err=mag_err[order][keep],
            band=band[keep],
            n_light_curves=self.n_light_curves,
            dropped=self.dropped,
        )


def _once(star: Counts, band: npt.NDArray[np.uint8], mjd: Floats, distance: Floats) -> npt.NDArray[np.bool_]:
    """Return which points stay, of sorted ones: of those of one exposure the one whose light curve is nearest."""
    keep = np.ones(len(mjd), dtype=np.bool_)
    if not len(mjd):
        return keep
    follows = (np.diff(star) == 0) & (np.diff(band) == 0) & (np.diff(mjd) < SAME_EXPOSURE_D)
    exposure = np.concatenate([np.zeros(1, np.int64), np.cumsum(~follows)])
    # The first of each exposure after sorting by distance; equal ones in the order in which they stand.
    nearest = np.lexsort((np.arange(len(mjd)), distance, exposure))
    _, first = np.unique(exposure[nearest], return_index=True)
    keep[:] = False
    keep[nearest[first]] = True
    return keep


def _joined(pieces: list[npt.NDArray[Any]], dtype: type[np.generic]) -> npt.NDArray[Any]:
    return np.concatenate(pieces) if pieces else np.zeros(0, dtype)
