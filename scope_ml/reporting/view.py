"""What the report page shows, as plain frozen records: the stage fills them, `pages` draws them.

No file format, model or registry is known here, so the page can be tested and looked at from made-up numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

__all__ = [
    "AlgorithmView",
    "ClassView",
    "CurveView",
    "Estimate",
    "ExampleView",
    "Float64Array",
    "PageView",
    "SkippedView",
    "Truth",
]

Float64Array = npt.NDArray[np.float64]

#: What the label table says about one light curve and one class.
Truth = Literal["yes", "no", "undecided", "unlabelled"]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number and its 95 % interval; the bounds are NaN where no interval is known."""

    value: float
    low: float = float("nan")
    high: float = float("nan")

    @property
    def has_interval(self) -> bool:
        """Whether both bounds are known."""
        return bool(np.isfinite(self.low) and np.isfinite(self.high))


@dataclass(frozen=True, kw_only=True)
class CurveView:
    """One precision-recall curve.

    Attributes
    ----------
    recall, precision
        Shape (n_points,), float64, in the order of falling threshold.
    low, high
        Interval of the precision at each recall, shape (n_points,); None where not known.
    seed
        Seed of the model, None for an ensemble.
    is_champion
        Whether this is the curve of the registered model.
    """

    recall: Float64Array
    precision: Float64Array
    low: Float64Array | None = None
    high: Float64Array | None = None
    seed: int | None = None
    is_champion: bool = False


@dataclass(frozen=True, kw_only=True)
class AlgorithmView:
    """One algorithm on one class: the champion's numbers on the test part, the curves of all seeds."""

    name: str
    threshold: float
    n_test: int
    n_positive: int
    average_precision: Estimate
    precision: Estimate
    recall: Estimate
    f1: Estimate
    seeds: tuple[int, ...] = ()
    version: str = ""
    curves: tuple[CurveView, ...] = ()
    importance: tuple[tuple[str, float], ...] = ()
    importance_method: str = ""

    @property
    def prevalence(self) -> float:
        """Share of positives on the test part: the average precision of a coin."""
        return self.n_positive / self.n_test if self.n_test else float("nan")


@dataclass(frozen=True, kw_only=True)
class ExampleView:
    """One light curve shown for a class.

    Attributes
    ----------
    id, band
        As in the predictions table.
    time, mag, mag_err
        Shape (n_obs,), float64 [d, HJD], [mag], [mag]; cleaned, finite.
    period
        Period [d] at which it is folded; NaN shows the time series.
    scores
        Score per algorithm.
    truth, native_class, part
        What is known of it: its label, the label of its origin, and the part of the split it was in ("" if none).
    """

    id: str
    band: str
    time: Float64Array
    mag: Float64Array
    mag_err: Float64Array
    period: float = float("nan")
    scores: dict[str, float] = field(default_factory=dict)
    truth: Truth = "unlabelled"
    native_class: str = ""
    part: str = ""


@dataclass(frozen=True, kw_only=True)
class ClassView:
    """One class: how well it is found, and what was found.

    Attributes
    ----------
    is_periodic
        Whether light curves are folded (the class descends from `pnp`) or shown against time.
    phase_zero
        What stands at phase 0: the faintest bin for eclipses, the brightest otherwise.
    n_labelled
        Labelled positives in all parts, None if not known.
    n_above
        Light curves scored at or above the threshold per algorithm.
    """

    tag: str
    label: str
    kind: str = ""
    is_periodic: bool = True
    phase_zero: Literal["bright", "faint"] = "bright"
    n_labelled: int | None = None
    n_above: dict[str, int] = field(default_factory=dict)
    algorithms: tuple[AlgorithmView, ...] = ()
    examples: tuple[ExampleView, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SkippedView:
    """A class, or one algorithm of it, that was not trained, and why."""

    tag: str
    label: str
    algorithm: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class PageView:
    """The whole page.

    Attributes
    ----------
    title, subtitle
        What was run, in words.
    n_in, n_kept, dropped
        Light curves read, kept, and dropped by reason; None or empty where not known.
    n_scored
        Rows of the predictions table.
    conflicts
        ``(child tag, parent tag, count)``: scored above the child's threshold but below the parent's.
    provenance
        ``(what, value)`` lines: versions, digests, commit.
    """

    title: str
    subtitle: str = ""
    n_in: int | None = None
    n_kept: int | None = None
    dropped: dict[str, int] = field(default_factory=dict)
    n_scored: int | None = None
    classes: tuple[ClassView, ...] = ()
    skipped: tuple[SkippedView, ...] = ()
    conflicts: tuple[tuple[str, str, int], ...] = ()
    provenance: tuple[tuple[str, str], ...] = ()
