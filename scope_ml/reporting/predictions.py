"""The predictions table, read once from top to bottom: the best-scored light curves of each class, and counts.

Rows come in blocks and only the best few of each class are kept, so that memory does not grow with the table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from scope_ml.core.protocols import Progress
from scope_ml.core.provenance import TableMetadata
from scope_ml.errors import MissingColumnError
from scope_ml.io.tables import read_batches, read_table
from scope_ml.reporting.examples import Candidate
from scope_ml.reporting.view import Float64Array

__all__ = ["ScoreSummary", "summarise_scores"]

#: Rows looked at per example wanted, so that a star with many light curves leaves room for others.
ROWS_PER_EXAMPLE = 64

#: Rows of a block: about 30 MB with all classes and both algorithms.
BLOCK_ROWS = 65_536


@dataclass(frozen=True, kw_only=True)
class ScoreSummary:
    """What the page needs of the predictions.

    Attributes
    ----------
    metadata
        The table's record.
    best
        For each class the light curves with the highest mean score, one per star, best first.
    n_above
        For each class and algorithm the number of light curves scored at or above the threshold.
    conflicts
        ``(child, parent, n)``: light curves that are of a class but not of the class that contains it, by the mean over
        the algorithms; none with n = 0.
    """

    metadata: TableMetadata
    best: Mapping[str, list[Candidate]]
    n_above: Mapping[str, dict[str, int]]
    conflicts: tuple[tuple[str, str, int], ...]

    @property
    def n_rows(self) -> int:
        """Return the number of scored light curves."""
        return self.metadata.n_rows


def summarise_scores(
    path: Path,
    thresholds: Mapping[str, Mapping[str, float]],
    pairs: Iterable[tuple[str, str]],
    n_examples: int,
    progress: Progress,
) -> ScoreSummary:
    """Read the scores of some classes.

    Parameters
    ----------
    path
        Table of kind ``predictions`` with the columns ``<tag>_<algorithm>``; models without a column are left out.
    thresholds
        Threshold by tag and algorithm. A mean score is compared with their mean.
    pairs
        ``(child, parent)`` tags, for the conflicts.
    n_examples
        Light curves per class.
    progress
        Told of the rows that were read.

    Raises
    ------
    FormatError, MetadataError, MissingColumnError
        If it is not such a table, or has no ids.
    """
    metadata = read_table(path, columns=[], kind="predictions").metadata
    names = tuple(column.name for column in metadata.columns)
    if "id" not in names:
        raise MissingColumnError(f"predictions {path}", ["id"], names)
    period = next((name for name in names if name == "period" or name.startswith("period_")), None)
    facts = [name for name in ("id", "band", "source_id", period) if name and name in names]
    classes = [
        _Class(tag, {name: value for name, value in of.items() if f"{tag}_{name}" in names}, n_examples)
        for tag, of in thresholds.items()
    ]
    scored = {one.tag for one in classes if one.thresholds}
    n_outside = {pair: 0 for pair in pairs if scored.issuperset(pair)}
    columns = [*facts, *(f"{one.tag}_{name}" for one in classes for name in one.thresholds)]
    progress.start("reading the scores", metadata.n_rows)
    for block in read_batches(path, columns, n_rows=BLOCK_ROWS):
        member = {one.tag: one.add(block, facts) for one in classes if one.thresholds}
        for child, parent in n_outside:
            n_outside[child, parent] += int(np.count_nonzero(member[child] & ~member[parent]))
        progress.advance(block.num_rows)
    progress.finish()
    return ScoreSummary(
        metadata=metadata,
        best={one.tag: one.candidates(period, n_examples) for one in classes},
        n_above={one.tag: dict(one.n_above) for one in classes},
        conflicts=tuple((child, parent, count) for (child, parent), count in n_outside.items() if count),
    )


class _Class:
    """One class while the table is read: counts, and the rows with the highest mean score so far."""

    def __init__(self, tag: str, thresholds: Mapping[str, float], n_examples: int) -> None:
        self.tag = tag
        self.thresholds = thresholds
        self.n_above = dict.fromkeys(thresholds, 0)
        self._n_kept = ROWS_PER_EXAMPLE * n_examples
        self._mean: Float64Array = np.empty(0)
        self._rows: list[dict[str, Any]] = []

    def add(self, block: pa.Table, facts: Sequence[str]) -> np.ndarray:
        """Take a block in; return which of its rows are of the class, bool (n,)."""
        each = {name: _scores(block, f"{self.tag}_{name}") for name in self.thresholds}
        for name, values in each.items():
            self.n_above[name] += int(np.count_nonzero(values >= self.thresholds[name]))
        mean = np.mean(list(each.values()), axis=0)
        self._keep(np.nan_to_num(mean, nan=-1.0), block.select(list(facts)), each)
        return np.asarray(mean >= np.mean(list(self.thresholds.values())))

    def candidates(self, period: str | None, n_examples: int) -> list[Candidate]:
        """Return the best of each star, at most `n_examples`; rows without a score are none."""
        chosen: dict[str, Candidate] = {}
        for row in self._rows:
            star = str(row["source_id"] if row.get("source_id") is not None else row["id"])
            if len(chosen) == n_examples:
                break
            if star in chosen or not np.isfinite(list(row["scores"].values())).all():
                continue
            days = row.get(period) if period else None
            chosen[star] = Candidate(
                id=row["id"],
                band=row.get("band"),
                star=star,
                period=float("nan") if days is None else float(days),
                scores=row["scores"],
            )
        return list(chosen.values())

    def _keep(self, mean: Float64Array, facts: pa.Table, each: Mapping[str, Float64Array]) -> None:
        """Keep the best rows of those kept and those of a block; of equal ones the first of the table."""
        is_full = len(self._mean) >= self._n_kept
        # A later row does not drive out an equal one.
        better = np.flatnonzero(mean > self._mean[-1]) if is_full and self._n_kept else np.arange(len(mean))
        better = better[np.argsort(-mean[better], kind="stable")[: self._n_kept]]
        rows = facts.take(pa.array(better)).to_pylist()
        for index, row in zip(better.tolist(), rows, strict=True):
            row["scores"] = {name: float(values[index]) for name, values in each.items()}
        found = np.concatenate([self._mean, mean[better]])
        order = np.argsort(-found, kind="stable")[: self._n_kept]
        every = [*self._rows, *rows]
        self._mean, self._rows = found[order], [every[index] for index in order.tolist()]


def _scores(block: pa.Table, name: str) -> Float64Array:
    """Return the scores of one model, shape (n,); NaN where a row has none."""
    return np.asarray(block[name].cast(pa.float64()).to_numpy(), dtype=np.float64)
