"""What is read of a feature table and which columns come out, before any row is scored.

Used by `inference_table`, which does it. May import the rooms about models and rows, models, features, core and errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import pyarrow as pa

from scope_ml.core.configuration import science_values
from scope_ml.core.protocols import LightCurveSource
from scope_ml.core.provenance import TableMetadata, digest_json
from scope_ml.errors import MissingColumnError
from scope_ml.features.legacy import SUFFIX
from scope_ml.features.registry import IDENTITY
from scope_ml.models.bundle import ModelBundle
from scope_ml.models.drift import DriftCounter
from scope_ml.stages.catalogue_classes import class_choice
from scope_ml.stages.catalogue_consistency import CatalogueConsistency
from scope_ml.stages.catalogue_periods import Refinement
from scope_ml.stages.inference_models import fitting_bundles, score_fields
from scope_ml.stages.inference_options import Infer
from scope_ml.stages.inference_rows import FeatureRows
from scope_ml.stages.training_inputs import period_method
from scope_ml.tracking.resolve import ResolvedModel

__all__ = ["Scoring", "TablePlan", "plan_table", "refinement_of", "table_record"]

#: Ending of columns with the id of the nearest object of a catalogue.
MATCH_ID = "___id"

#: Facts of the feature table that its scores keep.
CARRIED_FACTS = ("period_search", "feature_digest")

#: Features that its scores keep under their names: by them the light curves of a star are weighed.
WEIGHTS = ("n_obs", "n", "median", "wstd", "chi2red", "med_err")


@dataclass(frozen=True, kw_only=True, eq=False)
class Scoring:
    """What is the same for all tables of a run.

    Attributes
    ----------
    config
        Options.
    chosen, bundles
        The models, resolved and loaded; `bundles` in the order of their columns.
    n_threads
        Threads to score with.
    """

    config: Infer
    chosen: tuple[ResolvedModel, ...]
    bundles: tuple[ModelBundle, ...]
    n_threads: int

    @cached_property
    def options(self) -> str:
        """Return the digest of models and options: what decides on scores besides features, light curves and code."""
        config = self.config
        decides: dict[str, Any] = {
            "models": {bundle.name: bundle.digest for bundle in self.bundles},
            "unfit_models": config.unfit_models,
            "consistency": [config.consistency, config.conflict_margin if config.consistency != "none" else None],
            "source": science_values(config.source) if config.source.given else None,
        }
        return digest_json(decides)


@dataclass(frozen=True, kw_only=True, eq=False)
class TablePlan:
    """What is read of a feature table and what comes out.

    Attributes
    ----------
    rows
        What is scored.
    bundles
        The models that fit the table.
    unfit
        What is to be said of the others.
    identity, carried
        Columns that are kept: which light curve it is, and (name in the scores, name in the table) of its period and weight.
    consistency, drift
        What counts on the way.
    """

    rows: FeatureRows
    bundles: tuple[ModelBundle, ...]
    unfit: tuple[str, ...]
    identity: tuple[str, ...]
    carried: tuple[tuple[str, str], ...]
    consistency: CatalogueConsistency
    drift: DriftCounter | None

    @property
    def features(self) -> tuple[str, ...]:
        """Return the features that the models take, in the order of the table."""
        wanted = {name for bundle in self.bundles for name in bundle.record.features.names}
        return tuple(name for name in self.rows.available if name in wanted)

    @property
    def columns(self) -> list[str]:
        """Return the columns to read."""
        wanted = {*self.identity, *self.features, *(source for _, source in self.carried)}
        wanted |= {"dmdt"} if any(bundle.model.needs_images for bundle in self.bundles) else set()
        return [name for name in self.rows.available if name in wanted]

    @property
    def schema(self) -> pa.Schema:
        """Return the columns of the scores."""
        columns = {column.name: column for column in self.rows.metadata.columns}
        fields = []
        for name, source in [*((name, name) for name in self.identity), *self.carried]:
            column = columns[source]
            unit = {b"unit": column.unit.encode()} if column.unit else None
            fields.append(pa.field(name, pa.type_for_alias(column.dtype), metadata=unit))
        return pa.schema([*fields, *score_fields(self.bundles), *self.consistency.fields])


def plan_table(scoring: Scoring, rows: FeatureRows) -> TablePlan:
    """Return what is read of a feature table and what comes out; one of other features is refused whole.

    Raises
    ------
    FeatureMismatchError
        If the table was made with other features than a model's.
    """
    config, metadata, available = scoring.config, rows.metadata, rows.available
    bundles, unfit = fitting_bundles(scoring.bundles, metadata, config.unfit_models)
    for bundle in bundles:
        bundle.record.features.check(available, metadata.facts, model=bundle.name)
    return TablePlan(
        rows=rows,
        bundles=bundles,
        unfit=unfit,
        identity=(
            *(name for name in ("_id", *IDENTITY) if name in available),
            # By them light curves become stars: Gaia_EDR3___id.
            *(name for name in available if name.endswith(MATCH_ID)),
        ),
        carried=_carried(metadata, available),
        consistency=CatalogueConsistency(bundles, config.consistency, config.conflict_margin),
        drift=DriftCounter(bundles) if config.drift else None,
    )


def table_record(plan: TablePlan, further: Mapping[str, Any] | None = None) -> TableMetadata:
    """Return the record of the scores.

    Parameters
    ----------
    plan
        What comes out.
    further
        What decides on the result besides, where periods are refined.
    """
    models = {bundle.name: bundle.digest for bundle in plan.bundles}
    science = plan.consistency.science
    facts = {
        "models": models,
        "thresholds": {bundle.name: bundle.record.threshold for bundle in plan.bundles},
        **science,
        **{name: plan.rows.metadata.facts[name] for name in CARRIED_FACTS if name in plan.rows.metadata.facts},
    }
    decides: Any = {"models": models, **science} if science else models
    if further is not None:
        decides = {"models": models, **science, **further}
    return TableMetadata(
        kind="predictions", config_digest=digest_json(decides), inputs=tuple(plan.rows.inputs), facts=facts
    )


def refinement_of(scoring: Scoring, plan: TablePlan, light_curves: LightCurveSource) -> Refinement:
    """Return what periods are refined with.

    Raises
    ------
    MissingColumnError
        If the table lacks ids or periods.
    """
    wanted = ("id", f"period_{period_method(plan.rows.metadata.facts)}")
    missing = [name for name in wanted if name not in plan.rows.available]
    if missing:
        where = f"{plan.rows.path} (to refine periods; leave source.path out)"
        raise MissingColumnError(where, missing, plan.rows.available)
    return Refinement(
        source=scoring.config.source,
        light_curves=light_curves,
        features=plan.rows.metadata,
        choice=class_choice(plan.bundles),
        machine=replace(scoring.config.machine, workers=scoring.n_threads),
        batch_rows=scoring.config.batch_rows,
    )


def _carried(metadata: TableMetadata, available: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    method = period_method(metadata.facts)
    # Tables with SCoPe's names, which its imported models take, have its suffix; those that SCoPe made do not say which.
    ends = (
        (method, SUFFIX.get(method))
        if "period_search" in metadata.facts
        else (method, *reversed(tuple(SUFFIX.values())))
    )
    end = next((end for end in ends if f"period_{end}" in available), None)
    found = [] if end is None else [("period", f"period_{end}")]
    if end is None and "period" in available:
        found.append(("period", "period"))
    if end is not None and f"significance_{end}" in available:
        found.append(("period_significance", f"significance_{end}"))
    # SCoPe's tables count points in n, ours in n_obs.
    weights = [name for name in WEIGHTS if name in available and not (name == "n" and "n_obs" in available)]
    return (*found, *((name, name) for name in weights))
