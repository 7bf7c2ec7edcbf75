"""HEALPix cells of places, and a sky cut into cells of at most so many rows, as HATS catalogues cut it.

Nested numbering throughout; the arithmetic is cdshealpix's (extra ``hats``), imported in functions only. May import core
and errors.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from scope_ml.errors import BackendUnavailableError, ConfigError

__all__ = ["FINEST", "INDEX_COLUMN", "Cells", "cells_around", "cells_at", "cut_sky", "finest_cells", "order_wider_than"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

#: Order of the finest cells (0.4 mas), by which rows of a HATS catalogue are numbered and sorted.
FINEST = 29

#: The column of these numbers.
INDEX_COLUMN = "_healpix_29"

#: A cell is nowhere narrower than its mean width divided by this (as hats has it).
NARROWEST = 1.6

#: Base cells of the sphere.
N_BASE = 12


def _cdshealpix() -> Any:
    try:
        import cdshealpix
    except ImportError as error:
        raise BackendUnavailableError(
            f"cells of the sky need a package that is not installed ({error}); install it with: pip install 'scope_ml[hats]'"
        ) from error
    return cdshealpix


def finest_cells(ra: FloatArray, dec: FloatArray) -> IntArray:
    """Return the cell of order `FINEST` of each place [deg], int64 (n,); places must be on the sky.

    Raises
    ------
    BackendUnavailableError
        If cdshealpix is not installed.
    """
    cds = _cdshealpix()
    from astropy.coordinates import Latitude, Longitude

    if not len(ra):
        return np.zeros(0, dtype=np.int64)
    cells = cds.lonlat_to_healpix(
        Longitude(np.mod(ra, 360.0), unit="deg"), Latitude(dec, unit="deg"), FINEST, num_threads=1
    )
    return np.asarray(cells, dtype=np.int64)


def cells_at(finest: IntArray, order: int) -> IntArray:
    """Return the cells of an `order` that hold cells of order `FINEST`, int64 of the same shape."""
    return finest >> (2 * (FINEST - order))


def cells_around(cells: IntArray, order: int) -> IntArray:
    """Return the neighbours of each cell, int64 (n, 8), -1 where a corner of the base cells has none."""
    if not len(cells):
        return np.zeros((0, 8), dtype=np.int64)
    around = np.asarray(_cdshealpix().neighbours(cells.astype(np.uint64), order, num_threads=1), dtype=np.int64)
    # The cell itself stands in the middle.
    return np.delete(around, 4, axis=1)


def order_wider_than(width_arcsec: float) -> int:
    """Return the highest order whose cells are nowhere narrower than a width [arcsec].

    Raises
    ------
    ConfigError
        If cells of order 0 are narrower.
    """
    for order in range(FINEST, -1, -1):
        if _mean_width(order) / NARROWEST >= width_arcsec:
            return order
    raise ConfigError(f"a margin of {width_arcsec:g} arcsec is wider than a twelfth of the sky", key="margin_arcsec")


def _mean_width(order: int) -> float:
    """Return the side of a square of the area of a cell [arcsec]."""
    return float(np.degrees(np.sqrt(4 * np.pi / (N_BASE * 4.0**order))) * 3600)


@dataclass(frozen=True, kw_only=True, eq=False)
class Cells:
    """The whole sky as cells of several orders that do not overlap, in the order of their places.

    Attributes
    ----------
    order, pixel
        Of each cell, int64 (n_cells,).
    """

    order: IntArray
    pixel: IntArray

    def __len__(self) -> int:
        """Return the number of cells."""
        return len(self.order)

    @cached_property
    def first(self) -> IntArray:
        """Return the first cell of order `FINEST` of each, int64 (n_cells,), ascending."""
        return self.pixel << (2 * (FINEST - self.order))

    @cached_property
    def last(self) -> IntArray:
        """Return the last cell of order `FINEST` of each, int64 (n_cells,)."""
        return ((self.pixel + 1) << (2 * (FINEST - self.order))) - 1

    def of(self, finest: IntArray) -> IntArray:
        """Return which of these cells holds each cell of order `FINEST`, int64 of the same shape."""
        return np.asarray(np.searchsorted(self.first, finest, side="right") - 1, dtype=np.int64)

    def near(self, finest: IntArray, order: int) -> tuple[IntArray, IntArray]:
        """Return which places are near other cells than their own.

        Parameters
        ----------
        finest
            Cells of order `FINEST` of the places, int64 (n,).
        order
            What is within a cell of this order, or one of its neighbours, is near: see `order_wider_than`. These
            must be no larger than the cells of the sky.

        Returns
        -------
        place, cell
            int64 (n_pairs,): every place with every other cell that it is near, sorted by place and cell.

        Raises
        ------
        ValueError
            If cells of `order` are larger than one of these.
        """
        if order < int(self.order.max()):
            raise ValueError(f"cells of order {order} are larger than those of order {int(self.order.max())}")
        small, which = np.unique(cells_at(finest, order), return_inverse=True)
        own = self.of(small << (2 * (FINEST - order)))
        # A small cell inside a larger one: most have all of its neighbours in the same cell, which is quickly seen.
        around = cells_around(small, order)
        of_around = np.where(around >= 0, self.of(np.maximum(around, 0) << (2 * (FINEST - order))), own[:, None])
        at, column = np.nonzero(of_around != own[:, None])
        pairs = np.unique(np.stack([at, of_around[at, column]], axis=1), axis=0)
        n_of = np.bincount(pairs[:, 0], minlength=len(small))
        begin = np.cumsum(n_of) - n_of
        of_places = n_of[which]
        place = np.repeat(np.arange(len(finest), dtype=np.int64), of_places)
        rank = np.arange(len(place), dtype=np.int64) - np.repeat(np.cumsum(of_places) - of_places, of_places)
        cell = pairs[begin[which[place]] + rank, 1].astype(np.int64) if len(place) else np.zeros(0, dtype=np.int64)
        return place, cell


def cut_sky(counts: npt.NDArray[np.integer], most: int, lowest: int = 0) -> Cells:
    """Cut the sky into cells of at most so many rows: a fuller one is cut into four, down to those that are counted.

    Parameters
    ----------
    counts
        Rows of each cell of some order, (12 * 4**order,). Cells of that order are not cut, however full they are.
    most
        Rows of a cell.
    lowest
        Order of the largest cells.

    Returns
    -------
    Cells
        The whole sky, empty cells included: whether a cell is cut depends on its own rows only.
    """
    highest = int(np.log2(len(counts) // N_BASE)) // 2
    # Most of the sky is empty in most catalogues.
    filled = np.flatnonzero(counts)
    n_rows = counts[filled].astype(np.int64)
    lowest = min(lowest, highest)
    open_cells = np.arange(N_BASE * 4**lowest, dtype=np.int64)
    found: list[tuple[IntArray, IntArray]] = []
    for order in range(lowest, highest + 1):
        cells, first = np.unique(filled >> (2 * (highest - order)), return_index=True)
        full = cells[np.add.reduceat(n_rows, first) > most] if len(cells) and order < highest else cells[:0]
        is_full = np.isin(open_cells, full)
        closed = open_cells[~is_full]
        found.append((np.full(len(closed), order, dtype=np.int64), closed))
        open_cells = (open_cells[is_full][:, None] * 4 + np.arange(4)).ravel()
    orders, pixels = (np.concatenate(column) for column in zip(*found, strict=True))
    by_place = np.argsort(pixels << (2 * (FINEST - orders)), kind="stable")
    return Cells(order=orders[by_place], pixel=pixels[by_place])
