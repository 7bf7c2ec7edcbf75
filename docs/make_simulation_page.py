"""Draw the pictures of docs/simulation.md.

::

    python docs/make_simulation_page.py examples
    python docs/make_simulation_page.py comparison SURVEY_FEATURES SURVEY_LABELS REAL_FEATURES REAL_LABELS [REAL_FEATURES REAL_LABELS ...]

``examples`` draws one star of each population (docs/images/simulated_classes.png); ``comparison`` draws distributions of features of
the embedded survey beside those of real light curves (docs/images/simulated_features.png) and prints their table.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scope_ml.io.tables import read_foreign_table
from scope_ml.simulation.census import CENSUS, DECK_SHARES
from scope_ml.simulation.populations import deal
from scope_ml.simulation.survey import Observation, observe
from scope_ml.simulation.variation import BANDS, phase

IMAGES = Path(__file__).resolve().parent / "images"

#: Seed of the survey that the examples come from, and how many of its stars are looked at.
SEED, N_LOOKED_AT = 1, 4200

COLOURS = ("#2a9d55", "#d1495b")
SIMULATED, REAL = "#2f6f9f", "#e08e2b"

#: Populations that keep no clock, even where the census gives them an orbital or a rotation period.
BY_TIME = {"cv", "yso", "fla", "dip", "agn", "irregular", "trend", "blend"}

#: Tags and features that are compared, with the scale on which they are drawn.
TAGS = ("rrab", "rrc", "ea", "eb", "ew", "dscu", "ceph", "mir", "srv", "rrd")
FEATURES = (
    ("period_ls", "log10 period [d]"),
    ("i90r", "log10 i90r [mag]"),
    ("f1_relamp1_ls", "relamp1"),
    ("stetson_k", "stetson_k"),
)


def example_of(name: str) -> Observation:
    """Return one of the clearest of the first well-measured stars of a population."""
    number = [population.name for population in CENSUS].index(name)
    indices = [index for index in range(N_LOOKED_AT) if deal(SEED, index, DECK_SHARES) == number][:20]
    seen = [one for one in (observe(SEED, index) for index in indices) if _is_clear(one)]
    ranked = sorted(seen, key=lambda one: one.snr)
    return ranked[int(0.9 * (len(ranked) - 1))]


def _is_clear(one: Observation) -> bool:
    in_g = (one.cadence.band[one.points.visit] == 0).sum()
    return bool(in_g > 80 and one.star.mag[0] < 19.3)


def draw_example(axes: Any, name: str) -> None:
    """Draw clean g and r points of one star as differences from their medians, brighter upwards."""
    one = example_of(name)
    points = one.points
    time, band = one.hjd[points.visit], one.cadence.band[points.visit]
    period = one.variation.period
    folded = np.isfinite(period) and name not in BY_TIME
    shown = []
    for code in (1, 0):
        chosen = (points.flags == 0) & (band == code)
        delta = points.mag[chosen] - np.median(points.mag[chosen])
        shown.append(delta)
        x = phase(time[chosen], period) if folded else time[chosen] - 2458000.0
        axes.plot(x, delta, ".", ms=1.5, color=COLOURS[code])
        if folded:
            axes.plot(x + 1.0, delta, ".", ms=1.5, color=COLOURS[code])
    low, high = np.percentile(np.concatenate(shown), (0.2, 99.8))
    pad = 0.08 * (high - low) + 0.02
    axes.set_ylim(high + pad, low - pad)
    axes.set_title(f"{name}   {period:.4g} d" if folded else name, fontsize=7, pad=2)
    axes.tick_params(labelsize=5, length=2, pad=1)


def draw_examples() -> Path:
    """Draw one panel a population."""
    plt = _pyplot()
    figure, grid = plt.subplots(8, 6, figsize=(11, 13), layout="constrained")
    for axes, population in zip(grid.flat, CENSUS, strict=False):
        draw_example(axes, population.name)
    for axes in grid.flat[len(CENSUS) :]:
        axes.set_axis_off()
    marks = [plt.Line2D([], [], marker=".", ls="", color=COLOURS[code], label=BANDS[code]) for code in (0, 1)]
    title = "magnitude - median\nagainst phase (folded)\nor HJD - 2458000 d"
    grid.flat[-1].legend(handles=marks, loc="center", frameon=False, title=title, fontsize=8, title_fontsize=8)
    return _save(figure, "simulated_classes.png")


@dataclass(frozen=True)
class Sample:
    """Feature rows with the tags of their stars."""

    features: dict[str, NDArray[np.float64]]
    tags: dict[str, NDArray[np.bool_]]


def read_sample(features_path: str, labels_path: str) -> Sample:
    """Read a feature table and the labels of its stars; undecided tags do not count."""
    table = read_foreign_table(Path(features_path))
    labels = read_foreign_table(Path(labels_path))
    row_of = {identity: row for row, identity in enumerate(labels["id"].to_pylist())}
    rows = np.array([row_of[star] for star in table["source_id"].to_pylist()])
    undecided = [set(text.split(",")) if text else set() for text in labels["uncertain_tags"].to_pylist()]
    tags = {}
    for tag in TAGS:
        sure = np.array([tag not in names for names in undecided])
        tags[tag] = ((labels[tag].to_numpy() == 1) & sure)[rows]
    values = {name: table[name].to_numpy(zero_copy_only=False).astype(np.float64) for name, _ in FEATURES}
    values["period_ls"], values["i90r"] = np.log10(values["period_ls"]), np.log10(np.maximum(values["i90r"], 1e-4))
    return Sample(values, tags)


def draw_comparison(paths: list[str]) -> Path:
    """Draw a row of distributions a tag and print medians and quartiles."""
    plt = _pyplot()
    simulated = read_sample(paths[0], paths[1])
    real = [read_sample(*pair) for pair in zip(paths[2::2], paths[3::2], strict=True)]
    figure, grid = plt.subplots(len(TAGS), len(FEATURES), figsize=(9, 11), layout="constrained")
    print("| tag | feature | embedded survey (n: 25 %, 50 %, 75 %) | real sets |\n|---|---|---|---|")
    for line, tag in zip(grid, TAGS, strict=True):
        for axes, (name, title) in zip(line, FEATURES, strict=True):
            ours = _finite(simulated.features[name][simulated.tags[tag]])
            theirs = _finite(np.concatenate([sample.features[name][sample.tags[tag]] for sample in real]))
            _two_histograms(axes, ours, theirs)
            axes.tick_params(labelsize=5, left=False, labelleft=False)
            if tag == TAGS[0]:
                axes.set_title(title, fontsize=7)
            if name == FEATURES[0][0]:
                axes.set_ylabel(tag, fontsize=7)
            print(f"| `{tag}` | {title} | {_quartiles(ours)} | {_quartiles(theirs)} |")
    handles = [
        plt.Rectangle((0, 0), 1, 1, color=SIMULATED, alpha=0.5, label="embedded survey"),
        plt.Line2D([], [], color=REAL, label="real sets"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=2, frameon=False, fontsize=8)
    return _save(figure, "simulated_features.png")


def _finite(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values[np.isfinite(values)]


def _quartiles(values: NDArray[np.float64]) -> str:
    if not values.size:
        return "none"
    return f"{values.size}: " + ", ".join(f"{value:.2f}" for value in np.percentile(values, (25, 50, 75)))


def _two_histograms(axes: Any, ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> None:
    both = np.concatenate([ours, theirs])
    low, high = np.percentile(both, (1, 99)) if both.size else (0.0, 1.0)
    edges = np.linspace(low, high + 1e-9, 26)
    for values, colour in ((ours, SIMULATED), (theirs, REAL)):
        if values.size:
            share = np.histogram(values, edges)[0] / values.size
            axes.stairs(share, edges, color=colour, fill=colour == SIMULATED, alpha=0.5 if colour == SIMULATED else 1.0)


def _pyplot() -> Any:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def _save(figure: Any, name: str) -> Path:
    """Save a figure as a PNG with a palette, a third of the size of one in full colour."""
    import io

    from PIL import Image

    IMAGES.mkdir(exist_ok=True)
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=95, metadata={"Software": None})
    buffer.seek(0)
    path = IMAGES / name
    Image.open(buffer).convert("RGB").quantize(64).save(path, optimize=True)
    return path


def main(arguments: list[str]) -> int:
    """Draw what was asked for."""
    match arguments:
        case ["examples"]:
            print(draw_examples())
        case ["comparison", *paths] if len(paths) >= 4 and len(paths) % 2 == 0:
            print(draw_comparison(paths))
        case _:
            print(__doc__)
            return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
