"""Circles around single positions, for light curves far apart: when they are cheaper than tiles, and what was asked.

A tile holds ten thousands of stars, and a light curve alone in it needs those of a few arcseconds. Positions are asked
together in batches, one circle each; what is kept is a batch. May import `tiles`, `core`, `io` and `errors`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scope_ml.core.provenance import TableMetadata, digest_json
from scope_ml.errors import SchemaError
from scope_ml.features.tiles import AnswerFiles, tile_codes, tile_cone
from scope_ml.io.parquet_files import open_parquet, parquet_record

__all__ = ["BATCH", "FEW", "Batch", "CircleFiles", "Circles", "cheaper_than_tile", "in_batches"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

#: Positions of a tile, asked one by one, after which the tile is asked whole.
FEW = 50

#: Positions asked together.
BATCH = 1000


def cheaper_than_tile(code: int, n_circles: int, margin_arcsec: float) -> bool:
    """Return whether `n_circles` circles of radius `margin_arcsec` are asked rather than tile number `code` whole.

    They are while they are at most `FEW`, and together no larger than the circle around the tile. Circles asked before
    count: so never much more than twice as much is asked as by the better of the two ways, in whatever order light
    curves come.
    """
    whole = tile_cone(code).radius_arcsec + margin_arcsec
    return n_circles <= FEW and n_circles * margin_arcsec**2 <= whole**2


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Positions that are asked together: `ra` and `dec` [deg], float64 (n,), each once."""

    ra: FloatArray
    dec: FloatArray


def _places(ra: FloatArray, dec: FloatArray) -> npt.NDArray[np.complex128]:
    """Return each position as one number that can be sorted, complex128 (n,)."""
    both: npt.NDArray[np.complex128] = ra + 1j * dec
    return both


@dataclass
class Circles:
    """The batches of one query, and which position is in which; not safe for threads."""

    batches: list[Batch] = field(default_factory=list)
    n_in_tile: Counter[int] = field(default_factory=Counter)
    _known: npt.NDArray[np.complex128] = field(default_factory=lambda: np.empty(0, dtype=np.complex128))
    _batch: IntArray = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    def find(self, ra: FloatArray, dec: FloatArray) -> IntArray:
        """Return the number of the batch that each position is in, int64 (n,), -1 for none."""
        wanted = _places(ra, dec)
        if not self._known.size:
            return np.full(len(wanted), -1, dtype=np.int64)
        at = np.minimum(np.searchsorted(self._known, wanted), self._known.size - 1)
        found: IntArray = np.where(self._known[at] == wanted, self._batch[at], -1)
        return found

    def add(self, batch: Batch) -> None:
        """Remember a batch; positions that are known already stay where they are."""
        new = self.find(batch.ra, batch.dec) < 0
        fresh = np.sort(_places(batch.ra[new], batch.dec[new]))
        at = np.searchsorted(self._known, fresh)
        self._known = np.insert(self._known, at, fresh)
        self._batch = np.insert(self._batch, at, len(self.batches))
        self.batches.append(batch)
        self.n_in_tile.update(tile_codes(batch.ra[new], batch.dec[new]).tolist())


def in_batches(ra: FloatArray, dec: FloatArray) -> list[Batch]:
    """Return positions, each once, as batches of at most `BATCH`."""
    each = np.unique(_places(ra, dec))
    pieces = (each[start : start + BATCH] for start in range(0, each.size, BATCH))
    return [Batch(ra=piece.real.copy(), dec=piece.imag.copy()) for piece in pieces]


class CircleFiles(AnswerFiles):
    """Batches of one query as Parquet files beside those of its tiles: ``circles-<positions>-<query>.parquet``."""

    def path(self, batch: Batch) -> Path:
        """Return where a batch stands or will stand."""
        return self._folder / f"circles-{digest_json(_facts(batch))[:16]}-{self._key}.parquet"

    def batches(self) -> Iterator[Batch]:
        """Yield the batches whose files say that they were made by this query; whether they are whole shows `read`."""
        for path in sorted(self._folder.glob(f"circles-*-{self._key}.parquet")):
            try:
                with open_parquet(path) as file:
                    record = parquet_record(file)
                facts = dict(TableMetadata.from_json(record or b"", where=str(path)).facts)
            except SchemaError:
                continue
            circles = facts.pop("circles", None)
            if facts == self._asked and circles is not None:
                yield Batch(ra=np.array(circles["ra"], np.float64), dec=np.array(circles["dec"], np.float64))

    def read(self, batch: Batch) -> pa.Table | None:
        """Return the rows around the positions of a batch, None if there is no file that was made whole."""
        return self._read(self.path(batch), _facts(batch))

    def write(self, batch: Batch, rows: pa.Table) -> None:
        """Keep the rows around the positions of a batch, atomically.

        Raises
        ------
        OutputError
            If the folder cannot be written.
        """
        self._write(self.path(batch), rows, _facts(batch))


def _facts(batch: Batch) -> dict[str, dict[str, list[float]]]:
    return {"circles": {"ra": batch.ra.tolist(), "dec": batch.dec.tolist()}}
