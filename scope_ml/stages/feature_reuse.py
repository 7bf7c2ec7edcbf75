"""What an earlier feature table is still good for: light curves that have not changed take their features over.

Beside each table lies ``OUT.light_curves.parquet``: a digest of each light curve that was read, in order, and what became
of it. A row is taken over if the digest of its light curve, computed now, is among them, if the table was measured with
the same options and code, and if the table's own digest is the one that was written down: nothing is believed. May
import features, io and what lies below.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from scope_ml.core.lightcurve import POINT_COLUMNS, LightCurveBatch
from scope_ml.core.provenance import Input, TableMetadata, digest_file
from scope_ml.errors import FormatError, ScopeError
from scope_ml.features.carried import carried_columns, carry_features
from scope_ml.features.extract import Extraction, extract_features
from scope_ml.features.registry import IDENTITY
from scope_ml.io.parquet_files import open_parquet, read_errors
from scope_ml.io.tables import read_table

if TYPE_CHECKING:
    from scope_ml.features.surroundings import Surroundings

__all__ = [
    "COMPUTED",
    "DIGESTS",
    "FINISHED",
    "KEPT",
    "MEASURED_WITH",
    "Previous",
    "PreviousRelease",
    "digests_of",
    "features_of",
    "open_previous",
    "reuse_facts",
    "reuse_lines",
    "reuse_text",
    "seen_record",
    "seen_table",
]

#: How the name of what lies beside a table ends.
DIGESTS = "light_curves"

#: Kind of that table, and the fact of it that says with what the features were measured.
KIND, MEASURED_WITH = "light_curve_digests", "measured_with"

#: What became of a light curve that is in the table; of any other the reason why it is not.
KEPT = "kept"

#: What is said of light curves whose table stood there whole: nothing was made, and nothing taken over.
FINISHED = "finished"

#: Bytes of a digest.
N_BYTES = 16

#: Why light curves were measured, though there may be an earlier table.
COMPUTED: Mapping[str, str] = {
    "new": "were not in the earlier table",
    "changed": "have other points or facts than before",
    "dropped_before": "were dropped before",
    "no_table": "had no earlier table",
    "no_digests": "had an earlier table without OUT.light_curves.parquet beside it, or one that is not Parquet",
    "other_options": "had an earlier table that was measured with other options or code",
    "altered": "had an earlier table whose content is not what was written: its digest differs",
}

#: Of these, what is worth a warning.
WORTH_TELLING = ("no_digests", "other_options", "altered")


def digests_of(batch: LightCurveBatch, rows: pa.Table) -> pa.Array:
    """Return a digest of each light curve as it was read: its points in their order, and the facts about it.

    Returns
    -------
    pa.Array
        Fixed-size binary of 16 bytes (n,).
    """
    facts = zip(*(rows[name].to_pylist() for name in IDENTITY), strict=True)
    columns = [(name, getattr(batch, name)) for name in POINT_COLUMNS]
    there = [(name, _plain(values)) for name, values in columns if values is not None]
    form = repr([(name, str(values.dtype)) for name, values in there]).encode()
    digests = []
    for number, known in enumerate(facts):
        points = slice(int(batch.offsets[number]), int(batch.offsets[number + 1]))
        # repr of a float gives it back exactly.
        hasher = blake2b(repr(known).encode(), digest_size=N_BYTES, person=b"light curve")
        hasher.update(form)
        hasher.update(int(points.stop - points.start).to_bytes(8, "little"))
        for _, values in there:
            hasher.update(values[points].tobytes())
        digests.append(hasher.digest())
    return pa.array(digests, pa.binary(N_BYTES))


def _plain(values: NDArray[Any]) -> NDArray[Any]:
    """Return values of fixed size."""
    return values.astype("U") if values.dtype == object else values


def seen_table(batch: LightCurveBatch, rows: pa.Table, reasons: Sequence[str]) -> pa.Table:
    """Return what is kept of each light curve that was read: id, band, digest, and what became of it."""
    known = rows.select(["id", "band"])
    known = known.append_column("digest", digests_of(batch, rows))
    return known.append_column("became", pa.array(reasons, pa.string()))


def seen_record(metadata: TableMetadata, output: Path, n_rows: int, measured_with: str) -> TableMetadata:
    """Return the record of the digests beside the feature table `output`, which stands: its own digest is in it.

    Raises
    ------
    FormatError
        If the table is gone.
    """
    try:
        features = Input(name="features", digest=digest_file(output), n_rows=n_rows)
    except OSError as error:
        raise FormatError(f"cannot read {output}: {error.strerror or error}") from error
    return TableMetadata(
        kind=KIND,
        config_digest=metadata.config_digest,
        inputs=(metadata.inputs[0], features),
        facts={MEASURED_WITH: measured_with},
    )


@dataclass(frozen=True, kw_only=True)
class Previous:
    """An earlier table, opened to take rows over; or why none can be.

    Attributes
    ----------
    path
        The feature table.
    seen
        Its digests, with the number of its row for each (-1 of a light curve that is not in it).
    useless
        Why no row can be taken over, a key of `COMPUTED`; None if some may be.
    """

    path: Path
    seen: pa.Table | None = None
    useless: str | None = None

    def found(self, digests: pa.Array, rows: pa.Table) -> tuple[NDArray[np.int64], list[str]]:
        """Look light curves up.

        Returns
        -------
        tuple
            The row of each in the earlier table, int64 (n,), -1 for none; and what is to be said of each, `KEPT` or a key
            of `COMPUTED`.
        """
        n_rows = rows.num_rows
        if self.useless is not None:
            return np.full(n_rows, -1, dtype=np.int64), [self.useless] * n_rows
        by_digest, known = self._by_digest, self._known
        at = [by_digest.get(digest) for digest in digests.to_pylist()]
        names = zip(rows["id"].to_pylist(), rows["band"].to_pylist(), strict=True)
        said = [
            (("changed" if name in known else "new") if row is None else "dropped_before" if row < 0 else KEPT)
            for row, name in zip(at, names, strict=True)
        ]
        return np.array([-1 if row is None else row for row in at], dtype=np.int64), said

    def take(self, numbers: NDArray[np.int64], columns: Sequence[str]) -> pa.Table:
        """Return rows of the earlier table, by number.

        Raises
        ------
        FormatError
            If it cannot be read any more.
        """
        return self._rows.take(numbers, columns)

    @cached_property
    def _by_digest(self) -> dict[bytes, int]:
        assert self.seen is not None
        digests, rows = self.seen["digest"].to_pylist(), self.seen["row"].to_pylist()
        # Of equal light curves the first that was kept.
        found: dict[bytes, int] = {}
        for digest, row in zip(digests, rows, strict=True):
            if found.get(digest, -1) < 0:
                found[digest] = row
        return found

    @cached_property
    def _known(self) -> set[tuple[Any, Any]]:
        assert self.seen is not None
        return set(zip(self.seen["id"].to_pylist(), self.seen["band"].to_pylist(), strict=True))

    @cached_property
    def _rows(self) -> _Rows:
        return _Rows(self.path)


class _Rows:
    """Rows of a Parquet file by number; the row group that was read last stays in memory, as rows come in order."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._held: dict[int, pa.Table] = {}
        # Kept open, so that the table may be replaced by its successor meanwhile.
        with read_errors(path, "Parquet"):
            self._file = pq.ParquetFile(path)
        metadata = self._file.metadata
        sizes = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        self._first = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])

    def take(self, numbers: NDArray[np.int64], columns: Sequence[str]) -> pa.Table:
        """Return the rows in the order of `numbers`."""
        groups = np.searchsorted(self._first, numbers, side="right") - 1
        order = np.argsort(groups, kind="stable")
        with self._lock:
            pieces = [
                self._group(int(group), columns).take(pa.array((numbers - self._first[group])[groups == group]))
                for group in np.unique(groups)
            ]
        back = np.empty_like(order)
        back[order] = np.arange(order.size)
        return pa.concat_tables(pieces).combine_chunks().take(pa.array(back)).combine_chunks()

    def _group(self, number: int, columns: Sequence[str]) -> pa.Table:
        if number not in self._held:
            with read_errors(self._path, "Parquet"):
                table = self._file.read_row_group(number, columns=list(columns))
            self._held = {number: table}
        return self._held[number]


