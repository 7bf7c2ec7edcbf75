"""Which tables of scores a catalogue is made of: found in folders, of one set of models, as rows of one schema.

Nothing but footers is read. May import selection, models' list of algorithms, io, taxonomy, core, errors and
`number_ranges`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from scope_ml.core.identifiers import one_chunk
from scope_ml.core.provenance import TableMetadata
from scope_ml.errors import ConfigError, DataError, EmptySelectionError, MetadataError, MissingColumnError, SchemaError
from scope_ml.io.parquet_files import open_parquet, parquet_record
from scope_ml.models.algorithms import ALGORITHMS
from scope_ml.selection.score_columns import SPREAD, score_columns
from scope_ml.selection.stars import SURVEY_ID, id_columns
from scope_ml.stages.number_ranges import Numbers, number_list
from scope_ml.taxonomy.graph import Taxonomy

__all__ = ["Inputs", "Models", "ScoreFile", "conformed", "file_stamp", "find_inputs", "wanted_fields"]

BoolArray = npt.NDArray[np.bool_]

#: Whether all tables must have been scored by one set of models.
Models = Literal["one", "any"]

#: What a light curve's id is called; in what is spooled it is called `id`.
IDS = ("id", "_id", "ztf_id")

#: What says which light curve a row is, and what its star's row is made of besides scores; as far as tables have it.
KEPT: Mapping[str, pa.DataType] = {
    "source_id": pa.string(),
    "obj_id": pa.string(),
    "band": pa.string(),
    "ra": pa.float64(),
    "dec": pa.float64(),
    "field": pa.int32(),
    "ccd": pa.int16(),
    "quad": pa.int16(),
    "filter": pa.int16(),
    "period": pa.float64(),
    "period_searched": pa.float64(),
    "period_factor": pa.float64(),
    "period_class": pa.string(),
    "period_confidence": pa.float64(),
    "period_significance": pa.float64(),
    "n_obs": pa.int32(),
    "n": pa.float64(),
    "median": pa.float64(),
    "wstd": pa.float64(),
    "chi2red": pa.float64(),
    "med_err": pa.float64(),
}

#: A folder of a field, as generate_features and infer write it.
FIELD_FOLDER = re.compile(r"field_0*(\d+)")

#: Fields of ZTF that there can be.
FIELDS = range(1, 2000)

#: Ends of names of tables that stand beside tables of scores.
BESIDE = (".missing.parquet", ".dropped.parquet", ".not_found.parquet", ".unanswered.parquet", ".light_curves.parquet")

#: Tables that a message names.
N_NAMED = 3


@dataclass(frozen=True, kw_only=True)
class ScoreFile:
    """One table of scores; `stamp` is what the file system says of it, so that one that is replaced meanwhile is noticed."""

    path: Path
    n_rows: int
    group_rows: tuple[int, ...]
    own_id: str
    columns: tuple[str, ...]
    stamp: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Inputs:
    """The tables of a catalogue.

    Attributes
    ----------
    files
        In the order of their paths.
    schema
        Of the rows of all of them: `id`, `KEPT`, ids of catalogues, scores and what is said of these.
    fields
        Wanted fields; None: all.
    scores
        The columns that are scores.
    models, thresholds
        Digest and threshold of each, as far as records say it.
    warnings
        What is wondered at.
    """

    files: tuple[ScoreFile, ...]
    schema: pa.Schema
    fields: tuple[int, ...] | None
    scores: tuple[str, ...]
    models: Mapping[str, str]
    thresholds: Mapping[str, float]
    warnings: tuple[str, ...] = ()

    @property
    def n_rows(self) -> int:
        """Return the rows of all tables, those of other fields included."""
        return sum(file.n_rows for file in self.files)


@dataclass
class _Found:
    """What the footers say, as it is read."""

    files: list[ScoreFile] = field(default_factory=list)
    types: dict[str, tuple[pa.DataType, Path]] = field(default_factory=dict)
    models: dict[str, dict[str, Path]] = field(default_factory=dict)
    thresholds: dict[str, dict[float, Path]] = field(default_factory=dict)
    without_record: list[Path] = field(default_factory=list)


def wanted_fields(given: Numbers) -> tuple[int, ...] | None:
    """Return the fields that were asked for, or None for all: an empty list, or ``all``.

    Raises
    ------
    ConfigError
        If it is no number or range of numbers.
    """
    if given in ((), "all", ("all",)):
        return None
    return number_list(given, "fields", FIELDS)


def find_inputs(
    predictions: Sequence[Path], fields: tuple[int, ...] | None, taxonomy: Taxonomy, models: Models
) -> Inputs:
    """Find the tables, and read what their footers say.

    Parameters
    ----------
    predictions
        Tables, and folders with tables at any depth.
    fields
        Wanted fields: folders of others are not looked into; None: all.
    taxonomy
        The classes whose scores are looked for.
    models
        ``one`` refuses tables of different models.

    Raises
    ------
    ConfigError, EmptySelectionError
        If there is no table, or none of a wanted field.
    SchemaError, DataError
        If a table has no scores, or tables contradict one another.
    """
    paths = _paths(predictions, fields)
    found = _Found()
    for path in paths:
        _read_footer(path, taxonomy, found)
    if fields is not None and not any("field" in file.columns for file in found.files):
        raise MissingColumnError(f"{paths[0]} (to choose fields)", ["field"], found.files[0].columns)
    tags, algorithms = taxonomy.tags, tuple(ALGORITHMS)
    scores = tuple(column.name for column in score_columns(list(found.types), tags, algorithms))
    model_of = _one_set(found.models, "model digests", models)
    threshold_of = _one_set(found.thresholds, "thresholds", models)
    return Inputs(
        files=tuple(found.files),
        schema=_schema(found.types, scores),
        fields=fields,
        scores=scores,
        models=model_of,
        thresholds=threshold_of,
        warnings=(*_mixed(found, models), *_uneven(found, scores), *_unrecorded(found)),
    )


def _paths(predictions: Sequence[Path], fields: tuple[int, ...] | None) -> list[Path]:
    """Return the paths of the tables, each once, sorted."""
    if not predictions:
        raise ConfigError("no tables of scores; give predictions=FOLDER or predictions=[TABLE,...]", key="predictions")
    found: list[Path] = []
    there: set[int] = set()
    for given in predictions:
        if not given.is_dir():
            if not given.exists():
                raise ConfigError(f"{given} does not exist; give predictions=FOLDER or [TABLE,...]", key="predictions")
            found.append(given)
            continue
        for path in sorted(given.rglob("*.parquet")):
            inside = path.relative_to(given)
            if any(part.startswith((".", "_")) for part in inside.parts) or path.name.endswith(BESIDE):
                continue
            of_field = [int(match[1]) for part in path.parts if (match := FIELD_FOLDER.fullmatch(part))]
            there |= set(of_field)
            if fields is None or not of_field or of_field[-1] in fields:
                found.append(path)
    unique = sorted({path.resolve(): path for path in found}.values(), key=str)
    if not unique:
        known = ", ".join(map(str, sorted(there))) or "none"
        raise EmptySelectionError(
            f"no tables of scores in {', '.join(map(str, predictions))}"
            + (
                f" of fields {', '.join(map(str, fields))}; there are fields {known}"
                if fields
                else "; infer makes them"
            )
        )
    return unique


def file_stamp(path: Path) -> tuple[int, ...]:
    """Return inode, size and time of a file; nothing if it is gone."""
    try:
        known = path.stat()
    except OSError:
        return ()
    return (known.st_ino, known.st_size, known.st_mtime_ns)


def _read_footer(path: Path, taxonomy: Taxonomy, found: _Found) -> None:
    stamp = file_stamp(path)
    with open_parquet(path) as file:
        schema, metadata, record = file.schema_arrow, file.metadata, parquet_record(file)
    names = schema.names
    own = next((name for name in IDS if name in names), None)
    scores = [column.name for column in score_columns(names, taxonomy.tags, tuple(ALGORITHMS))]
    missing = [*([] if own else ["id"]), *(name for name in ("ra", "dec") if name not in names)]
    if missing or not scores:
        raise MissingColumnError(f"{path} (to be part of a catalogue)", missing or ["vnv_xgb"], names)
    spreads = [name + SPREAD for name in scores if name + SPREAD in names]
    kept = [name for name in names if name in KEPT] + list(id_columns(names))
    types = {"id": schema.field(own).type} | {name: schema.field(name).type for name in [*kept, *scores, *spreads]}
    for name, dtype in types.items():
        known, first = found.types.setdefault(name, (dtype, path))
        found.types[name] = (_common(name, known, dtype, first, path), first)
    found.files.append(
        ScoreFile(
            path=path,
            n_rows=metadata.num_rows,
            group_rows=tuple(metadata.row_group(k).num_rows for k in range(metadata.num_row_groups)),
            own_id=str(own),
            columns=tuple(name for name in types if name != "id"),
            stamp=stamp,
        )
    )
    facts = _facts(record, path, found)
    for target, name in ((found.models, "models"), (found.thresholds, "thresholds")):
        for model, value in facts.get(name, {}).items():
            if model in scores:
                target.setdefault(model, {}).setdefault(value, path)


def _facts(record: bytes | None, path: Path, found: _Found) -> Mapping[str, Any]:
    if record is None:
        found.without_record.append(path)
        return {}
    try:
        return TableMetadata.from_json(record, where=str(path)).facts
    except MetadataError as error:
        raise MetadataError(f"{error}; score it again") from error


def _common(name: str, one: pa.DataType, other: pa.DataType, first: Path, path: Path) -> pa.DataType:
    """Return the type that a column has in the catalogue's rows, of the types of two tables."""
    if name in KEPT and name not in ("source_id", "obj_id"):
        return KEPT[name]
    is_text = [_is_text(dtype) for dtype in (one, other)]
    if name in ("id", "source_id", "obj_id", SURVEY_ID):
        whole = [pa.types.is_integer(dtype) for dtype in (one, other)]
        if all(is_text):
            return pa.string()
        if all(whole):
            return pa.int64()
        raise SchemaError(
            f"column '{name}' is {one} in {first} and {other} in {path}; ids are whole numbers or text, the same everywhere"
        )
    if id_columns([name]):
        # As floats they come only where there are none: that is looked at when they are read.
        return pa.string() if any(is_text) else pa.int64()
    return pa.float32() if one == other == pa.float32() else pa.float64()


