"""Dividing stars into training, validation and test: whole stars, every class in every part where it can be.

The division depends on the stars, their labels and the seed alone, not on the order of rows.
May import `io` and below.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scope_ml.core.configuration import option, science_digest, to_plain
from scope_ml.core.provenance import TableMetadata
from scope_ml.errors import ConfigError, DataError, InsufficientDataError
from scope_ml.io.tables import read_table, write_table

__all__ = ["PARTS", "SPLIT_FILE", "PartName", "Split", "SplitConfig", "grouped_stratified_split"]

PartName = Literal["train", "val", "test"]

#: Names of the parts; the position is the code in `Split.part`.
PARTS: tuple[PartName, ...] = ("train", "val", "test")
TRAIN, VAL, TEST = range(3)

#: File of the split within a data set's folder.
SPLIT_FILE = "split.parquet"

#: A class with fewer stars than this cannot have one in each part and is left to chance.
FEWEST_STARS = 3

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class SplitConfig:
    """Sizes of the parts as shares of the stars; the rest is for training."""

    test_size: float = option(0.2, at_least=0, at_most=0.9, doc="share of the stars held out for the final score")
    val_size: float = option(0.15, at_least=0, at_most=0.9, doc="share of the stars for early stopping and selection")
    seed: int = option(42, at_least=0, doc="seed of the division")

    def __post_init__(self) -> None:
        """Check that something is left for training."""
        if self.test_size + self.val_size >= 1:
            raise ConfigError(
                f"split.test_size={self.test_size:g} and split.val_size={self.val_size:g} leave nothing for training",
                key="split.test_size",
            )


DEFAULT_SPLIT = SplitConfig()


@dataclass(frozen=True, kw_only=True)
class Split:
    """Part of each row.

    Attributes
    ----------
    part
        int8 (n,): 0 training, 1 validation, 2 test.
    config
        How it was made.
    """

    part: npt.NDArray[np.int8]
    config: SplitConfig

    @property
    def digest(self) -> str:
        """Hex digest of the parts and of how they were made."""
        hasher = hashlib.sha256(science_digest(self.config).encode())
        hasher.update(np.ascontiguousarray(self.part, dtype=np.int8).tobytes())
        return hasher.hexdigest()

    def mask(self, part: PartName) -> BoolArray:
        """Return bool (n,), True for the rows of a part."""
        mask: BoolArray = self.part == PARTS.index(part)
        return mask

    def rows(self, part: PartName) -> IntArray:
        """Return the numbers of the rows of a part, int64, ascending."""
        return np.flatnonzero(self.mask(part)).astype(np.int64)

    def save(self, folder: Path, *, of: str) -> None:
        """Write ``split.parquet`` into a data set's folder; `of` is the data set's digest."""
        facts = {"of": of, "config": to_plain(self.config), "digest": self.digest}
        table = pa.table({"part": pa.array(self.part, pa.int8())})
        write_table(table, folder / SPLIT_FILE, TableMetadata(kind="split", facts=facts))

    @classmethod
    def load(cls, folder: Path, *, of: str) -> Split:
        """Read what `save` wrote.

        Raises
        ------
        DataError
            If it is the split of another data set than `of`.
        """
        table = read_table(folder / SPLIT_FILE, kind="split")
        facts = table.metadata.facts
        if facts.get("of") != of:
            raise DataError(f"data set {folder}: {SPLIT_FILE} is the split of another data set; build it again")
        return cls(part=table.data["part"].to_numpy().astype(np.int8), config=SplitConfig(**facts["config"]))


def grouped_stratified_split(
    y: npt.NDArray[np.int8],
    known: BoolArray,
    group: IntArray,
    config: SplitConfig = DEFAULT_SPLIT,
    *,
    origin: npt.NDArray[np.str_] | None = None,
) -> Split:
    """Divide stars so that every part has its share of every class and origin.

    Parameters
    ----------
    y, known
        Labels, int8 and bool (n, n_tags).
    group
        Number of the star of each row, int64 (n,), in an order of the stars that does not depend on that of the rows.
    config
        Sizes and seed.
    origin
        Survey of each row, str (n,).

    Returns
    -------
    Split
        The numbers of stars in the parts are the shares of `config`, rounded. A class of three or more
        stars has at least one in each part that has any, training first, as far as that can be had by exchanges.

    Raises
    ------
    InsufficientDataError
        If there are fewer than three stars.

    Notes
    -----
    A star's stratum is its rarest class and its origin. The stars are laid in a row, stratum by stratum and
    in random order within each; then each part takes a star whenever its running share falls due (systematic
    sampling). Each run of n neighbouring stars thus gives a part its share of n, up or down to a whole
    star, so that the strata that are too small to be divided alone are still divided fairly together.
    """
    stars, row_star = np.unique(np.asarray(group), return_inverse=True)
    if len(stars) < FEWEST_STARS:
        raise InsufficientDataError(
            f"the data set has {len(stars)} star(s); {FEWEST_STARS} are needed for training, validation and test"
            " (are the source_id, or ra and dec, the same in all rows?)"
        )
    member = np.zeros((len(stars), y.shape[1]), dtype=bool)
    np.logical_or.at(member, row_star, (np.asarray(y) == 1) & known)
    rng = np.random.default_rng(config.seed)
    line = _line_of_stars(member, _star_origins(row_star, len(stars), origin), rng)
    part = np.empty(len(stars), dtype=np.int8)
    part[line] = _shares(len(stars), config)
    _exchange(part, member, rng)
    return Split(part=part[row_star].astype(np.int8), config=config)


def _star_origins(row_star: IntArray, n_stars: int, origin: npt.NDArray[np.str_] | None) -> IntArray:
    """Return the code of each star's origin; the alphabetically first of several."""
    if origin is None:
        return np.zeros(n_stars, dtype=np.int64)
    names, codes = np.unique(origin, return_inverse=True)
    first = np.full(n_stars, len(names), dtype=np.int64)
    np.minimum.at(first, row_star, codes)
    return first


