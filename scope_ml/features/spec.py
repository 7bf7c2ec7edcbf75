"""What is said about a feature: its name, unit, formula, and which models take it. Imports nothing of ours."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias, get_args

__all__ = [
    "FEATURE_SETS",
    "METHODS",
    "SCOPE",
    "FeatureGroup",
    "FeatureSpec",
    "Method",
    "PeriodicColumn",
    "split_suffix",
]

#: A period search by its short name, which is the suffix of its columns.
#: `none` searches nothing and takes 1 d.
Method: TypeAlias = Literal["ls", "ce", "aov", "mhaov", "pdm", "bls", "fpw", "ls_ce_aov", "best", "none"]

METHODS: tuple[Method, ...] = get_args(Method)

#: Sets of model inputs: `phenomenological` describes the shape of the light curve, `ontological` adds what tells stars
#: of one shape apart.
FEATURE_SETS = ("phenomenological", "ontological")

SCOPE = "Coughlin et al. 2021, MNRAS 505, 2954"


@dataclass(frozen=True, kw_only=True)
class FeatureSpec:
    """One feature.

    Attributes
    ----------
    name
        SCoPe's name; the column of a periodic feature adds ``_`` and the method of the period search.
    group
        Key of `registry.GROUPS`: what is measured in one pass.
    unit
        ``""`` for a number without unit.
    formula
        How it is computed, N points m with errors e at times t, w = 1/e^2, wm the weighted mean.
    reference
        Paper or package that defines it.
    sets
        The `FEATURE_SETS` whose models take it.
    missing
        What a model puts for a missing value: the training part's median; zero; ``below``, a value below all others,
        where missing means that there is no such thing, such as the phase of a harmonic that was not taken; or nothing,
        since none is ever missing or no model takes it.
    periodic
        Whether it depends on the period.
    dtype
        Arrow type; ``float[]`` is a list of as many numbers in each row.
    legacy
        Column of SCoPe, without its period suffix.
    """

    name: str
    group: str
    unit: str
    formula: str
    reference: str = SCOPE
    sets: tuple[str, ...] = FEATURE_SETS
    missing: Literal["median", "zero", "below", "none"] = "median"
    periodic: bool = False
    dtype: str = "double"
    legacy: str | None = None

    def column(self, method: str, rank: int = 1) -> str:
        """Return the name of the column for a period search by `method`, such as ``ls``, and its peak number `rank`."""
        ranked = f"{self.name}_{rank}" if rank > 1 else self.name
        return f"{ranked}_{method}" if self.periodic else self.name


@dataclass(frozen=True, kw_only=True)
class FeatureGroup:
    """Features that are measured together.

    Attributes
    ----------
    name, summary
        Key in the configuration and one line about it.
    needs
        Groups that must be chosen with it.
    only
        The one method of the period search that has these features; None: every method has, or they need none.
    standard
        Whether it is measured unless something else is said: light curves are all it takes.
    from_catalogs
        Whether it takes catalogues.
    models_need
        Whether a table without it cannot train models; features of other groups are inputs where they are there.
    """

    name: str
    summary: str
    needs: tuple[str, ...] = ()
    only: Method | None = None
    standard: bool = True
    from_catalogs: bool = False
    models_need: bool = False


class PeriodicColumn(NamedTuple):
    """The parts of the name of a periodic column: ``period_2_ls`` is the `period` of peak 2 of ``ls``."""

    feature: str
    rank: int
    suffix: str


def split_suffix(column: str, features: Collection[str], suffixes: Collection[str]) -> PeriodicColumn | None:
    """Return the parts of a column's name that is one of `features`, maybe a rank, and one of `suffixes`; or None."""
    # The longest first: period_ls_ce_aov is of ls_ce_aov.
    for suffix in sorted(suffixes, key=len, reverse=True):
        stem = column.removesuffix(f"_{suffix}")
        if stem == column:
            continue
        if stem in features:
            return PeriodicColumn(stem, 1, suffix)
        feature, _, rank = stem.rpartition("_")
        if feature in features and rank.isdecimal() and int(rank) > 1:
            return PeriodicColumn(feature, int(rank), suffix)
    return None
