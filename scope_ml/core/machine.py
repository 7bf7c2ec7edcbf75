"""The machine group of the configuration: how to run, never what comes out."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from scope_ml.core.configuration import option

__all__ = ["Machine", "is_running", "usable_cores"]


def usable_cores() -> int:
    """Return the number of cores that this process may use, which on a cluster is less than the node has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def is_running(pid: int) -> bool:
    """Return whether a process of this number runs on this machine."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where and how a stage runs.

    Attributes
    ----------
    device
        ``auto`` takes the GPU if there is one; ``gpu`` without one is an error, never a silent fallback.
    workers
        Threads that share the work; 0 means one per core.
    max_batch_sources
        Light curves worked on together by one worker.
    dry_run
        Run everything, keep nothing but the printed report.
    """

    device: Literal["auto", "cpu", "gpu"] = option("auto", doc="where kernels run", machine=True)
    workers: int = option(0, doc="threads; 0: one per core", at_least=0, at_most=4096, machine=True)
    max_batch_sources: int = option(
        64, unit="light curves", doc="light curves per unit of work", at_least=1, machine=True
    )
    dry_run: bool = option(False, doc="write to a temporary folder and print the report only", machine=True)

    @property
    def n_workers(self) -> int:
        """Return the number of threads to start."""
        return self.workers or usable_cores()