def _is_text(dtype: pa.DataType) -> bool:
    inner = dtype.value_type if pa.types.is_dictionary(dtype) else dtype
    return bool(pa.types.is_string(inner) or pa.types.is_large_string(inner))


def _schema(types: Mapping[str, tuple[pa.DataType, Path]], scores: Sequence[str]) -> pa.Schema:
    catalogues = id_columns(list(types))
    first = [name for name in ("id", *KEPT, *catalogues) if name in types]
    models = [name for score in scores for name in (score, score + SPREAD) if name in types]
    return pa.schema([pa.field(name, types[name][0]) for name in [*first, *models]])


def _one_set(found: Mapping[str, Mapping[Any, Path]], what: str, models: Models) -> dict[str, Any]:
    """Return the one value of each model.

    Raises
    ------
    DataError
        If there are several and they must be one.
    """
    for model, values in found.items():
        if len(values) > 1 and models == "one":
            (first, at_first), (other, at_other) = list(values.items())[:2]
            raise DataError(
                f"{model} has different {what}: {str(first)[:12]} in {at_first}, {str(other)[:12]} in {at_other}; score all"
                " fields with the same models, or mix them by choice with models=any"
            )
    return {model: next(iter(values)) for model, values in sorted(found.items())}


def _mixed(found: _Found, models: Models) -> tuple[str, ...]:
    mixed = sorted({name for of in (found.models, found.thresholds) for name, values in of.items() if len(values) > 1})
    if not mixed or models == "one":
        return ()
    return (f"{len(mixed)} models are not the same in all tables (models=any): {_named(mixed)}",)


