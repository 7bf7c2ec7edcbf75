"""What is asked of IRSA's light-curve service for each star, what of a reply belongs to it, and the file that keeps it.

May import io, core, errors, and what lies beside and below it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scope_ml.core.provenance import TableMetadata, digest_json
from scope_ml.core.sphere import separation_arcsec
from scope_ml.errors import FormatError, ReplyError
from scope_ml.io.layouts import Chunk
from scope_ml.io.lightcurve_writer import write_light_curves
from scope_ml.io.lightcurves import open_light_curves
from scope_ml.io.parquet_files import open_parquet, parquet_record
from scope_ml.io.selection import Selection
from scope_ml.services.account import Missing
from scope_ml.services.irsa.settings import IrsaConfig

__all__ = ["Wanted", "check_answers", "wanted_stars"]

#: What the service is asked for beyond the radius [arcsec]: it looks where its object lies, we where the median epoch does.
MARGIN_ARCSEC = 0.5

#: Farthest that a light curve may lie from where it was asked for, beyond the radius, to be an answer to it [arcsec].
STRAY_ARCSEC = 5.0

#: Version of what a kept file holds.
KEPT_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """One id, or one position.

    Attributes
    ----------
    words
        The query, without its format.
    file
        Where its light curves are kept, in our layout.
    id
        Of the light curve; None for a position.
    ra, dec, radius_arcsec
        Position [deg] and radius [arcsec]; None for an id.
    """

    words: dict[str, str]
    file: Path
    id: int | None = None
    ra: float | None = None
    dec: float | None = None
    radius_arcsec: float | None = None

    def missing(self, reason: str, *, again: bool) -> Missing:
        """Return the entry of a list of what did not come."""
        return Missing(id=self.id, ra=self.ra, dec=self.dec, reason=reason, again=again)

    def part_of(self, chunk: Chunk) -> Chunk:
        """Return what of a reply belongs here: the light curve of the id, or those within the radius, the rim included."""
        if self.id is not None:
            rows = np.flatnonzero(chunk.batch.id == self.id)
        else:
            rows = np.flatnonzero(self.separation(chunk) <= (self.radius_arcsec or 0.0))
        return Chunk(batch=chunk.batch.take(rows), rows=chunk.rows.take(pa.array(rows)))

    def separation(self, chunk: Chunk) -> npt.NDArray[np.float64]:
        """Return how far the light curves of a reply are from the position, shape (n,) [arcsec]."""
        ra, dec = (chunk.rows[name].to_numpy() for name in ("ra", "dec"))
        return separation_arcsec(ra, dec, float(self.ra or 0.0), float(self.dec or 0.0))

    def keep(self, chunk: Chunk) -> None:
        """Write its light curves, maybe none.

        Raises
        ------
        OutputError
            If they cannot be written.
        """
        facts = {"asked": self.words, "service": "IRSA nph_light_curves"}
        write_light_curves(chunk.batch, chunk.rows, self.file, TableMetadata(kind="light_curves", facts=facts))

    def n_kept(self) -> int:
        """Return how many light curves are kept.

        Raises
        ------
        SchemaError
            If the file is broken, or of something else.
        """
        with open_parquet(self.file) as file:
            record = TableMetadata.from_json(parquet_record(file) or b"", where=str(self.file))
        if record.facts.get("asked") != self.words:
            raise FormatError(f"{self.file} holds {record.facts.get('asked')}")
        return open_light_curves(self.file, layout="scope").n_rows


def wanted_stars(config: IrsaConfig, selection: Selection, bands: Sequence[str], folder: Path) -> list[Wanted]:
    """Return the ids (ascending) or positions (in their order) of a selection."""
    restrictions = _restrictions(config, bands)

    def one(place: dict[str, str], **where: Any) -> Wanted:
        words = {**place, **restrictions}
        key = digest_json([KEPT_VERSION, config.light_curves, words, where.get("radius_arcsec")])
        return Wanted(words=words, file=folder / f"{key[:32]}.parquet", **where)

    if selection.positions is None:
        return [one({"ID": str(number)}, id=number) for number in selection.sorted_numbers.tolist()]
    radius = selection.positions.radius_arcsec
    asked = f"{(radius + MARGIN_ARCSEC) / 3600.0:.7f}"
    pairs = zip(selection.positions.ra.tolist(), selection.positions.dec.tolist(), strict=True)
    return [
        one(
            {"POS": f"CIRCLE {_degrees(round(ra, 8) % 360.0)} {_degrees(dec)} {asked}"},
            ra=ra,
            dec=dec,
            radius_arcsec=radius,
        )
        for ra, dec in pairs
    ]


def check_answers(chunk: Chunk, asked: Sequence[Wanted]) -> None:
    """Check that a reply is one to this request, and not to another: a cache on the way may have mixed them up.

    Raises
    ------
    ReplyError
        If it holds what was not asked for.
    """
    if asked[0].id is not None:
        strange = set(chunk.batch.id.tolist()) - {one.id for one in asked}
        if strange:
            raise ReplyError(f"the reply has light curve {min(strange)}, which was not asked for")
        return
    far = asked[0].separation(chunk)
    if len(far) and far.max() > (asked[0].radius_arcsec or 0.0) + MARGIN_ARCSEC + STRAY_ARCSEC:
        raise ReplyError(
            f"the reply has a light curve {far.max():.1f} arcsec from where it was asked for; it is that of another request"
        )


def _restrictions(config: IrsaConfig, bands: Sequence[str]) -> dict[str, str]:
    words: dict[str, Any] = {
        "BANDNAME": ",".join(bands) or None,
        "BAD_CATFLAGS_MASK": config.bad_catflags_mask,
        "NOBS_MIN": config.nobs_min,
        "TIME": None if config.time is None else " ".join(map(_degrees, config.time)),
        "COLLECTION": config.collection,
    }
    return {name: str(value) for name, value in words.items() if value is not None}


def _degrees(value: float) -> str:
    """Return a number in decimals, without an exponent or zeros at the end."""
    # Plus zero, so that what rounds to nothing has no sign.
    return f"{round(value, 8) + 0.0:.8f}".rstrip("0").rstrip(".")
