"""Peaks and moments of periodograms that lie on the device; all that comes back of them is `Found` (a few numbers).

May import the rooms `columns`, `device`, `fits` and `tasks`, and `kernels.refine` for the steps of the refinement.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scope_ml.kernels.gpu.columns import Columns
from scope_ml.kernels.gpu.device import (
    DeviceArray,
    Download,
    Program,
    empty,
    launch,
    start_download,
    upload,
    upload_together,
)
from scope_ml.kernels.gpu.fits import refine_programs
from scope_ml.kernels.gpu.tasks import PEAK, PIECE, TASK, Pieces, pieces_of_points
from scope_ml.kernels.grid import FrequencyGrid
from scope_ml.kernels.refine import FIRST_SPACING, LAST_SPACING, POINTS_PER_HARMONIC, REACH

__all__ = ["Asked", "Peaks", "Scan", "excluded_indices", "start_scan"]

#: Values that are looked at together, and threads of a block that does or that picks the highest of a whole piece.
SPAN = 256
THREADS = 256
PICKING_THREADS = 1024
#: Bytes of `Span` of ``source/peaks.cu``.
SPAN_BYTES = 24

_SOURCES = ("task", "peaks")
# A piece has a neighbour on both sides.
_DEFINES = (("SPAN", SPAN), ("MOST_SPANS", -(-(PIECE + 2) // SPAN)))
SCAN = Program(sources=_SOURCES, name="scan", defines=(("THREADS", THREADS), *_DEFINES), per_block=SPAN)
COLLECT = Program(sources=_SOURCES, name="collect", defines=(("THREADS", PICKING_THREADS), *_DEFINES), per_block=1)
CHOOSE = Program(sources=_SOURCES, name="choose", defines=(("THREADS", THREADS), *_DEFINES), per_block=1)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is looked for in the periodograms of a chunk.

    Attributes
    ----------
    grid, rows
        The grids, and which of them are the light curves', int64 (n_rows,).
    exclude
        Windows of frequency [1/d] left out.
    n_peaks
        Peaks per light curve.
    sign
        1 where larger is better, else -1.
    n_harmonics
        Sinusoids by which peaks are refined.
    """

    grid: FrequencyGrid
    rows: NDArray[np.int64]
    exclude: tuple[tuple[float, float], ...]
    n_peaks: int
    sign: int
    n_harmonics: int


