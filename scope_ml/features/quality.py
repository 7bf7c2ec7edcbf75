"""Flags of a row: what to beware of in a light curve that was measured. 0 says that nothing was found.

May import `core` only.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntFlag

import numpy as np
from numpy.typing import NDArray

from scope_ml.core.lightcurve import LightCurveBatch

__all__ = ["QualityFlag", "quality_flags"]

#: A light curve has a gap if this share of its baseline holds no point.
GAP_SHARE = 0.5

#: Cycles below which a period is hardly seen.
FEW_CYCLES = 2.0

#: A frequency within this many 1/baseline of a whole number of cycles a day may be the Earth's.
DAILY_WIDTH = 2.0


class QualityFlag(IntFlag):
    """Bits of the column `quality`."""

    #: All magnitudes are equal.
    CONSTANT = 1
    #: Cleaning dropped more than half of the points.
    MOST_POINTS_DROPPED = 2
    #: A gap takes more than half of the baseline.
    GAP = 4
    #: The period is longer than half of the baseline.
    FEW_CYCLES = 8
    #: The frequency lies within 2 / baseline of 1, 2, 3, ... cycles/d.
    DAILY_ALIAS = 16
    #: The period search found no period.
    NO_PERIOD = 32
    #: The median is brighter than `features.saturation_mag`.
    SATURATED = 64
    #: The light curve has no position.
    NO_POSITION = 128
    #: A catalogue has more than one object within the radius of the match.
    BLENDED = 256

    @property
    def label(self) -> str:
        """Name as it stands in documents."""
        return str(self.name).lower()


def quality_flags(
    batch: LightCurveBatch,
    *,
    n_obs_raw: NDArray[np.int64],
    median: NDArray[np.float64],
    saturation_mag: float,
    frequency: NDArray[np.float64] | None = None,
    without_position: NDArray[np.bool_] | None = None,
    blended: NDArray[np.bool_] | None = None,
) -> NDArray[np.int32]:
    """Return the sum of `QualityFlag` of each light curve, int32 (n_sources,).

    Parameters
    ----------
    batch
        Cleaned light curves, sorted by time.
    n_obs_raw
        Points of each before cleaning.
    median
        Median magnitude of each [mag].
    saturation_mag
        Magnitude above which the detector saturates [mag].
    frequency
        Best frequency [1/d], NaN where none was found; None where none was searched for.
    without_position, blended
        What the light curves themselves do not tell, bool (n_sources,).
    """
    constant, gap, baseline = _of_points(batch)
    found: Mapping[QualityFlag, NDArray[np.bool_] | None] = {
        QualityFlag.CONSTANT: constant,
        QualityFlag.MOST_POINTS_DROPPED: 2 * batch.n_obs < n_obs_raw,
        QualityFlag.GAP: gap > GAP_SHARE * baseline,
        QualityFlag.SATURATED: median < saturation_mag,
        QualityFlag.NO_POSITION: without_position,
        QualityFlag.BLENDED: blended,
        **_of_period(frequency, baseline),
    }
    flags = np.zeros(len(batch), dtype=np.int32)
    for flag, where in found.items():
        if where is not None:
            flags[where] |= np.int32(flag.value)
    return flags


def _of_points(batch: LightCurveBatch) -> tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.float64]]:
    """Return whether each light curve is constant, its longest gap [d] and its baseline [d]; 0 without points."""
    constant = np.zeros(len(batch), dtype=np.bool_)
    gap, baseline = np.zeros(len(batch)), np.zeros(len(batch))
    filled = np.flatnonzero(batch.n_obs > 0)
    if filled.size:
        starts, ends = batch.offsets[filled], batch.offsets[filled + 1]
        constant[filled] = np.minimum.reduceat(batch.mag, starts) == np.maximum.reduceat(batch.mag, starts)
        baseline[filled] = batch.time[ends - 1] - batch.time[starts]
        steps = np.diff(batch.time, prepend=batch.time[0])
        steps[starts] = 0.0
        gap[filled] = np.maximum.reduceat(steps, starts)
    return constant, gap, baseline


def _of_period(
    frequency: NDArray[np.float64] | None, baseline: NDArray[np.float64]
) -> dict[QualityFlag, NDArray[np.bool_]]:
    if frequency is None:
        return {}
    with np.errstate(invalid="ignore"):
        nearest = np.maximum(np.round(frequency), 1.0)
        return {
            QualityFlag.FEW_CYCLES: (frequency * baseline < FEW_CYCLES) & (baseline > 0),
            QualityFlag.DAILY_ALIAS: (np.abs(frequency - nearest) * baseline < DAILY_WIDTH) & (baseline > 0),
            QualityFlag.NO_PERIOD: ~np.isfinite(frequency),
        }
