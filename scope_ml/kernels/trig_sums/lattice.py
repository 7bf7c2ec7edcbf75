"""Sums of one light curve on a lattice of frequencies ``m * spacing``, tile by tile, each tile computed once.

A harmonic ``j * f`` asks for tiles that the lower harmonics ask for again at higher frequencies: what was computed is
kept, up to a limit, until the search has passed it.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from scope_ml.kernels.trig_sums.direct import DirectSummer
from scope_ml.kernels.trig_sums.nufft import N_RUNS, NufftSummer
from scope_ml.kernels.trig_sums.store import lend, take_back

__all__ = ["Lattice", "make_summer"]

#: From this many points on the FFT sums faster than the matrix product; measured.
MANY_POINTS = 120

#: Bytes of tiles that a lattice keeps.
KEPT_BYTES = 1 << 26

#: Frequencies of a tile summed by the matrix product.
DIRECT_TILE = 4096

#: Frequencies per run of the FFT for up to so many points: short runs stay in the cache, long ones pay when each must
#: spread many points.
RUNS = ((3_000, 2048), (20_000, 8192), (10**9, 32768))


class Summer(Protocol):
    """Sums of one light curve at consecutive frequencies of a lattice."""

    def sum(self, start: int, strengths: NDArray[np.float64], out: NDArray[np.float64]) -> None:
        """Write the sums of strengths (n_sums, n_obs) from lattice frequency `start` on, float64 (n_sums, 2, n)."""


def make_summer(high: NDArray[np.float64], low: NDArray[np.float64]) -> tuple[Summer, int]:
    """Return the fastest summer for phases per lattice step in two parts, float64 (n_obs,), and its size of tile."""
    if high.size < MANY_POINTS:
        return DirectSummer(high, low), DIRECT_TILE
    n_run = next(size for limit, size in RUNS if high.size <= limit)
    return NufftSummer(high, low, n_run), n_run * N_RUNS


class Lattice:
    """Tiles of the sums of one light curve."""

    def __init__(self, summer: Summer, tile: int, strengths: NDArray[np.float64]) -> None:
        """Prepare.

        Parameters
        ----------
        summer, tile
            From `make_summer`.
        strengths
            Float64 (n_sums, n_obs).
        """
        self._tiles: dict[int, NDArray[np.float64]] = {}
        self.tile = tile
        self._summer = summer
        self._strengths = strengths
        self._limit = max(1, KEPT_BYTES // (16 * tile * strengths.shape[0]))

    def take(self, index: int) -> NDArray[np.float64]:
        """Return the sums at lattice frequencies ``index * tile`` and following, float64 (n_sums, 2, tile)."""
        found = self._tiles.get(index)
        if found is None:
            found = lend((self._strengths.shape[0], 2, self.tile))
            self._summer.sum(index * self.tile, self._strengths, found)
            # When full, the tiles that are there will be needed before this one.
            if len(self._tiles) < self._limit:
                self._tiles[index] = found
        return found

    def forget(self, first: int) -> None:
        """Drop the tiles that end below lattice frequency `first`."""
        for index in [index for index in self._tiles if (index + 1) * self.tile <= first]:
            take_back(self._tiles.pop(index))

    def __del__(self) -> None:
        """Leave the tiles to the next light curve."""
        for tile in self._tiles.values():
            take_back(tile)