@dataclass(frozen=True, kw_only=True)
class Peaks:
    """Peaks of each light curve, best first, as they stand in the natural statistic.

    Attributes
    ----------
    n_found
        How many, int64 (n_rows,).
    frequency, statistic, significance
        Refined frequencies [1/d], values on the grid, distances from the mean in standard deviations, float64
        (n_rows, n_peaks); of no meaning beyond `n_found`.
    mean, scatter
        Of the statistic, float64 (n_rows,).
    """

    n_found: NDArray[np.int64]
    frequency: NDArray[np.float64]
    statistic: NDArray[np.float64]
    significance: NDArray[np.float64]
    mean: NDArray[np.float64]
    scatter: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Scan:
    """A scan under way on the device."""

    asked: Asked
    pieces: Pieces
    results: Download

    def finish(self) -> Peaks:
        """Wait for the device; return what was found."""
        asked, n_rows = self.asked, self.asked.rows.size
        chosen, refined, moments = self.results.wait()
        chosen = chosen.view(PEAK).reshape(n_rows, asked.n_peaks)
        sums = moments.reshape(-1, 3)
        count, total, squares = (np.bincount(self.pieces.row, sums[:, i], minlength=n_rows) for i in range(3))
        mean = total / np.maximum(count, 1.0)
        variance = np.maximum(squares / np.maximum(count, 1.0) - mean**2, 0.0)
        # Below the rounding of the sums nothing is known of the scatter.
        variance[variance <= 1e-14 * mean**2] = 0.0
        scatter = np.sqrt(variance)
        statistic = chosen["value"].astype(np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            significance = asked.sign * (statistic - mean[:, None]) / scatter[:, None]
        significance[scatter == 0] = np.nan
        first = asked.grid.minimum[asked.rows]
        last = first + (asked.grid.n_frequencies[asked.rows] - 1) * asked.grid.step[asked.rows]
        frequency = np.clip(refined.reshape(n_rows, asked.n_peaks), first[:, None], last[:, None])
        on_grid = first[:, None] + chosen["index"] * asked.grid.step[asked.rows, None]
        # As `search.refine_peaks`: a peak does not leave the grid point for an excluded window.
        for low, high in asked.exclude:
            frequency = np.where((frequency >= low) & (frequency <= high), on_grid, frequency)
        return Peaks(
            n_found=(chosen["index"] >= 0).sum(axis=1),
            frequency=frequency,
            statistic=statistic,
            significance=significance,
            mean=mean,
            scatter=scatter,
        )


def excluded_indices(
    grid: FrequencyGrid, rows: NDArray[np.int64], windows: tuple[tuple[float, float], ...]
) -> NDArray[np.int32]:
    """Return first and last grid index in each window, int32 (n_rows, n_windows, 2); as `grid.excluded_mask` has it."""
    if not windows:
        return np.zeros((rows.size, 0, 2), dtype=np.int32)
    minimum, step = grid.minimum[rows, None], grid.step[rows, None]
    longest = grid.n_frequencies[rows, None]
    bounds = np.asarray(windows, dtype=np.float64).reshape(-1, 2)
    first = np.clip(np.ceil((bounds[None, :, 0] - minimum) / step), 0, longest)
    last = np.clip(np.floor((bounds[None, :, 1] - minimum) / step), -1, longest - 1)
    # The division may round over a grid point; the grid itself decides.
    first -= (first > 0) & (minimum + (first - 1) * step >= bounds[None, :, 0])
    first += (first < longest) & (minimum + first * step < bounds[None, :, 0])
    last += (last < longest - 1) & (minimum + (last + 1) * step <= bounds[None, :, 1])
    last -= (last >= 0) & (minimum + last * step > bounds[None, :, 1])
    return np.stack((first, last), axis=-1).astype(np.int32)


def start_scan(values: DeviceArray, pieces: Pieces, fits: Columns, asked: Asked) -> Scan:
    """Start looking for the best distinct peaks, the moments, and the frequencies between grid points.

    Parameters
    ----------
    values
        Statistic of all pieces on the device, float32.
    pieces
        What they are; those of a light curve follow one another.
    fits
        The light curves, for the refinement.
    asked
        What is looked for.
    """
    n_pieces, n_rows = pieces.row.size, asked.rows.size
    n_spans = -(-pieces.count // SPAN)
    # Each peak taken hides fewer candidates than two separations hold.
    wanted = asked.n_peaks * 2 * asked.grid.samples_per_peak
    tasks = np.zeros(n_pieces, dtype=TASK)
    tasks["out"], tasks["count"], tasks["row"] = pieces.out[:-1], pieces.count, pieces.row
    tasks["real"][:, 0] = asked.sign
    tasks["whole"] = np.stack((pieces.lead, pieces.tail, np.cumsum(n_spans) - n_spans, pieces.index), axis=1)
    windows = excluded_indices(asked.grid, asked.rows, asked.exclude)
    first_piece = np.searchsorted(pieces.row, np.arange(n_rows + 1)).astype(np.int32)
    on_device, own_windows, own_first = upload_together(tasks, windows, first_piece)
    spans = empty(int(n_spans.sum()) * SPAN_BYTES, np.uint8)
    candidates = empty(n_pieces * wanted * PEAK.itemsize, np.uint8)
    n_found, moments = empty(n_pieces, np.int32), empty(3 * n_pieces, np.float64)
    chosen = empty(n_rows * asked.n_peaks * PEAK.itemsize, np.uint8)
    shared = (on_device, values, own_windows, len(asked.exclude))
    launch(SCAN, (int(n_spans.max()), n_pieces), (*shared, spans))
    launch(COLLECT, (n_pieces, 1), (*shared, spans, wanted, candidates, n_found, moments))
    numbers = (wanted, asked.n_peaks, asked.sign, asked.grid.samples_per_peak)
    launch(CHOOSE, (n_rows, 1), (own_first, candidates, n_found, *numbers, chosen))
    refined = _start_refinement(chosen, fits, asked)
    return Scan(asked=asked, pieces=pieces, results=start_download(chosen, refined, moments))


def _start_refinement(chosen: DeviceArray, fits: Columns, asked: Asked) -> DeviceArray:
    """Start moving the peaks to the best fits near them: `kernels.refine`, for all peaks at once."""
    grid, n_rows = asked.grid, asked.rows.size
    row = np.repeat(np.arange(n_rows, dtype=np.int32), asked.n_peaks)
    of = asked.rows[row]
    step = grid.step[of]
    tasks = fits.tasks(pieces_of_points(row, grid.minimum[of], step, np.ones(row.size, dtype=np.int32)))
    end = np.cumsum(fits.n_obs)
    baseline = np.maximum.reduceat(fits.arrays[0], end - fits.n_obs)[row]
    tasks["real"][:, 0] = FIRST_SPACING / baseline * np.maximum(1.0, step * baseline / REACH)
    tasks["real"][:, 1] = LAST_SPACING / baseline
    n_trials = 2 * round(REACH / FIRST_SPACING) + 1
    refined, shares = empty(row.size, np.float64), empty(row.size * n_trials, np.float64)
    order = np.clip(fits.n_obs // POINTS_PER_HARMONIC, 1, asked.n_harmonics)[row]
    for n in np.unique(order):
        same = tasks[order == n]
        on_device = upload(same)
        fit, move = refine_programs(int(n), n_trials)
        for stage, trials in enumerate((n_trials, 3)):
            launch(fit, (same.size, trials), (on_device, *fits.on_device(), chosen, refined, stage, shares))
            blocks = -(-same.size // move.per_block)
            launch(move, (blocks, 1), (on_device, same.size, chosen, stage, shares, refined))
    return refined
