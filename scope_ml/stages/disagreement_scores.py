"""Two scores of each class for every star, side by side: of two algorithms, or of two versions of the models.

Used by the stage `fritz_disagreements`. May import selection, core, errors and `score_tables`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scope_ml.core.identifiers import one_chunk
from scope_ml.core.provenance import digest_json
from scope_ml.errors import ConfigError, DataError, suggest
from scope_ml.selection.consolidation import combined, consolidate
from scope_ml.selection.score_columns import ScoreColumn
from scope_ml.selection.stars import StarKey, Stars, find_stars
from scope_ml.stages.score_tables import ScoreTable, rows_of
from scope_ml.taxonomy.graph import Taxonomy

__all__ = ["CombinePairs", "PairRules", "PairedRows", "PairedStars", "pair_rows", "pair_stars"]

FloatArray = npt.NDArray[np.float64]

#: ``widest``: both scores of the light curve on which they are furthest apart.
CombinePairs = Literal["mean", "max", "median", "widest"]


@dataclass(frozen=True, kw_only=True)
class PairRules:
    """What is compared.

    Attributes
    ----------
    first, second
        Algorithms; None: dnn and xgb of one set of tables, the mean of all algorithms of two sets.
    names
        What the two are called in the output; empty: their algorithms.
    classes
        Tags and sets of classes.
    where
        Names the tables in messages.
    """

    first: str | None
    second: str | None
    names: tuple[str, ...]
    classes: tuple[str, ...]
    where: str


@dataclass(frozen=True, kw_only=True, eq=False)
class PairedRows:
    """Light curves with two scores a class.

    Attributes
    ----------
    rows
        The light curves.
    names
        What the first and the second score are called.
    tags
        The n_tags classes.
    first, second
        float64 (n_rows, n_tags), NaN where there is none.
    n_left
        Light curves that only the first, only the second set of tables has.
    models
        Digests of the models that are compared, as far as they are known.
    """

    rows: ScoreTable
    names: tuple[str, str]
    tags: tuple[str, ...]
    first: FloatArray
    second: FloatArray
    n_left: tuple[int, int]
    models: tuple[str, ...]

    @property
    def version(self) -> str:
        """Return eight digits that stand for these models, or nothing where they are not known."""
        return digest_json(sorted(self.models))[:8] if self.models else ""


@dataclass(frozen=True, kw_only=True, eq=False)
class PairedStars:
    """Stars with two scores a class.

    Attributes
    ----------
    rows
        Their light curves.
    stars
        Which of these are one star.
    table
        One row a star: name, place, ids, period, and other columns that were asked for.
    first, second
        float64 (n_stars, n_tags), NaN where there is none.
    """

    rows: PairedRows
    stars: Stars
    table: pa.Table
    first: FloatArray
    second: FloatArray


def pair_rows(table: ScoreTable, against: ScoreTable | None, taxonomy: Taxonomy, rules: PairRules) -> PairedRows:
    """Put two scores of each class side by side.

    Parameters
    ----------
    table
        Scores.
    against
        Those of other models; None: both scores are in `table`.
    taxonomy
        What sets of classes stand for.
    rules
        Which scores.

    Raises
    ------
    ConfigError
        If a class has not both scores, or the two are the same.
    DataError
        If the tables share no light curve.
    """
    first, second = rules.first, rules.second or rules.first
    if against is None:
        first, second = rules.first or "dnn", rules.second or "xgb"
        if first == second:
            raise ConfigError(
                f"pair.first={first} and pair.second={second} are the same; give two algorithms, or a second set of tables with"
                " against=[TABLE]",
                key="pair.second",
            )
        other, n_left = table, (0, 0)
    else:
        table, other, n_left = _shared(table, against, rules.where)
    tags = _tags((table, first), (other, second), taxonomy, rules)
    columns = [(_columns(table, first, tag), _columns(other, second, tag)) for tag in tags]
    values = [[_mean(of.data, pair[side]) for pair in columns] for side, of in enumerate((table, other))]
    one, two = (np.stack(side, axis=1) for side in values)
    if len(one) and not (np.isfinite(one) & np.isfinite(two)).any():
        raise DataError(
            f"no light curve of {rules.where} has both scores, of {first} and of {second}; do the tables share ids?"
        )
    if against is None:
        has = [np.isfinite(values).any(axis=1) for values in (one, two)]
        n_left = (int((has[0] & ~has[1]).sum()), int((has[1] & ~has[0]).sum()))
    used = {(side, column.name) for pair in columns for side in (0, 1) for column in pair[side]}
    models = [(table, other)[side].models.get(name) for side, name in sorted(used)]
    return PairedRows(
        rows=table if against is None else replace(table, inputs=(*table.inputs, *against.inputs)),
        names=_names(rules.names, first, second, against is not None),
        tags=tags,
        first=one,
        second=two,
        n_left=n_left,
        models=tuple(digest for digest in models if digest is not None),
    )


def _shared(table: ScoreTable, against: ScoreTable, where: str) -> tuple[ScoreTable, ScoreTable, tuple[int, int]]:
    """Return the light curves that both have, in the order of the first, and how many only one of them has."""
    at = rows_of(table.data, against.data, where)
    mine = np.flatnonzero(at >= 0)
    if not len(mine):
        raise DataError(
            f"{where}: the tables share no light curve ({table.data.num_rows} and {against.data.num_rows} rows); are they"
            " scores of the same features?"
        )
    n_left = (len(at) - len(mine), against.data.num_rows - len(np.unique(at[mine])))
    pair = (
        replace(table, data=table.data.take(pa.array(mine))),
        replace(against, data=against.data.take(pa.array(at[mine]))),
    )
    return *pair, n_left


def _tags(
    first: tuple[ScoreTable, str | None], second: tuple[ScoreTable, str | None], taxonomy: Taxonomy, rules: PairRules
) -> tuple[str, ...]:
    """Return the classes that have both scores; one that is named and has not is an error."""
    have = []
    for table, algorithm in (first, second):
        known = tuple(dict.fromkeys(column.algorithm for column in table.columns if column.algorithm))
        if algorithm is not None and algorithm not in known:
            raise ConfigError(
                f"{rules.where} has no scores of algorithm '{algorithm}'; it has"
                f" {', '.join(known) or 'scores of no single algorithm'}{suggest(algorithm, known)}",
                key="pair.first",
                choices=known,
            )
        have.append({column.tag for column in table.columns if algorithm in (None, column.algorithm)})
    both = have[0] & have[1]
    for name in rules.classes:
        if name in taxonomy and name not in both:
            sides = (first[1] or "the first tables", second[1] or "the second tables")
            lacking = [side for side, tags in zip(sides, have, strict=True) if name not in tags]
            scored = ", ".join(tag for tag in taxonomy.tags if tag in both) or "none"
            raise ConfigError(
                f"class '{name}' has no scores of {' and none of '.join(lacking)} in {rules.where}; both have: {scored}",
                key="classes",
            )
    wanted = set(taxonomy.expand(rules.classes))
    tags = tuple(tag for tag in taxonomy.tags if tag in wanted & both)
    if not tags:
        raise ConfigError(f"no class of {', '.join(rules.classes)} has both scores in {rules.where}", key="classes")
    return tags


def _columns(table: ScoreTable, algorithm: str | None, tag: str) -> tuple[ScoreColumn, ...]:
    return tuple(column for column in table.columns if column.tag == tag and algorithm in (None, column.algorithm))


def _mean(data: pa.Table, columns: Sequence[ScoreColumn]) -> FloatArray:
    """Return the mean of some columns; NaN where one of them is missing."""
    values = [
        one_chunk(data[column.name]).cast(pa.float64()).fill_null(float("nan")).to_numpy(zero_copy_only=False)
        for column in columns
    ]
    mean: FloatArray = np.mean(values, axis=0)
    return mean


def _names(given: tuple[str, ...], first: str | None, second: str | None, versions: bool) -> tuple[str, str]:
    if given:
        if len(given) != 2 or given[0] == given[1] or not all(given):
            raise ConfigError(
                f"pair.names=[{','.join(given)}] are not two names; give pair.names=[old,new]", key="pair.names"
            )
        return given[0], given[1]
    if first is not None and second is not None and first != second:
        return first, second
    return ("first", "second") if first is None or not versions else (f"{first}_first", f"{first}_second")


def pair_stars(
    pairs: PairedRows, *, by: StarKey, radius_arcsec: float, combine: CombinePairs, further: Sequence[str]
) -> PairedStars:
    """Join the scores of light curves to scores of stars.

    Parameters
    ----------
    pairs
        The light curves.
    by, radius_arcsec
        As `find_stars` takes them.
    combine
        What is made of the scores of several light curves.
    further
        Other columns to keep, as far as they are there.

    Raises
    ------
    ScopeError
        As `find_stars`.
    """
    data = pairs.rows.data
    stars = find_stars(data, by=by, radius_arcsec=radius_arcsec, where="the scores")
    kept = [name for name in further if name in data.column_names]
    table = consolidate(data, stars, scores=(), further=kept)
    sides = [np.full((len(stars), len(pairs.tags)), np.nan) for _ in range(2)]
    for k in range(len(pairs.tags)):
        first, second = pairs.first[:, k], pairs.second[:, k]
        # Only light curves that have both count, so that the two scores are of the same ones.
        known = np.isfinite(first) & np.isfinite(second)
        both = (np.where(known, first, np.nan), np.where(known, second, np.nan))
        for side, values in enumerate(_widest(stars, *both) if combine == "widest" else both):
            sides[side][:, k] = values if combine == "widest" else combined(stars, values, combine)
    return PairedStars(rows=pairs, stars=stars, table=table, first=sides[0], second=sides[1])


def _widest(stars: Stars, first: FloatArray, second: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return both scores of the light curve of each star on which they are furthest apart, the first of equal ones."""
    if not len(stars):
        return np.zeros(0), np.zeros(0)
    apart = np.nan_to_num(np.abs(first - second), nan=-1.0)[stars.order]
    widest = np.repeat(np.maximum.reduceat(apart, stars.starts), stars.counts)
    place = np.minimum.reduceat(np.where(apart == widest, np.arange(len(apart)), len(apart)), stars.starts)
    row = stars.order[place]
    return first[row], second[row]
