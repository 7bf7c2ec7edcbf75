"""How much each light curve of a star says: by its points and their errors.

The weight of a light curve is the information of its points, ``w = sum 1/e^2 = N q``: the inverse variance of its weighted mean
magnitude. ``q``, the mean of ``1/e^2``, follows exactly from two statistics of the feature table: ``chi2red = sum(d^2/e^2)
/ (N - 1)`` and ``wstd^2 = sum(d^2/e^2) / sum(1/e^2)`` give ``w = (N - 1) chi2red / wstd^2``. May import `core` and `errors`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scope_ml.core.identifiers import one_chunk
from scope_ml.selection.stars import Stars

__all__ = ["light_curve_weights"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

#: Points of a light curve: ours, or in SCoPe's tables.
POINTS = ("n_obs", "n")
STATISTICS = ("chi2red", "wstd")
#: The median error of a point [mag], where the statistics are missing.
ERROR = "med_err"


def light_curve_weights(table: pa.Table, stars: Stars) -> tuple[FloatArray, BoolArray]:
    """Return the weights of light curves within their stars, and which of them are their own.

    Parameters
    ----------
    table
        `n_obs` (or `n`), and `chi2red` with `wstd`, or `med_err` [mag], as far as they are there.
    stars
        The stars of the table.

    Returns
    -------
    weights
        float64, in `stars.order`; the largest of a star is 1. Where the points or the errors of a light curve are not known,
        the (lower) median of its star's others stands for them; where a star has none at all, 1.
    known
        bool, in `stars.order`: both are known.
    """
    points, quality = _points(table)[stars.order], _quality(table)[stars.order]
    known = ~(np.isnan(points) | np.isnan(quality))
    if not len(stars):
        return np.ones(0), known
    weights = _completed(points, stars) * _completed(quality, stars)
    largest = np.maximum.reduceat(weights, stars.starts)
    scaled: FloatArray = weights / np.repeat(largest, stars.counts)
    return scaled, known


def _points(table: pa.Table) -> FloatArray:
    """Return the points of each row, float64; NaN where unknown."""
    name = next((name for name in POINTS if name in table.column_names), None)
    return _positive(np.full(table.num_rows, np.nan) if name is None else _floats(table, name))


def _quality(table: pa.Table) -> FloatArray:
    """Return the mean of 1/e^2 over the points of each row [1/mag^2], float64; NaN where unknown."""
    there = set(table.column_names)
    quality = np.full(table.num_rows, np.nan)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        if set(STATISTICS) <= there:
            chi2red, wstd = (_floats(table, name) for name in STATISTICS)
            n = _points(table)
            # Nothing is known of the errors of a light curve that is constant.
            quality = _positive((n - 1.0) / n * chi2red / wstd**2)
        if ERROR in there:
            quality = np.where(np.isnan(quality), _positive(1.0 / _floats(table, ERROR) ** 2), quality)
    return quality


def _completed(values: FloatArray, stars: Stars) -> FloatArray:
    """Return values in `stars.order` with the lower median of each star for those that are NaN, or 1."""
    lost = np.isnan(values)
    if not lost.any():
        return values
    of = np.repeat(np.arange(len(stars)), stars.counts)
    # Only stars that lack something are sorted.
    places = np.flatnonzero(np.repeat(np.logical_or.reduceat(lost, stars.starts), stars.counts))
    ranked = values.copy()
    ranked[places] = values[places[np.lexsort((values[places], of[places]))]]
    n_known = np.add.reduceat((~lost).astype(np.int64), stars.starts)
    median = np.where(n_known > 0, ranked[stars.starts + np.maximum(n_known - 1, 0) // 2], 1.0)
    return np.where(lost, np.repeat(median, stars.counts), values)


def _positive(values: FloatArray) -> FloatArray:
    with np.errstate(invalid="ignore"):
        return np.where(np.isfinite(values) & (values > 0), values, np.nan)


def _floats(table: pa.Table, name: str) -> FloatArray:
    column = one_chunk(table[name]).cast(pa.float64()).fill_null(float("nan"))
    values: FloatArray = column.to_numpy(zero_copy_only=False)
    return values
