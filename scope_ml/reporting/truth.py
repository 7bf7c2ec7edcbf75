"""What is known of the light curves that are shown: their label, their part of the split, their origin's own word."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from scope_ml.datasets.dataset import Dataset
from scope_ml.datasets.labels import ID_COLUMNS
from scope_ml.datasets.split import PARTS, Split
from scope_ml.io.tables import read_foreign_table
from scope_ml.reporting.examples import Candidate
from scope_ml.reporting.view import Truth

__all__ = ["LabelledStars", "native_classes"]

#: Column of a label table that holds the label as its origin gives it.
NATIVE_COLUMN = "native_class"


class LabelledStars:
    """The training set, asked by the id of a light curve.

    Parameters
    ----------
    dataset, split
        As `datasets.assemble.load_built` returns them.
    native
        The origin's own label by star or light-curve id (as text); may be empty.
    """

    def __init__(self, dataset: Dataset, split: Split, native: Mapping[str, str]) -> None:
        self._dataset = dataset
        self._split = split
        self._native = native
        keys = dataset.table["id"].cast(pa.string()).to_pylist()
        self._row = {key: row for row, key in reversed(list(enumerate(keys)))}

    def annotate(self, tag: str, candidate: Candidate) -> Candidate:
        """Return `candidate` with what is known of it and class `tag`."""
        row = self._row.get(str(candidate.id))
        native = self._native.get(candidate.star, self._native.get(str(candidate.id), ""))
        if row is None or tag not in self._dataset.tags:
            return replace(candidate, native_class=native)
        y, known = self._dataset.column(tag)
        truth: Truth = "undecided" if not known[row] else "yes" if y[row] else "no"
        return replace(candidate, truth=truth, native_class=native, part=PARTS[int(self._split.part[row])])

    def n_labelled(self, tag: str) -> int | None:
        """Return the number of light curves that are known to be of class `tag`; None if no table decides it."""
        if tag not in self._dataset.tags:
            return None
        y, known = self._dataset.column(tag)
        return int(np.count_nonzero(known & (y == 1)))


def native_classes(path: Path) -> dict[str, str]:
    """Return the origin's own label by id (as text) of a label table; empty where it has none.

    Raises
    ------
    FormatError
        If the file cannot be read.
    """
    table = read_foreign_table(path)
    name = next((name for name in ID_COLUMNS if name in table.column_names), None)
    if name is None or NATIVE_COLUMN not in table.column_names:
        return {}
    keys = table[name].cast(pa.string()).to_pylist()
    words = table[NATIVE_COLUMN].cast(pa.string()).to_pylist()
    return {key: word for key, word in zip(keys, words, strict=True) if key is not None and word}
