"""What a registry can do without: versions and runs that no alias, no lock file, no rollback and no recent work needs.

The rules are plain data, without MLflow; `sweeping_out` carries them out. May import `records`, `registry_history`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from scope_ml.tracking.records import ModelVersion
from scope_ml.tracking.registry_history import champion_before, merged_history

__all__ = ["CleaningPlan", "CleaningRules", "Found", "RunFacts", "VersionFacts", "plan_cleaning"]

#: Milliseconds of a day.
DAY_MS = 86_400_000


@dataclass(frozen=True, kw_only=True)
class CleaningRules:
    """What stays.

    Attributes
    ----------
    keep
        Newest versions of each model, and newest runs of each class and algorithm, that stay whatever their age.
    older_than
        Only what is older is removed [d].
    pinned
        Digests of bundles that lock files name.
    """

    keep: int
    older_than: float
    pinned: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """One run, as far as cleaning needs to know it.

    Attributes
    ----------
    run_id, name
        MLflow's id, and what it is called.
    of
        Registered name of its model, "" for a parent run or a run that kept none.
    is_ours, is_sweep, is_deleted, is_running
        Whether scope_ml made it, it is a parent run, somebody deleted it in MLflow, it is at work.
    parent
        Id of its parent run, "" if it has none.
    digest, model_id
        Bundle that it holds, and MLflow's id of the model; "" if it has none.
    at_ms
        When it ended, else began; milliseconds since 1970.
    """

    run_id: str
    name: str
    of: str = ""
    is_ours: bool = True
    is_sweep: bool = False
    is_deleted: bool = False
    is_running: bool = False
    parent: str = ""
    digest: str = ""
    model_id: str = ""
    at_ms: int = 0


@dataclass(frozen=True, kw_only=True)
class VersionFacts:
    """What MLflow knows of a version.

    Attributes
    ----------
    created_ms
        When it was registered; milliseconds since 1970.
    runs
        Ids of the runs that it and its files are of.
    stage
        The stage that MLflow gave versions before there were aliases, if it says that somebody uses it; else "".
    """

    created_ms: int
    runs: frozenset[str]
    stage: str = ""


@dataclass(frozen=True, kw_only=True)
class Found:
    """One thing that is removed.

    Attributes
    ----------
    what
        ``version``, ``run``, or ``model``: one whose run is gone.
    name, key
        How it is called, and its number or id.
    why
        The rule.
    bytes
        Space of its files.
    told
        Of a version, what would be lost with it: the digest of its bundle, and when and why it became champion.
    """

    what: str
    name: str
    key: str
    why: str
    bytes: int = 0
    told: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class CleaningPlan:
    """What is removed, and how many stay for which reason.

    Attributes
    ----------
    removed
        In the order in which they are removed.
    kept
        Reason -> number, of versions and runs.
    """

    removed: tuple[Found, ...]
    kept: Mapping[str, int] = field(default_factory=dict)

    @property
    def n_looked_at(self) -> int:
        """Versions, runs and models without a run that were looked at."""
        return len(self.removed) + sum(self.kept.values())


def plan_cleaning(
    versions: Iterable[ModelVersion],
    runs: Sequence[RunFacts],
    rules: CleaningRules,
    *,
    now_ms: int,
    facts: Mapping[tuple[str, int], VersionFacts],
    needed: Collection[str] = (),
    orphans: Collection[str] = (),
) -> CleaningPlan:
    """Return what can go.

    Parameters
    ----------
    versions
        All versions of our models.
    runs
        All runs of the experiment, deleted ones too.
    rules
        What stays.
    now_ms
        The time it is.
    facts
        What MLflow knows of each version; by name and number. One of which nothing is known is young.
    needed
        Ids of runs that stay for somebody else: models registered under names that are not ours are of them.
    orphans
        Ids of our models whose run is gone and that no version is of.
    """
    kept: Counter[str] = Counter()
    removed: list[Found] = []
    stays: list[ModelVersion] = []
    groups: dict[str, list[ModelVersion]] = {}
    for version in versions:
        groups.setdefault(version.name, []).append(version)
    before_ms = now_ms - rules.older_than * DAY_MS
    for name, group in sorted(groups.items()):
        ranked = sorted(group, key=lambda version: -version.version)
        champion = next((version.version for version in ranked if "champion" in version.aliases), None)
        history = merged_history(version.history for version in ranked)
        back = champion_before(history, champion, [version.version for version in ranked])
        for place, version in enumerate(ranked):
            known = facts.get((name, version.version))
            is_young = known is None or known.created_ms >= before_ms
            why = (known.stage if known else "") or _version_stays(version, place, back, is_young, rules)
            if why:
                kept[f"versions: {why}"] += 1
                stays.append(version)
            else:
                told = {"digest": version.digest, "history": [asdict(entry) for entry in version.history]}
                key = str(version.version)
                removed.append(Found(what="version", name=name, key=key, why=_beyond(rules), told=told))
    of_stays = {run for one in stays if (one.name, one.version) in facts for run in facts[one.name, one.version].runs}
    digests = {version.digest for version in stays if version.digest} | rules.pinned
    gone = _plan_runs(runs, rules, before_ms, of_stays | set(needed), digests, kept)
    removed += [Found(what="run", name=run.name, key=run.run_id, why=why) for run, why in gone]
    removed += [Found(what="model", name=key, key=key, why="its run is gone") for key in sorted(orphans)]
    return CleaningPlan(removed=tuple(removed), kept=dict(sorted(kept.items())))


def _version_stays(
    version: ModelVersion, place: int, back: int | None, is_young: bool, rules: CleaningRules
) -> str | None:
    """Return why a version stays, or None."""
    if version.aliases:
        return version.aliases[0]
    if version.digest in rules.pinned:
        return "pinned by a lock file"
    if version.version == back:
        return "a rollback leads to it"
    if place < rules.keep:
        return f"among the newest {rules.keep}"
    return f"younger than {rules.older_than:g} days" if is_young else None


def _plan_runs(
    runs: Sequence[RunFacts],
    rules: CleaningRules,
    before_ms: float,
    needed: Collection[str],
    digests: Collection[str],
    kept: Counter[str],
) -> list[tuple[RunFacts, str]]:
    """Return the runs that go, children before their parents, and count in `kept` why the others stay."""
    ranks: Counter[str] = Counter()
    why_stays: dict[str, str | None] = {}
    for run in sorted(runs, key=lambda run: (-run.at_ms, run.run_id)):
        rank = ranks[run.of]
        # A run that failed takes the place of none that holds a model.
        ranks[run.of] += not (run.is_deleted or run.is_sweep or (run.of and not run.digest))
        why_stays[run.run_id] = _run_stays(run, rank, run.at_ms >= before_ms, rules, needed, digests)
    by_id = {run.run_id: run for run in runs}
    for run in runs:
        child = run
        while why_stays[child.run_id] and child.parent in by_id and not why_stays[child.parent]:
            why_stays[child.parent] = "parent of runs that stay"
            child = by_id[child.parent]
    kept.update(f"runs: {why}" for why in why_stays.values() if why)
    ordered = sorted(runs, key=lambda run: (run.is_sweep, -run.at_ms, run.run_id))
    return [(run, _run_goes(run, rules)) for run in ordered if not why_stays[run.run_id]]


def _run_goes(run: RunFacts, rules: CleaningRules) -> str:
    if run.is_sweep:
        return "no run of it is left"
    return "deleted in MLflow" if run.is_deleted else _beyond(rules)


def _run_stays(
    run: RunFacts,
    rank: int,
    is_young: bool,
    rules: CleaningRules,
    needed: Collection[str],
    digests: Collection[str],
) -> str | None:
    if run.is_running:
        return "at work"
    if run.run_id in needed or run.digest in digests:
        return "hold a version that stays, or is pinned"
    if is_young:
        return f"younger than {rules.older_than:g} days"
    if not run.is_ours:
        return "not made by scope_ml"
    if run.is_deleted or run.is_sweep:
        return None
    return f"among the newest {rules.keep}" if rank < rules.keep else None


def _beyond(rules: CleaningRules) -> str:
    return f"beyond the newest {rules.keep}, older than {rules.older_than:g} days"
