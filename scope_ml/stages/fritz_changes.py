"""Plan, apply, receipt: what all doors share that change Fritz.

A door says how sources should be (`services.fritz.wanted`); `run_changes` looks at them, writes and shows the plan, and
with ``apply=true`` carries it out and writes the receipt. Its options are `ChangesOptions`, of which a door's own options
are made: ``class FritzUpload(ChangesOptions)``. May import services, `io`, core and errors.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scope_ml.core.configuration import option
from scope_ml.core.protocols import Progress
from scope_ml.core.provenance import TableMetadata
from scope_ml.core.report import Report
from scope_ml.errors import DataError, EmptySelectionError, NotAllowedError, ServiceError
from scope_ml.io.output_lock import output_lock
from scope_ml.services.fritz.acting import RIGHTS
from scope_ml.services.fritz.carrying import Carrier
from scope_ml.services.fritz.client import FritzClient
from scope_ml.services.fritz.journal import Journal
from scope_ml.services.fritz.looking import own_name
from scope_ml.services.fritz.planning import KINDS
from scope_ml.services.fritz.receipt import runs_of
from scope_ml.services.fritz.rights import check_rights
from scope_ml.services.fritz.rules import Rules
from scope_ml.services.fritz.tasks import Job, Task
from scope_ml.services.fritz.wanted import Wanted, digest_of
from scope_ml.services.http import Clock
from scope_ml.stages.fritz_plans import LEFT, REFUSED, PlanTable, make_plan
from scope_ml.stages.fritz_receipts import plan_text, write_json, write_receipt

__all__ = ["ChangesOptions", "FindOptions", "run_changes"]


#: Statuses of a receipt's rows, as they are shown.
STATUSES = ("done", "already", "failed", "lost", LEFT, REFUSED)


@dataclass(frozen=True, kw_only=True)
class ChangesOptions:
    """Options of every door that changes Fritz; `output` is given its default by the door."""

    output: str = option(machine=True, doc="folder for plan, journal and receipt")
    apply: bool = option(False, machine=True, doc="false: make and show the plan; true: carry it out")
    show_rows: int = option(10, machine=True, doc="rows of the plan that are shown", at_least=0)
    settle_s: float = option(
        30.0,
        unit="s",
        machine=True,
        doc="a change without an answer is looked for until so long after, before it is made again",
        at_least=0.0,
    )
    check: bool = option(True, machine=True, doc="look at every changed source once more at the end")


@dataclass(frozen=True, kw_only=True)
class FindOptions:
    """How sources of a table are found on Fritz."""

    radius_arcsec: float = option(
        2.0,
        unit="arcsec",
        doc="how far a source of Fritz, or a light curve, may be",
        more_than=0,
        at_most=60,
        machine=True,
    )
    use_existing_obj_id: bool = option(False, doc="by the table's column obj_id, where it has a name", machine=True)


def run_changes(
    fritz: FritzClient,
    wanted: Sequence[Wanted],
    rules: Rules,
    *,
    options: ChangesOptions,
    stage: str,
    progress: Progress,
    facts: Mapping[str, Any] | None = None,
    clock: Clock | None = None,
) -> Report:
    """Bring it about that sources are as wanted, or say what it would take.

    Parameters
    ----------
    fritz
        The service.
    wanted
        How sources should be; it is gone through several times, and may make its records when they are asked for.
    rules
        How they are found, what may be replaced.
    options
        Where to write, and whether to act.
    stage
        Name of the stage, for the report.
    progress
        Told the sources that are done.
    facts
        Further facts for the report and the receipt.
    clock
        Time, for tests.

    Returns
    -------
    Report
        Facts: ``plan`` (counts by action), ``applied``, ``n_failed`` (sources refused or failed), ``text`` (what is
        shown); outputs: plan.parquet (columns ``source``, ``key``, ``obj_id``, ``kind``, ``what``, ...: a row a step, and
        one for a source without), plan.json, receipt.parquet, receipt.json.

    Raises
    ------
    ConfigError
        If the output folder holds the unfinished journal of other things.
    NotAllowedError
        If the token lacks a right; the message names all.
    ServiceError
        If the service is down or a right was lost; what is done is kept, the same command goes on.
    OutputError
        If nothing can be written.
    """
    began = time.monotonic()
    if not wanted:
        raise EmptySelectionError(f"{stage}: there is no source to change; look at the input")
    _check_keys(wanted)
    folder = Path(options.output)
    clock = clock or Clock()
    with output_lock(folder, folder), Journal(folder / "journal.jsonl", now=clock.today) as journal:
        run = _Run(
            fritz=fritz,
            wanted=wanted,
            rules=rules,
            options=options,
            stage=stage,
            progress=progress,
            clock=clock,
            journal=journal,
            facts=facts or {},
        )
        applied = run.all()
    return run.report(applied, time.monotonic() - began)


@dataclass(kw_only=True)
class _Run:
    """One run over all sources."""

    fritz: FritzClient
    wanted: Sequence[Wanted]
    rules: Rules
    options: ChangesOptions
    stage: str
    progress: Progress
    clock: Clock
    journal: Journal
    facts: Mapping[str, Any]
    plan: PlanTable = field(init=False)
    warnings: list[str] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    n_requests: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder = Path(self.options.output)
        self.digest = digest_of(self.wanted, [self.fritz.address, self.rules.plain()])
        self.is_unfinished = self.journal.is_unfinished(self.digest)
        if not self.journal.has_begun(self.digest):
            self.journal.forget()
        me = own_name(self.fritz) if self.rules.replace == "origin" else ""
        self.task = Task(
            fritz=self.fritz,
            rules=self.rules,
            journal=self.journal,
            clock=self.clock,
            me=me,
            settle_s=self.options.settle_s,
            connections=self.fritz.connections,
            advance=self.progress.advance,
            stop=self.fritz.stop,
        )

    def all(self) -> Counter[str] | None:
        """Plan, and carry out if that is wanted; return the receipt's counts."""
        before = self.fritz.n_requests
        self.plan = make_plan(
            self.task,
            self.wanted,
            self.folder / "plan.parquet",
            TableMetadata(kind="fritz_plan", config_digest=self.digest),
            n_first=self.options.show_rows,
            progress=self.progress,
        )
        self.n_requests["plan"] = self.fritz.n_requests - before
        write_json(
            self.folder / "plan.json",
            {
                "stage": self.stage,
                "where": self.fritz.address,
                "n_sources": self.plan.n_sources,
                "n_changed": self.plan.n_changed,
                "n_steps": self.plan.n_steps,
                "counts": dict(self.plan.counts),
                "deleted_of": dict(self.plan.authors),
            },
        )
        if not self.options.apply:
            self._warn_of_rights()
            return None
        if not (self.plan.n_steps or self.is_unfinished) and self.journal.run:
            return Counter()
        self._check_rights()
        return self._apply()

    def _rights(self) -> set[str]:
        return {RIGHTS[kind] for kind in KINDS if self.plan.counts[kind]}

    def _check_rights(self) -> None:
        needed = self._rights()
        if needed:
            check_rights(self.fritz, needed)  # type: ignore[arg-type]

    def _warn_of_rights(self) -> None:
        try:
            self._check_rights()
        except NotAllowedError as error:
            self.warnings.append(str(error))

    def _apply(self) -> Counter[str]:
        path = self.journal.path
        done_before = runs_of(path).done.get(runs_of(path).job, 0) if self.is_unfinished else 0
        carrier = Carrier(self.task)
        self.task.owners.update(self.plan.owners)
        before = self.fritz.n_requests
        self.journal.begin(self.digest, stage=self.stage, where=self.fritz.address)
        try:
            self.progress.start("changing sources", self.plan.n_changed)
            carrier.carry_out(self._jobs())
            self.progress.finish()
            self.n_requests["apply"] = self.fritz.n_requests - before
            self._look_again(carrier)
            self.n_requests["check"] = self.fritz.n_requests - before - self.n_requests["apply"]
        except ServiceError as error:
            counts = self._receipt(is_stopped=True)
            raise type(error)(
                f"{error}; {counts['done']} steps are done and in {self.folder / 'receipt.parquet'}, type the same command"
                " again to go on"
            ) from error
        counts = self._receipt(is_stopped=False)
        self._check_counts(counts, carrier, done_before)
        self.journal.end()
        self.failures = carrier.failures
        return counts

    def _jobs(self) -> Iterator[Job]:
        """Yield the sources with steps, and those of which a request has had no answer."""
        still_open = set(self.journal.open_keys())
        for rows in self.plan.sources():
            first = rows[0]
            if first.kind == REFUSED or not (first.is_step or first.key in still_open):
                continue
            yield Job(
                wanted=self.wanted[first.source],
                known_as=None if first.is_new else first.obj_id,
                planned={(row.kind, row.what): row.detail for row in rows if row.is_step},
            )

    def _look_again(self, carrier: Carrier) -> None:
        """Look at the sources that were changed, or at those at least where a request had no answer."""
        touched = dict(carrier.touched)
        doubtful = self.journal.doubtful()
        chosen = touched.keys() | doubtful if self.options.check else doubtful
        if not chosen:
            return
        self.progress.start("looking at changed sources again", len(chosen))
        carrier.carry_out(
            Job(wanted=one, only_look=True, before=touched.get(one.key, frozenset()))
            for one in self.wanted
            if one.key in chosen
        )
        self.progress.finish()

    def _receipt(self, *, is_stopped: bool) -> Counter[str]:
        path = self.folder / "receipt.parquet"
        metadata = TableMetadata(kind="fritz_receipt", config_digest=self.digest)
        counts = write_receipt(self.plan, self.journal.path, path, metadata)
        write_json(
            path.with_suffix(".json"),
            {
                "stage": self.stage,
                "where": self.fritz.address,
                "job": runs_of(self.journal.path).job,
                "is_finished": not is_stopped,
                "facts": dict(self.facts),
                "counts": dict(counts),
            },
        )
        return counts

    def _check_counts(self, counts: Counter[str], carrier: Carrier, done_before: int) -> None:
        """Compare what was planned, what was done, and what the receipt says."""
        told, found = carrier.counts, self.plan.n_steps
        if found != told["done"] + told["already"] + told["failed"]:
            raise DataError(f"{self.stage}: {found} steps planned, but {dict(told)} came of them; steps were lost")
        done = counts["done"] + counts["lost"]
        if done != done_before + told["done"] + told["added"] or counts["already"] != told["already"]:
            raise DataError(f"{self.stage}: the receipt has {dict(counts)}, but {dict(told)} was done; rows were lost")

    def report(self, applied: Counter[str] | None, seconds: float) -> Report:
        """Return what the stage reports."""
        plan = self.plan
        text = plan_text(plan, self.fritz.address)
        outputs = {"plan": str(plan.path)}
        n_failed = plan.counts[REFUSED] + len(self.failures)
        named = [f"{row.key}: {row.reason}" for row in plan.refusals]
        named += [f"{key}: {message}" for key, message in list(self.failures.items())[:3]]
        if n_failed:
            more = f"; and {n_failed - len(named)} more" if n_failed > len(named) else ""
            self.warnings.append(f"{n_failed} source(s) refused or failed: {'; '.join(named)}{more}")
        if applied:
            outputs["receipt"] = str(self.folder / "receipt.parquet")
            text += "\n\n" + ", ".join(f"{status} {applied[status]}" for status in STATUSES if applied[status])
        elif plan.n_steps:
            text += "\n\nnothing was changed; apply=true carries it out"
        else:
            refused = plan.counts[REFUSED]
            text += "\n\nnothing was changed: " + (
                f"{refused} source(s) are refused, nothing else is to do" if refused else "there is nothing to do"
            )
        dropped = {"refused": plan.counts[REFUSED], "failed": len(self.failures)}
        return Report(
            stage=self.stage,
            n_in=len(self.wanted),
            n_out=len(self.wanted) - sum(dropped.values()),
            dropped=dropped,
            seconds=seconds,
            warnings=tuple(self.warnings),
            outputs=outputs,
            facts={
                **self.facts,
                "applied": bool(applied),
                "plan": dict(plan.counts),
                "deleted_of": dict(plan.authors),
                "receipt": dict(applied or {}),
                "n_requests": self.n_requests,
                "n_failed": n_failed,
                "text": text,
            },
        )


def _check_keys(wanted: Sequence[Wanted]) -> None:
    seen: set[str] = set()
    for one in wanted:
        if one.key in seen:
            raise DataError(f"two sources are called {one.key}; their rows need keys of their own")
        seen.add(one.key)
