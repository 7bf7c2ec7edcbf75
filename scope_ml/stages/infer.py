"""Stage `infer`: a feature table scored with registered models, one row a light curve.

Columns: which light curve it is (id, place, field, ccd, quad, filter where known), its period, then ``<tag>_xgb`` and
``<tag>_dnn`` as float32 in [0, 1], not rounded, in the order of the taxonomy. Works in batches of rows, so that memory
does not grow with the table. The models are pinned beside the output in ``<output>.models.lock.json``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from scope_ml.core.configuration import option
from scope_ml.core.machine import Machine
from scope_ml.core.protocols import LightCurveSource, Progress
from scope_ml.core.provenance import Input, TableMetadata, digest_file, digest_json
from scope_ml.core.report import Report
from scope_ml.errors import MissingColumnError, ModelError, ModelNotFoundError
from scope_ml.features.registry import IDENTITY
from scope_ml.io.atomic import atomic_path, check_writable
from scope_ml.io.parquet_files import ParquetTableWriter
from scope_ml.io.tables import described, read_batches, read_table, table_format, write_table
from scope_ml.models.algorithms import ALGORITHMS
from scope_ml.models.batch_scoring import score
from scope_ml.models.bundle import ModelBundle
from scope_ml.stages.catalogue_classes import class_choice
from scope_ml.stages.catalogue_periods import CatalogueSource, Refinement, refine_catalogue
from scope_ml.stages.training_inputs import period_method
from scope_ml.tracking.lock import LOCK_NAME, LockEntry, write_lock
from scope_ml.tracking.resolve import ResolvedModel, resolve_models
from scope_ml.tracking.settings import TrackingConfig

__all__ = ["Infer", "lock_path", "run"]

#: Facts of the feature table that its scores keep.
CARRIED_FACTS = ("period_search", "feature_digest")

SCORE = pa.float32()


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
    algorithms: tuple[Literal["xgb", "dnn"], ...] = option((), doc="algorithms to score with; empty: all")
    unfit_models: Literal["refuse", "skip"] = option(
        "refuse", doc="models that need features which the table lacks; skip: leave their columns out, and say so"
    )
    batch_rows: int = option(32_768, unit="rows", doc="rows worked on at once", at_least=1, machine=True)
    tracking: TrackingConfig = option(TrackingConfig(), doc="where the registry is")
    machine: Machine = option(Machine(), doc="threads")


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
    """What is read and what comes out."""

    metadata: TableMetadata
    identity: tuple[str, ...]
    period: str | None
    bundles: tuple[ModelBundle, ...]
    available: tuple[str, ...]

    @property
    def columns(self) -> list[str]:
        """Return the columns to read."""
        wanted = {*self.identity, *(name for bundle in self.bundles for name in bundle.record.features.names)}
        wanted |= {self.period} if self.period is not None else set()
        wanted |= {"dmdt"} if any(bundle.model.needs_images for bundle in self.bundles) else set()
        return [name for name in self.available if name in wanted]


def run(config: Infer, *, progress: Progress) -> Report:
    """Score every row of the feature table.

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
    models = resolve_models(
        config.models,
        config.tracking,
        classes=config.classes,
        bundles=Path(config.bundles) if config.bundles is not None else None,
    )
    chosen = [model for model in models if not config.algorithms or model.pin.algorithm in config.algorithms]
    if not chosen:
        raise ModelNotFoundError(
            f"models={config.models}: no model of algorithms={','.join(config.algorithms)}; there are models for"
            f" {', '.join(model.pin.name for model in models[:8])}"
        )
    bundles, unfit = _fitting(_load(chosen, config.machine.n_workers), metadata, config.unfit_models)
    chosen = [model for model in chosen if model.pin.digest in {bundle.digest for bundle in bundles}]
    plan = _plan(metadata, bundles)
    with ExitStack() as stack:
        catalogue = _catalogue(config, plan, light_curves, stack, progress)
        outputs = {}
        if config.machine.dry_run:
            n_rows = sum(piece.num_rows for piece in catalogue.pieces)
        else:
            pins = lock_path(output)
            n_rows = _write(catalogue, output, pins, [model.pin for model in chosen])
            outputs = {"predictions": str(output), "models": str(pins)}
    progress.finish()
    return Report(
        stage="infer",
        n_in=metadata.n_rows,
        n_out=n_rows,
        seconds=time.monotonic() - began,
        warnings=(*unfit, *catalogue.warnings, *(() if n_rows else (f"{source} has no rows; so has the output",))),
        outputs=outputs,
        facts={
            "models": {model.pin.name: model.pin.version for model in chosen},
            "n_models": len(chosen),
            **catalogue.facts,
        },
    )


