"""What a population of stars is, and in which order populations appear in a survey.

A survey deals stars from decks of `DECK_SIZE` cards, each shuffled by its own seed. The mixture is therefore the same at every
place of the survey, the class of star 17 does not depend on the number of stars, and no class is missing from a full deck.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

import numpy as np

from scope_ml.simulation.seeds import Stream, random_stream
from scope_ml.simulation.variation import Shape

__all__ = ["Law", "Population", "deal", "log_normal", "log_uniform", "uniform"]


@dataclass(frozen=True, kw_only=True)
class Law:
    """Law of a positive quantity, such as a period or an amplitude.

    Attributes
    ----------
    kind
        ``uniform`` or ``log_uniform`` between `low` and `high`; ``log_normal`` about a median with a scatter in dex,
        clipped to `low` and `high`.
    """

    kind: Literal["uniform", "log_uniform", "log_normal"]
    low: float
    high: float
    median: float = 1.0
    dex: float = 0.0

    def draw(self, rng: np.random.Generator) -> float:
        """Draw one value."""
        if self.kind == "uniform":
            return float(rng.uniform(self.low, self.high))
        if self.kind == "log_uniform":
            return float(np.exp(rng.uniform(np.log(self.low), np.log(self.high))))
        return float(np.clip(self.median * 10.0 ** (self.dex * rng.standard_normal()), self.low, self.high))


def uniform(low: float, high: float) -> Law:
    """Return a uniform law."""
    return Law(kind="uniform", low=low, high=high)


def log_uniform(low: float, high: float) -> Law:
    """Return a law uniform in the logarithm."""
    return Law(kind="log_uniform", low=low, high=high)


def log_normal(median: float, dex: float, low: float = 0.0, high: float = np.inf) -> Law:
    """Return a law normal in the logarithm, clipped to [low, high]."""
    return Law(kind="log_normal", low=low, high=high, median=median, dex=dex)


@dataclass(frozen=True, kw_only=True)
class Population:
    """One kind of star: how it varies, how it looks, how common it is, and what astronomers call it.

    Attributes
    ----------
    name
        Written to the labels as `native_class`.
    tags
        Tags that every member has (before the taxonomy adds what they imply); empty for stars that do not vary.
    share
        Members in a deck.
    shape
        Draws the brightness changes.
    period, amplitude
        Laws of period [d] and amplitude [mag, peak to peak in g]; None where the shape has no use for one.
    absolute_mag
        Mean and scatter of the absolute magnitude in r; None for what is not a star of the Galaxy.
    colour
        Mean and scatter of g - r before reddening [mag].
    mag
        Range of mean r magnitudes in the survey; faint ones are more common.
    infrared
        Mean and scatter of W1 - W2 [mag].
    dust
        Mean and scatter of the excess in r - W1 over that of a bare photosphere [mag].
    plane
        Probability of lying in a quadrant near the plane of the Galaxy.
    uncertain
        Tag and probability that the astronomers' votes leave it undecided.
    confused_with
        Populations whose labels a member may get by mistake.
    confusion
        How much likelier such a mistake is than for other stars; above 1 where the border is a convention.
    """

    name: str
    tags: tuple[str, ...]
    share: int
    shape: Shape
    period: Law | None = None
    amplitude: Law | None = None
    absolute_mag: tuple[float, float] | None = (4.5, 1.2)
    colour: tuple[float, float] = (0.5, 0.2)
    mag: tuple[float, float] = (13.6, 20.0)
    infrared: tuple[float, float] = (-0.02, 0.05)
    dust: tuple[float, float] = (0.0, 0.12)
    plane: float = 0.5
    uncertain: Mapping[str, float] = field(default_factory=dict)
    confused_with: tuple[str, ...] = ()
    confusion: float = 1.0


@lru_cache(maxsize=256)
def _shuffled_deck(seed: int, number: int, shares: tuple[int, ...]) -> np.ndarray:
    deck = np.repeat(np.arange(len(shares)), shares)
    random_stream(seed, Stream.DECK, number).shuffle(deck)
    return deck


def deal(seed: int, index: int, shares: tuple[int, ...]) -> int:
    """Return which population star `index` belongs to.

    Parameters
    ----------
    shares
        Members of each population in a deck.
    """
    number, place = divmod(index, sum(shares))
    return int(_shuffled_deck(seed, number, shares)[place])
