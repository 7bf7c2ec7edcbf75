"""Which points of a light curve are measured, and which light curves have too few of them.

Per light curve first: too near a bright star. Per point, in this order: flagged, not finite, without a positive error
whose weight is a number, after `max_timestamp_hjd`, of another observing programme; the rest is sorted by time (at one
time by magnitude, so that the order of the file does not matter) and thinned to one point per `min_cadence_minutes`.
Then light curves with fewer than `min_n_obs` points are marked. Nothing goes silently: each light curve has a reason,
each point lost is counted by one.
May import `core` and `errors`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scope_ml.core.configuration import option
from scope_ml.core.lightcurve import POINT_COLUMNS, LightCurveBatch
from scope_ml.errors import ConfigError, DataError

__all__ = ["POINT_REASONS", "Cleaned", "Cleaning", "CleaningStatus", "clean", "thin"]

#: Why points are dropped, in the order in which the cuts are made.
POINT_REASONS = (
    "flagged",
    "not_finite",
    "bad_error",
    "after_max_timestamp",
    "other_programid",
    "duplicate_time",
    "high_cadence",
)

MINUTES_PER_DAY = 1440.0


class CleaningStatus(IntEnum):
    """What became of a light curve; anything but OK is the reason why it is dropped."""

    OK = 0
    #: It came without points.
    NO_POINTS = 1
    #: No point has catflags 0.
    ALL_FLAGGED = 2
    #: No unflagged point has a finite time and magnitude and a positive error.
    NO_VALID_POINTS = 3
    #: All valid points are later than `max_timestamp_hjd`.
    ALL_AFTER_MAX_TIMESTAMP = 4
    #: Fewer points than `min_n_obs` are left.
    TOO_FEW_POINTS = 5
    #: All points that are left so far are of programmes other than `programids`.
    ALL_OTHER_PROGRAMIDS = 6
    #: A bright star's halo covers it (`bright_stars`).
    NEAR_BRIGHT_STAR = 7

    @property
    def label(self) -> str:
        """Name as it stands in tables and reports."""
        return self.name.lower()


@dataclass(frozen=True, kw_only=True)
class Cleaning:
    """The cleaning group of the configuration."""

    min_n_obs: int = option(50, unit="points", doc="fewest points a light curve must keep", at_least=1)
    min_cadence_minutes: float = option(
        30.0, unit="min", doc="closest two kept points may be; 0 drops only points at the very same time", at_least=0
    )
    max_timestamp_hjd: float | None = option(None, unit="d", doc="points after this HJD are dropped; null keeps all")
    keep_flagged: bool = option(False, doc="keep points whose catflags are not 0")
    programids: tuple[int, ...] | None = option(
        None, doc="observing programmes whose points are kept, such as [1] for ZTF's public ones; null keeps all"
    )
    bright_star_exclusion: Literal["off", "catalog", "precomputed"] = option(
        "off",
        doc="drop light curves in the halo of a bright Gaia star; catalog: found in catalogs.path; precomputed: listed"
        " in catalogs.bright_stars",
    )
    bright_star_radius_arcsec: float = option(
        300.0, unit="arcsec", doc="how far away bright stars are looked for", more_than=0, at_most=3600
    )

    def __post_init__(self) -> None:
        """Refuse a list of programmes that names none.

        Raises
        ------
        ConfigError
            If it does.
        """
        if self.programids is not None and not self.programids:
            raise ConfigError(
                "cleaning.programids=[] names no programme, and no point would be left; give null for all",
                key="cleaning.programids",
            )


class Cleaned(NamedTuple):
    """What `clean` returns.

    Attributes
    ----------
    batch
        The same light curves in the same order with the points that are kept, sorted by time; maybe 0 points.
    status
        `CleaningStatus` per light curve, uint8 (n_sources,).
    points_dropped
        Points dropped by each of `POINT_REASONS`.
    """

    batch: LightCurveBatch
    status: NDArray[np.uint8]
    points_dropped: Mapping[str, int]


def clean(batch: LightCurveBatch, config: Cleaning, *, near_bright_star: NDArray[np.bool_] | None = None) -> Cleaned:
    """Drop the points that must not be measured and mark the light curves that are left with too few.

    Parameters
    ----------
    batch
        Light curves as read: any order of points, NaN and negative errors allowed.
    config
        The cuts.
    near_bright_star
        bool (n_sources,), which light curves to drop whatever their points; none if None.

    Raises
    ------
    DataError
        If `config` names programmes and the light curves do not say theirs.
    """
    status = np.zeros(len(batch), dtype=np.uint8)
    if near_bright_star is not None:
        status[near_bright_star] = CleaningStatus.NEAR_BRIGHT_STAR
    status[(status == 0) & (batch.n_obs == 0)] = CleaningStatus.NO_POINTS
    dropped = dict.fromkeys(POINT_REASONS, 0)
    keep = np.ones(batch.n_points, dtype=np.bool_)

    def cut(bad: NDArray[np.bool_], reason: str, when_none_left: CleaningStatus | None) -> None:
        nonlocal keep
        dropped[reason] += int(np.count_nonzero(keep & bad))
        keep = keep & ~bad
        if when_none_left is not None:
            status[(status == 0) & (_count(keep, batch.offsets) == 0)] = when_none_left

    if batch.flags is not None and not config.keep_flagged:
        cut(batch.flags != 0, "flagged", CleaningStatus.ALL_FLAGGED)
    cut(~(np.isfinite(batch.time) & np.isfinite(batch.mag)), "not_finite", None)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore", under="ignore"):
        # An error whose square or weight is no number, such as 1e-200, would make nonsense of every sum.
        variance = batch.mag_err.astype(np.float64, copy=False) ** 2
        usable = (batch.mag_err > 0) & np.isfinite(variance) & np.isfinite(1.0 / variance)
        cut(~usable, "bad_error", CleaningStatus.NO_VALID_POINTS)
        if config.max_timestamp_hjd is not None:
            late = batch.time > config.max_timestamp_hjd
            cut(late, "after_max_timestamp", CleaningStatus.ALL_AFTER_MAX_TIMESTAMP)
    if config.programids is not None:
        other = ~np.isin(_programid(batch), config.programids)
        cut(other, "other_programid", CleaningStatus.ALL_OTHER_PROGRAMIDS)
    kept = _sorted_by_time(batch.select(keep) if not keep.all() else batch)
    spaced = thin(kept.time, kept.offsets, config.min_cadence_minutes / MINUTES_PER_DAY)
    if not spaced.all():
        repeated = ~spaced & _repeats(kept)
        dropped["duplicate_time"] = int(np.count_nonzero(repeated))
        dropped["high_cadence"] = int(np.count_nonzero(~spaced & ~repeated))
        kept = kept.select(spaced)
    status[(status == 0) & (kept.n_obs < config.min_n_obs)] = CleaningStatus.TOO_FEW_POINTS
    return Cleaned(kept, status, dropped)


def thin(time: NDArray[np.float64], offsets: NDArray[np.int64], spacing: float) -> NDArray[np.bool_]:
    """Return which points stay when no two of a light curve may be closer than `spacing`.

    Greedy in time: the first point stays, then each that is at least `spacing` after the last one kept. Points at the
    very same time never stay together, whatever the spacing.

    Parameters
    ----------
    time
        Times [d], ascending within each light curve, float64 (n_points,).
    offsets
        int64 (n_sources + 1,).
    spacing
        [d], 0 or more.
    """
    keep = np.ones(time.size, dtype=np.bool_)
    gap = np.diff(time)
    inside = np.ones(gap.size, dtype=np.bool_)
    inner = offsets[1:-1]
    inside[inner[(inner > 0) & (inner < time.size)] - 1] = False
    close = inside & ~((gap >= spacing) & (gap > 0))
    if not close.any():
        return keep
    # Only light curves with a close pair need the walk; all of them take their k-th step together.
    affected = np.unique(np.searchsorted(offsets, np.flatnonzero(close), side="right") - 1)
    position, end = offsets[affected], offsets[affected + 1]
    last_kept = time[position]
    position = position + 1
    while (active := position < end).any():
        position, end, last_kept = position[active], end[active], last_kept[active]
        since = time[position] - last_kept
        stays = (since >= spacing) & (since > 0)
        keep[position] = stays
        last_kept = np.where(stays, time[position], last_kept)
        position = position + 1
    return keep


def _count(mask: NDArray[np.bool_], offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how many points of each light curve are true in `mask`."""
    before = np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(mask, dtype=np.int64)))
    counts: NDArray[np.int64] = before[offsets[1:]] - before[offsets[:-1]]
    return counts


