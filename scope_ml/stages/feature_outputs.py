"""What `generate_features` writes for one table, once its shards are measured: the table, what it lacks, the report.

Also tells what stands there of an earlier run. May import features, io and what lies
below.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from scope_ml.core.provenance import TableMetadata
from scope_ml.core.report import Report
from scope_ml.errors import FormatError, ScopeError
from scope_ml.features.choice import Extraction
from scope_ml.features.colour import ColourIndex
from scope_ml.features.extract import table_schema
from scope_ml.io.atomic import atomic_path
from scope_ml.io.parquet_files import open_parquet, parquet_record
from scope_ml.io.parts import Parts, Transform
from scope_ml.io.tables import check_columns_fit, read_table, table_format, write_table
from scope_ml.services.account import Account
from scope_ml.stages.feature_counts import TableCounts
from scope_ml.stages.feature_reuse import DIGESTS, seen_record
from scope_ml.stages.feature_run import ROWS, TableParts
from scope_ml.stages.requested_sources import Accounting, Request

__all__ = [
    "ALL",
    "KEY",
    "Standing",
    "add_up",
    "beside",
    "check_format",
    "merge",
    "standing",
    "table_report",
    "write_not_found",
    "write_report",
    "write_unanswered",
]

#: What stands beside a feature table, and how its file ends.
BESIDE = {"dropped": ".parquet", DIGESTS: ".parquet", "report": ".json"}

#: The same where sources were asked for one by one.
NOT_FOUND = {"not_found": ".parquet"}

#: The same where a service was asked for each light curve and has not sent some; there is no such file otherwise.
UNANSWERED = "unanswered.parquet"

#: Facts of the report that tell how this run went, and not what came out; they stay out of the written report.
RUN_FACTS = ("n_shards", "n_shards_resumed", "n_kept", "n_computed", "computed", "n_finished_before")

#: Fact in the record of a quadrant's table that says with what it was made: digests by name, `ALL` of all of them. The
#: light curves are an input of the table, apart from it.
KEY = "made_with"
ALL = "all"


def beside(output: Path, request: Request | None = None) -> dict[str, Path]:
    """Return the names and paths of what stands beside the feature table `output`, for a `request` also its answer."""
    names = {**BESIDE, **({} if request is None else NOT_FOUND)}
    return {name: output.with_name(f"{output.name}.{name}{end}") for name, end in names.items()}


def check_format(output: Path, extraction: Extraction) -> None:
    """Find out before the work that `output` is of a format that can hold the columns.

    Raises
    ------
    FormatError, SchemaError
        If its suffix is unknown, or the format has no place for a column.
    """
    check_columns_fit(output, table_schema(ROWS, extraction))


def add_up(parts: TableParts, indices: Iterable[int]) -> TableCounts:
    """Return the counts of shards, whether measured now or before an interruption."""
    counts = TableCounts()
    for index in indices:
        counts.add(parts.dropped.metadata(index).facts)
    return counts


def merge(
    parts: TableParts,
    output: Path,
    metadata: TableMetadata,
    *,
    n_parts: int,
    counts: TableCounts,
    colour_radius: float | None,
    measured_with: str,
) -> None:
    """Write the tables from their parts, and count into `counts` what only the whole table tells.

    Parameters
    ----------
    parts
        All shards.
    output
        The feature table.
    metadata
        Its record, to which the counts are added.
    n_parts
        How many shards there are.
    counts
        What the shards counted.
    colour_radius
        How near light curves of one star are [arcsec]; None where no colours are wanted.
    measured_with
        Digest of all but the light curves that decides what a later run may take over.

    Raises
    ------
    OutputError
        If the disk is full or the folder cannot be written; the parts stay.
    """
    transform, counts.ids_repeated = _over_all_rows(parts.kept, n_parts, colour_radius)
    facts: dict[str, Any] = {
        name: dict(sorted(getattr(counts, name).items())) for name in ("dropped", "points_dropped", "status")
    }
    facts |= {"points_in": counts.points_in}
    # The feature table comes last: where it stands, the list of what it lacks stands beside it.
    parts.dropped.merge(
        beside(output)["dropped"],
        replace(metadata, kind="dropped_light_curves", facts={"dropped": facts["dropped"]}),
        n_parts=n_parts,
    )
    record = replace(metadata, facts={**metadata.facts, **facts})
    counts.n_out = parts.kept.merge(output, record, n_parts=n_parts, transform=transform)
    # It has the digest of the table. Killed before it, a table made alone has that of its predecessor, and nothing is
    # taken over.
    seen = seen_record(metadata, output, counts.n_out, measured_with)
    parts.seen.merge(beside(output)[DIGESTS], seen, n_parts=n_parts)


def _over_all_rows(kept: Parts, n_parts: int, colour_radius: float | None) -> tuple[Transform | None, int]:
    """Read the few columns of all parts that only tell something together: return what fills in, and repeated ids."""
    index = None if colour_radius is None else ColourIndex(colour_radius)
    ids = []
    for part in range(n_parts):
        names = kept.metadata(part).columns
        columns = ColourIndex.columns([column.name for column in names])
        rows = kept.read(part, columns if index is not None else columns[:1] + columns[2:3])
        if index is not None:
            index.add(rows)
        ids.append(rows.select([0, rows.column_names.index("band")]).rename_columns(["id", "band"]))
    repeated = _n_repeated(pa.concat_tables(ids))
    return (None if index is None else index.fill), repeated


def _n_repeated(rows: pa.Table) -> int:
    """Return how many pairs of id and band there are twice or more; a file may give one id to a star's bands."""
    counted = rows.group_by(["id", "band"]).aggregate([([], "count_all")])
    return int(pc.sum(pc.greater(counted["count_all"], 1)).as_py() or 0)


