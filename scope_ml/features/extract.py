"""From cleaned light curves to rows of the feature table: one pass per group of features.

A group's function stands in `MEASURES` under its name in `registry.GROUPS`. A row depends on its own light curve alone.
May import `kernels`, `core` and `errors`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Literal, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from scope_ml.core.configuration import option
from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.errors import ConfigError
from scope_ml.features import legacy
from scope_ml.features.agreement import agreement
from scope_ml.features.legacy import NESTED, check_methods, legacy_columns, legacy_values
from scope_ml.features.period_search import COMPONENTS, PeriodSearch
from scope_ml.features.registry import FEATURES, GROUPS, IDENTITY, arrow_fields, feature_columns
from scope_ml.kernels.fourier import FourierOptions
from scope_ml.kernels.peaks import PeriodogramPeaks, SearchStatus
from scope_ml.kernels.registry import load

if TYPE_CHECKING:
    from scope_ml.kernels.best import BestPeaks

__all__ = [
    "MEASURES",
    "Extraction",
    "FeatureChoice",
    "PeriodSearch",
    "extract_features",
    "searches",
    "table_schema",
]

Columns = dict[str, NDArray[np.float64]]

FACT_FIELDS = (
    pa.field("n_obs", pa.int32()),
    pa.field("n_obs_raw", pa.int32()),
    pa.field("baseline", pa.float64(), metadata={b"unit": b"d"}),
    pa.field("status", pa.string()),
)
ROW_UNITS = {"ra": b"deg", "dec": b"deg"}


@dataclass(frozen=True, kw_only=True)
class FeatureChoice:
    """The features group of the configuration."""

    groups: tuple[str, ...] = option(tuple(GROUPS), doc=f"groups of features: {', '.join(GROUPS)}")

    def __post_init__(self) -> None:
        """Check that there is something to measure.

        Raises
        ------
        ConfigError
            If no group is named.
        """
        if not self.groups:
            raise ConfigError(
                f"features.groups=[] names no group; known are {', '.join(GROUPS)}", key="features.groups"
            )


@dataclass(frozen=True, kw_only=True)
class Extraction:
    """What is measured and where.

    Attributes
    ----------
    choice, search
        The groups `features` and `period_search` of the configuration.
    device
        ``"cpu"`` or ``"gpu"``, resolved.
    names
        ``"ours"``, or ``"legacy"`` for the columns of SCoPe 0.9.5 (`legacy`).

    Raises
    ------
    ConfigError
        For an unknown group, one without a group that it needs, a search that SCoPe has no name for.
    """

    choice: FeatureChoice
    search: PeriodSearch
    device: str
    names: Literal["ours", "legacy"] = "ours"

    def __post_init__(self) -> None:
        """Check the groups, and that nothing is left to be settled."""
        if self.search.scale_min_period:
            raise ConfigError(
                "period_search.scale_min_period=true is settled by the cleaning, which is not known here; use"
                " PeriodSearch.scaled(min_cadence_minutes)",
                key="period_search.scale_min_period",
            )
        if self.names == "legacy":
            check_methods((*self.search.methods, *self.search.components))
        self._our_columns()

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the feature columns in order."""
        ours = self._our_columns()
        return legacy_columns(ours) if self.names == "legacy" else ours

    def _our_columns(self) -> tuple[str, ...]:
        search = self.search
        return feature_columns(
            self.choice.groups,
            search.method,
            n_peaks=search.n_peaks,
            also=search.also,
            components=search.components,
            compared=search.compared,
        )


@dataclass(frozen=True)
class _Work:
    """One batch being measured; each period search is done once, when first asked for."""

    batch: LightCurveBatch
    extraction: Extraction
    _found: dict[str, PeriodogramPeaks] = field(default_factory=dict)

    # No cached_property: before Python 3.12 its one lock for the class lets a single thread search at a time.
    def peaks(self, method: str) -> PeriodogramPeaks:
        """Return what one of the searches found."""
        if method not in self._found:
            search = self.extraction.search
            options = search.options(self._n_peaks)
            self._found[method] = load(method, self.extraction.device)(self.batch, search.grid(self.batch), options)
        return self._found[method]

    def best(self, method: str) -> PeriodogramPeaks:
        """Return what a search found, whether it ran by itself or within a nested one."""
        search = self.extraction.search
        if method in search.methods:
            return self.peaks(method)
        nested = next(name for name in search.methods if method in COMPONENTS.get(name, ()))
        return self.peaks(nested).components[method]

    @property
    def _n_peaks(self) -> int:
        search = self.extraction.search
        compares = "agreement" in self.extraction.choice.groups and len(search.compared) > 1
        return max(search.n_peaks, search.n_agreement_peaks if compares else 1)


def _measure_basic(work: _Work) -> Columns:
    columns: Columns = load("statistics", "cpu")(work.batch, None)
    return columns


def _measure_period(work: _Work) -> Columns:
    search = work.extraction.search
    columns: Columns = {}
    for method in (*search.methods, *search.components):
        peaks = work.best(method)
        for rank in range(1, (search.n_peaks if method in search.methods else 1) + 1):
            columns[FEATURES["period"].column(method, rank)] = 1.0 / peaks.frequency[:, rank - 1]
            columns[FEATURES["significance"].column(method, rank)] = peaks.significance[:, rank - 1]
    return columns


