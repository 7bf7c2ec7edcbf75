"""Which light curves a selection asks Kowalski for: ids that are given, listed for a part of the sky, or lie around positions.

May import io, core, errors and the rooms beside it but `cache` and `light_curves`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from scope_ml.core.protocols import Progress
from scope_ml.errors import ReplyError
from scope_ml.io.layouts import ZTF_FILTERS
from scope_ml.io.selection import Positions, Selection
from scope_ml.services.kowalski.asking import NO_ANSWER, ByKey, ask_in_pieces, pieces_of
from scope_ml.services.kowalski.circles import documents_by_name
from scope_ml.services.kowalski.client import Asks
from scope_ml.services.kowalski.listing import list_sources
from scope_ml.services.kowalski.settings import KowalskiConfig

__all__ = ["PLAN_SCHEMA", "Plan", "cut", "find_plan", "sorted_places"]

Floats = npt.NDArray[np.float64]

#: Columns of a plan: `block` is the number of the block of each id.
PLAN_SCHEMA = pa.schema(
    [
        pa.field("id", pa.int64()),
        pa.field("ra", pa.float64(), metadata={b"unit": b"deg"}),
        pa.field("dec", pa.float64(), metadata={b"unit": b"deg"}),
        pa.field("nobs", pa.int32()),
        pa.field("block", pa.int32()),
    ]
)

#: What is asked of a document around a position.
FACTS = dict.fromkeys(("_id", "ra", "dec", "filter", "nobs"), 1)

#: Widening of circles [arcsec]: the service computes with other longitudes; what is too far is left out here.
SLACK_ARCSEC = 1e-2


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """The ids to ask for, sorted, and how they are cut into blocks.

    Attributes
    ----------
    table
        Columns as `PLAN_SCHEMA`; `ra`, `dec` [deg] and `nobs` are null where not known.
    open
        Positions of which it is not known yet what lies there: the reason by their number in `sorted_places`.
    """

    table: pa.Table
    open: Mapping[int, str] = field(default_factory=dict)

    @property
    def n_blocks(self) -> int:
        """Return how many blocks there are."""
        return int(self.table["block"][-1].as_py()) + 1 if self.table.num_rows else 0

    def blocks(self) -> list[pa.Table]:
        """Return the rows of each block."""
        at = np.searchsorted(self.table["block"].to_numpy(), np.arange(self.n_blocks + 1))
        return [self.table.slice(first, end - first) for first, end in pairwise(at.tolist())]


def sorted_places(positions: Positions) -> Floats:
    """Return the distinct right ascensions and declinations [deg], shape (n, 2), in an order that theirs does not decide."""
    places: Floats = np.unique(np.column_stack([positions.ra, positions.dec]), axis=0)
    return places


def cut(
    rows: pa.Table, config: KowalskiConfig, *, without: npt.NDArray[np.int64] | None = None
) -> list[tuple[int, ...]]:
    """Cut the ids of rows of a plan into as many as one query may ask for, by their number and that of their points.

    Parameters
    ----------
    rows
        With `id` and `nobs`.
    config
        `query_limit` and `query_points`.
    without
        Ids to leave out, shape (n,).
    """
    if without is not None and len(without):
        rows = rows.filter(pa.array(~np.isin(rows["id"].to_numpy(), without)))
    weights = rows["nobs"].fill_null(0).to_pylist()
    pieces = pieces_of(
        rows["id"].to_pylist(), most=config.query_limit, weights=weights, most_weight=config.query_points
    )
    return list(pieces)


def find_plan(
    asks: Asks,
    catalog: str,
    selection: Selection,
    *,
    config: KowalskiConfig,
    bands: Sequence[str],
    progress: Progress,
    before: Plan | None = None,
) -> Plan:
    """Return the ids of a selection.

    Parameters
    ----------
    asks, catalog
        The client and the collection of light curves.
    selection
        A field, a ccd, a quadrant, or ids, or positions.
    config
        Sizes of queries.
    bands
        Bands to look for; all if empty. Of ids that are given the band is not known.
    progress
        Told of each position; already started.
    before
        What an earlier run found out; only the positions that are open there are asked again.

    Raises
    ------
    ServiceError
        If the service does not answer; single positions without an answer are named in the plan instead.
    """
    codes = [code for code, band in ZTF_FILTERS.items() if band in bands]
    unknown: Mapping[int, str] = {}
    if selection.positions is not None:
        table, unknown = _Search(
            asks=asks, catalog=catalog, selection=selection, config=config, codes=codes, progress=progress
        ).around(before)
    elif selection.ids is not None:
        table = pa.table({"id": selection.sorted_numbers})
    else:
        table = list_sources(asks, catalog, selection)
        if codes:
            table = table.filter(pc.is_in(table["filter"], value_set=pa.array(codes, pa.int32())))
    columns = [
        table[one.name] if one.name in table.column_names else pa.nulls(table.num_rows, one.type) for one in PLAN_SCHEMA
    ]
    table = pa.table(columns, schema=PLAN_SCHEMA).sort_by("id")
    block = pa.array(_blocks(table, config, before), pa.int32())
    return Plan(table=table.set_column(len(PLAN_SCHEMA) - 1, PLAN_SCHEMA.field("block"), block), open=unknown)


def _blocks(table: pa.Table, config: KowalskiConfig, before: Plan | None) -> list[int]:
    """Return the number of the block of each id; ids found later go into the blocks that are there."""
    if before is not None and before.n_blocks:
        firsts = [rows["id"][0].as_py() for rows in before.blocks()]
        at = np.searchsorted(firsts, table["id"].to_numpy(), side="right") - 1
        return [max(one, 0) for one in at.tolist()]
    return [number for number, piece in enumerate(cut(table, config)) for _ in piece]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Search:
    """The search for light curves around positions, many in one query."""

    asks: Asks
    catalog: str
    selection: Selection
    config: KowalskiConfig
    codes: Sequence[int]
    progress: Progress

    @cached_property
    def places(self) -> Floats:
        assert self.selection.positions is not None
        return sorted_places(self.selection.positions)

    @property
    def radius_arcsec(self) -> float:
        assert self.selection.positions is not None
        return self.selection.positions.radius_arcsec

    def around(self, before: Plan | None) -> tuple[pa.Table, dict[int, str]]:
        """Return `id`, `ra`, `dec` and `nobs` of what lies there, and why some positions were not answered."""
        places = list(range(len(self.places))) if before is None else sorted(before.open)
        documents: dict[int, Mapping[str, Any]] = {}
        unknown: dict[int, str] = {}
        for answer in ask_in_pieces(
            self.asks,
            pieces_of(places, most=self.config.query_limit),
            self._query,
            ByKey(self._found),
            catalog=self.catalog,
            connections=self.config.connections,
            not_found=f"{NO_ANSWER}the place is not in the reply",
        ):
            documents |= {one["_id"]: one for found in answer.values.values() for one in found}
            unknown |= answer.missing
            self.progress.advance(len(answer.keys))
        names = [name for name in PLAN_SCHEMA.names if name != "block"]
        values = [[one.get("_id" if name == "id" else name) for one in documents.values()] for name in names]
        try:
            found = pa.table(values, schema=pa.schema([PLAN_SCHEMA.field(name) for name in names]))
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise ReplyError(f"{self.catalog}: a light curve's id, place or nobs is no number ({error})") from error
        ra, dec = (found[name].fill_null(np.nan).to_numpy() for name in ("ra", "dec"))
        kept = (PLAN_SCHEMA.empty_table() if before is None else before.table).select(names)
        fresh = self.selection.near(ra, dec) & ~np.isin(found["id"].to_numpy(), kept["id"].to_numpy())
        return pa.concat_tables([kept, found.filter(pa.array(fresh))]), unknown

    def _query(self, places: Sequence[int]) -> dict[str, Any]:
        # Names without a dot, which the service would make an underscore.
        where = {
            f"p{at}": [ra % 360.0, dec]
            for at, (ra, dec) in zip(places, self.places[list(places)].tolist(), strict=True)
        }
        bands = {"filter": {"$in": list(self.codes)}} if self.codes else {}
        return {
            "query_type": "cone_search",
            "query": {
                "object_coordinates": {
                    "radec": where,
                    "cone_search_radius": self.radius_arcsec + SLACK_ARCSEC,
                    "cone_search_unit": "arcsec",
                },
                "catalogs": {self.catalog: {"filter": bands, "projection": FACTS}},
            },
        }

    def _found(self, body: bytes) -> list[tuple[int, list[Any]]]:
        named = documents_by_name(body, self.catalog)
        if any(
            not isinstance(one, dict) or type(one.get("_id")) is not int for found in named.values() for one in found
        ):
            raise ReplyError(f"{self.catalog}: a document around a position has no whole number as _id")
        # A name that is none of ours is that of no place.
        return [(int(name[1:]) if re.fullmatch(r"p\d{1,18}", name) else -1, found) for name, found in named.items()]
