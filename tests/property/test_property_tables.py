"""Any table comes back from any format as it went in."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scope_ml.core.provenance import TableMetadata
from scope_ml.io.tables import read_table, write_table

VALUES = {
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.uint64(): st.integers(0, 2**64 - 1),
    pa.int8(): st.integers(-128, 127),
    pa.float64(): st.floats(allow_nan=False),
    pa.float32(): st.floats(allow_nan=False, width=32),
    pa.bool_(): st.booleans(),
    pa.string(): st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=6),
}


@st.composite
def tables(draw):
    n_rows = draw(st.integers(0, 5))
    dtypes = draw(st.lists(st.sampled_from(list(VALUES)), min_size=1, max_size=5))
    columns = {"id": pa.array(range(n_rows), pa.int64())}
    for index, dtype in enumerate(dtypes):
        values = draw(st.lists(VALUES[dtype] | st.none(), min_size=n_rows, max_size=n_rows))
        columns[f"column {index}, é"] = pa.array(values, dtype)
    return pa.table(columns)


@pytest.mark.parametrize("suffix", [".parquet", ".h5", ".csv"])
def test_round_trip(suffix):
    @settings(max_examples=40, deadline=None)
    @given(tables())
    def check(table):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"t{suffix}"
            write_table(table, path, TableMetadata(kind="test"))
            assert read_table(path).data.equals(table)

    check()
