"""How long runs took, made of their logs: one record a quadrant or run, and totals over all of them.

Understands the events of `generate_features` (docs/how-to/run-logs.md). What a run found done before costs no time and
is left out of rates. May import core and errors.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from scope_ml.errors import FormatError

__all__ = ["RunTime", "gather_runtimes", "total"]

Event = Mapping[str, Any]
State = Literal["finished", "failed", "unfinished"]

#: What tells the quadrants of a run apart.
PLACE = ("field", "ccd", "quad")


@dataclass(kw_only=True)
class RunTime:
    """What one table, of a quadrant or of a whole run, took.

    Attributes
    ----------
    run
        The run, as its log calls it.
    name
        The quadrant, such as ``field 250 ccd 1 quad 2``, or the name of the run's output.
    began
        When its first shard began, or its run if it has none.
    state
        ``unfinished`` if nothing tells its end: it goes on, or was killed.
    n_in, n_out
        Light curves read and rows kept, with those of earlier runs that were not measured again.
    n_measured
        Light curves measured in this run.
    seconds, cpu_seconds
        Wall time, and CPU time of all threads. Of what is unfinished: until the last shard.
    seconds_by_group
        CPU seconds by what they were spent for.
    """

    run: str
    name: str
    began: datetime
    state: State = "unfinished"
    n_in: int = 0
    n_out: int = 0
    n_measured: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    seconds_by_group: Counter[str] = field(default_factory=Counter)

    @property
    def key(self) -> str:
        """Return what tells it from all others."""
        return f"{self.run}/{self.name}"

    @property
    def seconds_per_light_curve(self) -> float | None:
        """Return wall seconds per light curve measured, or None if none was."""
        return self.seconds / self.n_measured if self.n_measured else None

    @property
    def light_curves_per_second(self) -> float | None:
        """Return light curves measured per wall second, or None if none was."""
        return self.n_measured / self.seconds if self.n_measured and self.seconds > 0 else None

    def record(self) -> dict[str, Any]:
        """Return it as JSON-able values."""
        return {
            "began": self.began.isoformat(timespec="seconds"),
            "state": self.state,
            "n_in": self.n_in,
            "n_out": self.n_out,
            "n_measured": self.n_measured,
            "seconds": round(self.seconds, 3),
            "cpu_seconds": round(self.cpu_seconds, 3),
            "seconds_per_light_curve": self.seconds_per_light_curve,
            "light_curves_per_second": self.light_curves_per_second,
            "seconds_by_group": {name: round(value, 3) for name, value in sorted(self.seconds_by_group.items())},
        }


def gather_runtimes(events: Iterable[Event], since: datetime | None = None) -> list[RunTime]:
    """Return one record for each table that the events tell of, in the order of their beginning.

    Quadrants that a run found finished are left out: their making is told by the run that made them.

    Parameters
    ----------
    events
        Of any number of runs, those of each in their order.
    since
        Leave out runs that began before.

    Raises
    ------
    FormatError
        If a field of an event is not what `generate_features` writes.
    """
    by_run: dict[str, list[Event]] = {}
    for event in events:
        by_run.setdefault(str(event.get("run", "")), []).append(event)
    times: list[RunTime] = []
    for run, told in by_run.items():
        try:
            began = datetime.fromisoformat(told[0]["time"])
            if since is None or began >= since:
                times += _of_run(run, began, told)
        except (TypeError, ValueError, AttributeError) as error:
            raise FormatError(
                f"the run '{run}' in the logs has an event that generate_features did not write ({error}); leave its file out"
            ) from error
    return sorted(times, key=lambda one: (one.began, one.key))


def total(times: Sequence[RunTime]) -> dict[str, Any]:
    """Return the totals over all records, JSON-able."""
    states = Counter(one.state for one in times)
    groups: Counter[str] = Counter()
    for one in times:
        groups.update(one.seconds_by_group)
    measured = sum(one.n_measured for one in times)
    seconds = sum(one.seconds for one in times)
    return {
        "n_runs": len({one.run for one in times}),
        "n_tables": len(times),
        **{f"n_{state}": states.get(state, 0) for state in ("finished", "failed", "unfinished")},
        "n_in": sum(one.n_in for one in times),
        "n_out": sum(one.n_out for one in times),
        "n_measured": measured,
        "seconds": round(seconds, 3),
        "cpu_seconds": round(sum(one.cpu_seconds for one in times), 3),
        "seconds_per_light_curve": seconds / measured if measured else None,
        "light_curves_per_second": measured / seconds if measured and seconds > 0 else None,
        "seconds_by_group": {name: round(value, 3) for name, value in groups.most_common()},
    }


def _of_run(run: str, began: datetime, events: Sequence[Event]) -> list[RunTime]:
    """Return the records of one run: its quadrants, or itself if it has one table."""
    start = next((event for event in events if event["event"] == "start"), {})
    output = str(start.get("output", "")).rstrip("/").rpartition("/")[2] or run
    tables: dict[str, RunTime] = {}
    told_of_quadrants = False

    def table(place: str, since: datetime) -> RunTime:
        return tables.setdefault(place, RunTime(run=run, name=place or output, began=since))

    for event in events:
        kind, at = event["event"], datetime.fromisoformat(event["time"])
        still_open = [one for one in tables.values() if one.state == "unfinished"]
        if kind == "shard":
            one = table(_place(event), at - timedelta(seconds=float(event.get("seconds", 0.0))))
            _add_shard(one, event, at)
        elif kind == "quadrant":
            told_of_quadrants = True
            if not event.get("resumed"):
                _finish(table(_place(event), at), event)
        elif kind == "failed" and event.get("where"):
            table(_place(event["where"]), at).state = "failed"
        elif kind == "failed":
            for one in still_open or [table("", began)]:
                one.state = "failed"
        elif kind == "end":
            for one in still_open if tables or told_of_quadrants else [table("", began)]:
                _finish(one, event)
    if not tables and not told_of_quadrants:
        table("", began)
    return list(tables.values())


def _place(values: Mapping[str, Any]) -> str:
    """Return the quadrant that an event is about, or "" if it is about none."""
    return " ".join(f"{name} {values[name]}" for name in PLACE if name in values)


def _add_shard(one: RunTime, event: Event, at: datetime) -> None:
    one.n_in += int(event.get("n_in", 0))
    one.n_out += int(event.get("n_out", 0))
    one.seconds = max((at - one.began).total_seconds(), one.seconds)
    if event.get("resumed"):
        return
    one.n_measured += int(event.get("n_in", 0))
    one.cpu_seconds += float(event.get("cpu_seconds", 0.0))
    one.seconds_by_group.update({str(name): float(value) for name, value in event.get("seconds_by_group", {}).items()})


def _finish(one: RunTime, event: Event) -> None:
    one.state = "finished"
    one.seconds = float(event.get("seconds", one.seconds))
    one.n_in, one.n_out = int(event.get("n_in", one.n_in)), int(event.get("n_out", one.n_out))
