"""One feature table after the other: each locked, measured, merged and reported on; many of them into one folder.

A finished table of a folder carries the key of what it was made with, and is not made again; a table that cannot be
made is recorded, and the others go on. May import the rooms of this stage, io and what lies below.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from scope_ml.core.protocols import LightCurveSource
from scope_ml.core.provenance import Input, TableMetadata, digest_json
from scope_ml.core.report import Report
from scope_ml.errors import (
    CredentialError,
    DataError,
    FormatError,
    JobError,
    QueryRefusedError,
    ScopeError,
    ServiceError,
    ServiceUnavailableError,
)
from scope_ml.io.atomic import check_writable
from scope_ml.io.output_lock import output_lock
from scope_ml.io.selection import Selection
from scope_ml.services.account import Account
from scope_ml.stages.feature_outputs import (
    KEY,
    TableCounts,
    add_up,
    beside,
    finished,
    merge,
    table_report,
    write_not_found,
    write_report,
    write_unanswered,
)
from scope_ml.stages.feature_run import Measuring, TableParts, measure_table
from scope_ml.stages.feature_targets import Target
from scope_ml.stages.requested_sources import Request

__all__ = ["FeatureTables"]

#: What one quadrant may fail by while the others go on; a bad configuration, schema or disk stops the run.
OF_ONE_TABLE = (DataError, FormatError, JobError, ServiceError)

#: What every further quadrant would fail by as well.
OF_ALL_TABLES = (CredentialError, QueryRefusedError)

#: Quadrants in a row for which a service is down, after which no other is tried.
GIVE_UP = 2

#: What a source that reads files says of answers.
NOT_ASKED = Account(asked=0, answered=0)

#: Failures that a report names one by one.
NAMED_FAILURES = 10


@dataclass(frozen=True, kw_only=True)
class FeatureTables:
    """Makes tables that differ in their light curves alone.

    Attributes
    ----------
    open
        Opens the light curves of a selection.
    measuring
        How light curves are measured.
    key
        All but the light curves and the shards' size that decides what a table holds, JSON-able.
    metadata
        What the tables' records share.
    colour_radius
        How near light curves of one star are [arcsec]; None where no colours are wanted.
    """

    open: Callable[[Selection], LightCurveSource]
    measuring: Measuring
    key: Mapping[str, Any]
    metadata: TableMetadata
    colour_radius: float | None

    def make(self, target: Target, *, empty: str | None) -> Report:
        """Make a table by itself.

        Parameters
        ----------
        target
            Its light curves, and where it goes.
        empty
            What to say if there are no light curves; None writes a table without rows.

        Raises
        ------
        ScopeError
            If the source cannot be read or is empty, the output not written, or another process writes it.
        """
        source = self.open(target.selection)
        return self._make(target, source, what="measuring light curves", made_with=None, empty=empty)

    def make_all(self, targets: Sequence[Target], folder: Path) -> Report:
        """Make the tables of a folder that are not finished; the report adds up over all that stand in the end.

        Raises
        ------
        ScopeError
            If the configuration, the schema of the files or the disk lets no table be made.
        """
        began = time.perf_counter()
        self.measuring.log.begin()
        counts, told, n_found = TableCounts(), _Told(n_targets=len(targets)), 0
        for number, target in enumerate(targets, start=1):
            try:
                source = self.open(target.selection)
                made_with = digest_json([self.key, source.digest])
                found = finished(target.output, made_with)
                if found is not None and found.ids_open:
                    told.again.append(target.name)
                    found = None
                elif found is None and target.output.exists():
                    told.remade.append(target.name)
                if found is None:
                    what = f"measuring {target.name} ({number} of {len(targets)})"
                    report = self._make(target, source, what=what, made_with=made_with)
                else:
                    n_found += 1
                    _clear(target.output)
                    report = table_report(found, {"features": target.output})
            except OF_ONE_TABLE as error:
                self._record_failure(target, error, told)
                continue
            told.down = 0
            if not report.n_in:
                told.empty.append(target.name)
            counts.add({**report.facts, "n_in": report.n_in, "n_out": report.n_out, "dropped": report.dropped})
            self.measuring.log.quadrant(_where(target), report, target.output, resumed=found is not None)
        facts = {
            **counts.facts,
            "n_quadrants": len(targets) - len(told.failed),
            "n_quadrants_finished_before": n_found,
            "n_quadrants_without_light_curves": len(told.empty),
            "n_failed": len(told.failed),
            "failed": told.failed,
        }
        return Report(
            stage="generate_features",
            n_in=counts.n_in,
            n_out=counts.n_out,
            dropped=dict(sorted(counts.dropped.items())),
            seconds=time.perf_counter() - began,
            warnings=(*counts.warnings(), *told.lines()),
            outputs={"features": str(folder)},
            facts=facts,
        )

    def _record_failure(self, target: Target, error: ScopeError, told: _Told) -> None:
        """Record what one table failed by, unless the next would fail by it too."""
        self.measuring.progress.finish()
        told.down = told.down + 1 if isinstance(error, ServiceUnavailableError) else 0
        if isinstance(error, OF_ALL_TABLES) or told.down == GIVE_UP:
            raise error
        self.measuring.log.failed(_where(target), error)
        told.failed.append(f"{target.name}: {error}")

    def _make(
        self,
        target: Target,
        source: LightCurveSource,
        *,
        what: str,
        made_with: str | None,
        empty: str | None = None,
    ) -> Report:
        began = time.perf_counter()
        output, request = target.output, target.request
        folder = _parts_folder(output)
        with output_lock(folder, output):
            check_writable(output, *beside(output, request).values())
            key = digest_json([self.key, source.digest, self.measuring.shard_size, _names(request)])
            parts = TableParts.of(folder, key)
            try:
                measured = measure_table(
                    source, parts, self.measuring, what=what, where=_where(target), request=request, empty=empty
                )
            except ScopeError:
                if not parts.dropped.indices():
                    parts.discard()
                raise
            n_parts = max(measured.n_shards, 1)
            counts = add_up(parts, n_parts)
            metadata = self._metadata(target, source, counts.n_in, made_with)
            facts: dict[str, Any] = {}
            warnings = () if counts.n_in else (f"the source holds no light curves of {target.name}",)
            account, unanswered = _account(source), dict[str, Path]()
            # The feature table comes last: where it stands, what it lacks stands beside it.
            if account is not None:
                counts.add(account.facts)
                facts |= {name: value for name, value in account.facts.items() if name.startswith("positions")}
                unanswered = write_unanswered(account, output, metadata)
                warnings = (*warnings, *account.warnings, *_positions_told(account))
            if request is not None and measured.found is not None:
                reasons = request.reasons((account or NOT_ASKED).table)
                sources, told = write_not_found(request.account(measured.found, reasons), output, metadata)
                facts |= sources
                warnings = (*warnings, *told)
                if told and self.measuring.limit is not None:
                    warnings = (*warnings, f"with limit={self.measuring.limit} sources further on count as not found")
            # The report goes first: one that stands beside a table of other options would pass for its own.
            beside(output)["report"].unlink(missing_ok=True)
            if self.colour_radius is not None and (request is not None or self.measuring.limit is not None):
                warnings = (
                    *warnings,
                    "colours are of the light curves in this table; other bands of a star may be left out",
                )
            merge(parts, output, metadata, n_parts=n_parts, counts=counts, colour_radius=self.colour_radius)
            report = table_report(
                counts,
                {"features": output, **beside(output, request), **unanswered},
                seconds=time.perf_counter() - began,
                facts={**facts, "n_shards": measured.n_shards, "n_shards_resumed": measured.n_resumed},
                warnings=warnings,
            )
            write_report(report)
            parts.discard()
        return report

    def _metadata(self, target: Target, source: LightCurveSource, n_in: int, made_with: str | None) -> TableMetadata:
        facts = dict(self.metadata.facts)
        where = _where(target)
        facts["target"] = {"kind": "quadrant", **where} if where else {"kind": target.name}
        if made_with is not None:
            facts[KEY] = made_with
        light_curves = Input(name="light_curves", digest=source.digest, n_rows=n_in)
        return replace(self.metadata, inputs=(light_curves, *self.metadata.inputs), facts=facts)


def _account(source: LightCurveSource) -> Account | None:
    """Return what a source that asks a service says of the answers, None of a source that reads files."""
    account = getattr(source, "account", None)
    return None if account is None else account()


def _positions_told(account: Account) -> list[str]:
    """Return the warning about positions of which it is not known what lies there."""
    n_open = sum(one.id is None for one in account.missing)
    if not n_open:
        return []
    reason = next(one.reason for one in account.missing if one.id is None)
    return [
        f"{n_open} of {account.positions_asked} positions were not answered ({reason}); type the same command again to ask"
        " for them"
    ]


def _where(target: Target) -> dict[str, int]:
    """Return the quadrant of a target as the run log and the table's record have it; nothing if it is none."""
    where = {"field": target.field, "ccd": target.ccd, "quad": target.quad}
    return {name: value for name, value in where.items() if value is not None}


