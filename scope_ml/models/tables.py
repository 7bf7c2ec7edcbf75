"""From a feature table to numbers: columns by name as a matrix, dm-dt images, the facts of its metadata record."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from scope_ml.errors import DataError, FeatureMismatchError
from scope_ml.models.inputs import DMDT_SHAPE, Float32Array

__all__ = ["feature_matrix", "has_images", "image_column", "table_facts"]

#: Column of a table that holds dm-dt images, row by row, as lists of 676 numbers.
IMAGE_COLUMN = "dmdt"


def feature_matrix(table: pa.Table, names: Sequence[str]) -> npt.NDArray[np.float64]:
    """Return (n, k) float64 features of a table, in the order of `names`; nulls are NaN.

    Raises
    ------
    FeatureMismatchError
        If the table lacks one.
    DataError
        If a column does not hold numbers.
    """
    missing = [name for name in names if name not in table.column_names]
    if missing:
        raise FeatureMismatchError(f"the table lacks the feature(s) {', '.join(missing)}", missing=missing)
    matrix = np.empty((table.num_rows, len(names)), dtype=np.float64, order="F")
    for index, name in enumerate(names):
        column = table[name]
        kind = column.type
        if not (
            pa.types.is_floating(kind)
            or pa.types.is_integer(kind)
            or pa.types.is_boolean(kind)
            or pa.types.is_null(kind)
        ):
            raise DataError(f"feature {name} is a column of {kind}, not of numbers; compute the features again")
        matrix[:, index] = column.cast(pa.float64(), safe=False).to_numpy()
    return matrix


def has_images(table: pa.Table) -> bool:
    """Return whether every row of a table has a dm-dt image, so that a network may use them without being told to."""
    return IMAGE_COLUMN in table.column_names and table[IMAGE_COLUMN].null_count == 0


def image_column(table: pa.Table) -> Float32Array:
    """Return (n, 26, 26, 1) float32 dm-dt images of a table's column ``dmdt``: lists of 676 numbers, or of 26 lists.

    Raises
    ------
    FeatureMismatchError
        If there is no such column.
    DataError
        If a row of it is not a list of 676 numbers.
    """
    if IMAGE_COLUMN not in table.column_names:
        raise FeatureMismatchError(
            f"the table lacks the column {IMAGE_COLUMN} of dm-dt images", missing=(IMAGE_COLUMN,)
        )
    column = table[IMAGE_COLUMN]
    pieces = [_pixels(chunk) for chunk in column.chunks]
    flat = np.concatenate(pieces) if pieces else np.empty(0, dtype=np.float32)
    return flat.reshape(table.num_rows, *DMDT_SHAPE, 1)


def _pixels(images: pa.Array) -> Float32Array:
    """Return all pixels of images, one after the other; an image is one list, or as SCoPe has it a list of rows."""
    kind = images.type
    is_nested = _is_list(kind) and _is_list(kind.value_type)
    for size in DMDT_SHAPE if is_nested else (int(np.prod(DMDT_SHAPE)),):
        whole = _is_list(images.type) and not images.null_count
        if not whole or not pc.all(pc.equal(pc.list_value_length(images), size), min_count=0).as_py():
            raise DataError(
                f"column {IMAGE_COLUMN} must hold {np.prod(DMDT_SHAPE)} numbers in each row (26 x 26 pixels)"
            )
        images = images.flatten()
    return np.asarray(images, dtype=np.float32)


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def table_facts(table: pa.Table) -> dict[str, Any]:
    """Return the facts of the metadata record that a table carries (schema key ``scope``), or nothing."""
    record = (table.schema.metadata or {}).get(b"scope")
    if record is None:
        return {}
    try:
        facts = json.loads(record).get("facts", {})
    except (ValueError, AttributeError):
        return {}
    return facts if isinstance(facts, dict) else {}
