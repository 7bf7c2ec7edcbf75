"""lsdb, hats and Dask as `io.hats` uses them: what they are asked for, and what they raise in words of ours.

They are imported here, in functions only. May import core, `io.hats_columns`, `io.selection` and errors.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from scope_ml.errors import BackendUnavailableError, FormatError, JobError, ServiceError
from scope_ml.io.hats_columns import Cone
from scope_ml.io.selection import Positions

__all__ = [
    "around_cone",
    "around_positions",
    "lsdb_errors",
    "open_cluster",
    "packages",
    "partition_paths",
    "result_of",
]

#: Added to a radius where lsdb chooses rows, since ZTF's catalogue keeps positions in float32; ours decide [arcsec].
SLACK_ARCSEC = 1.0

#: Order of the HEALPix cells that cover positions (13 arcsec).
POSITIONS_ORDER = 14

#: What lsdb, hats and their readers raise on broken content.
READ_ERRORS = (OSError, ValueError, NotImplementedError, pa.ArrowException)


def packages() -> tuple[Any, Any]:
    """Return the modules lsdb and hats.

    Raises
    ------
    BackendUnavailableError
        If they are not installed.
    """
    try:
        with _quiet():
            import hats
            import lsdb
    except ImportError as error:
        raise BackendUnavailableError(
            f"HATS catalogues are read by a package that is not installed ({error}); install it with:"
            " pip install 'scope_ml[hats]'"
        ) from error
    return lsdb, hats


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what these packages are told about their own use of pandas."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"(lsdb|hats|nested_pandas)\.")
        yield


@contextmanager
def lsdb_errors(what: str) -> Iterator[None]:
    """Turn what lsdb raises on broken or missing content into one line, and silence what is not ours to change.

    Raises
    ------
    FormatError, BackendUnavailableError
        Where lsdb raised.
    """
    try:
        with _quiet():
            yield
    except ImportError as error:
        raise BackendUnavailableError(
            f"{what}: such an address needs a package that is not installed ({error}); install it with:"
            " pip install 'lsdb[full]'"
        ) from error
    except READ_ERRORS as error:
        detail = " ".join(str(error).split())[:200]
        raise FormatError(f"{what} ({detail}); check source.path") from error


@contextmanager
def open_cluster() -> Iterator[Any]:
    """Give the client of the active Dask cluster, or None; then Dask's own scheduler reads, by default on threads.

    Without an active one, the cluster is taken that Dask's configuration names (``DASK_SCHEDULER_ADDRESS``).

    Raises
    ------
    ServiceError
        If that cluster does not answer.
    """
    import dask
    from distributed import Client, default_client

    try:
        active = default_client()
    except ValueError:
        active = None
    address = dask.config.get("scheduler-address", None)
    if active is not None or address is None:
        yield active
        return
    try:
        client = Client(address)
    except OSError as error:
        raise ServiceError(
            f"the Dask scheduler at {address} does not answer ({error}); start it, or unset DASK_SCHEDULER_ADDRESS"
        ) from error
    with client:
        yield client


def result_of(future: Any, what: str) -> Any:
    """Return what a cluster was asked for.

    Raises
    ------
    JobError
        If its workers died.
    """
    from distributed import KilledWorker

    try:
        return future.result()
    except KilledWorker as error:
        raise JobError(
            f"{what}: the Dask workers that read it died ({error}); give them more memory, or let fewer run at a time"
        ) from error


def partition_paths(catalog: Any) -> list[tuple[Any, Any]]:
    """Return each partition of a catalogue in order: its HEALPix pixel and the path of its file or folder."""
    from hats.io import pixel_catalog_file

    structure = catalog.hc_structure
    suffix = structure.catalog_info.npix_suffix
    return [
        (pixel, pixel_catalog_file(structure.catalog_base_dir, pixel, npix_suffix=suffix))
        for pixel in catalog.get_ordered_healpix_pixels()
    ]


def around_cone(lsdb: Any, cone: Cone) -> Any:
    """Return lsdb's search for a cone, a little larger."""
    return lsdb.ConeSearch(cone.ra % 360.0, cone.dec, min(cone.radius_arcsec + SLACK_ARCSEC, 648000.0))


def around_positions(lsdb: Any, positions: Positions) -> Any:
    """Return lsdb's search for the surroundings of positions, a little larger."""
    from astropy import units
    from mocpy import MOC

    degrees, radius = units.deg, (positions.radius_arcsec + SLACK_ARCSEC) * units.arcsec
    cells = MOC.from_cones(
        positions.ra * degrees,
        positions.dec * degrees,
        radius=radius,
        max_depth=POSITIONS_ORDER,
        union_strategy="small_cones",
    )
    return lsdb.MOCSearch(cells)
