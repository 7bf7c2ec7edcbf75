"""How a run on Slurm goes, for people and as values: counts, what is waited for, hours left, failures by their reason.

May import `distribution`, `shard_rates`, compute and what lies below.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scope_ml.compute.ledger import Ledger, ShardState
from scope_ml.compute.plan import WorkPlan
from scope_ml.compute.settings import ExecutorConfig
from scope_ml.compute.slurm_commands import nodes_out
from scope_ml.compute.slurm_script import command
from scope_ml.compute.slurm_tracking import Failure, Tracking, track
from scope_ml.stages.distribution import distribution
from scope_ml.stages.shard_rates import Rate, Remaining, measured_rate, remaining

__all__ = ["Status", "status_of"]

#: Done shards by which the rate is measured: enough for three digits.
N_MEASURED = 500

#: Groups of failures that are shown.
N_GROUPS = 12

#: What Slurm's reasons mean, where their names do not say it.
MEANINGS = {
    "JobArrayTaskLimit": "as many tasks as executor.max_instances run already",
    "Dependency": "an earlier array of this run comes first",
    "DependencyNeverSatisfied": "what it waits for is gone: cancel and submit again",
    "Resources": "no free node has what a task asks for",
    "Priority": "others come first",
    "AssocGrpCpuLimit": "the account's share of cores is in use",
    "QOSMaxJobsPerUserLimit": "as many jobs as a user may run do",
    "PartitionTimeLimit": "more hours are asked for than the partition gives: cancel and submit with fewer",
    "AssocMaxJobsLimit": "as many jobs as the account may run do",
    "BeginTime": "Slurm put it back into the queue, after a node died or others came first, and starts it again",
    "JobHeldUser": "somebody holds it: scontrol release JOB",
    "JobHeldAdmin": "an administrator holds it: ask them",
    "launch failed requeued held": "its node could not start it; when that is mended: scontrol release JOB",
}

#: What to type about a reason, after ``python -m scope_ml.slurm resubmit plan=...``.
ADVICE = {
    "timed_out": " reasons=[timed_out] hours={hours:.3g}   # or without hours: finished parts are kept",
    "out_of_memory": " reasons=[out_of_memory] memory_gb={memory:.3g}",
    "cancelled": "",
    "node_failed": " reasons=[node_failed]",
    "killed": " reasons=[killed] memory_gb={memory:.3g}   # if memory was short; else without",
    "error": " reasons=[error]   # when what the line says is mended",
    "unknown": "",
}


@dataclass(frozen=True, kw_only=True)
class Status:
    """How a run goes.

    Attributes
    ----------
    plan, tracking
        The run, and how its shards stand.
    executor
        What tasks asked for.
    rate, left
        What shards take, and what remains.
    nodes
        Nodes that take no work, where something waits.
    n_sources_done
        Light curves of the shards that are done; None where they are not known.
    unit
        What is counted in shards, if not light curves.
    """

    plan: WorkPlan
    tracking: Tracking
    executor: ExecutorConfig
    rate: Rate
    left: Remaining
    nodes: Sequence[str]
    n_sources_done: int | None
    unit: str = "light curves"

    @property
    def per_second(self) -> float | None:
        """Return the light curves a second of all that run now."""
        seconds = self.rate.seconds_per_source
        return self.tracking.counts()["running"] / seconds if seconds else None

    def groups(self) -> list[tuple[str, str, list[Failure]]]:
        """Return failures of one kind together: reason, line without names and numbers, members; the largest first."""
        found: dict[tuple[str, str], list[Failure]] = {}
        for one in self.tracking.failures:
            # Timeouts differ in job and moment only.
            line = _without_names(one) if one.reason in ("error", "unknown") else ""
            found.setdefault((one.reason, line), []).append(one)
        return sorted(((*name, members) for name, members in found.items()), key=lambda group: -len(group[2]))

    def values(self) -> dict[str, Any]:
        """Return all of it as JSON-able values."""
        return {
            "plan": str(self.plan.folder),
            "door": self.plan.door,
            "n_shards": len(self.plan),
            "shards": self.tracking.counts(),
            "n_sources": self.plan.n_sources,
            "n_sources_done": self.n_sources_done,
            "waiting_for": self.tracking.waiting_for(),
            "nodes_out": list(self.nodes),
            "hours_left": self.left.hours,
            "work_hours_left": self.left.work_hours,
            "unit": self.unit,
            "per_second": self.per_second,
            "jobs": [
                {"job": one.job, "kind": one.kind, "wave": one.wave, "n_tasks": one.n_tasks}
                for one in self.tracking.jobs
                if one.job
            ],
            "failures": [
                {
                    "shard": one.key,
                    "standing": one.standing,
                    "reason": one.reason,
                    "line": one.line,
                    "job": one.job,
                    "log": str(one.log) if one.log else None,
                }
                for one in self.tracking.failures
            ],
        }

    def text(self) -> str:
        """Return it for people."""
        counts = self.tracking.counts()
        total = "" if self.plan.n_sources is None else f", {self.plan.n_sources:,} {self.unit}"
        done = "" if self.n_sources_done is None else f"   {self.n_sources_done:,} {self.unit}"
        lines = [f"{self.plan.folder}: {self.plan.door}, {len(self.plan):,} shards{total}"]
        for name, count in counts.items():
            if count or name in ("done", "running", "queued"):
                lines.append(f"  {name:8s} {count:>7,}{done if name == 'done' else ''}{_SAYS.get(name, '')}")
        for reason, count in self.tracking.waiting_for().items():
            meaning = MEANINGS.get(reason)
            lines.append(f"  {count:,} task(s) wait: {reason}" + (f" ({meaning})" if meaning else ""))
        lines += [f"  nodes without work: {line}" for line in self.nodes]
        return "\n".join([*lines, self._time(), *self._failures(), *self._next()])

    def _time(self) -> str:
        if not self.left.n_shards:
            return "all shards are done"
        if self.left.hours is None or self.left.work_hours is None:
            return "hours left: not known before a first shard is done"
        speed = f"; {self.per_second:.3g} {self.unit} a second now" if self.per_second else ""
        at_once = self.executor.max_instances
        return (
            f"left: {self.left.work_hours:.2g} h of work, {self.left.hours:.2g} h with {at_once} tasks at a time"
            f" (measured on {self.rate.origin}){speed}"
        )

    def _failures(self) -> list[str]:
        groups = self.groups()
        lines = [f"{len(self.tracking.failures):,} shard(s) to be done again:"] if groups else []
        for reason, _, members in groups[:N_GROUPS]:
            first = members[0]
            where = f" ({first.log})" if first.log else ""
            lines.append(f"  {len(members):>5,}  {reason.replace('_', ' ')}: {first.key}: {first.line}{where}")
        if len(groups) > N_GROUPS:
            lines.append(f"         and {len(groups) - N_GROUPS} further reasons; format=json has all of them")
        advice = {ADVICE[reason]: None for reason, _, _ in groups}
        cluster = self.executor.cluster
        return lines + [
            f"  type {command('resubmit', self.plan.folder)}"
            + line.format(hours=2 * cluster.hours, memory=2 * (cluster.memory_gb or 4))
            for line in advice
        ]

    def _next(self) -> list[str]:
        counts = self.tracking.counts()
        if counts["done"] == len(self.plan):
            return [f"to add up: {command('collect', self.plan.folder)}"]
        named = {one.key for one in self.tracking.failures}
        n_new = sum(key not in named for key in self.tracking.keys(("unbegun",)))
        if n_new:
            return [f"{n_new:,} shard(s) were never submitted: {command('submit', self.plan.folder)}"]
        return []


#: What standings mean.
_SAYS = {
    "lost": "   begun, and nobody works on them any more",
    "unbegun": "   begun by nobody, and no task waits for them",
}


def status_of(plan: WorkPlan, executor: ExecutorConfig) -> Status:
    """Find out how a run goes.

    Raises
    ------
    ScopeError
        As `slurm_tracking.track`, or if ``executor.rates`` cannot be read.
    """
    tracking = track(plan)
    done = tracking.keys(("done",))
    measured = done[:: max(1, len(done) // N_MEASURED)]
    rate = measured_rate(Ledger(plan.folder).states(measured).values(), executor, threads=executor.cluster.cores)
    return Status(
        plan=plan,
        tracking=tracking,
        executor=executor,
        rate=rate,
        left=remaining(plan, _states(tracking), rate, at_once=executor.max_instances),
        nodes=nodes_out(executor.cluster.partition) if tracking.waiting_for() else [],
        n_sources_done=_n_sources(plan, done) if done else None,
        unit=distribution(plan.door).unit,
    )


def _states(tracking: Tracking) -> Mapping[str, ShardState]:
    return {
        key: ShardState(key=key, state="done" if standing == "done" else "waiting")
        for key, standing in tracking.standings.items()
    }


def _n_sources(plan: WorkPlan, done: Sequence[str]) -> int | None:
    shards = plan.by_key()
    counts = [shards[key].n_sources for key in done]
    return None if None in counts else sum(count for count in counts if count is not None)


def _without_names(one: Failure) -> str:
    """Return the line of a failure without what is another for each shard."""
    line = one.line.replace(one.key, "SHARD").replace(Path(one.key).name, "SHARD")
    return re.sub(r"[0-9a-f]{8,}|\d+", "N", line)
