"""Skies of light curves with scores, and catalogues made of them; for the tests of the catalogue."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from scope_ml.core.configuration import build
from scope_ml.core.protocols import NullProgress
from scope_ml.core.provenance import TableMetadata
from scope_ml.core.report import Report
from scope_ml.core.sphere import unit_vectors
from scope_ml.io.hats_writer import catalogue_partitions
from scope_ml.io.healpix import FINEST, INDEX_COLUMN, cells_at, finest_cells
from scope_ml.io.tables import write_table
from scope_ml.models.algorithms import ALGORITHMS
from scope_ml.selection.star_columns import StarRules
from scope_ml.selection.star_rows import star_rows
from scope_ml.selection.stars import find_stars
from scope_ml.stages import catalog
from scope_ml.stages.catalog import Catalog, run

MODELS = ("vnv_xgb", "vnv_dnn", "rrlyr_xgb", "rrlyr_dnn", "rrab_xgb")
THRESHOLDS = dict.fromkeys(MODELS, 0.5)
#: The files of the 52 classes are read once.
LOAD = functools.cache(catalog.load_classes)


@dataclass
class Sky:
    """Where stars are made: around places, so far from them."""

    centres: tuple[tuple[float, float], ...]
    radius_deg: float


SKIES = {
    "field": Sky(((67.5, 25.7),), 0.15),
    "seam": Sky(((0.0, 5.0), (360.0, -41.8)), 0.08),
    "poles": Sky(((10.0, 90.0), (200.0, -90.0)), 0.08),
    # Where three of the largest cells meet, and where four do.
    "corners": Sky(((0.0, 41.8103), (90.0, 41.8103), (45.0, 0.0), (315.0, -41.8103)), 0.05),
}


def around(rng: np.random.Generator, ra: float, dec: float, n: int, radius_deg: float) -> tuple[np.ndarray, np.ndarray]:
    """Return places within a radius of another, also at the poles."""
    angle, distance = rng.uniform(0, 2 * np.pi, n), np.radians(radius_deg) * np.sqrt(rng.random(n))
    a, d = np.radians(ra), np.radians(dec)
    north = np.array([-np.sin(d) * np.cos(a), -np.sin(d) * np.sin(a), np.cos(d)])
    east = np.array([-np.sin(a), np.cos(a), 0.0])
    centre = np.array([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)])
    v = np.cos(distance)[:, None] * centre + np.sin(distance)[:, None] * (
        np.cos(angle)[:, None] * east + np.sin(angle)[:, None] * north
    )
    return np.degrees(np.arctan2(v[:, 1], v[:, 0])) % 360, np.degrees(np.arctan2(v[:, 2], np.hypot(v[:, 0], v[:, 1])))


def on_edges(rng: np.random.Generator, ra: np.ndarray, dec: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Move two thirds of the places onto edges of cells of order 10, where they lie between one place and another."""
    a = unit_vectors(ra, dec)
    # The partner is near: a neighbour in the list, which is sorted by centres.
    b = a[np.clip(np.arange(len(ra)) + 1, 0, len(ra) - 1)]

    def cell(v: np.ndarray) -> np.ndarray:
        places = (
            np.degrees(np.arctan2(v[:, 1], v[:, 0])) % 360,
            np.degrees(np.arctan2(v[:, 2], np.hypot(v[:, 0], v[:, 1]))),
        )
        return cells_at(finest_cells(*places), 10)

    moved = (rng.random(len(ra)) < 0.67) & (cell(a) != cell(b)) & ((a * b).sum(axis=1) > 0.9)
    low, high = a.copy(), b.copy()
    for _ in range(30):
        middle = low + high
        middle /= np.linalg.norm(middle, axis=1)[:, None]
        is_low = cell(middle) == cell(a)
        low[is_low], high[~is_low] = middle[is_low], middle[~is_low]
    edge_ra, edge_dec = (
        np.degrees(np.arctan2(low[:, 1], low[:, 0])) % 360,
        np.degrees(np.arctan2(low[:, 2], np.hypot(low[:, 0], low[:, 1]))),
    )
    return np.where(moved, edge_ra, ra), np.where(moved, edge_dec, dec)


def straddling(table: pa.Table, folder: Path, by: str = "survey_id") -> int:
    """Return how many stars of the table have light curves in several partitions of a catalogue."""
    star = find_stars(table, by=by).star
    finest = finest_cells(table["ra"].to_numpy(), table["dec"].to_numpy())
    first = np.array([pixel << (2 * (FINEST - order)) for order, pixel, _ in catalogue_partitions(folder)])
    home = np.searchsorted(first, finest, side="right")
    return len(np.unique(np.stack([star, home], axis=1), axis=0)) - len(np.unique(star))


