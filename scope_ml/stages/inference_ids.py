"""Single light curves: the rows of a feature table, or of a folder of field tables, that have the ids asked for.

Each id is answered, or named in ``OUTPUT.not_found.parquet``. May import the rooms about rows and quadrants, io, datasets'
comparison of ids, core and errors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from scope_ml.core.identifiers import exact_ids, one_chunk
from scope_ml.core.protocols import Progress
from scope_ml.core.provenance import Input, TableMetadata
from scope_ml.core.report import Report
from scope_ml.datasets.identifiers import comparable
from scope_ml.errors import ConfigError, DataError, EmptySelectionError, MissingColumnError, SchemaError
from scope_ml.io.parquet_files import ParquetTableWriter
from scope_ml.io.tables import FORMATS, described, read_table, write_table
from scope_ml.stages.inference_options import Infer
from scope_ml.stages.inference_quadrants import feature_tables
from scope_ml.stages.inference_rows import FeatureRows
from scope_ml.stages.requested_sources import read_request

__all__ = ["AskedRows", "asked_rows", "write_not_found"]

#: What the ids of light curves are called in feature tables, ours and SCoPe's.
IDS = ("id", "_id")

#: Ids that a message names.
N_NAMED = 3

#: Facts in which the tables of a folder have to agree to be scored as one.
SHARED_FACTS = ("feature_digest", "period_search", "cleaning", "names")


@dataclass(frozen=True, kw_only=True, eq=False)
class AskedRows:
    """The rows that have the ids asked for.

    Attributes
    ----------
    rows
        They.
    not_found
        The ids that no row has.
    n_asked, n_repeated
        Ids that were given, and how many of them repeat another.
    warnings
        What is odd about the list.
    """

    rows: FeatureRows
    not_found: pa.Array
    n_asked: int
    n_repeated: int
    warnings: tuple[str, ...] = ()

    @property
    def facts(self) -> dict[str, int]:
        """Return the counts; asked = repeated + found + not found."""
        n_found = self.n_asked - self.n_repeated - len(self.not_found)
        return {
            "ids_asked": self.n_asked,
            "ids_repeated": self.n_repeated,
            "ids_found": n_found,
            "ids_not_found": len(self.not_found),
        }

    def told(self, report: Report, outputs: Mapping[str, str]) -> Report:
        """Return the report of their scores with what became of the ids."""
        lines = list(self.warnings)
        if self.n_repeated:
            lines.append(f"{self.n_repeated} of {self.n_asked} ids repeat another and count once")
        if len(self.not_found):
            n_distinct = self.n_asked - self.n_repeated
            where = f"; see {outputs['not_found']}" if outputs else ""
            lines.append(f"{len(self.not_found)} of {n_distinct} ids have no features ({_some(self.not_found)}){where}")
        return replace(
            report,
            warnings=(*lines, *report.warnings),
            outputs={**report.outputs, **outputs},
            facts={**report.facts, **self.facts},
        )


@contextmanager
def asked_rows(config: Infer, progress: Progress) -> Iterator[AskedRows]:
    """Yield the rows that are asked for; what is temporary goes in the end.

    Raises
    ------
    ConfigError, DataError
        If the ids are none.
    EmptySelectionError
        If no feature table has any of them.
    ScopeError
        If a table cannot be read.
    """
    ids, n_repeated, warnings = _asked(config.asked_ids)
    tables = _tables(config)
    found = np.zeros(len(ids), dtype=bool)
    hits = []
    progress.start(f"looking for {len(ids)} light curves", len(tables))
    for path in tables:
        rows = _rows_with(path, ids, found)
        if rows.n_rows:
            hits.append(rows)
        progress.advance()
    progress.finish()
    if not hits:
        raise EmptySelectionError(
            f"{config.features} has the features of none of the {len(ids)} light curves asked for ({_some(ids)})"
        )
    with TemporaryDirectory(prefix="scope-infer-") as folder:
        rows = hits[0] if len(hits) == 1 else _joined(hits, Path(folder) / "features.parquet")
        yield AskedRows(
            rows=rows,
            not_found=ids.filter(pa.array(~found)),
            n_asked=len(ids) + n_repeated,
            n_repeated=n_repeated,
            warnings=warnings,
        )


def write_not_found(asked: AskedRows, output: Path) -> dict[str, str]:
    """Write which ids have no features; return the file by name.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    path = output.with_name(f"{output.name}.not_found.parquet")
    record = TableMetadata(kind="ids_not_found", inputs=asked.rows.inputs, facts=asked.facts)
    write_table(pa.table({"id": asked.not_found}), path, record)
    return {"not_found": str(path)}


