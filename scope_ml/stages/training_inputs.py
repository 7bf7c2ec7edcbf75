"""What `train` trains on: the data set, prepared once for all seeds of one class and algorithm.

May import `models`, `datasets`, `features` and below.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scope_ml.core.configuration import science_values
from scope_ml.core.provenance import digest_json
from scope_ml.datasets.assemble import DatasetConfig, load_dataset
from scope_ml.datasets.dataset import Dataset
from scope_ml.datasets.split import Split, SplitConfig
from scope_ml.errors import ConfigError, FeatureMismatchError, suggest
from scope_ml.features.registry import column_spec, feature_set
from scope_ml.models.algorithms import settle
from scope_ml.models.feature_record import FeatureRecord
from scope_ml.models.fit import ClassLabels, FitConfig, TrainingSet, training_set
from scope_ml.models.record import Provenance
from scope_ml.models.tables import feature_matrix, image_column
from scope_ml.taxonomy.classes import ClassSpec
from scope_ml.taxonomy.graph import Taxonomy

__all__ = ["TrainingInputs", "period_method", "training_inputs"]

#: Method of the period search of tables whose record does not say it.
DEFAULT_METHOD = "ls"


@dataclass(frozen=True, kw_only=True)
class TrainingInputs:
    """Everything that a training needs besides its seed.

    Attributes
    ----------
    data
        Prepared features and the split.
    labels
        The class and its labels.
    settings
        The algorithm's settings, nulls filled in.
    fit
        Fewest positives, resamples.
    provenance
        Digests of data, split and configuration.
    """

    data: TrainingSet
    labels: ClassLabels
    settings: Any
    fit: FitConfig
    provenance: Provenance


def training_inputs(
    dataset: DatasetConfig,
    split: SplitConfig,
    taxonomy: Taxonomy,
    *,
    spec: ClassSpec,
    settings: Any,
    fit: FitConfig,
    set_name: str | None,
) -> TrainingInputs:
    """Read the data set and prepare it.

    Parameters
    ----------
    dataset, split
        Where the data set comes from and how it is divided.
    taxonomy
        The classes.
    spec
        The class, with its settings.
    settings
        The algorithm's settings (`algorithms.configure`).
    fit
        Fewest positives, resamples.
    set_name
        Name of the set of model inputs; None takes the class's own.

    Raises
    ------
    ConfigError
        If the class or the set of features is unknown.
    FeatureMismatchError
        If the feature table lacks features of the set.
    ScopeError
        As `load_dataset` and `training_set` raise.
    """
    if spec.tag not in taxonomy:
        raise ConfigError(
            f"class {spec.tag} is not in the taxonomy{suggest(spec.tag, taxonomy.tags)}; give"
            " class_folders=FOLDER with its class/<tag>.yaml",
            key="class",
            choices=taxonomy.tags,
        )
    built, division = load_dataset(dataset, taxonomy, split)
    names = feature_set(set_name or spec.feature_set, period_method(built.facts), built.table.column_names)
    _check_features(built, names, set_name or spec.feature_set)
    features = FeatureRecord.of_table(names, built.facts)
    settled = settle(settings, spec)
    data = training_set(
        feature_matrix(built.table, names),
        features,
        settled.preparation,
        group=built.group,
        part=division.part,
        policies={name: column_spec(name).missing for name in names},
        images=image_column(built.table) if getattr(settled, "dmdt_branch", False) else None,
    )
    y, known = built.column(spec.tag)
    return TrainingInputs(
        data=data,
        labels=ClassLabels(spec=spec, y=y, known=known),
        settings=settled,
        fit=fit,
        provenance=_provenance(built, division, science=[spec, settled, fit], features=features),
    )


def period_method(facts: Mapping[str, Any]) -> str:
    """Return the short name of the period search of a feature table with these facts, such as ``ls``."""
    search = facts.get("period_search", DEFAULT_METHOD)
    return str(search.get("method", DEFAULT_METHOD) if isinstance(search, Mapping) else search)


def _check_features(built: Dataset, names: Sequence[str], set_name: str) -> None:
    missing = [name for name in names if name not in built.table.column_names]
    if missing:
        shown = ", ".join(missing[:8]) + (f" and {len(missing) - 8} more" if len(missing) > 8 else "")
        raise FeatureMismatchError(
            f"the feature table lacks {len(missing)} column(s) of the set {set_name}: {shown};"
            " type python -m scope_ml.generate_features to compute them, or give feature_set=...",
            missing=missing,
        )


def _provenance(built: Dataset, division: Split, *, science: Sequence[Any], features: FeatureRecord) -> Provenance:
    parts = [*(science_values(part) for part in science), features.digest]
    return Provenance(data_digest=built.digest, split_digest=division.digest, config_digest=digest_json(parts))
