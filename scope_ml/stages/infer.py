"""Stage `infer`: feature tables scored with registered models, one row a light curve.

Three forms: a feature table; every quadrant of some fields (``field=296``), a dataset a field; single light curves
(``ids=FILE``). Columns: which light curve it is (id, place, field, ccd, quad, filter where known), its period and what it
weighs, then ``<tag>_xgb`` and ``<tag>_dnn`` as float32 in [0, 1], not rounded, in the order of the taxonomy, and
``<tag>_<algorithm>_spread`` behind an ensemble's. The models are pinned beside the output in
``<output>.models.lock.json``; ``<output>.drift.html`` shows how far the rows are from the models' training set.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from scope_ml.core.protocols import Progress
from scope_ml.core.report import Report
from scope_ml.io.tables import table_format
from scope_ml.stages.inference_drift import drift_facts, drift_paths, drift_warnings, write_drift
from scope_ml.stages.inference_fields import score_fields_of
from scope_ml.stages.inference_flags import missing_path
from scope_ml.stages.inference_ids import asked_rows, write_not_found
from scope_ml.stages.inference_models import choose_models, load_bundles
from scope_ml.stages.inference_options import Infer
from scope_ml.stages.inference_plan import Scoring, plan_table
from scope_ml.stages.inference_rows import FeatureRows
from scope_ml.stages.inference_table import Scored, score_table
from scope_ml.tracking.lock import LOCK_NAME, write_lock
from scope_ml.tracking.resolve import ResolvedModel

__all__ = ["Infer", "lock_path", "run"]


def run(config: Infer, *, progress: Progress, chosen: Sequence[ResolvedModel] | None = None) -> Report:
    """Score every row of the feature table, of some fields, or of the light curves that are asked for.

    Parameters
    ----------
    config
        Options.
    progress
        Who is told.
    chosen
        The models, where they were resolved before; None resolves what `config` names.

    Raises
    ------
    ModelNotFoundError
        If there is no registry, no champion, or no model for one of `classes`.
    FeatureMismatchError
        If the table was made with other features than a model's.
    SchemaError
        If the feature table or the light curves are missing, broken, or none of ours.
    EmptySelectionError
        If no row has a light curve in `source.path`, or there is no such field.
    OutputError
        If the output cannot be written.
    """
    if config.by_field:
        return score_fields_of(config, chosen, progress)
    table_format(config.output_path)
    if config.ids is None:
        return _score(config, FeatureRows.of(config.features_path), chosen, progress)
    with asked_rows(config, progress) as asked:
        not_found = {} if config.machine.dry_run else write_not_found(asked, config.output_path)
        return asked.told(_score(config, asked.rows, chosen, progress), not_found)


def lock_path(output: Path) -> Path:
    """Return where the pins of a table of scores stand."""
    return output.with_name(f"{output.name}.{LOCK_NAME}")


def _score(config: Infer, rows: FeatureRows, chosen: Sequence[ResolvedModel] | None, progress: Progress) -> Report:
    """Score some rows into one table, and say how it went."""
    began = time.monotonic()
    output = config.output_path
    light_curves = config.source.open()
    if chosen is None:
        chosen = choose_models(config.models, config.bundles, config.tracking, config.classes, config.algorithms)
    n_threads = config.machine.n_workers
    bundles = load_bundles(chosen, n_threads)
    scoring = Scoring(config=config, chosen=tuple(chosen), bundles=bundles, n_threads=n_threads)
    plan = plan_table(scoring, rows)

    def write_beside(scored: Scored) -> None:
        write_lock(lock_path(output), [model.pin for model in scored.chosen])
        if scored.drift is not None:
            write_drift(scored.drift.record(), output)

    target = None if config.machine.dry_run else output
    scored = score_table(
        scoring,
        plan,
        target,
        missing=None if target is None else missing_path(output),
        light_curves=light_curves,
        write_beside=write_beside,
        progress=progress,
    )
    outputs = {}
    if target is not None:
        outputs = {"predictions": str(output), "models": str(lock_path(output))}
        outputs |= {"drift": str(drift_paths(output)[1])} if scored.drift is not None else {}
        outputs |= {"missing_features": str(missing_path(output))} if config.flags else {}
    drift = None if scored.drift is None else scored.drift.record()
    return Report(
        stage="infer",
        n_in=rows.n_rows,
        n_out=scored.n_rows,
        seconds=time.monotonic() - began,
        warnings=(
            *scored.warnings,
            *(() if drift is None else drift_warnings(drift, drift_paths(output)[1] if outputs else None)),
            *(() if scored.n_rows else (f"{config.features} has no rows; so has the output",)),
        ),
        outputs=outputs,
        facts={
            "models": {model.pin.name: model.pin.version for model in scored.chosen},
            "n_models": len(scored.chosen),
            **scored.facts,
            **({} if drift is None else drift_facts(drift)),
        },
    )
