"""Alerts of a survey at the place of a light curve: how many, and how real the broker's network thinks them.

May import `spec`, `sky`, `crossmatch` and `core`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scope_ml.core.protocols import CatalogSource
from scope_ml.core.sphere import on_sky
from scope_ml.features.crossmatch import measured
from scope_ml.features.sky import CatalogTiles, Query
from scope_ml.features.spec import FeatureSpec

__all__ = ["AlertMatcher", "UnknownAlerts", "alert_columns"]

FloatArray = npt.NDArray[np.float64]

#: Score of the network braai, 0 (bogus) to 1 (real), by its name in Kowalski's documents.
SCORE = "classifications.braai"

N_ALERTS, MEAN_SCORE = "n_ztf_alerts", "mean_ztf_alert_braai"


def alert_columns() -> tuple[FeatureSpec, ...]:
    """Return the features of the group ``alerts``, in the order of the table."""
    return (
        FeatureSpec(
            name=N_ALERTS,
            group="alerts",
            unit="",
            formula="alerts within crossmatch.radius_arcsec of the light curve's position",
            sets=("ontological",),
            missing="zero",
            dtype="int32",
            legacy=N_ALERTS,
        ),
        FeatureSpec(
            name=MEAN_SCORE,
            group="alerts",
            unit="",
            formula="mean braai score of those alerts that have one; 0 without alerts, NaN if none has a score",
            reference="Duev et al. 2019, MNRAS 489, 3582",
            sets=("ontological",),
            missing="zero",
            legacy=MEAN_SCORE,
        ),
    )


class UnknownAlerts:
    """In the place of an `AlertMatcher` where there are no alerts to count: nobody knows, so no value."""

    def columns(self, ra: FloatArray, dec: FloatArray) -> dict[str, pa.Array]:
        """Return the columns of `alert_columns` for positions [deg], null each."""
        return {spec.name: pa.nulls(len(ra), pa.type_for_alias(spec.dtype)) for spec in alert_columns()}

    def requests(self, ra: FloatArray, dec: FloatArray) -> list[Callable[[], object]]:
        """Return that nothing must be asked."""
        return []


class AlertMatcher:
    """Counts alerts around positions; threads may share it.

    Parameters
    ----------
    source
        Where the alerts are.
    collection
        Name of their collection, such as ``ZTF_alerts``.
    radius_arcsec
        How far an alert may be [arcsec].
    cache
        Folder that keeps what was asked, see `sky.CatalogTiles`.

    Raises
    ------
    ScopeError
        If the source does not have the collection.
    """

    def __init__(self, source: CatalogSource, collection: str, radius_arcsec: float, cache: Path | None = None) -> None:
        self._radius = radius_arcsec
        self._where = f"catalogue '{collection}'"
        query = Query(
            catalog=collection, optional=(SCORE,), margin_arcsec=radius_arcsec, id_column="candid", ids="text"
        )
        self._tiles = CatalogTiles(source, query, cache=cache, prepare=self._scored)

    def columns(self, ra: FloatArray, dec: FloatArray) -> dict[str, npt.NDArray[Any]]:
        """Return the columns of `alert_columns` for positions [deg], (n,) each.

        A position that is no place on the sky (NaN) has 0 alerts and, since nobody knows, a mean score of NaN. An alert
        that stands in the collection twice counts once.

        Raises
        ------
        DataError
            If scores are no numbers.
        ScopeError
            If the alerts cannot be asked.
        """
        found = self._tiles.within(ra, dec, self._radius)
        n = len(ra)
        count = np.bincount(found.position, minlength=n)
        scores = found.rows[SCORE].to_numpy() if found.position.size else np.empty(0)
        scored = np.isfinite(scores)
        n_scored = np.bincount(found.position[scored], minlength=n)
        total = np.bincount(found.position[scored], weights=scores[scored], minlength=n)
        with np.errstate(invalid="ignore"):
            mean = total / n_scored
        mean[(count == 0) & on_sky(ra, dec)] = 0.0
        return {N_ALERTS: count.astype(np.int32), MEAN_SCORE: mean}

    def requests(self, ra: FloatArray, dec: FloatArray) -> list[Callable[[], object]]:
        """Return what must be asked first, see `sky.CatalogTiles.requests`."""
        return self._tiles.requests(ra, dec)

    def _scored(self, rows: pa.Table) -> pa.Table:
        """Give the rows of a tile a score each, NaN without one."""
        scores = np.full(rows.num_rows, np.nan)
        if SCORE in rows.column_names:
            scores = measured(rows[SCORE], SCORE, where=self._where)
        return pa.table({"ra": rows["ra"], "dec": rows["dec"], SCORE: scores})
