"""Training on one survey and testing on another, and how far features give the survey away, for `benchmarks.quality`."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks.quality_data import Stars, Table
from benchmarks.quality_statistics import average_precisions, draws, f1_scores, folds, interval
from benchmarks.quality_tags import SEEDS, fit_part, part_of, train_together
from scope_ml.datasets.dataset import Dataset

__all__ = ["SURVEY_BOUND", "independent", "table"]

PAIRS = (("asas", "debosscher_hip_ogle"), ("crts_sss", "asas"))
FEWEST_TRAIN, FEWEST_TEST = 15, 10
N_RESAMPLES = 500

#: Model inputs that depend on the number of points, the cadence, the magnitude or the errors of a survey as much as on the star.
SURVEY_BOUND = (
    *("median", "wmean", "f1_a", "f1_phi0", "f1_b", "norm_peak_to_peak_amp", "norm_excess_var"),
    *("chi2red", "roms", "skew", "smallkurt", "welch_i", "stetson_j", "stetson_k", "ad", "sw"),
    *("inv_vonneumannratio", "f1_BIC", "significance", "log_evidence", "drw_log_likelihood_ratio"),
    *("dist_errors", "fold_residual_errors", "fold_evidence_double"),
    *(f"fold_second_{kind}_{side}" for kind in ("double_mode", "fundamental", "overtone") for side in ("low", "high")),
)


def independent(given: Table) -> Table:
    """Return the table without what is bound to a survey."""
    return given.without([name for name in given.names if name.removesuffix("_best") in SURVEY_BOUND])


def table(stars: Stars, *, n_threads: int) -> list[str]:
    """Return the lines of the section."""
    tables = {"peer": stars.peer, "ours": stars.ours, "survey-independent": independent(stars.ours)}
    lines = [
        "### One survey to train, another to test",
        "",
        f"Tags with {FEWEST_TRAIN} positive stars in one and {FEWEST_TEST} in the other. *survey-independent*: the"
        f" {tables['survey-independent'].matrix.shape[1]} of our {stars.ours.matrix.shape[1]} inputs that do not depend on number of"
        " points, cadence, magnitude or size of the errors.",
        "",
    ]
    for first, second in PAIRS:
        lines += _pair(stars, tables, first, second, n_threads)
    return [*lines, *_survey_told(stars, tables)]


def _pair(stars: Stars, tables: dict[str, Table], first: str, second: str, n_threads: int) -> list[str]:
    dataset = stars.dataset
    tags = [tag for tag in dataset.tags if _enough(stars, tag, first, second)]
    rows = np.flatnonzero((dataset.origin == first) | (dataset.origin == second))
    own = Stars(
        dataset=_taken(stars, rows),
        taxonomy=stars.taxonomy,
        native=stars.native[rows],
        ours=Table(stars.ours.names, stars.ours.matrix[rows]),
        peer=Table(stars.peer.names, stars.peer.matrix[rows]),
    )
    # A star that is in both surveys is tested on and not trained on.
    test = np.isin(own.dataset.group, own.dataset.group[own.dataset.origin == second])
    counted = own.dataset.origin == second
    lines = [
        f"**{first} to {second}**",
        "",
        f"| tag | positive / known | {' | '.join(f'AP, {name} | F1' for name in tables)} |",
    ]
    lines.append("|---|--:|" + "---|--:|" * len(tables))
    found = {
        name: _scores(own, Table(given.names, given.matrix[rows]), tags, test, n_threads)
        for name, given in tables.items()
    }
    means: dict[str, list[float]] = {}
    for tag in tags:
        y, known = own.dataset.column(tag)
        use = known & counted
        weight = draws(own.dataset.group[use], N_RESAMPLES, seed=1)
        cells = []
        for name, scores in found.items():
            score, threshold = scores[tag]
            ap = average_precisions(y[use], score[use], weight)
            f1 = f1_scores(y[use], score[use] >= threshold, weight[:1])[0]
            means.setdefault(name, []).append(float(ap[0]))
            means.setdefault(f"{name} F1", []).append(float(f1))
            cells.append(f"{interval(ap[0], ap[1:])} | {f1:.3f}")
        lines.append(f"| {tag} | {int(y[use].sum())} / {int(use.sum())} | {' | '.join(cells)} |")
    mean = " | ".join(f"{np.mean(means[name]):.3f} | {np.mean(means[f'{name} F1']):.3f}" for name in tables)
    return [*lines, f"| mean | | {mean} |", ""]


def _taken(stars: Stars, rows: NDArray[np.int64]) -> Dataset:
    dataset = stars.dataset
    return replace(
        dataset,
        table=dataset.table.take(pa.array(rows)),
        y=dataset.y[rows],
        known=dataset.known[rows],
        group=dataset.group[rows],
        origin=dataset.origin[rows],
    )


def _enough(stars: Stars, tag: str, first: str, second: str) -> bool:
    y, known = stars.dataset.column(tag)
    for origin, fewest in ((first, FEWEST_TRAIN), (second, FEWEST_TEST)):
        there = known & (stars.dataset.origin == origin)
        if min(int((y[there] == 1).sum()), int((y[there] == 0).sum())) < fewest:
            return False
    return True


def _scores(
    stars: Stars, given: Table, tags: Sequence[str], test: NDArray[np.bool_], n_threads: int
) -> dict[str, tuple[NDArray[np.float64], float]]:
    sets = [fit_part(stars, given, part_of(stars, test, seed, stars.native)) for seed in SEEDS]
    with ThreadPoolExecutor(n_threads) as pool:
        found = pool.map(lambda tag: train_together(stars, sets, tag, SEEDS), tags)
        return {tag: one for tag, one in zip(tags, found, strict=True) if one is not None}


def _survey_told(stars: Stars, tables: dict[str, Table]) -> list[str]:
    """Say how well a forest tells the survey of RR Lyrae stars of type ab: shape alone should not."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.metrics import balanced_accuracy_score

    dataset = stars.dataset
    y, known = dataset.column("rrab")
    origins = ("asas", "acvs", "crts_sss", "debosscher_hip_ogle", "s82_rrlyrae")
    rows = np.flatnonzero(known & (y == 1) & np.isin(dataset.origin, origins))
    survey = dataset.origin[rows]
    fold = folds(dataset.group[rows], survey.astype(str), 3, seed=0)
    found = {}
    inputs = {name: given.matrix[rows] for name, given in tables.items()}
    if "quality" in dataset.table.column_names:
        flags = dataset.table["quality"].to_numpy().astype(np.int64)[rows]
        inputs["quality flags"] = ((flags[:, None] >> np.arange(16)) & 1).astype(np.float64)
    for name, x in inputs.items():
        told = survey.copy()
        filled = np.clip(np.where(np.isfinite(x), x, -1e9), -1e30, 1e30)
        for k in range(3):
            forest = RandomForestClassifier(200, class_weight="balanced", random_state=0, n_jobs=1)
            told[fold == k] = forest.fit(filled[fold != k], survey[fold != k]).predict(filled[fold == k])
        found[name] = balanced_accuracy_score(survey, told)
    told_by = ", ".join(f"{name} {value:.2f}" for name, value in found.items())
    return [
        f"How well {len(rows)} RRab stars give their survey away, one of {len(origins)} (balanced accuracy of a random forest,"
        f" {1 / len(origins):.2f} by chance): {told_by}. Quality flags are no model inputs.",
        "",
    ]
