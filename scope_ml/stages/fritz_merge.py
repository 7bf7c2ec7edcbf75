"""Light curves with features that belong to downloaded sources: from a table of ours or from Kowalski, the nearest source each.

Positions decide, on the sphere: a light curve that several sources claim goes to the nearest of them; several light curves of a
source give several rows. May import datasets, services, io, core and errors, and the rooms of stages that download and impute.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scope_ml.core.identifiers import one_chunk
from scope_ml.core.protocols import Progress
from scope_ml.core.provenance import Input, TableMetadata, digest_file
from scope_ml.core.sphere import angle_arcsec, chord, unit_vectors
from scope_ml.errors import MissingColumnError
from scope_ml.io.tables import read_batches, read_table, table_columns
from scope_ml.services.fritz.records import Source
from scope_ml.services.kowalski.catalogs import KowalskiCatalogs
from scope_ml.services.kowalski.client import Asks
from scope_ml.services.kowalski.features import feature_columns
from scope_ml.services.kowalski.settings import KowalskiConfig
from scope_ml.stages.feature_downloads import FeatureDownload
from scope_ml.stages.feature_imputation import imputer

__all__ = ["APART", "Collection", "LightCurves", "check_features", "from_kowalski", "from_table", "merged_table"]

#: Column of the distance between a light curve and its source [arcsec].
APART = "separation_arcsec"

#: What the ids of light curves may be called in a table of features.
IDS = ("id", "_id", "ztf_id")

#: Distances that differ by less count as the same [arcsec].
SAME_ARCSEC = 1e-6

#: Rows of a feature table in memory at a time.
BLOCK_ROWS = 20_000

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


class Match(NamedTuple):
    """The source of each light curve (-1: none within the radius), how far it is [arcsec], and how many could choose."""

    source: IntArray
    apart: FloatArray
    n_contested: int


@dataclass(frozen=True, kw_only=True, eq=False)
class LightCurves:
    """Features of light curves and the source of each.

    Attributes
    ----------
    table
        Features, with `id`, in the order of the features' table.
    source
        Number of the source of each row, int64 (n,).
    apart
        Distance to it [arcsec], float64 (n,).
    n_contested
        Light curves that more than one source claimed.
    dropped
        Light curves of sources that are left out, by reason.
    record
        Of the feature table: its facts and digest go on.
    """

    table: pa.Table
    source: IntArray
    apart: FloatArray
    n_contested: int
    dropped: Mapping[str, int] = field(default_factory=dict)
    record: TableMetadata

    def without(self, n_sources: int) -> IntArray:
        """Return the numbers of the sources that have no light curve."""
        return np.setdiff1d(np.arange(n_sources), self.source)


def check_features(path: Path) -> tuple[tuple[str, ...], str]:
    """Return the columns of a table of features and which of them has the ids.

    Raises
    ------
    FormatError, MetadataError
        If the table cannot be read.
    MissingColumnError
        If it has no ids or no positions.
    """
    available = table_columns(path)
    name = next((one for one in IDS if one in available), None)
    lacking = [*([] if name else ["id"]), *(one for one in ("ra", "dec") if one not in available)]
    if lacking:
        raise MissingColumnError(f"features={path}", lacking, available)
    read_table(path, columns=["ra"])
    return available, str(name)


def from_table(path: Path, sources: Sequence[Source], *, radius_arcsec: float, impute: str) -> LightCurves:
    """Return the light curves of a feature table that belong to some sources; of Parquet only these come into memory.

    Parameters
    ----------
    path
        Table of features with ids and positions, ours or SCoPe's.
    sources
        Where to look.
    radius_arcsec
        How far a light curve may be from its source [arcsec].
    impute
        What fills missing values, as `feature_imputation.imputer` takes it.

    Raises
    ------
    FormatError, MetadataError
        If the table cannot be read.
    MissingColumnError
        If it has no ids or no positions.
    """
    available, name = check_features(path)
    places = read_table(path, columns=["ra", "dec"])
    match = _matched(_floats(places.data, "ra"), _floats(places.data, "dec"), sources, radius_arcsec)
    pieces, first = [read_table(path).data.slice(0, 0)] if not len(match.source) else [], 0
    for piece in read_batches(path, list(available), n_rows=BLOCK_ROWS):
        chosen = np.flatnonzero(match.source[first : first + piece.num_rows] >= 0)
        pieces.append(piece.take(pa.array(chosen)))
        first += piece.num_rows
    table = pa.concat_tables(pieces).combine_chunks()
    if "id" not in available:
        table = table.append_column("id", table[name])
    fills = imputer(impute, table.schema)
    filled = fills.apply(table)
    facts = {**places.metadata.facts, **fills.facts}
    here = match.source >= 0
    return LightCurves(
        table=filled.table,
        source=match.source[here][filled.kept],
        apart=match.apart[here][filled.kept],
        n_contested=match.n_contested,
        dropped={"cannot_be_imputed": int((~filled.kept).sum())} if len(filled.reasons) else {},
        record=replace(
            places.metadata, facts=facts, inputs=(Input(name="features", digest=digest_file(path), n_rows=first),)
        ),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Collection:
    """A collection of features: who is asked and how, its name, and whether its dm-dt images are wanted too."""

    asks: Asks
    settings: KowalskiConfig
    catalog: str
    dmdt: bool = False


def from_kowalski(
    collection: Collection,
    sources: Sequence[Source],
    *,
    radius_arcsec: float,
    impute: str,
    output: Path,
    progress: Progress,
) -> LightCurves:
    """Return the light curves of a collection of features that belong to some sources.

    Parameters
    ----------
    collection
        Features of Kowalski.
    sources
        Where to look.
    radius_arcsec
        How far a light curve may be from its source [arcsec].
    impute
        What fills missing values.
    output
        Where the features as they came are written; a table of the same light curves that is there is not asked for again.
    progress
        Told the ids that are done.

    Raises
    ------
    ConfigError
        If there is no such collection.
    ServiceError
        If Kowalski does not answer; what came is kept for the next run.
    """
    asks, settings, catalog = collection.asks, collection.settings, collection.catalog
    ra, dec = _places(sources)
    progress.start("light curves around the sources", None)
    near = KowalskiCatalogs(asks, settings).cones(
        catalog, ra % 360.0, dec, radius_arcsec=radius_arcsec, columns=("_id",)
    )
    _, first = np.unique(near["_id"].to_numpy(), return_index=True)
    near = near.take(pa.array(first))
    match = _matched(_floats(near, "ra"), _floats(near, "dec"), sources, radius_arcsec)
    ids = np.asarray(near["_id"].to_numpy(), dtype=np.int64)
    owner = dict(zip(ids.tolist(), zip(match.source.tolist(), match.apart.tolist(), strict=True), strict=True))
    wanted = ids[match.source >= 0]
    columns = feature_columns(asks, catalog, (), images=collection.dmdt)
    download = FeatureDownload(
        asks=asks,
        settings=settings,
        catalog=catalog,
        version=asks.version(catalog),
        columns=columns,
        imputer=imputer(impute, columns.schema),
    )
    progress.start("features", len(wanted))
    counts = download.finished(output, wanted) or download.make(output, wanted, progress)
    found = read_table(output, kind="features")
    own = [owner[key] for key in found.data["_id"].to_pylist()]
    return LightCurves(
        table=found.data,
        source=np.array([source for source, _ in own], dtype=np.int64),
        apart=np.array([apart for _, apart in own], dtype=np.float64),
        n_contested=match.n_contested,
        dropped=counts.missing,
        record=replace(found.metadata, inputs=(Input(name="features", digest=digest_file(output)),)),
    )


def merged_table(light_curves: LightCurves, sources: pa.Table, *, legacy: bool) -> pa.Table:
    """Return one row a light curve: what is known of its source, then its features.

    `ra` and `dec` [deg] are the source's. With SCoPe's names (`legacy`) the id is called `ztf_id` and comes last.

    Parameters
    ----------
    light_curves
        Features and the source of each.
    sources
        One row a source, as `fritz_tables` makes it.
    """
    table = light_curves.table
    chosen = sources.take(pa.array(light_curves.source))
    # What both have is the source's; classes are not measured.
    features = table.drop_columns([name for name in table.column_names if name in sources.column_names])
    ids = features["id"]
    features = features.drop_columns([name for name in ("id", "_id", "ztf_id") if name in features.column_names])
    columns: dict[str, Any] = {} if legacy else {"id": ids}
    fields = {} if legacy else {"id": pa.field("id", ids.type)}
    for part in (chosen, features):
        columns |= dict(zip(part.column_names, part.columns, strict=True))
        fields |= {one.name: one for one in part.schema}
        if part is chosen and not legacy:
            columns[APART] = pa.array(light_curves.apart)
            fields[APART] = pa.field(APART, pa.float64(), metadata={"unit": "arcsec"})
    if legacy:
        columns["ztf_id"], fields["ztf_id"] = ids, pa.field("ztf_id", ids.type)
    return pa.table(list(columns.values()), schema=pa.schema(list(fields.values()))).combine_chunks()


def _matched(ra: FloatArray, dec: FloatArray, sources: Sequence[Source], radius_arcsec: float) -> Match:
    """Return the nearest source of each position [deg]; of those equally near the oldest."""
    from scipy.spatial import cKDTree

    source, apart = np.full(len(ra), -1, dtype=np.int64), np.full(len(ra), np.nan)
    finite = np.isfinite(ra) & np.isfinite(dec)
    if not len(sources) or not finite.any():
        return Match(source, apart, 0)
    places = unit_vectors(*_places(sources))
    by_age = sorted(range(len(sources)), key=lambda one: (sources[one].created_at or datetime.max, sources[one].id))
    rank = np.argsort(by_age)
    vectors = unit_vectors(ra[finite], dec[finite])
    near = cKDTree(places).query_ball_point(vectors, chord(radius_arcsec + SAME_ARCSEC))
    n_contested = 0
    for row, candidates, vector in zip(np.flatnonzero(finite), near, vectors, strict=True):
        if not candidates:
            continue
        numbers = np.array(sorted(candidates, key=rank.__getitem__))
        distance = angle_arcsec(places[numbers], vector)
        best = int(np.flatnonzero(distance <= distance.min() + SAME_ARCSEC)[0])
        n_contested += len(candidates) > 1
        source[row], apart[row] = numbers[best], distance[best]
    return Match(source, apart, n_contested)


def _places(sources: Sequence[Source]) -> tuple[FloatArray, FloatArray]:
    return np.array([one.ra for one in sources], dtype=np.float64), np.array(
        [one.dec for one in sources], dtype=np.float64
    )


def _floats(table: pa.Table, name: str) -> FloatArray:
    values = one_chunk(table[name]).cast(pa.float64()).fill_null(np.nan)
    return np.asarray(values.to_numpy(zero_copy_only=False), dtype=np.float64)
