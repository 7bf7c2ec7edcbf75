"""What a door does with ``executor=slurm``: its plan goes into the queue, and it says what to type next.

May import compute and what lies below.
"""

from __future__ import annotations

import time

from scope_ml.compute.plan import WorkPlan
from scope_ml.compute.settings import ExecutorConfig
from scope_ml.compute.slurm_submission import Submission, submit
from scope_ml.core.protocols import Progress
from scope_ml.core.report import Report

__all__ = ["start_on_slurm", "submission_report"]


def start_on_slurm(plan: WorkPlan, executor: ExecutorConfig, *, progress: Progress) -> Report:
    """Submit what a plan has to do, or only show it, as ``executor.submit`` says; returns at once.

    Raises
    ------
    ScopeError
        As `slurm_submission.submit`.
    """
    began = time.monotonic()
    progress.start("asking Slurm")
    submission = submit(plan, executor)
    progress.finish()
    return submission_report(plan.door, submission, time.monotonic() - began)


def submission_report(stage: str, submission: Submission, seconds: float) -> Report:
    """Return the report of a submission; what sbatch did not take is a warning."""
    return Report(
        stage=stage,
        seconds=seconds,
        warnings=(f"sbatch did not take the rest: {submission.refusal}",) if submission.refusal else (),
        outputs=submission.outputs,
        facts={**submission.facts, "n_failed": int(bool(submission.refusal)), "text": submission.text},
    )
