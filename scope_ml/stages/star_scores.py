"""Scores of stars: light curves joined to stars, algorithms to one score a class.

Used by the stages `select_sample` and `fritz_disagreements`. May import selection, taxonomy, core, errors and
`score_tables`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from scope_ml.core.configuration import option
from scope_ml.core.protocols import Progress
from scope_ml.selection.consolidation import NAME_PREFIX, Combine, combined, consolidate
from scope_ml.selection.sampling import DEFAULT_THRESHOLD
from scope_ml.selection.score_columns import NONVAR, VARIABLE, ScoreColumn
from scope_ml.selection.stars import StarKey, Stars, find_stars
from scope_ml.stages.score_tables import ScoreTable

__all__ = ["Join", "StarScores", "StarsOptions", "star_scores"]

FloatArray = npt.NDArray[np.float64]

Join = Literal["mean", "max", "min"]

#: Light curves of one star by id that are further from its place than this point at ids that are not the stars' own [arcsec].
WIDE_ARCSEC = 10.0


@dataclass(frozen=True, kw_only=True)
class StarsOptions:
    """How light curves become stars."""

    by: StarKey = option(
        "auto", doc="which light curves are one star; auto: the first of the others that the tables have columns for"
    )
    radius_arcsec: float = option(
        1.5, unit="arcsec", doc="light curves without an id are one star, and known ones the same, within", at_least=0
    )
    combine: Combine = option("mean", doc="one score of several light curves: mean, max, median")
    prefix: str = option(NAME_PREFIX, doc="of names made of coordinates, for stars without obj_id")


@dataclass(frozen=True, kw_only=True, eq=False)
class StarScores:
    """The scores of stars.

    Attributes
    ----------
    rows
        The light curves that they come from.
    stars
        Which of these are one star.
    table
        One row a star: what `selection.consolidation.consolidate` makes, with a column a model.
    columns
        The columns of `table` that are scores of a model.
    join
        How algorithms are joined.
    threshold
        Of every class; None: the models' own.
    """

    rows: ScoreTable
    stars: Stars
    table: pa.Table
    columns: tuple[ScoreColumn, ...]
    join: Join
    threshold: float | None

    @cached_property
    def tags(self) -> tuple[str, ...]:
        """Return the scored classes; `NONVAR` is the last of them where there are scores of `VARIABLE`."""
        tags = tuple(dict.fromkeys(column.tag for column in self.columns))
        return (*tags, NONVAR) if VARIABLE in tags else tags

    def of(self, tag: str) -> tuple[ScoreColumn, ...]:
        """Return the columns of a class; those of `VARIABLE` for `NONVAR`."""
        wanted = VARIABLE if tag == NONVAR else tag
        return tuple(column for column in self.columns if column.tag == wanted)

    def model_scores(self, column: ScoreColumn, tag: str = "") -> FloatArray:
        """Return what one model says, float64 (n_stars,), NaN where it says nothing; for `NONVAR` what it leaves of 1."""
        values: FloatArray = self.table[column.name].cast(pa.float64()).fill_null(float("nan")).to_numpy()
        return 1.0 - values if tag == NONVAR else values

    @cached_property
    def scores(self) -> FloatArray:
        """Return one score a star and class, algorithms joined, float64 (n_stars, n_tags); NaN where there is none."""
        joined = [self._joined([self.model_scores(column, tag) for column in self.of(tag)]) for tag in self.tags]
        return np.stack(joined, axis=1) if joined else np.zeros((len(self.stars), 0))

    def _joined(self, of: Sequence[FloatArray]) -> FloatArray:
        values = np.stack(of)
        if self.join == "mean":
            known = ~np.isnan(values)
            count = known.sum(axis=0)
            return np.where(count > 0, np.where(known, values, 0.0).sum(axis=0) / np.maximum(count, 1), np.nan)
        fold = np.fmax if self.join == "max" else np.fmin
        joined: FloatArray = fold.reduce(values, axis=0)
        return joined

    @cached_property
    def thresholds(self) -> FloatArray:
        """Return the score of a member of each class, float64 (n_tags,): given, or the mean of its models' thresholds."""
        found = []
        for tag in self.tags:
            if self.threshold is not None:
                found.append(self.threshold)
                continue
            own = [self.rows.thresholds[column.name] for column in self.of(tag) if column.name in self.rows.thresholds]
            value = float(np.mean(own)) if own else DEFAULT_THRESHOLD
            # What is not variable by the models' threshold is not variable.
            found.append(1.0 - value if tag == NONVAR and own else value)
        return np.array(found)

    def disagreement(self) -> FloatArray | None:
        """Return how far algorithms are apart, float64 (n_stars, n_tags), or None if no class has two."""
        apart = np.full(self.scores.shape, np.nan)
        for k, tag in enumerate(self.tags):
            if len(self.of(tag)) > 1:
                values = np.stack([self.model_scores(column) for column in self.of(tag)])
                several = (~np.isnan(values)).sum(axis=0) > 1
                apart[:, k] = np.where(several, np.fmax.reduce(values) - np.fmin.reduce(values), np.nan)
        return apart if np.isfinite(apart).any() else None

    def seed_spread(self) -> FloatArray | None:
        """Return how far members of ensembles are apart, float64 (n_stars, n_tags), or None if there is no ensemble."""
        apart = np.full(self.scores.shape, np.nan)
        for k, tag in enumerate(self.tags):
            spreads = [self.rows.spreads[column.name] for column in self.of(tag) if column.name in self.rows.spreads]
            if spreads:
                of_rows = [
                    self.rows.data[name].cast(pa.float64()).fill_null(float("nan")).to_numpy() for name in spreads
                ]
                apart[:, k] = np.fmax.reduce([combined(self.stars, values, "mean") for values in of_rows])
        return apart if np.isfinite(apart).any() else None

    def warnings(self) -> tuple[str, ...]:
        """Return what to wonder at in the stars, one line each."""
        return (*self._shared_names(), *self._wide_stars())

    def _shared_names(self) -> tuple[str, ...]:
        counted = pc.value_counts(self.table["obj_id"].drop_null())
        shared = counted.filter(pc.greater(counted.field("counts"), 1)).field("values")
        if not len(shared):
            return ()
        return (
            f"{len(shared)} names (obj_id) of the tables belong to several stars, such as {shared[0].as_py()}; stars.by=obj_id makes one"
            " star of them",
        )

    def _wide_stars(self) -> tuple[str, ...]:
        if self.stars.by == "position" or not {"ra", "dec"} <= set(self.rows.data.column_names):
            return ()
        ra, dec = (self.rows.data[name].cast(pa.float64()).fill_null(float("nan")).to_numpy() for name in ("ra", "dec"))
        wide = np.flatnonzero(self.stars.spread_arcsec(ra, dec) > WIDE_ARCSEC)
        if not len(wide):
            return ()
        name = self.table["obj_id"][int(wide[0])].as_py()
        return (
            f"{len(wide)} stars have light curves more than {WIDE_ARCSEC:g} arcsec from their mean place, such as {name}; are"
            f" these ids ({self.stars.by}) the stars' own?",
        )


def star_scores(
    rows: ScoreTable,
    columns: Sequence[ScoreColumn],
    options: StarsOptions,
    *,
    join: Join,
    threshold: float | None,
    progress: Progress,
) -> StarScores:
    """Join the scores of light curves to scores of stars.

    Parameters
    ----------
    rows
        The light curves.
    columns
        Scores to keep, of `rows.columns`.
    options
        How.
    join
        What is made of the scores of several algorithms.
    threshold
        Score of a member of every class; None: the models' own.
    progress
        Told the columns that are joined.

    Raises
    ------
    ScopeError
        As `find_stars`.
    """
    stars = find_stars(rows.data, by=options.by, radius_arcsec=options.radius_arcsec, where="the scores")
    names = [column.name for column in columns]
    progress.start(f"scores of {len(stars)} stars", len(names))
    table = consolidate(
        rows.data, stars, scores=names, how=options.combine, prefix=options.prefix, told=progress.advance
    )
    progress.finish()
    return StarScores(
        rows=replace(rows, columns=tuple(columns)),
        stars=stars,
        table=table,
        columns=tuple(columns),
        join=join,
        threshold=threshold,
    )
