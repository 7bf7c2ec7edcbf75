"""Stage `train`: one class, one algorithm, one or several seeds, to bundles, runs and a registered model.

Writes a folder: ``seed_<n>/`` (the bundle), ``ensemble/`` if asked for, ``metrics.json``, ``pr.csv`` and ``roc.csv`` of the
best seed, and ``report.json``. A bundle that is there already and was made from the same data, split and settings is kept,
so that a training that was killed goes on where it was. A class with too few positives is reported and skipped. A sweep of
one: `train_sweep` does the work.
"""

from __future__ import annotations

import time
from dataclasses import replace

from scope_ml.core.protocols import Progress
from scope_ml.core.report import Report
from scope_ml.stages.sweep_report import group_report
from scope_ml.stages.train_sweep import dry, run_sweep, train_all
from scope_ml.stages.training_options import FeatureSetChoice, Train

__all__ = ["FeatureSetChoice", "Train", "run"]


def run(config: Train, *, progress: Progress) -> Report:
    """Train the seeds that are not there yet, record them, register the best.

    Raises
    ------
    ScopeError
        As the readers of the data, the tracker and the registry raise; or the training, if no seed could be trained.
    """
    if config.executor.kind != "local":
        return run_sweep([config], progress=progress)
    began = time.monotonic()
    with dry([config]) as effective:
        sweep = train_all(effective, progress=progress)
    (group,) = sweep.groups
    report = group_report(group, sweep.recorder, seconds=time.monotonic() - began)
    if not report.n_out:
        for model in group.models:
            if model.outcome is not None and model.outcome.state == "failed" and model.outcome.error is not None:
                raise model.outcome.error
    if config.machine.dry_run:
        return replace(report, outputs={}, warnings=(*report.warnings, "dry run: nothing was kept"))
    return report
