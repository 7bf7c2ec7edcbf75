"""Seed ensembles: bundles of one class and algorithm that differ in their seed, as one bundle.

Its score is the mean of the members' calibrated scores, its uncertainty their standard deviation. It is measured like any
other bundle, on the same parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from scope_ml.errors import ModelError
from scope_ml.models.bundle import ModelBundle
from scope_ml.models.ensemble_model import EnsembleModel, Member, mean, mean_shares
from scope_ml.models.fit import FitConfig, chosen_threshold, known_distributions, measured
from scope_ml.models.fit_rows import ClassLabels, fit_rows
from scope_ml.models.record import BundleRecord
from scope_ml.models.training_set import TrainingSet

__all__ = ["ensemble"]

#: Fewest members: one has no spread.
FEWEST_MEMBERS = 2


def ensemble(bundles: Sequence[ModelBundle], data: TrainingSet, labels: ClassLabels, config: FitConfig) -> ModelBundle:
    """Put the bundles of several seeds together and measure what they score together.

    Parameters
    ----------
    bundles
        Two or more, of one class, algorithm, data set and preparation, with different seeds.
    data, labels
        What they were trained on.
    config
        Threshold and resamples, as for a single bundle.

    Returns
    -------
    ModelBundle
        Not saved yet: its `digest` is "". Its seed is None, its members are the seeds in rising order.

    Raises
    ------
    ModelError
        If the bundles are too few or do not belong together.
    """
    members = sorted(bundles, key=lambda bundle: bundle.record.seed if bundle.record.seed is not None else -1)
    _check(members, data)
    first = members[0].record
    rows = fit_rows(data, labels, config.least, first.seed or 0)
    scores = mean(np.stack([bundle.calibrated(bundle.model.predict(data.inputs)) for bundle in members]))
    threshold = chosen_threshold(scores, labels, rows, config)
    model = EnsembleModel(
        first.algorithm.name,
        [
            Member(seed=bundle.record.seed or 0, model=bundle.model, calibration=bundle.record.calibration)
            for bundle in members
        ],
    )
    methods = {method for bundle in members for method in bundle.record.importance}
    record = BundleRecord(
        spec=labels.spec,
        algorithm=first.algorithm,
        features=first.features,
        preparation=first.preparation,
        threshold=threshold,
        seed=None,
        members=tuple(member.seed for member in model.members),
        model_facts=model.facts(),
        metrics=measured(scores, data, labels, rows, config=config, threshold=threshold),
        importance={
            method: mean_shares([bundle.record.importance.get(method, {}) for bundle in members])
            for method in sorted(methods)
        },
        counts={**first.counts, "members": len(members)},
        provenance=first.provenance,
        distributions=known_distributions(data, scores, rows),
        warnings=tuple(dict.fromkeys(line for bundle in members for line in bundle.record.warnings)),
    )
    return ModelBundle(record=record, model=model)


def _check(members: Sequence[ModelBundle], data: TrainingSet) -> None:
    """Refuse members that do not belong together.

    Raises
    ------
    ModelError
        With what differs.
    """
    if len(members) < FEWEST_MEMBERS:
        raise ModelError(f"an ensemble needs {FEWEST_MEMBERS} members or more, got {len(members)}; train more seeds")
    seeds = [bundle.record.seed for bundle in members]
    if len(set(seeds)) < len(seeds) or None in seeds:
        raise ModelError(f"the members of an ensemble must have different seeds, got {seeds}; give each seed once")
    known = _identity(members[0].record)
    for bundle in members[1:]:
        other = _identity(bundle.record)
        different = [what for what in known if known[what] != other[what]]
        if different:
            raise ModelError(
                f"seed {bundle.record.seed} of {bundle.name} has other {' and '.join(different)} than seed {seeds[0]} of"
                f" {members[0].name}; train both from the same data set and settings"
            )
    if known["preparation"] != data.preparation.digest or known["features"] != data.features.digest:
        raise ModelError(
            f"the members of {members[0].name} were not trained on this data set; give the one they come from"
        )


def _identity(record: BundleRecord) -> dict[str, Any]:
    """Return what all members have in common."""
    return {
        "class and algorithm": record.name,
        "features": record.features.digest,
        "preparation": record.preparation.digest,
        "data": record.provenance.data_digest,
        "split": record.provenance.split_digest,
    }
