"""A model for each tag by the project's own training, on our features and on the peer's, for `benchmarks.quality`.

Each star is scored once, by models that saw neither it nor its light curves in other bands or sets. Of what is not held out
a seventh stops the training, calibrates and gives the threshold; another seventh for each seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality_data import SETS, Stars, Table
from benchmarks.quality_statistics import average_precisions, draws, f1_scores, folds, interval
from scope_ml.core.protocols import NullRunLogger
from scope_ml.errors import InsufficientDataError, ScopeError
from scope_ml.features.registry import FEATURES
from scope_ml.models.algorithms import configure
from scope_ml.models.calibration import best_f1_threshold
from scope_ml.models.feature_record import FeatureRecord
from scope_ml.models.fit import ClassLabels, FitConfig, FitRequest, TrainingSet, fit_bundles, training_set
from scope_ml.models.record import Provenance

__all__ = ["FEWEST_POSITIVES", "IMPROVED", "Answers", "fit_part", "table", "train_together"]

FEWEST_POSITIVES = 15
N_FOLDS = 5
SEEDS = (1, 2)
N_RESAMPLES = 1000
#: The part of the training stars that stops, calibrates and gives the threshold.
HELD_OUT = 7

#: Tags that are to be at least `MUST` better than the peer's, and the mean goals.
IMPROVED = ("rrd", "dscu", "ceph2", "eb", "ew")
MUST = 0.03

#: As the pipeline, with folds smaller than it asks for, and without what the tables do not show.
FIT = FitConfig(
    min_positives_train=5,
    min_positives_val=1,
    min_positives_test=0,
    n_resamples=0,
    permutation_importance=False,
    calibration="platt",
    threshold="best_f1",
)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Answers:
    """Scores of all rows, NaN where there is none, and whether each is called a member."""

    score: Floats
    called: Bools


def tags_of(stars: Stars) -> list[str]:
    """Return the tags with enough positive and negative stars."""
    found = []
    for tag in stars.dataset.tags:
        y, known = stars.dataset.column(tag)
        counts = [np.unique(stars.dataset.group[known & (y == value)]).size for value in (1, 0)]
        if min(counts) >= FEWEST_POSITIVES:
            found.append(tag)
    return found


def part_of(stars: Stars, test: Bools, seed: int, strata: NDArray[np.str_]) -> NDArray[np.int8]:
    """Return the part of each row: 2 where it is held out, 1 for a seventh of the other stars, 0."""
    part = np.where(test, 2, 0).astype(np.int8)
    rest = np.flatnonzero(~test)
    part[rest[folds(stars.dataset.group[rest], strata[rest], HELD_OUT, seed) == 0]] = 1
    return part


def fit_part(stars: Stars, given: Table, part: NDArray[np.int8]) -> TrainingSet:
    """Return features prepared on the training part; trees take them as they are."""
    policies = {name: FEATURES[name].missing for name in given.names if name in FEATURES}
    return training_set(
        given.matrix,
        FeatureRecord(names=given.names),
        configure({"name": "xgb"}).preparation,
        group=stars.dataset.group,
        part=part,
        policies=policies,
    )


def train_together(
    stars: Stars, sets: Sequence[TrainingSet], tag: str, seeds: Sequence[int]
) -> tuple[Floats, float] | None:
    """Return the mean calibrated score of all rows and the threshold of the best F1 on the rows that stopped the training.

    None where there are too few positive stars. Each of `sets` has the part of its seed.
    """
    y, known = stars.dataset.column(tag)
    labels = ClassLabels(spec=stars.taxonomy[tag], y=y, known=known)
    scores, held_out, truth = [], [], []
    for data, seed in zip(sets, seeds, strict=True):
        request = FitRequest(
            labels=labels,
            settings=configure({"name": "xgb"}),
            seed=seed,
            provenance=PROVENANCE,
            log=NullRunLogger(),
        )
        (found,) = fit_bundles(data, [request], config=FIT)
        if isinstance(found, InsufficientDataError):
            return None
        if isinstance(found, ScopeError):
            raise found
        raw = found.model.predict(data.inputs)
        calibration = found.record.calibration
        own = np.asarray(raw if calibration is None else calibration.apply(raw), dtype=np.float64)
        use = (data.part == 1) & known
        scores.append(own)
        held_out.append(own[use])
        truth.append(y[use])
    threshold = best_f1_threshold(
        np.concatenate(held_out), np.concatenate(truth), fallback=stars.taxonomy[tag].threshold
    )
    return np.mean(scores, axis=0), threshold


#: The code is looked up once.
PROVENANCE = Provenance()


def _cross_validated(stars: Stars, given: Table, tags: Sequence[str], n_threads: int) -> dict[str, Answers]:
    n = len(stars.dataset)
    strata = np.char.add(np.char.add(stars.dataset.origin, ":"), stars.native)
    fold = folds(stars.dataset.group, strata, N_FOLDS, seed=0)
    answers = {tag: Answers(np.full(n, np.nan), np.zeros(n, dtype=bool)) for tag in tags}
    for k in range(N_FOLDS):
        test = fold == k
        sets = [fit_part(stars, given, part_of(stars, test, seed, strata)) for seed in SEEDS]

        def one(tag: str, sets: Sequence[TrainingSet] = sets) -> tuple[Floats, float] | None:
            return train_together(stars, sets, tag, SEEDS)

        with ThreadPoolExecutor(n_threads) as pool:
            for tag, found in zip(tags, pool.map(one, tags), strict=True):
                if found is not None:
                    score, threshold = found
                    answers[tag].score[test] = score[test]
                    answers[tag].called[test] = score[test] >= threshold
    return answers


def table(stars: Stars, *, n_threads: int) -> list[str]:
    """Return the lines of the section."""
    tags = tags_of(stars)
    answers = {name: _cross_validated(stars, given, tags, n_threads) for name, given in stars.tables().items()}
    lines = [
        "### One model a tag (all sets)",
        "",
        f"`xgb` as configured, {N_FOLDS} folds of whole stars, even in origin and native class; score: mean of the calibrated scores of"
        f" {len(SEEDS)} seeds; F1 at the threshold that is best on stars that only stop the training. Tags with"
        f" {FEWEST_POSITIVES} or more stars. 95 % intervals over stars, of the difference with the same resamples of both.",
        "",
        "| tag | positive / known | AP, peer | AP, ours | difference | F1, peer | F1, ours |",
        "|---|--:|---|---|---|--:|---|",
    ]
    means: dict[str, list[Floats]] = {}
    verdicts: dict[str, tuple[float, float, float]] = {}
    for tag in tags:
        y, known = stars.dataset.column(tag)
        use = known & np.isfinite(answers["ours"][tag].score) & np.isfinite(answers["peer"][tag].score)
        weight = draws(stars.dataset.group[use], N_RESAMPLES, seed=1)
        ap = {name: average_precisions(y[use], of[tag].score[use], weight) for name, of in answers.items()}
        f1 = {name: f1_scores(y[use], of[tag].called[use], weight) for name, of in answers.items()}
        gain = interval(ap["ours"][0] - ap["peer"][0], (ap["ours"] - ap["peer"])[1:])
        verdicts[tag] = (gain.value, gain.low, gain.high)
        for name in answers:
            means.setdefault(f"AP {name}", []).append(ap[name])
            means.setdefault(f"F1 {name}", []).append(f1[name])
        lines.append(
            f"| {tag} | {int(y[use].sum())} / {int(use.sum())} | {interval(ap['peer'][0], ap['peer'][1:])} |"
            f" {interval(ap['ours'][0], ap['ours'][1:])} | {gain.signed()} | {f1['peer'][0]:.3f} |"
            f" {interval(f1['ours'][0], f1['ours'][1:])} |"
        )
    return [*lines, "", *_verdict(means, verdicts), "", *_by_set(stars, tags, answers)]


def _verdict(means: Mapping[str, list[Floats]], verdicts: Mapping[str, tuple[float, float, float]]) -> list[str]:
    mean = {name: float(np.mean([drawn[0] for drawn in of])) for name, of in means.items()}
    improved = ", ".join(
        f"{tag} {verdicts[tag][0]:+.3f} ({'met' if verdicts[tag][0] >= MUST else '**not met**'})"
        for tag in IMPROVED
        if tag in verdicts
    )
    worse = ", ".join(tag for tag, (_, _, high) in verdicts.items() if high < 0) or "none"
    return [
        f"Mean over {len(verdicts)} tags: average precision {mean['AP ours']:.3f} (peer {mean['AP peer']:.3f}), F1 {mean['F1 ours']:.3f}"
        f" (peer {mean['F1 peer']:.3f}). {MUST:g} better than the peer: {improved}. Worse beyond the interval: {worse}.",
    ]


def _by_set(stars: Stars, tags: Sequence[str], answers: Mapping[str, Mapping[str, Answers]]) -> list[str]:
    names = [name for name in SETS if name in set(stars.dataset.origin)]
    lines = [
        f"By set, average precision of ours (peer), where a set has {FEWEST_POSITIVES} or more positive and negative stars:",
        "",
        f"| tag | {' | '.join(names)} |",
        "|---|" + "---|" * len(names),
    ]
    for tag in tags:
        y, known = stars.dataset.column(tag)
        cells = []
        for name in names:
            use = known & (stars.dataset.origin == name) & np.isfinite(answers["ours"][tag].score)
            if min(int((y[use] == 1).sum()), int((y[use] == 0).sum())) < FEWEST_POSITIVES:
                cells.append("")
                continue
            ones = np.ones((1, int(use.sum())))
            each = [average_precisions(y[use], answers[of][tag].score[use], ones)[0] for of in ("ours", "peer")]
            cells.append(f"{each[0]:.3f} ({each[1]:.3f})")
        if any(cells):
            lines.append(f"| {tag} | {' | '.join(cells)} |")
    return [*lines, ""]