def _uneven(found: _Found, scores: Iterable[str]) -> tuple[str, ...]:
    lacking = {name: sum(name not in file.columns for file in found.files) for name in scores}
    some = [name for name, count in lacking.items() if count]
    if not some:
        return ()
    return (
        f"{len(some)} scores are not in all tables, and are null for their light curves: "
        + _named([f"{name} (missing in {lacking[name]} of {len(found.files)} tables)" for name in some]),
    )


def _unrecorded(found: _Found) -> tuple[str, ...]:
    if not found.without_record:
        return ()
    paths = [str(path) for path in found.without_record]
    return (
        f"{len(paths)} tables have no record of their models, so that nobody can say which these were: {_named(paths)}",
    )


def _named(what: Sequence[str]) -> str:
    return ", ".join(what[:N_NAMED]) + (", ..." if len(what) > N_NAMED else "")


def conformed(batch: pa.Table, file: ScoreFile, schema: pa.Schema) -> pa.Table:
    """Return rows of one table with the columns of all: null where it has none, `id` by its name, types in common.

    Raises
    ------
    DataError
        If ids are floats.
    """
    columns = []
    for wanted in schema:
        name = file.own_id if wanted.name == "id" else wanted.name
        if name not in batch.column_names:
            columns.append(pa.nulls(batch.num_rows, wanted.type))
            continue
        column = one_chunk(batch[name])
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        if column.type != wanted.type:
            column = _cast(column, wanted, file.path)
        columns.append(column)
    return pa.Table.from_arrays(columns, schema=schema)


def _cast(column: pa.Array, wanted: pa.Field, path: Path) -> pa.Array:
    if pa.types.is_floating(column.type) and not pa.types.is_floating(wanted.type):
        known = pc.is_finite(column)
        if id_columns([wanted.name]) and pc.any(known).as_py():
            raise DataError(
                f"{path}: column '{wanted.name}' holds {column.type}, which cannot hold 64-bit ids exactly; keep them as int64 or text"
            )
        column = pc.if_else(known, column, pa.scalar(None, column.type))
    try:
        return column.cast(wanted.type)
    except pa.ArrowInvalid as error:
        raise DataError(
            f"{path}: column '{wanted.name}' cannot be {wanted.type} ({' '.join(str(error).split())})"
        ) from error
