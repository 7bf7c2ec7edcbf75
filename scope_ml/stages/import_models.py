"""Stage `import_models`: SCoPe's own model files as bundles.

SCoPe keeps a model alone: ``models_<algorithm>/<group>/<tag>/<tag>.<stamp>.json`` or ``.h5``. Its inputs, scaling and
imputation come from SCoPe's configuration; they go into the bundle, which then scores tables with SCoPe's columns
(``generate_features names=legacy``). What it was trained on is not known, nor are its metrics.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from scope_ml.core.configuration import option
from scope_ml.core.machine import Machine
from scope_ml.core.protocols import Progress
from scope_ml.core.provenance import digest_file
from scope_ml.core.report import Report
from scope_ml.datasets.assemble import as_paths
from scope_ml.errors import ConfigError, ModelError, ModelNotFoundError, ScopeError, suggest
from scope_ml.models.bundle import ModelBundle
from scope_ml.models.dnn import DnnModel
from scope_ml.models.feature_record import FeatureRecord
from scope_ml.models.keras_runtime import KerasModel
from scope_ml.models.preparation import PreparationConfig
from scope_ml.models.record import BundleRecord, Provenance
from scope_ml.models.scope_files import (
    n_inputs,
    read_scope_network,
    read_scope_trees,
    settings_of_network,
    settings_of_trees,
)
from scope_ml.models.scope_inputs import FeatureStatistics, Scaling, preparation_of, read_features, read_statistics
from scope_ml.models.xgb import XgbModel
from scope_ml.taxonomy.classes import ClassSpec, load_classes, packaged_conf_dir
from scope_ml.taxonomy.graph import Taxonomy

__all__ = ["ImportModels", "run"]

#: Algorithm by the ending of a file.
KINDS = {".json": "xgb", ".h5": "dnn"}

#: Folder of a bundle within those of its class and algorithm.
FOLDER = "scope"


@dataclass(frozen=True, kw_only=True)
class ImportModels:
    """Options of the stage."""

    path: str = option(machine=True, doc="a .json or .h5 of SCoPe, or a folder of them, at any depth")
    output: str = option(machine=True, doc="folder of bundles to write: <tag>/<algorithm>/scope")
    tag: str | None = option(None, doc="class of the model; null: from the file's name, <tag>.<stamp>.json")
    stats: str | None = option(None, doc="statistics by feature: SCoPe's config.yaml, or .json, or .csv", machine=True)
    scaling: Scaling = option("min_max", doc="scale_features of the training; needs stats")
    features: str | None = option(
        None, doc="inputs: phenomenological, ontological, or a file with names; null: the class's own"
    )
    period_suffix: str | None = option("ELS_ECE_EAOV", doc="suffix of columns that depend on the period search")
    threshold: float | None = option(None, doc="score of a member; null: the class's own", at_least=0, at_most=1)
    class_folders: str | tuple[str, ...] = option(
        (), machine=True, doc="configuration folders whose class/<tag>.yaml add classes of your own"
    )
    machine: Machine = option(Machine(), doc="dry_run reads the models and writes nothing")

    def __post_init__(self) -> None:
        """Check that there is something to scale with."""
        if self.stats is None and self.scaling != "none":
            raise ConfigError(
                f"scaling={self.scaling} needs the statistics that the model was trained with; give stats=config.yaml of"
                " SCoPe (its feature_stats), or scaling=none",
                key="stats",
            )


def run(config: ImportModels, *, progress: Progress) -> Report:
    """Write one bundle for each model; one that cannot be read is named and the others are written.

    Raises
    ------
    ModelNotFoundError
        If there is no model file.
    ConfigError
        If a single model's class is not known.
    FormatError
        If statistics or features cannot be read.
    OutputError
        If the output cannot be written.
    """
    began = time.monotonic()
    taxonomy = load_classes(packaged_conf_dir(), *as_paths(config.class_folders))
    statistics = read_statistics(Path(config.stats)) if config.stats is not None else {}
    files, n_older = _files(Path(config.path))
    progress.start("importing models", len(files))
    done: list[ModelBundle] = []
    failed: list[str] = []
    for file in files:
        try:
            done.append(_import(file, config, taxonomy, statistics))
        except ScopeError as error:
            if len(files) == 1:
                raise
            failed.append(f"{file}: {error}")
        progress.advance()
    progress.finish()
    # Models of one list of features share their warnings.
    warnings = tuple(dict.fromkeys(line for bundle in done for line in bundle.record.preparation.warnings))
    dropped = {"older": n_older, "failed": len(failed)}
    return Report(
        stage="import_models",
        n_in=len(files) + n_older,
        n_out=len(done),
        dropped={reason: count for reason, count in dropped.items() if count},
        seconds=time.monotonic() - began,
        warnings=(*failed, *warnings),
        outputs={} if config.machine.dry_run else {"models": config.output},
        facts={
            "n_failed": len(failed),
            "models": [bundle.name for bundle in done],
            "text": "\n".join(f"{bundle.name}: {len(bundle.record.features.names)} features" for bundle in done),
        },
    )


def _files(path: Path) -> tuple[list[Path], int]:
    """Return the model files, of each class and kind the newest by its stamp, and how many older ones there are."""
    if path.is_file():
        return [path], 0
    found = sorted(file for file in path.rglob("*") if file.suffix in KINDS and file.is_file() and _is_model(file))
    if not found:
        raise ModelNotFoundError(f"path={path} is no .json or .h5 of SCoPe and no folder of them")
    newest = {(file.name.partition(".")[0], file.suffix): file for file in sorted(found, key=lambda file: file.name)}
    return sorted(newest.values()), len(found) - len(newest)


def _is_model(file: Path) -> bool:
    """Leave out what lies beside the models: ``<tag>.<stamp>_plots`` with importances and statistics."""
    return not any(folder.name.endswith("_plots") for folder in file.parents)


def _import(
    file: Path, config: ImportModels, taxonomy: Taxonomy, statistics: dict[str, FeatureStatistics]
) -> ModelBundle:
    spec = _spec(file, config, taxonomy)
    kind = KINDS.get(file.suffix)
    if kind is None:
        raise ModelError(f"{file} is neither .json nor .h5; give a model file of SCoPe")
    model: XgbModel | DnnModel | KerasModel
    if kind == "xgb":
        model, settings = read_scope_trees(file), settings_of_trees(file)
    else:
        model = network = read_scope_network(file)
        settings = settings_of_network(network)
    # What the bundle's preparation does, instead of what the algorithm would do by itself.
    settings = replace(settings, preparation=PreparationConfig(impute="by_feature", scale=config.scaling))
    features = read_features(config.features, spec.feature_set, config.period_suffix)
    expected = n_inputs(model)
    if expected not in (0, len(features)):
        raise ModelError(
            f"{file} takes {expected} features, the list {config.features or spec.feature_set} has {len(features)};"
            " give features=phenomenological, ontological or a file with the names it was trained with"
        )
    record = BundleRecord(
        spec=spec,
        algorithm=settings,
        features=FeatureRecord(names=tuple(feature.column for feature in features)),
        preparation=preparation_of(features, statistics, config.scaling),
        threshold=spec.threshold,
        seed=0,
        model_facts=model.facts(),
        provenance=Provenance(config_digest=digest_file(file)),
    )
    bundle = ModelBundle(record=record, model=model)
    if config.machine.dry_run:
        return bundle
    return bundle.save(Path(config.output) / spec.tag / kind / FOLDER)


def _spec(file: Path, config: ImportModels, taxonomy: Taxonomy) -> ClassSpec:
    tag = config.tag or file.name.partition(".")[0]
    if tag not in taxonomy:
        known: Sequence[str] = taxonomy.tags
        raise ConfigError(
            f"{file}: {tag} is no class{suggest(tag, known)}; give tag=..., or class_folders=FOLDER with its file",
            key="tag",
            choices=known,
        )
    spec = taxonomy[tag]
    return spec if config.threshold is None else replace(spec, threshold=config.threshold)
