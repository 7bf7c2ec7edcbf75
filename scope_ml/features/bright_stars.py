"""Light curves spoilt by a bright star nearby: SCoPe's exclusion radius of a Gaia star, and who lies within one.

Gaia's G and BP - RP give Tycho's B_T and V_T (Gaia EDR3 documentation, section 5.5.1), and these SCoPe's size of the halo
in ZTF's images. May import `sky`, `crossmatch` and `core`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scope_ml.core.protocols import CatalogSource
from scope_ml.core.sphere import angle_arcsec, unit_vectors
from scope_ml.errors import MissingColumnError
from scope_ml.features.crossmatch import measured
from scope_ml.features.sky import CatalogTiles, Query

__all__ = ["FAINTEST_G", "BrightStars", "exclusion_radius_arcsec"]

FloatArray = npt.NDArray[np.float64]

#: Stars at least this faint in Gaia's G [mag] have no halo; the colour relations hold for brighter ones only.
FAINTEST_G = 13.0

#: Stars at least this faint in Tycho's B_T [mag] have no halo.
FAINTEST_BT = 13.0

#: G - B_T and G - V_T as polynomials of BP - RP [mag], lowest order first.
G_MINUS_BT = (-0.004288, -0.8547, 0.1244, -0.9085, 0.4843, -0.06814)
G_MINUS_VT = (-0.01077, -0.0682, -0.2387, 0.02342)

MAGNITUDE = "phot_g_mean_mag"

#: Colour [mag], and the magnitudes whose difference it is where there is none.
COLOUR, BLUE, RED = "bp_rp", "phot_bp_mean_mag", "phot_rp_mean_mag"

#: Name under which a tile's rows carry their exclusion radius.
RADIUS = "exclusion_radius"

#: Positions looked at together; in a crowded field each has dozens of stars within five arcminutes.
BLOCK = 8192


def exclusion_radius_arcsec(g: FloatArray, bp_rp: FloatArray) -> FloatArray:
    """Return how far from a star light curves are spoilt [arcsec].

    ``R = 354.817 - 53.27823 B_T + 66.01137 c + 2.1031286 B_T^2 + 7.6737066 c^2 - 6.164676 B_T c`` with ``c = B_T - V_T``, for
    ``G < 13`` and ``B_T < 13``, where the polynomial is positive for every colour; 0 for fainter stars and for those without
    colour.

    Parameters
    ----------
    g, bp_rp
        Gaia's G and BP - RP [mag], float64 (n,); NaN where unknown.
    """
    b_t = g - np.polynomial.polynomial.polyval(bp_rp, G_MINUS_BT)
    colour = b_t - (g - np.polynomial.polynomial.polyval(bp_rp, G_MINUS_VT))
    radius = (
        354.817
        - 53.27823 * b_t
        + 66.01137 * colour
        + 2.1031286 * b_t**2
        + 7.6737066 * colour**2
        - 6.164676 * b_t * colour
    )
    with np.errstate(invalid="ignore"):
        has_halo = (g < FAINTEST_G) & (b_t < FAINTEST_BT)
    spoilt: FloatArray = np.where(has_halo, radius, 0.0)
    return spoilt


class BrightStars:
    """Says which positions lie in the halo of a bright star; threads may share it.

    Parameters
    ----------
    source
        Where the catalogue is.
    collection
        Name of Gaia's collection, such as ``Gaia_EDR3``.
    radius_arcsec
        How far away bright stars are looked for [arcsec].
    match_radius_arcsec
        The nearest bright star closer than this [arcsec] is the source itself.
    cache
        Folder that keeps what was asked, see `sky.CatalogTiles`.

    Raises
    ------
    ScopeError
        If the source does not have the collection.
    """

    def __init__(
        self,
        source: CatalogSource,
        collection: str,
        radius_arcsec: float = 300.0,
        match_radius_arcsec: float = 2.0,
        cache: Path | None = None,
    ) -> None:
        self._radius = radius_arcsec
        self._match_radius = match_radius_arcsec
        self._where = f"catalogue '{collection}'"
        query = Query(
            catalog=collection,
            columns=(MAGNITUDE,),
            optional=(COLOUR, BLUE, RED),
            below={MAGNITUDE: FAINTEST_G},
            margin_arcsec=radius_arcsec,
            ids="text",
        )
        self._tiles = CatalogTiles(source, query, cache=cache, prepare=self._with_radius)

    def near(self, ra: FloatArray, dec: FloatArray) -> npt.NDArray[np.bool_]:
        """Return whether each position lies within the exclusion radius of a bright star that is not itself, bool (n,).

        The nearest bright star closer than the match radius is the source: it excludes nothing, and separations are
        counted from its place. A star at exactly its exclusion radius does not exclude. NaN lies near nothing.

        Parameters
        ----------
        ra, dec
            float64 (n,) [deg].

        Raises
        ------
        MissingColumnError
            If the catalogue has no colours.
        ScopeError
            If it cannot be asked.
        """
        near = np.zeros(len(ra), dtype=np.bool_)
        # In the order of the sky, so that a block meets few tiles.
        order = np.lexsort((ra, np.floor(dec)))
        for start in range(0, len(ra), BLOCK):
            block = order[start : start + BLOCK]
            near[block] = self._near(ra[block], dec[block])
        return near

    def requests(self, ra: FloatArray, dec: FloatArray) -> list[Callable[[], object]]:
        """Return what must be asked first, see `sky.CatalogTiles.requests`."""
        return self._tiles.requests(ra, dec)

    def _near(self, ra: FloatArray, dec: FloatArray) -> npt.NDArray[np.bool_]:
        found = self._tiles.within(ra, dec, self._radius)
        near = np.zeros(len(ra), dtype=np.bool_)
        if not found.position.size:
            return near
        radius = found.rows[RADIUS].to_numpy()
        separation = found.separation.copy()
        nearest = found.nearest()
        itself = nearest[separation[nearest] < self._match_radius]
        # Pair by pair, the one by which the position is a bright star itself, or -1.
        own = np.full(len(ra), -1, dtype=np.int64)
        own[found.position[itself]] = itself
        moved = np.flatnonzero(own[found.position] >= 0)
        if moved.size:
            stars = unit_vectors(found.rows["ra"].to_numpy(), found.rows["dec"].to_numpy())
            separation[moved] = angle_arcsec(stars[own[found.position[moved]]], stars[moved])
            radius = radius.copy()
            radius[itself] = 0.0
        near[found.position[radius > separation]] = True
        return near

    def _with_radius(self, rows: pa.Table) -> pa.Table:
        """Keep the bright stars of a tile, with the radius of each."""
        names = rows.column_names
        if COLOUR not in names and not {BLUE, RED} <= set(names):
            raise MissingColumnError(f"{self._where} (bright stars need a colour)", (COLOUR,), names)

        def column(name: str) -> FloatArray:
            if name not in names:
                return np.full(rows.num_rows, np.nan)
            return measured(rows[name], name, where=self._where)

        magnitude, colour = column(MAGNITUDE), column(COLOUR)
        colour = np.where(np.isnan(colour), column(BLUE) - column(RED), colour)
        with np.errstate(invalid="ignore"):
            bright = np.flatnonzero(magnitude < FAINTEST_G)
        radius = exclusion_radius_arcsec(magnitude[bright], colour[bright])
        return rows.select(["ra", "dec"]).take(pa.array(bright)).append_column(RADIUS, pa.array(radius))
