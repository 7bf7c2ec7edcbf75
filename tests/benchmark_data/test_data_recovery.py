"""Periods of real stars of known period: the recommended search on a seeded part of each class, and the second look.

`benchmarks/recovery.py` does all stars and methods. Bars here are what the whole sets reach less two and a half standard
deviations of the number of stars taken.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.kernels.best.cpu import run
from scope_ml.kernels.grid import make_grid
from scope_ml.kernels.peaks import SearchOptions, SearchStatus
from scope_ml.kernels.refinement import refine_periods


def take(folder, native_class, n, *, band=None, seed=5):
    """Read n stars of a class and their periods [d]."""
    labels = pq.read_table(folder / "labels.parquet", columns=["id", "native_class", "period"])
    rows = np.flatnonzero(np.array(labels["native_class"].to_pylist()) == native_class)
    labels = labels.take(pa.array(np.sort(np.random.default_rng(seed).permutation(rows)[:n])))
    curves = pa.concat_tables([pq.read_table(path) for path in sorted(folder.glob("lightcurves*.parquet"))])
    place = {name: row for row, name in enumerate(curves["id"].to_pylist())}
    batch = LightCurveBatch.from_arrow(
        curves.take(pa.array([place[name] for name in labels["id"].to_pylist()])), band="band", flags=None
    )
    good = np.isfinite(batch.mag) & np.isfinite(batch.mag_err) & (batch.mag_err > 0)
    if band is not None:
        good &= batch.band == band
    return batch.select(good), labels["period"].to_numpy()


def exact(found, true):
    return float((np.abs(found / true - 1) < 0.01).mean())


def search(batch, *, max_frequency, min_frequency=None):
    grid = make_grid(batch, max_frequency=max_frequency, min_frequency=min_frequency, samples_per_peak=10)
    peaks = run(batch, grid, SearchOptions(n_peaks=5))
    assert (peaks.status == SearchStatus.OK).all()
    return peaks


@pytest.mark.parametrize(("band", "bar"), [("g", 0.90), (None, 0.90)])
def test_rr_lyrae_of_stripe_82(benchmark_data, band, bar):
    batch, true = take(benchmark_data / "s82_rrlyrae", "RRab", 80, band=band)
    peaks = search(batch, min_frequency=0.2, max_frequency=6.0)
    assert exact(1 / peaks.frequency[:, 0], true) >= bar
    # What is right has the better confidence.
    right = np.abs(1 / peaks.frequency[:, 0] / true - 1) < 0.01
    assert (np.abs(1 / peaks.frequency / true[:, None] - 1) < 0.01).any(axis=1).mean() >= 0.97
    assert peaks.significance[right, 0].mean() > 0.9


@pytest.mark.parametrize(
    ("native_class", "tag", "alone", "known"),
    [
        ("RRab", "rrab", 0.85, 0.85),
        ("RRc", "rrc", 0.88, 0.88),
        ("Delta_Scuti", "dscu", 0.92, 0.92),
        ("LPV", "lpv", 0.81, 0.81),
        ("EA", "ea", 0.67, 0.71),
        ("Eclipsing_contact_or_semidetached", "ew", 0.1, 0.93),
        ("Rotational", "rscvn", 0.0, 0.65),
    ],
)
def test_catalina_periodic_variables(benchmark_data, native_class, tag, alone, known):
    batch, true = take(benchmark_data / "crts_sss", native_class, 45)
    found = 1 / search(batch, max_frequency=24.0).frequency[:, 0]
    assert exact(found, true) >= alone
    refined = refine_periods(batch, found, [tag] * len(batch))
    assert exact(np.array([item.period for item in refined]), true) >= known
    assert {item.factor for item in refined} <= {0.25, 0.5, 1.0, 2.0, 4.0, 8.0}
