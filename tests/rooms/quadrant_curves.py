"""Light curves of three quadrants of field 250, of which two are too short to be measured."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.io.lightcurves import write_light_curves

#: Quadrants as people list them; one holds nothing.
LIST = "250 1 1\n250 1 2\n250 4 4\n250 2 3\n"

FIRST_ID = 2**53 + 1

#: Light curves of five points.
SHORT = (8, 9)


def light_curves(n: int) -> LightCurveBatch:
    """Return n sines with noise."""
    random = np.random.default_rng(0)
    lengths = [5 if number in SHORT else 40 for number in range(n)]
    times = [np.sort(random.uniform(2459000, 2459100, n_obs)) for n_obs in lengths]
    mags = [15 + 0.3 * np.sin(2 * np.pi * t / 0.7) + random.normal(0, 0.02, t.size) for t in times]
    errors = [np.full(t.size, 0.02) for t in times]
    return LightCurveBatch.from_lists(np.arange(n, dtype=np.int64) + FIRST_ID, times, mags, errors)


def write_quadrants(quadrants: Mapping[tuple[int, int], int], path: Path) -> Path:
    """Write light curves of quadrants, (ccd, quad) -> how many, and return `path`."""
    places = [place for place, n in quadrants.items() for _ in range(n)]
    n_all = len(places)
    batch = light_curves(n_all)
    rows = pa.table(
        {
            "id": batch.id,
            "source_id": np.arange(n_all) // 2,
            "band": (["g", "r"] * n_all)[:n_all],
            "ra": 10.0 + 0.01 * np.arange(n_all),
            "dec": [4.0] * n_all,
            "field": [250] * n_all,
            "ccd": [ccd for ccd, _ in places],
            "quad": [quad for _, quad in places],
        }
    )
    write_light_curves(batch, rows, path)
    return path