def _line_of_stars(member: BoolArray, origin: IntArray, rng: np.random.Generator) -> IntArray:
    """Return the stars by rarest class, then origin, then chance."""
    n_members = member.sum(axis=0)
    by_rarity = np.argsort(n_members, kind="stable")
    rarest = np.where(member.any(axis=1), np.argmax(member[:, by_rarity], axis=1), member.shape[1])
    order: IntArray = np.lexsort((rng.permutation(len(member)), origin, rarest)).astype(np.int64)
    return order


def _shares(n_stars: int, config: SplitConfig) -> npt.NDArray[np.int8]:
    """Return the part of each place in the line: test and validation whenever their shares fall due."""
    part = np.full(n_stars, TRAIN, dtype=np.int8)
    part[_due(n_stars, round(n_stars * config.test_size))] = TEST
    rest = np.flatnonzero(part == TRAIN)
    n_val = min(round(n_stars * config.val_size), len(rest) - 1)
    part[rest[_due(len(rest), n_val)]] = VAL
    return part


def _due(n_places: int, n_chosen: int) -> IntArray:
    """Return `n_chosen` of `n_places` places, evenly spread."""
    return ((np.arange(n_chosen) + 0.5) * n_places / max(n_chosen, 1)).astype(np.int64)


def _exchange(part: npt.NDArray[np.int8], member: BoolArray, rng: np.random.Generator) -> None:
    """Exchange stars between parts, in place, so that each class of three or more has one in each part."""
    n_members = member.sum(axis=0)
    wanted = [code for code in (TRAIN, TEST, VAL) if (part == code).any()]
    chance = rng.permutation(len(part))
    for column in np.argsort(n_members, kind="stable"):
        if n_members[column] < FEWEST_STARS:
            continue
        for code in wanted:
            if not member[part == code, column].any():
                _bring(part, member, int(column), code, chance)


def _bring(part: npt.NDArray[np.int8], member: BoolArray, column: int, code: int, chance: IntArray) -> None:
    """Move one star of class `column` into part `code` and another out, if no class loses its last star of a part."""
    protected = member.sum(axis=0) >= FEWEST_STARS
    counts = np.stack([member[part == one].sum(axis=0) for one in range(len(PARTS))])
    donors = np.flatnonzero(member[:, column])
    donors = donors[np.lexsort((chance[donors], -counts[part[donors], column]))]
    # Stars of few classes first: they are the easiest to spare.
    spare = np.flatnonzero((part == code) & ~member[:, column])
    spare = spare[np.lexsort((chance[spare], member[spare].sum(axis=1)))]
    # Stars with the same classes in the same part are equal here; the first stands for all.
    for donor in _distinct(donors, np.column_stack([member, part])):
        source = part[donor]
        for other in _distinct(spare, member):
            change = member[donor].astype(np.int64) - member[other]
            left = np.stack([counts[source] - change, counts[code] + change])
            before = np.stack([counts[source], counts[code]])
            if not (((left == 0) & (before > 0)).any(axis=0) & protected).any():
                part[donor], part[other] = code, source
                return


def _distinct(stars: IntArray, traits: npt.NDArray[np.int8] | BoolArray) -> list[int]:
    """Return the first star of each row of `traits`, in the order of `stars`."""
    if len(stars) == 0:
        return []
    _, first = np.unique(traits[stars], axis=0, return_index=True)
    return [int(star) for star in stars[np.sort(first)]]
