"""The models that `infer` scores with: resolved, loaded, in the order of their columns, and fit for the table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pyarrow as pa

from scope_ml.core.provenance import TableMetadata
from scope_ml.errors import ModelError, ModelNotFoundError
from scope_ml.models.algorithms import ALGORITHMS
from scope_ml.models.batch_scoring import SPREAD
from scope_ml.models.bundle import ModelBundle
from scope_ml.tracking.resolve import ResolvedModel, resolve_models
from scope_ml.tracking.settings import TrackingConfig

__all__ = ["UnfitModels", "choose_models", "fitting_bundles", "load_bundles", "score_fields"]

UnfitModels = Literal["refuse", "skip"]

SCORE = pa.float32()


def choose_models(
    models: str, bundles: str | None, tracking: TrackingConfig, classes: Sequence[str], algorithms: Sequence[str]
) -> list[ResolvedModel]:
    """Return the models of some classes and algorithms; of all where none are named.

    Raises
    ------
    ModelNotFoundError
        If there is no registry, no champion, or no model for one of `classes` or for `algorithms`.
    """
    found = resolve_models(
        models, tracking, classes=tuple(classes), bundles=Path(bundles) if bundles is not None else None
    )
    chosen = [model for model in found if not algorithms or model.pin.algorithm in algorithms]
    if not chosen:
        raise ModelNotFoundError(
            f"models={models}: no model of algorithms={','.join(algorithms)}; there are models for"
            f" {', '.join(model.pin.name for model in found[:8])}"
        )
    return chosen


def load_bundles(models: Sequence[ResolvedModel], n_threads: int) -> tuple[ModelBundle, ...]:
    """Load the bundles, in the order of the columns: the taxonomy's, then the algorithms'.

    Raises
    ------
    ModelError
        If a folder holds another bundle than its pin says, or a broken one.
    """
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


def fitting_bundles(
    bundles: tuple[ModelBundle, ...], metadata: TableMetadata, unfit_models: UnfitModels
) -> tuple[tuple[ModelBundle, ...], tuple[str, ...]]:
    """Return the models to score with, and what to say of those that the table has no features for.

    If it has them for none, all are returned: the check of the plan says what is missing.
    """
    available = tuple(column.name for column in metadata.columns)
    unfit = [bundle.name for bundle in bundles if bundle.record.features.lacking(available)]
    if unfit_models == "refuse" or not unfit or len(unfit) == len(bundles):
        return bundles, ()
    line = f"{len(unfit)} of {len(bundles)} models need features that the table lacks and have no column: {', '.join(unfit)}"
    return tuple(bundle for bundle in bundles if bundle.name not in unfit), (line,)


def score_fields(bundles: Sequence[ModelBundle]) -> list[pa.Field]:
    """Return the columns that the models fill: a score each, and the spread of its members behind an ensemble's."""
    fields = []
    for bundle in bundles:
        fields.append(pa.field(bundle.name, SCORE))
        if bundle.record.members:
            fields.append(pa.field(bundle.name + SPREAD, SCORE))
    return fields
