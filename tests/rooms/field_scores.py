"""Features of four quadrants, and a function that scores their fields: for the tests of fields."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from scope_ml.core.configuration import build
from scope_ml.core.protocols import NullProgress
from scope_ml.core.report import Report
from scope_ml.io.tables import read_table, write_table
from scope_ml.stages.infer import Infer, run

#: (field, ccd, quad) -> rows of the training table.
QUADRANTS = {(296, 1, 2): (0, 100), (296, 2, 1): (100, 220), (296, 16, 4): (0, 0), (297, 1, 1): (220, 240)}


def placed(data: pa.Table, place: tuple[int, int, int]) -> pa.Table:
    """Return the rows as those of a quadrant."""
    data = data.drop_columns(["field"])
    for name, value in zip(("field", "ccd", "quad"), place, strict=True):
        data = data.append_column(name, pa.array([value] * data.num_rows, pa.int32()))
    return data


def write_features(table: Path, folder: Path) -> Path:
    """Write the rows of a table as a folder of field tables, as `generate_features` makes it, and return that."""
    whole = read_table(table)
    for place, (start, end) in QUADRANTS.items():
        field, ccd, quad = place
        path = folder / f"field_{field:06d}" / f"ccd_{ccd:02d}_quad_{quad}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_table(placed(whole.data.slice(start, end - start), place), path, whole.metadata)
        path.with_name(f"{path.name}.dropped.parquet").write_bytes(b"no table of features")
    return folder


def scoring(models: Path, features: Path, tmp_path: Path) -> Callable[..., Report]:
    """Return a function that scores field 296 of `features` into ``tmp_path/scores`` unless it is told otherwise."""

    def call(**changes: Any) -> Report:
        values: dict[str, Any] = {
            "features": str(features),
            "output": str(tmp_path / "scores"),
            "field": 296,
            "models": str(models),
            "tracking": {"enabled": False},
            "machine": {"workers": 1},
        }
        values |= changes
        return run(build(Infer, {k: v for k, v in values.items() if v is not None}), progress=NullProgress())

    return call


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def meta(tmp_path: Path, field: int = 296) -> Any:
    return json.loads((tmp_path / "scores" / f"field_{field:06d}" / "_meta.json").read_text())