def write_not_found(
    accounting: Accounting, output: Path, metadata: TableMetadata
) -> tuple[dict[str, int], tuple[str, ...]]:
    """Write which of the sources that were asked for have no light curve; return the counts and what to warn of.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    path = output.with_name(f"{output.name}.not_found{NOT_FOUND['not_found']}")
    missing = accounting.not_found
    facts = {
        "sources_asked": accounting.asked,
        "sources_repeated": accounting.duplicates,
        "sources_found": accounting.found,
        "sources_not_found": missing.num_rows,
    }
    write_table(missing, path, replace(metadata, kind="sources_not_found", facts=facts))
    if not missing.num_rows:
        return facts, ()
    n_distinct = accounting.asked - accounting.duplicates
    return facts, (f"{missing.num_rows} of {n_distinct} sources have no light curve in the source, see {path.name}",)


def write_unanswered(account: Account, output: Path, metadata: TableMetadata) -> dict[str, Path]:
    """Write what a service has not sent beside the table, and return the file by name; none if there is nothing.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    path = output.with_name(f"{output.name}.{UNANSWERED}")
    if not account.missing:
        path.unlink(missing_ok=True)
        return {}
    write_table(account.table, path, replace(metadata, kind="ids_unanswered", facts=account.facts))
    return {"unanswered": path}


def table_report(
    counts: TableCounts,
    outputs: Mapping[str, Path],
    *,
    seconds: float = 0.0,
    facts: Mapping[str, Any] | None = None,
    warnings: Iterable[str] = (),
) -> Report:
    """Return the report of one table."""
    return Report(
        stage="generate_features",
        n_in=counts.n_in,
        n_out=counts.n_out,
        dropped=dict(sorted(counts.dropped.items())),
        seconds=seconds,
        warnings=(*counts.warnings(), *warnings),
        outputs={name: str(path) for name, path in outputs.items()},
        facts={**counts.facts, **(facts or {})},
    )


def write_report(report: Report) -> None:
    """Write what equal runs share of a table's report beside it.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    with atomic_path(Path(report.outputs["report"])) as temporary:
        temporary.write_text(report.record(without=RUN_FACTS) + "\n", encoding="utf-8")


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A table that stands where one goes.

    Attributes
    ----------
    made_with
        Digests of what made it, by name (`FeatureTables.made_with`).
    light_curves
        Digest of its light curves.
    counts
        What was counted; None where what belongs beside the table is missing or broken: it has to be made again.
    """

    made_with: Mapping[str, str]
    light_curves: str
    counts: TableCounts | None

    def finished(self, made_with: Mapping[str, str], light_curves: str) -> TableCounts | None:
        """Return the counts if all of it stands, made with the same of the same light curves."""
        return self.counts if (dict(self.made_with), self.light_curves) == (dict(made_with), light_curves) else None


def standing(output: Path) -> Standing | None:
    """Return what stands at `output`; None if there is no table of ours, or a broken one.

    The report is written last, and everything before it atomically: where it stands beside a table that was made with the
    same, all is there.
    """
    try:
        metadata = _record(output) if output.is_file() else None
    except (ScopeError, OSError, ValueError):
        return None
    if metadata is None or not metadata.inputs:
        return None
    made_with = metadata.facts.get(KEY)
    return Standing(
        # Earlier versions had one digest of all.
        made_with=made_with if isinstance(made_with, dict) else {ALL: str(made_with)},
        light_curves=metadata.inputs[0].digest,
        counts=_counts(output, metadata),
    )


def _counts(output: Path, metadata: TableMetadata) -> TableCounts | None:
    names = beside(output)
    if not all(path.is_file() for path in names.values()):
        return None
    counts = TableCounts()
    try:
        report = json.loads(names["report"].read_text(encoding="utf-8"))
        counts.add({**report["facts"], **{name: report[name] for name in ("n_in", "n_out", "dropped")}})
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return counts if metadata.n_rows == counts.n_out else None


def _record(output: Path) -> TableMetadata:
    if table_format(output) != "parquet":
        return read_table(output).metadata
    with open_parquet(output) as file:
        raw = parquet_record(file)
    if raw is None:
        raise FormatError(f"{output} has no record")
    return TableMetadata.from_json(raw, where=str(output))
