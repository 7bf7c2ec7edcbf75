"""What `generate_features` tells its run log: when it began, each shard, each quadrant, what failed, how it ended.

`docs/how-to/run-logs.md` lists the events, `reporting.runtimes` reads them. May import io and what lies below.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scope_ml.core.report import Report
from scope_ml.errors import OutputError, ScopeError
from scope_ml.io.run_log import RunLog

__all__ = ["FeatureLog", "ShardClock", "peak_rss_mb"]


class ShardClock:
    """Wall and CPU seconds of one shard on its thread, by what they were spent for.

    Attributes
    ----------
    by_group
        CPU seconds by group of features, by search (``search_ls``), for ``cleaning`` and ``writing``; after `stop`
        the rest is ``other``, so that they add up to `cpu`.
    wall, cpu
        Seconds from the start to `stop`.
    """

    def __init__(self) -> None:
        self.by_group: dict[str, float] = {}
        self.wall = self.cpu = 0.0
        self._began = time.perf_counter(), time.thread_time()

    @contextmanager
    def spent(self, what: str) -> Iterator[None]:
        """Count the CPU seconds of the block as spent for `what`."""
        began = time.thread_time()
        try:
            yield
        finally:
            self.by_group[what] = self.by_group.get(what, 0.0) + time.thread_time() - began

    def stop(self) -> None:
        """Take the time."""
        self.wall, self.cpu = time.perf_counter() - self._began[0], time.thread_time() - self._began[1]
        self.by_group["other"] = max(self.cpu - sum(self.by_group.values()), 0.0)


@dataclass(kw_only=True)
class FeatureLog:
    """The run log of one run, or one that forgets.

    The first line is written when there is something to tell: a run that is refused leaves no log.

    Attributes
    ----------
    log
        Where the lines go.
    facts
        What is known of the run from the start.
    """

    log: RunLog
    facts: Mapping[str, Any] = field(default_factory=dict)
    _begun: bool = False

    def begin(self, n_total: int | None = None) -> None:
        """Say once that the run has begun, with the number of light curves where it is known."""
        if not self._begun:
            self._begun = True
            self.log.event("start", n_total=n_total, **self.facts)

    def shard(self, index: int, counts: Mapping[str, Any], clock: ShardClock, where: Mapping[str, Any]) -> None:
        """Say that a shard has been measured."""
        self.log.event(
            "shard",
            index=index,
            **counts,
            seconds=round(clock.wall, 4),
            cpu_seconds=round(clock.cpu, 4),
            seconds_by_group={name: round(seconds, 4) for name, seconds in clock.by_group.items()},
            resumed=False,
            **where,
        )

    def resumed_shard(self, index: int, counts: Mapping[str, Any], where: Mapping[str, Any]) -> None:
        """Say that a shard had been measured before."""
        zero = {"seconds": 0.0, "cpu_seconds": 0.0, "seconds_by_group": {}}
        self.log.event("shard", index=index, **counts, **zero, resumed=True, **where)

    def quadrant(self, where: Mapping[str, Any], report: Report, output: Path, *, resumed: bool) -> None:
        """Say that the table of a quadrant stands, whether made now or found finished."""
        self.begin()
        self.log.event(
            "quadrant",
            **where,
            n_in=report.n_in,
            n_out=report.n_out,
            seconds=round(report.seconds, 3),
            output=output,
            resumed=resumed,
        )

    def failed(self, where: Mapping[str, Any], error: ScopeError) -> None:
        """Say that the run, or what `where` names, has failed; nothing is said of a run that has not begun.

        A log that cannot be written either does not hide the error.
        """
        if self._begun:
            with suppress(OutputError):
                self.log.event("failed", where=dict(where), error=str(error))

    def end(self, report: Report) -> None:
        """Say how the run ended."""
        self.begin()
        self.log.event(
            "end",
            n_in=report.n_in,
            n_out=report.n_out,
            dropped=dict(report.dropped),
            n_failed=report.facts.get("n_failed", 0),
            seconds=round(report.seconds, 3),
            peak_rss_mb=round(peak_rss_mb(), 1),
        )


def peak_rss_mb() -> float:
    """Return the largest memory that this process has held [MB of 1024 x 1024 bytes]."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)
