"""One table of downloaded features: block after block onto the disk, gone on with after a kill, every id accounted for.

Beside OUT stands OUT.not_found.parquet: ids that are not in OUT, each with its reason. A table that lacks answers of the
service keeps its blocks, so that the next run asks for those alone that lack some. May import models, features, services,
io and what lies below, and `feature_imputation`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from scope_ml.core.protocols import Progress
from scope_ml.core.provenance import Input, TableMetadata, code_digest, digest_json
from scope_ml.errors import DataError, ScopeError
from scope_ml.io.atomic import check_writable
from scope_ml.io.output_lock import output_lock
from scope_ml.io.parts import Parts
from scope_ml.io.tables import check_columns_fit, read_table
from scope_ml.services.kowalski.asking import NO_ANSWER as SERVICE
from scope_ml.services.kowalski.asking import Answer, ask_in_pieces, pieces_of
from scope_ml.services.kowalski.client import Asks
from scope_ml.services.kowalski.features import (
    WITHOUT_IMAGE,
    FeatureColumns,
    FeatureDecoder,
    data_release,
    feature_query,
)
from scope_ml.services.kowalski.settings import KowalskiConfig
from scope_ml.stages.feature_imputation import Imputer

__all__ = ["KEY", "FeatureCounts", "FeatureDownload", "not_found_path"]

#: Ids of a block: what a kill costs at most, and what lies in memory.
BLOCK_IDS = 10_000

#: Fact of the table's record that says with what it was made.
KEY = "made_with"

#: Why an id is not in the table, in words of a report.
NOT_THERE, NO_ANSWER, NOT_IMPUTED = "not_in_catalog", "no_answer", "cannot_be_imputed"

MISSING_SCHEMA = pa.schema([pa.field("id", pa.int64()), pa.field("reason", pa.string())])

Ids = npt.NDArray[np.int64]


@dataclass(kw_only=True)
class FeatureCounts:
    """Ids asked for = rows + ids by reason; of several tables they add up."""

    asked: int = 0
    rows: int = 0
    missing: dict[str, int] = field(default_factory=dict)
    images_missing: int = 0

    def add(self, other: FeatureCounts) -> None:
        """Add the counts of another table or block."""
        self.asked += other.asked
        self.rows += other.rows
        self.images_missing += other.images_missing
        for reason, count in other.missing.items():
            self.missing[reason] = self.missing.get(reason, 0) + count

    @property
    def facts(self) -> dict[str, Any]:
        """Return the counts for a record."""
        return {
            "ids_asked": self.asked,
            "ids_missing": dict(sorted(self.missing.items())),
            "images_missing": self.images_missing,
        }

    @classmethod
    def of_record(cls, metadata: TableMetadata) -> FeatureCounts:
        """Return the counts that a table or block has in its record."""
        facts = metadata.facts
        return cls(
            asked=facts["ids_asked"],
            rows=metadata.n_rows,
            missing=dict(facts["ids_missing"]),
            images_missing=facts["images_missing"],
        )


def not_found_path(output: Path) -> Path:
    """Return where the ids that are not in the table `output` are listed."""
    return output.with_name(f"{output.name}.not_found.parquet")


@dataclass(frozen=True, kw_only=True, eq=False)
class FeatureDownload:
    """What tables of one run are made with.

    Attributes
    ----------
    asks, settings
        The service and how it is asked.
    catalog, version
        Collection, and the version in which it is.
    columns
        What is asked for.
    imputer
        What fills missing values.
    config_digest
        Of the configuration.
    """

    asks: Asks
    settings: KowalskiConfig
    catalog: str
    version: str
    columns: FeatureColumns
    imputer: Imputer
    config_digest: str = ""

    def key(self, ids: Ids) -> str:
        """Return the digest of all that decides what is in the table of these ids."""
        return digest_json(
            [
                self.catalog,
                self.version,
                list(self.columns.fields),
                [str(field) for field in self.columns.schema],
                self.imputer.digest,
                digest_json(ids.tolist()),
                BLOCK_IDS,
                code_digest("services", "stages"),
            ]
        )

    def check(self, output: Path) -> None:
        """Find out before the work that `output` can be written and hold the columns.

        Raises
        ------
        OutputError, FormatError, SchemaError
            If not.
        """
        check_columns_fit(output, self.columns.schema)
        check_writable(output, not_found_path(output))

    def finished(self, output: Path, ids: Ids) -> FeatureCounts | None:
        """Return the counts of a table that was made of the same ids with the same options; None if there is none."""
        if not (output.is_file() and not_found_path(output).is_file()):
            return None
        try:
            metadata = read_table(output, columns=(), kind="features").metadata
            counts = FeatureCounts.of_record(metadata)
        except (ScopeError, KeyError):
            # Of somebody else, or broken: made again.
            return None
        is_same = metadata.facts.get(KEY) == self.key(ids) and not counts.missing.get(NO_ANSWER)
        return counts if is_same else None

    def make(self, output: Path, ids: Ids, progress: Progress) -> FeatureCounts:
        """Write the table of some distinct ids, and beside it what is missing.

        Raises
        ------
        ServiceError
            If the service is down, or refuses the credentials or the query; finished blocks stay.
        SchemaError
            If a document does not fit the columns.
        OutputError
            If nothing can be written.
        """
        self.check(output)
        folder = output.with_name(f"{output.name}.parts")
        with output_lock(folder, output):
            blocks = _Blocks(folder, self.key(ids), ids)
            self._fill(blocks, progress)
            return self._merge(blocks, output)

    def _fill(self, blocks: _Blocks, progress: Progress) -> None:
        """Ask for the blocks that are not there."""
        todo = [index for index in range(len(blocks)) if not blocks.done(index)]
        progress.advance(sum(len(blocks.ids(index)) for index in range(len(blocks)) if index not in todo))
        if not todo:
            return
        with closing(self._answers([blocks.ids(index) for index in todo])) as answers:
            for index in todo:
                ids = blocks.ids(index)
                self._write(blocks, index, [next(answers) for _ in self._pieces(ids)])
                progress.advance(len(ids))

    def _pieces(self, ids: Ids) -> Iterator[tuple[int, ...]]:
        return pieces_of(ids.tolist(), most=self.settings.query_limit)

    def _answers(self, blocks: Sequence[Ids]) -> Generator[Answer[int, pa.Table]]:
        return ask_in_pieces(
            self.asks,
            (piece for ids in blocks for piece in self._pieces(ids)),
            lambda keys: feature_query(self.catalog, keys, self.columns),
            FeatureDecoder(self.columns),
            catalog=self.catalog,
            connections=self.settings.connections,
        )

    def _write(self, blocks: _Blocks, index: int, answers: Sequence[Answer[int, pa.Table]]) -> None:
        """Impute a block and put it on the disk, the list of what it lacks first."""
        counts = FeatureCounts(asked=len(blocks.ids(index)))
        missing = {key: reason for answer in answers for key, reason in answer.missing.items()}
        for reason in missing.values():
            name = NO_ANSWER if reason.startswith(SERVICE) else NOT_THERE
            counts.missing[name] = counts.missing.get(name, 0) + 1
        rows = pa.concat_tables([self.columns.schema.empty_table(), *(_rows(answer, counts) for answer in answers)])
        imputed = self.imputer.apply(rows)
        left_out = rows["_id"].filter(pa.array(~imputed.kept)).to_pylist()
        if left_out:
            counts.missing[NOT_IMPUTED] = len(left_out)
            missing |= dict(zip(left_out, imputed.reasons, strict=True))
        counts.rows = imputed.table.num_rows
        blocks.write(index, imputed.table, missing, counts)

    def _merge(self, blocks: _Blocks, output: Path) -> FeatureCounts:
        counts = FeatureCounts()
        for index in range(len(blocks)):
            counts.add(FeatureCounts.of_record(blocks.rows.metadata(index)))
        if counts.asked != counts.rows + sum(counts.missing.values()) or counts.asked != blocks.n_ids:
            raise DataError(f"{output}: {blocks.n_ids} ids were asked for, but {counts} was counted; ids were lost")
        facts = {
            "names": "legacy",
            "catalog": self.catalog,
            "catalog_version": self.version,
            "data_release": data_release(self.catalog),
            "downloaded": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            **self.imputer.facts,
            **counts.facts,
            KEY: blocks.key,
        }
        record = TableMetadata(
            kind="features",
            config_digest=self.config_digest,
            inputs=(Input(name=self.catalog, digest=self.version),),
            facts=facts,
        )
        beside = replace(record, kind="sources_not_found", facts={"catalog": self.catalog, **counts.facts})
        # The table comes last: where it stands, the list of what it lacks stands beside it.
        blocks.missing.merge(not_found_path(output), beside, n_parts=len(blocks))
        blocks.rows.merge(output, record, n_parts=len(blocks))
        if not counts.missing.get(NO_ANSWER):
            blocks.discard()
        return counts


class _Blocks:
    """The blocks of one table on the disk: rows, and ids with reasons; at least one block, maybe without ids."""

    def __init__(self, folder: Path, key: str, ids: Ids) -> None:
        self.key = key
        self.n_ids = len(ids)
        self.rows = Parts(folder / "rows", key)
        self.missing = Parts(folder / "missing", key)
        self._ids = [ids[start : start + BLOCK_IDS] for start in range(0, max(len(ids), 1), BLOCK_IDS)]

    def __len__(self) -> int:
        return len(self._ids)

    def ids(self, index: int) -> Ids:
        """Return the ids of a block."""
        return self._ids[index]

    def done(self, index: int) -> bool:
        """Return whether a block is on the disk, and the service has answered for all of its ids."""
        written = self.rows.done(index) and self.missing.done(index)
        return written and not FeatureCounts.of_record(self.rows.metadata(index)).missing.get(NO_ANSWER)

    def write(self, index: int, rows: pa.Table, missing: Mapping[int, str], counts: FeatureCounts) -> None:
        """Write a block; the rows last, by which it counts as done."""
        listed = pa.table({"id": list(missing), "reason": list(missing.values())}, schema=MISSING_SCHEMA)
        self.missing.write(index, listed, TableMetadata(kind="sources_not_found"))
        self.rows.write(index, rows, TableMetadata(kind="features", facts=counts.facts))

    def discard(self) -> None:
        """Remove all blocks."""
        self.rows.discard()
        self.missing.discard()


def _rows(answer: Answer[int, pa.Table], counts: FeatureCounts) -> pa.Table:
    """Return the rows of an answer, and count those whose image was missing."""
    table = answer.values
    if WITHOUT_IMAGE not in table.column_names:
        return table
    counts.images_missing += int(pc.sum(table[WITHOUT_IMAGE], min_count=0).as_py())
    return table.drop_columns([WITHOUT_IMAGE])
