"""A made-up run for the page: curves of a known separation, light curves of known period and shape."""

from __future__ import annotations

import numpy as np
import pytest

from scope_ml.reporting.view import (
    AlgorithmView,
    ClassView,
    CurveView,
    Estimate,
    ExampleView,
    PageView,
    SkippedView,
)


def sawtooth(phase: np.ndarray) -> np.ndarray:
    return np.where(phase < 0.15, 1 - phase / 0.15, (phase - 0.15) / 0.85) ** 1.3 - 0.5


def eclipses(phase: np.ndarray) -> np.ndarray:
    return 0.9 * np.exp(-0.5 * ((phase - 0.5) / 0.03) ** 2) + 0.3 * np.exp(-0.5 * (np.mod(phase, 1) / 0.03) ** 2)


SHAPES = {
    "rrlyr": (sawtooth, 0.56),
    "ea": (eclipses, 2.31),
    "ew": (lambda p: 0.3 * np.cos(4 * np.pi * p), 0.34),
    "dscu": (lambda p: 0.08 * np.sin(2 * np.pi * p), 0.081),
    "mir": (lambda p: 2.4 * np.sin(2 * np.pi * p), 312.0),
}


def example(tag: str, index: int) -> ExampleView:
    rng = np.random.default_rng(sum(map(ord, tag)) * 100 + index)
    n_obs = int(rng.integers(120, 700))
    nights = rng.choice(1800, n_obs)
    season = np.mod(nights, 365) < 230
    time = np.sort(2458200.5 + nights[season] + rng.normal(0.7, 0.1, season.sum()))
    mean, band = rng.uniform(14, 19.5), "gri"[index % 3]
    error = 0.008 + 0.02 * np.exp((mean - 18) / 1.2)
    if tag in SHAPES:
        shape, period = SHAPES[tag]
        period *= rng.uniform(0.8, 1.3)
        mag = mean + rng.uniform(0.7, 1.1) * shape(np.mod(time / period, 1.0))
    else:
        period = float("nan")
        steps = rng.normal(0, 0.12, 2000).cumsum()
        mag = mean + np.interp(time, np.linspace(time[0], time[-1], 2000), steps - steps.mean()) * 0.3
    score = 0.999 - 0.01 * index
    return ExampleView(
        id=str(10_650_000_000_000 + int(rng.integers(1e9))),
        band=band,
        time=time,
        mag=mag + rng.normal(0, error, time.size),
        mag_err=np.full(time.size, error),
        period=period,
        scores={"xgb": score, "dnn": score - 0.02},
        truth=("yes", "yes", "no", "unlabelled")[index % 4],
        native_class="EW" if index % 4 == 2 else "",
        part=("test", "train", "test", "")[index % 4],
    )


def algorithm(name: str, separation: float, n_positive: int, n_test: int = 600) -> AlgorithmView:
    curves = []
    for seed in (1, 2, 3):
        rng = np.random.default_rng(seed + n_positive + len(name))
        y = np.arange(n_test) < n_positive
        score = rng.normal(0, 1, n_test) + separation * y
        order = np.argsort(-score)
        hits = np.cumsum(y[order])
        precision, recall = hits / np.arange(1, n_test + 1), hits / n_positive
        width = 0.9 / np.sqrt(n_positive)
        curves.append(
            CurveView(
                recall=recall,
                precision=precision,
                low=np.clip(precision - width, 0, 1),
                high=np.clip(precision + width, 0, 1),
                seed=seed,
                is_champion=seed == 2,
            )
        )
    champion = curves[1]
    ap = float(np.sum(np.diff(champion.recall, prepend=0) * champion.precision))
    at = int(np.searchsorted(champion.recall, 0.75))
    width = 0.7 / np.sqrt(n_positive)

    def estimate(value: float) -> Estimate:
        return Estimate(value=value, low=max(value - width, 0), high=min(value + width, 1))

    precision_at, recall_at = float(champion.precision[at]), float(champion.recall[at])
    names = ("period_ls", "f1_amp_ls", "stetson_k", "n_obs", "f1_relamp1_ls", "skew", "i60r", "smallkurt", "median")
    importance = tuple((key, 100.0 * 0.6**rank) for rank, key in enumerate(names)) if name == "xgb" else ()
    return AlgorithmView(
        name=name,
        threshold=0.7,
        n_test=n_test,
        n_positive=n_positive,
        average_precision=estimate(ap),
        precision=estimate(precision_at),
        recall=estimate(recall_at),
        f1=estimate(2 * precision_at * recall_at / (precision_at + recall_at)),
        seeds=(1, 2, 3),
        version="4",
        curves=tuple(curves),
        importance=importance,
    )


def class_view(tag: str, label: str, separation: float, n_positive: int) -> ClassView:
    return ClassView(
        tag=tag,
        label=label,
        kind="ontological",
        is_periodic=tag in SHAPES,
        phase_zero="faint" if tag.startswith("e") else "bright",
        n_labelled=5 * n_positive,
        n_above={"xgb": 4 * n_positive, "dnn": 5 * n_positive},
        algorithms=(algorithm("xgb", separation, n_positive), algorithm("dnn", separation - 0.4, n_positive)),
        examples=tuple(example(tag, index) for index in range(4)),
    )


@pytest.fixture(scope="session")
def page() -> PageView:
    return PageView(
        title="Embedded survey, 2 000 stars",
        subtitle="Gaussians of known separation instead of models; only the page itself is real.",
        n_in=5412,
        n_kept=4873,
        dropped={"too_few_epochs": 418, "all_flagged": 77, "beyond_timestamp": 44},
        n_scored=4873,
        classes=(
            class_view("rrlyr", "RR Lyrae", 3.6, 64),
            class_view("ea", "detached eclipsing binary (Algol)", 3.0, 48),
            class_view("ew", "contact eclipsing binary", 2.7, 55),
            class_view("dscu", "Delta Scuti", 2.2, 21),
            class_view("mir", "Mira", 3.2, 9),
            class_view("agn", "active galactic nucleus", 2.0, 30),
        ),
        skipped=(SkippedView(tag="rrblz", label="RR Lyrae, Blazhko", algorithm="xgb, dnn", reason="4 positives < 30"),),
        conflicts=(("ea", "e", 12), ("rrlyr", "pnp", 3)),
        provenance=(("commit", "3f2c" * 10), ("predictions", "9a" * 32), ("scope_ml", "0.1.0")),
    )
