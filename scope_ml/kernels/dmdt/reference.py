"""Definition of the dm-dt image: `numpy.histogram2d` of all pairs; memory grows with their number."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.kernels.dmdt import DmDtOptions

__all__ = ["counts", "run"]


def run(batch: LightCurveBatch, options: DmDtOptions) -> dict[str, NDArray[np.float32]]:
    """Return ``{"dmdt": images}``, float32 (n_sources, n_dm, n_dt); see the package."""
    images = np.zeros((len(batch), *options.shape), np.float32)
    for image, pairs, is_sound in zip(images, counts(batch, options), _sound(batch), strict=True):
        norm = np.sqrt(np.sum(pairs.astype(np.float64) ** 2))
        if norm > 0:
            image[:] = pairs / norm
        elif not is_sound:
            image[:] = np.nan
    return {"dmdt": images}


def counts(batch: LightCurveBatch, options: DmDtOptions) -> NDArray[np.int64]:
    """Return the number of pairs in each bin, int64 (n_sources, n_dm, n_dt); see the package."""
    table = np.zeros((len(batch), *options.shape), np.int64)
    for index, is_sound in enumerate(_sound(batch)):
        points = slice(int(batch.offsets[index]), int(batch.offsets[index + 1]))
        t, m = batch.time[points], batch.mag[points].astype(np.float64)
        if is_sound and t.size > 1:
            order = np.argsort(t, kind="stable")
            earlier, later = np.triu_indices(t.size, 1)
            dm = m[order][later] - m[order][earlier]
            dt = t[order][later] - t[order][earlier]
            table[index] = np.histogram2d(dm, dt, bins=[options.dm_edges, options.dt_edges])[0].astype(np.int64)
    return table


def _sound(batch: LightCurveBatch) -> list[bool]:
    """Return for each light curve whether all values are finite and all errors positive."""
    good = np.isfinite(batch.time) & np.isfinite(batch.mag) & np.isfinite(batch.mag_err) & (batch.mag_err > 0)
    return [bool(good[first:last].all()) for first, last in zip(batch.offsets[:-1], batch.offsets[1:], strict=True)]
