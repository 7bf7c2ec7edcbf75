"""The receipt of changes as a table, and plan and receipt as text. May import services, `io`, core and errors."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa

from scope_ml.core.provenance import TableMetadata
from scope_ml.io.atomic import atomic_path
from scope_ml.io.parquet_files import ParquetTableWriter
from scope_ml.io.tables import described, plain_schema
from scope_ml.services.fritz.planning import KINDS
from scope_ml.services.fritz.receipt import ReceiptRow, receipt_rows, runs_of
from scope_ml.stages.fritz_plans import LEFT, NOTHING, PIECE, REFUSED, PlanRow, PlanTable

__all__ = ["plan_text", "write_json", "write_receipt"]

SCHEMA = pa.schema(
    [
        pa.field("job", pa.int64()),
        pa.field("key", pa.string()),
        pa.field("obj_id", pa.string()),
        pa.field("kind", pa.string()),
        pa.field("what", pa.string()),
        pa.field("detail", pa.string()),
        pa.field("remote_ids", pa.list_(pa.int64())),
        pa.field("time", pa.string()),
        pa.field("status", pa.string()),
        pa.field("message", pa.string()),
    ]
)

#: Longest text of a cell that is shown.
CELL = 60

#: What each kind does, in words.
WORDS = {
    "create": "make sources",
    "save": "save to groups",
    "photometry": "put photometry",
    "annotate": "annotate",
    "comment": "comment",
    "classify": "post classifications",
    "delete": "delete classifications",
    NOTHING: "as wanted already",
    LEFT: "left as it is",
    REFUSED: "refused",
}

#: Columns of the rows that are shown.
SHOWN = ("key", "obj_id", "kind", "what", "detail")


def write_receipt(plan: PlanTable, journal: Path, path: Path, metadata: TableMetadata) -> Counter[str]:
    """Write all that was done from this folder, and why sources of `plan` were refused or left.

    Returns
    -------
    Counter
        Rows of the last undertaking by status.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    runs = runs_of(journal)
    counts: Counter[str] = Counter()

    def counted() -> Iterator[ReceiptRow]:
        not_done = (_told(row, runs.job) for rows in plan.sources() for row in rows if row.kind in (REFUSED, LEFT))
        for row in chain(receipt_rows(journal, runs), not_done):
            if row.job == runs.job:
                counts[row.status] += 1
            yield row

    with atomic_path(path) as temporary:
        writer, record = ParquetTableWriter(temporary, SCHEMA, gather=True), None
        try:
            for piece in _pieces(counted()):
                writer.write(piece)
            record = described(metadata, plain_schema(SCHEMA, ()), writer.n_rows).to_json()
        finally:
            writer.close(record)
    return counts


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write counts beside a table.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def plan_text(plan: PlanTable, where: str) -> str:
    """Return the plan as text: counts by action and the first rows."""
    counts = [[WORDS[kind], str(plan.counts[kind])] for kind in (*KINDS, NOTHING, LEFT, REFUSED) if plan.counts[kind]]
    lines = [f"plan for {plan.n_sources} source(s) on {where}: {plan.n_steps} step(s) on {plan.n_changed}"]
    lines.append(_aligned(counts, ("action", "number")))
    if plan.authors:
        whose = ", ".join(f"{n} of {name}" for name, n in sorted(plan.authors.items()))
        lines.append(f"classifications that go: {whose}")
    if plan.first:
        rows = [[_cell(getattr(row, name) or _reason(row, name)) for name in SHOWN] for row in plan.first]
        lines += ["", _aligned(rows, SHOWN)]
    return "\n".join(lines)


def _reason(row: PlanRow, name: str) -> str:
    return row.reason if name == "detail" else ""


def _told(row: PlanRow, job: int) -> ReceiptRow:
    return ReceiptRow(job=job, key=row.key, obj_id=row.obj_id, kind="", what="", status=row.kind, message=row.reason)


def _pieces(rows: Iterator[ReceiptRow]) -> Iterator[pa.Table]:
    held: list[dict[str, Any]] = []
    for row in rows:
        held.append(_plain(row))
        if len(held) >= PIECE:
            yield pa.Table.from_pylist(held, SCHEMA)
            held = []
    if held:
        yield pa.Table.from_pylist(held, SCHEMA)


def _plain(row: ReceiptRow) -> dict[str, Any]:
    values = {name: getattr(row, name) for name in SCHEMA.names if name not in ("time", "remote_ids")}
    time = datetime.fromtimestamp(row.at, UTC).strftime("%Y-%m-%dT%H:%M:%S") if row.at else None
    return {**values, "remote_ids": list(row.remote_ids), "time": time}


def _aligned(rows: Sequence[Sequence[str]], columns: Sequence[str]) -> str:
    table = [list(columns), *rows]
    widths = [max(len(row[index]) for row in table) for index in range(len(columns))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table
    )


def _cell(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= CELL else f"{line[: CELL - 3]}..."
