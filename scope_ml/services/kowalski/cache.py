"""Light curves that Kowalski sent, kept as Parquet: which ids were asked for, and blocks of them in our layout.

Everything about one question lies in one folder, `<cache>/<catalogue>-<version>/light_curves/<digest of the question>`: the
list of ids in `plan.parquet`, cut into blocks `block-00000.parquet`, ... Each file is written whole or not at all and says in
its record what it answers and the digest of its own content; what does not fit is reported as broken, to be asked for
again. Two processes may fill one folder: they write the same. May import io, core, errors and `plans`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scope_ml.core.identifiers import one_chunk
from scope_ml.core.lightcurve import LightCurveBatch
from scope_ml.core.lightcurve_arrow import is_list, list_lengths
from scope_ml.core.provenance import TableMetadata, digest_json
from scope_ml.errors import DataError, FormatError, OutputError, SchemaError
from scope_ml.io.atomic import check_writable
from scope_ml.io.layouts import LAYOUTS, ROW_SCHEMA, Chunk
from scope_ml.io.lightcurve_writer import light_curve_table
from scope_ml.io.tables import read_table, write_table
from scope_ml.services.kowalski.plans import PLAN_SCHEMA, Plan

__all__ = ["Block", "LightCurveCache", "content_digest", "join", "no_light_curves"]

#: Kinds of table in the records of the files.
PLAN, BLOCK = "kowalski_plan", "kowalski_light_curves"

#: Version of what the files hold.
CACHE_VERSION = 1

PLAN_FILE = "plan.parquet"
BLOCK_FILES = "block-{index:05d}.parquet"

Ids = npt.NDArray[np.int64]


@cache
def no_light_curves() -> Chunk:
    """Return a chunk without light curves; made when asked for, since Arrow imports pandas for it."""
    none, numbers = np.zeros(0), np.zeros(0, np.int64)
    batch = LightCurveBatch(
        id=numbers, offsets=np.zeros(1, np.int64), time=none, mag=none, mag_err=none, flags=numbers, programid=numbers
    )
    schema = pa.schema([("id", pa.int64()), ("source_id", pa.int64()), *ROW_SCHEMA])
    return Chunk(batch=batch, rows=schema.empty_table())


@dataclass(frozen=True, kw_only=True, eq=False)
class Block:
    """What is known of the ids of one block.

    Attributes
    ----------
    chunk
        The light curves that came, in the order of the plan.
    gone
        Ids that the service says it does not have, with its words.
    n_trimmed
        Points that were left out since their programme is not allowed.
    """

    chunk: Chunk
    gone: Mapping[int, str] = field(default_factory=dict)
    n_trimmed: int = 0


class LightCurveCache:
    """The folder of one question.

    Parameters
    ----------
    folder
        Of a catalogue in one version.
    asked
        The question, JSON-able: everything that decides what the answers hold.
    """

    def __init__(self, folder: Path, asked: Mapping[str, Any]) -> None:
        self._asked = digest_json([CACHE_VERSION, dict(asked)])
        self.folder = Path(folder) / "light_curves" / self._asked[:24]

    def path(self, index: int) -> Path:
        """Return where a block stands or will stand."""
        return self.folder / BLOCK_FILES.format(index=index)

    def check_writable(self) -> None:
        """Find out before anything is asked that its answer cannot be kept.

        Raises
        ------
        OutputError
            Naming the option.
        """
        with self._writing():
            check_writable(self.folder / PLAN_FILE)

    def read_plan(self) -> Plan | None:
        """Return the plan, None if there is none.

        Raises
        ------
        FormatError
            If what is there is broken or answers something else.
        """
        path = self.folder / PLAN_FILE
        if not path.exists():
            return None
        table, facts = self._read(path, PLAN)
        if not table.schema.equals(PLAN_SCHEMA):
            raise FormatError(f"{path} has other columns")
        return Plan(table=table, open={int(at): reason for at, reason in facts["open"].items()})

    def write_plan(self, plan: Plan) -> None:
        """Keep the plan.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        self._write(
            self.folder / PLAN_FILE, plan.table, PLAN, {"open": {str(at): why for at, why in plan.open.items()}}
        )

    def settled(self, index: int, *, came: bool = False) -> Ids:
        """Return the ids of which a block knows what became of them, without a look at the light curves.

        With `came` only those whose light curves are there.

        Raises
        ------
        FormatError
            If the block is broken or answers something else.
        """
        path = self.path(index)
        if not path.exists():
            return np.zeros(0, np.int64)
        with _as_format_error(path):
            known = read_table(path, columns=["id"], kind=BLOCK)
            facts = self._checked(path, known.metadata)["detail"]
            gone = np.array([] if came else [int(one) for one in facts["gone"]], np.int64)
            ids = np.concatenate([known.data["id"].to_numpy(), gone])
        return ids.astype(np.int64)

    def read(self, index: int) -> Block:
        """Return a block.

        Raises
        ------
        FormatError
            If it is broken, was edited, or answers something else.
        """
        table, facts = self._read(self.path(index), BLOCK)
        with _as_format_error(self.path(index)):
            chunk = LAYOUTS["scope"].to_chunk(table)
        gone = {int(one): why for one, why in facts["gone"].items()}
        return Block(chunk=chunk, gone=gone, n_trimmed=int(facts["n_trimmed"]))

    def write(self, index: int, block: Block) -> None:
        """Keep a block.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        table = light_curve_table(block.chunk.batch, block.chunk.rows)
        detail = {"gone": {str(one): why for one, why in block.gone.items()}, "n_trimmed": block.n_trimmed}
        self._write(self.path(index), table, BLOCK, detail)

    def _read(self, path: Path, kind: str) -> tuple[pa.Table, Mapping[str, Any]]:
        with _as_format_error(path):
            read = read_table(path, kind=kind)
            facts = self._checked(path, read.metadata)
            if content_digest(read.data, facts["detail"]) != facts["content"]:
                raise FormatError(f"{path} does not hold what its record says")
        return read.data, facts["detail"]

    def _checked(self, path: Path, metadata: TableMetadata) -> Mapping[str, Any]:
        if metadata.facts["asked"] != self._asked or metadata.facts["part"] != path.name:
            raise FormatError(f"{path} is an answer to another question")
        return metadata.facts

    def _write(self, path: Path, table: pa.Table, kind: str, detail: Mapping[str, Any]) -> None:
        facts = {
            "asked": self._asked,
            "part": path.name,
            "content": content_digest(table, detail),
            "detail": dict(detail),
        }
        with self._writing():
            write_table(table, path, TableMetadata(kind=kind, facts=facts))

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OutputError as error:
            raise OutputError(
                f"{str(error).partition('; ')[0]}, where light curves are kept for later runs; give another folder with"
                " service.kowalski.cache=FOLDER, or null to keep nothing"
            ) from error


@contextmanager
def _as_format_error(path: Path) -> Iterator[None]:
    """Turn whatever a file of ours that is none can raise into a `FormatError`."""
    try:
        yield
    except (SchemaError, DataError, KeyError, ValueError, TypeError, AttributeError) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"{path} is not what was written there") from error


def content_digest(table: pa.Table, beside: Any) -> str:
    """Return the digest of the values of a table, however they are chunked, and of what stands beside it."""
    hasher = hashlib.sha256(digest_json([table.column_names, beside]).encode())
    for column in table.columns:
        values = one_chunk(column)
        if is_list(values.type):
            hasher.update(list_lengths(values).astype(np.int64).tobytes())
            values = values.flatten()
        if pa.types.is_string(values.type) or pa.types.is_null(values.type):
            hasher.update(digest_json(values.to_pylist()).encode())
            continue
        hasher.update(np.packbits(values.is_valid().to_numpy(zero_copy_only=False)).tobytes())
        numbers = values.fill_null(0).to_numpy(zero_copy_only=False)
        hasher.update(f"{numbers.dtype}{len(numbers)}".encode())
        hasher.update(np.ascontiguousarray(numbers).data)
    return hasher.hexdigest()


def join(chunks: list[Chunk], ids: Ids) -> Chunk:
    """Return the light curves of several chunks in the order of `ids`; those of other ids are left out."""
    filled = [one for one in chunks if len(one.batch)]
    if not filled:
        return chunks[0] if chunks else no_light_curves()
    batch = filled[0].batch if len(filled) == 1 else LightCurveBatch.concatenate([one.batch for one in filled])
    rows = filled[0].rows if len(filled) == 1 else pa.concat_tables([one.rows for one in filled])
    order = np.argsort(batch.id, kind="stable")
    found = batch.id[order]
    at = np.searchsorted(found, ids)
    there = at < len(found)
    there[there] = found[at[there]] == ids[there]
    take = order[at[there]]
    if len(take) == len(batch) and np.array_equal(take, np.arange(len(take))):
        return Chunk(batch=batch, rows=rows)
    return Chunk(batch=batch.take(take), rows=rows.take(pa.array(take)))
