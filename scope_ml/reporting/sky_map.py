"""Stars on a map of the sky: how many lie where, in an equal-area projection, as an SVG that takes its colours from the page.

Stars are counted in cells of the map, so that some or 10^9 of them cost the same, and cells of equal area on the map are of
equal area on the sky. East is to the left. May import core and `reporting.svg`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape

import numpy as np
import numpy.typing as npt

from scope_ml.core.sphere import unit_vectors
from scope_ml.reporting.svg import nice_ticks, number, tick_label

__all__ = ["Patch", "SkyGrid", "direction", "galactic_plane", "hammer", "lambert", "patch_map", "whole_map"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

#: Cells of the map of the whole sky across and up: 0.9 deg in its middle, about a quadrant of ZTF.
ACROSS, UP = 360, 180

#: Half the width of that map, whose half height is half of it.
HALF = 2 * np.sqrt(2.0)

#: Right ascension in the middle [deg].
MIDDLE = 180.0

#: Pixels of a cell.
PIXEL = 2

#: Cells of the map of a patch, across and up.
PATCH_CELLS = 200

#: Steps of colour.
N_SHADES = 7

#: North Galactic pole, and the Galactic longitude of the celestial one [deg, ICRS] (Hipparcos catalogue, vol. 1, 1.5.3).
POLE_RA, POLE_DEC, LONGITUDE = 192.85948, 27.12825, 122.93192

#: More fields than these are not named on the map.
MOST_NAMES = 24


def hammer(ra: FloatArray, dec: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return places [deg] on the map of the whole sky: x from -`HALF` to `HALF`, y half as far, up is north.

    Hammer's projection: 2 sqrt(2) cos(dec) sin(l/2) / sqrt(1 + cos(dec) cos(l/2)), sqrt(2) sin(dec) / the same.
    """
    longitude = np.radians((MIDDLE - np.asarray(ra) + 180.0) % 360.0 - 180.0)
    latitude = np.radians(np.asarray(dec))
    below = np.sqrt(1.0 + np.cos(latitude) * np.cos(longitude / 2))
    return HALF * np.cos(latitude) * np.sin(longitude / 2) / below, np.sqrt(2.0) * np.sin(latitude) / below


def lambert(ra: FloatArray, dec: FloatArray, centre: tuple[float, float]) -> tuple[FloatArray, FloatArray]:
    """Return places [deg] around a centre [deg], in degrees to the west and to the north, areas kept (Lambert's)."""
    east, north, out = _axes(*centre)
    v = unit_vectors(np.asarray(ra, dtype=np.float64), np.asarray(dec, dtype=np.float64))
    # sqrt(2 / (1 + cos c)), finite but at the far side.
    stretch = np.degrees(np.sqrt(2.0 / np.maximum(1.0 + v @ out, 1e-9)))
    return -(v @ east) * stretch, (v @ north) * stretch


def direction(vector: FloatArray) -> tuple[float, float]:
    """Return where a vector points, ra and dec [deg], ra below 360."""
    x, y, z = vector.tolist()
    # Twice, for the smallest of negative numbers is 360 after the first.
    return float(np.degrees(np.arctan2(y, x)) % 360.0 % 360.0), float(np.degrees(np.arctan2(z, np.hypot(x, y))))


def galactic_plane(n: int = 361) -> tuple[FloatArray, FloatArray]:
    """Return ra and dec [deg] of the Galactic equator, float64 (n,), from the Galactic centre on and back to it."""
    longitude = np.linspace(0.0, 360.0, n)
    away = np.radians(LONGITUDE - longitude)
    pole = np.radians(POLE_DEC)
    dec = np.arcsin(np.cos(pole) * np.cos(away))
    ra = POLE_RA + np.degrees(np.arctan2(np.sin(away), -np.sin(pole) * np.cos(away)))
    return ra % 360.0, np.degrees(dec)


