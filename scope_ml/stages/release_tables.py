"""The score tables that go into a release: which there are, which fields and models they are of, their first rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from scope_ml.errors import ConfigError, EmptySelectionError, FormatError
from scope_ml.io.checksums import relative_files
from scope_ml.io.tables import read_batches, read_table, table_columns, write_table

__all__ = ["ScoreTable", "Scores", "find_scores"]

#: What of a folder of scores is packed beside the tables.
BESIDE = ("meta.json", "models.lock.json")

#: Rows read at a time.
BLOCK_ROWS = 200_000


@dataclass(frozen=True, kw_only=True)
class ScoreTable:
    """One table of scores: where it is, how many rows it has."""

    path: Path
    n_rows: int


@dataclass(frozen=True, kw_only=True)
class Scores:
    """All tables of scores.

    Attributes
    ----------
    files
        What is packed, by name in the archive: tables, and what lies beside them.
    tables
        The tables of scores among them, by the same names.
    models
        Digest of the bundle that made each column of scores.
    fields
        Fields of the survey that have rows, ascending.
    stage
        Folder for what is made on the way.
    """

    files: Mapping[str, Path]
    tables: Mapping[str, ScoreTable]
    models: Mapping[str, str]
    fields: tuple[int, ...]
    stage: Path = field(default_factory=Path)

    @property
    def n_rows(self) -> int:
        """Light curves in all tables."""
        return sum(table.n_rows for table in self.tables.values())

    @property
    def first_with_rows(self) -> ScoreTable | None:
        """The first table that has rows."""
        return next((table for _, table in sorted(self.tables.items()) if table.n_rows), None)

    @property
    def first_field(self) -> int | None:
        """The field of the first row, where it has one."""
        first = self.first_with_rows
        if first is None or "field" not in table_columns(first.path):
            return None
        value = next(iter(read_batches(first.path, ["field"], n_rows=1)))["field"][0].as_py()
        return None if value is None else int(value)

    def as_csv(self) -> dict[str, Path]:
        """Write each table as CSV with its record beside it, and return these files by name."""
        found = {name: path for name, path in self.files.items() if name not in self.tables}
        for name, table in self.tables.items():
            target = self.stage / "csv" / Path(name).with_suffix(".csv")
            target.parent.mkdir(parents=True, exist_ok=True)
            read = read_table(table.path)
            write_table(read.data, target, read.metadata)
        return found | relative_files(self.stage / "csv")

    def write_example(self, target: Path, n_rows: int) -> None:
        """Write the first rows of the first table that has any as plain CSV."""
        from pyarrow import csv

        first = self.first_with_rows
        if first is None:
            raise EmptySelectionError("no score table has a row; give n_example_rows=0")
        block = next(iter(read_batches(first.path, table_columns(first.path), n_rows=n_rows)))
        flat = [name for name in block.column_names if not pa.types.is_nested(block.schema.field(name).type)]
        csv.write_csv(block.select(flat).slice(0, n_rows), str(target))


def find_scores(given: Sequence[Path], stage: Path) -> Scores:
    """Look at the tables and folders given.

    Raises
    ------
    FormatError
        If one is missing or holds no scores.
    ConfigError
        If two would have the same name, or two tables hold scores of different models under one name.
    """
    files: dict[str, Path] = {}
    for path in given:
        for name, file in _files(path).items():
            inside = f"{path.name}/{name}" if path.is_dir() and len(given) > 1 else name
            if files.setdefault(inside, file) != file:
                raise ConfigError(
                    f"{files[inside]} and {file} would both be {inside} in the release", key="predictions"
                )
    tables: dict[str, ScoreTable] = {}
    models: dict[str, tuple[str, Path]] = {}
    fields: set[int] = set()
    for name, path in files.items():
        if path.suffix != ".parquet":
            continue
        metadata = read_table(path, columns=[]).metadata
        if metadata.kind != "predictions":
            continue
        tables[name] = ScoreTable(path=path, n_rows=metadata.n_rows)
        for column, digest in dict(metadata.facts.get("models", {})).items():
            known, where = models.setdefault(column, (digest, path))
            if known != digest:
                raise ConfigError(
                    f"{column} of {where} was made by the bundle {known[:12]}, of {path} by {str(digest)[:12]}; score"
                    " one of them again, so that the release is of one set of models",
                    key="predictions",
                )
        fields |= _fields(path)
    if not tables:
        raise FormatError(f"{', '.join(map(str, given))} holds no scores; give tables or folders that infer wrote")
    return Scores(
        files=files,
        tables=tables,
        models={column: digest for column, (digest, _) in models.items()},
        fields=tuple(sorted(fields)),
        stage=stage,
    )


def _files(path: Path) -> dict[str, Path]:
    if path.is_file():
        if path.suffix != ".parquet":
            raise FormatError(f"predictions={path} is no Parquet table; give a table or a folder that infer wrote")
        # An underscore before them: readers of a folder of tables pass over these.
        beside = {
            f"_{path.name}.{end}": path.with_name(f"{path.name}.{end}")
            for end in (*BESIDE, "missing.parquet")
            if path.with_name(f"{path.name}.{end}").is_file()
        }
        return {path.name: path, **beside}
    if not path.is_dir():
        raise FormatError(f"predictions={path} does not exist; type python -m scope_ml.infer ... output={path}")
    return {
        name: file for name, file in relative_files(path).items() if file.suffix == ".parquet" or name.endswith(BESIDE)
    }


def _fields(path: Path) -> set[int]:
    if "field" not in table_columns(path):
        return set()
    found: set[int] = set()
    for block in read_batches(path, ["field"], n_rows=BLOCK_ROWS):
        found |= {int(value) for value in pc.unique(block["field"]).to_pylist() if value is not None}
    return found
