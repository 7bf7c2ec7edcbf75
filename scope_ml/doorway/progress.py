"""Progress of long work: a bar on a terminal, a line a minute elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

    from scope_ml.core.protocols import Progress

__all__ = ["BarProgress", "LogProgress", "open_progress"]

_log = logging.getLogger(__name__)

#: Seconds between two lines of `LogProgress`.
LOG_INTERVAL = 60.0


class LogProgress:
    """One log line a minute with count, rate and remaining time: for batch jobs and files."""

    def __init__(self, interval: float = LOG_INTERVAL) -> None:
        self._interval = interval
        self._what = ""
        self._total: int | None = None
        self._count = 0
        self._told = -1
        self._began = self._said = time.monotonic()

    def start(self, what: str, total: int | None = None) -> None:
        """Begin a task of `total` units."""
        self._what, self._total, self._count = what, total, 0
        self._began = self._said = time.monotonic()

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

    def _say(self, now: float) -> None:
        self._told = self._count
        rate = self._count / max(now - self._began, 1e-9)
        text = f"{self._what}: {self._count}"
        if self._total:
            remaining = max(self._total - self._count, 0) / max(rate, 1e-9)
            text += f" of {self._total} ({100 * self._count / self._total:.0f} %), {remaining:.0f} s left"
        _log.info("%s, %.1f/s", text, rate)


class BarProgress:
    """A bar on the terminal."""

    def __init__(self) -> None:
        self._bar: RichProgress | None = None
        self._task: TaskID | None = None

    def start(self, what: str, total: int | None = None) -> None:
        """Show a new bar of `total` units."""
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self.finish()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
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


def open_progress() -> Progress:
    """Return the progress that suits standard error."""
    return BarProgress() if sys.stderr.isatty() else LogProgress()
