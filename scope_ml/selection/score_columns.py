"""Which columns of a table are scores, and of which class and algorithm.

``<tag>_<algorithm>`` as `infer` and SCoPe write them, or ``<tag>`` where the algorithms have been joined already. May
import `errors` only.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scope_ml.errors import ConfigError, DataError, suggest

__all__ = ["NONVAR", "SPREAD", "VARIABLE", "ScoreColumn", "check_scores", "chosen_columns", "score_columns"]

#: The class of what does not vary has no classifier: it is what `VARIABLE` is not.
NONVAR, VARIABLE = "nonvar", "vnv"

#: Behind the column of an ensemble: how far its members are apart.
SPREAD = "_spread"


@dataclass(frozen=True, kw_only=True)
class ScoreColumn:
    """One column of scores.

    Attributes
    ----------
    name
        Of the column.
    tag
        Class.
    algorithm
        What scored, such as ``xgb``; empty where algorithms have been joined.
    """

    name: str
    tag: str
    algorithm: str


def score_columns(names: Sequence[str], tags: Collection[str], algorithms: Sequence[str]) -> tuple[ScoreColumn, ...]:
    """Return the columns of scores among `names`, in the order of `tags` and `algorithms`.

    A class that has columns of algorithms is not read from ``<tag>`` as well.
    """
    there = set(names)
    found = []
    for tag in tags:
        of = [
            ScoreColumn(name=f"{tag}_{algorithm}", tag=tag, algorithm=algorithm)
            for algorithm in algorithms
            if f"{tag}_{algorithm}" in there
        ]
        found += of or ([ScoreColumn(name=tag, tag=tag, algorithm="")] if tag in there else [])
    return tuple(found)


def chosen_columns(
    columns: Iterable[ScoreColumn], classes: Collection[str], algorithms: Collection[str], *, where: str
) -> tuple[ScoreColumn, ...]:
    """Return those columns that are of some classes and algorithms; no `classes` or `algorithms` stand for all.

    Raises
    ------
    ConfigError
        If there is no score of a class or an algorithm that is asked for.
    """
    columns = tuple(columns)
    known_tags = tuple(dict.fromkeys(column.tag for column in columns))
    known_algorithms = tuple(dict.fromkeys(column.algorithm for column in columns if column.algorithm))
    for tag in classes:
        needed = VARIABLE if tag == NONVAR else tag
        if needed not in known_tags:
            hint = suggest(needed, known_tags)
            scored = ", ".join(known_tags) or "none"
            raise ConfigError(f"{where} has no scores of class '{tag}'; it has {scored}{hint}", key="classes")
    for name in algorithms:
        if name not in known_algorithms:
            have = ", ".join(known_algorithms) or "scores of no single algorithm"
            raise ConfigError(
                f"{where} has no scores of algorithm '{name}'; it has {have}{suggest(name, known_algorithms)}",
                key="algorithms",
                choices=known_algorithms,
            )
    return tuple(column for column in columns if not algorithms or column.algorithm in algorithms)


def check_scores(column: pa.Array, name: str, *, where: str) -> npt.NDArray[np.float64]:
    """Return a column of scores as float64, NaN where there is none.

    Raises
    ------
    DataError
        If it holds no numbers, or one outside [0, 1].
    """
    if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type) or pa.types.is_null(column.type)):
        raise DataError(f"{where}: column '{name}' is {column.type}; scores are numbers from 0 to 1")
    values = column.cast(pa.float64()).fill_null(float("nan")).to_numpy(zero_copy_only=False)
    wrong = np.flatnonzero((values < 0) | (values > 1))
    if len(wrong):
        raise DataError(
            f"{where}: column '{name}' is {values[wrong[0]]:g} in row {wrong[0] + 1} ({len(wrong)} such rows); scores are 0 to 1"
        )
    scores: npt.NDArray[np.float64] = values
    return scores
