"""What SCoPe (the scope-ml package) writes where we write our record: told apart from ours, and read as what it is.

SCoPe keeps the attrs of a frame as JSON under the same Parquet key as our record, and lists of ids as HDF5 datasets of
telling names. May import core and errors only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from scope_ml.core.provenance import TableMetadata
from scope_ml.errors import FormatError

__all__ = ["ID_COLUMN", "adopted_record", "exact_dataset_ids", "is_id_dataset", "scope_attrs"]

#: What SCoPe calls the id of a light curve.
ID_COLUMN = "_id"

#: Datasets of SCoPe's lists of ids: of a quadrant, of a field.
ID_DATASET = re.compile(r"dataset_(ccd_\d+_quad_\d+_)?field_\d+")

#: Whole numbers below this are exact as float64, as which SCoPe writes the ids of a field.
LARGEST_EXACT = 2.0**53

#: Columns of scores end in one of these.
SCORES = ("_xgb", "_dnn")

#: Some columns that tell a table of SCoPe's features, whatever the period search.
FEATURES = frozenset({"inv_vonneumannratio", "median", "norm_peak_to_peak_amp", "stetson_j", "welch_i", "wmean"})


def scope_attrs(raw: bytes | str | None) -> dict[str, Any] | None:
    """Return the attrs of a frame that SCoPe wrote; None for a record of ours and for what is neither."""
    try:
        found = json.loads(raw or b"null")
    except ValueError:
        return None
    return found if isinstance(found, dict) and not {"kind", "schema_version"} & found.keys() else None


def adopted_record(attrs: Mapping[str, Any], columns: Iterable[str]) -> TableMetadata:
    """Return the record of a table that SCoPe wrote: its kind as its columns tell, its attrs as the fact ``scope``."""
    names = list(columns)
    if any(name.endswith(SCORES) for name in names):
        kind = "predictions"
    elif ID_COLUMN in names and (FEATURES & set(names) or any(name.startswith("period") for name in names)):
        kind = "features"
    else:
        kind = "scope"
    versions = [str(attrs[name]) for name in attrs if name.endswith("scope_code_version")]
    return TableMetadata(
        kind=kind,
        facts={"scope": json.loads(json.dumps(attrs, default=str)), "names": "legacy"},
        code_version=f"scope-ml {versions[0]}" if versions else "scope-ml",
    )


def is_id_dataset(name: str) -> bool:
    """Return whether an HDF5 dataset of this name is a list of ids of SCoPe's."""
    return ID_DATASET.fullmatch(name) is not None


def exact_dataset_ids(values: npt.NDArray[Any], path: Path) -> npt.NDArray[np.int64]:
    """Return the ids of such a dataset as int64, also where it holds them as float64.

    Raises
    ------
    FormatError
        If one is no whole number, or so large that the float may have been rounded.
    """
    if np.issubdtype(values.dtype, np.integer):
        return values.astype(np.int64)
    if not np.issubdtype(values.dtype, np.floating):
        raise FormatError(f"{path}: the list of ids holds {values.dtype}, not numbers")
    exact = np.isfinite(values) & (values == np.floor(values)) & (np.abs(values) < LARGEST_EXACT)
    if not exact.all():
        row = int(np.flatnonzero(~exact)[0])
        raise FormatError(
            f"{path}: the id {values[row]:.0f} in row {row + 1} went through a float and is not exact; make the list again"
            " with get_quad_ids"
        )
    return values.astype(np.int64)
