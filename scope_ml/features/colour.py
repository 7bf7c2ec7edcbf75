"""Colours of stars: a pass over the finished rows, since the light curves of a star in other bands may be anywhere.

Rows of one star share `source_id`. Where a file names no stars (every `source_id` is the row's own `id`), the nearest row
of another band within a radius on the sky is of the same star. May import `light_curve_specs`, `core`
and numpy, scipy, pyarrow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from scope_ml.core.sphere import chord, on_sky, unit_vectors
from scope_ml.features.light_curve_specs import COLOURS

__all__ = ["ColourIndex"]

#: Columns of a feature table that colours are made of.
COLUMNS = ("id", "source_id", "band", "ra", "dec", "median", "n_obs")

#: Names of the same band in public files.
SAME_BAND = {"zg": "g", "zr": "r", "zi": "i"}


class ColourIndex:
    """Medians by star and band: about 100 bytes a light curve.

    Parameters
    ----------
    radius_arcsec
        How near light curves of one star are, where files do not name stars [arcsec].
    """

    def __init__(self, radius_arcsec: float) -> None:
        self.radius_arcsec = radius_arcsec
        self._pieces: list[pa.Table] = []
        self._colours: dict[str, NDArray[np.float64]] | None = None

    @staticmethod
    def columns(names: Sequence[str]) -> list[str]:
        """Return the columns that `add` needs of a table with columns `names`, ours or SCoPe's."""
        return ["_id" if name not in names and name == "id" else name for name in COLUMNS]

    def add(self, rows: pa.Table) -> None:
        """Take the next rows of the table, in order: at least its `columns`."""
        self._pieces.append(rows.select(self.columns(rows.column_names)).rename_columns(list(COLUMNS)))

    def fill(self, table: pa.Table, first: int) -> pa.Table:
        """Return rows `first` and following of the table with their colours; all rows have been added."""
        if self._colours is None:
            self._colours = self._compute()
        for name, values in self._colours.items():
            position = table.schema.get_field_index(name)
            if position >= 0:
                column = pa.array(values[first : first + table.num_rows])
                table = table.set_column(position, table.schema.field(position), column)
        return table

    def _compute(self) -> dict[str, NDArray[np.float64]]:
        if not self._pieces:
            return {}
        rows = pa.concat_tables(self._pieces).combine_chunks()
        self._pieces.clear()
        band = np.array([SAME_BAND.get(name, name) for name in rows["band"].to_pylist()], dtype=object)
        median = rows["median"].to_numpy()
        by_name = not pc.all(pc.equal(rows["id"], rows["source_id"])).as_py()
        other = _by_star(rows, band) if by_name else _by_position(rows, band, self.radius_arcsec)
        colours = {}
        for blue, red in COLOURS:
            values = {name: _of_band(median, band, other, name) for name in (blue, red)}
            colours[f"colour_{blue}_{red}"] = values[blue] - values[red]
        return colours


def _of_band(
    median: NDArray[np.float64], band: NDArray[Any], other: dict[str, NDArray[np.int64]], name: str
) -> NDArray[np.float64]:
    """Return the median of each row's star in a band: the row's own if it is of the band; NaN without one."""
    row = other.get(name, np.full(median.size, -1))
    found = np.where(row >= 0, median[np.maximum(row, 0)], np.nan)
    return np.where(band == name, median, found)


def _by_star(rows: pa.Table, band: NDArray[Any]) -> dict[str, NDArray[np.int64]]:
    """Return, by band, the row of the same star with the most points (of equals the first); -1 without one."""
    star = np.asarray(rows["source_id"].combine_chunks().dictionary_encode().indices.fill_null(-1).to_numpy())
    n_obs = rows["n_obs"].to_numpy()
    found = {}
    for name in {part for pair in COLOURS for part in pair}:
        here = np.flatnonzero((band == name) & (star >= 0))
        # Written in rising order of points, so that the most stay; of equals the first.
        order = here[np.lexsort((-here, n_obs[here]))]
        best = np.full(star.max(initial=-1) + 2, -1, dtype=np.int64)
        best[star[order]] = order
        best[-1] = -1
        found[name] = best[star]
    return found


def _by_position(rows: pa.Table, band: NDArray[Any], radius_arcsec: float) -> dict[str, NDArray[np.int64]]:
    """Return, by band, the nearest row on the sky within the radius; -1 without one."""
    from scipy.spatial import cKDTree

    ra, dec = (rows[name].to_numpy().astype(np.float64) for name in ("ra", "dec"))
    position, known, reach = unit_vectors(ra, dec), on_sky(ra, dec), chord(radius_arcsec)
    found = {}
    for name in {part for pair in COLOURS for part in pair}:
        nearest = np.full(len(band), -1, dtype=np.int64)
        here = np.flatnonzero((band == name) & known)
        if here.size:
            distance, index = cKDTree(position[here]).query(position[known], distance_upper_bound=reach)
            nearest[known] = np.where(np.isfinite(distance), here[np.minimum(index, here.size - 1)], -1)
        found[name] = nearest
    return found