def lock_path(output: Path) -> Path:
    """Return where the pins of a table of scores stand."""
    return output.with_name(f"{output.name}.{LOCK_NAME}")


def _load(models: Sequence[ResolvedModel], n_threads: int) -> tuple[ModelBundle, ...]:
    """Load the bundles, in the order of the columns: the taxonomy's, then the algorithms'."""
    bundles = []
    for model in models:
        bundle = ModelBundle.load(model.folder, n_threads=n_threads)
        if bundle.digest != model.pin.digest:
            raise ModelError(f"{model.folder} is not the bundle that {model.pin.name} stands for; register it again")
        bundles.append(bundle)
    algorithms = list(ALGORITHMS)
    return tuple(
        sorted(
            bundles,
            key=lambda bundle: (
                bundle.record.spec.kind != "phenomenological",
                bundle.record.spec.order,
                bundle.tag,
                algorithms.index(bundle.record.algorithm.name),
            ),
        )
    )


def _fitting(
    bundles: tuple[ModelBundle, ...], metadata: TableMetadata, unfit_models: str
) -> tuple[tuple[ModelBundle, ...], tuple[str, ...]]:
    """Return the models to score with, and what to say of those that the table has no features for.

    If it has them for none, all are returned: the check of the plan says what is missing.
    """
    available = tuple(column.name for column in metadata.columns)
    unfit = [bundle.name for bundle in bundles if bundle.record.features.lacking(available)]
    if unfit_models == "refuse" or not unfit or len(unfit) == len(bundles):
        return bundles, ()
    lines = f"{len(unfit)} of {len(bundles)} models need features that the table lacks and have no column: {', '.join(unfit)}"
    return tuple(bundle for bundle in bundles if bundle.name not in unfit), (lines,)


def _plan(metadata: TableMetadata, bundles: tuple[ModelBundle, ...]) -> _Plan:
    available = tuple(column.name for column in metadata.columns)
    # Before anything is written: a table of other features is refused whole.
    for bundle in bundles:
        bundle.record.features.check(available, metadata.facts, model=bundle.name)
    period = f"period_{period_method(metadata.facts)}"
    return _Plan(
        metadata=metadata,
        identity=tuple(name for name in IDENTITY if name in available),
        period=period if period in available else None,
        bundles=bundles,
        available=available,
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
            config_digest=digest_json({"models": record.facts["models"], **refinement.science}),
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
    return pa.schema([*fields, *(pa.field(bundle.name, SCORE) for bundle in plan.bundles)])


def _record(plan: _Plan, source: Path) -> TableMetadata:
    models = {bundle.name: bundle.digest for bundle in plan.bundles}
    facts = {
        "models": models,
        "thresholds": {bundle.name: bundle.record.threshold for bundle in plan.bundles},
        **{name: plan.metadata.facts[name] for name in CARRIED_FACTS if name in plan.metadata.facts},
    }
    return TableMetadata(
        kind="predictions",
        config_digest=digest_json(models),
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
        kept = [batch[name] for name in plan.identity] + ([batch[plan.period]] if plan.period else [])
        yield pa.Table.from_arrays([*kept, *scores.columns], names=schema.names).cast(schema)
        progress.advance(batch.num_rows)


def _write(catalogue: _Catalogue, output: Path, pins_path: Path, pins: Sequence[LockEntry]) -> int:
    """Write the scores and, just before they appear, their pins; return the number of rows."""
    schema, record = catalogue.schema, catalogue.record
    if table_format(output) != "parquet":
        table = pa.concat_tables([schema.empty_table(), *catalogue.pieces])
        write_lock(pins_path, pins)
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
        write_lock(pins_path, pins)
    return writer.n_rows
