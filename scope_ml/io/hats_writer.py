"""What makes a folder of partitions a HATS catalogue: properties, list of partitions, Parquet's own records, sky map.

They are written by the `hats` package (extra ``hats``), imported in functions only. May import core, the other rooms of io
and errors.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from scope_ml.errors import BackendUnavailableError, FormatError
from scope_ml.io.healpix import FINEST, INDEX_COLUMN
from scope_ml.io.parquet_files import open_parquet, read_errors
from scope_ml.io.partition_spool import disk_errors

__all__ = ["COMMON_SCHEMA", "catalogue_partitions", "partition_path", "write_hats_records"]

#: Partitions of a folder; HATS keeps no more in one.
IN_FOLDER = 10_000

#: Order of the map of numbers of rows (14 arcmin).
MAP_ORDER = 8

#: Where the schema of all partitions stands.
COMMON_SCHEMA = Path("dataset/_common_metadata")


def partition_path(order: int, pixel: int) -> Path:
    """Return where a partition stands in its catalogue."""
    return Path("dataset") / f"Norder={order}" / f"Dir={pixel // IN_FOLDER * IN_FOLDER}" / f"Npix={pixel}.parquet"


def catalogue_partitions(catalogue: Path) -> list[tuple[int, int, Path]]:
    """Return order, pixel and path of the partitions of a catalogue, in the order of their places on the sky.

    Raises
    ------
    FormatError
        If it is none.
    """
    if not (catalogue / "dataset").is_dir():
        raise FormatError(f"{catalogue} is no HATS catalogue (it has no folder 'dataset')")
    found = []
    for path in catalogue.glob("dataset/Norder=*/Dir=*/Npix=*.parquet"):
        order, pixel = (int(part.partition("=")[2]) for part in (path.parts[-3], path.stem))
        found.append((order, pixel, path))
    return sorted(found, key=lambda one: (one[1] << (2 * (FINEST - one[0])), one[0]))


def write_hats_records(
    catalogue: Path,
    *,
    name: str,
    schema: pa.Schema,
    partitions: Sequence[tuple[int, int, Path]],
    default_columns: Sequence[str] = (),
    properties: Mapping[str, str] | None = None,
) -> int:
    """Write what stands beside the partitions, and return the number of rows.

    Parameters
    ----------
    catalogue
        Folder with the partitions, as `partition_path` names them.
    name
        Of the catalogue.
    schema
        Of all partitions, `INDEX_COLUMN`, ``ra`` and ``dec`` among their columns.
    partitions
        What `catalogue_partitions` returns.
    default_columns
        Columns that readers take where nobody asks for others; empty: all.
    properties
        Further properties.

    Raises
    ------
    BackendUnavailableError
        If hats is not installed.
    FormatError, OutputError
        If a partition cannot be read, or the disk is full.
    """
    hats = _hats()
    n_rows, histogram, collected = _counted(catalogue, partitions)
    pixels = [hats.pixel_math.HealpixPixel(order, pixel) for order, pixel, _ in partitions]
    sky = sum(4.0**-order for order, _, _ in partitions) / 12
    with disk_errors(catalogue):
        (catalogue / "dataset").mkdir(parents=True, exist_ok=True)
        pq.write_metadata(schema, catalogue / COMMON_SCHEMA)
        if collected:
            pq.write_metadata(schema, catalogue / "dataset/_metadata", metadata_collector=collected)
        hats.catalog.PartitionInfo.from_healpix(pixels).write_to_file(catalog_path=catalogue)
        hats.io.skymap.write_skymap(histogram, catalogue)
        # No date: the same light curves give the same bytes.
        hats.catalog.TableProperties(
            catalog_name=name,
            catalog_type="object",
            total_rows=n_rows,
            ra_column="ra",
            dec_column="dec",
            default_columns=list(default_columns) or None,
            healpix_column=INDEX_COLUMN,
            healpix_order=FINEST,
            npix_suffix=".parquet",
            skymap_order=MAP_ORDER,
            moc_sky_fraction=f"{sky:0.5f}",
            hats_version="v1.0",
            **(properties or {}),
        ).to_properties_file(catalogue)
    return n_rows


def _hats() -> Any:
    """Return the package hats; lsdb, which takes seconds to import, is not needed to write."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"(hats|nested_pandas)\.")
            import hats.catalog
            import hats.io.skymap
            import hats.pixel_math
    except ImportError as error:
        raise BackendUnavailableError(
            f"a catalogue is written by a package that is not installed ({error}); install it with: pip install 'scope_ml[hats]'"
        ) from error
    return hats


def _counted(
    catalogue: Path, partitions: Sequence[tuple[int, int, Path]]
) -> tuple[int, npt.NDArray[np.int64], list[Any]]:
    """Return the rows of all partitions, those of each cell of the map, and the footers in their order."""
    histogram = np.zeros(12 * 4**MAP_ORDER, dtype=np.int64)
    collected = []
    n_rows = 0
    for order, pixel, path in partitions:
        with open_parquet(path) as file, read_errors(path, "Parquet"):
            cells = file.read(columns=[INDEX_COLUMN])[INDEX_COLUMN].to_numpy()
            footer = file.metadata
        if len(cells) and not (cells >> (2 * (FINEST - order)) == pixel).all():
            raise FormatError(f"{path} holds rows of other partitions; make the catalogue again")
        at, count = np.unique(cells >> (2 * (FINEST - MAP_ORDER)), return_counts=True)
        histogram[at] += count
        n_rows += len(cells)
        footer.set_file_path(str(path.relative_to(catalogue / "dataset")))
        collected.append(footer)
    return n_rows, histogram, collected
