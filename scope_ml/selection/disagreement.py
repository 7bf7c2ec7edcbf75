"""Where two scores of one class contradict one another: which stars, how many, and how the two go together at all.

Works on arrays of one row a star. May import `core` and `errors`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from scope_ml.errors import ConfigError

__all__ = ["CELLS", "LEVELS", "ClassDisagreement", "LevelCounts", "Limits", "compare", "rank_correlation", "sides"]

FloatArray = npt.NDArray[np.float64]
SideArray = npt.NDArray[np.int8]

#: Scores at which members are counted.
LEVELS = (0.1, 0.3, 0.5, 0.7, 0.9, 0.95)

#: Cells of the picture along each axis.
CELLS = 40


@dataclass(frozen=True, kw_only=True)
class Limits:
    """When two scores disagree: one is above `high`, the other at most `low`.

    Raises
    ------
    ConfigError
        If `low` is not below `high`.
    """

    high: float = 0.95
    low: float = 0.1

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ConfigError(
                f"low={self.low:g} is not below high={self.high:g}; scores disagree where one is above high and the other at"
                " most low",
                key="low",
            )


@dataclass(frozen=True, kw_only=True)
class LevelCounts:
    """Stars by which of the two scores is at least `level`."""

    level: float
    both: int
    first_only: int
    second_only: int
    neither: int

    @property
    def kappa(self) -> float | None:
        """Return Cohen's kappa: agreement beyond what chance gives, 1 at most; None where chance alone decides.

        Cohen 1960, Educational and Psychological Measurement 20, 37.
        """
        n = self.both + self.first_only + self.second_only + self.neither
        if not n:
            return None
        first, second = (self.both + self.first_only) / n, (self.both + self.second_only) / n
        chance = first * second + (1 - first) * (1 - second)
        return ((self.both + self.neither) / n - chance) / (1 - chance) if chance < 1 else None


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassDisagreement:
    """How two scores of one class go together.

    Attributes
    ----------
    tag
        Class.
    n_compared
        Stars with both scores.
    n_first_only, n_second_only
        Stars that disagree: the first score high and the second low, and the other way round.
    correlation
        Rank correlation of the two (Spearman), None where it is not defined.
    mean_difference
        Mean of first minus second, None without stars.
    levels
        Members by level.
    cells
        Stars by both scores, int64 (CELLS, CELLS): first along the rows, second along the columns, both from 0 to 1.
    """

    tag: str
    n_compared: int
    n_first_only: int
    n_second_only: int
    correlation: float | None
    mean_difference: float | None
    levels: tuple[LevelCounts, ...]
    cells: npt.NDArray[np.int64]

    @property
    def n_disagreeing(self) -> int:
        """Return the stars that disagree, either way."""
        return self.n_first_only + self.n_second_only

    @property
    def rate(self) -> float | None:
        """Return the share of stars that disagree; None without stars."""
        return self.n_disagreeing / self.n_compared if self.n_compared else None

    def to_json(self) -> Mapping[str, Any]:
        """Return what is known of it but the cells."""
        return {
            "n_compared": self.n_compared,
            "n_first_only": self.n_first_only,
            "n_second_only": self.n_second_only,
            "rate": self.rate,
            "rank_correlation": self.correlation,
            "mean_difference": self.mean_difference,
            "levels": [
                {
                    "level": one.level,
                    "both": one.both,
                    "first_only": one.first_only,
                    "second_only": one.second_only,
                    "neither": one.neither,
                    "kappa": one.kappa,
                }
                for one in self.levels
            ],
        }


def sides(first: FloatArray, second: FloatArray, limits: Limits) -> SideArray:
    """Return which score of each star is the high one where they disagree: 1 the first, -1 the second, else 0; int8 (n,).

    Parameters
    ----------
    first, second
        (n,) in [0, 1]; NaN disagrees with nothing.
    limits
        SCoPe's: above 0.95, and at most 0.1.
    """
    # Scores are kept as float32: the score 0.1 is to be at most 0.1.
    one, other = first.astype(np.float32), second.astype(np.float32)
    high, low = np.float32(limits.high), np.float32(limits.low)
    with np.errstate(invalid="ignore"):
        up = (one > high) & (other <= low)
        down = (other > high) & (one <= low)
    return up.astype(np.int8) - down.astype(np.int8)


def compare(
    tag: str, first: FloatArray, second: FloatArray, limits: Limits, levels: Sequence[float] = LEVELS
) -> ClassDisagreement:
    """Return how two scores of one class go together.

    Parameters
    ----------
    tag
        Class.
    first, second
        (n,) in [0, 1]; stars without one of them (NaN) do not count.
    limits
        When they disagree.
    levels
        Where members are counted.
    """
    known = ~(np.isnan(first) | np.isnan(second))
    first, second = first[known], second[known]
    side = sides(first, second, limits)
    edges = np.linspace(0.0, 1.0, CELLS + 1)
    cells, _, _ = np.histogram2d(first, second, bins=[edges, edges])
    counted = []
    for level in levels:
        one, other = (values.astype(np.float32) >= np.float32(level) for values in (first, second))
        counted.append(
            LevelCounts(
                level=level,
                both=int((one & other).sum()),
                first_only=int((one & ~other).sum()),
                second_only=int((~one & other).sum()),
                neither=int((~one & ~other).sum()),
            )
        )
    return ClassDisagreement(
        tag=tag,
        n_compared=len(first),
        n_first_only=int((side > 0).sum()),
        n_second_only=int((side < 0).sum()),
        correlation=rank_correlation(first, second),
        mean_difference=float(np.mean(first - second)) if len(first) else None,
        levels=tuple(counted),
        cells=cells.astype(np.int64),
    )


def rank_correlation(first: FloatArray, second: FloatArray) -> float | None:
    """Return Spearman's rank correlation, equal values with their mean rank; None where one of the two does not vary."""
    if len(first) < 2:
        return None
    one, other = (_mean_ranks(values) for values in (first, second))
    one, other = one - one.mean(), other - other.mean()
    scale = float(np.sqrt((one**2).sum() * (other**2).sum()))
    return float(np.clip((one * other).sum() / scale, -1.0, 1.0)) if scale > 0 else None


def _mean_ranks(values: FloatArray) -> FloatArray:
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    ranks: FloatArray = (last - (count - 1) / 2.0)[np.ravel(place)]
    return ranks