@dataclass(kw_only=True, eq=False)
class SkyGrid:
    """Stars counted in the cells of the map of the whole sky; `add` takes any number of them, piece by piece.

    Attributes
    ----------
    counts
        int64 (`UP`, `ACROSS`), north first.
    centre_sum
        Sum of the unit vectors, float64 (3,).
    n_stars
        Stars with a place.
    n_nowhere
        Stars without.
    """

    counts: IntArray = field(default_factory=lambda: np.zeros((UP, ACROSS), dtype=np.int64))
    centre_sum: FloatArray = field(default_factory=lambda: np.zeros(3))
    n_stars: int = 0
    n_nowhere: int = 0

    def add(self, ra: FloatArray, dec: FloatArray) -> None:
        """Count stars [deg]; NaN is nowhere."""
        known = np.isfinite(ra) & np.isfinite(dec)
        self.n_stars += int(known.sum())
        self.n_nowhere += int((~known).sum())
        x, y = hammer(ra[known], dec[known])
        column = np.clip(((x + HALF) / (2 * HALF) * ACROSS).astype(np.int64), 0, ACROSS - 1)
        row = np.clip(((HALF / 2 - y) / HALF * UP).astype(np.int64), 0, UP - 1)
        self.counts += np.bincount(row * ACROSS + column, minlength=UP * ACROSS).reshape(UP, ACROSS)
        self.centre_sum += unit_vectors(ra[known], dec[known]).sum(axis=0)

    @property
    def centre(self) -> tuple[float, float] | None:
        """Return the mean direction of the stars [deg]; None if there is none."""
        length = float(np.linalg.norm(self.centre_sum))
        if length < 1e-6 * max(self.n_stars, 1):
            return None
        return direction(self.centre_sum)


@dataclass(kw_only=True, eq=False)
class Patch:
    """Stars counted in the cells of a square around a place.

    Attributes
    ----------
    centre
        Its middle [deg].
    radius
        Half its width [deg].
    counts
        int64 (`PATCH_CELLS`, `PATCH_CELLS`), north first, west last.
    """

    centre: tuple[float, float]
    radius: float
    counts: IntArray = field(default_factory=lambda: np.zeros((PATCH_CELLS, PATCH_CELLS), dtype=np.int64))

    def add(self, ra: FloatArray, dec: FloatArray) -> None:
        """Count stars [deg]; those outside and nowhere are left out."""
        known = np.isfinite(ra) & np.isfinite(dec)
        x, y = lambert(ra[known], dec[known], self.centre)
        column = np.floor((x + self.radius) / (2 * self.radius) * PATCH_CELLS)
        row = np.floor((self.radius - y) / (2 * self.radius) * PATCH_CELLS)
        inside = (column >= 0) & (column < PATCH_CELLS) & (row >= 0) & (row < PATCH_CELLS)
        at = (row[inside] * PATCH_CELLS + column[inside]).astype(np.int64)
        self.counts += np.bincount(at, minlength=PATCH_CELLS**2).reshape(PATCH_CELLS, PATCH_CELLS)


def whole_map(grid: SkyGrid, fields: Mapping[int, tuple[float, float]]) -> str:
    """Return the map of the whole sky as HTML, its key below.

    Parameters
    ----------
    grid
        The stars.
    fields
        Middle of each field [deg]; named where there are few.
    """
    width, height = ACROSS * PIXEL, UP * PIXEL
    bounds = shades(grid.counts)
    marks = []
    if len(fields) <= MOST_NAMES:
        for name, place in sorted(fields.items()):
            x, y = _pixels(*hammer(np.array([place[0]]), np.array([place[1]])))
            at = f'cx="{number(x[0])}" cy="{number(y[0])}"'
            marks.append(f'<circle class="field" {at} r="7"><title>field {name}</title></circle>')
            marks.append(f'<text x="{number(x[0] + 10)}" y="{number(y[0] + 3.5)}">{name}</text>')
    title = escape(f"{grid.n_stars} stars on the sky, right ascension 180 deg in the middle, east to the left")
    return (
        f'<svg class="sky" viewBox="-22 -16 {width + 44} {height + 32}" role="img"><title>{title}</title>'
        f'<ellipse class="rim" cx="{width / 2:g}" cy="{height / 2:g}" rx="{width / 2:g}" ry="{height / 2:g}"/>'
        f"{_cells(grid.counts, bounds, PIXEL)}{_graticule()}{_plane()}{''.join(marks)}</svg>{_key(bounds, 0.9)}"
    )


