"""The embedded survey, a part at a time: tables of light curves, alerts, catalogue rows and labels for a range of stars.

Parts are independent of one another and of their size; the stage `simulate` writes them. May import `core` and `errors`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from scope_ml.core.configuration import option
from scope_ml.simulation.alerts import Alerts, alert_table, draw_alerts
from scope_ml.simulation.cadence import Cadence, quadrant_cadence
from scope_ml.simulation.catalogs import catalog_tables
from scope_ml.simulation.photometry import Photometry, photograph, true_error
from scope_ml.simulation.seeds import Stream, random_stream
from scope_ml.simulation.sky import unit_vectors
from scope_ml.simulation.stars import MAX_SOURCES, Star, draw_star, light_curve_id, source_id
from scope_ml.simulation.truth import Votes, cast_votes, label_columns
from scope_ml.simulation.variation import BANDS, FloatArray, Variation, Visits

__all__ = ["COLLECTIONS", "Observation", "SurveyConfig", "observe", "simulate_part"]

#: The collections of a survey, by the names that Kowalski gives them.
COLLECTIONS = ("ZTF_sources", "ZTF_alerts", "Gaia_EDR3", "AllWISE", "PS1_DR1")

#: Light curves with fewer points are not in the survey, as in ZTF's own light-curve files.
LEAST_POINTS = 3


@dataclass(frozen=True, kw_only=True)
class SurveyConfig:
    """What decides a survey's content."""

    n_sources: int = option(2000, unit="stars", doc="number of stars", at_least=1, at_most=MAX_SOURCES)
    seed: int = option(1, doc="seed; the same seed gives the same bytes", at_least=0)
    label_noise: float = option(0.02, doc="share of stars with the label of another class", at_least=0.0, at_most=0.5)


@dataclass(frozen=True, kw_only=True)
class Observation:
    """A star and all that was seen of it.

    Attributes
    ----------
    hjd
        (n,) float64, times of all visits of the quadrant as this star's heliocentric Julian dates [d].
    variation
        The true variation at those visits.
    points
        The measured points.
    """

    star: Star
    cadence: Cadence
    hjd: FloatArray
    variation: Variation
    points: Photometry
    snr: float


def observe(seed: int, index: int) -> Observation:
    """Draw star number `index` and photograph it."""
    rng = random_stream(seed, Stream.STAR, index)
    star = draw_star(rng, seed, index)
    cadence = quadrant_cadence(seed, star.quadrant)
    direction = unit_vectors(np.array([star.ra]), np.array([star.dec]))[0]
    hjd = cadence.jd + cadence.light_time @ direction
    visits = Visits(time=hjd, band=cadence.band, seeing=cadence.seeing, airmass=cadence.airmass)
    variation = star.population.shape(rng, visits, star.period, star.amplitude)
    mean = np.asarray(star.mag)[cadence.band]
    points = photograph(random_stream(seed, Stream.PHOTOMETRY, index), cadence, mean + variation.delta, star.crowding)
    delta = variation.delta[points.visit]
    error = true_error(mean[points.visit], cadence.limit[points.visit])
    snr = float(np.std(delta) / np.median(error)) if delta.size else 0.0
    return Observation(star=star, cadence=cadence, hjd=hjd, variation=variation, points=points, snr=snr)


def simulate_part(
    config: SurveyConfig, start: int, stop: int, parents: Mapping[str, Sequence[str]]
) -> dict[str, pa.Table]:
    """Make stars `start` to `stop` (not included) of a survey.

    Parameters
    ----------
    parents
        All ancestors of each tag, in the order of the label columns.

    Returns
    -------
    tables
        One table for each of `COLLECTIONS`, and ``labels`` with one row a star.
    """
    seen: list[Observation] = []
    alerts: list[Alerts] = []
    votes: list[Votes] = []
    for index in range(start, stop):
        one = observe(config.seed, index)
        rng = random_stream(config.seed, Stream.VOTES, index)
        votes.append(cast_votes(rng, one.star.population, one.variation.tags, one.snr, config.label_noise))
        found = draw_alerts(rng, one.star, one.cadence, one.points)
        if found is not None:
            alerts.append(found)
        seen.append(one)
    stars = [one.star for one in seen]
    return {
        "ZTF_sources": _light_curves(seen),
        "ZTF_alerts": alert_table(alerts),
        **catalog_tables(stars, config.seed),
        "labels": _labels(seen, votes, parents),
    }


