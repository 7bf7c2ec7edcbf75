"""A source of catalogues in memory that counts what it is asked and can be made to fail."""

from __future__ import annotations

import threading

import numpy as np
import pyarrow as pa
import pytest
from astropy.coordinates import angular_separation

from scope_ml.errors import ServiceError


class MemoryCatalogs:
    """Answers from tables, by astropy's separations; `asked` lists every circle."""

    def __init__(self, **tables: pa.Table) -> None:
        self.tables = tables
        self.asked: list[tuple[str, float, float, float]] = []
        self.failing = False
        self.answering = threading.Event()
        self.answering.set()

    def digest(self, catalog):
        return f"{hash(catalog) & 0xFFFF:016x}" + "0" * 48

    def cone_search(self, catalog, ra, dec, *, radius_arcsec, columns, optional=(), below=None):
        self.asked.append((catalog, ra, dec, radius_arcsec))
        self.answering.wait(10.0)
        if self.failing:
            raise ServiceError("no answer within 10 s")
        table = self.tables[catalog]
        near = np.degrees(
            angular_separation(
                *np.radians(
                    [table["ra"], table["dec"], ra + 0 * table["ra"].to_numpy(), dec + 0 * table["dec"].to_numpy()]
                )
            )
        )
        inside = near * 3600 <= radius_arcsec
        for name, limit in (below or {}).items():
            inside &= table[name].to_numpy() < limit
        there = [name for name in optional if name in table.column_names]
        # Never the same order twice.
        rows = np.random.default_rng(len(self.asked)).permutation(np.flatnonzero(inside))
        return table.select(["ra", "dec", *columns, *there]).take(pa.array(rows))


@pytest.fixture(scope="session")
def memory_catalogs():
    return MemoryCatalogs


@pytest.fixture(scope="session")
def apart():
    """Angles [arcsec] between all positions (rows) and all others (columns), by astropy."""

    def separations(ra, dec, other_ra, other_dec):
        first, second = np.radians([ra, dec]), np.radians([other_ra, other_dec])
        angle = angular_separation(first[0][:, None], first[1][:, None], second[0][None], second[1][None])
        return np.degrees(angle) * 3600.0

    return separations


@pytest.fixture(scope="session")
def anywhere():
    """Positions [deg]: clumps around both poles, the seam of right ascension, the equator and other places."""

    def positions(n, seed=0, size_deg=0.02):
        rng = np.random.default_rng(seed)
        centres = np.array([[12.0, 89.999], [200.0, -90.0], [0.0, 0.0], [359.9999, 55.0], [284.6, 5.5], [100.0, -89.5]])
        ra, dec = centres[rng.integers(0, len(centres), n)].T
        dec = dec + rng.uniform(-1, 1, n) * size_deg
        over = np.abs(dec) > 90.0
        dec = np.where(over, np.sign(dec) * 180.0 - dec, dec)
        wide = np.minimum(180.0, size_deg / np.maximum(np.cos(np.radians(dec)), 1e-9))
        return (ra + rng.uniform(-1, 1, n) * wide) % 360.0, dec

    return positions
