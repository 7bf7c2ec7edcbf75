"""`TrainingSet`: a data set's features, prepared once for all classes, algorithms and seeds that share them.

May import `preparation`, `feature_record`, `distributions` and below.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from scope_ml.datasets.split import PARTS
from scope_ml.errors import DataError
from scope_ml.models.distributions import Distributions
from scope_ml.models.feature_record import FeatureRecord
from scope_ml.models.inputs import Float32Array, Inputs
from scope_ml.models.preparation import Policy, Preparation, PreparationConfig

__all__ = ["TrainingSet", "training_set"]

#: Most names in a warning.
NAMES_SHOWN = 8


@dataclass(frozen=True, kw_only=True)
class TrainingSet:
    """Prepared features of n light curves, shared by all classes and seeds that use them.

    Attributes
    ----------
    inputs
        Prepared features, and images where there are any.
    preparation
        Imputer and scaler, fitted on the training part.
    features
        Names of the features and how they were computed.
    group
        (n,) star of each light curve.
    part
        (n,) int8: position in `datasets.split.PARTS`.
    distributions
        How the features are distributed over the training part, before they were prepared.
    warnings
        A line about infinite values, one about constant features, one for each survey or set that lacks features altogether.
    """

    inputs: Inputs
    preparation: Preparation
    features: FeatureRecord
    group: npt.NDArray[Any]
    part: npt.NDArray[np.int8]
    distributions: Distributions | None = None
    warnings: tuple[str, ...] = ()


def training_set(
    matrix: npt.NDArray[np.float64],
    features: FeatureRecord,
    config: PreparationConfig,
    *,
    group: npt.NDArray[Any],
    part: npt.NDArray[np.int8],
    policies: Mapping[str, Policy] | None = None,
    images: Float32Array | None = None,
    origin: npt.NDArray[np.str_] | None = None,
) -> TrainingSet:
    """Fit the imputer and scaler on the training part and prepare all rows.

    Parameters
    ----------
    matrix
        (n, k) features (`tables.feature_matrix`).
    features
        Names of the k features and how they were computed (`FeatureRecord.of_table`).
    config
        The algorithm's ``preparation``; algorithms with equal ones can share the result.
    group, part
        (n,) star and part of each row; every row of a star must be in the same part.
    policies
        Missing-value policy by feature name.
    images
        (n, 26, 26, 1) float32 dm-dt images.
    origin
        (n,) survey or set of each row, to find features that one of them lacks; None where not known.

    Raises
    ------
    DataError
        If shapes do not fit, a star lies in two parts, or the training part is empty.
    """
    n_rows = matrix.shape[0]
    if group.shape != (n_rows,) or part.shape != (n_rows,):
        raise DataError(f"{n_rows} rows of features, but groups {group.shape} and parts {part.shape}")
    _, star = np.unique(group, return_inverse=True)
    pairs = np.unique(star * len(PARTS) + part)
    if pairs.size != np.unique(star).size:
        raise DataError("light curves of one star lie in different parts of the split; make the split again by star")
    training = matrix[part == PARTS.index("train")]
    preparation = Preparation.fit(training, features.names, config, policies=policies)
    return TrainingSet(
        inputs=Inputs(x=preparation.transform(matrix), images=images),
        preparation=preparation,
        features=features,
        group=group,
        part=part,
        distributions=Distributions.of(training, features.names),
        warnings=(
            *_remarkable(matrix, training, features.names),
            *(() if origin is None else _lacking(matrix, features.names, origin)),
        ),
    )


def _remarkable(
    matrix: npt.NDArray[np.float64], training: npt.NDArray[np.float64], names: tuple[str, ...]
) -> tuple[str, ...]:
    """Return a line about features with infinite values, and one about those that are the same in all training rows."""
    n_infinite = np.isinf(matrix).sum(axis=0)
    infinite = [names[column] for column in np.flatnonzero(n_infinite).tolist()]
    same = np.flatnonzero(np.isfinite(training).all(axis=0) & (training == training[:1]).all(axis=0)).tolist()
    constant = [names[column] for column in same]
    lines = []
    if infinite:
        lines.append(
            f"{int(n_infinite.sum())} infinite value(s) in {len(infinite)} feature(s) count as missing: {_named(infinite)}"
        )
    if constant:
        lines.append(f"{len(constant)} feature(s) have one value in the whole training part: {_named(constant)}")
    return tuple(lines)


def _named(names: list[str]) -> str:
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more


def _lacking(matrix: npt.NDArray[np.float64], names: tuple[str, ...], origin: npt.NDArray[np.str_]) -> tuple[str, ...]:
    """Return a line for each origin in which features have no value at all that they have elsewhere."""
    if origin.shape != (matrix.shape[0],):
        raise DataError(f"{matrix.shape[0]} rows of features, but origins of shape {origin.shape}")
    places = np.unique(origin).tolist()
    seen = np.array([np.isfinite(matrix[origin == place]).any(axis=0) for place in places])
    somewhere = seen.any(axis=0)
    lines = []
    for number, place in enumerate(places):
        lacking = [names[column] for column in np.flatnonzero(somewhere & ~seen[number]).tolist()]
        if lacking:
            n_rows = int((origin == place).sum())
            lines.append(
                f"all {n_rows} light curves of {place or 'the set without a name'} lack {len(lacking)} feature(s) that"
                f" others have: {_named(lacking)}; models may tell the surveys apart by them"
            )
    return tuple(lines)
