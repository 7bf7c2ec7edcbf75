"""The periods of a catalogue once more, with the classes known: `infer` with light curves.

The scores are written to a temporary table while the class of each row is decided; then the light curves are streamed,
cleaned as the feature table's were, matched to the rows by id and band, and refined on threads. In memory are a few
shards of light curves, and some 60 bytes a row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from scope_ml.compute.local import ThreadExecutor
from scope_ml.core.configuration import build, option
from scope_ml.core.identifiers import one_chunk
from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.core.machine import Machine
from scope_ml.core.protocols import LightCurveSource, Progress
from scope_ml.core.provenance import Input, TableMetadata
from scope_ml.errors import ConfigError, EmptySelectionError
from scope_ml.features.cleaning import Cleaning, CleaningStatus, clean
from scope_ml.features.shards import shards
from scope_ml.io.parquet_files import ParquetTableWriter
from scope_ml.io.selection import Selection
from scope_ml.io.tables import described, read_batches
from scope_ml.stages.catalogue_classes import ClassChoice
from scope_ml.stages.catalogue_rows import RowIndex
from scope_ml.stages.generate_features import SourceConfig, open_source

__all__ = ["CatalogueSource", "Refined", "Refinement", "refine_catalogue"]

#: Examples named in a warning or an error.
N_EXAMPLES = 3


@dataclass(frozen=True, kw_only=True)
class CatalogueSource(SourceConfig):
    """The source group where light curves are not necessary; without `path` there are none."""

    path: str | None = option(
        None, doc="light curves that the features were measured on, to refine periods by class", machine=True
    )

    @property
    def given(self) -> bool:
        """Return whether there are light curves."""
        return self.path is not None or self.kind in ("kowalski", "irsa_stars")

    def open(self, selection: Selection | None = None) -> LightCurveSource | None:
        """Return the light curves, or those of a selection, or None.

        Raises
        ------
        ScopeError
            If there are none at `path`.
        """
        if not self.given:
            return None
        if self.path == "":
            raise ConfigError("'source.path' is empty; give source.path=..., or leave it out", key="source.path")
        return open_source(self) if selection is None else open_source(self, selection=selection)


@dataclass(frozen=True, kw_only=True)
class Refinement:
    """What the periods are refined with.

    Attributes
    ----------
    source, light_curves
        The light curves: as configured, and opened.
    features
        Record of the feature table.
    choice
        The classes that decide.
    machine
        Threads, and light curves per unit of work.
    batch_rows
        Rows of a piece of the table.
    """

    source: CatalogueSource
    light_curves: LightCurveSource
    features: TableMetadata
    choice: ClassChoice
    machine: Machine
    batch_rows: int

    @property
    def cleaning(self) -> Cleaning:
        """Return the cuts that the features were measured with, so that the points are the same."""
        return build(Cleaning, self.features.facts.get("cleaning", {}), "cleaning of the feature table")

    @property
    def science(self) -> Mapping[str, Any]:
        """Return what decides on the result besides models and light curves."""
        return {"cleaning": asdict(self.cleaning), "bands": list(self.source.bands)}


@dataclass(frozen=True, kw_only=True)
class Refined:
    """The scored rows with their periods refined.

    Attributes
    ----------
    schema, pieces
        The table; the pieces can be read once, while the temporary table is there.
    counts
        Rows by what became of their period; they add up to the rows of the table.
    factors
        Rows by the multiple of the period searched that was chosen, where a light curve was looked at.
    input
        The light curves, for the record.
    warnings
        One line each.
    """

    schema: pa.Schema
    pieces: Iterator[pa.Table]
    counts: Mapping[str, int]
    factors: Mapping[str, int]
    input: Input
    warnings: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Rows:
    """What is kept of each of the n rows of the table; the last four are filled in while light curves are read."""

    keys: pa.Table
    searched: NDArray[np.float64]
    code: NDArray[np.int16]
    period: NDArray[np.float64]
    factor: NDArray[np.float32]
    confidence: NDArray[np.float32]
    found: NDArray[np.bool_]

    def wanted(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which of `rows` have a class and a period to refine."""
        searched = self.searched[rows]
        return np.asarray((self.code[rows] >= 0) & np.isfinite(searched) & (searched > 0))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Unit:
    """Light curves that are refined together, their rows, and how many were read to find them."""

    batch: LightCurveBatch
    rows: NDArray[np.int64]
    n_read: int