def patch_map(patch: Patch, fields: Mapping[int, tuple[float, float]]) -> str:
    """Return the map of a patch as HTML, its key below; degrees around its middle are on its sides."""
    size, pixel = 400, 400 / PATCH_CELLS
    bounds = shades(patch.counts)
    ticks = nice_ticks(-patch.radius, patch.radius, 5)
    lines, texts = [], []
    for tick in ticks:
        at = (tick + patch.radius) / (2 * patch.radius) * size
        lines.append(
            f'<path class="grid" d="M{number(at)} 0V{size}"/><path class="grid" d="M0 {number(size - at)}H{size}"/>'
        )
        # West is to the right, so that the distance to the east falls from left to right.
        texts.append(
            f'<text x="{number(at)}" y="{size + 15}" text-anchor="middle">{tick_label(-tick or 0.0, ticks)}</text>'
        )
        texts.append(
            f'<text x="-6" y="{number(size - at + 3.5)}" text-anchor="end">{tick_label(tick or 0.0, ticks)}</text>'
        )
    names = []
    for name, place in sorted(fields.items()):
        x, y = lambert(np.array([place[0]]), np.array([place[1]]), patch.centre)
        across, down = ((float(v) + patch.radius) / (2 * patch.radius) * size for v in (x[0], -y[0]))
        if 0 <= across <= size and 0 <= down <= size and len(fields) <= MOST_NAMES:
            names.append(
                f'<text class="name" x="{number(across)}" y="{number(down)}" text-anchor="middle">{name}</text>'
            )
    ra, dec = patch.centre
    where = f"RA {ra:.3f} deg, Dec {dec:+.3f} deg".replace("-", "\N{MINUS SIGN}")
    return (
        f'<svg class="sky patch" viewBox="-44 -4 {size + 56} {size + 40}" role="img"><title>{escape(where)}</title>'
        f'{"".join(lines)}{_cells(patch.counts, bounds, pixel)}<path class="rim" d="M0 0H{size}V{size}H0Z"/>'
        f'{"".join(texts)}{"".join(names)}<text class="unit" x="{size}" y="{size + 32}" text-anchor="end">'
        f"deg east and north of {escape(where)}</text></svg>{_key(bounds, 2 * patch.radius / PATCH_CELLS)}"
    )


def shades(counts: IntArray) -> IntArray:
    """Return the smallest count of each shade, rising, int64 (at most `N_SHADES`,): even steps of the logarithm."""
    most = int(counts.max(initial=0))
    if not most:
        return np.zeros(0, dtype=np.int64)
    steps = np.geomspace(1, max(most, 1), N_SHADES + 1)[:-1]
    return np.unique(np.ceil(steps).astype(np.int64))


def _cells(counts: IntArray, bounds: IntArray, pixel: float) -> str:
    """Return the cells as one path a shade: rows of neighbours are one stroke."""
    shade = np.searchsorted(bounds, counts, side="right")
    # A column of zeros ends the runs of each row.
    flat = np.pad(shade, ((0, 0), (0, 1))).ravel()
    starts = np.flatnonzero(np.diff(flat, prepend=0))
    lengths = np.diff(np.append(starts, len(flat)))
    row, column = np.divmod(starts, counts.shape[1] + 1)
    paths = []
    for step in range(1, len(bounds) + 1):
        chosen = np.flatnonzero(flat[starts] == step)
        runs = "".join(
            f"M{number(x)} {number(y)}h{number(n)}"
            for x, y, n in zip(
                (column[chosen] * pixel).tolist(),
                ((row[chosen] + 0.5) * pixel).tolist(),
                (lengths[chosen] * pixel).tolist(),
                strict=True,
            )
        )
        # The densest has the last colour, however few shades there are.
        colour = N_SHADES - len(bounds) + step
        paths.append(f'<path class="cell shade-{colour}" stroke-width="{pixel:g}" d="{runs}"/>' if runs else "")
    return "".join(paths)