def _labels(seen: Sequence[Observation], votes: Sequence[Votes], parents: Mapping[str, Sequence[str]]) -> pa.Table:
    native = ["nonvar" if n.startswith("nonvar") else n for n in (one.star.population.name for one in seen)]
    return pa.table(
        {
            "id": pa.array([source_id(one.star) for one in seen], pa.int64()),
            "ra": pa.array([one.star.ra for one in seen], pa.float64()),
            "dec": pa.array([one.star.dec for one in seen], pa.float64()),
            "native_class": pa.array(native, pa.string()),
            "period": pa.array(np.array([one.variation.period for one in seen], dtype=np.float64), pa.float64()),
            **label_columns(votes, parents),
        }
    )


def _light_curves(seen: Sequence[Observation]) -> pa.Table:
    """Return one row a light curve: Kowalski's scalars, then the lists of its points."""
    rows: list[tuple[int, int, int]] = []
    scalars: list[tuple[float, float, float, float, float]] = []
    lists: dict[str, list[NDArray[np.generic]]] = {
        name: [] for name in ("hjd", "mag", "magerr", "catflags", "programid")
    }
    lengths = [0]
    for number, one in enumerate(seen):
        band_of = one.cadence.band[one.points.visit]
        for band in range(len(BANDS)):
            chosen = np.flatnonzero(band_of == band)
            if chosen.size < LEAST_POINTS:
                continue
            visit = one.points.visit[chosen]
            mag = one.points.mag[chosen]
            rows.append((number, band, light_curve_id(one.star, band)))
            scalars.append(_scalars(mag, one.points.mag_err[chosen], one.star.mag[band]))
            lists["hjd"].append(one.hjd[visit])
            lists["mag"].append(mag)
            lists["magerr"].append(one.points.mag_err[chosen])
            lists["catflags"].append(one.points.flags[chosen])
            lists["programid"].append(one.cadence.programid[visit])
            lengths.append(chosen.size)
    return _light_curve_table(seen, rows, scalars, lists, np.cumsum(lengths))


def _scalars(mag: FloatArray, mag_err: FloatArray, reference: float) -> tuple[float, float, float, float, float]:
    """Return meanmag, refmag, refmagerr, iqr and the von Neumann ratio, rounded as Kowalski stores them."""
    spread = float(np.var(mag))
    steps = float(np.mean(np.diff(mag) ** 2))
    quartiles = np.percentile(mag, (25.0, 75.0))
    values = (
        float(np.mean(mag)),
        reference + 0.3 * float(mag[0] - np.mean(mag)),
        float(np.median(mag_err)) / 3.0,
        float(quartiles[1] - quartiles[0]),
        steps / spread if spread > 0.0 else 0.0,
    )
    return tuple(round(value, 3) for value in values)  # type: ignore[return-value]


def _light_curve_table(
    seen: Sequence[Observation],
    rows: Sequence[tuple[int, int, int]],
    scalars: Sequence[tuple[float, float, float, float, float]],
    lists: Mapping[str, list[NDArray[np.generic]]],
    offsets: NDArray[np.int64],
) -> pa.Table:
    stars = [seen[number].star for number, _, _ in rows]
    bands = [band for _, band, _ in rows]
    numbers = np.asarray(scalars, dtype=np.float64).reshape(len(rows), 5)

    def integers(values: list[int]) -> pa.Array:
        return pa.array(values, pa.int32())

    def points(name: str, kind: pa.DataType, digits: int | None = None) -> pa.Array:
        values = np.concatenate(lists[name]) if lists[name] else np.empty(0)
        rounded = values if digits is None else np.round(values.astype(np.float64), digits)
        flat = pa.array(rounded.astype(kind.to_pandas_dtype()), kind)
        return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), flat)

    return pa.table(
        {
            "id": pa.array([identity for _, _, identity in rows], pa.int64()),
            "source_id": pa.array([source_id(star) for star in stars], pa.int64()),
            "ra": pa.array([star.ra for star in stars], pa.float64()),
            "dec": pa.array([star.dec for star in stars], pa.float64()),
            "field": integers([star.where.field for star in stars]),
            "ccd": integers([star.where.ccd for star in stars]),
            "quad": integers([star.where.quad for star in stars]),
            "rc": integers([star.where.rc for star in stars]),
            "filter": integers([band + 1 for band in bands]),
            "band": pa.array([BANDS[band] for band in bands], pa.string()),
            "nobs": pa.array(np.diff(offsets), pa.int32()),
            "meanmag": numbers[:, 0],
            "refmag": numbers[:, 1],
            "refmagerr": numbers[:, 2],
            "iqr": numbers[:, 3],
            "vonneumannratio": numbers[:, 4],
            "hjd": points("hjd", pa.float64(), 6),
            "mag": points("mag", pa.float32(), 4),
            "magerr": points("magerr", pa.float32(), 4),
            "catflags": points("catflags", pa.int32()),
            "programid": points("programid", pa.int32()),
        }
    )
