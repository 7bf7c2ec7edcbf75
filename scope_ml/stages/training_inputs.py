"""What `train` trains on: each data set read once, prepared once for all the models that can share the result.

May import `models`, `datasets`, `features` and below.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from scope_ml.core.configuration import science_values, to_plain
from scope_ml.core.provenance import digest_json
from scope_ml.datasets.assemble import DatasetConfig, as_paths, load_dataset
from scope_ml.datasets.dataset import Dataset
from scope_ml.datasets.split import Split, SplitConfig
from scope_ml.errors import ConfigError, FeatureMismatchError, suggest
from scope_ml.features.registry import column_spec, feature_set
from scope_ml.models.algorithms import configure, settle
from scope_ml.models.feature_record import FeatureRecord
from scope_ml.models.fit import ClassLabels, FitConfig, TrainingSet, training_set
from scope_ml.models.inputs import Float32Array
from scope_ml.models.record import Provenance
from scope_ml.models.tables import feature_matrix, has_images, image_column
from scope_ml.stages.training_options import Train
from scope_ml.stages.tuned_settings import tuned_settings
from scope_ml.taxonomy.classes import ClassSpec, load_classes, packaged_conf_dir
from scope_ml.taxonomy.graph import Taxonomy

__all__ = ["PreparedData", "TrainingInputs", "TrainingLibrary", "period_method", "training_inputs"]

#: Method of the period search of tables whose record does not say it.
DEFAULT_METHOD = "ls"


@dataclass(frozen=True, kw_only=True)
class PreparedData:
    """A data set as models see it, and the labels of all classes.

    Attributes
    ----------
    name
        Short name, of its own within one library.
    data
        Prepared features and the split.
    dataset
        Where it comes from: tags, labels, what is known of each.
    """

    name: str
    data: TrainingSet
    dataset: Dataset

    def labels(self, spec: ClassSpec) -> ClassLabels:
        """Return the labels of one class."""
        y, known = self.dataset.column(spec.tag)
        return ClassLabels(spec=spec, y=y, known=known, weight=self.dataset.weight)


@dataclass(frozen=True, kw_only=True)
class TrainingInputs:
    """Everything that a training needs besides its seed.

    Attributes
    ----------
    prepared
        Prepared features with the split, and the labels.
    spec
        The class.
    settings
        The algorithm's settings, nulls filled in.
    fit
        Fewest positives, calibration, resamples.
    provenance
        Digests of data, split and configuration.
    """

    prepared: PreparedData
    spec: ClassSpec
    settings: Any
    fit: FitConfig
    provenance: Provenance

    @property
    def data(self) -> TrainingSet:
        """Return the prepared features."""
        return self.prepared.data

    @property
    def labels(self) -> ClassLabels:
        """Return the class and its labels."""
        return self.prepared.labels(self.spec)


class TrainingLibrary:
    """Data sets by where they come from, and what was prepared of them, each made once."""

    def __init__(self) -> None:
        self._read: dict[str, tuple[Dataset, Split]] = {}
        self._taxonomies: dict[tuple[str, ...], Taxonomy] = {}
        self._images: dict[str, Float32Array] = {}
        self._prepared: dict[str, PreparedData] = {}
        # What the code is is looked up once: git takes longer than all the rest.
        self._code = Provenance()

    @property
    def prepared(self) -> tuple[PreparedData, ...]:
        """Return all that was prepared."""
        return tuple(self._prepared.values())

    def inputs(self, config: Train) -> TrainingInputs:
        """Return what one class and algorithm are trained on.

        Raises
        ------
        ConfigError
            If the class, the set of features, the algorithm or one of its settings is unknown.
        FeatureMismatchError
            If the feature table lacks features of the set.
        ScopeError
            As `load_dataset` and `training_set` raise.
        """
        folders = tuple(map(str, as_paths(config.class_folders)))
        if folders not in self._taxonomies:
            self._taxonomies[folders] = load_classes(packaged_conf_dir(), *as_paths(config.class_folders))
        return self.of(
            config.dataset,
            config.split,
            self._taxonomies[folders],
            spec=config.class_spec,
            settings=configure(config.algorithm),
            fit=config.fit,
            set_name=config.feature_set.name if config.feature_set is not None else None,
            tuned=tuned_settings(config),
        )

    def of(
        self,
        dataset: DatasetConfig,
        split: SplitConfig,
        taxonomy: Taxonomy,
        *,
        spec: ClassSpec,
        settings: Any,
        fit: FitConfig,
        set_name: str | None = None,
        tuned: Mapping[str, Any] | None = None,
    ) -> TrainingInputs:
        """Return what one class and algorithm are trained on, see `training_inputs`."""
        if spec.tag not in taxonomy:
            raise ConfigError(
                f"class {spec.tag} is not in the taxonomy{suggest(spec.tag, taxonomy.tags)}; give"
                " class_folders=FOLDER with its class/<tag>.yaml",
                key="class",
                choices=taxonomy.tags,
            )
        source = digest_json([to_plain(dataset), to_plain(split), taxonomy.digest, list(taxonomy.tags)])
        if source not in self._read:
            self._read[source] = load_dataset(dataset, taxonomy, split)
        built, division = self._read[source]
        names = feature_set(set_name or spec.feature_set, period_method(built.facts), built.table.column_names)
        _check_features(built, names, set_name or spec.feature_set)
        settled = settle(settings, spec, tuned)
        prepared = self._prepare(source, names, settled)
        return TrainingInputs(
            prepared=prepared,
            spec=spec,
            settings=settled,
            fit=fit,
            provenance=self._provenance(built, division, science=[spec, settled, fit], features=prepared.data.features),
        )

    def _prepare(self, source: str, names: Sequence[str], settings: Any) -> PreparedData:
        with_images = getattr(settings, "dmdt_branch", False)
        if with_images is None:
            with_images = has_images(self._read[source][0].table)
        key = digest_json([source, list(names), to_plain(settings.preparation), with_images])
        if key in self._prepared:
            return self._prepared[key]
        built, division = self._read[source]
        if with_images and source not in self._images:
            self._images[source] = image_column(built.table)
        data = training_set(
            feature_matrix(built.table, names),
            FeatureRecord.of_table(names, built.facts),
            settings.preparation,
            group=built.group,
            part=division.part,
            policies={name: column_spec(name).missing for name in names},
            images=self._images[source] if with_images else None,
            origin=built.origin,
        )
        self._prepared[key] = PreparedData(name=key[:16], data=data, dataset=built)
        return self._prepared[key]

    def _provenance(
        self, built: Dataset, division: Split, *, science: Sequence[Any], features: FeatureRecord
    ) -> Provenance:
        parts = [*(science_values(part) for part in science), features.digest]
        return replace(
            self._code, data_digest=built.digest, split_digest=division.digest, config_digest=digest_json(parts)
        )


def training_inputs(
    dataset: DatasetConfig,
    split: SplitConfig,
    taxonomy: Taxonomy,
    *,
    spec: ClassSpec,
    settings: Any,
    fit: FitConfig,
    set_name: str | None = None,
    tuned: Mapping[str, Any] | None = None,
) -> TrainingInputs:
    """Read one data set and prepare it for one class and algorithm.

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
    tuned
        Settings that a study found best.

    Raises
    ------
    ScopeError
        As `TrainingLibrary.inputs` raises.
    """
    return TrainingLibrary().of(
        dataset, split, taxonomy, spec=spec, settings=settings, fit=fit, set_name=set_name, tuned=tuned
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
