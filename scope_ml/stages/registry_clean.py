"""`registry clean`: shows what can go; with ``apply=true`` removes it and leaves a receipt.

The receipt is written before anything is removed, with what is about to be, and again at the end.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scope_ml.core.configuration import option
from scope_ml.core.protocols import Progress
from scope_ml.core.report import Report
from scope_ml.errors import ConfigError, ModelNotFoundError
from scope_ml.io.atomic import atomic_path
from scope_ml.tracking.cleaning import CleaningPlan, CleaningRules
from scope_ml.tracking.lock import read_lock
from scope_ml.tracking.registry_history import iso_time, who
from scope_ml.tracking.settings import TrackingConfig, checked_uri, database_path
from scope_ml.tracking.sweeping_out import plan_housekeeping

__all__ = ["CleanConfig", "clean"]

#: Lines of the plan that are shown.
MOST_LINES = 40


@dataclass(frozen=True, kw_only=True)
class CleanConfig:
    """What stays in any case."""

    keep: int = option(3, machine=True, doc="newest versions of a model, and runs of it, that stay", at_least=1)
    older_than: float = option(30.0, machine=True, unit="d", doc="only what is older goes", at_least=0)


def clean(
    tracking: TrackingConfig,
    rules: CleanConfig,
    locks: Sequence[Path],
    *,
    receipt: Path | None,
    by: str | None,
    apply: bool,
    progress: Progress,
) -> Report:
    """Show, or carry out, what the rules remove.

    Parameters
    ----------
    tracking
        Where the registry is.
    rules
        What stays.
    locks
        Lock files whose models stay.
    receipt
        Where the receipt is written; None: beside the database.
    by
        Who.
    apply
        False changes nothing.

    Raises
    ------
    ConfigError
        If there is no place for the receipt.
    ModelNotFoundError
        If there is no registry.
    FormatError
        If a lock file cannot be read: nothing is removed that it may pin.
    ServiceError
        If the registry does not answer.
    """
    if not tracking.enabled:
        raise ModelNotFoundError("there is no registry with tracking=off; leave it out")
    uri = checked_uri(tracking.uri)
    database = database_path(uri)
    if database is not None and not database.is_file():
        raise ModelNotFoundError(f"there is no registry at {uri}; give tracking.uri=...")
    pinned = frozenset(entry.digest for lock in locks for entry in read_lock(lock) if entry.digest)
    wanted = CleaningRules(keep=rules.keep, older_than=rules.older_than, pinned=pinned)
    progress.start("looking through the registry")
    looked = plan_housekeeping(uri, tracking.experiment, wanted)
    progress.finish()
    if not apply:
        end = (
            "nothing was changed; add apply=true to remove them"
            if looked.plan.removed
            else "there is nothing to remove"
        )
        n_all = looked.plan.n_looked_at
        lines = [*_lines(looked.plan), *_unpinned(looked.plan, locks), end]
        return _report(looked.plan, n_all, {}, lines, rules_of=wanted, applied=False)
    if receipt is None:
        if database is None:
            raise ConfigError("clean of a server needs output=FILE.json for its receipt", key="output")
        receipt = database.with_name(f"{database.name}.cleaned-{iso_time().replace(':', '')}.json")
    path = receipt

    def told(plan: CleaningPlan) -> None:
        progress.start("removing", len(plan.removed))
        _write(path, plan, wanted, by, "begun")

    plan, note = looked.apply(told, progress.advance)
    progress.finish()
    _write(path, plan, wanted, by, "done")
    lines = [*_lines(plan), f"removed; the receipt is {path}", *([f"note: {note}"] if note else [])]
    dropped = dict(Counter(f"{found.what}: {found.why}" for found in plan.removed))
    return _report(plan, plan.n_looked_at, dropped, lines, rules_of=wanted, applied=True, receipt=path)


def _report(
    plan: CleaningPlan,
    n_in: int,
    dropped: dict[str, int],
    lines: list[str],
    *,
    rules_of: CleaningRules,
    applied: bool,
    receipt: Path | None = None,
) -> Report:
    facts: dict[str, Any] = {
        "removed" if applied else "to_remove": [asdict(found) for found in plan.removed],
        "kept": dict(plan.kept),
        "bytes": sum(found.bytes for found in plan.removed),
        "n_pinned": len(rules_of.pinned),
        "text": "\n".join(lines),
    }
    n_out = n_in - sum(dropped.values())
    outputs = {"receipt": str(receipt)} if receipt is not None else {}
    return Report(stage="registry", n_in=n_in, n_out=n_out, dropped=dropped, outputs=outputs, facts=facts)


def _unpinned(plan: CleaningPlan, locks: Sequence[Path]) -> list[str]:
    """Return what is to be said where versions go and nobody said which of them tables of scores pin."""
    if locks or not any(found.what == "version" for found in plan.removed):
        return []
    return ["note: no lock file was given, so what tables of scores pin goes too; name their files by lock=[FILE,...]"]


def _lines(plan: CleaningPlan) -> list[str]:
    kept = [f"  stay  {number:>6}  {reason}" for reason, number in plan.kept.items()]
    gone = [f"  go    {found.what} {found.name} {found.key}: {found.why}" for found in plan.removed[:MOST_LINES]]
    if len(plan.removed) > MOST_LINES:
        gone.append(f"  ... and {len(plan.removed) - MOST_LINES} more")
    counts = Counter(found.what for found in plan.removed)
    total = sum(found.bytes for found in plan.removed)
    what = ", ".join(f"{number} {kind}(s)" for kind, number in sorted(counts.items())) or "nothing"
    return [*kept, *gone, f"to remove, of {plan.n_looked_at}: {what}, {total / 1e6:,.1f} MB of files"]


def _write(path: Path, plan: CleaningPlan, rules: CleaningRules, by: str | None, state: str) -> None:
    content = {
        "kind": "scope_ml registry clean",
        "state": state,
        "when": iso_time(),
        "by": by or who(),
        "rules": {"keep": rules.keep, "older_than_days": rules.older_than, "pinned": sorted(rules.pinned)},
        "removed": [asdict(found) for found in plan.removed],
        "kept": dict(plan.kept),
    }
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
