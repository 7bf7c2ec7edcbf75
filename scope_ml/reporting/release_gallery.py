"""The light curves that a data-release page shows: the surest stars of each class, and the points of each of them.

Rows of the catalogue are read where they lie, light curves are streamed. May import the rooms of this package, `selection`,
`datasets` and core.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from scope_ml.core.protocols import LightCurveSource, Progress
from scope_ml.datasets.identifiers import comparable
from scope_ml.reporting.examples import Points, measured_points
from scope_ml.reporting.release_counts import ClassCounts
from scope_ml.reporting.view import ExampleView
from scope_ml.selection.catalogue_parts import StarCatalogue

__all__ = ["GalleryStar", "StarCurve", "best_curves", "certain_stars", "example_of", "wanted_ids"]

#: Columns of the catalogue that are shown.
SHOWN = ("name", "ra", "dec", "ids", "n_light_curves", "period", "survey_id")


@dataclass(frozen=True, kw_only=True)
class GalleryStar:
    """A star that is shown for a class: its row, as far as it is needed, and its scores by algorithm."""

    tag: str
    score: float
    scores: Mapping[str, float]
    row: Mapping[str, Any]

    @property
    def period(self) -> float:
        """Return its period [d], NaN where it has none."""
        period = self.row.get("period")
        return float(period) if period is not None and period > 0 else float("nan")


@dataclass(frozen=True, kw_only=True)
class StarCurve:
    """One light curve of a star."""

    id: int | str
    band: str
    points: Points


def certain_stars(catalogue: StarCatalogue, classes: Mapping[str, ClassCounts]) -> dict[str, tuple[GalleryStar, ...]]:
    """Return the surest stars of each class, the surest first; each part that holds one is read once.

    Raises
    ------
    FormatError
        If a partition cannot be read.
    """
    wanted: dict[int, dict[int, list[tuple[str, int, float]]]] = defaultdict(lambda: defaultdict(list))
    for tag, counts in classes.items():
        for rank, (part, row, score) in enumerate(counts.places()):
            wanted[part][row].append((tag, rank, score))
    of_scores = [name for counts in classes.values() for _, name in counts.columns.by_algorithm]
    names = catalogue.there([*SHOWN, *of_scores])
    found: dict[str, dict[int, GalleryStar]] = {tag: {} for tag in classes}
    for number, rows in sorted(wanted.items()):
        start = 0
        for batch in catalogue.batches(catalogue.parts[number], names):
            inside = [row for row in sorted(rows) if start <= row < start + batch.num_rows]
            values = batch.take(pa.array([row - start for row in inside], pa.int64())).to_pylist()
            for row, value in zip(inside, values, strict=True):
                for tag, rank, score in rows[row]:
                    of = {
                        name: float(value[column])
                        for name, column in classes[tag].columns.by_algorithm
                        if value[column] is not None
                    }
                    found[tag][rank] = GalleryStar(tag=tag, score=score, scores=of, row=value)
            start += batch.num_rows
    return {tag: tuple(stars[rank] for rank in sorted(stars)) for tag, stars in found.items()}


def wanted_ids(stars: Iterable[GalleryStar]) -> pa.Array | None:
    """Return the ids of all light curves of some stars, each once; None where there are none."""
    ids = {one for star in stars for one in star.row.get("ids") or () if one is not None}
    return pa.array(sorted(ids)) if ids else None


def best_curves(source: LightCurveSource, ids: pa.Array, progress: Progress) -> dict[str, StarCurve]:
    """Return of each id, as text, the light curve with the most points that can be drawn; those not found are left out.

    Of equally long ones the first of the source.
    """
    found: dict[str, StarCurve] = {}
    for chunk in source.chunks():
        progress.advance()
        given, known = comparable(chunk.rows["id"].combine_chunks(), ids)
        for index in pc.indices_nonzero(pc.is_in(given, value_set=known)).to_pylist():
            points = measured_points(chunk.batch[index])
            name = chunk.rows["id"][index].as_py()
            standing = found.get(str(name))
            if not len(points.time) or (standing and len(standing.points.time) >= len(points.time)):
                continue
            band = chunk.rows["band"][index].as_py() if "band" in chunk.rows.column_names else None
            found[str(name)] = StarCurve(id=name, band=band or "", points=points)
    return found


def example_of(star: GalleryStar, curves: Mapping[str, StarCurve], *, is_periodic: bool) -> ExampleView | None:
    """Return how a star is drawn: its light curve with the most points, folded where its class is periodic.

    None where no light curve of it was found.
    """
    own: Sequence[StarCurve] = [curves[str(one)] for one in star.row.get("ids") or () if str(one) in curves]
    if not own:
        return None
    # max keeps the first of equal ones.
    best = max(own, key=lambda curve: len(curve.points.time))
    return ExampleView(
        id=str(best.id),
        band=best.band,
        time=best.points.time,
        mag=best.points.mag,
        mag_err=best.points.mag_err,
        period=star.period if is_periodic else float("nan"),
        scores=dict(star.scores),
    )
