"""The quadrants of fields that have features: which there are, where their features lie, where their scores go.

Features are a folder of field tables, as `generate_features` makes it (``field_000296/ccd_01_quad_2.parquet``; SCoPe's
``field_296`` is read too), or one table with columns field, ccd and quad. Files of scores that are no tables of scores
begin with an underscore, so that readers of the folder pass them over. May import io, core, errors and `inference_rows`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePath
from typing import Any

from scope_ml.compute.plan import Shard
from scope_ml.errors import EmptySelectionError, FormatError
from scope_ml.io.parquet_files import open_parquet
from scope_ml.io.selection import CCDS, QUADS, Selection
from scope_ml.stages.inference_options import Infer
from scope_ml.stages.inference_rows import FeatureRows, IntArray, quadrants_of_table
from scope_ml.stages.quadrant_list import Quadrant

__all__ = ["FieldQuadrants", "QuadrantTable", "feature_tables", "field_folder", "find_quadrants", "n_rows_of"]

FIELD = re.compile(r"field_(\d+)")
QUADRANT = re.compile(r"ccd_(\d{1,2})_quad_(\d)\.parquet")

#: Tables whose rows are counted before the work; beyond, estimates count tables.
MOST_COUNTED = 10_000

#: Fields or quadrants that a message names.
N_NAMED = 3


@dataclass(frozen=True, kw_only=True)
class QuadrantTable:
    """The features of one quadrant.

    Attributes
    ----------
    field, ccd, quad
        Which.
    features
        Its table, or the table that has its rows among others.
    shared
        Whether the table has rows of other quadrants.
    """

    field: int
    ccd: int
    quad: int
    features: Path
    shared: bool = False

    @property
    def key(self) -> str:
        """Return its name in plan, ledger and outputs."""
        return self._quadrant.key

    @property
    def title(self) -> str:
        """Return its name for people."""
        return str(self.selection)

    @property
    def selection(self) -> Selection:
        """Return its light curves."""
        return self._quadrant.selection

    @property
    def _quadrant(self) -> Quadrant:
        return Quadrant(self.field, self.ccd, self.quad)

    def output(self, folder: Path) -> Path:
        """Return where its scores go."""
        return folder / f"{self.key}.parquet"

    def report_path(self, folder: Path) -> Path:
        """Return where it stands what its scores were made with."""
        return field_folder(folder, self.field) / "_reports" / f"{PurePath(self.key).name}.json"

    def missing_path(self, folder: Path) -> Path:
        """Return where the list of the features that its light curves lack stands."""
        return field_folder(folder, self.field) / "_missing" / f"{PurePath(self.key).name}.parquet"

    def rows(self) -> FeatureRows:
        """Open its features.

        Raises
        ------
        FormatError, MetadataError
            If the table is missing, broken, or none of ours.
        """
        if not self.shared:
            return FeatureRows.of(self.features)
        found = _rows_in(self.features, self.features.stat().st_mtime_ns)[0]
        place = (self.field, self.ccd, self.quad)
        if place not in found:
            raise FormatError(f"{self.features} has no rows of {self.title} any more; type the same command again")
        return FeatureRows.of(self.features, found[place])

    def shard(self, n_rows: int | None) -> Shard:
        """Return it as a unit of work."""
        payload = {
            "field": self.field,
            "ccd": self.ccd,
            "quad": self.quad,
            "features": str(self.features),
            "shared": self.shared,
        }
        return Shard(key=self.key, title=self.title, n_sources=n_rows, payload=payload)

    @classmethod
    def of(cls, payload: Mapping[str, Any]) -> QuadrantTable:
        """Return the quadrant of a unit of work."""
        return cls(**{**payload, "features": Path(payload["features"])})


@dataclass(frozen=True, kw_only=True)
class FieldQuadrants:
    """The quadrants to score.

    Attributes
    ----------
    quadrants
        In the order of field, ccd, quad.
    missing
        Quadrants (ccd, quad) of each field for which there is no table; of one table for all nothing is known.
    n_rows
        Rows of each, by key, where they are known.
    n_unplaced
        Rows of a table for all that are of no quadrant.
    warnings
        One line each.
    """

    quadrants: tuple[QuadrantTable, ...]
    missing: Mapping[int, tuple[tuple[int, int], ...]] = field(default_factory=dict)
    n_rows: Mapping[str, int] = field(default_factory=dict)
    n_unplaced: int = 0
    warnings: tuple[str, ...] = ()

    @property
    def fields(self) -> tuple[int, ...]:
        """Return the fields, ascending."""
        return tuple(dict.fromkeys(one.field for one in self.quadrants))


def field_folder(folder: Path, number: int) -> Path:
    """Return the folder of a field: names sort as the numbers do."""
    return folder / f"field_{number:06d}"


def feature_tables(folder: Path, *, only: int | None = None) -> tuple[QuadrantTable, ...]:
    """Return all field tables in a folder, or those of one field `only`, in the order of field, ccd, quad.

    Raises
    ------
    FormatError
        If there is no such folder, or two tables are of one quadrant.
    """
    if not folder.is_dir():
        raise FormatError(
            f"{folder} does not exist; give features=FOLDER_OR_TABLE of python -m scope_ml.generate_features"
        )
    found: dict[str, QuadrantTable] = {}
    for inner in sorted(folder.iterdir()):
        of_field = FIELD.fullmatch(inner.name)
        if of_field is None or not inner.is_dir() or only not in (None, int(of_field[1])):
            continue
        for path in sorted(inner.iterdir()):
            match = QUADRANT.fullmatch(path.name)
            if match is None or int(match[1]) not in CCDS or int(match[2]) not in QUADS:
                continue
            one = QuadrantTable(field=int(of_field[1]), ccd=int(match[1]), quad=int(match[2]), features=path)
            if one.key in found:
                raise FormatError(f"{found[one.key].features} and {path} are both of {one.title}; remove one of them")
            found[one.key] = one
    return tuple(found[key] for key in sorted(found))


def find_quadrants(config: Infer) -> FieldQuadrants:
    """Return the quadrants of the fields that are asked for.

    Raises
    ------
    EmptySelectionError
        If there are no features of a field; the message says which fields there are.
    ScopeError
        If the folder or table cannot be read.
    """
    path = config.features_path
    if path.is_file():
        places, n_unplaced = _rows_in(path, path.stat().st_mtime_ns)
        every = [QuadrantTable(field=f, ccd=c, quad=q, features=path, shared=True) for f, c, q in sorted(places)]
        n_rows = {one.key: len(places[one.field, one.ccd, one.quad]) for one in every}
    else:
        every, n_rows, n_unplaced = list(feature_tables(path)), {}, 0
    chosen, warnings = _chosen(config, every)
    missing: dict[int, tuple[tuple[int, int], ...]] = {}
    if not path.is_file():
        missing = _missing(chosen)
        warnings += _told_missing(missing)
    if config.fields is not None:
        n_unplaced = 0
    elif n_unplaced:
        warnings.append(
            f"{n_unplaced} rows of {path} are of no quadrant (field, ccd or quad is missing) and have no scores"
        )
    return FieldQuadrants(
        quadrants=tuple(chosen), missing=missing, n_rows=n_rows, n_unplaced=n_unplaced, warnings=tuple(warnings)
    )


def n_rows_of(quadrants: Sequence[QuadrantTable], known: Mapping[str, int]) -> list[int | None]:
    """Return the rows of each quadrant's table as far as they are known, or can be in seconds."""
    if all(one.key in known for one in quadrants):
        return [known[one.key] for one in quadrants]
    if len(quadrants) > MOST_COUNTED:
        return [None] * len(quadrants)
    with ThreadPoolExecutor(8, thread_name_prefix="scope") as pool:
        return list(pool.map(_count, quadrants))


