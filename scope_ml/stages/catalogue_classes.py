"""Which class decides on the period of a light curve, from its scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from scope_ml.models.bundle import ModelBundle
from scope_ml.taxonomy.classes import ClassSpec, load_classes, packaged_conf_dir
from scope_ml.taxonomy.graph import Taxonomy

__all__ = ["ClassChoice", "ancestors", "class_choice"]


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassChoice:
    """The classes that may decide on a period, and how they are ranked.

    Attributes
    ----------
    tags
        The n_tags classes that have a model and of which `refine_period` knows what to expect.
    columns
        Score columns of each, one an algorithm.
    threshold
        Mean threshold of its models, float64 (n_tags,).
    implies
        Whether the class of the row implies that of the column, bool (n_tags, n_tags).
    tells
        False for shapes from which nothing follows for the period, bool (n_tags,).
    """

    tags: tuple[str, ...]
    columns: tuple[tuple[str, ...], ...]
    threshold: NDArray[np.float64]
    implies: NDArray[np.bool_]
    tells: NDArray[np.bool_]

    def decide(self, scores: pa.Table) -> NDArray[np.int16]:
        """Return the class of each row as its number in `tags`, or -1; int16 (n_rows,).

        A class is reached where the mean of its algorithms' scores is not below that of their thresholds. Of
        the reached classes that no other reached class implies, the highest score decides, and of equal ones the first; a
        class that does not tell anything, such as ``sin``, decides only where there is no other.
        """
        if not self.tags:
            return np.full(scores.num_rows, -1, dtype=np.int16)
        mean = np.stack([_mean(scores, names) for names in self.columns], axis=1)
        reached = mean >= self.threshold
        implied = (reached.astype(np.float32) @ self.implies.astype(np.float32)) > 0
        specific = reached & ~implied
        # Scores are at most 1: what tells comes before what does not.
        rank = np.where(specific, mean + 2.0 * self.tells, -1.0)
        return np.where(specific.any(axis=1), rank.argmax(axis=1), -1).astype(np.int16)


def class_choice(bundles: Sequence[ModelBundle]) -> ClassChoice:
    """Return what the classes of some models, in the order of their columns, say about periods."""
    # The kernels take seconds to import and are needed with light curves only.
    from scope_ml.kernels.refinement.expectations import EXPECTED, Minima

    specs = {bundle.tag: bundle.record.spec for bundle in bundles}
    models = {tag: [bundle for bundle in bundles if bundle.tag == tag] for tag in specs if tag in EXPECTED}
    tags = tuple(models)
    above = ancestors(specs)
    return ClassChoice(
        tags=tags,
        columns=tuple(tuple(bundle.name for bundle in models[tag]) for tag in tags),
        threshold=np.array([np.mean([bundle.record.threshold for bundle in models[tag]]) for tag in tags]),
        implies=np.array([[other in above[tag] for other in tags] for tag in tags], dtype=np.bool_),
        tells=np.array(
            [EXPECTED[tag] is not Minima.ANY or specs[tag].kind == "ontological" for tag in tags], dtype=np.bool_
        ),
    )


def ancestors(specs: Mapping[str, ClassSpec]) -> dict[str, frozenset[str]]:
    """Return all that each class implies, by the parents its model was trained with and the class files above them."""
    known = {**_classes_in(packaged_conf_dir()).classes, **specs}
    above = {}
    for tag, spec in specs.items():
        found: set[str] = set()
        waiting = list(spec.parents)
        while waiting:
            parent = waiting.pop()
            if parent not in found:
                found.add(parent)
                waiting += known[parent].parents if parent in known else ()
        # A parent that was changed after training must not make a class its own ancestor.
        above[tag] = frozenset(found - {tag})
    return above


@cache
def _classes_in(folder: Path) -> Taxonomy:
    """Return the classes of a folder of configuration files, read once: that takes longer than scoring a small table."""
    return load_classes(folder)


def _mean(scores: pa.Table, names: Sequence[str]) -> NDArray[np.float64]:
    """Return the mean of some score columns, float64 (n_rows,)."""
    mean: NDArray[np.float64] = np.mean([scores[name].to_numpy().astype(np.float64) for name in names], axis=0)
    return mean
