"""What the page and the terminal show of the stars of `classify`, from its tables.

May import `classify_tables`, `classify_models`, reporting, models and what lies below.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scope_ml.features.quality import QualityFlag
from scope_ml.io.lightcurves import open_light_curves
from scope_ml.models.algorithms import ALGORITHMS
from scope_ml.reporting.examples import Points, measured_points
from scope_ml.reporting.star_page import ClassScore, StarCurve, StarView
from scope_ml.reporting.view import ExampleView
from scope_ml.stages.catalogue_classes import ancestors
from scope_ml.stages.classify_models import NeededModel
from scope_ml.stages.classify_tables import NEARER, NOT_FOUND, Outcome, significance_of
from scope_ml.stages.requested_sources import Request

__all__ = ["Views", "points_of", "text_table"]

#: Classes shown of a star, and named of a light curve on the terminal.
N_CLASSES, N_NAMED = 10, 4

#: Light curves on the terminal.
N_LINES = 24

#: Classes at or below this have their minimum at phase 0.
ECLIPSING = "e"

Key = tuple[str, str | None]

FLAGS: Mapping[QualityFlag, str] = {
    QualityFlag.CONSTANT: "all magnitudes are equal",
    QualityFlag.MOST_POINTS_DROPPED: "more than half of its points were dropped",
    QualityFlag.GAP: "a gap takes more than half of the time it covers",
    QualityFlag.FEW_CYCLES: "the period found is longer than half of the time it covers",
    QualityFlag.DAILY_ALIAS: "the period found is near a whole number of cycles a day, and may be the Earth's",
    QualityFlag.NO_PERIOD: "no period was found: what depends on it is imputed",
    QualityFlag.SATURATED: "so bright that the detector may be saturated",
    QualityFlag.NO_POSITION: "its position is unknown: nothing of catalogues is known, and imputed",
    QualityFlag.BLENDED: "a catalogue has more than one object there",
}

REASONS: Mapping[str, str] = {
    "too_few_points": "not scored: {n_obs} clean points of {n_obs_raw}, cleaning.min_n_obs asks for {n_obs_needed}",
    "no_points": "not scored: it has no points",
    "all_flagged": "not scored: all of its {n_obs_raw} points are flagged",
    "near_bright_star": "not scored: it lies in the halo of a bright star",
    NOT_FOUND: "there is no light curve within the radius, or of this id",
    NEARER: "its light curves are nearer to another star that was asked for, and stand there",
}


@dataclass(frozen=True, kw_only=True)
class Views:
    """Makes the views of stars.

    Attributes
    ----------
    outcome, request
        The tables, and who asked.
    models
        The models, in the order of their columns.
    in_doubt
        Names of those whose scores are in doubt.
    periods
        Column of the best period by search; empty where none was searched.
    catalogues_known
        Whether a missing match says that there is none.
    points
        Points of the light curves that are drawn, by id as text and band.
    """

    outcome: Outcome
    request: Request
    models: Sequence[NeededModel]
    in_doubt: frozenset[str]
    periods: Mapping[str, str]
    catalogues_known: bool
    points: Mapping[Key, Points]

    def of(self, stars: Iterable[int]) -> tuple[StarView, ...]:
        """Return the views of some of the asked stars."""
        return tuple(self._star(number) for number in stars)

    def _star(self, number: int) -> StarView:
        rows = [self._row(int(at)) for at in np.flatnonzero(self.outcome.star == number)]
        lost = [self.outcome.unscored.slice(at, 1).to_pylist()[0] for at in self._lost_of(number)]
        curves = [self._scored(row) for row in rows] + [
            self._dropped(row) for row in lost if row["n_obs_raw"] is not None
        ]
        source = self.request.sources.slice(number, 1).to_pylist()[0]
        classes = self._classes(rows)
        reached = {one.tag for one in classes if one.reached}
        above = ancestors({model.record.spec.tag: model.record.spec for model in self.models})
        eclipsing = any(tag == ECLIPSING or ECLIPSING in above[tag] for tag in reached)
        return StarView(
            name=str(source["name"]),
            place=_place(source, [*rows, *lost]),
            phase_zero="faint" if eclipsing else "bright",
            curves=tuple(curves),
            classes=classes[:N_CLASSES],
            algorithms=self._algorithms,
            lost="; ".join(_why(row) for row in lost if row["n_obs_raw"] is None),
        )

    def _row(self, at: int) -> dict[str, Any]:
        tables = (self.outcome.details, self.outcome.scores)
        return {name: value for table in tables for name, value in table.slice(at, 1).to_pylist()[0].items()}

    def _lost_of(self, number: int) -> list[int]:
        return [int(at) for at in np.flatnonzero(self.outcome.unscored_star == number)]

    @property
    def _algorithms(self) -> tuple[str, ...]:
        there = {model.record.algorithm.name for model in self.models}
        return tuple(name for name in ALGORITHMS if name in there)

    def _scored(self, row: Mapping[str, Any]) -> StarCurve:
        periods = []
        for method, column in self.periods.items():
            if column in row:
                periods.append((method, _finite(row[column]), _finite(row.get(significance_of(column)))))
        return StarCurve(
            example=self._example(row, _finite(row.get("period")) if self.periods else np.nan),
            n_obs=row["n_obs"],
            n_obs_raw=row["n_obs_raw"],
            note=_period_note(row),
            periods=tuple(periods),
            flags=tuple(self._flags(row)),
        )

    def _dropped(self, row: Mapping[str, Any]) -> StarCurve:
        return StarCurve(
            example=self._example(row, np.nan), n_obs=row["n_obs"], n_obs_raw=row["n_obs_raw"], lost=_why(row)
        )

    def _example(self, row: Mapping[str, Any], period: float) -> ExampleView:
        none = np.empty(0)
        points = self.points.get((str(row["id"]), row["band"])) or Points(time=none, mag=none, mag_err=none)
        return ExampleView(
            id=str(row["id"]),
            band=row["band"] or "",
            time=points.time,
            mag=points.mag,
            mag_err=points.mag_err,
            period=period,
        )

    def _flags(self, row: Mapping[str, Any]) -> list[str]:
        quality = row.get("quality") or 0
        said = [words for flag, words in FLAGS.items() if quality & flag]
        for name, value in row.items():
            if name.startswith("colour_") and _is_missing(value):
                bands = " - ".join(name.removeprefix("colour_").split("_"))
                said.append(f"its colour {bands} is unknown, for want of a light curve in both bands, and imputed")
            elif name.endswith("___id") and value is None and self.catalogues_known:
                said.append(f"no object of {name.removesuffix('___id')} lies there: what it measures is imputed")
        return said

    def _classes(self, rows: Sequence[Mapping[str, Any]]) -> tuple[ClassScore, ...]:
        """Return the classes of a star, reached ones first, then by score."""
        found = []
        for tag in dict.fromkeys(model.record.spec.tag for model in self.models if rows):
            own = {model.record.algorithm.name: model for model in self.models if model.record.spec.tag == tag}
            ranked = [class_score(row, list(own.values())) for row in rows]
            cells = tuple(
                self._cell(row, own[algorithm]) if algorithm in own else None
                for row in rows
                for algorithm in self._algorithms
            )
            found.append(
                ClassScore(
                    tag=tag,
                    label=next(iter(own.values())).record.spec.label,
                    best=max(mean for mean, _ in ranked),
                    reached=any(reached for _, reached in ranked),
                    means=tuple(ranked),
                    scores=cells,
                )
            )
        return tuple(sorted(found, key=lambda one: (not one.reached, -one.best)))

    def _cell(self, row: Mapping[str, Any], model: NeededModel) -> tuple[float, bool, bool]:
        score = float(row[model.name])
        return score, score >= model.record.threshold, model.name in self.in_doubt


def class_score(row: Mapping[str, Any], models: Sequence[NeededModel]) -> tuple[float, bool]:
    """Return the mean score of one class's models for one light curve, and whether it reaches their mean threshold."""
    mean = float(np.mean([float(row[model.name]) for model in models]))
    return mean, mean >= float(np.mean([model.record.threshold for model in models]))


