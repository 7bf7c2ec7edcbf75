"""One pass over the predictions gives what reading them whole gives, in memory that does not grow with the table."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scope_ml.core.protocols import NullProgress
from scope_ml.core.provenance import TableMetadata
from scope_ml.errors import FormatError, MetadataError, MissingColumnError
from scope_ml.io.parquet_files import ParquetTableWriter
from scope_ml.io.tables import described, write_table
from scope_ml.reporting import predictions
from scope_ml.reporting.predictions import summarise_scores

THRESHOLDS = {"vnv": {"xgb": 0.5, "dnn": 0.6}, "e": {"xgb": 0.7}, "rrlyr": {"xgb": 0.7, "dnn": 0.7}, "ea": {"xgb": 0.5}}
PAIRS = [("e", "vnv"), ("rrlyr", "vnv"), ("ea", "e")]
BIG = 2**53 + 1


def scored(n: int, *, decimals: int = 2) -> pa.Table:
    """Scores with many ties, some missing ones, and several light curves a star; class ea has no column."""
    rng = np.random.default_rng(4)
    scores = {}
    for name in ("vnv_xgb", "vnv_dnn", "e_xgb", "rrlyr_xgb", "rrlyr_dnn"):
        values = np.round(rng.random(n), decimals).astype(np.float32)
        scores[name] = pa.array(values, mask=rng.random(n) < 0.02)
    sources = BIG + rng.integers(0, max(n // 5, 1), n)
    facts = {"id": BIG + np.arange(n), "source_id": pa.array(sources, mask=rng.random(n) < 0.1)}
    period = pa.array(rng.random(n), mask=rng.random(n) < 0.1)
    return pa.table({**facts, "band": rng.choice(["g", "r"], n), "period": period, **scores})


def write_groups(table: pa.Table, path, n_rows: int) -> None:
    """Write a table of ours in row groups of `n_rows`."""
    writer = ParquetTableWriter(path, table.schema)
    for start in range(0, table.num_rows, n_rows):
        writer.write(table.slice(start, n_rows))
    writer.close(described(TableMetadata(kind="predictions"), table.schema, table.num_rows).to_json())


def summary(path, n_examples: int = 3):
    return summarise_scores(path, THRESHOLDS, PAIRS, n_examples, NullProgress())


def simple(table: pa.Table, n_examples: int, n_rows_looked_at: int):
    """Everything at once, in plain Python but for the means."""
    rows = table.to_pylist()
    best, n_above, means = {}, {}, {}
    for tag, thresholds in THRESHOLDS.items():
        each = {
            name: table[f"{tag}_{name}"].to_numpy().astype(np.float64)
            for name in thresholds
            if f"{tag}_{name}" in table.column_names
        }
        n_above[tag] = {name: int((values >= thresholds[name]).sum()) for name, values in each.items()}
        best[tag] = []
        if not each:
            continue
        mean = np.mean(list(each.values()), axis=0)
        means[tag] = mean >= np.mean([thresholds[name] for name in each])
        order = sorted(range(len(rows)), key=lambda row: (np.isnan(mean[row]), -mean[row], row))
        seen = set()
        for row in order[:n_rows_looked_at]:
            star = str(rows[row]["source_id"] or rows[row]["id"])
            if star not in seen and not np.isnan(mean[row]) and len(seen) < n_examples:
                seen.add(star)
                best[tag].append((rows[row]["id"], rows[row]["band"], star, rows[row]["period"], each["xgb"][row]))
    conflicts = [
        (child, parent, int((means[child] & ~means[parent]).sum()))
        for child, parent in PAIRS
        if child in means and parent in means
    ]
    return best, n_above, tuple(conflicts)


@pytest.mark.parametrize(
    ("n", "n_group", "n_block", "n_examples"), [(1000, 90, 64, 3), (1000, 1000, 130, 4), (7, 3, 2, 9)]
)
def test_blocks_give_what_the_whole_table_gives(tmp_path, monkeypatch, n, n_group, n_block, n_examples):
    table = scored(n)
    write_groups(table, tmp_path / "predictions.parquet", n_group)
    assert pq.ParquetFile(tmp_path / "predictions.parquet").num_row_groups == -(-n // n_group)
    monkeypatch.setattr(predictions, "BLOCK_ROWS", n_block)
    monkeypatch.setattr(predictions, "ROWS_PER_EXAMPLE", 5)
    found = summary(tmp_path / "predictions.parquet", n_examples)
    best, n_above, conflicts = simple(table, n_examples, 5 * n_examples)
    shown = {
        tag: [
            (one.id, one.band, one.star, None if np.isnan(one.period) else one.period, one.scores["xgb"])
            for one in items
        ]
        for tag, items in found.best.items()
    }
    assert shown == best
    assert found.n_above == n_above
    assert found.conflicts == tuple(one for one in conflicts if one[2])
    assert found.n_rows == n


@pytest.mark.parametrize("name", ["predictions.h5", "predictions.csv"])
def test_other_formats_give_the_same(tmp_path, name):
    table = scored(200)
    write_table(table, tmp_path / name, TableMetadata(kind="predictions"))
    write_groups(table, tmp_path / "predictions.parquet", 30)
    expected = summary(tmp_path / "predictions.parquet")
    found = summary(tmp_path / name)
    assert repr(found.best) == repr(expected.best)
    assert (found.n_above, found.conflicts) == (expected.n_above, expected.conflicts)


def test_no_examples_and_no_rows(tmp_path):
    write_groups(scored(50), tmp_path / "some.parquet", 20)
    assert not any(summary(tmp_path / "some.parquet", 0).best.values())
    write_groups(scored(50).slice(0, 0), tmp_path / "none.parquet", 20)
    found = summary(tmp_path / "none.parquet")
    assert (found.n_rows, found.conflicts, set(map(len, found.best.values()))) == (0, (), {0})


def test_memory_does_not_grow_with_the_table(tmp_path, monkeypatch):
    monkeypatch.setattr(predictions, "BLOCK_ROWS", 1000)
    peaks = []
    for n in (2_000, 40_000):
        path = tmp_path / f"{n}.parquet"
        write_groups(scored(n, decimals=6), path, 1000)
        summary(path)
        held = pa.total_allocated_bytes()
        tracemalloc.start()
        summary(path)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert pa.total_allocated_bytes() <= held
    # Held whole, one column of 40 000 float64 alone would be 320 kB more.
    assert peaks[1] < peaks[0] + 200_000


def test_what_is_no_table_of_predictions_is_refused(tmp_path):
    table = scored(20)
    write_table(table, tmp_path / "features.parquet", TableMetadata(kind="features"))
    with pytest.raises(MetadataError, match="a 'predictions' table is needed"):
        summary(tmp_path / "features.parquet")
    write_table(table.drop_columns("id"), tmp_path / "no_id.parquet", TableMetadata(kind="predictions"))
    with pytest.raises(MissingColumnError, match="lacks the column"):
        summary(tmp_path / "no_id.parquet")
    writer = ParquetTableWriter(tmp_path / "cut.parquet", table.schema)
    writer.write(table.slice(0, 11))
    writer.close(described(TableMetadata(kind="predictions"), table.schema, 20).to_json())
    with pytest.raises(FormatError, match="has 11 rows but its record says 20"):
        summary(tmp_path / "cut.parquet")