def open_previous(path: Path, measured_with: str) -> Previous:
    """Open an earlier table, after checking that it is what its digests were written of.

    Parameters
    ----------
    path
        The feature table.
    measured_with
        Digest of all but the light curves that decides what is taken over.

    Returns
    -------
    Previous
        With `useless` saying why, if no row can be taken over.
    """
    if not path.is_file():
        return Previous(path=path, useless="no_table")
    beside = path.with_name(f"{path.name}.{DIGESTS}.parquet")
    try:
        seen = read_table(beside, kind=KIND)
        with open_parquet(path) as file:
            n_rows = file.metadata.num_rows
    except (ScopeError, OSError):
        return Previous(path=path, useless="no_digests")
    if seen.metadata.facts.get(MEASURED_WITH) != measured_with:
        return Previous(path=path, useless="other_options")
    features = next((one for one in seen.metadata.inputs if one.name == "features"), None)
    kept = np.array([became == KEPT for became in seen.data["became"].to_pylist()], dtype=np.bool_)
    if features is None or int(kept.sum()) != n_rows or digest_file(path) != features.digest:
        return Previous(path=path, useless="altered")
    row = np.where(kept, np.cumsum(kept) - 1, -1).astype(np.int64)
    return Previous(path=path, seen=seen.data.append_column("row", pa.array(row)))