def refine_catalogue(
    pieces: Iterable[pa.Table], schema: pa.Schema, folder: Path, refinement: Refinement, progress: Progress
) -> Refined:
    """Refine the periods of scored rows by their class.

    Parameters
    ----------
    pieces, schema
        The rows: `id`, `band` where known, `period` and scores.
    folder
        Where the temporary table is written.
    refinement
        The light curves and how to use them.
    progress
        Told of the light curves that were read.

    Raises
    ------
    EmptySelectionError
        If no row has a light curve.
    ScopeError
        If a light-curve file turns out to be broken.
    """
    spool = folder / "scores.parquet"
    rows = _spool(pieces, schema, spool, refinement.choice)
    progress.finish()
    n_read = _refine_all(rows, refinement, progress) if rows.keys.num_rows else 0
    counts, without = _counts(rows)
    recorded = {item.name: item.digest for item in refinement.features.inputs}
    digest = refinement.light_curves.digest
    warnings = []
    if counts["no_light_curve"]:
        warnings.append(
            f"{counts['no_light_curve']} rows keep their period: {refinement.source.path} has no light curve of theirs"
            f" with enough clean points (ids {_listed(without)})"
        )
    if recorded.get("light_curves", digest) != digest:
        warnings.append(f"{refinement.source.path} is not what the features were measured on; points may differ")
    looked_at = np.isfinite(rows.period)
    return Refined(
        schema=_widened(schema),
        pieces=_refined_pieces(spool, schema, rows, refinement),
        counts=counts,
        factors={f"{factor:g}": n for factor, n in sorted(Counter(rows.factor[looked_at].tolist()).items())},
        input=Input(name="light_curves", digest=digest, n_rows=n_read),
        warnings=tuple(warnings),
    )


def _spool(pieces: Iterable[pa.Table], schema: pa.Schema, path: Path, choice: ClassChoice) -> _Rows:
    """Write the rows to `path`, and return what is kept of each."""
    names = [name for name in ("id", "band") if name in schema.names]
    keys = [schema.empty_table().select(names)]
    searched, code = [np.empty(0)], [np.empty(0, dtype=np.int16)]
    writer = ParquetTableWriter(path, schema)
    record = None
    try:
        for piece in pieces:
            writer.write(piece)
            keys.append(piece.select(names))
            searched.append(piece["period"].cast(pa.float64()).to_numpy())
            code.append(choice.decide(piece))
        record = described(TableMetadata(kind="predictions"), schema, writer.n_rows).to_json()
    finally:
        writer.close(record)
    n_rows = writer.n_rows
    return _Rows(
        keys=pa.concat_tables(keys),
        searched=np.concatenate(searched),
        code=np.concatenate(code),
        period=np.full(n_rows, np.nan),
        factor=np.ones(n_rows, dtype=np.float32),
        confidence=np.zeros(n_rows, dtype=np.float32),
        found=np.zeros(n_rows, dtype=np.bool_),
    )


def _refine_all(rows: _Rows, refinement: Refinement, progress: Progress) -> int:
    """Stream the light curves through the threads; return how many were read."""
    # Imported before the threads need it.
    from scope_ml.kernels.refinement import RefinedPeriod, refine_periods

    tags = refinement.choice.tags

    def refine(unit: _Unit) -> tuple[_Unit, list[RefinedPeriod]]:
        return unit, refine_periods(unit.batch, rows.searched[unit.rows], [tags[n] for n in rows.code[unit.rows]])

    source = refinement.light_curves
    # A file may hold several light curves a row, or bands that are not wanted: then their number is not known before.
    known = not refinement.source.bands and all(one.name != "dataset" for one in getattr(source, "layouts", ()))
    progress.start("refining periods", source.n_rows if known else None)
    n_read = 0
    units = _units(rows, refinement)
    for unit, refined in ThreadExecutor(workers=refinement.machine.n_workers).map(refine, units):
        rows.period[unit.rows] = [one.period for one in refined]
        rows.factor[unit.rows] = [one.factor for one in refined]
        rows.confidence[unit.rows] = [one.confidence for one in refined]
        n_read += unit.n_read
        progress.advance(unit.n_read)
    progress.finish()
    return n_read


