"""What stands in a catalogue beside its partitions, and the one moment in which it takes the place of the older one.

May import reporting's records, selection, io, taxonomy, core, errors and the `catalog_` rooms of inputs and passes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from scope_ml.core.configuration import option
from scope_ml.core.provenance import Input, TableMetadata
from scope_ml.errors import ConfigError, FormatError, MissingColumnError, OutputError, suggest
from scope_ml.io.atomic import atomic_path, clear_leftovers
from scope_ml.io.folder_swap import swap_in
from scope_ml.io.hats_writer import catalogue_partitions, write_hats_records
from scope_ml.io.parquet_files import open_parquet, read_errors
from scope_ml.io.partition_spool import disk_errors
from scope_ml.selection.star_columns import score_layout
from scope_ml.selection.star_rules import StarRules
from scope_ml.stages.catalog_build import Built
from scope_ml.stages.catalog_kept import PARTITIONS, write_partitions
from scope_ml.stages.catalog_partitions import catalogue_schema
from scope_ml.stages.catalog_plan import Plan
from scope_ml.stages.catalog_versions import ModelVersion

__all__ = [
    "CSV",
    "FIELDS_FILE",
    "RECORD",
    "CsvOptions",
    "check_csv",
    "check_output",
    "read_record",
    "swap",
    "write_beside",
]

#: The catalogue's own record, the list of its fields, the subset of stars that are sure of their class.
RECORD, FIELDS_FILE, CSV = "catalog.json", "fields.json", "stars.csv"

#: Columns of the subset where nobody asks for others; besides the scores of the classes.
CSV_COLUMNS = (
    *("name", "ra", "dec", "survey_id", "n_light_curves", "period", "confident_class", "confident_score"),
    *("confident_classes", "n_conflicts", "crowded", "wide"),
)

#: Rows of a partition that are looked at together.
CSV_ROWS = 16384


@dataclass(frozen=True, kw_only=True)
class CsvOptions:
    """Which stars stand in the subset, and which of their columns."""

    tags: tuple[str, ...] = option((), doc="classes whose stars are in stars.csv; empty: all", machine=True)
    threshold: float | None = option(
        None,
        doc="score of these classes from which on a star is; null: those that are sure of one of them (confident_classes)",
        at_least=0,
        at_most=1,
        machine=True,
    )
    columns: tuple[str, ...] = option(
        (), doc="columns; empty: name, place, period, what the star is sure of, one score a class", machine=True
    )


def check_output(output: Path) -> None:
    """Find out before the work that something else stands where the catalogue is to be.

    Raises
    ------
    OutputError
        If it is a file, or a folder with anything but a catalogue of ours.
    """
    if output.name in ("", ".."):
        raise OutputError(f"cannot write {output}: a catalogue is a folder of its own; give output=results/catalogue")
    if output.is_symlink():
        raise OutputError(f"cannot write {output}: it is a link, which would be replaced; give the folder it leads to")
    if output.exists() and not output.is_dir():
        raise OutputError(f"cannot write {output}: it is a file; a catalogue is a folder, give another output")
    if output.is_dir() and any(output.iterdir()) and not (output / PARTITIONS).exists():
        raise OutputError(
            f"cannot write {output}: the folder holds other things than a catalogue of scope_ml; give another output"
        )


def check_csv(options: CsvOptions, schema: pa.Schema) -> None:
    """Find out before the work that classes or columns of the subset are not there.

    Raises
    ------
    ConfigError, MissingColumnError
        If so.
    """
    for tag in options.tags:
        if tag not in schema.names:
            raise ConfigError(
                f"csv.tags: the catalogue has no scores of class '{tag}'{suggest(tag, schema.names)}", key="csv.tags"
            )
    missing = [name for name in options.columns if name not in schema.names]
    if missing:
        raise MissingColumnError("csv.columns", missing, schema.names)


def write_beside(
    plan: Plan, built: Built, name: str, options: CsvOptions, versions: Mapping[str, ModelVersion]
) -> dict[str, Any]:
    """Write everything but the pages into the new catalogue, and return what is told of it.

    Parameters
    ----------
    plan, built
        What was made.
    name
        Of the catalogue.
    options
        Which stars stand in the subset.
    versions
        Registered version of each model, as far as it is known.
    """
    catalogue = plan.catalogue
    _clear_beside(catalogue)
    partitions = catalogue_partitions(catalogue) if (catalogue / "dataset").is_dir() else []
    listed = {(one["order"], one["pixel"]) for one in built.partitions if one["n_stars"]}
    if listed != {(order, pixel) for order, pixel, _ in partitions}:
        raise FormatError(
            f"{catalogue} does not hold the partitions that were made; remove {plan.work} and start again"
        )
    schema = catalogue_schema(plan.inputs.schema, plan.rules)
    n_stars = write_hats_records(catalogue, name=name, schema=schema, partitions=partitions)
    with disk_errors(catalogue):
        write_partitions(catalogue, built.partitions)
        told = _totals(built) | {"n_stars": n_stars}
        _write_json(catalogue / FIELDS_FILE, _fields(told))
        tags = tuple(score_layout(plan.inputs.schema.names, plan.rules).by_tag)
        told["n_csv"] = _write_csv(catalogue / CSV, [path for _, _, path in partitions], schema, options, tags)
        _write_json(catalogue / RECORD, _record(plan, built, name, told, versions))
    return told


def _clear_beside(catalogue: Path) -> None:
    """Remove what a killed run wrote beside the partitions: this one may have no such page."""
    for path in catalogue.iterdir() if catalogue.is_dir() else ():
        if path.name != "dataset":
            path.unlink()


def read_record(catalogue: Path) -> dict[str, Any]:
    """Return the record of a catalogue; nothing for one without.

    Raises
    ------
    FormatError
        If it cannot be read.
    """
    path = catalogue / RECORD
    if not path.exists():
        return {}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise FormatError(f"{path} cannot be read ({error}); make the catalogue again") from error
    return dict(record)


def swap(made: Path, output: Path) -> None:
    """Give the new catalogue its name; the one that stood there goes when the new one stands.

    Raises
    ------
    OutputError
        If folders cannot be renamed.
    """
    with disk_errors(output):
        output.parent.mkdir(parents=True, exist_ok=True)
    clear_leftovers(output)
    swap_in(made, output)


def _totals(built: Built) -> dict[str, Any]:
    """Return the sums over all partitions."""
    sums: dict[str, Counter[str]] = {name: Counter() for name in ("stars", "light_curves", "confident", "flags")}
    plain: Counter[str] = Counter(n_light_curves=0, n_cut=0, n_by_place=0, n_conflicting=0)
    for one in built.partitions:
        plain.update({name: one[name] for name in ("n_light_curves", "n_cut", "n_by_place")})
        plain["n_conflicting"] += one.get("n_conflicting", 0)
        for name, key in (
            ("stars", "fields"),
            ("light_curves", "field_light_curves"),
            ("confident", "confident"),
            ("flags", "flags"),
        ):
            sums[name].update(one.get(key, {}))
    return {
        **dict(plain),
        "n_partitions": sum(bool(one["n_stars"]) for one in built.partitions),
        "fields": {
            int(field): {"n_stars": sums["stars"][field], "n_light_curves": sums["light_curves"][field]}
            for field in sorted(sums["stars"], key=int)
        },
        "confident": dict(sums["confident"].most_common()),
        **{f"n_{flag}": count for flag, count in sums["flags"].items()},
    }


def _fields(told: Mapping[str, Any]) -> dict[str, Any]:
    fields = told["fields"]
    return {
        "fields": list(fields),
        "n_fields": len(fields),
        "n_stars": told["n_stars"],
        "n_light_curves": told["n_light_curves"],
        "counts": {str(field): counts for field, counts in fields.items()},
    }


def _record(
    plan: Plan, built: Built, name: str, told: Mapping[str, Any], versions: Mapping[str, ModelVersion]
) -> dict[str, Any]:
    inputs = plan.inputs
    schema = catalogue_schema(inputs.schema, plan.rules)
    metadata = TableMetadata(
        kind="catalogue",
        config_digest=plan.science,
        inputs=tuple(
            Input(name="scores", digest=digest, n_rows=file.n_rows)
            for file, digest in zip(inputs.files, plan.digests, strict=True)
        ),
        n_rows=told["n_stars"],
        facts={
            "name": name,
            "models": dict(inputs.models),
            "thresholds": dict(inputs.thresholds),
            "member_thresholds": _member_thresholds(plan.rules, inputs.schema.names),
            "versions": {column: asdict(version) for column, version in versions.items()},
            "made_with": plan.made_with,
            "n_read": built.n_read,
            "dropped": dict(built.dropped),
            **{key: value for key, value in told.items() if key != "fields"},
        },
    )
    columns = [{"name": field.name, "dtype": str(field.type)} for field in schema]
    return {**json.loads(metadata.to_json()), "columns": columns, "fields": _fields(told)["counts"]}


def _member_thresholds(rules: StarRules, names: Sequence[str]) -> dict[str, float]:
    """Return from which score on a star counts as of a class, by the columns of classes and of models."""
    given = rules.options.threshold
    found: dict[str, float] = {}
    for tag, of in score_layout(names, rules).by_tag.items():
        own = {one.name: rules.thresholds.get(one.name) if given is None else given for one in of}
        found |= {name: value for name, value in own.items() if value is not None}
        found[tag] = rules.threshold(of)
    return found


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    with atomic_path(path) as temporary:
        text = json.dumps(value, indent=2, sort_keys=True, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")


def _write_csv(
    path: Path, partitions: Sequence[Path], schema: pa.Schema, options: CsvOptions, tags: Sequence[str]
) -> int:
    """Write the subset, partition by partition, and return its rows."""
    import pyarrow.csv as pacsv

    columns = list(options.columns) or [name for name in (*CSV_COLUMNS, *tags) if name in schema.names]
    needed = list(dict.fromkeys([*columns, "confident_classes", *(options.tags or tags)]))
    written = pa.schema([_flat_field(schema.field(name)) for name in columns])
    n_rows = 0
    with atomic_path(path) as temporary, pacsv.CSVWriter(temporary, written) as writer:
        for batch in _batches(partitions, needed):
            rows = batch.filter(_is_sure(batch, options, tags))
            flat = [_flat(rows[name]) for name in columns]
            if rows.num_rows:
                writer.write_table(pa.Table.from_arrays(flat, schema=written))
            n_rows += rows.num_rows
    return n_rows


def _batches(partitions: Sequence[Path], columns: list[str]) -> Iterator[pa.Table]:
    for path in partitions:
        with open_parquet(path) as file, read_errors(path, "Parquet"):
            for batch in file.iter_batches(CSV_ROWS, columns=columns, use_threads=False):
                yield pa.table(batch)


def _is_sure(batch: pa.Table, options: CsvOptions, tags: Sequence[str]) -> pa.Array:
    """Return which stars are in the subset."""
    if options.threshold is not None:
        mask = pa.array([False] * batch.num_rows)
        for tag in options.tags or [tag for tag in tags if tag in batch.column_names]:
            reached = pc.greater_equal(batch[tag].combine_chunks(), pa.scalar(options.threshold, batch[tag].type))
            mask = pc.or_(mask, pc.fill_null(reached, False))
        return mask
    sure = batch["confident_classes"].combine_chunks()
    if not options.tags:
        return pc.greater(pc.fill_null(pc.list_value_length(sure), 0), 0)
    hit = pc.is_in(sure.flatten(), pa.array(options.tags, pa.string()))
    rows = sorted(set(pc.list_parent_indices(sure).filter(hit).to_pylist()))
    mask_of_rows = [False] * batch.num_rows
    for row in rows:
        mask_of_rows[row] = True
    return pa.array(mask_of_rows, pa.bool_())


def _flat_field(field: pa.Field) -> pa.Field:
    return pa.field(field.name, pa.string()) if pa.types.is_list(field.type) else field


def _flat(column: pa.ChunkedArray) -> pa.Array:
    """Return a column that a CSV file can hold: the values of a list with semicolons between them."""
    array = column.combine_chunks()
    if not pa.types.is_list(array.type):
        return array
    if not pa.types.is_string(array.type.value_type):
        array = array.cast(pa.list_(pa.string()))
    return pc.binary_join(array, ";")
