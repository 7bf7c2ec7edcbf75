"""The driver of all period searches on the GPU: what `kernels.search` is on the CPU, for chunks of light curves.

While the device works on a chunk, the host takes the results of the one before and packs the next. May import
everything in this package.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.kernels.curve import Curve
from scope_ml.kernels.gpu.chunk import Chunk, chunks, searchable
from scope_ml.kernels.gpu.columns import Columns
from scope_ml.kernels.gpu.device import DeviceArray, download
from scope_ml.kernels.gpu.launch import DeviceMethod, evaluate
from scope_ml.kernels.gpu.peaks import Asked, Scan, start_scan
from scope_ml.kernels.gpu.tasks import Pieces, pieces_of_grid
from scope_ml.kernels.grid import FrequencyGrid
from scope_ml.kernels.peaks import PeriodogramPeaks, SearchOptions, SearchStatus, Spectrum
from scope_ml.kernels.search import Found, store

__all__ = ["find", "search"]


@dataclass(frozen=True, kw_only=True)
class _Started:
    """A method under way on a chunk; `values` only where whole periodograms are asked for."""

    chunk: Chunk
    pieces: Pieces
    scan: Scan
    values: DeviceArray | None


def search(
    method: DeviceMethod, batch: LightCurveBatch, grid: FrequencyGrid, options: SearchOptions
) -> PeriodogramPeaks:
    """Search each light curve on its own grid; arguments and result are those of `kernels.search.search_batch`.

    Raises
    ------
    BackendUnavailableError
        If the device has too little memory, or a kernel cannot be compiled.
    """
    peaks = PeriodogramPeaks.empty(len(batch), options.n_peaks)
    peaks.status[:] = searchable(batch, grid, method.method.min_n_obs)
    spectra: dict[int, Spectrum | None] = {}
    for chunk, found in _pipeline(method, batch, grid, options, peaks.status.copy()):
        for row, curve, one in zip(chunk.rows.tolist(), chunk.curves, found, strict=True):
            store(peaks, row, one, one.frequency)
            alarm = _false_alarms(method, one, curve, grid, row)
            peaks.false_alarm_probability[row, : alarm.size] = alarm
            if one.frequency.size == 0:
                peaks.status[row] = SearchStatus.NO_PEAK
            spectra[row] = one.spectrum
    if options.return_spectrum:
        peaks.spectra.extend(spectra.get(row) for row in range(len(batch)))
    return peaks


def find(
    method: DeviceMethod, chunk: Chunk, columns: Columns, grid: FrequencyGrid, options: SearchOptions, n_peaks: int
) -> list[Found]:
    """Search a chunk and wait for it; the frequencies are refined."""
    return _finish(_start(method, chunk, columns, grid, options, n_peaks), grid)


def _pipeline(
    method: DeviceMethod,
    batch: LightCurveBatch,
    grid: FrequencyGrid,
    options: SearchOptions,
    status: NDArray[np.uint8],
) -> Iterator[tuple[Chunk, list[Found]]]:
    """Yield the chunks and what was found in them, each once the next one is on the device."""
    before: _Started | None = None
    for chunk in chunks(batch, grid, status):
        started = _start(method, chunk, method.pack(chunk), grid, options, options.n_peaks)
        if before is not None:
            yield before.chunk, _finish(before, grid)
        before = started
    if before is not None:
        yield before.chunk, _finish(before, grid)


def _start(
    method: DeviceMethod, chunk: Chunk, columns: Columns, grid: FrequencyGrid, options: SearchOptions, n_peaks: int
) -> _Started:
    """Start a method and the scan of its periodograms; return at once."""
    pieces = pieces_of_grid(grid, chunk.rows)
    values = evaluate(method, columns, pieces)
    asked = Asked(
        grid=grid,
        rows=chunk.rows,
        exclude=options.exclude,
        n_peaks=n_peaks,
        sign=1 if method.method.best == "max" else -1,
        n_harmonics=method.method.n_harmonics,
    )
    scan = start_scan(values, pieces, chunk.fits, asked)
    return _Started(chunk=chunk, pieces=pieces, scan=scan, values=values if options.return_spectrum else None)


def _finish(started: _Started, grid: FrequencyGrid) -> list[Found]:
    """Wait for a chunk; return peaks, refined, and moments of each of its light curves."""
    peaks = started.scan.finish()
    # As `search.scan`: nothing was found in a periodogram that is the same everywhere.
    flat = (peaks.scatter == 0.0) & (grid.n_frequencies[started.chunk.rows] > 1)
    n_found = np.where(flat, 0, peaks.n_found)
    found = [
        Found(
            frequency=peaks.frequency[i, :n],
            statistic=peaks.statistic[i, :n],
            significance=peaks.significance[i, :n],
            mean=mean,
            scatter=scatter,
        )
        for i, (n, mean, scatter) in enumerate(
            zip(n_found.tolist(), peaks.mean.tolist(), peaks.scatter.tolist(), strict=True)
        )
    ]
    return found if started.values is None else _with_spectra(found, started, grid)


def _with_spectra(found: list[Found], started: _Started, grid: FrequencyGrid) -> list[Found]:
    """Add the whole periodograms, without the neighbours that pieces have."""
    pieces, out = started.pieces, started.pieces.out
    values = download(started.values).astype(np.float64)
    result = []
    for place, (row, one) in enumerate(zip(started.chunk.rows.tolist(), found, strict=True)):
        own = np.flatnonzero(pieces.row == place)
        parts = [values[out[k] + pieces.lead[k] : out[k + 1] - pieces.tail[k]] for k in own]
        spectrum = Spectrum(frequency=grid.frequencies(row), statistic=np.concatenate(parts))
        result.append(replace(one, spectrum=spectrum))
    return result


def _false_alarms(
    method: DeviceMethod, found: Found, curve: Curve, grid: FrequencyGrid, row: int
) -> NDArray[np.float64]:
    """Return the false-alarm probabilities of the peaks of a light curve; empty where no theory gives them."""
    if method.method.false_alarm is None:
        return np.empty(0)
    return method.method.false_alarm(found.statistic, curve, float(grid.n_frequencies[row] * grid.step[row]))