def _units(rows: _Rows, refinement: Refinement) -> Iterator[_Unit]:
    """Yield the light curves that are to be refined, cleaned, with their rows.

    Raises
    ------
    EmptySelectionError
        At the end, if no light curve was of any row.
    """
    index: RowIndex | None = None
    cleaning = refinement.cleaning
    n_known, seen = 0, pa.table({})
    for shard in shards(refinement.light_curves, size=refinement.machine.max_batch_sources):
        if index is None:
            seen = shard.rows.slice(0, N_EXAMPLES)
            index = RowIndex(rows.keys, as_text=rows.keys["id"].type != shard.rows["id"].type)
        group = index.find(shard.rows)
        known = np.flatnonzero(group >= 0)
        n_known += known.size
        cleaned = clean(shard.batch.take(known), cleaning)
        kept = np.flatnonzero(cleaned.status == CleaningStatus.OK)
        # As many light curves of one id and band as the table has rows of it, in the same order.
        at = index.take(group[known[kept]])
        rows.found[at[at >= 0]] = True
        kept, at = kept[at >= 0], at[at >= 0]
        wanted = rows.wanted(at)
        yield _Unit(batch=cleaned.batch.take(kept[wanted]), rows=at[wanted], n_read=len(shard.batch))
    if not n_known:
        _refuse_strangers(rows, seen, refinement.source)


def _refuse_strangers(rows: _Rows, seen: pa.Table, source: CatalogueSource) -> None:
    chosen = f" in band {', '.join(source.bands)}" if source.bands else ""
    there = f"ids {_listed(_names(seen))}" if seen.num_rows else "no light curves"
    raise EmptySelectionError(
        f"{source.path} has{chosen} the light curve of none of the {rows.keys.num_rows} rows: the table has ids"
        f" {_listed(_names(rows.keys.slice(0, N_EXAMPLES)))}, the source has {there}; give source.path=FILE_OR_DIR that the"
        " features were measured on, or leave it out to keep the periods"
    )


def _counts(rows: _Rows) -> tuple[dict[str, int], list[str]]:
    """Return rows by what became of their period, and the names of some without a light curve."""
    classified = rows.code >= 0
    changed = np.isfinite(rows.period) & (rows.period != rows.searched)
    without = classified & ~rows.found
    counts = {
        "refined": int(changed.sum()),
        "unchanged": int((classified & rows.found & ~changed).sum()),
        "no_class": int((~classified).sum()),
        "no_light_curve": int(without.sum()),
    }
    return counts, _names(rows.keys.take(pa.array(np.flatnonzero(without)[:N_EXAMPLES])))


def _names(keys: pa.Table) -> list[str]:
    """Return each light curve in words, such as ``17 (g)``."""
    bands = keys["band"].to_pylist() if "band" in keys.column_names else [None] * keys.num_rows
    return [
        str(name) if band is None else f"{name} ({band})"
        for name, band in zip(keys["id"].to_pylist(), bands, strict=True)
    ]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) + (", ..." if len(names) == N_EXAMPLES else "")


def _widened(schema: pa.Schema) -> pa.Schema:
    """Return the schema with the columns about the period after it."""
    place = schema.get_field_index("period")
    period = schema.field(place)
    added = [
        period.with_name("period_searched"),
        pa.field("period_factor", pa.float32()),
        pa.field("period_class", pa.string()),
        pa.field("period_confidence", pa.float32()),
    ]
    fields = list(schema)
    return pa.schema([*fields[: place + 1], *added, *fields[place + 1 :]])


def _refined_pieces(path: Path, schema: pa.Schema, rows: _Rows, refinement: Refinement) -> Iterator[pa.Table]:
    """Yield the rows of the temporary table with what was found."""
    wide = _widened(schema)
    labels = pa.array(refinement.choice.tags, pa.string())
    first = 0
    for piece in read_batches(path, schema.names, n_rows=refinement.batch_rows):
        part = slice(first, first + piece.num_rows)
        first = part.stop
        searched = one_chunk(piece["period"])
        refined = pa.array(rows.period[part]).cast(searched.type)
        code = rows.code[part]
        added = {
            "period": pc.if_else(pa.array(np.isfinite(rows.period[part])), refined, searched),
            "period_searched": searched,
            "period_factor": pa.array(rows.factor[part]),
            "period_class": labels.take(pa.array(code, mask=code < 0)),
            "period_confidence": pa.array(rows.confidence[part]),
        }
        columns = [added[name] if name in added else piece[name] for name in wide.names]
        yield pa.Table.from_arrays(columns, names=wide.names).cast(wide)
