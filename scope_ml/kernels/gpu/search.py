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
from scope_ml.kernels.gpu.chunk import Chunk, chunks, searchable
from scope_ml.kernels.gpu.columns import Columns
from scope_ml.kernels.gpu.device import DeviceArray, download
from scope_ml.kernels.gpu.launch import DeviceMethod, KnowsNoise, evaluate
from scope_ml.kernels.gpu.peaks import Asked, Peaks, Scan, start_scan
from scope_ml.kernels.gpu.tasks import Pieces, pieces_of_grid
from scope_ml.kernels.grid import FrequencyGrid
from scope_ml.kernels.peaks import PeriodogramPeaks, SearchOptions, SearchStatus, Spectrum
from scope_ml.kernels.search import Found

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
    for started, found in _pipeline(method, batch, grid, options, peaks.status.copy()):
        _store(peaks, started.chunk.rows, found, _false_alarms(method, started.chunk, found, grid))
        spectra.update(_spectra(started, grid))
    if options.return_spectrum:
        peaks.spectra.extend(spectra.get(row) for row in range(len(batch)))
    return peaks


def find(
    method: DeviceMethod, chunk: Chunk, columns: Columns, grid: FrequencyGrid, options: SearchOptions, n_peaks: int
) -> list[Found]:
    """Search a chunk and wait for it; the frequencies are refined."""
    started = _start(method, chunk, columns, grid, options, n_peaks)
    peaks = _finish(started, grid)
    spectra = _spectra(started, grid)
    return [
        Found(
            frequency=peaks.frequency[i, :n],
            statistic=peaks.statistic[i, :n],
            significance=peaks.significance[i, :n],
            mean=float(peaks.mean[i]),
            scatter=float(peaks.scatter[i]),
            spectrum=spectra.get(row),
        )
        for i, (row, n) in enumerate(zip(chunk.rows.tolist(), peaks.n_found.tolist(), strict=True))
    ]


def _pipeline(
    method: DeviceMethod,
    batch: LightCurveBatch,
    grid: FrequencyGrid,
    options: SearchOptions,
    status: NDArray[np.uint8],
) -> Iterator[tuple[_Started, Peaks]]:
    """Yield the searches of chunks and what they found, each once the next one is on the device."""
    before: _Started | None = None
    for chunk in chunks(batch, grid, status):
        started = _start(method, chunk, method.pack(chunk), grid, options, options.n_peaks)
        if before is not None:
            yield before, _finish(before, grid)
        before = started
    if before is not None:
        yield before, _finish(before, grid)


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


def _finish(started: _Started, grid: FrequencyGrid) -> Peaks:
    """Wait for a chunk; return the peaks, refined, of its light curves."""
    peaks = started.scan.finish()
    # As `search.scan`: nothing was found in a periodogram that is the same everywhere.
    flat = (peaks.scatter == 0.0) & (grid.n_frequencies[started.chunk.rows] > 1)
    return replace(peaks, n_found=np.where(flat, 0, peaks.n_found))


def _store(result: PeriodogramPeaks, rows: NDArray[np.int64], found: Peaks, alarms: NDArray[np.float64] | None) -> None:
    """Write the peaks of a chunk into rows of the result."""
    is_found = np.arange(found.frequency.shape[1]) < found.n_found[:, None]
    result.frequency[rows] = np.where(is_found, found.frequency, np.nan)
    result.statistic[rows] = np.where(is_found, found.statistic, np.nan)
    result.significance[rows] = np.where(is_found, found.significance, np.nan)
    if alarms is not None:
        result.false_alarm_probability[rows] = np.where(is_found, alarms, np.nan)
    result.status[rows[found.n_found == 0]] = SearchStatus.NO_PEAK


def _spectra(started: _Started, grid: FrequencyGrid) -> dict[int, Spectrum]:
    """Return the whole periodograms of a chunk by row, without the neighbours that pieces have; empty unless kept."""
    if started.values is None:
        return {}
    pieces, out = started.pieces, started.pieces.out
    values = download(started.values).astype(np.float64)
    result = {}
    for place, row in enumerate(started.chunk.rows.tolist()):
        own = np.flatnonzero(pieces.row == place)
        parts = [values[out[k] + pieces.lead[k] : out[k + 1] - pieces.tail[k]] for k in own]
        result[row] = Spectrum(frequency=grid.frequencies(row), statistic=np.concatenate(parts))
    return result


def _false_alarms(method: DeviceMethod, chunk: Chunk, found: Peaks, grid: FrequencyGrid) -> NDArray[np.float64] | None:
    """Return the false-alarm probabilities of the peaks of a chunk, (n_rows, n_peaks); None where no theory gives them."""
    width = grid.n_frequencies[chunk.rows] * grid.step[chunk.rows]
    if chunk.flat is not None and isinstance(method, KnowsNoise):
        return method.false_alarms(found.statistic, chunk, chunk.flat, width)
    alarm = method.method.false_alarm
    if alarm is None:
        return None
    result = np.full(found.statistic.shape, np.nan)
    for i, (curve, n) in enumerate(zip(chunk.curves, found.n_found.tolist(), strict=True)):
        result[i, :n] = alarm(found.statistic[i, :n], curve, float(width[i]))
    return result