def _names(request: Request | None) -> str | None:
    """Return the digest of the names that sources were asked for by."""
    if request is None or not request.named:
        return None
    return digest_json(request.sources["name"].to_pylist())


def _parts_folder(output: Path) -> Path:
    return output.with_name(f"{output.name}.parts")


def _clear(output: Path) -> None:
    """Remove the parts of a table that was finished by a run that was killed in its last moment."""
    folder = _parts_folder(output)
    if folder.is_dir():
        with output_lock(folder, output):
            TableParts.of(folder, "").discard()


@dataclass(kw_only=True)
class _Told:
    """What is said of many tables: names of those that failed, and why, were made again, or are empty."""

    n_targets: int
    failed: list[str] = field(default_factory=list)
    remade: list[str] = field(default_factory=list)
    again: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    #: Tables in a row for which the service was down.
    down: int = 0

    def lines(self) -> list[str]:
        """Return the warnings about quadrants, one line each."""
        lines = []
        if self.empty and len(self.empty) == self.n_targets - len(self.failed):
            others = f" and {len(self.empty) - 1} others" if len(self.empty) > 1 else ""
            lines.append(f"the source holds no light curves of {self.empty[0]}{others}")
        if self.remade:
            lines.append(
                f"{len(self.remade)} quadrants had been made with other options, data or code and were made again:"
                f" {_first(self.remade)}"
            )
        if self.again:
            lines.append(
                f"{len(self.again)} quadrants lacked light curves that the service had not sent and were made again:"
                f" {_first(self.again)}"
            )
        if self.failed:
            lines += [f"failed: {line}" for line in self.failed[:NAMED_FAILURES]]
            lines.append(
                f"{len(self.failed)} of {self.n_targets} quadrants failed; mend it and type the same command again"
            )
        return lines


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED_FAILURES]) + (", ..." if len(names) > NAMED_FAILURES else "")