def points_of(path: Path, request: Request, stars: Iterable[int]) -> dict[Key, Points]:
    """Return the points of the light curves of some stars, by id as text and band.

    Raises
    ------
    ScopeError
        If the file is broken.
    """
    wanted = np.asarray(sorted(stars), dtype=np.int64)
    found: dict[Key, Points] = {}
    if not wanted.size:
        return found
    for chunk in open_light_curves(path, layout="scope").chunks():
        mine = np.flatnonzero(np.isin(request.index_of(chunk.rows), wanted))
        ids, bands = chunk.rows["id"].take(mine).to_pylist(), chunk.rows["band"].take(mine).to_pylist()
        for at, name, band in zip(mine.tolist(), ids, bands, strict=True):
            found[str(name), band] = measured_points(chunk.batch[at])
    return found


def text_table(views: Sequence[StarView], n_more: int) -> str:
    """Return what is shown on a terminal: a line a light curve with its period and best classes, with their scores."""
    lines = [("star", "band", "points", "period [d]", "best classes: mean score, * reaches its threshold, ? in doubt")]
    for star in views:
        if star.lost:
            lines.append((star.name, "", "", "", star.lost))
        scored = [curve for curve in star.curves if not curve.lost]
        for curve in star.curves:
            period = f"{curve.example.period:.6g}" if np.isfinite(curve.example.period) else "-"
            told = curve.lost or _best(star, scored.index(curve))
            lines.append((star.name, curve.example.band or "?", str(curve.n_obs), period, told))
    shown = lines[: N_LINES + 1]
    widths = [max(len(line[column]) for line in shown) for column in range(4)]
    text = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[4]]) for line in shown
    ]
    n_hidden = len(lines) - len(shown)
    if n_hidden or n_more:
        text.append(f"... {n_hidden} more light curves of these, {n_more} more stars; all are in scores.csv")
    return "\n".join(text)


