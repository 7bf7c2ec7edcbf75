"""Joining features and labels: by id exactly, or by position; and joining the results of several surveys.

A feature table has a row for each light curve, so that a star has several (bands, fields): each gets the star's label.
May import `io`, `taxonomy` and below.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from scope_ml.core.configuration import option, science_digest
from scope_ml.core.identifiers import exact_ids
from scope_ml.core.provenance import digest_json
from scope_ml.datasets.dataset import Dataset
from scope_ml.datasets.identifiers import comparable, row_codes, shared_rows
from scope_ml.datasets.labels import LABEL_THRESHOLD, Labels
from scope_ml.datasets.stars import group_stars, nearest_positions
from scope_ml.errors import DataError, EmptySelectionError, FeatureMismatchError, MissingColumnError
from scope_ml.io.tables import Table

__all__ = ["JoinConfig", "concatenate", "join"]

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class JoinConfig:
    """How labels find their light curves, and light curves their star."""

    label_threshold: float = option(
        LABEL_THRESHOLD, at_least=0, at_most=1, doc="label probabilities above it are positives"
    )
    radius_arcsec: float = option(
        2.0, unit="arcsec", more_than=0, at_most=60, doc="farthest light curve of a label given by ra and dec"
    )
    group_radius_arcsec: float = option(
        1.0, unit="arcsec", at_least=0, at_most=60, doc="light curves closer than this are of one star; 0: by id alone"
    )


DEFAULT_JOIN = JoinConfig()


def join(
    features: Table,
    labels: Labels,
    config: JoinConfig = DEFAULT_JOIN,
    *,
    origin: str = "",
    name: str = "the feature table",
) -> Dataset:
    """Give every light curve the label of its star.

    Parameters
    ----------
    features
        Table of kind ``features``: `id` (or SCoPe's ``_id``), `source_id` where known, `ra`, `dec` [deg] where known, features.
    labels
        Labels by id, or by position where they have none.
    config
        Radii.
    origin
        Name of the survey or set; "" takes the labels' own.
    name
        Name of the feature table, for messages.

    Returns
    -------
    Dataset
        The light curves with a label, in the order of the features. Labels by id are looked up among the features'
        `source_id` or `id`, whichever finds more (`source_id` if equal). Missing coordinates are filled in from
        the labels'.

    Raises
    ------
    EmptySelectionError
        If no label belongs to a light curve.
    DataError, MissingColumnError
        If the features have no exact ids, or no coordinates where they are needed.
    """
    data = features.data
    if "id" not in data.column_names and "_id" in data.column_names:
        # A table that SCoPe wrote.
        data = data.append_column("id", data["_id"])
    if "id" not in data.column_names:
        raise MissingColumnError(name, ["id"], data.column_names)
    if labels.id is None:
        label_row, ambiguous = _by_position(data, labels, config, name)
    else:
        label_row, ambiguous = _by_id(data, labels, labels.id, name), 0
    matched = label_row >= 0
    kept, rows = data.filter(pa.array(matched)), label_row[matched]
    kept = _with_place(kept, labels.ra[rows], labels.dec[rows])
    origins = np.full(len(rows), origin) if origin else labels.origin[rows]
    # A label by position may find light curves of several ids; they are one star.
    links = rows if labels.id is None else np.full(len(rows), -1, dtype=np.int64)
    return Dataset(
        table=kept,
        tags=labels.tags,
        y=labels.y[rows],
        known=labels.known[rows],
        group=_group(kept, origins, links, config),
        origin=origins,
        counts={
            "features": data.num_rows,
            "matched": len(rows),
            "without_label": data.num_rows - len(rows),
            "labels": len(labels),
            "labels_without_features": len(labels) - len(np.unique(rows)),
            "ambiguous_positions": ambiguous,
            "labels_off_grid": labels.n_off_grid,
        },
        weight=None if labels.weight is None else labels.weight[rows],
        inputs=(labels.source,),
        config_digest=digest_json([science_digest(config), origin]),
        facts=features.metadata.facts,
    )


def concatenate(datasets: Sequence[Dataset], config: JoinConfig = DEFAULT_JOIN) -> Dataset:
    """Put the data sets of several surveys together.

    Ids stay as they are unless the same id stands for stars of two origins; then all become ``origin:id``. Stars are
    numbered anew, so that one seen by two surveys at one position is one star.

    Raises
    ------
    FeatureMismatchError
        If their features differ.
    DataError
        If their classes differ.
    """
    if len(datasets) == 1:
        return datasets[0]
    reference = datasets[0]
    for other in datasets[1:]:
        _check_alike(reference, other)
    tables = _unique_ids(datasets)
    table = pa.concat_tables(tables, promote_options="permissive").combine_chunks()
    origins = np.concatenate([one.origin for one in datasets])
    offsets = np.cumsum([0, *(int(one.group.max(initial=-1)) + 1 for one in datasets)])
    links = np.concatenate([one.group + start for one, start in zip(datasets, offsets[:-1], strict=True)])
    return replace(
        reference,
        table=table,
        y=np.concatenate([one.y for one in datasets]),
        known=np.concatenate([one.known for one in datasets]),
        group=_group(table, origins, links, config),
        origin=origins,
        counts={key: sum(one.counts[key] for one in datasets) for key in reference.counts},
        weight=_weights(datasets),
        inputs=tuple(item for one in datasets for item in one.inputs),
        config_digest=digest_json([one.config_digest for one in datasets]),
    )


def _weights(datasets: Sequence[Dataset]) -> npt.NDArray[np.float32] | None:
    """Return the weights of all light curves, 1 for those of a data set without any; None where none has."""
    if all(one.weight is None for one in datasets):
        return None
    own = [np.ones(len(one), dtype=np.float32) if one.weight is None else one.weight for one in datasets]
    return np.concatenate(own)


def _by_id(data: pa.Table, labels: Labels, label_ids: pa.Array, name: str) -> IntArray:
    """Return the label's row of each light curve, -1 for none."""
    best: IntArray | None = None
    for ids in (_star_keys(data, name), exact_ids(data["id"], "id", where=name)):
        found = shared_rows(ids, label_ids)
        if best is None or (found >= 0).sum() > (best >= 0).sum():
            best = found
    if best is None or not (best >= 0).any():
        shown = f"{data['id'][0].as_py()!r} ({data['id'].type})" if data.num_rows else "no row"
        other = f"{label_ids[0].as_py()!r} ({label_ids.type})" if len(label_ids) else "no row"
        raise EmptySelectionError(
            f"label table {labels.name} shares no id with {name}: there an id is {shown}, in the labels {other};"
            " give labels of these light curves (or ra,dec,class without an id)"
        )
    return best


def _by_position(data: pa.Table, labels: Labels, config: JoinConfig, name: str) -> tuple[IntArray, int]:
    """Return the label's row of each light curve (-1 for none), and how many stars had several to choose from."""
    for column in ("ra", "dec"):
        if column not in data.column_names:
            raise MissingColumnError(
                f"{name} (needed, as the labels are given by position)", [column], data.column_names
            )
    ra, dec = _degrees(data, "ra"), _degrees(data, "dec")
    nearest, distance = nearest_positions(ra, dec, labels.ra, labels.dec)
    inside = distance <= config.radius_arcsec
    if not inside.any():
        closest = (
            f"the nearest is {distance.min():.1f} arcsec away" if np.isfinite(distance).any() else "none has a position"
        )
        raise EmptySelectionError(
            f"label table {labels.name}: no position lies within {config.radius_arcsec:g} arcsec of a light curve of"
            f" {name}; {closest} (ra and dec in degrees? radius_arcsec?)"
        )
    # All rows of a source follow the row that lies nearest to a label.
    sources = row_codes(_star_keys(data, name))[0]
    order = np.lexsort((nearest, distance, sources))
    _, first = np.unique(sources[order], return_index=True)
    best = order[first]
    choice = np.where(inside[best], nearest[best], -1)
    several = [np.unique(pair) for pair in _split_by(sources[inside], nearest[inside])]
    return choice[sources], sum(len(rows) > 1 for rows in several)


def _split_by(codes: IntArray, values: IntArray) -> list[IntArray]:
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.diff(codes[order])) + 1
    return np.split(values[order], starts)


