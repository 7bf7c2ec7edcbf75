"""From cleaned light curves to rows of the feature table.

`measures` has the groups. May import it, `choice`, `legacy`, `registry`, `kernels` and `core`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.features import legacy
from scope_ml.features.choice import Extraction, FeatureChoice
from scope_ml.features.legacy import NESTED, legacy_values
from scope_ml.features.measures import MEASURES, Columns, Work, measure, searches
from scope_ml.features.period_search import PeriodSearch
from scope_ml.features.registry import IDENTITY, arrow_fields
from scope_ml.kernels.peaks import SearchStatus

if TYPE_CHECKING:
    from scope_ml.features.surroundings import Surroundings

__all__ = [
    "MEASURES",
    "Extraction",
    "FeatureChoice",
    "PeriodSearch",
    "assembled",
    "extract_features",
    "searches",
    "table_schema",
]

FACT_FIELDS = (
    pa.field("n_obs", pa.int32()),
    pa.field("n_obs_raw", pa.int32()),
    pa.field("baseline", pa.float64(), metadata={b"unit": b"d"}),
    pa.field("status", pa.string()),
)
ROW_UNITS = {"ra": b"deg", "dec": b"deg"}

#: SCoPe's dm-dt images: one list a bin in magnitude, of the bins in time.
NESTED_IMAGE = pa.list_(pa.list_(pa.float64()))


def table_schema(rows: pa.Schema, extraction: Extraction) -> pa.Schema:
    """Return the schema, units in its fields, of the table for light curves whose facts have the schema `rows`.

    SCoPe's columns come first in a legacy table, in its order, and what SCoPe does not have last.
    """
    features = arrow_fields(extraction.columns, n_pixels=extraction.choice.n_pixels)
    if extraction.names == "legacy":
        features = [field.with_type(NESTED_IMAGE) if field.name == "dmdt" else field for field in features]
        ours = [name for name in IDENTITY if name not in legacy.IDENTITY.values()]
        first = [_identity_field(rows, name, theirs) for theirs, name in legacy.IDENTITY.items()]
        return pa.schema([*first, *features, *(_identity_field(rows, name) for name in ours), *FACT_FIELDS])
    return pa.schema([*(_identity_field(rows, name) for name in IDENTITY), *FACT_FIELDS, *features])


def _identity_field(rows: pa.Schema, name: str, written_as: str | None = None) -> pa.Field:
    metadata = {b"unit": ROW_UNITS[name]} if name in ROW_UNITS else {}
    return rows.field(name).with_metadata(metadata).with_name(written_as or name)


def extract_features(
    batch: LightCurveBatch,
    rows: pa.Table,
    extraction: Extraction,
    *,
    n_obs_raw: NDArray[np.int64] | None = None,
    surroundings: Surroundings | None = None,
    seconds: dict[str, float] | None = None,
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
    surroundings
        What catalogues give; needed by the groups `alerts` and `crossmatch`.
    seconds
        Filled with the CPU seconds of this thread by group and search.

    Returns
    -------
    pyarrow.Table
        One row a light curve with the columns of `table_schema`. `status` says ``ok`` or why there is no period by
        the first method. Colours are missing until `colour.ColourIndex` fills them.
    """
    n_raw = batch.n_obs if n_obs_raw is None else n_obs_raw
    work = Work(batch, rows, n_raw, extraction, surroundings, {} if seconds is None else seconds)
    measured = measure(work)
    searched = any(MEASURES[group].searches for group in extraction.groups)
    method = extraction.search.method
    status = work.peaks(method).status if searched else np.zeros(len(batch), dtype=np.uint8)
    if extraction.names == "legacy":
        nested = work.peaks(NESTED).statistic if searched and NESTED in extraction.search.methods else None
        measured = legacy_values(measured, nested)
        if "dmdt" in measured:
            measured["dmdt"] = _nested(measured["dmdt"], len(extraction.choice.dt_edges) - 1)
    labels = np.array([SearchStatus(code).label for code in SearchStatus])
    return assembled(work, measured, status=pa.array(labels[status].tolist(), pa.string()))


def assembled(work: Work, measured: Columns, *, status: pa.Array) -> pa.Table:
    """Return the table of what was measured, with what says which light curve each row is, and how it went."""
    batch, rows, extraction = work.batch, work.rows, work.extraction
    facts: Columns = {
        "n_obs": batch.n_obs.astype(np.int32),
        "n_obs_raw": work.n_obs_raw.astype(np.int32),
        "baseline": _baseline(batch),
        "status": status,
    }
    schema = table_schema(rows.schema, extraction)
    values = {
        name: column if isinstance(column, pa.Array) else pa.array(column, schema.field(name).type)
        for name, column in (facts | measured).items()
    }
    values |= {name: rows[name] for name in IDENTITY}
    if extraction.names == "legacy":
        values |= {theirs: rows[name] for theirs, name in legacy.IDENTITY.items()}
    return pa.table([values[name] for name in schema.names], schema=schema)


def _nested(images: pa.FixedSizeListArray, n_dt: int) -> pa.Array:
    """Return images as SCoPe has them, a list of rows."""
    rows = pa.FixedSizeListArray.from_arrays(images.values, n_dt)
    return pa.FixedSizeListArray.from_arrays(rows, images.type.list_size // n_dt).cast(NESTED_IMAGE)


def _baseline(batch: LightCurveBatch) -> NDArray[np.float64]:
    """Return last minus first time [d] of sorted light curves; 0 for one without points."""
    baseline = np.zeros(len(batch))
    filled = batch.n_obs > 0
    baseline[filled] = batch.time[batch.offsets[1:][filled] - 1] - batch.time[batch.offsets[:-1][filled]]
    return baseline
