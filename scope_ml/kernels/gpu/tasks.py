"""The pieces of work that kernels take: stretches of evenly spaced frequencies of one light curve.

Pieces have the same bounds whatever else is in a launch, so that a light curve's result does not depend on its batch.
May import `kernels.grid`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scope_ml.kernels.grid import FrequencyGrid

__all__ = ["PEAK", "PIECE", "TASK", "Pieces", "pieces_of_grid", "pieces_of_points"]

#: `Task` of ``source/task.cu``.
TASK = np.dtype(
    {
        "names": ["frequency", "step", "real", "out", "count", "point", "n_points", "row", "whole"],
        "formats": ["f8", "f8", ("f8", 4), "i8", "i4", "i4", "i4", "i4", ("i4", 4)],
    },
    align=True,
)

#: `Peak` of the same.
PEAK = np.dtype([("value", "f4"), ("index", "i4")])

#: Frequencies of a piece. A longer grid has several, and a few numbers of each come back to the host.
PIECE = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Pieces:
    """Stretches of frequencies, one entry each; their values lie one after the other in one buffer.

    Attributes
    ----------
    row
        Which of the light curves at hand, int32.
    frequency, step
        First frequency and spacing [1/d], float64.
    count
        Values, int32; with those before the first and after the last that count.
    lead, tail
        How many those are, 0 or 1: neighbours that belong to the next piece, int32.
    index
        Place of the first value in the grid, int32.
    """

    row: NDArray[np.int32]
    frequency: NDArray[np.float64]
    step: NDArray[np.float64]
    count: NDArray[np.int32]
    lead: NDArray[np.int32]
    tail: NDArray[np.int32]
    index: NDArray[np.int32]

    @property
    def out(self) -> NDArray[np.int64]:
        """Place of each piece in the buffer, int64, and at the end the buffer's length."""
        return np.concatenate(([0], np.cumsum(self.count, dtype=np.int64)))


def pieces_of_grid(grid: FrequencyGrid, rows: NDArray[np.int64]) -> Pieces:
    """Return the grids of light curves `rows` in pieces of `PIECE`, each with one neighbour on both sides."""
    n_pieces = -(-grid.n_frequencies[rows] // PIECE)
    of = np.repeat(np.arange(rows.size, dtype=np.int32), n_pieces)
    begin = PIECE * (np.arange(of.size, dtype=np.int64) - np.repeat(np.cumsum(n_pieces) - n_pieces, n_pieces))
    which = rows[of]
    length = grid.n_frequencies[which]
    end = np.minimum(begin + PIECE, length)
    lead, tail = (begin > 0).astype(np.int32), (end < length).astype(np.int32)
    at: NDArray[np.int64] = begin - lead
    return Pieces(
        row=of,
        frequency=grid.minimum[which] + at * grid.step[which],
        step=grid.step[which],
        count=(end - begin + lead + tail).astype(np.int32),
        lead=lead,
        tail=tail,
        index=at.astype(np.int32),
    )


def pieces_of_points(
    row: NDArray[np.int32], frequency: NDArray[np.float64], step: NDArray[np.float64], count: NDArray[np.int32]
) -> Pieces:
    """Return pieces that stand for themselves: `count` frequencies from `frequency` on, each."""
    none = np.zeros(row.size, dtype=np.int32)
    return Pieces(row=row, frequency=frequency, step=step, count=count, lead=none, tail=none, index=none)
