"""One partition of a catalogue: its stars, settled and named, as one Parquet file of the HATS layout.

May import selection, io, core, errors, `catalog_units` and `catalog_views`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from scope_ml.core.provenance import TableMetadata, digest_file
from scope_ml.io.atomic import atomic_path
from scope_ml.io.hats_writer import partition_path
from scope_ml.io.healpix import INDEX_COLUMN, Cells, finest_cells
from scope_ml.io.parquet_files import write_parquet
from scope_ml.io.partition_spool import read_spool
from scope_ml.io.tables import described
from scope_ml.selection.consolidation import star_names
from scope_ml.selection.friends import mean_positions
from scope_ml.selection.star_columns import StarRules, star_schema
from scope_ml.selection.star_rows import star_rows
from scope_ml.selection.stars import SURVEYS, Stars
from scope_ml.selection.survey_ranks import key_ranks
from scope_ml.stages.catalog_units import HOME, spool_schema
from scope_ml.stages.catalog_views import StarSearch, View, keyed, light_columns, plain_key, read_view

__all__ = ["Making", "Settled", "catalogue_schema", "make_partition", "settled_stars"]

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
KeyArray = npt.NDArray[np.uint64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Settled:
    """The stars that a partition writes.

    Attributes
    ----------
    rows
        Rows of the spool that are in them, int64 (n_rows,).
    stars
        Which of these are one star.
    is_cut
        Stars of which other partitions have the rest, or another view, bool (n_stars,).
    in_view
        Places of all further stars in view [deg], (n, 2): names are told apart from theirs.
    """

    rows: IntArray
    stars: Stars
    is_cut: BoolArray
    in_view: npt.NDArray[np.float64]


def catalogue_schema(schema: pa.Schema, rules: StarRules) -> pa.Schema:
    """Return the schema of the catalogue that is made of light curves of a schema."""
    stars = star_schema(schema, rules)
    return pa.schema([pa.field(INDEX_COLUMN, pa.int64()), *stars])


@dataclass(frozen=True, kw_only=True, eq=False)
class Making:
    """What all partitions are made with.

    Attributes
    ----------
    schema
        Of the light curves.
    search, rules
        What is a star, and what its row.
    cells
        The partitions.
    views, agreed
        Folder of what partitions see, and file of the shared stars on which they agree.
    catalogue
        Folder of the catalogue; a partition without stars has no file in it.
    """

    schema: pa.Schema
    search: StarSearch
    rules: StarRules
    cells: Cells
    views: Path
    agreed: Path
    catalogue: Path


def make_partition(number: int, files: Sequence[Path], record: TableMetadata, making: Making) -> dict[str, Any]:
    """Write the stars of a partition, and return what is counted of them.

    Parameters
    ----------
    number
        Which of the partitions.
    files
        Its spool.
    record
        Of the table.
    making
        What all partitions are made with.
    """
    schema, search, cells = making.schema, making.search, making.cells
    view = read_view(making.views, number)
    agreed = np.load(making.agreed, mmap_mode="r")
    spool = spool_schema(schema)
    columns = light_columns(schema, search.by)
    light = read_spool(files, spool, [HOME, *columns])
    home = light[HOME].to_numpy().astype(np.int64)
    keys = None if search.by == "position" else keyed(light.select(columns), search)["survey_id"].combine_chunks()
    settled = settled_stars(number, view, home, agreed, light, keys, search)
    n_stars = len(settled.stars)
    counts: dict[str, Any] = {
        "n_stars": n_stars,
        "n_light_curves": len(settled.rows),
        "n_cut": int(settled.is_cut.sum()),
        "n_by_place": settled.stars.by_place,
    }
    if not n_stars:
        return counts
    # Only the rows that are needed leave the mapped files.
    table = read_spool(files, spool, schema.names).take(pa.array(settled.rows)).combine_chunks()
    rows = star_rows(table, settled.stars, making.rules, names=_names(settled, table, making.rules))
    finest = finest_cells(settled.stars.ra, settled.stars.dec)
    # A star that was cut may have its place just outside; it is written where its light curves are.
    finest = np.clip(finest, cells.first[number], cells.last[number])
    written = rows.add_column(0, pa.field(INDEX_COLUMN, pa.int64()), pa.array(finest))
    written = written.take(pc.sort_indices(written, sort_keys=[(INDEX_COLUMN, "ascending"), ("name", "ascending")]))
    path = making.catalogue / partition_path(int(cells.order[number]), int(cells.pixel[number]))
    with atomic_path(path) as temporary:
        write_parquet(written, temporary, described(record, written.schema, written.num_rows).to_json())
    counts["field_light_curves"] = _field_counts(table["field"]) if "field" in table.column_names else {}
    return counts | _told(written) | {"sha256": digest_file(path)}


def settled_stars(
    number: int,
    view: View,
    home: IntArray,
    agreed: KeyArray,
    light: pa.Table,
    keys: pa.Array | None,
    search: StarSearch,
) -> Settled:
    """Return the stars that partition `number` writes: its own, those agreed on, and its own part of the others."""
    is_agreed = np.isin(view.mark, agreed)
    mine = np.where(view.is_shared, is_agreed & (view.owner == number), True)
    is_cut = view.is_shared & ~is_agreed
    in_order = view.star[view.order]
    kept = mine[in_order] | (is_cut[in_order] & (home[view.order] == number))
    order = view.order[kept]
    of_view = in_order[kept]
    starts = np.flatnonzero(np.diff(of_view, prepend=-1)).astype(np.int64)
    which = of_view[starts]
    rows = np.sort(order)
    place = np.searchsorted(rows, order).astype(np.int64)
    star_in_order = np.repeat(np.arange(len(starts), dtype=np.int64), np.diff(np.append(starts, len(order))))
    ra, dec = (light[name].to_numpy() for name in ("ra", "dec"))
    star = np.empty(len(rows), dtype=np.int64)
    star[place] = star_in_order
    mean_ra, mean_dec = mean_positions(star_in_order, len(starts), ra[order], dec[order])
    key = pa.nulls(len(starts), pa.string())
    if keys is not None and len(starts):
        # A light curve without an id, or with one of a lesser survey, may be the first of a star with a better one.
        rank = key_ranks(keys, SURVEYS)[order] * len(order)
        first = np.minimum.reduceat(rank + np.arange(len(order)), starts)
        at = np.where(first < len(SURVEYS) * len(order), order[first % len(order)], -1)
        key = plain_key(keys.take(pa.array(at, mask=at < 0)))
    others = ~is_cut & ~mine
    return Settled(
        rows=rows,
        stars=Stars(star=star, order=place, starts=starts, key=key, ra=mean_ra, dec=mean_dec, by=search.by),
        is_cut=is_cut[which],
        in_view=np.stack([view.ra[others], view.dec[others]], axis=1),
    )


def _names(settled: Settled, table: pa.Table, rules: StarRules) -> pa.Array:
    """Return the names of the stars, told apart from those of all in view."""
    stars, others = settled.stars, settled.in_view
    n_others = len(others)
    ids = table["id"].combine_chunks().take(pa.array(stars.representative)).cast(pa.string())
    names = star_names(
        np.concatenate([stars.ra, others[:, 0]]),
        np.concatenate([stars.dec, others[:, 1]]),
        rules.options.prefix,
        apart=np.concatenate([settled.is_cut, np.zeros(n_others, dtype=bool)]),
        of=pa.concat_arrays([ids, pa.nulls(n_others, pa.string())]),
    )
    return names.slice(0, len(stars))


def _field_counts(fields: pa.ChunkedArray) -> dict[str, int]:
    counted = pc.value_counts(fields.drop_null()).to_pylist()
    return {str(one["values"]): one["counts"] for one in sorted(counted, key=lambda one: one["values"])}


def _told(written: pa.Table) -> dict[str, Any]:
    """Return what reports and pages want to know of a partition."""
    confident = pc.value_counts(written["confident_class"].drop_null()).to_pylist()
    flags = {
        name: int(pc.sum(pc.fill_null(written[name], False)).as_py() or 0)
        for name in ("crowded", "wide", "no_survey_id")
    }
    return {
        "fields": _field_counts(pc.list_flatten(written["fields"])),
        "confident": {one["values"]: one["counts"] for one in confident},
        "flags": flags,
        "n_conflicting": int(pc.sum(pc.greater(written["n_conflicts"], 0)).as_py() or 0),
    }
