"""The launcher and the sweeper of scope_ml's doors, where Hydra looks for plugins.

``hydra/launcher: scope`` hands all jobs of a sweep to the door at once, where the door takes them so; else it runs job
after job as Hydra's own does. What happens is in `scope_ml.doorway.job_batch`; this folder is a namespace that other packages
share, and must have no ``__init__.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn

__all__ = ["ScopeLauncher", "ScopeSweeper"]


#: What Hydra needs to know of both; the sweeper's keys are those of Hydra's own.
LAUNCHER = {"_target_": "hydra_plugins.scope_launcher.ScopeLauncher"}
SWEEPER = {"_target_": "hydra_plugins.scope_launcher.ScopeSweeper", "max_batch_size": None, "params": None}


class ScopeLauncher(BasicLauncher):
    """Hands all jobs to the door at once, where it takes them so."""

    @property
    def takes_all(self) -> bool:
        """Return whether the door takes all jobs at once."""
        return hasattr(self.task_function, "run_all")

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs and return what Hydra wants to know of each."""
        if not self.takes_all:
            return super().launch(job_overrides, initial_job_idx)
        from scope_ml.doorway.job_batch import launch_all

        return launch_all(self, job_overrides, initial_job_idx)


class ScopeSweeper(BasicSweeper):
    """Hydra's own sweeper without its check of every job, where the launcher composes all before the first begins."""

    def validate_batch_is_legal(self, batch: Any) -> None:
        """Compose every job, unless the launcher is about to do just that."""
        if not (isinstance(self.launcher, ScopeLauncher) and self.launcher.takes_all):
            super().validate_batch_is_legal(batch)


ConfigStore.instance().store(group="hydra/launcher", name="scope", node=LAUNCHER, provider="scope_ml")
ConfigStore.instance().store(group="hydra/sweeper", name="scope", node=SWEEPER, provider="scope_ml")
