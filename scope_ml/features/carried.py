"""Rows of light curves that were measured before: what they tell themselves is taken over, what lies around them is looked up.

A light curve whose points and facts are the same has the same features, whatever else is in its table; catalogues,
alerts and the light curves of other bands may have changed. May import `extract`, `measures`, `registry` and `core`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.features.choice import Extraction
from scope_ml.features.extract import assembled, table_schema
from scope_ml.features.measures import Columns, Work, measure_groups
from scope_ml.features.quality import QualityFlag
from scope_ml.features.registry import GROUPS, group_columns

if TYPE_CHECKING:
    from scope_ml.features.surroundings import Surroundings

__all__ = ["carried_columns", "carry_features"]

#: Groups that look around a light curve, and are never taken over.
AROUND = (*(name for name, group in GROUPS.items() if group.from_catalogs), "colour")

#: Fact of a row that says how its period search ended.
STATUS = "status"


def carried_columns(extraction: Extraction) -> tuple[str, ...]:
    """Return the columns of a table that the light curve alone decides, `quality` but for one flag among them."""
    around = {spec.name for group in AROUND for spec in group_columns(group)}
    return (STATUS, *(name for name in extraction.columns if name not in around))


def carry_features(
    batch: LightCurveBatch,
    rows: pa.Table,
    extraction: Extraction,
    *,
    before: pa.Table,
    n_obs_raw: NDArray[np.int64],
    surroundings: Surroundings | None = None,
    seconds: dict[str, float] | None = None,
) -> pa.Table:
    """Return the rows that `extract.extract_features` gives, without measuring the light curves again.

    Parameters
    ----------
    batch, rows, extraction, n_obs_raw, surroundings, seconds
        As there.
    before
        A row for each of the light curves with the columns `carried_columns`, as they were measured by the same extraction.
    """
    work = Work(batch, rows, n_obs_raw, extraction, surroundings, {} if seconds is None else seconds)
    schema = table_schema(rows.schema, extraction)
    columns: Columns = {
        name: before[name].combine_chunks().cast(schema.field(name).type)
        for name in carried_columns(extraction)
        if name != STATUS
    }
    columns |= measure_groups(work, (name for name in extraction.groups if name in AROUND))
    blended = work.blended()
    if blended is not None and "quality" in extraction.groups:
        alone = np.asarray(before["quality"].to_numpy()) & ~np.int32(QualityFlag.BLENDED)
        columns["quality"] = alone | np.where(blended, np.int32(QualityFlag.BLENDED), np.int32(0))
    return assembled(work, columns, status=before[STATUS].combine_chunks())