def _measure_decision(work: _Work) -> Columns:
    if "best" not in work.extraction.search.methods:
        return {}
    peaks = cast("BestPeaks", work.peaks("best"))
    nothing = {name: np.nan for name in ("log_evidence", "doubled", "alias_period", "runner_up_period")}
    rows = [nothing if decision is None else asdict(decision) for decision in peaks.decisions]
    return {
        FEATURES[name].column("best"): np.array([float(row[name]) for row in rows], dtype=np.float64)
        for name in nothing
    }


def _measure_agreement(work: _Work) -> Columns:
    search = work.extraction.search
    if len(search.compared) < 2:
        return {}
    return agreement([1.0 / work.best(name).frequency[:, : search.n_agreement_peaks] for name in search.compared])


def _measure_fourier(work: _Work) -> Columns:
    fit = load("fourier", "cpu")
    columns: Columns = {}
    for method in work.extraction.search.methods:
        fitted: Columns = fit(work.batch, FourierOptions(period=1.0 / work.peaks(method).frequency[:, 0]))
        columns |= {FEATURES[name].column(method): values for name, values in fitted.items()}
    return columns


@dataclass(frozen=True)
class _Measure:
    """How a group is measured: `run` gives column to values."""

    run: Callable[[_Work], Columns]
    searches: bool = False


#: How each group of `registry.GROUPS` is measured.
MEASURES: Mapping[str, _Measure] = {
    "basic": _Measure(_measure_basic),
    "period": _Measure(_measure_period, searches=True),
    "decision": _Measure(_measure_decision, searches=True),
    "agreement": _Measure(_measure_agreement, searches=True),
    "fourier": _Measure(_measure_fourier, searches=True),
}


def searches(choice: FeatureChoice, search: PeriodSearch) -> tuple[str, ...]:
    """Return the period searches that the chosen groups need, for resolving the device before any work."""
    measures = [MEASURES[group] for group in choice.groups if group in MEASURES]
    return search.methods if any(measure.searches for measure in measures) else ()


def table_schema(rows: pa.Schema, extraction: Extraction) -> pa.Schema:
    """Return the schema, units in its fields, of the table for light curves whose facts have the schema `rows`.

    SCoPe's columns come first in a legacy table, in its order, and what SCoPe does not have last.
    """
    features = arrow_fields(extraction.columns)
    if extraction.names == "legacy":
        ours = [name for name in IDENTITY if name not in legacy.IDENTITY.values()]
        first = [_identity_field(rows, name, theirs) for theirs, name in legacy.IDENTITY.items()]
        return pa.schema([*first, *features, *(_identity_field(rows, name) for name in ours), *FACT_FIELDS])
    return pa.schema([*(_identity_field(rows, name) for name in IDENTITY), *FACT_FIELDS, *features])


def _identity_field(rows: pa.Schema, name: str, written_as: str | None = None) -> pa.Field:
    metadata = {b"unit": ROW_UNITS[name]} if name in ROW_UNITS else {}
    return rows.field(name).with_metadata(metadata).with_name(written_as or name)


def extract_features(
    batch: LightCurveBatch, rows: pa.Table, extraction: Extraction, *, n_obs_raw: NDArray[np.int64] | None = None
) -> pa.Table:
    """Measure cleaned light curves.

    Parameters
    ----------
    batch
        Light curves sorted by time without bad points (`cleaning.clean`).
    rows
        Facts about each light curve, in the same order: the columns `IDENTITY`.
    extraction
        What to measure.
    n_obs_raw
        Points of each light curve before cleaning; those of `batch` if None.

    Returns
    -------
    pyarrow.Table
        One row a light curve with the columns of `table_schema`. `status` says ``ok`` or why there is no period by
        the first method.
    """
    work = _Work(batch, extraction)
    measured: Columns = {}
    chosen = [group for group in GROUPS if group in extraction.choice.groups]
    for group in chosen:
        measured |= MEASURES[group].run(work)
    method = extraction.search.method
    searched = any(MEASURES[group].searches for group in chosen)
    status = work.peaks(method).status if searched else np.zeros(len(batch), dtype=np.uint8)
    if extraction.names == "legacy":
        nested = work.peaks(NESTED).statistic if searched and NESTED in extraction.search.methods else None
        measured = legacy_values(measured, nested)
    labels = np.array([SearchStatus(code).label for code in SearchStatus])
    facts = {
        "n_obs": batch.n_obs.astype(np.int32),
        "n_obs_raw": (batch.n_obs if n_obs_raw is None else n_obs_raw).astype(np.int32),
        "baseline": _baseline(batch),
        "status": labels[status].tolist(),
    }
    values = {name: pa.array(column) for name, column in (facts | measured).items()}
    values |= {name: rows[name] for name in IDENTITY}
    if extraction.names == "legacy":
        values |= {theirs: rows[name] for theirs, name in legacy.IDENTITY.items()}
    schema = table_schema(rows.schema, extraction)
    return pa.table([values[name] for name in schema.names], schema=schema)


def _baseline(batch: LightCurveBatch) -> NDArray[np.float64]:
    """Return last minus first time [d] of sorted light curves; 0 for one without points."""
    baseline = np.zeros(len(batch))
    filled = batch.n_obs > 0
    baseline[filled] = batch.time[batch.offsets[1:][filled] - 1] - batch.time[batch.offsets[:-1][filled]]
    return baseline