def _star_keys(data: pa.Table, name: str) -> pa.Array:
    """Return as text each row's `source_id`, or its `id` where it has none."""
    ids = exact_ids(data["id"], "id", where=name).cast(pa.string())
    if "source_id" not in data.column_names:
        return ids
    sources = data["source_id"].combine_chunks()
    if pa.types.is_floating(sources.type):
        return exact_ids(data["source_id"], "source_id", where=name)
    return pc.coalesce(sources.cast(pa.string()), ids)


def _group(table: pa.Table, origins: npt.NDArray[np.str_], links: IntArray, config: JoinConfig) -> IntArray:
    keys = pc.binary_join_element_wise(
        pa.array(origins.tolist(), pa.string()), _star_keys(table, "the joined table"), "\n"
    )
    ra, dec = _degrees(table, "ra"), _degrees(table, "dec")
    return group_stars(keys, links, ra, dec, radius_arcsec=config.group_radius_arcsec)


def _with_place(table: pa.Table, ra: npt.NDArray[np.float64], dec: npt.NDArray[np.float64]) -> pa.Table:
    """Fill in coordinates that the light curves do not have."""
    for name, values in (("ra", ra), ("dec", dec)):
        own = _degrees(table, name)
        filled = pa.array(np.where(np.isnan(own), values, own), pa.float64(), from_pandas=True)
        unit = pa.field(name, pa.float64(), metadata={"unit": "deg"})
        position = table.schema.get_field_index(name)
        table = table.append_column(unit, filled) if position < 0 else table.set_column(position, unit, filled)
    return table


