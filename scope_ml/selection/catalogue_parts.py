"""A catalogue of stars as it lies on disk: its partitions in the order of the sky, its columns, its rows piece by piece.

The layout is that of HATS: ``dataset/Norder=K/Dir=D/Npix=N.parquet``, one file a HEALPix cell. May import `io`, core and
errors.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from scope_ml.errors import FormatError, MissingColumnError
from scope_ml.io.healpix import FINEST, INDEX_COLUMN
from scope_ml.io.parquet_files import open_parquet, read_errors

__all__ = ["BATCH_ROWS", "CELL", "Part", "StarCatalogue", "TagColumns", "flags", "floats", "open_star_catalogue"]

#: Column of the cell of HEALPix order 29 in which a star lies.
CELL = INDEX_COLUMN


#: Rows that are in memory at once where a part is read piece by piece.
BATCH_ROWS = 1 << 16

PART = re.compile(r"/dataset/Norder=(\d+)/Dir=\d+/Npix=(\d+)\.parquet$")

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, order=True)
class Part:
    """One partition: the cells of order 29 that it holds, `first` up to and without `stop`, and its file."""

    first: int
    stop: int
    path: Path
    n_rows: int


@dataclass(frozen=True, kw_only=True)
class TagColumns:
    """The scores of one class: the column of all algorithms together ("" if there is none), and of each of them."""

    tag: str
    joined: str
    by_algorithm: tuple[tuple[str, str], ...]

    @property
    def needed(self) -> tuple[str, ...]:
        """Return the columns that `score` reads."""
        return (self.joined,) if self.joined else tuple(name for _, name in self.by_algorithm)

    def score(self, rows: pa.Table) -> FloatArray:
        """Return the score of the class, float64 (n,), NaN where there is none: the mean where none is joined."""
        if self.joined:
            return floats(rows, self.joined)
        each = np.stack([floats(rows, name) for _, name in self.by_algorithm])
        known = np.isfinite(each)
        count = known.sum(axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean: FloatArray = np.where(known, each, 0.0).sum(axis=0) / count
        return mean


@dataclass(frozen=True, kw_only=True, eq=False)
class StarCatalogue:
    """A catalogue; nothing but footers is read before rows are asked for.

    Attributes
    ----------
    path
        Its folder.
    parts
        In the order of the sky.
    schema
        Of all parts.
    """

    path: Path
    parts: tuple[Part, ...]
    schema: pa.Schema

    @property
    def n_rows(self) -> int:
        """Return the number of stars."""
        return sum(part.n_rows for part in self.parts)

    def has(self, name: str) -> bool:
        """Say whether there is a column."""
        return name in self.schema.names

    def there(self, names: Sequence[str]) -> list[str]:
        """Return those of some columns that there are, each once."""
        return [name for name in dict.fromkeys(names) if name in self.schema.names]

    def scores(self, tags: Sequence[str], algorithms: Collection[str]) -> tuple[TagColumns, ...]:
        """Return the columns of scores, in the order of the classes; a class without any is left out."""
        found = []
        for tag in tags:
            each = tuple((name, f"{tag}_{name}") for name in algorithms if self.has(f"{tag}_{name}"))
            if each or self.has(tag):
                found.append(TagColumns(tag=tag, joined=tag if self.has(tag) else "", by_algorithm=each))
        return tuple(found)

    def batches(self, part: Part, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Yield the rows of a part in their order, at most `BATCH_ROWS` at a time.

        Raises
        ------
        FormatError
            If the file cannot be read.
        """
        with open_parquet(part.path) as file, read_errors(part.path, "Parquet"):
            for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=list(columns)):
                # Columns come in the order of the file.
                yield pa.Table.from_batches([batch]).select(list(columns))

    def read(self, part: Part, columns: Sequence[str]) -> pa.Table:
        """Return all rows of a part."""
        with open_parquet(part.path) as file, read_errors(part.path, "Parquet"):
            return file.read(columns=list(columns)).select(list(columns))


def open_star_catalogue(path: Path, *, needed: Sequence[str] = ()) -> StarCatalogue:
    """Open a catalogue.

    Raises
    ------
    FormatError
        If there is no such folder, or it holds what is no partition, two that overlap, or two of different columns.
    MissingColumnError
        If a column is missing that is `needed`.
    """
    if not (path / "dataset").is_dir():
        raise FormatError(f"{path} is no catalogue: it has no folder 'dataset'; give the folder that catalog wrote")
    parts: list[Part] = []
    schema: pa.Schema | None = None
    for file_path in sorted((path / "dataset").glob("*/**/*.parquet")):
        with open_parquet(file_path) as file:
            columns, n_rows = file.schema_arrow.remove_metadata(), file.metadata.num_rows
        if schema is not None and not columns.equals(schema):
            raise FormatError(
                f"{file_path} has not the columns of {parts[0].path}; the catalogue is of two, make it again"
            )
        schema = columns
        first, stop = _cells(file_path)
        parts.append(Part(first=first, stop=stop, path=file_path, n_rows=n_rows))
    catalogue = StarCatalogue(path=path, parts=tuple(sorted(parts)), schema=schema or _empty_schema(path))
    for left, right in pairwise(catalogue.parts):
        if right.first < left.stop:
            raise FormatError(f"the partitions {left.path} and {right.path} overlap; make the catalogue again")
    missing = [name for name in needed if not catalogue.has(name)]
    if missing:
        raise MissingColumnError(str(path), missing, catalogue.schema.names)
    return catalogue


def floats(rows: pa.Table, name: str) -> FloatArray:
    """Return a column as float64 (n,), NaN for null."""
    values: FloatArray = pc.fill_null(rows[name].cast(pa.float64()), float("nan")).to_numpy()
    return values


def flags(rows: pa.Table, name: str) -> BoolArray:
    """Return a column of truth values or counts as bool (n,): null and 0 are false."""
    values: BoolArray = pc.fill_null(rows[name].cast(pa.bool_()), False).to_numpy()
    return values


def _cells(path: Path) -> tuple[int, int]:
    """Return the cells of order 29 that a partition holds, by its path."""
    match = PART.search(path.as_posix())
    if match is None:
        raise FormatError(f"{path} is no partition; they are dataset/Norder=K/Dir=D/Npix=N.parquet")
    order, pixel = int(match[1]), int(match[2])
    if order > FINEST or pixel >= 12 << (2 * order):
        raise FormatError(f"{path}: there is no HEALPix cell {pixel} of order {order}")
    width = 2 * (FINEST - order)
    return pixel << width, (pixel + 1) << width


def _empty_schema(path: Path) -> pa.Schema:
    """Return the columns of a catalogue without partitions, as far as it has them written down."""
    common = path / "dataset" / "_common_metadata"
    if not common.is_file():
        return pa.schema([])
    with open_parquet(common) as file:
        return file.schema_arrow.remove_metadata()