def _asked(given: Sequence[int | str]) -> tuple[pa.Array, int, tuple[str, ...]]:
    """Return the distinct ids, int64 or string, how many repeat another, and what is odd about them."""
    if len(given) == 1 and isinstance(given[0], str) and _is_path(given[0]):
        path = Path(given[0])
        request = read_request(path, radius_arcsec=1.0)
        if request.selection.ids is None:
            raise SchemaError(f"{path} has positions but no ids; python -m scope_ml.classify takes positions")
        return one_chunk(request.sources["id"]), request.n_duplicates, request.warnings
    if any(isinstance(one, str) and not one for one in given):
        raise ConfigError("ids has an empty one; give ids=[ID,...] or ids=FILE", key="ids")
    whole = all(isinstance(one, int) for one in given)
    ids = pa.array(list(given) if whole else [str(one) for one in given], pa.int64() if whole else pa.string())
    distinct = ids.unique()
    return distinct, len(ids) - len(distinct), ()


def _is_path(text: str) -> bool:
    return Path(text).exists() or Path(text).suffix.lower() in FORMATS or "/" in text


def _tables(config: Infer) -> list[Path]:
    path = config.features_path
    if path.is_file():
        return [path]
    wanted = None if config.field is None else config.fields
    tables = [one.features for one in feature_tables(path) if wanted is None or one.field in set(wanted)]
    if not tables:
        raise EmptySelectionError(f"{path} has no field tables" + (f" of field {config.field}" if wanted else ""))
    return tables


def _rows_with(path: Path, ids: pa.Array, found: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> FeatureRows:
    """Return the rows of a table that have some of the ids, and note in `found` which of these they have."""
    metadata = read_table(path, columns=(), kind="features").metadata
    names = [column.name for column in metadata.columns]
    own = next((name for name in IDS if name in names), None)
    if own is None:
        raise MissingColumnError(str(path), ["id"], names)
    held = exact_ids(read_table(path, columns=[own]).data[own], own, where=str(path))
    place = pc.index_in(*comparable(held, ids)).fill_null(-1).to_numpy(zero_copy_only=False)
    rows = np.flatnonzero(place >= 0)
    found[place[rows]] = True
    return FeatureRows(path=path, metadata=metadata, rows=rows)


def _joined(hits: Sequence[FeatureRows], path: Path) -> FeatureRows:
    """Return the rows of several tables as those of one, which is written to `path`."""
    first = hits[0].metadata
    names = [column.name for column in first.columns]
    schema: pa.Schema | None = None
    writer: ParquetTableWriter | None = None
    inputs: list[Input] = []
    text = None
    try:
        for rows in hits:
            _check_alike(hits[0], rows)
            for piece in rows.batches(names, n_rows=32_768):
                if writer is None:
                    schema = piece.schema
                    writer = ParquetTableWriter(path, schema, gather=True)
                writer.write(piece.cast(schema))
            inputs += rows.inputs
        assert writer is not None and schema is not None
        text = described(replace(first, inputs=tuple(inputs)), schema, writer.n_rows).to_json()
    finally:
        if writer is not None:
            writer.close(text)
    return replace(FeatureRows.of(path), known_inputs=tuple(inputs))


def _check_alike(first: FeatureRows, other: FeatureRows) -> None:
    columns = [[(one.name, one.dtype) for one in rows.metadata.columns] for rows in (first, other)]
    facts = [[rows.metadata.facts.get(name) for name in SHARED_FACTS] for rows in (first, other)]
    if columns[0] != columns[1] or facts[0] != facts[1]:
        raise DataError(
            f"{first.path} and {other.path} were made with other features or options, so that their light curves do not go"
            " into one table; score them apart, with field=... or features=..."
        )


def _some(ids: pa.Array) -> str:
    return ", ".join(map(str, ids[:N_NAMED].to_pylist())) + (", ..." if len(ids) > N_NAMED else "")
