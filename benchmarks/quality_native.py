"""One class of 19 for each star of `asas`: a multi-class readout of features, beside the peer's, for `benchmarks.quality`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality_data import Stars
from benchmarks.quality_statistics import draws, f1_scores, folds, interval, macro_f1

__all__ = ["FEWEST_STARS", "table"]

#: Fewest stars of a class.
FEWEST_STARS = 11
N_FOLDS = 5
#: Seeds of the division into folds; 0 and 1 were looked at while the features were made.
SEEDS = (101, 102, 103)
N_RESAMPLES = 1000

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def _boosted(seed: int, n_classes: int) -> Any:
    import xgboost

    return xgboost.XGBClassifier(n_estimators=200, max_depth=6, learning_rate=0.1, subsample=0.7, colsample_bytree=0.7,
                                 max_bin=64, tree_method="hist", n_jobs=1, random_state=seed)  # fmt: skip


def _forest(seed: int, n_classes: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(500, random_state=seed, n_jobs=1)


def _balanced_forest(seed: int, n_classes: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(500, max_features=0.2, class_weight="balanced_subsample", random_state=seed, n_jobs=1)


def _extra_trees(share: float) -> Callable[[int, int], Any]:
    from sklearn.ensemble import ExtraTreesClassifier

    return lambda seed, n_classes: ExtraTreesClassifier(
        500, max_features=share, class_weight="balanced", random_state=seed, n_jobs=1
    )


def _logistic(seed: int, n_classes: int) -> Any:
    from scipy.stats import norm
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    # Ranks as quantiles of a normal distribution; what is missing counts as the median.
    normal = FunctionTransformer(lambda x: norm.ppf(np.clip(np.where(x < 0, 0.5, x), 1e-3, 1 - 1e-3)))
    return make_pipeline(normal, LogisticRegression(C=0.03, max_iter=300, class_weight="balanced"))


#: Members of the readout: random cuts, cuts, and planes; all see ranks, which no outlier pulls.
MEMBERS: Mapping[str, Callable[[int, int], Any]] = {
    "extra trees (few features a cut)": _extra_trees(0.15),
    "extra trees (many)": _extra_trees(0.4),
    "random forest, classes balanced": _balanced_forest,
    "logistic regression": _logistic,
}
READOUT = "readout: geometric mean of these four"
PLAIN: Mapping[str, Callable[[int, int], Any]] = {"XGBoost": _boosted, "random forest": _forest}


def table(stars: Stars) -> list[str]:
    """Return the lines of the section."""
    chosen, y, names = _classes(stars)
    group = stars.dataset.group[chosen]
    weight = draws(group, N_RESAMPLES, seed=1)
    predicted: dict[tuple[str, str], list[Ints]] = {}
    for features, given in stars.tables().items():
        for seed in SEEDS:
            of_seed = _out_of_fold(given.matrix[chosen], y, group, seed)
            for model, found in of_seed.items():
                predicted.setdefault((features, model), []).append(found)
    scores = {key: np.mean([macro_f1(y, one, weight) for one in found], axis=0) for key, found in predicted.items()}
    best_peer = max((key for key in scores if key[0] == "peer" and key[1] in PLAIN), key=lambda key: scores[key][0])
    return [*_summary(stars, predicted, scores, best_peer, y), *_by_class(predicted, best_peer, y, names, weight)]


def _classes(stars: Stars) -> tuple[Ints, Ints, list[str]]:
    rows = np.flatnonzero(stars.dataset.origin == "asas")
    names, counts = np.unique(stars.native[rows], return_counts=True)
    kept = names[counts >= FEWEST_STARS]
    rows = rows[np.isin(stars.native[rows], kept)]
    return rows, np.searchsorted(kept, stars.native[rows]), kept.tolist()


def _out_of_fold(x: Floats, y: Ints, group: Ints, seed: int) -> dict[str, Ints]:
    """Return the class that each model gives each star, by models that did not see it."""
    n_classes = int(y.max()) + 1
    fold = folds(group, y.astype(str), N_FOLDS, seed)
    members = {name: np.zeros((y.size, n_classes)) for name in (*PLAIN, *MEMBERS)}
    for k in range(N_FOLDS):
        train, test = fold != k, fold == k
        below = _filled(x, train)
        ranks = _ranked(x, train)
        for name, make in (*PLAIN.items(), *MEMBERS.items()):
            inputs = below if name in PLAIN else ranks
            members[name][test] = make(seed, n_classes).fit(inputs[train], y[train]).predict_proba(inputs[test])
    together = sum(np.log(members[name] + 3e-3) for name in MEMBERS)
    return {name: np.argmax(scores, axis=1) for name, scores in {**members, READOUT: np.asarray(together)}.items()}


def _filled(x: Floats, train: NDArray[np.bool_]) -> Floats:
    """Return `x` with a value below all others of the training part in the place of what is missing."""
    clipped = np.clip(np.where(np.isfinite(x), x, np.nan), -1e30, 1e30)
    lowest = np.nanmin(np.where(train[:, None], clipped, np.inf), axis=0)
    lowest = np.where(np.isfinite(lowest), lowest, 0.0)
    return np.where(np.isnan(clipped), lowest - 1.0 - np.abs(lowest), clipped).astype(np.float32)


def _ranked(x: Floats, train: NDArray[np.bool_]) -> Floats:
    """Return the share of the training part that is below each value; -0.1 for what is missing."""
    found = np.full(x.shape, -0.1)
    for column in range(x.shape[1]):
        values = x[:, column]
        known = np.isfinite(values)
        ladder = np.sort(values[train & known])
        if ladder.size:
            low, high = np.searchsorted(ladder, values[known]), np.searchsorted(ladder, values[known], side="right")
            found[known, column] = 0.5 * (low + high) / ladder.size
    return found


def _summary(
    stars: Stars,
    predicted: Mapping[tuple[str, str], list[Ints]],
    scores: Mapping[tuple[str, str], Floats],
    best_peer: tuple[str, str],
    y: Ints,
) -> list[str]:
    sizes = {name: table_.matrix.shape[1] for name, table_ in stars.tables().items()}
    ones = np.ones((1, y.size))
    lines = [
        "### One class of 19 (`asas`)",
        "",
        f"{y.size} stars, the classes with {FEWEST_STARS} or more; {N_FOLDS} stratified folds, macro-F1 of the pooled answers, mean of"
        f" {len(SEEDS)} divisions, 95 % intervals over stars. One band; no coordinates, colours or columns about the star.",
        "",
        "| features | model | macro-F1 | of each division |",
        "|---|---|---|---|",
    ]
    for (features, model), found in predicted.items():
        each = ", ".join(f"{macro_f1(y, one, ones)[0]:.3f}" for one in found)
        drawn = scores[features, model]
        lines.append(f"| {features} ({sizes[features]}) | {model} | {interval(drawn[0], drawn[1:])} | {each} |")
    gain = scores["ours", READOUT] - scores[best_peer]
    same = scores["ours", READOUT] - scores["peer", READOUT]
    return [
        *lines,
        "",
        f"Readout of ours less the peer's {best_peer[1]}: {interval(gain[0], gain[1:]).signed()}; less the same readout of the"
        f" peer's features: {interval(same[0], same[1:]).signed()}.",
        "",
    ]


def _by_class(
    predicted: Mapping[tuple[str, str], list[Ints]],
    best_peer: tuple[str, str],
    y: Ints,
    names: list[str],
    weight: Floats,
) -> list[str]:
    lines = ["| class | stars | F1, ours | F1, peer | most often taken for |", "|---|--:|---|--:|---|"]
    for k, name in enumerate(names):
        own = [f1_scores((y == k).astype(np.int8), one == k, weight) for one in predicted["ours", READOUT]]
        peer = [f1_scores((y == k).astype(np.int8), one == k, weight[:1])[0] for one in predicted[best_peer]]
        mean = np.mean(own, axis=0)
        answers = np.concatenate([one[y == k] for one in predicted["ours", READOUT]])
        wrong, counts = np.unique(answers[answers != k], return_counts=True)
        taken = ", ".join(
            f"{names[wrong[place]]} {counts[place] / len(own):.1f}" for place in np.argsort(-counts, kind="stable")[:2]
        )
        lines.append(
            f"| {name} | {int((y == k).sum())} | {interval(mean[0], mean[1:])} | {np.mean(peer):.3f} | {taken} |"
        )
    return [*lines, ""]
