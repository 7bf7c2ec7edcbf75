"""`Dataset`: light curves' features with their labels, in memory and as a folder of Parquet tables.

May import `io`, `taxonomy` and below.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scope_ml.core.provenance import Input, TableMetadata, digest_json
from scope_ml.errors import DataError
from scope_ml.io.tables import read_table, write_table

__all__ = ["LABELS_FILE", "TABLE_FILE", "Dataset"]

#: Files of a saved data set.
TABLE_FILE, LABELS_FILE = "table.parquet", "labels.parquet"


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """n light curves (one row each) of fewer stars, with features and labels.

    Attributes
    ----------
    table
        The feature table's columns (ids, place, features); rows in the order of the features.
    tags
        Classes: the columns of `y` and `known`.
    y
        int8 (n, n_tags), 1 for members. Where `known` is False the value means nothing: mask it.
    known
        bool (n, n_tags), False where the label is missing or uncertain.
    group
        int64 (n,), number of the star, the same in all its bands and fields.
    origin
        str (n,), name of the survey or set ("" if it has none).
    counts
        Rows and labels that found no partner: ``features``, ``matched``, ``without_label``, ``labels``,
        ``labels_without_features``, ``ambiguous_positions``; ``labels_off_grid`` counts labels that are neither 0, 0.25,
        0.5, 0.75 nor 1.
    inputs
        What it was made from.
    config_digest
        Digest of the options of the join and of the taxonomy.
    facts
        The feature table's facts, such as ``feature_digest``.
    weight
        float32 (n,), how much each light curve counts in training, 0 or more; None: all alike.
    """

    table: pa.Table
    tags: tuple[str, ...]
    y: npt.NDArray[np.int8]
    known: npt.NDArray[np.bool_]
    group: npt.NDArray[np.int64]
    origin: npt.NDArray[np.str_]
    counts: Mapping[str, int]
    inputs: tuple[Input, ...] = ()
    config_digest: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    weight: npt.NDArray[np.float32] | None = None

    def __len__(self) -> int:
        """Return the number of light curves."""
        return len(self.y)

    @property
    def n_stars(self) -> int:
        """Number of stars."""
        return len(np.unique(self.group))

    @cached_property
    def digest(self) -> str:
        """Hex digest of what training sees: what it was made from and how, and what came out.

        The labels themselves count, since what a label table's words mean depends on the aliases of the classes and on
        the code that reads them. The order of the tags does not count, nor does `y` where it is not known.
        """
        tags = sorted(self.tags)
        columns = [self.tags.index(tag) for tag in tags]
        known = self.known[:, columns]
        made_of = [[[one.name, one.digest] for one in self.inputs], self.config_digest, tags]
        hasher = hashlib.sha256(digest_json([made_of, self.table["id"].to_pylist(), self.origin.tolist()]).encode())
        for values in (self.group.astype("<i8"), (self.y[:, columns] == 1) & known, known):
            hasher.update(np.ascontiguousarray(values).data)
        if self.weight is not None:
            hasher.update(self.weight.astype("<f4").tobytes())
        return hasher.hexdigest()

    def column(self, tag: str) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.bool_]]:
        """Return `y` and `known` of one class, shape (n,) each."""
        number = self.tags.index(tag)
        return self.y[:, number], self.known[:, number]

    def save(self, folder: Path) -> None:
        """Write the folder's two tables: the features, and the labels as a wide label table.

        Raises
        ------
        OutputError
            If the folder cannot be written.
        """
        facts = {**self.facts, "tags": list(self.tags), "counts": dict(self.counts)}
        record = TableMetadata(kind="dataset", config_digest=self.config_digest, inputs=self.inputs, facts=facts)
        # The labels first: a folder that was left half-written has labels of another digest and is refused.
        write_table(self._label_table(), folder / LABELS_FILE, TableMetadata(kind="labels", facts={"of": self.digest}))
        write_table(self.table, folder / TABLE_FILE, record)

    @classmethod
    def load(cls, folder: Path) -> Dataset:
        """Read a folder written by `save`.

        Raises
        ------
        SchemaError
            If a table is missing, broken or no data set of ours.
        DataError
            If the tables are of different runs.
        """
        features = read_table(folder / TABLE_FILE, kind="dataset")
        labels = read_table(folder / LABELS_FILE, kind="labels")
        facts = dict(features.metadata.facts)
        tags, counts = tuple(facts.pop("tags")), facts.pop("counts")
        uncertain = labels.data["uncertain_tags"].to_pylist()
        patterns = {text: np.isin(tags, text.split(","), invert=True) for text in set(uncertain)}
        dataset = cls(
            table=features.data,
            tags=tags,
            y=np.stack([labels.data[tag].to_numpy() for tag in tags], axis=1).astype(np.int8),
            known=np.array([patterns[text] for text in uncertain], dtype=bool).reshape(-1, len(tags)),
            group=labels.data["group"].to_numpy().astype(np.int64),
            origin=np.array(labels.data["origin"].to_pylist(), dtype=np.str_),
            counts=counts,
            inputs=features.metadata.inputs,
            config_digest=features.metadata.config_digest,
            facts=facts,
            weight=labels.data["weight"].to_numpy().astype(np.float32)
            if "weight" in labels.data.column_names
            else None,
        )
        if labels.metadata.facts.get("of") != dataset.digest or len(dataset.y) != dataset.table.num_rows:
            raise DataError(f"data set {folder}: its tables are of different runs; build it again")
        return dataset

    def _label_table(self) -> pa.Table:
        # Packed into one value a row: far faster to sort than rows of 52.
        packed = np.packbits(self.known, axis=1)
        _, first, number = np.unique(packed.view(f"V{packed.shape[1]}"), return_index=True, return_inverse=True)
        patterns = self.known[first]
        texts = [",".join(tag for tag, sure in zip(self.tags, row, strict=True) if not sure) for row in patterns]
        columns: dict[str, Any] = {
            "id": self.table["id"],
            "group": self.group,
            "origin": pa.array(self.origin.tolist(), pa.string()),
            **{tag: self.y[:, position] for position, tag in enumerate(self.tags)},
            "uncertain_tags": pa.array(texts, pa.string()).take(pa.array(number.ravel())),
        }
        if self.weight is not None:
            columns["weight"] = self.weight
        return pa.table(columns)