def _degrees(table: pa.Table, name: str) -> npt.NDArray[np.float64]:
    if name not in table.column_names:
        return np.full(table.num_rows, np.nan)
    return np.asarray(table[name].cast(pa.float64()).to_numpy(), dtype=np.float64)


def _check_alike(reference: Dataset, other: Dataset) -> None:
    if other.tags != reference.tags:
        raise DataError("data sets with different classes cannot be put together; read both with the same taxonomy")
    here, there = set(reference.table.column_names), set(other.table.column_names)
    digests = {str(one.facts.get("feature_digest", "")) for one in (reference, other)}
    if here == there and len(digests) == 1:
        return
    names = [str(one.origin[0]) or "without a name" if len(one) else "empty" for one in (reference, other)]
    missing, extra = sorted(here - there), sorted(there - here)
    detail = (
        f"the second lacks {missing[:5]} and has {extra[:5]} besides" if missing or extra else "their digests differ"
    )
    raise FeatureMismatchError(
        f"the feature tables of the sets {names[0]} and {names[1]} were made with different features ({detail});"
        " make all of them with the same options of generate_features",
        missing=missing,
        extra=extra,
    )


def _unique_ids(datasets: Sequence[Dataset]) -> list[pa.Table]:
    """Return the tables with ids of one type that mean one star each."""
    tables = [one.table for one in datasets]
    names = [name for name in ("id", "source_id") if all(name in table.column_names for table in tables)]
    owner: dict[Any, str] = {}
    clash = False
    for one in datasets:
        for place in np.unique(one.origin).tolist():
            ids = exact_ids(one.table.filter(pa.array(one.origin == place))["id"], "id", where=f"set {place}").cast(
                pa.string()
            )
            clash = clash or any(owner.setdefault(key, place) != place for key in ids.unique().to_pylist())
    if clash:
        return [_prefixed(table, one.origin, names) for table, one in zip(tables, datasets, strict=True)]
    for name in names:
        columns = [table[name].combine_chunks() for table in tables]
        for position, (table, column) in enumerate(zip(tables, columns, strict=True)):
            for other in columns:
                column, _ = comparable(column, other)  # noqa: PLW2901
            tables[position] = table.set_column(table.schema.get_field_index(name), name, column)
    return tables


def _prefixed(table: pa.Table, origins: npt.NDArray[np.str_], names: Sequence[str]) -> pa.Table:
    prefix = pa.array(origins.tolist(), pa.string())
    for name in names:
        column = pc.binary_join_element_wise(prefix, table[name].combine_chunks().cast(pa.string()), ":")
        table = table.set_column(table.schema.get_field_index(name), name, column)
    return table
