"""What can be known of many light curves of one band each at once: a loop over light curves costs more than the GPU.

`check` and `take` give what `curve.check_points` and `curve.make_curve` give, one by one. May import `core` and the
kernels' `curve` and `peaks`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.kernels.curve import LARGEST, LEAST_SPREAD, SMALLEST_ERROR, Curve, check_points
from scope_ml.kernels.peaks import SearchStatus

__all__ = ["Flat", "check", "has_one_band", "take"]


@dataclass(frozen=True, kw_only=True)
class Flat:
    """Light curves of one band, one after the other, each in order of time and with points.

    Attributes
    ----------
    start
        First point of each, int64 (n,).
    n_obs
        Points of each, int64 (n,).
    time, mag, mag_err
        As in `Curve`, float64 (n_points,).
    """

    start: NDArray[np.int64]
    n_obs: NDArray[np.int64]
    time: NDArray[np.float64]
    mag: NDArray[np.float64]
    mag_err: NDArray[np.float64]

    def sum(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the sum over the points of each light curve."""
        total: NDArray[np.float64] = np.add.reduceat(values, self.start)
        return total

    def spread(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return a value per light curve as one per point."""
        return np.repeat(values, self.n_obs)

    def curves(self) -> list[Curve]:
        """Return the light curves one by one, views."""
        none = np.zeros(int(self.n_obs.max(initial=0)), dtype=np.int64)
        return [
            Curve(
                time=self.time[begin : begin + n],
                mag=self.mag[begin : begin + n],
                mag_err=self.mag_err[begin : begin + n],
                band=none[:n],
            )
            for begin, n in zip(self.start.tolist(), self.n_obs.tolist(), strict=True)
        ]


def has_one_band(batch: LightCurveBatch) -> NDArray[np.bool_]:
    """Return which light curves have all points in one band, bool (n,)."""
    result = np.ones(len(batch), dtype=np.bool_)
    filled = np.flatnonzero(batch.n_obs > 0)
    if batch.band is not None and filled.size:
        start = batch.offsets[filled]
        same = np.asarray(batch.band == np.repeat(batch.band[start], batch.n_obs[filled]), dtype=np.bool_)
        result[filled] = np.logical_and.reduceat(same, start)
    return result


def check(batch: LightCurveBatch, min_n_obs: int, one_band: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return the `SearchStatus` of each light curve as `check_points` has it, uint8 (n,)."""
    status = np.full(len(batch), SearchStatus.TOO_FEW_POINTS, dtype=np.uint8)
    filled = np.flatnonzero(batch.n_obs > 0)
    if filled.size == 0:
        return status
    start, n_obs = batch.offsets[filled], batch.n_obs[filled]
    valid = np.isfinite(batch.time) & (np.abs(batch.mag) < LARGEST)
    valid &= (batch.mag_err > SMALLEST_ERROR) & (batch.mag_err < LARGEST)
    finite = np.logical_and.reduceat(valid, start)
    rising = batch.time[1:] > batch.time[:-1]
    inside = np.ones(batch.n_points, dtype=np.bool_)
    inside[start] = False
    # Distinct times of light curves in order of time; the others are looked at one by one.
    n_times = 1 + np.add.reduceat(np.concatenate(([False], rising)) & inside, start)
    falls = np.concatenate(([False], batch.time[1:] < batch.time[:-1])) & inside
    plain = ~np.logical_or.reduceat(falls, start) & one_band[filled]
    with np.errstate(invalid="ignore"):
        spread = np.maximum.reduceat(batch.mag, start) - np.minimum.reduceat(batch.mag, start)
    constant = spread < LEAST_SPREAD
    found = np.select(
        [~finite, n_obs < min_n_obs, n_times == 1, n_times < min_n_obs, constant],
        [
            SearchStatus.INVALID_POINTS,
            SearchStatus.TOO_FEW_POINTS,
            SearchStatus.ZERO_BASELINE,
            SearchStatus.TOO_FEW_POINTS,
            SearchStatus.CONSTANT,
        ],
        SearchStatus.OK,
    )
    status[filled] = found
    for index in filled[finite & ~plain]:
        status[index] = check_points(batch, int(index), min_n_obs)
    return status


def take(batch: LightCurveBatch, rows: list[int]) -> Flat:
    """Return light curves `rows`, which have passed `check` and have one band each."""
    which = np.asarray(rows, dtype=np.int64)
    n_obs = batch.n_obs[which]
    end = np.cumsum(n_obs)
    start = end - n_obs
    if rows[-1] - rows[0] == len(rows) - 1 and (which[1:] > which[:-1]).all():
        # Neighbours: no need to look every point up.
        place: NDArray[np.int64] | slice = slice(int(batch.offsets[rows[0]]), int(batch.offsets[rows[-1] + 1]))
    else:
        place = np.arange(int(end[-1])) + np.repeat(batch.offsets[which] - start, n_obs)
    time, mag, mag_err = batch.time[place], batch.mag[place], batch.mag_err[place]
    falls = np.concatenate(([False], time[1:] < time[:-1]))
    falls[start] = False
    for i in np.flatnonzero(np.logical_or.reduceat(falls, start)):
        own = slice(int(start[i]), int(end[i]))
        order = np.argsort(time[own], kind="stable")
        # The first time, not to write into the batch.
        time, mag, mag_err = (column if column.base is None else column.copy() for column in (time, mag, mag_err))
        for column in (time, mag, mag_err):
            column[own] = column[own][order]
    mag = mag.astype(np.float64)
    return Flat(
        start=start,
        n_obs=n_obs,
        time=time - np.repeat(time[start], n_obs),
        mag=mag - np.repeat(mag[start], n_obs),
        mag_err=mag_err.astype(np.float64),
    )
