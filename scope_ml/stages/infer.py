"""Stage `infer`: a feature table scored with registered models, one row a light curve.

Columns: which light curve it is (id, place, field, ccd, quad, filter where known), its period, then ``<tag>_xgb`` and
``<tag>_dnn`` as float32 in [0, 1], not rounded, in the order of the taxonomy, and ``<tag>_<algorithm>_spread`` behind an
ensemble's. Works in batches of rows, so that memory does not grow with the table. The models are pinned beside the output
in ``<output>.models.lock.json``; ``<output>.drift.html`` shows how far the rows are from the models' training set.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa

from scope_ml.core.configuration import option
from scope_ml.core.machine import Machine
from scope_ml.core.protocols import LightCurveSource, Progress
from scope_ml.core.provenance import Input, TableMetadata, digest_file, digest_json
from scope_ml.core.report import Report
from scope_ml.errors import ConfigError, MissingColumnError, ModelError, suggest
from scope_ml.features.legacy import SUFFIX
from scope_ml.features.registry import IDENTITY
from scope_ml.io.atomic import atomic_path, check_writable
from scope_ml.io.parquet_files import ParquetTableWriter
from scope_ml.io.tables import described, read_batches, read_table, table_format, write_table
from scope_ml.models.algorithms import ALGORITHMS
from scope_ml.models.batch_scoring import score
from scope_ml.models.bundle import ModelBundle
from scope_ml.models.drift import DriftCounter
from scope_ml.stages.catalogue_classes import class_choice
from scope_ml.stages.catalogue_consistency import CatalogueConsistency, ConsistencyMode
from scope_ml.stages.catalogue_periods import CatalogueSource, Refinement, refine_catalogue
from scope_ml.stages.inference_drift import drift_facts, drift_paths, drift_warnings, write_drift
from scope_ml.stages.inference_models import (
    UnfitModels,
    choose_models,
    fitting_bundles,
    load_bundles,
    score_fields,
)
from scope_ml.stages.training_inputs import period_method
from scope_ml.tracking.lock import LOCK_NAME, write_lock
from scope_ml.tracking.resolve import ResolvedModel
from scope_ml.tracking.settings import TrackingConfig

__all__ = ["Infer", "lock_path", "run"]

#: Ending of columns with the id of the nearest object of a catalogue.
MATCH_ID = "___id"

#: Facts of the feature table that its scores keep.
CARRIED_FACTS = ("period_search", "feature_digest")


@dataclass(frozen=True, kw_only=True)
class Infer:
    """Options of the stage."""

    features: str = option(machine=True, doc="feature table of generate_features")
    output: str = option(machine=True, doc="table to write: .parquet, .h5 or .csv")
    source: CatalogueSource = option(CatalogueSource(), doc="light curves, to refine periods by class")
    models: str = option(
        "champion", machine=True, doc="champion, challenger, lock, a lock file, or a folder of bundles"
    )
    bundles: str | None = option(
        None, machine=True, doc="folder where pinned bundles are looked for before the registry"
    )
    classes: tuple[str, ...] = option((), doc="tags to score; empty: all that have a model")
    algorithms: tuple[str, ...] = option((), doc=f"algorithms to score with: {', '.join(ALGORITHMS)}; empty: all")
    unfit_models: UnfitModels = option(
        "refuse", doc="models that need features which the table lacks; skip: leave their columns out, and say so"
    )
    consistency: ConsistencyMode = option(
        "none", doc="scores that contradict the class tree: report counts them by row; cap, lift, nearest repair them"
    )
    conflict_margin: float = option(
        0.1,
        doc="how far a class may be above one that it implies before it counts as a conflict",
        at_least=0,
        at_most=1,
    )
    drift: bool = option(True, machine=True, doc="write OUTPUT.drift.json and .html: the rows beside the training set")
    batch_rows: int = option(32_768, unit="rows", doc="rows worked on at once", at_least=1, machine=True)
    tracking: TrackingConfig = option(TrackingConfig(), doc="where the registry is")
    machine: Machine = option(Machine(), doc="threads")

    def __post_init__(self) -> None:
        """Check the names of algorithms.

        Raises
        ------
        ConfigError
            For one that there is not.
        """
        for name in self.algorithms:
            if name not in ALGORITHMS:
                raise ConfigError(
                    f"unknown algorithm {name!r} in 'algorithms'; known: {', '.join(ALGORITHMS)}{suggest(name, ALGORITHMS)}",
                    key="algorithms",
                    choices=ALGORITHMS,
                )


@dataclass(frozen=True, kw_only=True)
class _Catalogue:
    """What is written."""

    pieces: Iterator[pa.Table]
    schema: pa.Schema
    record: TableMetadata
    facts: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """What is read and what comes out, and what is counted on the way."""

    metadata: TableMetadata
    identity: tuple[str, ...]
    period: str | None
    bundles: tuple[ModelBundle, ...]
    available: tuple[str, ...]
    consistency: CatalogueConsistency
    drift: DriftCounter | None

    @property
    def columns(self) -> list[str]:
        """Return the columns to read."""
        wanted = {*self.identity, *(name for bundle in self.bundles for name in bundle.record.features.names)}
        wanted |= {self.period} if self.period is not None else set()
        wanted |= {"dmdt"} if any(bundle.model.needs_images for bundle in self.bundles) else set()
        return [name for name in self.available if name in wanted]


def run(config: Infer, *, progress: Progress, chosen: Sequence[ResolvedModel] | None = None) -> Report:
    """Score every row of the feature table.

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
        If no row has a light curve in `source.path`.
    OutputError
        If the output cannot be written.
    """
    began = time.monotonic()
    source, output = Path(config.features), Path(config.output)
    table_format(output)
    metadata = read_table(source, columns=(), kind="features").metadata
    light_curves = config.source.open()
    if chosen is None:
        chosen = choose_models(config.models, config.bundles, config.tracking, config.classes, config.algorithms)
    bundles, unfit = fitting_bundles(load_bundles(chosen, config.machine.n_workers), metadata, config.unfit_models)
    chosen = [model for model in chosen if model.pin.digest in {bundle.digest for bundle in bundles}]
    plan = _plan(config, metadata, bundles)
    with ExitStack() as stack:
        catalogue = _catalogue(config, plan, light_curves, stack, progress)
        outputs = {}
        if config.machine.dry_run:
            n_rows = sum(piece.num_rows for piece in catalogue.pieces)
        else:
            outputs = {"predictions": str(output), "models": str(lock_path(output))}
            outputs |= {"drift": str(drift_paths(output)[1])} if plan.drift is not None else {}

            def write_companions() -> None:
                write_lock(lock_path(output), [model.pin for model in chosen])
                if plan.drift is not None:
                    write_drift(plan.drift.record(), output)

            n_rows = _write(catalogue, output, write_companions)
    drift = plan.drift.record() if plan.drift is not None else None
    page = drift_paths(output)[1] if "drift" in outputs else None
    progress.finish()
    return Report(
        stage="infer",
        n_in=metadata.n_rows,
        n_out=n_rows,
        seconds=time.monotonic() - began,
        warnings=(
            *unfit,
            *catalogue.warnings,
            *(() if drift is None else drift_warnings(drift, page)),
            *(() if n_rows else (f"{source} has no rows; so has the output",)),
        ),
        outputs=outputs,
        facts={
            "models": {model.pin.name: model.pin.version for model in chosen},
            "n_models": len(chosen),
            **catalogue.facts,
            **plan.consistency.facts,
            **({} if drift is None else drift_facts(drift)),
        },
    )


def lock_path(output: Path) -> Path:
    """Return where the pins of a table of scores stand."""
    return output.with_name(f"{output.name}.{LOCK_NAME}")


def _plan(config: Infer, metadata: TableMetadata, bundles: tuple[ModelBundle, ...]) -> _Plan:
    available = tuple(column.name for column in metadata.columns)
    # Before anything is written: a table of other features is refused whole.
    for bundle in bundles:
        bundle.record.features.check(available, metadata.facts, model=bundle.name)
    method = period_method(metadata.facts)
    # Tables with SCoPe's names, which its imported models take, have its suffix; those that SCoPe made do not say which.
    ends = (
        (method, SUFFIX.get(method))
        if "period_search" in metadata.facts
        else (method, *reversed(tuple(SUFFIX.values())))
    )
    period = next((f"period_{end}" for end in ends if f"period_{end}" in available), "period")
    return _Plan(
        metadata=metadata,
        identity=(
            *(name for name in ("_id", *IDENTITY) if name in available),
            # By them light curves become stars: Gaia_EDR3___id.
            *(name for name in available if name.endswith(MATCH_ID)),
        ),
        period=period if period in available else None,
        bundles=bundles,
        available=available,
        consistency=CatalogueConsistency(bundles, config.consistency, config.conflict_margin),
        drift=DriftCounter(bundles) if config.drift else None,
    )


def _catalogue(
    config: Infer, plan: _Plan, light_curves: LightCurveSource | None, stack: ExitStack, progress: Progress
) -> _Catalogue:
    """Return the scored rows, with refined periods if there are light curves; what is temporary goes with `stack`."""
    source = Path(config.features)
    if light_curves is not None:
        _check_refinable(plan, source)
        if not config.machine.dry_run:
            check_writable(Path(config.output))
    schema, record = _schema(plan), _record(plan, source)
    progress.start(f"scoring with {len(plan.bundles)} models", plan.metadata.n_rows)
    pieces = _scored(plan, source, config.batch_rows, progress)
    if light_curves is None:
        return _Catalogue(pieces=pieces, schema=schema, record=record)
    refinement = Refinement(
        source=config.source,
        light_curves=light_curves,
        features=plan.metadata,
        choice=class_choice(plan.bundles),
        machine=config.machine,
        batch_rows=config.batch_rows,
    )
    folder = Path(stack.enter_context(TemporaryDirectory(prefix="scope-infer-")))
    refined = refine_catalogue(pieces, schema, folder, refinement, progress)
    facts = {"periods": refined.counts, "period_factors": refined.factors}
    return _Catalogue(
        pieces=refined.pieces,
        schema=refined.schema,
        record=replace(
            record,
            config_digest=digest_json(
                {"models": record.facts["models"], **plan.consistency.science, **refinement.science}
            ),
            inputs=(*record.inputs, refined.input),
            facts={**record.facts, **facts},
        ),
        facts=facts,
        warnings=refined.warnings,
    )


def _check_refinable(plan: _Plan, source: Path) -> None:
    wanted = ("id", f"period_{period_method(plan.metadata.facts)}")
    missing = [name for name in wanted if name not in plan.available]
    if missing:
        raise MissingColumnError(f"{source} (to refine periods; leave source.path out)", missing, plan.available)


def _schema(plan: _Plan) -> pa.Schema:
    columns = {column.name: column for column in plan.metadata.columns}
    fields = []
    for name, source in [
        *((name, name) for name in plan.identity),
        *([("period", plan.period)] if plan.period else []),
    ]:
        column = columns[source]
        unit = {b"unit": column.unit.encode()} if column.unit else None
        fields.append(pa.field(name, pa.type_for_alias(column.dtype), metadata=unit))
    return pa.schema([*fields, *score_fields(plan.bundles), *plan.consistency.fields])


def _record(plan: _Plan, source: Path) -> TableMetadata:
    models = {bundle.name: bundle.digest for bundle in plan.bundles}
    science = plan.consistency.science
    facts = {
        "models": models,
        "thresholds": {bundle.name: bundle.record.threshold for bundle in plan.bundles},
        **science,
        **{name: plan.metadata.facts[name] for name in CARRIED_FACTS if name in plan.metadata.facts},
    }
    return TableMetadata(
        kind="predictions",
        config_digest=digest_json({"models": models, **science} if science else models),
        inputs=(Input(name="features", digest=digest_file(source), n_rows=plan.metadata.n_rows),),
        facts=facts,
    )


def _scored(plan: _Plan, source: Path, batch_rows: int, progress: Progress) -> Iterator[pa.Table]:
    schema = _schema(plan)
    for batch in read_batches(source, plan.columns, n_rows=batch_rows):
        scores = score(plan.bundles, batch, facts=plan.metadata.facts)
        for name in scores.column_names:
            if not np.isfinite(scores[name].to_numpy()).all():
                raise ModelError(f"model {name} gave scores that are not numbers; train it again")
        if plan.drift is not None:
            # Before a repair: the models' own scores are compared.
            plan.drift.add(batch, scores)
        scores = plan.consistency.apply(scores)
        kept = [batch[name] for name in plan.identity] + ([batch[plan.period]] if plan.period else [])
        added = [scores[name] for name in schema.names[len(kept) :]]
        yield pa.Table.from_arrays([*kept, *added], names=schema.names).cast(schema)
        progress.advance(batch.num_rows)


def _write(catalogue: _Catalogue, output: Path, write_companions: Callable[[], None]) -> int:
    """Write the scores and, just before they appear, what stands beside them; return the number of rows."""
    schema, record = catalogue.schema, catalogue.record
    if table_format(output) != "parquet":
        table = pa.concat_tables([schema.empty_table(), *catalogue.pieces])
        write_companions()
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
        write_companions()
    return writer.n_rows
