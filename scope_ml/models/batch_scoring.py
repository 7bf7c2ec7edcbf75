"""Scores of many models for one table: features are read and prepared once for all models that share them.

Works block by block, so that memory does not grow with the table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from scope_ml.core.protocols import NullProgress, Progress
from scope_ml.errors import ModelError
from scope_ml.models.bundle import ModelBundle
from scope_ml.models.inputs import Float32Array, Inputs
from scope_ml.models.tables import feature_matrix, image_column, table_facts

__all__ = ["score"]

#: Rows worked on at once: 61 features of so many rows are 16 MB.
BLOCK_ROWS = 32_768


def score(
    bundles: Sequence[ModelBundle],
    table: pa.Table,
    *,
    facts: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> pa.Table:
    """Return one float32 column ``<tag>_<algorithm>`` per bundle, in their order, with the rows of `table`.

    Parameters
    ----------
    bundles
        Models, one per class and algorithm.
    table
        Feature table.
    facts
        Facts of the table's metadata record, where the table itself does not carry it (schema key ``scope``).
    progress
        Is told the rows done.

    Raises
    ------
    ModelError
        If two bundles would fill the same column.
    FeatureMismatchError
        If the table does not fit one of the models; nothing is scored then.
    DataError
        If a feature's column does not hold numbers.
    """
    names = [bundle.name for bundle in bundles]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ModelError(f"more than one model for {', '.join(twice)}; give one per class and algorithm")
    known = table_facts(table) if facts is None else facts
    for bundle in bundles:
        bundle.record.features.check(table.column_names, known, model=bundle.name)
    progress = progress or NullProgress()
    progress.start(f"scoring with {len(bundles)} models", table.num_rows)
    scores = {name: np.empty(table.num_rows, dtype=np.float32) for name in names}
    for start in range(0, table.num_rows, BLOCK_ROWS):
        block = table.slice(start, BLOCK_ROWS)
        prepared: dict[str, Float32Array] = {}
        images = image_column(block) if any(bundle.model.needs_images for bundle in bundles) else None
        for bundle in bundles:
            preparation = bundle.record.preparation
            if preparation.digest not in prepared:
                prepared[preparation.digest] = preparation.transform(feature_matrix(block, preparation.features))
            inputs = Inputs(x=prepared[preparation.digest], images=images if bundle.model.needs_images else None)
            scores[bundle.name][start : start + block.num_rows] = bundle.model.predict(inputs)
        progress.advance(block.num_rows)
    progress.finish()
    return pa.table({name: pa.array(column) for name, column in scores.items()})
