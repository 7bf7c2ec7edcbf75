"""The table that `fritz_upload` reads: one entry a source, with its place, names, period and scores by class of Fritz.

Rows are sources, or light curves of which those of one star are joined (`selection`). All that can be wrong with the table
is found here, row by row, before anything is asked of Fritz (`upload_problems`). May import `requested_sources`,
selection, taxonomy, `io`, core and errors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from scope_ml.core.identifiers import one_chunk
from scope_ml.errors import DataError, EmptySelectionError, MetadataError, MissingColumnError
from scope_ml.io.tables import read_foreign_table, read_table
from scope_ml.selection.consolidation import Combine, consolidate
from scope_ml.selection.friends import friends
from scope_ml.selection.stars import StarKey, find_stars, id_columns, survey_keys
from scope_ml.stages.requested_sources import positions_of
from scope_ml.stages.upload_problems import Problems, check_places, check_scores, named_rows
from scope_ml.taxonomy.fritz_mappers import FritzClass

__all__ = ["NAMES", "InputTable", "StarsMode", "TableRules", "UploadRows", "open_input", "upload_rows"]

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]

#: ``auto``: light curves of a table that `infer` wrote are joined by their mean, rows of other tables are sources.
StarsMode = Literal["auto", "rows", "mean", "max", "median"]

#: What a column of names on Fritz may be called; the first that is there counts.
NAMES = ("obj_id", "OBJ_ID", "object_id", "objectID", "fritz_name")

#: Kind of the tables that `infer` writes.
PREDICTIONS = "predictions"


@dataclass(frozen=True, kw_only=True, eq=False)
class InputTable:
    """A table as it is on disk.

    Attributes
    ----------
    path
        Where it is.
    data
        Its columns.
    kind, facts
        Of its record; "" and nothing if it has none of ours.
    """

    path: Path
    data: pa.Table
    kind: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TableRules:
    """How a table is read.

    Attributes
    ----------
    stars, stars_by
        Whether rows are light curves, and how those of one star are found.
    combine
        What becomes of several columns of one class: mean, max, or the name of an algorithm.
    period
        Column of periods [d]; None: there are none.
    start, stop
        First source, and the first that is not taken.
    radius_arcsec
        Two rows closer than this are one source [arcsec].
    use_obj_id
        Whether sources are known by the table's own names.
    need_survey_id
        Whether ids of a survey are needed.
    """

    stars: StarsMode = "auto"
    stars_by: StarKey = "auto"
    combine: str = "mean"
    period: str | None = "period"
    start: int = 0
    stop: int | None = None
    radius_arcsec: float = 2.0
    use_obj_id: bool = False
    need_survey_id: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class UploadRows:
    """Sources to upload, one entry each.

    Attributes
    ----------
    row
        The row that stands for it, counted from 0, int64 (n,).
    source_of
        The entry of each row of the table, -1 for those between `start` and `stop` alone, int64 (n_rows,).
    ra, dec
        float64 (n,) [deg].
    obj_id, survey_id
        None where a row has none, or none is needed.
    period
        [d], NaN where there is none, float64 (n,).
    scores
        By label on Fritz, float64 (n,) in [0, 1].
    light_curves_joined
        Whether rows were light curves.
    """

    row: Rows
    source_of: Rows
    ra: Floats
    dec: Floats
    obj_id: Sequence[str | None]
    survey_id: Sequence[str | None]
    period: Floats
    scores: Mapping[str, Floats]
    light_curves_joined: bool

    def __len__(self) -> int:
        """Return the number of sources."""
        return len(self.row)

    def key(self, source: int) -> str:
        """Return what a source is called in messages and receipts."""
        return f"row {self.row[source] + 1}"

    def only(self, sources: Sequence[int]) -> UploadRows:
        """Return some of the sources, in their order; the rows of the others are nobody's."""
        at = np.asarray(sources, dtype=np.int64)
        # The last place is for rows that were nobody's before.
        number = np.full(len(self) + 1, -1, dtype=np.int64)
        number[at] = np.arange(len(at))
        return UploadRows(
            row=self.row[at],
            source_of=number[self.source_of],
            ra=self.ra[at],
            dec=self.dec[at],
            obj_id=[self.obj_id[one] for one in at],
            survey_id=[self.survey_id[one] for one in at],
            period=self.period[at],
            scores={label: values[at] for label, values in self.scores.items()},
            light_curves_joined=self.light_curves_joined,
        )


def open_input(path: Path) -> InputTable:
    """Read a table: Parquet, HDF5 or CSV, ours or not.

    Raises
    ------
    FormatError
        If it cannot be read.
    EmptySelectionError
        If it has no rows.
    """
    data = read_foreign_table(path, readable_only=True)
    if not data.num_rows:
        raise EmptySelectionError(f"{path} has no rows; there is nothing to upload")
    try:
        record = read_table(path, columns=()).metadata
    except MetadataError:
        return InputTable(path=path, data=data)
    return InputTable(path=path, data=data, kind=record.kind, facts=record.facts)


