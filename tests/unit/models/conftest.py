"""A small training set with a class that can be learned, shared by the tests of this folder."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from scope_ml.core.protocols import NullRunLogger
from scope_ml.models.algorithms import configure
from scope_ml.models.bundle import ModelBundle
from scope_ml.models.feature_record import FeatureRecord
from scope_ml.models.fit import ClassLabels, FitConfig, fit_bundle, training_set
from scope_ml.models.record import Provenance
from scope_ml.taxonomy.classes import ClassSpec

NAMES = ("amplitude", "period_ls", "skew", "noise")
FACTS = {"period_search": "ls", "feature_digests": dict.fromkeys(NAMES, "1")}

#: Settings that train in a second.
QUICK = {"xgb": {"name": "xgb", "n_rounds": 40}, "dnn": {"name": "dnn", "epochs": 12, "learning_rate": 0.01}}

RRLYR = ClassSpec(tag="rrlyr", label="RR Lyrae", kind="ontological", threshold=0.5)


@dataclass(frozen=True)
class Sample:
    """240 stars with two light curves each; the class has a large amplitude and a short period."""

    x: np.ndarray
    y: np.ndarray
    known: np.ndarray
    group: np.ndarray
    part: np.ndarray
    spec: ClassSpec = RRLYR

    @property
    def labels(self) -> ClassLabels:
        return ClassLabels(spec=self.spec, y=self.y, known=self.known)

    def data(self, algorithm: str, images=None):
        return training_set(
            self.x,
            FeatureRecord.of_table(NAMES, FACTS),
            configure(QUICK[algorithm]).preparation,
            group=self.group,
            part=self.part,
            images=images,
        )

    def fit(
        self, algorithm: str, *, seed: int = 1, log=None, images=None, n_threads: int = 1, fit=None, **settings: Any
    ) -> ModelBundle:
        return fit_bundle(
            self.data(algorithm, images),
            self.labels,
            configure(QUICK[algorithm] | settings),
            config=FitConfig(**{"n_resamples": 50} | (fit or {})),
            seed=seed,
            provenance=Provenance(data_digest="d", split_digest="s", config_digest="c"),
            log=log or NullRunLogger(),
            n_threads=n_threads,
        )

    def table(self) -> pa.Table:
        columns = {name: self.x[:, index] for index, name in enumerate(NAMES)}
        return pa.table({"id": np.arange(len(self.x)), **columns, "unused": np.zeros(len(self.x))})

    def with_spec(self, **changes: Any) -> Sample:
        return replace(self, spec=replace(self.spec, **changes))


def make_sample() -> Sample:
    rng = np.random.default_rng(0)
    n_stars = 240
    member = rng.random(n_stars) < 0.25
    group = np.repeat(np.arange(n_stars), 2)
    y = member[group].astype(np.int8)
    amplitude = np.exp(rng.normal(-1.5, 0.5, n_stars) + 1.2 * member)[group]
    period = np.exp(rng.normal(1.0, 1.0, n_stars) - 1.6 * member)[group]
    x = np.column_stack([amplitude, period, rng.normal(0, 1, y.size), rng.normal(0, 1, y.size)])
    x += rng.normal(0, 0.02, x.shape)
    x[rng.random(x.shape) < 0.03] = np.nan
    part = rng.choice(3, size=n_stars, p=(0.6, 0.2, 0.2)).astype(np.int8)[group]
    return Sample(x=x, y=y, known=rng.random(y.size) < 0.95, group=group, part=part)


@pytest.fixture(scope="session")
def sample() -> Sample:
    return make_sample()


@pytest.fixture(scope="session")
def fitted(sample) -> dict[str, ModelBundle]:
    """One fitted bundle per algorithm."""
    return {name: sample.fit(name) for name in QUICK}


@pytest.fixture
def saved(fitted, tmp_path):
    """Folder of one saved bundle per algorithm."""
    return {name: (tmp_path / name, bundle.save(tmp_path / name)) for name, bundle in fitted.items()}
