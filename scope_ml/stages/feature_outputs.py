"""What `generate_features` writes for one table, once its shards are measured: the table, what it lacks, the report.

Also tells whether a table was finished before by a run with the same options. May import features, io and what lies
below.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
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
from scope_ml.stages.feature_run import ROWS, TableParts
from scope_ml.stages.requested_sources import Accounting, Request

__all__ = [
    "KEY",
    "TableCounts",
    "add_up",
    "beside",
    "check_format",
    "finished",
    "merge",
    "table_report",
    "write_not_found",
    "write_report",
    "write_unanswered",
]

#: What stands beside a feature table, and how its file ends.
BESIDE = {"dropped": ".parquet", "report": ".json"}

#: The same where sources were asked for one by one.
NOT_FOUND = {"not_found": ".parquet"}

#: The same where a service was asked for each light curve and has not sent some; there is no such file otherwise.
UNANSWERED = "unanswered.parquet"

#: What is counted of a service's answers.
OF_SERVICES = ("ids_answered", "ids_open", "points_not_allowed")

#: Ids that a warning names.
N_NAMED = 3

#: Facts of the report that tell how this run went, and not what came out; they stay out of the written report.
RUN_FACTS = ("n_shards", "n_shards_resumed")

#: Ways to have no period that nobody wonders at.
AS_WISHED = frozenset({"ok", "not_searched"})

#: Fact in the record of a quadrant's table that says with what it was made.
KEY = "made_with"


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


@dataclass(kw_only=True)
class TableCounts:
    """What was counted over light curves; counts of several tables add up.

    Attributes
    ----------
    n_in, n_out, points_in
        Light curves read and written, points read.
    dropped, points_dropped, status
        Light curves and points dropped by reason, and how the period search of the written rows ended.
    ids_repeated
        Ids that stand in more than one row of a table.
    ids_asked, ids_answered, ids_open
        Ids that a service was asked for, those of which it sent the light curve, and what may come yet; None where no
        service is asked.
    points_not_allowed
        Points that a service sent of programmes that it was not to.
    ids_missing, ids_missing_first
        Ids that were not answered by reason, and the first of them.
    """

    n_in: int = 0
    n_out: int = 0
    points_in: int = 0
    ids_repeated: int = 0
    ids_asked: int | None = None
    ids_answered: int = 0
    ids_open: int = 0
    points_not_allowed: int = 0
    ids_missing_first: list[int] = field(default_factory=list)
    ids_missing: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    points_dropped: Counter[str] = field(default_factory=Counter)
    status: Counter[str] = field(default_factory=Counter)

    def add(self, other: Mapping[str, Any]) -> None:
        """Add the counts that `other` has by name."""
        for name in ("n_in", "n_out", "points_in", "ids_repeated", *OF_SERVICES):
            setattr(self, name, getattr(self, name) + other.get(name, 0))
        for name in ("dropped", "points_dropped", "status", "ids_missing"):
            getattr(self, name).update(other.get(name, {}))
        if (asked := other.get("ids_asked")) is not None:
            self.ids_asked = (self.ids_asked or 0) + asked
        self.ids_missing_first = [*self.ids_missing_first, *other.get("ids_missing_first", ())][:N_NAMED]

    @property
    def facts(self) -> dict[str, Any]:
        """Return what the report of a table has beside rows in, out and dropped."""
        facts = {
            "points_in": self.points_in,
            "points_dropped": dict(sorted(self.points_dropped.items())),
            "status": dict(sorted(self.status.items())),
            "ids_repeated": self.ids_repeated,
        }
        if self.ids_asked is None:
            return facts
        return facts | {
            "ids_asked": self.ids_asked,
            **{name: getattr(self, name) for name in OF_SERVICES},
            "ids_missing": dict(sorted(self.ids_missing.items())),
            "ids_missing_first": self.ids_missing_first,
        }

    def warnings(self) -> list[str]:
        """Return what to wonder at, one line each."""
        lines = []
        if self.n_in and not self.n_out:
            reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(self.dropped.items()))
            lines.append(f"no light curve was kept ({reasons}); the table has no rows, see cleaning.min_n_obs")
        without = {status: count for status, count in sorted(self.status.items()) if status not in AS_WISHED}
        if without:
            listed = ", ".join(f"{status} {count}" for status, count in without.items())
            lines.append(f"{sum(without.values())} light curves have features but no period ({listed})")
        if self.ids_repeated:
            lines.append(
                f"{self.ids_repeated} ids stand in more than one row; give files without repeated light curves"
            )
        if self.ids_missing:
            lines.append(self._missing())
        return lines

    def _missing(self) -> str:
        """Say which ids did not come, and what to type."""
        n_missing = sum(self.ids_missing.values())
        reasons = "; ".join(f"{count}: {reason}" for reason, count in self.ids_missing.most_common(N_NAMED))
        others = ", ..." if n_missing > len(self.ids_missing_first) else ""
        first = ", ".join(map(str, self.ids_missing_first)) + others
        again = "; type the same command again to ask for them" if self.ids_open else ""
        return f"{n_missing} of {self.ids_asked} ids have no light curve ({first}): {reasons}{again}"


def add_up(parts: TableParts, n_parts: int) -> TableCounts:
    """Return the counts of all shards, whether measured now or before an interruption."""
    counts = TableCounts()
    for index in range(n_parts):
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
) -> None:
    """Write the two tables from their parts, and count into `counts` what only the whole table tells.

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


def finished(output: Path, key: str) -> TableCounts | None:
    """Return the counts of a table that was finished with the same `key`, or None if there is none.

    The report is written last, and everything before it atomically: where it stands beside a table of the key, all is
    there. A broken file counts as none.
    """
    names = beside(output)
    if not all(path.is_file() for path in (output, *names.values())):
        return None
    try:
        metadata = _record(output)
        report = json.loads(names["report"].read_text(encoding="utf-8"))
        counts = TableCounts()
        counts.add({**report["facts"], **{name: report[name] for name in ("n_in", "n_out", "dropped")}})
    except (ScopeError, OSError, ValueError, KeyError, TypeError):
        return None
    return counts if metadata.facts.get(KEY) == key and metadata.n_rows == counts.n_out else None


def _record(output: Path) -> TableMetadata:
    if table_format(output) != "parquet":
        return read_table(output).metadata
    with open_parquet(output) as file:
        raw = parquet_record(file)
    if raw is None:
        raise FormatError(f"{output} has no record")
    return TableMetadata.from_json(raw, where=str(output))
