"""`registry compare`: two models on the same light curves, as far as their digests say that this is fair.

With a data set: a paired bootstrap over the stars of the test part, where both models were made from this data set and
split; or over all its stars, where neither was. Without one the numbers in the bundles are all there is; they are shown
where both are of the same split, and said to be unpaired.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from scope_ml.core.provenance import Input
from scope_ml.datasets.assemble import DatasetConfig, load_dataset
from scope_ml.datasets.dataset import Dataset
from scope_ml.datasets.split import Split, SplitConfig
from scope_ml.errors import ConfigError, ModelError
from scope_ml.models.bundle import ModelBundle
from scope_ml.models.paired import COMPARED, Difference, Scored, paired_differences
from scope_ml.models.record import read_record
from scope_ml.taxonomy.graph import Taxonomy
from scope_ml.tracking.records import ModelRecord

__all__ = ["Comparison", "Side", "Stars", "compare", "load_stars"]

Basis = Literal["recorded", "test", "unseen"]


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of the two models: its bundle and what to call it, such as ``version 3``."""

    record: ModelRecord
    called: str


@dataclass(frozen=True, kw_only=True)
class Stars:
    """A data set with its division, to compare on."""

    dataset: Dataset
    split: Split


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What came out.

    Attributes
    ----------
    basis
        ``recorded`` (numbers in the bundles, unpaired), ``test`` (paired, the test part of both) or ``unseen`` (paired,
        a data set that neither was made from).
    differences
        By metric, candidate minus rival.
    is_win
        Whether the candidate is better beyond the interval, on light curves that are known to be fair.
    verdict
        The same in words.
    counts
        Light curves, stars and members compared on; empty for ``recorded``.
    warnings
        What is not known.
    """

    basis: Basis
    differences: Mapping[str, Difference]
    is_win: bool
    verdict: str
    counts: Mapping[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def numbers(self) -> dict[str, Any]:
        """Return what is written into the history of a promotion."""
        found: dict[str, Any] = {"basis": self.basis, **self.counts}
        for metric, difference in self.differences.items():
            found[metric] = {name: _rounded(value) for name, value in asdict(difference).items()}
        return found

    def lines(self, first: str, second: str) -> list[str]:
        """Return the lines to show."""
        where = {
            "recorded": "numbers in the bundles, of the same test part but unpaired; give dataset.path=... for more",
            "test": "the test part of both",
            "unseen": "a data set that neither was made from",
        }[self.basis]
        counts = ", ".join(f"{count:,} {name.removeprefix('n_')}" for name, count in self.counts.items())
        lines = [f"{first} against {second}", f"  on {where}{f': {counts}' if counts else ''}"]
        lines += [f"  {metric:<18}{_line(difference)}" for metric, difference in self.differences.items()]
        return [*lines, f"  {'win' if self.is_win else 'no win'}: {self.verdict}"]


def load_stars(dataset: DatasetConfig, split: SplitConfig, taxonomy: Taxonomy) -> Stars | None:
    """Read the data set to compare on; None if none is given.

    Raises
    ------
    ScopeError
        As `load_dataset` raises.
    """
    if dataset.path is None and not dataset.feature_paths and not dataset.label_paths:
        return None
    built, division = load_dataset(dataset, taxonomy, split)
    return Stars(dataset=built, split=division)


def compare(first: Side, second: Side, stars: Stars | None, *, n_resamples: int, n_threads: int) -> Comparison:
    """Return how `first` does beside `second`.

    Raises
    ------
    ConfigError
        If they are models of different classes.
    ModelError
        If no fair comparison is possible, saying what is known and what to give.
    ScopeError
        As loading and scoring raise.
    """
    if first.record.tag != second.record.tag:
        raise ConfigError(
            f"{first.called} is a model of {first.record.tag}, {second.called} one of {second.record.tag};"
            " give two of one class",
            key="version",
        )
    if stars is None:
        return _recorded(first, second)
    basis, rows, warnings = _rows(first, second, stars)
    dataset = stars.dataset
    y = dataset.column(first.record.tag)[0][rows]
    table = dataset.table.take(rows)
    scored = [_scored(side.record, table, dataset.facts, n_threads) for side in (first, second)]
    group = dataset.group[rows]
    differences = paired_differences(y, group, *scored, n_resamples=n_resamples)
    counts = {
        "n_light_curves": int(rows.size),
        "n_stars": int(np.unique(group).size),
        "n_members": int(y.sum()),
    }
    precision = differences["average_precision"]
    # What was trained on stars that nobody names may have been trained on these.
    is_fair = bool(first.record.data_digest and second.record.data_digest)
    verdict = _verdict(precision) if is_fair else f"{_verdict(precision)}; {warnings[0]}"
    return Comparison(
        basis=basis,
        differences=differences,
        is_win=precision.is_win and is_fair,
        verdict=verdict,
        counts=counts,
        warnings=warnings,
    )


def _scored(record: ModelRecord, table: Any, facts: Mapping[str, Any], n_threads: int) -> Scored:
    bundle = ModelBundle.load(record.folder, n_threads=n_threads)
    return Scored(score=bundle.predict(table, facts), threshold=bundle.record.threshold)


def _rows(first: Side, second: Side, stars: Stars) -> tuple[Basis, npt.NDArray[np.int64], tuple[str, ...]]:
    """Return on which rows a comparison is fair; refuse where there are none."""
    dataset = stars.dataset
    tag = first.record.tag
    if tag not in dataset.tags:
        raise ModelError(f"the data set has no labels of class {tag}; give one that has")
    known = dataset.column(tag)[1]
    sides = (first, second)
    here = [side for side in sides if side.record.data_digest == dataset.digest]
    unknown = [side for side in sides if not side.record.data_digest]
    if not here:
        names = " and ".join(side.called for side in unknown)
        doubt = f"what {names} was trained on is not known" if unknown else _shared(sides, dataset.inputs)
        return "unseen", np.flatnonzero(known), (doubt,)
    for side in here:
        if side.record.split_digest != stars.split.digest:
            raise ModelError(
                f"{side.called} was made from this data set, divided in another way ({side.record.split_digest[:12]}, not"
                f" {stars.split.digest[:12]}): its training stars would be among those compared on; give the split.* keys"
                " it was trained with, or a data set that neither was made from"
            )
    others = [side for side in sides if side not in here and side not in unknown]
    if others:
        raise ModelError(
            f"{here[0].called} was made from this data set, {others[0].called} from another"
            f" ({others[0].record.data_digest[:12]}), whose training stars may be in this test part; give a data set that"
            " neither was made from"
        )
    rows = np.flatnonzero(known & stars.split.mask("test"))
    return "test", rows, tuple(f"what {side.called} was trained on is not known" for side in unknown)


def _shared(sides: tuple[Side, Side], inputs: tuple[Input, ...]) -> str:
    digests = " and ".join(side.record.data_digest[:12] for side in sides)
    made = ", ".join(f"{one.name} {one.digest[:12]}" for one in inputs)
    return (
        f"the models were made from the data sets {digests}, this one from {made or 'unknown inputs'}: that no star is in"
        " both is not checked by digests"
    )


def _recorded(first: Side, second: Side) -> Comparison:
    one, two = first.record, second.record
    if one.split_digest != two.split_digest or one.data_digest != two.data_digest or not one.split_digest:
        raise ModelError(
            f"{first.called} and {second.called} were tested on different splits"
            f" ({one.split_digest[:12] or 'unknown'}, {two.split_digest[:12] or 'unknown'}), whose numbers cannot be"
            " compared; give dataset.path=... of a data set that neither was made from"
        )
    known = [read_record(record.folder).metrics.get("test") for record in (one, two)]
    if known[0] is None or known[1] is None:
        raise ModelError(f"{first.called} or {second.called} has no test metrics; give dataset.path=... to compare on")
    differences = {}
    for metric in COMPARED:
        a, b = known[0].value(metric), known[1].value(metric)
        differences[metric] = Difference(first=a, second=b, difference=None if a is None or b is None else a - b)
    ours, theirs = (metrics.estimates["average_precision"] for metrics in known if metrics is not None)
    values = (ours.value, ours.low, theirs.value, theirs.high)
    # Numbers that were not paired win only where each lies outside the other's interval.
    is_win = None not in values and ours.low > theirs.value and theirs.high < ours.value  # type: ignore[operator]
    verdict = (
        "each value lies outside the other's interval"
        if is_win
        else "the intervals do not tell them apart; a paired comparison may: give dataset.path=..."
    )
    shown = _shown_pair(differences["average_precision"])
    return Comparison(basis="recorded", differences=differences, is_win=is_win, verdict=f"{shown}: {verdict}")


def _verdict(difference: Difference) -> str:
    shown = _shown_pair(difference)
    if difference.low is None or difference.high is None:
        return f"{shown}: too few members for an interval"
    ends = f"({difference.low:+.4f} to {difference.high:+.4f})"
    if difference.is_win:
        return f"{shown} {ends} on the same stars"
    return f"{shown} {ends}: " + ("worse" if difference.high < 0.0 else "the interval of the difference contains 0")


def _shown_pair(difference: Difference) -> str:
    if difference.first is None or difference.second is None:
        return "test AP is not defined"
    return f"test AP {difference.first:.4f} after {difference.second:.4f}"


def _line(difference: Difference) -> str:
    if difference.first is None or difference.second is None or difference.difference is None:
        return "not defined on these light curves"
    text = f"{difference.first:.4f} against {difference.second:.4f}: {difference.difference:+.4f}"
    if difference.low is None or difference.high is None or difference.share_better is None:
        return text
    share = f"better in {100 * difference.share_better:.0f} % of the resamples"
    return f"{text} ({difference.low:+.4f} to {difference.high:+.4f}), {share}"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
