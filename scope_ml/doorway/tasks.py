"""What Hydra calls: one job of a door, or all jobs of a sweep at once; what they report is kept for the door."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from scope_ml.core.report import Report
from scope_ml.doorway.hydra_errors import resolved
from scope_ml.doorway.progress import open_progress
from scope_ml.errors import OutputError, ScopeError

if TYPE_CHECKING:
    from omegaconf import DictConfig

__all__ = ["JobTask", "SweepTask", "show"]

_log = logging.getLogger(__name__)


class JobTask:
    """One job: Hydra's values become the stage's dataclass, its `run` is called, its report is shown.

    Attributes
    ----------
    reports
        Of the jobs that are done.
    failures
        Errors of the jobs that failed: kept for later, so that a sweep goes on with its other jobs.
    """

    def __init__(self, schema: type[Any], run: Callable[..., Report]) -> None:
        self.schema = schema
        self.run = run
        self.reports: list[Report] = []
        self.failures: list[ScopeError] = []

    def __call__(self, composed: DictConfig) -> None:
        """Run one job of Hydra's."""
        from hydra.core.hydra_config import HydraConfig
        from hydra.types import RunMode

        from scope_ml.core.configuration import build

        before = len(self.failures)
        with self._kept_errors():
            self._done(self.run, build(self.schema, resolved(composed)))
        if len(self.failures) > before and HydraConfig.get().mode == RunMode.MULTIRUN:
            _log.error("%s: %s", HydraConfig.get().job.override_dirname, self.failures[-1])

    def _done(self, run: Callable[..., Report], config: Any) -> None:
        progress = open_progress()
        try:
            report = run(config, progress=progress)
        finally:
            progress.finish()
        self.reports.append(report)
        show(report)

    @contextmanager
    def _kept_errors(self) -> Iterator[None]:
        try:
            yield
        except ScopeError as error:
            self.failures.append(error)
        except OSError as error:
            # Disks fill up and permissions are lacking; without a file's name it is a bug of ours.
            if error.filename is None:
                raise
            self.failures.append(OutputError(f"{error.filename}: {error.strerror}"))


class SweepTask(JobTask):
    """As `JobTask`, and takes all jobs of a sweep at once.

    Parameters
    ----------
    schema, run
        The stage, for one job.
    sweep
        Takes the dataclasses of all jobs, ``sweep(configs, *, progress) -> Report``.
    """

    def __init__(self, schema: type[Any], run: Callable[..., Report], sweep: Callable[..., Report]) -> None:
        super().__init__(schema, run)
        self.sweep = sweep

    def run_all(self, jobs: Sequence[Mapping[str, Any]]) -> None:
        """Run all jobs of a sweep; a wrong value in any of them is found before the first begins."""
        from scope_ml.core.configuration import build

        with self._kept_errors():
            self._done(self.sweep, [build(self.schema, values) for values in jobs])


def show(report: Report) -> None:
    """Say what a stage reports: warnings, counts, texts, and what it wrote."""
    for warning in report.warnings:
        _log.warning("%s", warning)
    _log.info("%s", report.summary())
    if "text" in report.facts:
        sys.stdout.write(f"{report.facts['text']}\n")
    for name, path in report.outputs.items():
        _log.info("  %s: %s", name, path)