def _repeats(batch: LightCurveBatch) -> NDArray[np.bool_]:
    """Return which points have the same time as the point before them in their light curve."""
    repeats = np.zeros(batch.n_points, dtype=np.bool_)
    repeats[1:] = np.diff(batch.time) == 0
    starts = batch.offsets[:-1]
    repeats[starts[starts < batch.n_points]] = False
    return repeats


def _programid(batch: LightCurveBatch) -> NDArray[np.integer[Any]]:
    if batch.programid is None:
        raise DataError(
            "cleaning.programids is given, but the light curves have no column programid; leave it null, or take files"
            " that have one"
        )
    return batch.programid


def _sorted_by_time(batch: LightCurveBatch) -> LightCurveBatch:
    """Return the batch with the points of each light curve in ascending time; at one time by magnitude, then error."""
    source = np.repeat(np.arange(len(batch)), batch.n_obs)
    unordered = (np.diff(batch.time) <= 0) & (np.diff(source) == 0)
    if not unordered.any():
        return batch
    order = np.lexsort((batch.mag_err, batch.mag, batch.time, source))
    points: dict[str, Any] = {
        name: None if (values := getattr(batch, name)) is None else values[order] for name in POINT_COLUMNS
    }
    return LightCurveBatch(id=batch.id, offsets=batch.offsets, **points)
