"""One table of scores from rows of a feature table: what is read, what is written, what is counted on the way.

Works in batches of rows, so that memory does not grow with the table. Used by the three forms of the stage `infer`. May
import the other rooms of this stage, models, io, core and errors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa

from scope_ml.core.protocols import LightCurveSource, Progress
from scope_ml.core.provenance import TableMetadata
from scope_ml.errors import ModelError
from scope_ml.io.atomic import atomic_path, check_writable
from scope_ml.io.parquet_files import ParquetTableWriter
from scope_ml.io.tables import described, table_format, write_table
from scope_ml.models.batch_scoring import score
from scope_ml.models.drift import DriftCounter
from scope_ml.stages.catalogue_periods import refine_catalogue
from scope_ml.stages.inference_flags import MissingFeatures
from scope_ml.stages.inference_plan import Scoring, TablePlan, refinement_of, table_record
from scope_ml.tracking.resolve import ResolvedModel

__all__ = ["Scored", "score_table"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Scored:
    """What became of a table.

    Attributes
    ----------
    n_rows
        Rows written.
    chosen
        The models that its columns are of.
    facts, warnings
        For the report.
    drift
        What was counted of features and scores; None where nothing was to be.
    """

    n_rows: int
    chosen: tuple[ResolvedModel, ...]
    facts: Mapping[str, Any]
    warnings: tuple[str, ...]
    drift: DriftCounter | None


@dataclass(frozen=True, kw_only=True)
class _Catalogue:
    """What is written."""

    pieces: Iterator[pa.Table]
    schema: pa.Schema
    record: TableMetadata
    facts: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def score_table(
    scoring: Scoring,
    plan: TablePlan,
    output: Path | None,
    *,
    missing: Path | None,
    light_curves: LightCurveSource | None,
    write_beside: Callable[[Scored], None],
    progress: Progress,
) -> Scored:
    """Score the rows and write them.

    Parameters
    ----------
    scoring, plan
        The models and the rows.
    output
        The table of scores; None writes nothing.
    missing
        Where the list of missing features goes, if there is to be one; None counts only.
    light_curves
        To refine periods with; None keeps them.
    write_beside
        Is called just before the table appears, to write what stands beside it.
    progress
        Is told the rows done.

    Raises
    ------
    ScopeError
        If the table or the light curves turn out to be broken, or the output cannot be written.
    """
    config = scoring.config
    chosen = tuple(model for model in scoring.chosen if model.pin.digest in {one.digest for one in plan.bundles})
    with ExitStack() as stack:
        flags = MissingFeatures(plan.features, plan.schema, missing) if config.flags else None
        if flags is not None:
            stack.enter_context(flags)
        catalogue = _catalogue(scoring, plan, light_curves, flags, output, stack, progress)

        def scored(n_rows: int) -> Scored:
            return Scored(
                n_rows=n_rows,
                chosen=chosen,
                facts={
                    **catalogue.facts,
                    **plan.consistency.facts,
                    **({} if flags is None else {"missing_features": flags.facts}),
                },
                warnings=(*plan.unfit, *catalogue.warnings),
                drift=plan.drift,
            )

        if output is None:
            n_rows = sum(piece.num_rows for piece in catalogue.pieces)
        else:

            def finish(n_rows: int) -> None:
                if flags is not None:
                    flags.commit(plan.rows.inputs)
                write_beside(scored(n_rows))

            n_rows = _write(catalogue, output, finish)
    progress.finish()
    return scored(n_rows)


def _catalogue(
    scoring: Scoring,
    plan: TablePlan,
    light_curves: LightCurveSource | None,
    flags: MissingFeatures | None,
    output: Path | None,
    stack: ExitStack,
    progress: Progress,
) -> _Catalogue:
    """Return the scored rows, with refined periods if there are light curves; what is temporary goes with `stack`."""
    refinement = None if light_curves is None else refinement_of(scoring, plan, light_curves)
    if refinement is not None and output is not None:
        check_writable(output)
    schema = plan.schema
    progress.start(f"scoring with {len(plan.bundles)} models", plan.rows.n_rows)
    pieces = _scored(scoring, plan, flags, progress)
    if refinement is None:
        return _Catalogue(pieces=pieces, schema=schema, record=table_record(plan))
    folder = Path(stack.enter_context(TemporaryDirectory(prefix="scope-infer-")))
    refined = refine_catalogue(pieces, schema, folder, refinement, progress)
    facts = {"periods": refined.counts, "period_factors": refined.factors}
    record = table_record(plan, refinement.science)
    return _Catalogue(
        pieces=refined.pieces,
        schema=refined.schema,
        record=replace(record, inputs=(*record.inputs, refined.input), facts={**record.facts, **facts}),
        facts=facts,
        warnings=refined.warnings,
    )


def _scored(scoring: Scoring, plan: TablePlan, flags: MissingFeatures | None, progress: Progress) -> Iterator[pa.Table]:
    schema = plan.schema
    for batch in plan.rows.batches(plan.columns, n_rows=scoring.config.batch_rows):
        scores = score(plan.bundles, batch, facts=plan.rows.metadata.facts, n_threads=scoring.n_threads)
        for name in scores.column_names:
            if not np.isfinite(scores[name].to_numpy()).all():
                raise ModelError(f"model {name} gave scores that are not numbers; train it again")
        if plan.drift is not None:
            # Before a repair: the models' own scores are compared.
            plan.drift.add(batch, scores)
        if flags is not None:
            flags.add(batch)
        scores = plan.consistency.apply(scores)
        kept = [batch[name] for name in (*plan.identity, *(source for _, source in plan.carried))]
        added = [scores[name] for name in schema.names[len(kept) :]]
        yield pa.Table.from_arrays([*kept, *added], names=schema.names).cast(schema)
        progress.advance(batch.num_rows)


def _write(catalogue: _Catalogue, output: Path, finish: Callable[[int], None]) -> int:
    """Write the scores and, just before they appear, what stands beside them; return the number of rows."""
    schema, record = catalogue.schema, catalogue.record
    if table_format(output) != "parquet":
        table = pa.concat_tables([schema.empty_table(), *catalogue.pieces])
        finish(table.num_rows)
        write_table(table, output, record)
        return int(table.num_rows)
    with atomic_path(output) as temporary:
        writer = ParquetTableWriter(temporary, schema)
        text = None
        try:
            for piece in catalogue.pieces:
                writer.write(piece)
            text = described(record, schema, writer.n_rows).to_json()
        finally:
            writer.close(text)
        finish(writer.n_rows)
    return writer.n_rows
