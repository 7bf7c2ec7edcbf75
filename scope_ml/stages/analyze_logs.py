"""The stage `analyze_logs`: run logs -> a plot of where the time went, and the same numbers as JSON.

Reads `io.run_log`; what the events mean is known to `reporting.runtimes`. Changes nothing but its own outputs.
"""

from __future__ import annotations

import glob
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from scope_ml.core.configuration import option
from scope_ml.core.protocols import Progress
from scope_ml.core.report import Report
from scope_ml.errors import ConfigError, EmptySelectionError
from scope_ml.io.atomic import atomic_path, check_writable
from scope_ml.io.run_log import read_run_log
from scope_ml.reporting.runtime_plots import FORMATS, save_runtimes
from scope_ml.reporting.runtimes import RunTime, gather_runtimes, total

__all__ = ["AnalyzeLogs", "run"]

#: How run logs in a folder end.
LOG_NAMES = ("*.log.jsonl",)


@dataclass(frozen=True, kw_only=True)
class AnalyzeLogs:
    """Options of the stage."""

    logs: str | tuple[str, ...] = option(
        doc="run logs, folders of them (at any depth), patterns with * or ?: one, or [a,b]", machine=True
    )
    output: str = option("runtimes.png", doc="plot: .png, .pdf or .svg; numbers go to OUTPUT.json", machine=True)
    since: str | None = option(
        None, doc="leave out runs that began before the day YYYY-MM-DD, or a time such as 2026-01-31T12:00 (UTC)"
    )

    def __post_init__(self) -> None:
        """Check the day and the ending of the plot.

        Raises
        ------
        ConfigError
            If one is of no known form.
        """
        self.begin()
        if Path(self.output).suffix.lower() not in FORMATS:
            raise ConfigError(f"output={self.output} is no plot; it ends in one of {', '.join(FORMATS)}", key="output")

    def begin(self) -> datetime | None:
        """Return the time `since`, in UTC where it says nothing else."""
        if self.since is None:
            return None
        try:
            given = datetime.fromisoformat(self.since)
        except ValueError as error:
            raise ConfigError(f"since={self.since} is no day; write it as YYYY-MM-DD", key="since") from error
        return given if given.tzinfo is not None else given.replace(tzinfo=UTC)


def run(config: AnalyzeLogs, *, progress: Progress) -> Report:
    """Read the logs, write plot and numbers.

    Returns
    -------
    Report
        `facts` has the totals, ``facts["text"]`` a few lines to show.

    Raises
    ------
    ScopeError
        If there is no log, a file is none, or the outputs cannot be written.
    """
    began = time.perf_counter()
    output = Path(config.output)
    numbers = output.with_name(f"{output.name}.json")
    files = _files((config.logs,) if isinstance(config.logs, str) else config.logs)
    check_writable(output, numbers)
    progress.start("reading run logs", len(files))
    events = []
    for path in files:
        events += read_run_log(path)
        progress.advance()
    progress.finish()
    times = gather_runtimes(events, config.begin())
    if not times:
        since = f" since {config.since}" if config.since else ""
        raise EmptySelectionError(
            f"{len(files)} run logs tell of no run{since}; give logs= others, or an earlier since="
        )
    totals = total(times)
    record = {"total": totals, "runs": {one.key: one.record() for one in times}}
    with atomic_path(numbers) as temporary:
        temporary.write_text(json.dumps(record, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    save_runtimes(times, totals, output)
    return Report(
        stage="analyze_logs",
        seconds=time.perf_counter() - began,
        outputs={"plot": str(output), "numbers": str(numbers)},
        facts={**_facts(totals), "n_logs": len(files), "text": _text(times, totals)},
        warnings=_warnings(totals),
    )


def _files(given: Sequence[str]) -> list[Path]:
    """Return the logs that are named, each once, in the order of their names."""
    found: dict[Path, Path] = {}
    for name in given:
        path = Path(name)
        if path.is_dir():
            files = sorted(file for pattern in LOG_NAMES for file in path.rglob(pattern))
        elif glob.has_magic(name) and not path.exists():
            files = sorted(Path(file) for file in glob.glob(name, recursive=True))  # noqa: PTH207 - the user's pattern
        else:
            files = [path]
        if not files:
            raise EmptySelectionError(
                f"logs={name} holds no run log ({', '.join(LOG_NAMES)}); generate_features writes OUTPUT.log.jsonl"
            )
        found = {file.resolve(): file for file in files} | found
    if not found:
        raise ConfigError("logs=[] names no run log; give logs=FOLDER", key="logs")
    return sorted(found.values())


def _facts(totals: dict[str, Any]) -> dict[str, Any]:
    """Return the totals by names that say nothing of this run: `n_failed` would make its exit code 1."""
    return {("n_tables_failed" if name == "n_failed" else name): value for name, value in totals.items()}


def _warnings(totals: dict[str, Any]) -> tuple[str, ...]:
    lines = {
        "n_unfinished": "unfinished tables: {}; their runs go on, or were killed: type their command again to go on",
        "n_failed": "failed tables: {}; their errors stand in the logs as 'failed'",
    }
    return tuple(line.format(totals[name]) for name, line in lines.items() if totals[name])


def _text(times: Sequence[RunTime], totals: dict[str, Any]) -> str:
    """Return the totals as a few aligned lines."""
    lines = [
        f"{totals['n_tables']} tables of {totals['n_runs']} runs: {totals['n_finished']} finished,"
        f" {totals['n_failed']} failed, {totals['n_unfinished']} unfinished",
        f"{totals['n_measured']} light curves measured in {totals['seconds']:.0f} s"
        + (f", {totals['light_curves_per_second']:.3g} a second" if totals["light_curves_per_second"] else ""),
    ]
    spent = sum(totals["seconds_by_group"].values())
    width = max((len(name) for name in totals["seconds_by_group"]), default=0)
    for name, seconds in totals["seconds_by_group"].items():
        lines.append(f"  {name:<{width}}  {100 * seconds / max(spent, 1e-9):5.1f} %  {seconds:10.1f} s")
    slowest = max(times, key=lambda one: one.seconds)
    lines.append(f"longest: {slowest.name}, {slowest.seconds:.0f} s ({slowest.state})")
    return "\n".join(lines)
