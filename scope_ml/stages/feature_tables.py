"""One feature table after the other: each locked, measured, merged and reported on; many of them into one folder.

A finished table of a folder carries digests of what it was made with, and is not made again; one that was made with
something else is refused. A table that cannot be made is recorded, and the others go on. May import the rooms of this
stage, io and what lies below.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scope_ml.core.protocols import LightCurveSource
from scope_ml.core.provenance import Input, TableMetadata, digest_json
from scope_ml.core.report import Report
from scope_ml.errors import DataError, ScopeError, ServiceUnavailableError
from scope_ml.io.atomic import check_writable
from scope_ml.io.output_lock import output_lock
from scope_ml.io.selection import Selection
from scope_ml.services.account import Account
from scope_ml.stages.distribution import OF_ALL_SHARDS, OF_ONE_SHARD
from scope_ml.stages.feature_folder import BECAME, Became, FolderReport
from scope_ml.stages.feature_outputs import (
    ALL,
    KEY,
    Standing,
    add_up,
    beside,
    merge,
    standing,
    table_report,
    write_not_found,
    write_report,
    write_unanswered,
)
from scope_ml.stages.feature_reuse import (
    FINISHED,
    Previous,
    PreviousRelease,
    open_previous,
    reuse_lines,
    reuse_text,
)
from scope_ml.stages.feature_run import Measuring, TableParts, measure_table
from scope_ml.stages.feature_targets import Target, quadrant_path
from scope_ml.stages.quadrant_list import Quadrant
from scope_ml.stages.requested_sources import Request

__all__ = ["FeatureTables"]

#: Quadrants in a row for which a service is down, after which no other is tried.
GIVE_UP = 2

#: What a source that reads files says of answers.
NOT_ASKED = Account(asked=0, answered=0)

#: Digits of digests that a message shows, and that a record keeps of the parts of one.
N_DIGITS = 12

#: How a message calls what a table is made with.
WORDS = {"config": "options", "catalogs": "catalogues", "packages": "versions of packages"}


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
    previous
        An earlier run, of whose tables light curves that have not changed are taken over.
    stale_again
        Whether tables of a folder that were made with something else are made again; else they are refused.
    """

    open: Callable[[Selection], LightCurveSource]
    measuring: Measuring
    key: Mapping[str, Any]
    metadata: TableMetadata
    colour_radius: float | None
    previous: PreviousRelease
    stale_again: bool = False

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
        previous = self.previous.of(_earlier_name(target))
        return self._make(target, source, what="measuring light curves", previous=previous, empty=empty)

    def parts_key(self, target: Target, source: LightCurveSource) -> str:
        """Return the digest of all that decides what the parts of a table hold."""
        return digest_json([self.key, source.digest, self.measuring.shard_size, _names(target.request)])

    def make_slice(self, target: Target, piece: tuple[int, int], *, what: str) -> Report:
        """Make some of the parts of a table; `make` takes them all when all slices are made.

        Parameters
        ----------
        target
            The table.
        piece
            Which of how many slices, as `TableParts.piece`.
        what
            Said by the progress.

        Raises
        ------
        ScopeError
            If the source cannot be read, or the parts not written.
        """
        began = time.perf_counter()
        source, output = self.open(target.selection), target.output
        folder = _parts_folder(output)
        # Who comes first clears parts of another key, while nobody writes any.
        with output_lock(folder, output, wait=True):
            parts = TableParts.of(folder, self.parts_key(target, source), piece)
        measured = measure_table(
            source,
            parts,
            self.measuring,
            what=what,
            where=_where(target),
            previous=self.previous.of(_earlier_name(target)),
            request=target.request,
        )
        counts = add_up(parts, range(piece[0], piece[0] + piece[1] * measured.n_shards, piece[1]))
        counts.n_out = counts.n_in - counts.dropped.total()
        facts = {"n_shards": measured.n_shards, "n_shards_resumed": measured.n_resumed, BECAME: "made"}
        return table_report(counts, {}, seconds=time.perf_counter() - began, facts=facts)

    def make_all(self, targets: Sequence[Target], folder: Path) -> Report:
        """Make the tables of a folder that are not finished; the report adds up over all that stand in the end.

        Raises
        ------
        ScopeError
            If the configuration, the schema of the files or the disk lets no table be made.
        """
        began = time.perf_counter()
        self.measuring.log.begin()
        whole, down = FolderReport(n_targets=len(targets)), 0
        for number, target in enumerate(targets, start=1):
            try:
                report = self.make_one(target, what=f"measuring {target.name} ({number} of {len(targets)})")
            except OF_ONE_SHARD as error:
                down = down + 1 if isinstance(error, ServiceUnavailableError) else 0
                if isinstance(error, OF_ALL_SHARDS) or down == GIVE_UP:
                    raise
                whole.fail(target.name, error)
                continue
            down = 0
            whole.add(target.name, report)
        return whole.report(folder, seconds=time.perf_counter() - began)

    def make_one(self, target: Target, *, what: str) -> Report:
        """Make one table of a folder, or find it finished; ``facts["became"]`` says which.

        Raises
        ------
        DataError
            If a table of another configuration, of other code or catalogues stands there, and stale ones stay.
        ScopeError
            If it cannot be made.
        """
        log, where = self.measuring.log, _where(target)
        log.begin()
        try:
            source = self.open(target.selection)
            found = standing(target.output)
            counts = None if found is None else found.finished(self.made_with, source.digest)
            if counts is not None and not counts.ids_open:
                _clear(target.output)
                counts.reuse = Counter({FINISHED: counts.n_out})
                report = table_report(counts, {"features": target.output}, facts={BECAME: "kept"})
            else:
                became = self._became(target.output, found, source.digest)
                previous = self.previous.of(_earlier_name(target))
                if previous is None and became != "made":
                    # What stands there is the earlier table, for what it is worth.
                    there = open_previous(target.output, self.previous.measured_with)
                    previous = there if there.useless is None else None
                report = self._make(target, source, what=what, previous=previous, keyed=True)
                report = replace(report, facts={**report.facts, BECAME: became})
        except OF_ONE_SHARD as error:
            self.measuring.progress.finish()
            log.failed(where, error)
            raise
        log.quadrant(where, report, target.output, resumed=report.facts[BECAME] == "kept")
        return report

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return what is to be known of all tables."""
        return () if self.measuring.surroundings is None else self.measuring.surroundings.warnings

    @property
    def made_with(self) -> dict[str, str]:
        """Return the digests of what a table is made with, light curves apart, by name; of all together as ``all``."""
        return {ALL: digest_json(self.key), **{name: digest_json(value)[:N_DIGITS] for name, value in self.key.items()}}

    def _became(self, output: Path, found: Standing | None, light_curves: str) -> Became:
        """Say why a table is made.

        Raises
        ------
        DataError
            If it may not be: another one stands there.
        """
        if found is None:
            return "made"
        if found.made_with == self.made_with:
            if found.counts is None:
                return "made"
            return "unanswered" if found.light_curves == light_curves else "changed"
        if not self.stale_again:
            before, now = (one.get(ALL, "")[:N_DIGITS] for one in (found.made_with, self.made_with))
            raise DataError(
                f"{output} is stale: made with {_others(found.made_with, self.made_with)} ({before}, now {now}); give another"
                " output, or type stale=remake to make it again"
            )
        return "stale"

    def _make(
        self,
        target: Target,
        source: LightCurveSource,
        *,
        what: str,
        previous: Previous | None,
        keyed: bool = False,
        empty: str | None = None,
    ) -> Report:
        began = time.perf_counter()
        output, request = target.output, target.request
        folder = _parts_folder(output)
        with output_lock(folder, output):
            check_writable(output, *beside(output, request).values())
            parts = TableParts.of(folder, self.parts_key(target, source))
            try:
                measured = measure_table(
                    source,
                    parts,
                    self.measuring,
                    what=what,
                    where=_where(target),
                    request=request,
                    empty=empty,
                    previous=previous,
                )
            except ScopeError:
                if not parts.dropped.indices():
                    parts.discard()
                raise
            n_parts = max(measured.n_shards, 1)
            counts = add_up(parts, range(n_parts))
            metadata = self._metadata(target, source, counts.n_in, keyed=keyed)
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
            merge(
                parts,
                output,
                metadata,
                n_parts=n_parts,
                counts=counts,
                colour_radius=self.colour_radius,
                measured_with=self.previous.measured_with,
            )
            report = table_report(
                counts,
                {"features": output, **beside(output, request), **unanswered},
                seconds=time.perf_counter() - began,
                facts={**facts, "n_shards": measured.n_shards, "n_shards_resumed": measured.n_resumed},
                warnings=warnings,
            )
            write_report(report)
            parts.discard()
        # How the run went is no part of what is written.
        text = reuse_text(counts.reuse)
        shown = {} if text is None else {"text": text}
        return replace(report, warnings=(*report.warnings, *reuse_lines(counts.reuse)), facts={**report.facts, **shown})

    def _metadata(self, target: Target, source: LightCurveSource, n_in: int, *, keyed: bool) -> TableMetadata:
        facts = dict(self.metadata.facts)
        where = _where(target)
        facts["target"] = {"kind": "quadrant", **where} if where else {"kind": target.name}
        if keyed:
            facts[KEY] = self.made_with
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


def _earlier_name(target: Target) -> Path:
    """Return where the table of a target lies in a folder of an earlier run."""
    if target.field is None or target.ccd is None or target.quad is None:
        return Path(target.output.name)
    return quadrant_path(Path(), Quadrant(target.field, target.ccd, target.quad))


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


def _others(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Say what has changed between two collections of digests."""
    names = [name for name in now if name != ALL and name in before and before[name] != now[name]]
    return f"other {', '.join(WORDS.get(name, name) for name in names)}" if names else "another version"
