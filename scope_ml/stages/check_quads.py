"""The stage `check_quads`: which field, ccd and quad a catalogue has sources in, how many, and the list for array jobs.

Each field is a part file as soon as it is known, so that an hour's run that was killed goes on where it was, also with
other fields. May import services, io, core, errors and the rooms of this stage.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from scope_ml.core.configuration import option
from scope_ml.core.protocols import Progress
from scope_ml.core.provenance import Input, TableMetadata, digest_json
from scope_ml.core.report import Report
from scope_ml.errors import (
    ConfigError,
    FormatError,
    SchemaError,
    ScopeError,
    ServiceError,
)
from scope_ml.io.atomic import atomic_path, check_writable
from scope_ml.io.output_lock import output_lock
from scope_ml.io.parts import Parts
from scope_ml.io.selection import LARGEST_FIELD, Selection
from scope_ml.io.tables import FORMATS, Table, read_table, write_table
from scope_ml.services.kowalski.listing import PAGE
from scope_ml.services.settings import ServicesConfig
from scope_ml.services.waiting import WaitingThreads
from scope_ml.stages.feature_sources import SourceConfig
from scope_ml.stages.number_ranges import Numbers, number_list
from scope_ml.stages.source_files import SUFFIXES, FileFormat
from scope_ml.stages.source_lists import NAMED_FAILURES, OF_ALL, Outage, SourceLists, open_lists

__all__ = ["CheckQuads", "completeness", "job_list", "run"]

#: Version of what is written; what was made with another is made again.
FILES_VERSION = 1

#: The table of quadrants; `n_sources` is null where they were not counted.
SCHEMA = pa.schema([("field", pa.int32()), ("ccd", pa.int32()), ("quad", pa.int32()), ("n_sources", pa.int64())])


@dataclass(frozen=True, kw_only=True)
class CheckQuads:
    """Options of the stage."""

    source: SourceConfig = option(
        doc="who is asked: kowalski, or light curves that lie here (survey, parquet, irsa, hats)"
    )
    service: ServicesConfig = option(ServicesConfig(), doc="how Kowalski is asked", machine=True)
    catalog: str = option("ZTF_sources_20240117", doc="collection of sources or of features (source=kowalski)")
    field: Numbers = option("0-1999", doc="fields: 301, 301-310, [301,400-410]")
    count: bool = option(True, doc="count the sources; false: it is enough to know that there is one")
    min_obs: int = option(0, unit="observations", doc="sources with fewer do not count", at_least=0)
    output: str = option(doc="folder for quadrants.parquet, catalog_completeness.json and slurm.dat", machine=True)
    format: FileFormat = option("parquet", doc="of the table of quadrants", machine=True)
    refresh: bool = option(False, doc="ask again for what is known", machine=True)

    @property
    def fields(self) -> tuple[int, ...]:
        """Return the fields that are asked for, sorted.

        Raises
        ------
        ConfigError
            If a number is none.
        """
        return number_list(self.field, "field", range(LARGEST_FIELD + 1))


def run(config: CheckQuads, *, progress: Progress) -> Report:
    """Find the quadrants that have sources.

    Returns
    -------
    Report
        ``facts``: fields asked, fields and quadrants with sources, sources, fields that failed. While a field fails,
        the files are not written, since a list for array jobs must not lack quadrants unseen.

    Raises
    ------
    ScopeError
        If the configuration, the credentials or the disk do not allow it, or the service is down.
    """
    began = time.perf_counter()
    outputs = _outputs(config)
    fields = config.fields
    parts_folder = outputs["quadrants"].with_name(f"{outputs['quadrants'].name}.parts")
    with ExitStack() as stack:
        check_writable(*outputs.values())
        stack.enter_context(output_lock(parts_folder, outputs["quadrants"]))
        lists = stack.enter_context(
            open_lists(config.source, config.service.kowalski, catalog=config.catalog, page=PAGE)
        )
        version = lists.edition or lists.version(Selection())
        key = digest_json([FILES_VERSION, lists.name, version, config.min_obs, config.count])
        made_with = digest_json([key, fields])
        table = None if config.refresh else _finished(outputs["quadrants"], made_with)
        facts: dict[str, Any] = {"n_fields": len(fields)}
        failed: list[str] = []
        if table is None:
            census = _Census(config=config, lists=lists, progress=progress, parts=Parts(parts_folder, key))
            table = census.table(fields)
            facts["n_fields_known_before"] = census.n_known
            failed = census.failed
            if not failed:
                metadata = TableMetadata(
                    kind="quadrants",
                    inputs=(Input(name=lists.name, digest=version),),
                    facts={
                        "catalog": lists.name,
                        "min_obs": config.min_obs,
                        "made_with": made_with,
                        "n_fields": len(fields),
                    },
                )
                write_table(table, outputs["quadrants"], metadata)
        else:
            facts["n_fields_known_before"] = len(fields)
        if not failed:
            _write_lists(table, outputs, counted=config.count)
            Parts(parts_folder, key).discard()
        return _report(config, lists.name, table, failed, outputs, {**facts, "seconds": time.perf_counter() - began})


def completeness(table: pa.Table, *, counted: bool) -> dict[str, Any]:
    """Return SCoPe's ``catalog_completeness``: {field: {ccd: [quads]}}, or {field: {ccd: {quad: sources}}}."""
    found: dict[str, Any] = {}
    for row in table.to_pylist():
        of_field = found.setdefault(str(row["field"]), {})
        if counted:
            of_field.setdefault(str(row["ccd"]), {})[str(row["quad"])] = row["n_sources"]
        else:
            of_field.setdefault(str(row["ccd"]), []).append(row["quad"])
    return found