def scored(sky: Sky, n_stars: int = 400, seed: int = 1, known: float = 0.6) -> pa.Table:
    """Return one to four light curves a star, half an arcsecond apart, some of stars with ids, some of light curves only."""
    rng = np.random.default_rng(seed)
    places = [around(rng, ra, dec, n_stars // len(sky.centres), sky.radius_deg) for ra, dec in sky.centres]
    ra, dec = (np.concatenate(values) for values in zip(*places, strict=True))
    ra, dec = on_edges(rng, ra, dec)
    star = np.repeat(np.arange(len(ra)), rng.integers(1, 5, len(ra)))
    moved = [around(rng, ra[k], dec[k], 1, 0.4 / 3600) for k in star]
    at_ra, at_dec = (np.array([place[axis][0] for place in moved]) for axis in (0, 1))
    n = len(star)
    is_known = (rng.random(len(ra)) < known)[star]
    has_id = is_known & (rng.random(n) < 0.8)
    gaia = pa.array(4 * 10**18 + star, mask=~has_id)
    bands = np.array(["g", "r", "i"])[rng.integers(0, 3, n)]
    table = pa.table(
        {
            "id": 10**15 + rng.permutation(n),
            "band": bands,
            "ra": at_ra,
            "dec": at_dec,
            "field": pa.array(rng.choice([296, 297], n), pa.int32()),
            "ccd": pa.array(rng.integers(1, 17, n), pa.int16()),
            "quad": pa.array(rng.integers(1, 5, n), pa.int16()),
            "filter": pa.array(rng.integers(1, 4, n), pa.int16()),
            "Gaia_EDR3___id": gaia,
            # Some light curves of stars with an id of Gaia have one of AllWISE alone.
            "AllWISE___id": pa.array(star + 1, mask=~is_known | (rng.random(n) < 0.5)),
            "period": rng.random(n) + 0.1,
            "n_obs": pa.array(rng.integers(50, 500, n), pa.int32()),
            **{name: rng.random(n).astype("f4") for name in MODELS},
        }
    )
    return table


def write(path: Path, table: pa.Table, **facts: object) -> Path:
    known = {"thresholds": THRESHOLDS, "models": {name: f"digest of {name}" for name in MODELS}}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_table(table, path, TableMetadata(kind="predictions", facts={**known, **facts}))
    return path


def in_fields(folder: Path, table: pa.Table) -> Path:
    """Write one table a field and ccd, as infer does."""
    for field in (296, 297):
        for ccd in range(1, 17):
            rows = table.filter(pc.and_(pc.equal(table["field"], field), pc.equal(table["ccd"], ccd)))
            write(folder / f"field_{field:06d}" / f"ccd_{ccd:02d}_quad_1.parquet", rows)
    return folder


def catalogue(tmp_path: Path, predictions: object, **options: object) -> Report:
    given = predictions if isinstance(predictions, list) else str(predictions)
    values = {"predictions": given, "output": str(tmp_path / "catalogue"), "pages": False, **options}
    return run(build(Catalog, values), progress=NullProgress())


def rows_of(folder: Path) -> pa.Table:
    """Return all stars of a catalogue, by name, and check that each stands where HATS looks for it."""
    tables = []
    for order, pixel, path in catalogue_partitions(folder):
        table = pq.ParquetFile(path).read()
        index = table[INDEX_COLUMN].to_numpy()
        assert (index >> (2 * (FINEST - order)) == pixel).all()
        assert (np.diff(index) >= 0).all()
        tables.append(table)
    return pa.concat_tables(tables).sort_by("name")


def whole(table: pa.Table, by: str = "survey_id") -> pa.Table:
    """Return what the stars of the table at once are."""
    stars = find_stars(table, by=by)
    rules = StarRules(taxonomy=LOAD(catalog.packaged_conf_dir()), algorithms=tuple(ALGORITHMS), thresholds=THRESHOLDS)
    return star_rows(table, stars, rules).sort_by("name")


def assert_same(found: pa.Table, wanted: pa.Table) -> None:
    assert found["name"].to_pylist() == wanted["name"].to_pylist()
    for name in wanted.column_names:
        assert found[name].combine_chunks().equals(wanted[name].combine_chunks()), name