@dataclass(frozen=True, kw_only=True)
class PreviousRelease:
    """Tables of an earlier run: one, or a folder of them.

    Attributes
    ----------
    path
        The table or folder; None where none was given.
    measured_with
        As for `open_previous`.
    """

    path: Path | None
    measured_with: str

    def of(self, name: Path) -> Previous | None:
        """Return the earlier table for the one that is called `name` in its folder; None where none was given."""
        if self.path is None:
            return None
        return open_previous(self.path / name, self.measured_with) if self.path.is_dir() else self._one

    @cached_property
    def _one(self) -> Previous:
        assert self.path is not None
        return open_previous(self.path, self.measured_with)


def features_of(
    batch: LightCurveBatch,
    rows: pa.Table,
    extraction: Extraction,
    *,
    n_obs_raw: NDArray[np.int64],
    surroundings: Surroundings | None,
    seconds: dict[str, float],
    previous: Previous | None,
    digests: pa.Array,
) -> tuple[pa.Table, Counter[str]]:
    """Return the rows of cleaned light curves, taken over where that can be, else measured; and how many of which.

    Parameters
    ----------
    batch, rows, extraction, n_obs_raw, surroundings, seconds
        As for `extract_features`.
    previous
        The earlier table, if there may be one.
    digests
        Of the light curves as they were read.
    """

    def part(where: NDArray[np.int64]) -> dict[str, Any]:
        return {
            "batch": batch.take(where),
            "rows": rows.take(pa.array(where)),
            "extraction": extraction,
            "n_obs_raw": n_obs_raw[where],
            "surroundings": surroundings,
            "seconds": seconds,
        }

    if previous is None:
        at, said = np.full(len(batch), -1, dtype=np.int64), ["no_table"] * len(batch)
    else:
        at, said = previous.found(digests, rows)
    carried, measured = np.flatnonzero(at >= 0), np.flatnonzero(at < 0)
    if previous is None or not carried.size:
        return extract_features(**part(np.arange(len(batch)))), Counter(said)
    pieces = [carry_features(**part(carried), before=previous.take(at[carried], carried_columns(extraction)))]
    if measured.size:
        pieces.append(extract_features(**part(measured)))
    back = np.argsort(np.concatenate([carried, measured]))
    return pa.concat_tables(pieces).combine_chunks().take(pa.array(back)).combine_chunks(), Counter(said)


def reuse_facts(said: Mapping[str, int]) -> dict[str, Any]:
    """Return what a report has of `said`, light curves by `KEPT`, `FINISHED`, or why they were computed."""
    computed = {reason: count for reason, count in sorted(said.items()) if reason not in (KEPT, FINISHED) and count}
    return {
        "n_kept": said.get(KEPT, 0),
        "n_computed": sum(computed.values()),
        "computed": computed,
        "n_finished_before": said.get(FINISHED, 0),
    }


def reuse_text(said: Mapping[str, int]) -> str | None:
    """Return what to show of it: None if there was no earlier table."""
    facts = reuse_facts(said)
    finished = f"{facts['n_finished_before']} light curves stand in tables that were finished before"
    if not facts["n_kept"] and set(facts["computed"]) <= {"no_table"}:
        return finished if facts["n_finished_before"] else None
    why = ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in facts["computed"].items())
    kept = f"{facts['n_kept']} light curves took their features over, proven by their digests"
    measured = f"{facts['n_computed']} were measured{f' ({why})' if why else ''}"
    return "; ".join([kept, measured, *([finished] if facts["n_finished_before"] else [])])


def reuse_lines(said: Mapping[str, int]) -> list[str]:
    """Return the warnings about light curves that could have been taken over, one line each."""
    counts = Counter(said)
    return [
        f"{counts[reason]} light curves were measured again: they {COMPUTED[reason]}"
        for reason in WORTH_TELLING
        if counts[reason]
    ]
