"""Which light curves of a source are wanted: of a field, a ccd, a quadrant, with given ids, at given positions.

A `Selection` says it in the words of the sky; each reader says it in the words of its files (`io.row_filter` for
Parquet). May import core and errors only.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scope_ml.core.identifiers import exact_ids
from scope_ml.core.provenance import digest_json
from scope_ml.core.sphere import chord, unit_vectors
from scope_ml.errors import DataError

if TYPE_CHECKING:
    from scipy.spatial import cKDTree

__all__ = ["CCDS", "QUADS", "Positions", "Selection", "nearest_positions", "positions_within", "same_ids"]

#: ZTF's detectors, and the quadrants of each.
CCDS = range(1, 17)
QUADS = range(1, 5)

#: Largest whole number that a field may have; file names give it six digits.
LARGEST_FIELD = 999_999

Floats = npt.NDArray[np.float64]


class Positions(NamedTuple):
    """Positions on the sky; a star within `radius_arcsec` of any of them is wanted.

    Attributes
    ----------
    ra, dec
        Shape (n,), float64 [deg].
    radius_arcsec
        Largest distance on the sphere, inclusive [arcsec].
    """

    ra: Floats
    dec: Floats
    radius_arcsec: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Selection:
    """Which light curves are wanted; all that is given must hold, and nothing given means all.

    Attributes
    ----------
    field, ccd, quad
        Of the light curve; a light curve whose field is not known is not of field 250.
    ids
        Ids of light curves, int64 or string, exactly as the files have them; text and whole numbers are compared as
        they are written, never as floats.
    positions
        Where the stars are.

    Raises
    ------
    DataError
        If ids are neither whole numbers nor text, a position is not on the sphere, or a number is out of range.
    """

    field: int | None = None
    ccd: int | None = None
    quad: int | None = None
    ids: pa.Array | None = None
    positions: Positions | None = None

    def __post_init__(self) -> None:
        for name, allowed in (("field", range(LARGEST_FIELD + 1)), ("ccd", CCDS), ("quad", QUADS)):
            value = getattr(self, name)
            if value is not None and value not in allowed:
                raise DataError(f"{name} {value} does not exist; it is {allowed[0]} to {allowed[-1]}")
        if self.ids is not None:
            object.__setattr__(self, "ids", exact_ids(self.ids, "ids", where="selection"))
        if self.positions is not None:
            object.__setattr__(self, "positions", _checked(Positions(*self.positions)))

    @property
    def everything(self) -> bool:
        """Whether all light curves are wanted."""
        return all(value is None for value in (self.field, self.ccd, self.quad, self.ids, self.positions))

    @property
    def constant(self) -> dict[str, int]:
        """Return those of `field`, `ccd`, `quad` that are given, by name."""
        given = {"field": self.field, "ccd": self.ccd, "quad": self.quad}
        return {name: value for name, value in given.items() if value is not None}

    @cached_property
    def digest(self) -> str:
        """SHA-256 digest of what is wanted; the order of ids and positions does not count."""
        return digest_json(
            {
                **self.constant,
                "ids": None if self.ids is None else _digest_of_texts(self.ids),
                "positions": None if self.positions is None else _digest_of_positions(self.positions),
            }
        )

    def __str__(self) -> str:
        """Say in a few words what is wanted, such as ``field 250 ccd 1 quad 2``."""
        words = [f"{name} {value}" for name, value in self.constant.items()]
        if self.ids is not None:
            words.append(f"{len(self.ids)} ids")
        if self.positions is not None:
            words.append(f"{len(self.positions.ra)} positions within {self.positions.radius_arcsec:g} arcsec")
        return " ".join(words) or "all"

    @cached_property
    def sorted_numbers(self) -> npt.NDArray[np.int64]:
        """The wanted ids as sorted whole numbers, for files whose ids are numbers; for selections with ids only."""
        assert self.ids is not None
        return np.unique(same_ids(self.ids, pa.int64()).to_numpy())

    @cached_property
    def sorted_texts(self) -> list[str]:
        """The wanted ids as sorted text, for files whose ids are text; for selections with ids only."""
        assert self.ids is not None
        return sorted(set(same_ids(self.ids, pa.string()).to_pylist()))

    @cached_property
    def tree(self) -> cKDTree:
        """The wanted positions as a tree of unit vectors; for selections with positions only."""
        from scipy.spatial import cKDTree

        assert self.positions is not None
        return cKDTree(unit_vectors(self.positions.ra, self.positions.dec))

    def near(self, ra: Floats, dec: Floats) -> npt.NDArray[np.bool_]:
        """Return whether each position, shape (n,) [deg], is within the radius of a wanted one; NaN is not."""
        assert self.positions is not None
        return nearest_positions(self.tree, ra, dec, self.positions.radius_arcsec) >= 0


def nearest_positions(tree: cKDTree, ra: Floats, dec: Floats, radius_arcsec: float) -> npt.NDArray[np.int64]:
    """Return for each position, shape (n,) [deg], the index of the nearest point of `tree` within the radius, or -1.

    Distances are chords of the unit sphere, which grow with the angle: exact everywhere, also for 1e-3 arcsec.
    """
    found = np.full(len(ra), -1, dtype=np.int64)
    known = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
    if not len(known) or not tree.n:
        return found
    # The tree's bound is exclusive; the radius itself is to count, as the chord's surplus has it.
    distance, index = tree.query(unit_vectors(ra[known], dec[known]), distance_upper_bound=_chord(radius_arcsec))
    hit = np.isfinite(distance)
    found[known[hit]] = index[hit]
    return found


def positions_within(tree: cKDTree, ra: Floats, dec: Floats, radius_arcsec: float) -> npt.NDArray[np.int64]:
    """Return the indices of all points of `tree` that are within the radius of any of the positions, shape (n,) [deg]."""
    known = np.isfinite(ra) & np.isfinite(dec)
    if not known.any() or not tree.n:
        return np.zeros(0, dtype=np.int64)
    lists = tree.query_ball_point(unit_vectors(ra[known], dec[known]), _chord(radius_arcsec), return_sorted=False)
    return np.unique(np.concatenate([np.asarray(one, dtype=np.int64) for one in lists]))


def _chord(radius_arcsec: float) -> float:
    """Return the chord of an angle, a little longer than it is, so that rounding leaves out nothing."""
    return chord(radius_arcsec) * (1 + 1e-9) + 1e-15


def same_ids(ids: pa.Array, dtype: pa.DataType) -> pa.Array:
    """Return ids as `dtype`, int64 or string, so that they can be compared with a file's; what cannot be there is left out.

    The text ``"12"`` is the number 12; ``"012"`` and ``"1e3"`` are no numbers.
    """
    if ids.type == dtype:
        return ids
    if pa.types.is_string(dtype):
        return ids.cast(pa.string())
    numbers = [int(text) for text in ids.to_pylist() if _is_whole(text)]
    return pa.array(numbers, pa.int64())


def _is_whole(text: str) -> bool:
    digits = text.removeprefix("-")
    return digits.isascii() and digits.isdigit() and len(digits) < 20 and str(int(text)) == text and _fits(int(text))


def _fits(number: int) -> bool:
    return -(2**63) <= number < 2**63


def _checked(positions: Positions) -> Positions:
    ra, dec = (np.asarray(values, dtype=np.float64) for values in positions[:2])
    if ra.ndim != 1 or ra.shape != dec.shape:
        raise DataError(f"positions have ra of shape {ra.shape} and dec of shape {dec.shape}; give one of each")
    # Comparisons with NaN are false, so that it is found here too.
    wrong = np.flatnonzero(~((ra >= 0.0) & (ra <= 360.0) & (dec >= -90.0) & (dec <= 90.0)))
    if len(wrong):
        row = int(wrong[0])
        raise DataError(
            f"row {row + 1} is at ra={ra[row]:g} dec={dec[row]:g} ({len(wrong)} such rows); ra is 0 to 360 deg and dec -90"
            " to 90 deg"
        )
    if not 0.0 < positions.radius_arcsec < 180.0 * 3600.0:
        raise DataError(f"the radius is {positions.radius_arcsec:g} arcsec; give more than 0")
    return Positions(ra=ra, dec=dec, radius_arcsec=float(positions.radius_arcsec))


def _digest_of_texts(ids: pa.Array) -> str:
    texts = sorted(set(ids.cast(pa.string()).to_pylist()))
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def _digest_of_positions(positions: Positions) -> list[Any]:
    pairs = np.unique(np.column_stack([positions.ra, positions.dec]), axis=0)
    return [hashlib.sha256(pairs.tobytes()).hexdigest(), positions.radius_arcsec]
