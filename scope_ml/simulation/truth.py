"""Labels as astronomers give them: mostly true, sometimes missed, sometimes wrong, sometimes undecided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from scope_ml.simulation.census import CENSUS, population_tags
from scope_ml.simulation.populations import Population

__all__ = ["Votes", "cast_votes", "label_columns", "label_tags"]

#: Tags asserted and tags undecided.
Votes = tuple[frozenset[str], frozenset[str]]

#: Signal-to-noise ratio (rms variation over median error) below which eyes begin to miss a variation.
VISIBLE_SNR = 0.45

#: Probability that a variation far below the noise is labelled as none.
MISSED = 0.6

_BY_NAME = {population.name: population for population in CENSUS}


def cast_votes(
    rng: np.random.Generator, population: Population, earned: Sequence[str], snr: float, label_noise: float
) -> Votes:
    """Return the tags that votes give a star, before closure, and those that they leave undecided.

    Parameters
    ----------
    earned
        Tags that the star's own variation added.
    snr
        Rms of the true variation over the median error.
    label_noise
        Probability of a wrong label.
    """
    wrong, missed, which = rng.random(3)
    true_tags = frozenset(population.tags) | frozenset(earned)
    dim = float(np.exp(-((snr / VISIBLE_SNR) ** 2)))
    tags = true_tags
    if wrong < label_noise * population.confusion and population.confused_with:
        taken_for = _BY_NAME[population.confused_with[int(which * len(population.confused_with))]]
        tags = frozenset(taken_for.tags)
    elif population.tags and not _is_artefact(population) and missed < MISSED * dim:
        tags = frozenset()
    chances = dict(population.uncertain)
    for tag in sorted(true_tags):
        chances[tag] = max(chances.get(tag, 0.0), 0.35 * dim)
    draws = rng.random(len(chances))
    undecided = frozenset(tag for (tag, chance), draw in zip(chances.items(), draws, strict=True) if draw < chance)
    return tags, undecided


def _is_artefact(population: Population) -> bool:
    return bool({"bogus", "ext", "blend", "bright", "artfct"} & set(population.tags))


def label_tags(parents: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Return the tags of the label table, in the order of `parents`: those that some population's members can have.

    Parameters
    ----------
    parents
        All ancestors of each tag of the taxonomy.
    """
    direct = population_tags()
    reached = direct | {parent for tag in direct for parent in parents[tag]}
    return tuple(tag for tag in parents if tag in reached)


def label_columns(votes: Sequence[Votes], parents: Mapping[str, Sequence[str]]) -> dict[str, pa.Array]:
    """Return an int8 column per tag, closed upward, and `uncertain_tags` (comma-separated, sorted)."""
    tags = label_tags(parents)
    column = {tag: number for number, tag in enumerate(tags)}
    values = np.zeros((len(votes), len(tags)), dtype=np.int8)
    undecided = []
    for row, (asserted, unsure) in enumerate(votes):
        for tag in asserted:
            values[row, column[tag]] = 1
            values[row, [column[parent] for parent in parents[tag]]] = 1
        undecided.append(",".join(sorted(unsure)))
    result = {tag: pa.array(values[:, number]) for tag, number in column.items()}
    return {**result, "uncertain_tags": pa.array(undecided, pa.string())}
