"""Scores of many models for one table, in one pass over it.

Works block by block, so that memory does not grow with the table. Of each block, features are read and prepared once for
all models that share them; networks of one architecture are computed together, a network behind several bundles
(`dnn_shared`) once; trees run on threads, a model each. A row's score depends neither on other rows nor on the models
beside it: it is what `ModelBundle.predict` gives.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import numpy as np
import pyarrow as pa

from scope_ml.core.protocols import NullProgress, Progress
from scope_ml.errors import ModelError
from scope_ml.models.bundle import ModelBundle
from scope_ml.models.calibration import Calibration
from scope_ml.models.dnn import DnnModel, check_inputs
from scope_ml.models.ensemble_model import EnsembleModel, mean, spread
from scope_ml.models.inputs import Float32Array, Inputs, Model
from scope_ml.models.preparation import Preparation
from scope_ml.models.tables import feature_matrix, image_column, table_facts
from scope_ml.models.xgb import XgbModel
from scope_ml.networks.architecture import Architecture

__all__ = ["SPREAD", "score"]

#: Rows worked on at once: 61 features of so many rows are 16 MB.
BLOCK_ROWS = 32_768

#: Behind the name of an ensemble's column: the standard deviation of its members.
SPREAD = "_spread"


def score(
    bundles: Sequence[ModelBundle],
    table: pa.Table,
    *,
    facts: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    n_threads: int | None = None,
) -> pa.Table:
    """Return one float32 column ``<tag>_<algorithm>`` per bundle, in their order, with the rows of `table`.

    Behind the column of an ensemble stands ``<tag>_<algorithm>_spread``, the standard deviation of its members.

    Parameters
    ----------
    bundles
        Models, one per class and algorithm.
    table
        Feature table.
    facts
        Facts of the table's metadata record, where the table itself does not carry it (schema key ``scope``).
    progress
        Is told the rows done.
    n_threads
        Threads; None: as many as the models were loaded with. Scores do not depend on it.

    Raises
    ------
    ModelError
        If two bundles would fill the same column, or a network would have to take a missing feature.
    FeatureMismatchError
        If the table does not fit one of the models; nothing is scored then.
    DataError
        If a feature's column does not hold numbers.
    """
    names = [bundle.name for bundle in bundles]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ModelError(f"more than one model for {', '.join(twice)}; give one per class and algorithm")
    known = table_facts(table) if facts is None else facts
    for bundle in bundles:
        bundle.record.features.check(table.column_names, known, model=bundle.name)
    progress = progress or NullProgress()
    progress.start(f"scoring with {len(bundles)} models", table.num_rows)
    columns = {name: np.empty(table.num_rows, dtype=np.float32) for name in _column_names(bundles)}
    plan = _Plan(bundles, n_threads)
    with plan.one_thread_each(), ThreadPoolExecutor(plan.n_threads, thread_name_prefix="scope") as pool:
        for start in range(0, table.num_rows, BLOCK_ROWS):
            block = table.slice(start, BLOCK_ROWS)
            for name, values in plan.columns(block, pool).items():
                columns[name][start : start + block.num_rows] = values
            progress.advance(block.num_rows)
    progress.finish()
    return pa.table({name: pa.array(column) for name, column in columns.items()})


def _column_names(bundles: Sequence[ModelBundle]) -> list[str]:
    names = []
    for bundle in bundles:
        names.append(bundle.name)
        if isinstance(bundle.model, EnsembleModel):
            names.append(bundle.name + SPREAD)
    return names


@dataclass(frozen=True)
class _Part:
    """A model that is no ensemble, what prepares its features, and its calibration within an ensemble."""

    model: Model
    preparation: Preparation
    calibration: Calibration | None


@dataclass
class _Networks:
    """Networks of one architecture and preparation: parameters of each distinct one, and who wants which output."""

    parameters: list[Float32Array] = field(default_factory=list)
    places: dict[bytes, int] = field(default_factory=dict)
    wanted: list[tuple[int, int, int]] = field(default_factory=list)

    def add(self, part: int, model: DnnModel) -> None:
        """Note that a part is one of the outputs of a network."""
        digest = blake2b(model.parameters.tobytes()).digest()
        place = self.places.setdefault(digest, len(self.parameters))
        if place == len(self.parameters):
            self.parameters.append(model.parameters)
        self.wanted.append((part, place, model.output))


class _Plan:
    """Which models are computed together."""

    def __init__(self, bundles: Sequence[ModelBundle], n_threads: int | None) -> None:
        self.bundles = bundles
        self.parts: list[_Part] = []
        self.parts_of: list[list[int]] = []
        for bundle in bundles:
            preparation = bundle.record.preparation
            if isinstance(bundle.model, EnsembleModel):
                own = [_Part(member.model, preparation, member.calibration) for member in bundle.model.members]
            else:
                own = [_Part(bundle.model, preparation, None)]
            self.parts_of.append(list(range(len(self.parts), len(self.parts) + len(own))))
            self.parts += own
        self.needs_images = any(part.model.needs_images for part in self.parts)
        self.n_threads = n_threads or max((getattr(part.model, "n_threads", 1) for part in self.parts), default=1)
        self.networks: dict[tuple[str, Architecture], _Networks] = {}
        self.trees: list[int] = []
        self.others: list[int] = []
        for place, part in enumerate(self.parts):
            if isinstance(part.model, DnnModel):
                key = (part.preparation.digest, part.model.architecture)
                self.networks.setdefault(key, _Networks()).add(place, part.model)
            elif isinstance(part.model, XgbModel):
                self.trees.append(place)
            else:
                self.others.append(place)

    def columns(self, block: pa.Table, pool: ThreadPoolExecutor) -> dict[str, Float32Array]:
        """Return the columns of one block of the table."""
        inputs = self._inputs(block)
        raw = self._raw_scores(inputs, pool)
        columns: dict[str, Float32Array] = {}
        for bundle, places in zip(self.bundles, self.parts_of, strict=True):
            own = [_calibrated(self.parts[place], raw[place]) for place in places]
            if isinstance(bundle.model, EnsembleModel):
                members = np.stack(own)
                columns[bundle.name] = bundle.calibrated(mean(members))
                columns[bundle.name + SPREAD] = spread(members)
            else:
                columns[bundle.name] = bundle.calibrated(own[0])
        return columns

    def _inputs(self, block: pa.Table) -> dict[str, Inputs]:
        """Return what the models take, by digest of the preparation."""
        images = image_column(block) if self.needs_images else None
        inputs: dict[str, Inputs] = {}
        for part in self.parts:
            preparation = part.preparation
            if preparation.digest not in inputs:
                x = preparation.transform(feature_matrix(block, preparation.features))
                inputs[preparation.digest] = Inputs(x=x, images=images)
        return inputs

    def _raw_scores(self, inputs: Mapping[str, Inputs], pool: ThreadPoolExecutor) -> dict[int, Float32Array]:
        """Return the scores of each part before any calibration."""
        from scope_ml.networks.scoring import score_many

        raw: dict[int, Float32Array] = {}
        for (digest, architecture), networks in self.networks.items():
            own = inputs[digest]
            check_inputs(architecture, own)
            parameters = np.stack(networks.parameters)
            found = score_many(architecture, parameters, own.x, own.images, n_threads=self.n_threads)
            for place, network, output in networks.wanted:
                raw[place] = np.ascontiguousarray(found[:, network, output])

        def predict(place: int) -> Float32Array:
            part = self.parts[place]
            own = inputs[part.preparation.digest]
            return part.model.predict(own if part.model.needs_images else Inputs(x=own.x))

        raw |= zip(self.trees, pool.map(predict, self.trees), strict=True)
        raw |= {place: predict(place) for place in self.others}
        return raw

    @contextmanager
    def one_thread_each(self) -> Iterator[None]:
        """Let trees use one thread a model while several models are worked on.

        Threads that share the rows of one model wait for each other at its end; with other work on the machine that
        makes them many times slower.
        """
        models = [part.model for part in self.parts if isinstance(part.model, XgbModel)]
        before = [model.n_threads for model in models]
        try:
            for model in models:
                model.use_threads(1)
            yield
        finally:
            for model, n_threads in zip(models, before, strict=True):
                model.use_threads(n_threads)


def _calibrated(part: _Part, scores: Float32Array) -> Float32Array:
    return scores if part.calibration is None else part.calibration.apply(scores)
