"""Fields: every quadrant scored with every model, by this process or by an executor.

May import the other rooms of this stage, `distribution`, `distributed_run` and what lies below.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from scope_ml.core.protocols import NullProgress, Progress
from scope_ml.core.report import Report
from scope_ml.stages.distributed_run import run_distributed
from scope_ml.stages.distribution import OF_ONE_SHARD
from scope_ml.stages.inference_models import choose_models, load_bundles
from scope_ml.stages.inference_options import Infer
from scope_ml.stages.inference_pins import pinned
from scope_ml.stages.inference_plan import Scoring
from scope_ml.stages.inference_quadrants import find_quadrants, n_rows_of
from scope_ml.stages.inference_shards import QuadrantScorer
from scope_ml.stages.inference_summary import FieldsReport, Outcome
from scope_ml.tracking.resolve import ResolvedModel

__all__ = ["models_of", "open_scoring", "score_fields_of"]


def score_fields_of(config: Infer, chosen: Sequence[ResolvedModel] | None, progress: Progress) -> Report:
    """Score the quadrants of the fields that `config` names.

    Parameters
    ----------
    config
        Options.
    chosen
        The models, where they were resolved before.
    progress
        Is told the rows done.

    Raises
    ------
    EmptySelectionError
        If there are no features of a field.
    ScopeError
        If there are no models, or the scores cannot be written.
    """
    here = config.executor.kind == "local" and config.executor.processes == 1
    found = find_quadrants(config)
    models = tuple(models_of(config) if chosen is None else chosen)
    if not here:
        # A dry run leaves nothing behind, and does nothing for which models would have to be at hand.
        return run_distributed("infer", config if config.machine.dry_run else pinned(config, models), progress=progress)
    began = time.monotonic()
    scoring = open_scoring(config, models, config.machine.n_workers)
    folder = None if config.machine.dry_run else config.output_path
    known = n_rows_of(found.quadrants, found.n_rows)
    total = None if None in known else sum(n for n in known if n is not None)
    progress.start(f"scoring {len(found.quadrants)} quadrants with {len(scoring.bundles)} models", total)
    scorer = QuadrantScorer(scoring, folder, _Whole(progress))
    whole = FieldsReport(scoring=scoring, found=found, folder=folder)
    for number in found.fields:
        outcomes = []
        for one in (quadrant for quadrant in found.quadrants if quadrant.field == number):
            try:
                made, became = scorer.score(one)
            except OF_ONE_SHARD as error:
                outcomes.append(Outcome(quadrant=one, error=str(error)))
            else:
                outcomes.append(Outcome(quadrant=one, report=made, became=became))
        whole.add_field(number, outcomes)
    progress.finish()
    report = whole.report(time.monotonic() - began)
    if folder is None:
        return replace(report, warnings=(*report.warnings, "dry run: nothing was kept"))
    return report


def models_of(config: Infer) -> list[ResolvedModel]:
    """Return the models that `config` names."""
    return choose_models(config.models, config.bundles, config.tracking, config.classes, config.algorithms)


def open_scoring(config: Infer, chosen: Sequence[ResolvedModel], n_threads: int) -> Scoring:
    """Load the models.

    Raises
    ------
    ModelError
        If a bundle is not the one that was chosen.
    """
    return Scoring(config=config, chosen=tuple(chosen), bundles=load_bundles(chosen, n_threads), n_threads=n_threads)


class _Whole(NullProgress):
    """Tells the rows of all quadrants as one task; light curves whose periods are refined are told of no one."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._counts = False

    def start(self, what: str, total: int | None = None) -> None:
        """Begin a quadrant."""
        del total
        self._counts = what.startswith("scoring")

    def advance(self, amount: int = 1) -> None:
        """Count rows."""
        if self._counts:
            self._progress.advance(amount)
