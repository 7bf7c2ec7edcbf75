"""Periods of many light curves at once, as a table. May import `compute`, `features`, `kernels`, `core` and `errors`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from scope_ml.compute.local import ThreadExecutor
from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.core.machine import usable_cores
from scope_ml.errors import ConfigError, DataError
from scope_ml.features.period_search import PeriodSearch
from scope_ml.kernels.peaks import PeriodogramPeaks, SearchStatus
from scope_ml.kernels.registry import load, resolve_device
from scope_ml.notebook.settings import search_settings

__all__ = ["search_periods"]

#: Light curves worked on together: enough to share what they have in common, few enough for progress to be seen. A GPU
#: needs many more to be busy.
TOGETHER = {"cpu": 64, "gpu": 4096}

#: Pieces for each thread of a CPU, so that none waits long for the last one.
PIECES_PER_THREAD = 4

#: Columns of each peak, and their units.
PEAK_COLUMNS = {
    "period": b"d",
    "frequency": b"1/d",
    "statistic": b"",
    "significance": b"",
    "false_alarm_probability": b"",
}


def search_periods(
    batch: LightCurveBatch,
    method: str = "ls",
    *,
    n_peaks: int = 5,
    device: str = "cpu",
    workers: int = 1,
    progress: Callable[[int, int], object] | None = None,
    **settings: Any,
) -> pa.Table:
    """Search the periods of many light curves.

    Parameters
    ----------
    batch
        Light curves, each with one band or several.
    method
        As in `periodogram`.
    n_peaks
        Peaks to return per light curve.
    device
        ``"cpu"``, ``"gpu"`` or ``"auto"``.
    workers
        Threads; 0 means one per core.
    progress
        Called with the light curves done and all of them, now and then.
    **settings
        As in `periodogram`: min_frequency, max_frequency, samples_per_peak, ...

    Returns
    -------
    pyarrow.Table
        One row a light curve: `id`, `n_obs`, `status` (``ok`` or why there is no period), then of the best peak
        `period` [d], `frequency` [1/d], `statistic`, `significance`, `false_alarm_probability`, then ``period_2`` and
        so on; of a nested search ``period_ls``, ``significance_ls``, ... at the end. NaN where there is nothing. A row
        does not depend on the other light curves.

    Raises
    ------
    ConfigError
        For an unknown method or option, or one out of bounds.
    DataError
        If `batch` is no batch.
    BackendUnavailableError
        If the device is not there.
    """
    if not isinstance(batch, LightCurveBatch):
        raise DataError(
            f"batch is a {type(batch).__name__}; make a LightCurveBatch, as by LightCurveBatch.from_lists(ids, times,"
            " mags, mag_errs), or call periodogram for a single light curve"
        )
    if not isinstance(workers, int) or workers < 0:
        raise ConfigError(f"workers={workers!r} is not a whole number of at least 0", key="workers")
    search = search_settings({"method": method, "n_peaks": n_peaks, **settings})
    device = resolve_device(device, (search.method,))
    kernel = load(search.method, device)
    options = search.options()

    def run(start: int) -> pa.Table:
        piece = batch.slice(start, start + size)
        return _rows(piece, kernel(piece, search.grid(piece), options), search)

    workers = workers or usable_cores()
    size = TOGETHER.get(device, TOGETHER["cpu"])
    if device != "gpu" and not search.shared_epochs:
        size = min(size, max(1, -(-len(batch) // (PIECES_PER_THREAD * workers))))
    # An empty batch is searched too, for the columns.
    starts = range(0, max(len(batch), 1), size)
    tables = []
    for start, table in zip(starts, ThreadExecutor(workers=workers).map(run, starts), strict=True):
        tables.append(table)
        if progress is not None:
            progress(min(start + size, len(batch)), len(batch))
    return pa.concat_tables(tables).combine_chunks()


def _rows(batch: LightCurveBatch, peaks: PeriodogramPeaks, search: PeriodSearch) -> pa.Table:
    """Return the rows of a piece of the batch."""
    labels = np.array([SearchStatus(code).label for code in SearchStatus])
    ids = pa.array(batch.id.tolist(), pa.string()) if batch.id.dtype.kind in "UO" else pa.array(batch.id)
    fields = [("id", ids, b""), ("n_obs", pa.array(batch.n_obs), b"points")]
    fields.append(("status", pa.array(labels[peaks.status].tolist(), pa.string()), b""))
    for rank in range(search.n_peaks):
        mark = f"_{rank + 1}" if rank else ""
        fields += [(f"{name}{mark}", pa.array(_values(peaks, name, rank)), unit) for name, unit in PEAK_COLUMNS.items()]
    for part in search.components:
        fields += [
            (f"{name}_{part}", pa.array(_values(peaks.components[part], name, 0)), PEAK_COLUMNS[name])
            for name in ("period", "significance")
        ]
    schema = pa.schema(
        [pa.field(name, values.type, metadata={b"unit": unit} if unit else {}) for name, values, unit in fields]
    )
    return pa.table([values for _, values, _ in fields], schema=schema)


def _values(peaks: PeriodogramPeaks, name: str, rank: int) -> np.ndarray[Any, Any]:
    values: np.ndarray[Any, Any] = 1.0 / peaks.frequency if name == "period" else getattr(peaks, name)
    return np.ascontiguousarray(values[:, rank])