def _best(star: StarView, number: int) -> str:
    """Return the best classes of one light curve, its reached ones first."""
    n = len(star.algorithms)
    found = []
    for one in star.classes:
        mean, reached = one.means[number]
        doubtful = any(cell is not None and cell[2] for cell in one.scores[number * n : (number + 1) * n])
        marks = ("*" if reached else "") + ("?" if doubtful else "")
        found.append((not reached, -mean, f"{one.tag} {mean:.2f}{marks}"))
    return ", ".join(text for _, _, text in sorted(found)[:N_NAMED])


def _why(row: Mapping[str, Any]) -> str:
    words = REASONS.get(row["reason"])
    if words is not None:
        return words.format(**row)
    # A status is one word; what a service said may hold names, such as that of a catalogue.
    reason = row["reason"]
    return f"not scored: {reason if ' ' in reason else reason.replace('_', ' ')}"


def _place(source: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    """Return where a star is, as it was asked for, or else as its light curves say."""
    for known in (source, *rows):
        ra, dec = known.get("ra"), known.get("dec")
        if ra is not None and dec is not None:
            return f"{ra:.5f} {dec:+.5f} deg"
    return ""


def _period_note(row: Mapping[str, Any]) -> str:
    """Say by which class a period was refined, and what had been found before."""
    tag, factor = row.get("period_class"), row.get("period_factor")
    if tag is None or row.get("period") is None or not np.isfinite(_finite(row.get("period_searched"))):
        return ""
    times = f", {factor:g} times what was found" if factor not in (None, 1.0) else ""
    return f"period refined as {tag}{times}"


def _finite(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _is_missing(value: Any) -> bool:
    return value is None or not np.isfinite(value)