def _count(one: QuadrantTable) -> int | None:
    try:
        with open_parquet(one.features) as file:
            return int(file.metadata.num_rows)
    except FormatError:
        # It is named when its turn comes.
        return None


@lru_cache(maxsize=2)
def _rows_in(path: Path, written: int) -> tuple[Mapping[tuple[int, int, int], IntArray], int]:
    """Return the rows of each quadrant of a table; read once for all of them, and again if it was `written` anew."""
    del written
    return quadrants_of_table(path)


def _chosen(config: Infer, every: Sequence[QuadrantTable]) -> tuple[list[QuadrantTable], list[str]]:
    there = list(dict.fromkeys(one.field for one in every))
    if not there:
        raise EmptySelectionError(
            f"{config.features} has no field tables (field_000296/ccd_01_quad_2.parquet); make them with"
            " python -m scope_ml.generate_features target=field target.field=296"
        )
    wanted = config.fields
    if wanted is None:
        return list(every), []
    lacking = [number for number in wanted if number not in set(there)]
    # Of a range those are taken that there are.
    is_range = isinstance(config.field, str) and "-" in config.field
    if lacking and (not is_range or len(lacking) == len(wanted)):
        raise EmptySelectionError(
            f"{config.features} has no features of field {_some(lacking)}; it has {_some(there, 12)}"
        )
    warnings = []
    if lacking:
        warnings.append(
            f"{config.features} has features of {len(wanted) - len(lacking)} of {len(wanted)} fields {config.field}"
        )
    return [one for one in every if one.field in set(wanted)], warnings


def _missing(quadrants: Iterable[QuadrantTable]) -> dict[int, tuple[tuple[int, int], ...]]:
    there: dict[int, set[tuple[int, int]]] = {}
    for one in quadrants:
        there.setdefault(one.field, set()).add((one.ccd, one.quad))
    whole = [(ccd, quad) for ccd in CCDS for quad in QUADS]
    return {number: tuple(place for place in whole if place not in known) for number, known in there.items()}


def _told_missing(missing: Mapping[int, Sequence[tuple[int, int]]]) -> list[str]:
    named = [str(Selection(field=number, ccd=c, quad=q)) for number, places in missing.items() for c, q in places]
    if not named:
        return []
    fields = f"field {next(iter(missing))}" if len(missing) == 1 else f"{len(missing)} fields"
    n_all = len(missing) * len(CCDS) * len(QUADS)
    return [f"{len(named)} of {n_all} quadrants of {fields} have no feature table and no scores: {_some(named)}"]


def _some(names: Sequence[object], most: int = N_NAMED) -> str:
    return ", ".join(map(str, names[:most])) + (", ..." if len(names) > most else "")