def job_list(table: pa.Table) -> str:
    """Return SCoPe's ``slurm.dat``: a line ``job field ccd quad`` for each quadrant, jobs counted from 0."""
    return "".join(f"{job} {row['field']} {row['ccd']} {row['quad']}\n" for job, row in enumerate(table.to_pylist()))


@dataclass(kw_only=True)
class _Census:
    """The quadrants of fields, kept field by field."""

    config: CheckQuads
    lists: SourceLists
    progress: Progress
    parts: Parts
    failed: list[str] = field(default_factory=list)
    n_known: int = 0

    def table(self, fields: Sequence[int]) -> pa.Table:
        """Return the quadrants of the fields that could be had, sorted."""
        if self.config.refresh:
            for number in fields:
                self.parts.path(number).unlink(missing_ok=True)
        known = set(self.parts.indices())
        todo = [number for number in fields if number not in known]
        self.n_known = len(fields) - len(todo)
        self.progress.start(f"checking fields of {self.lists.name}", len(fields))
        self.progress.advance(self.n_known)
        workers = self.config.service.kowalski.connections if self.config.source.kind == "kowalski" else 1
        outage = Outage()
        for number, answer in zip(todo, WaitingThreads(workers=workers).map(self._quadrants, todo), strict=True):
            self.progress.advance()
            if isinstance(answer, ScopeError):
                self.failed.append(f"field {number}: {answer}")
                outage.failed(answer)
                continue
            outage.answered()
            self.parts.write(number, _rows(number, answer), TableMetadata(kind="quadrants"))
        self.progress.finish()
        done = set(self.parts.indices())
        rows = [self.parts.read(number) for number in fields if number in done]
        return pa.concat_tables([SCHEMA.empty_table(), *rows])

    def _quadrants(self, number: int) -> Mapping[tuple[int, int], int | None] | ScopeError:
        try:
            return self.lists.quadrants(number, min_obs=self.config.min_obs, count=self.config.count)
        except OF_ALL:
            raise
        except ServiceError as error:
            return error


def _outputs(config: CheckQuads) -> dict[str, Path]:
    folder = Path(config.output)
    if folder.suffix.lower() in (*FORMATS, ".json", ".dat") or (folder.exists() and not folder.is_dir()):
        raise ConfigError(
            f"output={folder} is a file, but there are several; give a folder, such as output={folder.with_suffix('')}",
            key="output",
        )
    return {
        "quadrants": folder / f"quadrants{SUFFIXES[config.format]}",
        "completeness": folder / "catalog_completeness.json",
        "job_list": folder / "slurm.dat",
    }


def _rows(number: int, found: Mapping[tuple[int, int], int | None]) -> pa.Table:
    rows = [{"field": number, "ccd": ccd, "quad": quad, "n_sources": n} for (ccd, quad), n in found.items()]
    return pa.Table.from_pylist(rows, SCHEMA)


def _finished(path: Path, made_with: str) -> pa.Table | None:
    """Return the table if it stands there and was made with the same."""
    if not path.is_file():
        return None
    try:
        table: Table = read_table(path, kind="quadrants")
    except (FormatError, SchemaError):
        return None
    return table.data if table.metadata.facts.get("made_with") == made_with else None


def _write_lists(table: pa.Table, outputs: Mapping[str, Path], *, counted: bool) -> None:
    with atomic_path(outputs["completeness"]) as temporary:
        temporary.write_text(json.dumps(completeness(table, counted=counted)) + "\n", encoding="utf-8")
    with atomic_path(outputs["job_list"]) as temporary:
        temporary.write_text(job_list(table), encoding="utf-8")


def _report(
    config: CheckQuads,
    name: str,
    table: pa.Table,
    failed: Sequence[str],
    outputs: Mapping[str, Path],
    facts: dict[str, Any],
) -> Report:
    n_with = len(table["field"].unique())
    n_sources = sum(table["n_sources"].to_pylist()) if config.count else None
    seconds = facts.pop("seconds")
    n_fields = facts["n_fields"]
    counted = f", {n_sources} sources" if config.count else ""
    text = f"{table.num_rows} quadrants of {n_with} fields have sources{counted}; {n_fields - n_with - len(failed)} fields have none"
    warnings = [f"failed: {line}" for line in failed[:NAMED_FAILURES]]
    if failed:
        warnings.append(f"{len(failed)} of {n_fields} fields failed; nothing was written, type the same command again")
    elif not table.num_rows:
        enough = f" with {config.min_obs} observations or more" if config.min_obs else ""
        warnings.append(f"{name} has no sources{enough} in any of the {n_fields} fields; the lists are empty")
    return Report(
        stage="check_quads",
        seconds=seconds,
        warnings=tuple(warnings),
        outputs={} if failed else {key: str(path) for key, path in outputs.items()},
        facts={
            **facts,
            "n_fields_with_sources": n_with,
            "n_quadrants": table.num_rows,
            "n_sources": n_sources,
            "n_failed": len(failed),
            "failed": list(failed),
            "text": text,
        },
    )
