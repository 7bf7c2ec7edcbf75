"""From feature tables and label tables to a data set with its split: in memory, or read from a built folder.

`train` on hand-given tables and the stage `build_dataset` go through the same door here.
May import `io`, `taxonomy` and below.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from scope_ml.core.configuration import option, to_plain
from scope_ml.core.provenance import Input, digest_file, digest_json
from scope_ml.datasets.dataset import Dataset
from scope_ml.datasets.join import DEFAULT_JOIN, JoinConfig, concatenate, join
from scope_ml.datasets.labels import Labels, merge_labels, read_labels
from scope_ml.datasets.split import DEFAULT_SPLIT, Split, SplitConfig, grouped_stratified_split
from scope_ml.datasets.training_set import read_training_set
from scope_ml.errors import ConfigError, DataError
from scope_ml.io.tables import read_table
from scope_ml.taxonomy.graph import Taxonomy

__all__ = ["DatasetConfig", "assemble", "load_built", "load_dataset", "save_built"]


@dataclass(frozen=True, kw_only=True)
class DatasetConfig:
    """Where a training set comes from: tables given by hand, or the folder of the stage ``build_dataset``.

    The paths are inputs: the digests of their contents count, the paths themselves do not.
    """

    features: str | tuple[str, ...] = option((), machine=True, doc="feature table(s) of generate_features")
    labels: str | tuple[str, ...] = option((), machine=True, doc="label table(s): wide, or id,class or ra,dec,class")
    origins: tuple[str, ...] = option((), doc="name of the survey or set of each feature table")
    path: str | None = option(None, machine=True, doc="folder of build_dataset or training_set.parquet, in their place")
    join: JoinConfig = option(DEFAULT_JOIN, doc="how labels find their light curves")

    @property
    def feature_paths(self) -> tuple[Path, ...]:
        """Paths of the feature tables."""
        return as_paths(self.features)

    @property
    def label_paths(self) -> tuple[Path, ...]:
        """Paths of the label tables."""
        return as_paths(self.labels)


def as_paths(given: str | Sequence[str]) -> tuple[Path, ...]:
    """Return one or several paths as a tuple."""
    return tuple(Path(path) for path in ([given] if isinstance(given, str) else given))


def load_dataset(
    config: DatasetConfig, taxonomy: Taxonomy, split: SplitConfig = DEFAULT_SPLIT
) -> tuple[Dataset, Split]:
    """Read a built folder, or assemble the tables given by hand.

    Raises
    ------
    ConfigError
        If neither or both are given, or the folder was split in another way than `split` asks for.
    """
    tables_given = bool(config.feature_paths or config.label_paths)
    if tables_given == (config.path is not None):
        raise ConfigError(
            "give dataset.features=TABLE and dataset.labels=TABLE, or dataset.path=FOLDER of build_dataset"
            + ("; not both" if tables_given else ""),
            key="dataset",
        )
    if config.path is None:
        return assemble(config.feature_paths, config.label_paths, taxonomy, split, config.join, origins=config.origins)
    dataset, saved = load_built(Path(config.path))
    if saved.config != split:
        raise ConfigError(
            f"the data set {config.path} was split with {to_plain(saved.config)}, asked for is {to_plain(split)};"
            " give the same split.* keys, or build it again",
            key="split",
        )
    if dataset.tags != taxonomy.tags:
        raise ConfigError(
            f"the data set {config.path} has {len(dataset.tags)} classes, conf/class has {len(taxonomy)} others or in"
            " another order; build it again",
            key="dataset.path",
        )
    return dataset, saved


def assemble(
    features: Sequence[Path],
    labels: Sequence[Path],
    taxonomy: Taxonomy,
    split: SplitConfig = DEFAULT_SPLIT,
    join_config: JoinConfig = DEFAULT_JOIN,
    *,
    origins: Sequence[str] = (),
) -> tuple[Dataset, Split]:
    """Read, join and divide.

    Parameters
    ----------
    features
        Feature tables, one for each survey or set.
    labels
        As many label tables, one for each feature table; or another number, which then speak for all features.
    taxonomy
        The classes.
    split, join_config
        How to divide and to join.
    origins
        Name of the survey or set of each feature table; empty takes the labels' own.

    Raises
    ------
    ConfigError
        If nothing is given, a table of features twice, or another number of origins than of features.
    ScopeError
        As `read_table`, `read_labels`, `join`, `concatenate` and `grouped_stratified_split` raise.
    """
    if not features or not labels:
        missing = "features" if not features else "labels"
        raise ConfigError(f"no {missing} given; give {missing}=TABLE (several: {missing}=[A,B])", key=missing)
    repeated = next((path for place, path in enumerate(features) if path in features[:place]), None)
    if repeated is not None:
        raise ConfigError(f"features names {repeated} twice; give each table once", key="features")
    if origins and len(origins) != len(features):
        raise ConfigError(
            f"origins has {len(origins)} name(s) for {len(features)} feature table(s); give one each", key="origins"
        )
    read = [read_labels(path, taxonomy, threshold=join_config.label_threshold) for path in labels]
    paired = read if len(read) == len(features) else [merge_labels(read)] * len(features)
    names = origins or [""] * len(features)
    sets = [_join_one(path, own, join_config, name) for path, own, name in zip(features, paired, names, strict=True)]
    dataset = concatenate(sets, join_config)
    dataset = replace(dataset, config_digest=digest_json([dataset.config_digest, taxonomy.digest]))
    return dataset, grouped_stratified_split(dataset.y, dataset.known, dataset.group, split, origin=dataset.origin)


def save_built(folder: Path, dataset: Dataset, split: Split) -> None:
    """Write a data set and its split into `folder`."""
    split.save(folder, of=dataset.digest)
    dataset.save(folder)


def load_built(folder: Path) -> tuple[Dataset, Split]:
    """Read a folder of `save_built`, or the ``training_set.parquet`` of a data release.

    Raises
    ------
    SchemaError, DataError
        If it is none, is not whole, or holds files of different runs.
    """
    if folder.is_file():
        return read_training_set(folder)
    dataset = Dataset.load(folder)
    split = Split.load(folder, of=dataset.digest)
    if len(split.part) != len(dataset):
        raise DataError(f"data set {folder}: the split has another length than the table; build it again")
    return dataset, split


def _join_one(path: Path, labels: Labels, config: JoinConfig, origin: str) -> Dataset:
    features = read_table(path, kind="features")
    dataset = join(features, labels, config, origin=origin, name=f"feature table {path.name}")
    suffix = f":{origin}" if origin else ""
    sources = (
        Input(name=f"features{suffix}", digest=digest_file(path), n_rows=features.data.num_rows),
        replace(labels.source, name=f"labels{suffix}"),
    )
    return replace(dataset, inputs=sources)
