"""Alerts: points that stand out of the difference to the reference image, as ZTF's brokers store them (`ZTF_alerts`)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from scope_ml.simulation.cadence import Cadence
from scope_ml.simulation.photometry import Photometry
from scope_ml.simulation.stars import Star, object_name
from scope_ml.simulation.variation import FloatArray

__all__ = ["Alerts", "alert_table", "draw_alerts"]

#: Most alerts that the embedded survey keeps of a star; ZTF sends up to thousands.
MAX_ALERTS = 40

#: Significance of the flux difference that makes an alert.
ALERT_SIGMA = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Alerts:
    """Alerts of one star, sorted by time; arrays of length k."""

    star: Star
    jd: FloatArray
    band: NDArray[np.int8]
    magpsf: FloatArray
    sigmapsf: FloatArray
    positive: NDArray[np.bool_]
    scores: FloatArray
    offset: FloatArray


def draw_alerts(rng: np.random.Generator, star: Star, cadence: Cadence, points: Photometry) -> Alerts | None:
    """Return the alerts of a star, or None if it has none."""
    band = cadence.band[points.visit]
    reference = np.asarray(star.mag)[band]
    # Fluxes in units of a star of 25th magnitude.
    flux, quiet = 10.0 ** (-0.4 * (points.mag - 25.0)), 10.0 ** (-0.4 * (reference - 25.0))
    error = flux * points.mag_err * 0.921
    difference = flux - quiet
    strong = np.flatnonzero(np.abs(difference) > ALERT_SIGMA * error)
    if strong.size == 0:
        return None
    thinned = strong[rng.random(strong.size) < 0.4]
    if thinned.size > MAX_ALERTS:
        thinned = np.sort(rng.choice(thinned, MAX_ALERTS, replace=False))
    if thinned.size == 0:
        return None
    size = np.abs(difference[thinned])
    spurious = bool({"bogus", "ext", "blend", "bright", "artfct"} & set(star.population.tags))
    real = (points.flags[thinned] == 0) & (rng.random(thinned.size) > (0.75 if spurious else 0.04))
    high, low = rng.beta(9.0, 1.0, (3, thinned.size)), rng.beta(1.2, 3.0, (3, thinned.size))
    return Alerts(
        star=star,
        jd=cadence.jd[points.visit[thinned]],
        band=band[thinned],
        magpsf=25.0 - 2.5 * np.log10(size),
        sigmapsf=np.clip(1.0857 * error[thinned] / size, 0.01, 0.22),
        positive=difference[thinned] > 0.0,
        scores=np.where(real, high, low),
        offset=rng.normal(0.0, 0.12 / 3600.0, (2, thinned.size)),
    )


def alert_table(alerts: list[Alerts]) -> pa.Table:
    """Return one row an alert, with the columns of Kowalski's collection, flattened."""
    counts = [one.jd.size for one in alerts]

    def joined(name: str) -> np.ndarray:
        return np.concatenate([getattr(one, name) for one in alerts]) if alerts else np.empty(0)

    def repeated(values: list[float]) -> np.ndarray:
        return np.repeat(np.asarray(values, dtype=np.float64), counts)

    jd = joined("jd").astype(np.float64)
    scores = np.concatenate([one.scores for one in alerts], axis=1) if alerts else np.empty((3, 0))
    offset = np.concatenate([one.offset for one in alerts], axis=1) if alerts else np.empty((2, 0))
    index = np.repeat(np.array([one.star.index for one in alerts], dtype=np.int64), counts)
    dec = repeated([one.star.dec for one in alerts])
    time_code = np.floor((jd - 2450000.0) * 1e5).astype(np.int64)
    names = [name for one, count in zip(alerts, counts, strict=True) for name in [object_name(one.star.index)] * count]
    return pa.table(
        {
            "candid": pa.array(time_code * 10**9 + index * 10**3 + joined("band").astype(np.int64) + 1, pa.int64()),
            "objectId": pa.array(names, pa.string()),
            "jd": jd,
            "fid": pa.array(joined("band").astype(np.int32) + 1, pa.int32()),
            "ra": (repeated([one.star.ra for one in alerts]) + offset[0] / np.cos(np.radians(dec))) % 360.0,
            "dec": dec + offset[1],
            "magpsf": pa.array(joined("magpsf"), pa.float32()),
            "sigmapsf": pa.array(joined("sigmapsf"), pa.float32()),
            "isdiffpos": pa.array(joined("positive").astype(bool), pa.bool_()),
            "rb": pa.array(scores[0], pa.float32()),
            "drb": pa.array(scores[1], pa.float32()),
            "classifications_braai": pa.array(scores[2], pa.float32()),
        }
    )