def upload_rows(
    table: InputTable, classes: Sequence[FritzClass], rules: TableRules, problems: Problems
) -> UploadRows | None:
    """Return the sources of a table; None where something is wrong with single rows.

    Parameters
    ----------
    table
        As it was read.
    classes
        Columns and their classes; all columns are there.
    rules
        How it is read.
    problems
        Told what is wrong with single rows.

    Raises
    ------
    SchemaError, DataError, EmptySelectionError
        If the columns themselves are not what they should be.
    """
    where = str(table.path)
    mode = rules.stars if rules.stars != "auto" else "mean" if table.kind == PREDICTIONS else "rows"
    n_rows = table.data.num_rows
    ra, dec = positions_of(table.data, table.path)
    names = _names(table, rules)
    if rules.need_survey_id and not id_columns(table.data.column_names):
        raise MissingColumnError(f"{where} (ids of a survey)", ["survey_id"], table.data.column_names)
    if rules.period not in (None, "period", *table.data.column_names):
        raise MissingColumnError(where, [str(rules.period)], table.data.column_names)
    columns = {"ra": pa.array(ra), "dec": pa.array(dec), "obj_id": names}
    if rules.need_survey_id:
        columns["survey_id"] = survey_keys(table.data, where=where)
    if rules.period in table.data.column_names:
        columns["period"] = pa.array(_numbers(table.data, str(rules.period), where))
    columns |= {one.column: pa.array(_numbers(table.data, one.column, where)) for one in classes}
    taken = np.arange(n_rows) if mode != "rows" else np.arange(n_rows)[rules.start : rules.stop]
    n_wrong = len(problems.found)
    check_places(ra, dec, taken, problems)
    check_scores(columns, classes, taken, problems)
    if len(problems.found) > n_wrong:
        # Light curves in no place cannot be joined to stars.
        return None
    found = _as_rows(columns, taken, n_rows) if mode == "rows" else _as_stars(table, columns, classes, rules, mode)
    if not len(found):
        raise EmptySelectionError(
            f"rows.start={rules.start} and rows.stop={rules.stop} leave no source; {where} has {n_rows} rows"
        )
    _check_apart(found, rules, problems)
    return _with_scores(found, classes, rules)


def _names(table: InputTable, rules: TableRules) -> pa.Array:
    """Return the names on Fritz (string, null where there is none), nulls where they do not count."""
    none = pa.nulls(table.data.num_rows, pa.string())
    if not rules.use_obj_id:
        return none
    name = next((one for one in NAMES if one in table.data.column_names), None)
    if name is None:
        raise MissingColumnError(f"{table.path} (find.use_existing_obj_id=true)", ["obj_id"], table.data.column_names)
    texts = pc.utf8_trim_whitespace(one_chunk(table.data[name]).cast(pa.string()))
    return pc.if_else(pc.is_in(texts, value_set=pa.array(["", "nan", "None"])), pa.scalar(None, pa.string()), texts)


def _numbers(data: pa.Table, name: str, where: str) -> Floats:
    column = one_chunk(data[name])
    fits = pa.types.is_floating(column.type) or pa.types.is_integer(column.type) or pa.types.is_boolean(column.type)
    if not fits and not pa.types.is_null(column.type):
        raise DataError(f"{where}: column '{name}' is {column.type}; it must hold numbers")
    numbers = column.cast(pa.uint8()) if pa.types.is_boolean(column.type) else column
    return np.asarray(numbers.cast(pa.float64()).fill_null(np.nan).to_numpy(zero_copy_only=False))


def _as_rows(columns: Mapping[str, pa.Array], taken: Rows, n_rows: int) -> UploadRows:
    source_of = np.full(n_rows, -1, dtype=np.int64)
    source_of[taken] = np.arange(len(taken))
    return _entries(pa.table(dict(columns)).take(pa.array(taken)), taken, source_of, joined=False)


def _as_stars(
    table: InputTable, columns: Mapping[str, pa.Array], classes: Sequence[FritzClass], rules: TableRules, mode: Combine
) -> UploadRows:
    """Join the light curves of each star."""
    data = table.data
    for name, column in columns.items():
        if name == "obj_id" and column.null_count == len(column):
            # Nothing is known by these names; those that the table may have are not to count.
            data = data.drop_columns(["obj_id"]) if "obj_id" in data.column_names else data
            continue
        at = data.schema.get_field_index(name)
        data = data.append_column(name, column) if at < 0 else data.set_column(at, name, column)
    stars = find_stars(data, by=rules.stars_by, radius_arcsec=rules.radius_arcsec, where=str(table.path))
    joined = consolidate(data, stars, scores=list(dict.fromkeys(one.column for one in classes)), how=mode)
    known = columns["obj_id"].null_count < data.num_rows
    kept = {name: one_chunk(joined[name]) for name in columns if name in joined.column_names}
    # Names that are made of places are Fritz's business: it may have the star under another one.
    given = set(columns["obj_id"].to_pylist()) - {None} if known else set()
    kept["obj_id"] = pa.array([one if one in given else None for one in joined["obj_id"].to_pylist()], pa.string())
    if rules.need_survey_id and "survey_id" in columns:
        kept["survey_id"] = columns["survey_id"].take(
            pa.array(_first_with(columns["survey_id"], stars.order, stars.starts))
        )
    # In the order of the table, as people count.
    first = np.minimum.reduceat(stars.order, stars.starts)
    here = np.argsort(first)[rules.start : rules.stop]
    number = np.full(len(stars), -1, dtype=np.int64)
    number[here] = np.arange(len(here))
    chosen = pa.table(kept).take(pa.array(here))
    return _entries(chosen, first[here], number[stars.star], joined=True)