def _key(bounds: IntArray, degrees: float) -> str:
    """Return what the shades mean."""
    if not len(bounds):
        return '<p class="shades">no star has a place</p>'
    steps = "".join(
        f'<span><i class="shade-{N_SHADES - len(bounds) + k + 1}"></i>{bound:,}</span>'.replace(",", "\N{THIN SPACE}")
        for k, bound in enumerate(bounds.tolist())
    )
    size = f"{degrees:.1f} deg" if degrees >= 0.5 else f"{degrees * 60:.2g} arcmin"
    return f'<p class="shades">stars in a cell of ({size})\N{SUPERSCRIPT TWO}, from {steps}</p>'


def _graticule() -> str:
    around = np.linspace(0.001, 359.999, 181)
    up = np.linspace(-90.0, 90.0, 91)
    lines = [_curve(around, np.full(len(around), float(dec)), "grid") for dec in range(-60, 61, 30)]
    lines += [_curve(np.full(len(up), float(ra)), up, "grid") for ra in range(30, 360, 30)]
    for ra in range(60, 360, 60):
        x, y = _pixels(*hammer(np.array([float(ra)]), np.array([0.0])))
        lines.append(f'<text class="unit" x="{number(x[0] + 3)}" y="{number(y[0] - 3)}">{ra}\N{DEGREE SIGN}</text>')
    for dec in (-60, -30, 30, 60):
        x, y = _pixels(*hammer(np.array([0.001]), np.array([float(dec)])))
        sign = "+" if dec > 0 else "\N{MINUS SIGN}"
        side = 'text-anchor="start"' if x[0] > ACROSS * PIXEL / 2 else 'text-anchor="end"'
        lines.append(
            f'<text class="unit" x="{number(x[0] + (4 if "start" in side else -4))}" y="{number(y[0] + 3)}" {side}>'
            f"{sign}{abs(dec)}\N{DEGREE SIGN}</text>"
        )
    return "".join(lines)


def _plane() -> str:
    """Return the Galactic plane, broken where the map ends, and the centre."""
    ra, dec = galactic_plane()
    x, y = _pixels(*hammer(ra[:1], dec[:1]))
    centre = f'<circle class="centre" cx="{number(x[0])}" cy="{number(y[0])}" r="3.5"><title>Galactic centre</title></circle>'
    return _curve(ra, dec, "plane") + centre


def _curve(ra: FloatArray, dec: FloatArray, style: str) -> str:
    x, y = _pixels(*hammer(ra, dec))
    # From one side of the map to the other is no line.
    jump = np.abs(np.diff(x, prepend=x[0])) > ACROSS * PIXEL / 4
    jump[0] = True
    points = "".join(
        f"{'M' if new else 'L'}{number(a)} {number(b)}"
        for new, a, b in zip(jump.tolist(), x.tolist(), y.tolist(), strict=True)
    )
    return f'<path class="{style}" d="{points}"/>'


def _pixels(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    return (x + HALF) / (2 * HALF) * ACROSS * PIXEL, (HALF / 2 - y) / HALF * UP * PIXEL


def _axes(ra: float, dec: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return east, north and outwards at a place [deg], as unit vectors."""
    a, d = np.radians(ra), np.radians(dec)
    east = np.array([-np.sin(a), np.cos(a), 0.0])
    north = np.array([-np.sin(d) * np.cos(a), -np.sin(d) * np.sin(a), np.cos(d)])
    out = np.array([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)])
    return east, north, out
