"""What the pages of a catalogue show, and what both of them need of it.

May import reporting, models, taxonomy and core.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scope_ml.core.configuration import option
from scope_ml.models.algorithms import ALGORITHMS
from scope_ml.reporting.release_view import CatalogueFacts
from scope_ml.taxonomy.graph import Taxonomy

__all__ = ["NEEDED", "PageOptions", "class_labels", "score_algorithms"]

#: Columns without which there is no page.
NEEDED = ("name", "ra", "dec", "n_light_curves")


@dataclass(frozen=True, kw_only=True)
class PageOptions:
    """What the pages show; the group `page` of the door, all of it `machine=True`."""

    title: str = option("Catalogue of variable stars", doc="heading of the pages", machine=True)
    subtitle: str = option("", doc="sentence under the heading", machine=True)
    n_examples: int = option(
        3, unit="stars", doc="most certain stars of each class with light curves", at_least=0, at_most=24, machine=True
    )
    cite: str = option("", doc="how to cite the release, as text", machine=True)
    doi: str = option("", doc="DOI of the release, such as 10.5281/zenodo.8410825", machine=True)
    score_change: float = option(
        0.1, doc="a star has changed where a score of a class moved so far", at_least=0, at_most=1, machine=True
    )
    period_change: float = option(
        1e-3, doc="or where its period moved by this share of itself", at_least=0, at_most=1, machine=True
    )
    n_largest: int = option(25, unit="stars", doc="of the largest changes are shown", at_least=0, machine=True)


def score_algorithms(facts: CatalogueFacts) -> tuple[str, ...]:
    """Return the algorithms whose scores a catalogue may have."""
    return tuple(dict.fromkeys([*ALGORITHMS, *(one.algorithm for one in facts.models if one.algorithm)]))


def class_labels(taxonomy: Taxonomy, tags: Sequence[str]) -> dict[str, str]:
    """Return the names of classes in words."""
    return {tag: taxonomy[tag].label if tag in taxonomy else tag for tag in tags}
