"""How the sky is cut into tiles, what a catalogue is asked for each, and the files that keep the answers.

Bands of declination half a degree high, each cut into equal steps of right ascension, fewer towards the poles. May import
`core`, `io` and `errors`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scope_ml.core.provenance import TableMetadata, digest_json
from scope_ml.core.sphere import separation_arcsec
from scope_ml.errors import SchemaError
from scope_ml.io.tables import read_table, write_table

__all__ = ["AnswerFiles", "Query", "TileCone", "TileFiles", "tile_codes", "tile_cone"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

#: Height of a tile [deg]; a quadrant of ZTF's camera, 0.86 deg wide, meets four to nine.
TILE_DEG = 0.5

N_BANDS = round(180.0 / TILE_DEG)

#: Tiles are numbered band * STEPS + step; no band has as many steps.
STEPS = 1000

#: Version of what a tile's file holds.
CACHE_VERSION = 1

#: Kind of table in the metadata record of a tile's file.
KIND = "catalogue_tile"


class TileCone(NamedTuple):
    """The smallest circle around the middle of a tile that holds it: centre [deg], radius [arcsec]."""

    ra: float
    dec: float
    radius_arcsec: float


def tile_codes(ra: FloatArray, dec: FloatArray) -> IntArray:
    """Return the number of the tile of each position [deg], int64 (n,); all positions must be on the sky."""
    band = np.clip(np.floor((dec + 90.0) / TILE_DEG), 0, N_BANDS - 1).astype(np.int64)
    steps = _STEPS_OF_BAND[band]
    step = np.floor((ra % 360.0) / 360.0 * steps).astype(np.int64) % steps
    codes: IntArray = band * STEPS + step
    return codes


def tile_cone(code: int) -> TileCone:
    """Return the circle around tile number `code`."""
    band, step = divmod(int(code), STEPS)
    south, width = -90.0 + band * TILE_DEG, 360.0 / float(_STEPS_OF_BAND[band])
    ra, dec = (step + 0.5) * width, south + 0.5 * TILE_DEG
    corners = separation_arcsec(ra, dec, ra + 0.5 * width, np.array([south, south + TILE_DEG]))
    return TileCone(ra, dec, float(corners.max()))


def _steps_of_bands() -> IntArray:
    edges = -90.0 + TILE_DEG * np.arange(N_BANDS + 1)
    # The edge nearer to the equator is the longer one.
    nearer = np.minimum(np.abs(edges[:-1]), np.abs(edges[1:]))
    steps: IntArray = np.maximum(1, np.ceil(np.cos(np.radians(nearer)) * 360.0 / TILE_DEG)).astype(np.int64)
    return steps


_STEPS_OF_BAND = _steps_of_bands()


@dataclass(frozen=True, kw_only=True)
class Query:
    """What is asked of a catalogue for every tile.

    Attributes
    ----------
    catalog
        Name of the collection.
    columns, optional, below
        As `core.protocols.CatalogSource.cone_search` takes them, without the id.
    margin_arcsec
        Largest radius of a search [arcsec].
    id_column
        What tells rows apart: rows of one id count once.
    ids
        ``"number"``: ids must be 64-bit whole numbers, maybe written as text, and come back as int64; ``"text"``:
        anything exact, comes back as string.
    """

    catalog: str
    columns: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    below: Mapping[str, float] = field(default_factory=dict)
    margin_arcsec: float = 2.0
    id_column: str = "_id"
    ids: Literal["number", "text"] = "number"


class AnswerFiles:
    """Answers to one query in ``<folder>/<catalogue>-<digest>``; the names of files end with the key of the query."""

    def __init__(self, folder: Path, query: Query, digest: str) -> None:
        self._folder = Path(folder) / f"{query.catalog}-{digest[:12]}"
        asked = {**asdict(query), "digest": digest, "tile_deg": TILE_DEG, "version": CACHE_VERSION}
        # How ids are made comparable is decided when an answer is read.
        del asked["ids"]
        self._asked: dict[str, Any] = json.loads(json.dumps(asked))
        self._key = digest_json(self._asked)[:8]

    def _read(self, path: Path, facts: Mapping[str, Any]) -> pa.Table | None:
        """Return the rows of a file, None if there is none that was made whole by this query and says `facts`."""
        if not path.is_file():
            return None
        try:
            table = read_table(path, kind=KIND)
        except SchemaError:
            return None
        return table.data if dict(table.metadata.facts) == {**self._asked, **facts} else None

    def _write(self, path: Path, rows: pa.Table, facts: Mapping[str, Any]) -> None:
        write_table(rows, path, TableMetadata(kind=KIND, facts={**self._asked, **facts}))


class TileFiles(AnswerFiles):
    """Tiles of one query as Parquet files: ``<folder>/<catalogue>-<digest>/tile-<band>-<step>-<query>.parquet``."""

    def path(self, code: int) -> Path:
        """Return where a tile stands or will stand."""
        band, step = divmod(code, STEPS)
        return self._folder / f"tile-{band:03d}-{step:03d}-{self._key}.parquet"

    def read(self, code: int) -> pa.Table | None:
        """Return the rows of a tile, None if there is no file that was made whole by this query."""
        return self._read(self.path(code), {"tile": code})

    def write(self, code: int, rows: pa.Table) -> None:
        """Keep the rows of a tile, atomically.

        Raises
        ------
        OutputError
            If the folder cannot be written.
        """
        self._write(self.path(code), rows, {"tile": code})
