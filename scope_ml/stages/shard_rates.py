"""How long a run of many shards will take, by what was measured; what a plan says before anything starts.

Rates come from this run's ledger, else from run logs of `generate_features`, else they are not known, which is said.
May import `reporting`, compute and what lies below.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from scope_ml.compute.ledger import ShardState
from scope_ml.compute.plan import Shard, WorkPlan
from scope_ml.compute.settings import ExecutorConfig
from scope_ml.errors import FormatError
from scope_ml.io.run_log import read_run_log
from scope_ml.reporting.runtimes import gather_runtimes, total

__all__ = ["Rate", "Remaining", "measured_rate", "plan_text", "remaining"]

#: Shards that a summary names.
N_NAMED = 3


@dataclass(frozen=True, kw_only=True)
class Rate:
    """What a shard takes of one worker.

    Attributes
    ----------
    seconds_per_source
        Wall time per light curve (row, model) [s]; None where it is not known.
    seconds_per_shard
        Wall time per shard [s], for shards whose light curves nobody has counted; None where it is not known.
    origin
        What was measured, for people.
    """

    seconds_per_source: float | None = None
    seconds_per_shard: float | None = None
    origin: str = ""

    @property
    def is_known(self) -> bool:
        """Return whether anything was measured."""
        return self.seconds_per_source is not None or self.seconds_per_shard is not None

    def seconds_of(self, shard: Shard) -> float | None:
        """Return how long a shard takes [s], or None."""
        if shard.n_sources is not None and self.seconds_per_source is not None:
            return shard.n_sources * self.seconds_per_source
        return self.seconds_per_shard


@dataclass(frozen=True, kw_only=True)
class Remaining:
    """What is left to do.

    Attributes
    ----------
    n_shards, n_sources
        Shards, and light curves in them; None where they are not known of each.
    work_hours, hours
        Of one worker; and of as many as work at a time. None where no rate is known.
    """

    n_shards: int
    n_sources: int | None
    work_hours: float | None
    hours: float | None


def measured_rate(states: Iterable[ShardState], executor: ExecutorConfig, *, threads: int = 1) -> Rate:
    """Return what shards take, from those that are done, else from the run logs at ``executor.rates``.

    Parameters
    ----------
    states
        Of the ledger, with records.
    executor
        Says where run logs are.
    threads
        Threads of a worker: run logs tell of single ones.

    Raises
    ------
    FormatError
        If ``executor.rates`` holds no run log, or one that `generate_features` did not write.
    """
    done = [state.record for state in states if state.state == "done" and state.record]
    # What was found finished at the first look tells nothing; its note has no seconds.
    done = [record for record in done if record.get("seconds_of_task")]
    seconds = [float(record["seconds_of_task"]) for record in done]
    # Tables without a row tell how long it takes to start, not how long to measure.
    counted = [
        (second, int(record["n_in"])) for second, record in zip(seconds, done, strict=True) if record.get("n_in")
    ]
    if counted:
        n_sources = sum(n_in for _, n_in in counted)
        return Rate(
            seconds_per_source=sum(second for second, _ in counted) / n_sources,
            seconds_per_shard=sum(seconds) / len(seconds),
            origin=f"{len(counted)} done shards of this run",
        )
    return _logged_rate(Path(executor.rates), threads) if executor.rates is not None else Rate()


def _logged_rate(path: Path, threads: int) -> Rate:
    files = sorted(path.rglob("*.log.jsonl")) if path.is_dir() else [path]
    if not files:
        raise FormatError(f"executor.rates={path} holds no run log (*.log.jsonl); generate_features writes them")
    times = gather_runtimes(event for file in files for event in read_run_log(file))
    totals = total(times)
    spent = float(totals["cpu_seconds"] or totals["seconds"])
    if not totals["n_measured"] or not spent:
        raise FormatError(f"executor.rates={path} tells of no light curve that was measured; give another run log")
    per_source = spent / totals["n_measured"] / max(threads, 1)
    finished = [one for one in times if one.state == "finished" and one.n_measured]
    per_shard = per_source * sum(one.n_measured for one in finished) / len(finished) if finished else None
    logs = f"{len(files)} run logs" if len(files) > 1 else f"the run log {files[0].name}"
    return Rate(seconds_per_source=per_source, seconds_per_shard=per_shard, origin=logs)


def remaining(plan: WorkPlan, states: Mapping[str, ShardState], rate: Rate, *, at_once: int) -> Remaining:
    """Return what is left of a plan.

    Parameters
    ----------
    plan, states
        The run, and what is known of its shards.
    rate
        What shards take.
    at_once
        Workers at a time.
    """
    left = [shard for shard in plan if shard.key not in states or states[shard.key].state != "done"]
    counts = [shard.n_sources for shard in left]
    seconds = [rate.seconds_of(shard) for shard in left]
    n_sources = None if None in counts else sum(count for count in counts if count is not None)
    if None in seconds and left:
        return Remaining(n_shards=len(left), n_sources=n_sources, work_hours=None, hours=None)
    known = [second for second in seconds if second is not None]
    work = sum(known)
    # No sooner than the longest shard alone.
    wall = max([work / max(at_once, 1), *known], default=0.0)
    return Remaining(n_shards=len(left), n_sources=n_sources, work_hours=work / 3600, hours=wall / 3600)


def plan_text(
    plan: WorkPlan,
    states: Mapping[str, ShardState],
    rate: Rate,
    *,
    unit: str,
    who: str,
    at_once: int,
) -> str:
    """Return the lines that say what a run will do, before it does it.

    Parameters
    ----------
    plan, states, rate
        The run, what is known of its shards, and what they take.
    unit
        What is counted in shards: ``light curves``.
    who
        Who does the work.
    at_once
        Workers at a time.
    """
    left = remaining(plan, states, rate, at_once=at_once)
    titles = [shard.title for shard in plan]
    others = f", ... {titles[-1]}" if len(titles) > N_NAMED else ""
    n_sources = "not counted before" if plan.n_sources is None else f"{plan.n_sources:,}"
    n_failed = sum(1 for state in states.values() if state.state == "failed")
    found = f", {len(plan) - left.n_shards} noted as done" if left.n_shards < len(plan) else ""
    failed = f", {n_failed} failed before" if n_failed else ""
    return "\n".join(
        [
            f"plan of {plan.door}: {len(plan):,} shards ({', '.join(titles[:N_NAMED])}{others})",
            f"  {unit}: {n_sources}; to do: {left.n_shards:,} shards{found}{failed}",
            f"  by: {who}",
            f"  time: {_time(left, rate, unit, at_once)}",
            f"  state: {plan.folder}",
        ]
    )


def _time(left: Remaining, rate: Rate, unit: str, at_once: int) -> str:
    if not left.n_shards:
        return "only to look whether what is noted as done stands, by the digests of its outputs"
    if left.work_hours is None or left.hours is None:
        if rate.is_known:
            return f"not known: {rate.origin} measured no such shard"
        return (
            "not known: nothing was measured yet; for an estimate give executor.rates=FILE, a run log of generate_features"
            if unit == "light curves"
            else "not known: nothing was measured yet"
        )
    each = (
        f"{rate.seconds_per_source:.3g} s for each of the {unit}"
        if left.n_sources is not None and rate.seconds_per_source is not None
        else f"{rate.seconds_per_shard or 0.0:.3g} s a shard"
    )
    return f"about {_hours(left.work_hours)} of work, {_hours(left.hours)} with {at_once} at a time ({each}, by {rate.origin})"


def _hours(hours: float) -> str:
    if hours < 1 / 60:
        return f"{hours * 3600:.0f} s"
    return f"{hours * 60:.0f} min" if hours < 2 else f"{hours:,.1f} h"
