"""The scores of a star's light curves as one, with their scatter: a column at a time, for millions of light curves.

May import `core` and `errors`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scope_ml.core.identifiers import one_chunk
from scope_ml.errors import DataError
from scope_ml.selection.star_rules import StarCombine
from scope_ml.selection.stars import Stars

__all__ = ["Folded", "ScoreFolds", "nullable"]

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Folded:
    """One column of scores, a value a star; float32 (n_stars,), NaN where there is none.

    Attributes
    ----------
    value
        The score.
    scatter
        Standard deviation between its light curves, N - 1 in the denominator; NaN for fewer than two.
    spread
        How far the seeds are apart; NaN without a column of spreads.
    """

    value: Float32Array
    scatter: Float32Array
    spread: Float32Array


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoreFolds:
    """How columns of a table are folded.

    Attributes
    ----------
    stars
        The stars of the table.
    how
        What is made of several light curves.
    weights
        Of the light curves in `stars.order`, float64 (n,), above 0; used where `how` is ``weighted``.
    """

    stars: Stars
    how: StarCombine
    weights: FloatArray

    @cached_property
    def _bounds(self) -> IntArray:
        return np.append(self.stars.starts, len(self.stars.order)).astype(np.int64)

    @cached_property
    def _weights(self) -> FloatArray:
        return self.weights if self.how == "weighted" else np.ones(len(self.stars.order))

    def fold(self, scores: pa.ChunkedArray, spreads: pa.ChunkedArray | None = None) -> Folded:
        """Fold one column, and its spreads of seeds beside it.

        Parameters
        ----------
        scores, spreads
            (n_rows,); null and NaN do not count, nor does a spread without a score.

        Raises
        ------
        DataError
            If they are no numbers.

        Notes
        -----
        The spread is folded as the score is, with the same weights: that is the most by which the seeds' scores of the star
        can be apart. Beside ``max`` it is that of the light curve whose score counts.
        """
        from scope_ml.selection import fold_loops

        how = {"max": fold_loops.MAX, "median": fold_loops.MEDIAN}.get(self.how, fold_loops.MEAN)
        values = _floats(scores)
        beside = values[:0] if spreads is None else _beside(values, _floats(spreads))
        out = np.empty((3, len(self.stars)), dtype=np.float32)
        fold_loops.fold(values, beside, self.stars.order, self._bounds, self._weights, how, out)
        return Folded(value=out[0], scatter=out[1], spread=out[2])


def nullable(values: Float32Array) -> pa.Array:
    """Return values as a column, null for NaN."""
    lost = np.isnan(values)
    return pa.array(values, mask=lost if lost.any() else None)


def _beside(values: npt.NDArray[np.floating], spreads: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """Return spreads in the type of the scores, NaN where there is no score."""
    lost = np.isnan(values)
    if not lost.any() and spreads.dtype == values.dtype:
        return spreads
    beside = np.where(lost, np.nan, spreads).astype(values.dtype)
    # As arrays of Arrow's are: the loops are compiled for these.
    beside.flags.writeable = False
    return beside


def _floats(column: pa.ChunkedArray) -> npt.NDArray[np.floating]:
    """Return a column as it is if it holds float32, else as float64; NaN for null."""
    array = one_chunk(column)
    if not (pa.types.is_floating(array.type) or pa.types.is_integer(array.type) or pa.types.is_null(array.type)):
        raise DataError(f"a column of scores is {array.type}; scores are numbers from 0 to 1")
    if array.type != pa.float32():
        array = array.cast(pa.float64())
    if array.null_count:
        array = array.fill_null(float("nan"))
    values: npt.NDArray[np.floating] = array.to_numpy(zero_copy_only=False)
    return values
