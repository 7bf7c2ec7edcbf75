"""Progress of long work: a bar on a terminal, a line a minute elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import Task, TaskID

    from scope_ml.core.protocols import Progress

__all__ = ["BarProgress", "LogProgress", "open_progress"]

_log = logging.getLogger(__name__)

#: Seconds between two lines of `LogProgress`.
LOG_INTERVAL = 60.0

#: Lines back to which the rate is measured: what a resumed run finds done at once soon stops counting.
RATE_LINES = 5


class LogProgress:
    """One log line a minute with count, rate and remaining time: for batch jobs and files."""

    def __init__(self, interval: float = LOG_INTERVAL) -> None:
        self._interval = interval
        self._what = ""
        self._total: int | None = None
        self._count = 0
        self._told = -1
        self._began = self._said = 0.0
        self._begin()

    def start(self, what: str, total: int | None = None) -> None:
        """Begin a task of `total` units."""
        self._what, self._total, self._count, self._told = what, total, 0, -1
        self._begin()

    def advance(self, amount: int = 1) -> None:
        """Count `amount` more units, and say so if the interval is over."""
        self._count += amount
        now = time.monotonic()
        if now - self._said >= self._interval:
            self._said = now
            self._say(now)

    def finish(self) -> None:
        """End the task; tasks longer than the interval get a last line."""
        now = time.monotonic()
        if now - self._began >= self._interval and self._told != self._count:
            self._say(now)

    def _begin(self) -> None:
        self._began = self._said = time.monotonic()
        self._lines = deque([(self._began, 0)], maxlen=RATE_LINES)

    def _say(self, now: float) -> None:
        self._told = self._count
        since, counted = self._lines[0]
        rate = (self._count - counted) / max(now - since, 1e-9)
        self._lines.append((now, self._count))
        text = f"{self._what}: {self._count}"
        if self._total:
            text += f" of {self._total} ({100 * self._count / self._total:.0f} %)"
            if rate:
                text += f", {_duration(max(self._total - self._count, 0) / rate)} left"
        _log.info("%s, %.1f/s", text, rate)


class BarProgress:
    """A bar on the terminal."""

    def __init__(self) -> None:
        self._bar: RichProgress | None = None
        self._task: TaskID | None = None

    def start(self, what: str, total: int | None = None) -> None:
        """Show a new bar of `total` units."""
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            ProgressColumn,
            TextColumn,
            TimeRemainingColumn,
        )
        from rich.text import Text

        class RateColumn(ProgressColumn):
            """Units a second, lately."""

            def render(self, task: Task) -> Text:
                """Return the rate, or nothing before it is known."""
                return Text("" if task.speed is None else f"{task.speed:.1f}/s")

        self.finish()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            RateColumn(),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=Console(file=sys.stderr),
            transient=True,
        )
        self._bar.start()
        self._task = self._bar.add_task(what, total=total)

    def advance(self, amount: int = 1) -> None:
        """Move the bar."""
        if self._bar is not None and self._task is not None:
            self._bar.advance(self._task, amount)

    def finish(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.stop()
        self._bar = None


def _duration(seconds: float) -> str:
    """Return a duration [s] as one reads it: 40 s, 12 min, 3.5 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def open_progress() -> Progress:
    """Return the progress that suits standard error."""
    return BarProgress() if sys.stderr.isatty() else LogProgress()
