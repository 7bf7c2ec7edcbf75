"""Batches cut into chunks of light curves that are searched together, as many as the device holds.

May import the rooms `columns`, `device`, `fits`, `flat` and `tasks`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.errors import BackendUnavailableError
from scope_ml.kernels.curve import Curve, make_curve
from scope_ml.kernels.gpu.columns import Columns, stack
from scope_ml.kernels.gpu.device import free_bytes
from scope_ml.kernels.gpu.fits import pack_fit, pack_fits
from scope_ml.kernels.gpu.flat import Flat, check, has_one_band, take
from scope_ml.kernels.gpu.tasks import PIECE
from scope_ml.kernels.grid import FrequencyGrid
from scope_ml.kernels.peaks import SearchStatus

__all__ = ["MOST_TASKS", "Chunk", "chunks", "searchable"]

#: Tasks of a launch: blocks in the second direction of a grid.
MOST_TASKS = 65535
#: Most work of a chunk, points times frequencies: 3 ms of an H100, longer than the host takes to pack one. It does so
#: while the device does another.
CHUNK_WORK = 5e9
#: Bytes on the device per point and per frequency of a chunk, more than any method takes.
BYTES_PER_POINT = 96
BYTES_PER_FREQUENCY = 8
#: Share of the free memory that a chunk may take: two are there at a time.
SHARE = 0.3


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Light curves that are searched together.

    Attributes
    ----------
    rows
        Their places in the batch, int64 (n,).
    flat
        Their points, where each has one band.
    several
        The light curves one by one, where they have several bands.
    """

    rows: NDArray[np.int64]
    flat: Flat | None
    several: list[Curve]

    @cached_property
    def fits(self) -> Columns:
        """The light curves as least-squares kernels take them; made when first asked for, while the device may work."""
        return pack_fits(self.flat) if self.flat is not None else stack([pack_fit(curve) for curve in self.several])

    @property
    def n_obs(self) -> NDArray[np.int64]:
        """Points of each light curve, int64 (n,)."""
        if self.flat is not None:
            return self.flat.n_obs
        return np.array([curve.time.size for curve in self.several], dtype=np.int64)

    @cached_property
    def curves(self) -> list[Curve]:
        """The light curves one by one; what can be had from `flat` at once costs the host less."""
        return self.several if self.flat is None else self.flat.curves()


def searchable(batch: LightCurveBatch, grid: FrequencyGrid, min_n_obs: int) -> NDArray[np.uint8]:
    """Return the `SearchStatus` of each light curve as far as it is known before the search, uint8 (n,)."""
    status = check(batch, min_n_obs, has_one_band(batch))
    return np.where(status == SearchStatus.OK, grid.status, status).astype(np.uint8)


def chunks(batch: LightCurveBatch, grid: FrequencyGrid, status: NDArray[np.uint8]) -> Iterator[Chunk]:
    """Yield the light curves that can be searched: those of one band, then those of several.

    Raises
    ------
    BackendUnavailableError
        If the device has too little memory for a single one.
    """
    room = SHARE * free_bytes()
    one_band, sizes = has_one_band(batch), batch.n_obs
    for flat in (True, False):
        mine = np.flatnonzero((status == SearchStatus.OK) & (one_band == flat))
        own_work = sizes[mine].astype(np.float64) * grid.n_frequencies[mine]
        # Chunks of about the same work: a small last one would take the host as long as a large one.
        most_work = own_work.sum() / max(1.0, np.ceil(own_work.sum() / CHUNK_WORK))
        most_work += min(own_work.max(initial=0.0), CHUNK_WORK / 4)
        rows: list[int] = []
        work = size = n_tasks = 0.0
        for index in mine.tolist():
            n_obs, length = int(sizes[index]), int(grid.n_frequencies[index])
            own = float(n_obs * BYTES_PER_POINT + length * BYTES_PER_FREQUENCY)
            if own > room:
                raise BackendUnavailableError(
                    f"light curve {index} with {n_obs} points and {length} frequencies needs {own / 2**20:.0f} MiB on the"
                    f" GPU, {room / 2**20:.0f} MiB can be had; free some, or set machine.device=cpu"
                )
            pieces = -(-length // PIECE)
            full = work + n_obs * length > most_work or size + own > room or n_tasks + pieces > MOST_TASKS
            if rows and full:
                yield _make(batch, rows, flat)
                rows, work, size, n_tasks = [], 0.0, 0.0, 0.0
            rows.append(index)
            work, size, n_tasks = work + n_obs * length, size + own, n_tasks + pieces
        if rows:
            yield _make(batch, rows, flat)


def _make(batch: LightCurveBatch, rows: list[int], one_band: bool) -> Chunk:
    """Return a chunk of the light curves `rows`."""
    which = np.asarray(rows, dtype=np.int64)
    if one_band:
        flat = take(batch, rows)
        return Chunk(rows=which, flat=flat, several=[])
    curves = [make_curve(batch, index) for index in rows]
    return Chunk(rows=which, flat=None, several=curves)
