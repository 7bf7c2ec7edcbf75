"""A data set and its split as one table, ``training_set.parquet``, as data releases hold it; and back.

One row a light curve: its id and place, its features, its star (``group``), one column a class (0 or 1, and
``uncertain_tags`` for what is not known), and ``part``: train, val or test. May import `dataset`, `split`, `io` and below.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from scope_ml.core.configuration import to_plain
from scope_ml.core.provenance import TableMetadata
from scope_ml.datasets.dataset import Dataset
from scope_ml.datasets.split import PARTS, Split, SplitConfig
from scope_ml.errors import DataError, MetadataError
from scope_ml.io.tables import read_table, write_table

__all__ = ["KIND", "read_training_set", "write_training_set"]

#: What the record of the table says it is.
KIND = "training_set"

#: Columns beside features and classes.
GROUP, ORIGIN, UNCERTAIN, WEIGHT, PART = "group", "origin", "uncertain_tags", "weight", "part"


def write_training_set(path: Path, dataset: Dataset, split: Split) -> None:
    """Write the one table.

    Raises
    ------
    DataError
        If a feature has the name of a class or of another column.
    OutputError
        If it cannot be written.
    """
    columns: dict[str, Any] = {
        GROUP: pa.array(dataset.group),
        ORIGIN: pa.array(dataset.origin.tolist(), pa.string()),
        **{tag: pa.array(dataset.y[:, place]) for place, tag in enumerate(dataset.tags)},
        UNCERTAIN: pa.array(
            [",".join(tag for tag, sure in zip(dataset.tags, row, strict=True) if not sure) for row in dataset.known],
            pa.string(),
        ),
        PART: pa.array(np.array(PARTS, dtype=object)[split.part].tolist(), pa.string()),
    }
    if dataset.weight is not None:
        columns[WEIGHT] = pa.array(dataset.weight)
    twice = sorted(set(columns) & set(dataset.table.column_names))
    if twice:
        raise DataError(
            f"the features and the classes both have the column {twice[0]}; a training set holds both in one table:"
            " rename the feature, or the class"
        )
    table = dataset.table
    for name, values in columns.items():
        table = table.append_column(name, values)
    own = {
        "tags": list(dataset.tags),
        "counts": dict(dataset.counts),
        "features_of": dataset.table.column_names,
        "facts": dict(dataset.facts),
        "digest": dataset.digest,
        "split": to_plain(split.config),
    }
    record = TableMetadata(kind=KIND, config_digest=dataset.config_digest, inputs=dataset.inputs, facts=own)
    write_table(table, path, record)


def read_training_set(path: Path) -> tuple[Dataset, Split]:
    """Read the table of `write_training_set` as the data set and the split that it was made of.

    Raises
    ------
    SchemaError
        If it is no such table.
    DataError
        If its rows are not those it was written with.
    """
    read = read_table(path, kind=KIND)
    data, own = read.data, dict(read.metadata.facts)
    lacking = sorted({"tags", "counts", "features_of", "facts", "digest", "split"} - set(own))
    if lacking:
        raise MetadataError(f"{path}: its record lacks {', '.join(lacking)}; pack the training set again")
    tags = tuple(own["tags"])
    uncertain = [set(text.split(",")) for text in data[UNCERTAIN].to_pylist()]
    known = np.array([[tag not in row for tag in tags] for row in uncertain], dtype=bool).reshape(-1, len(tags))
    dataset = Dataset(
        table=data.select(own["features_of"]),
        tags=tags,
        y=np.stack([data[tag].to_numpy() for tag in tags], axis=1).astype(np.int8),
        known=known,
        group=data[GROUP].to_numpy().astype(np.int64),
        origin=np.array(data[ORIGIN].to_pylist(), dtype=np.str_),
        counts=own["counts"],
        inputs=read.metadata.inputs,
        config_digest=read.metadata.config_digest,
        facts=own["facts"],
        weight=data[WEIGHT].to_numpy().astype(np.float32) if WEIGHT in data.column_names else None,
    )
    if dataset.digest != own["digest"]:
        raise DataError(f"{path}: its rows are not those it was written with (digest differs); fetch it again")
    part = np.array([PARTS.index(name) for name in data[PART].to_pylist()], dtype=np.int8)
    return dataset, Split(part=part, config=SplitConfig(**own["split"]))
