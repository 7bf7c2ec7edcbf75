"""Random streams: each star, quadrant and deck has its own, so that nothing depends on how much else is made.

The stream of star 17 is the same in a survey of 20 and of 100,000 stars, in whichever file or worker it is made.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

__all__ = ["Stream", "random_stream"]


class Stream(IntEnum):
    """What a random stream is for; part of its seed."""

    WEATHER = 1
    QUADRANT = 2
    DECK = 3
    STAR = 4
    PHOTOMETRY = 5
    CATALOGS = 6
    VOTES = 7


def random_stream(seed: int, stream: Stream, index: int = 0) -> np.random.Generator:
    """Return the generator of one `index` of one kind of stream for the survey's `seed`."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, int(stream), index))))