def _first_with(column: pa.Array, order: Rows, starts: Rows) -> Rows:
    """Return the first row of each star that has a value, or its first row."""
    known = column.is_valid().to_numpy(zero_copy_only=False)[order]
    place = np.where(known, np.arange(len(order)), len(order))
    first = np.minimum.reduceat(place, starts)
    at: Rows = order[np.where(first < len(order), first, starts)]
    return at


def _entries(chosen: pa.Table, row: Rows, source_of: Rows, *, joined: bool) -> UploadRows:
    floats = {name: _plain(chosen[name]) for name in chosen.column_names if name not in ("obj_id", "survey_id")}
    none = [None] * chosen.num_rows
    return UploadRows(
        row=np.asarray(row, dtype=np.int64),
        source_of=source_of,
        ra=np.where(floats["ra"] == 360.0, 0.0, floats["ra"]),
        dec=floats["dec"],
        obj_id=chosen["obj_id"].to_pylist(),
        survey_id=chosen["survey_id"].to_pylist() if "survey_id" in chosen.column_names else none,
        period=_periods(floats.get("period"), chosen.num_rows),
        scores={name: values for name, values in floats.items() if name not in ("ra", "dec", "period")},
        light_curves_joined=joined,
    )


def _plain(column: pa.ChunkedArray) -> Floats:
    return np.asarray(one_chunk(column).cast(pa.float64()).fill_null(np.nan).to_numpy(zero_copy_only=False))


def _periods(values: Floats | None, n: int) -> Floats:
    """Return periods, NaN for what is none."""
    if values is None:
        return np.full(n, np.nan)
    return np.where(np.isfinite(values) & (values > 0), values, np.nan)


def _check_apart(rows: UploadRows, rules: TableRules, problems: Problems) -> None:
    """Find entries that are one source of Fritz."""
    by_name: dict[str, list[int]] = {}
    for at, name in enumerate(rows.obj_id):
        if name is not None:
            by_name.setdefault(name, []).append(at)
    twice = {name: here for name, here in by_name.items() if len(here) > 1}
    if twice:
        name, here = next(iter(twice.items()))
        problems.add(
            DataError(
                f"{len(twice)} obj_id stand in several rows: the first, {name}, in {named_rows(rows.row[here])}; leave one row a"
                " source, or type rows.stars=max where rows are its light curves"
            )
        )
    group = friends(rows.ra, rows.dec, rules.radius_arcsec)
    named = np.array([name is not None for name in rows.obj_id])
    order = np.argsort(group, kind="stable")
    several = np.split(order, np.flatnonzero(np.diff(group[order])) + 1)
    # Rows with names of their own may be neighbours.
    close = [here for here in several if len(here) > 1 and not named[here].all()]
    if close:
        advice = (
            "make it smaller (find.radius_arcsec=1), or leave one of them out"
            if rows.light_curves_joined
            else "leave one row a source, or type rows.stars=max where rows are light curves of one star"
        )
        problems.add(
            DataError(
                f"{len(close)} places have several rows within find.radius_arcsec={rules.radius_arcsec:g}, which would be one source"
                f" of Fritz: the first, {named_rows(rows.row[close[0]])}; {advice}"
            )
        )


def _with_scores(rows: UploadRows, classes: Sequence[FritzClass], rules: TableRules) -> UploadRows:
    """Return the rows with scores by label: those of several columns of one class are combined."""
    by_label: dict[str, list[FritzClass]] = {}
    for one in classes:
        by_label.setdefault(str(one.label), []).append(one)
    scores = {}
    for label, several in by_label.items():
        columns = [one.column for one in several]
        if len(columns) > 1 and rules.combine not in ("mean", "max"):
            columns = [name for name in columns if name.endswith(f"_{rules.combine}")]
            if len(columns) != 1:
                raise DataError(
                    f"combine={rules.combine} chooses {len(columns)} of the columns {', '.join(one.column for one in several)}"
                    f" of {label}; give combine=mean, max, or an algorithm that ends one of them"
                )
        values = np.stack([rows.scores[name] for name in columns])
        scores[label] = values.max(axis=0) if rules.combine == "max" else values.mean(axis=0)
    return replace(rows, scores=scores)
