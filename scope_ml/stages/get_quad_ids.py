"""The stage `get_quad_ids`: which sources a catalogue has in quadrants, one file each, or in whole fields.

Pages are stable and counted (`services.kowalski.listing`); a quadrant that cannot be listed is named and the others go
on; what is finished is not asked again. The files are in `source_files`, who is asked in `source_lists`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from scope_ml.core.configuration import option, science_digest
from scope_ml.core.protocols import Progress
from scope_ml.core.provenance import Input, TableMetadata, digest_json
from scope_ml.core.report import Report
from scope_ml.errors import DataError, FormatError, ScopeError, ServiceError
from scope_ml.io.atomic import check_writable
from scope_ml.io.output_lock import output_lock
from scope_ml.io.selection import CCDS, LARGEST_FIELD, QUADS
from scope_ml.services.kowalski.listing import PAGE, Listing
from scope_ml.services.settings import ServicesConfig
from scope_ml.services.waiting import WaitingThreads
from scope_ml.stages.feature_sources import SourceConfig
from scope_ml.stages.number_ranges import Numbers, number_list
from scope_ml.stages.quadrant_list import Quadrant
from scope_ml.stages.source_files import FileFormat, FileLayout, FolderLayout, Meta, SourceFile
from scope_ml.stages.source_lists import NAMED_FAILURES, OF_ALL, Outage, SourceLists, open_lists

__all__ = ["GetQuadIds", "run"]

#: Version of what a file holds; files of another version are made again.
FILES_VERSION = 1

#: What a quadrant may fail by while the others go on.
OF_ONE_QUADRANT = (ServiceError, DataError, FormatError)


@dataclass(frozen=True, kw_only=True)
class GetQuadIds:
    """Options of the stage; a quadrant's file is the same whether it was asked for alone or among others."""

    source: SourceConfig = option(
        doc="who is asked: kowalski, or light curves that lie here (survey, parquet, irsa, hats)"
    )
    service: ServicesConfig = option(ServicesConfig(), doc="how Kowalski is asked", machine=True)
    catalog: str = option("ZTF_sources_20240117", doc="collection of sources or of features (source=kowalski)")
    field: Numbers = option(doc="fields: 301, 301-310, [301,400-410]", machine=True)
    ccd: Numbers = option("1-16", doc="detectors: 1, [1,2], 1-4", machine=True)
    quad: Numbers = option("1-4", doc="quadrants of each: 1, [1,2], 1-4", machine=True)
    whole_field: bool = option(False, doc="one file a field in the place of one a quadrant")
    min_obs: int = option(20, unit="observations", doc="leave out sources with fewer", at_least=0)
    skip: int = option(0, unit="sources", doc="leave out the first of each file, in the order of ids", at_least=0)
    limit: int | None = option(None, unit="sources", doc="at most so many in each file; null: all", at_least=1)
    output: str = option(doc="folder for the files", machine=True)
    layout: FileLayout = option(
        "ours", doc="scope: files as SCoPe's get-quad-ids names and fills them, ids alone", machine=True
    )
    format: FileFormat | None = option(None, doc="null: parquet, and with layout=scope both hdf5 and csv", machine=True)
    page: int = option(PAGE, unit="sources", doc="asked for at once", at_least=1, machine=True)
    refresh: bool = option(False, doc="ask again for files that are finished", machine=True)

    @property
    def quadrants(self) -> tuple[Quadrant, ...]:
        """Return the quadrants that are asked for, sorted.

        Raises
        ------
        ConfigError
            If a number is none.
        """
        fields = number_list(self.field, "field", range(LARGEST_FIELD + 1))
        ccds, quads = number_list(self.ccd, "ccd", CCDS), number_list(self.quad, "quad", QUADS)
        return tuple(Quadrant(one, ccd, quad) for one in fields for ccd in ccds for quad in quads)


def run(config: GetQuadIds, *, progress: Progress) -> Report:
    """List the sources of quadrants or fields.

    Returns
    -------
    Report
        `n_in` sources that are counted, `n_out` sources in the files, `dropped` those that are counted but not listed;
        ``facts["n_failed"]`` counts the files that could not be made or lack sources.

    Raises
    ------
    ScopeError
        If the configuration, the credentials or the disk let no file be made, or the service is down.
    """
    began = time.perf_counter()
    layout = FolderLayout.of(Path(config.output), config.layout, config.format)
    files = _files(config, layout)
    numbers = sorted({file.field for file in files})
    folders = {number: layout.of_field(number) for number in numbers}
    with ExitStack() as stack:
        check_writable(*(folder / "meta.json" for folder in folders.values()))
        for folder in folders.values():
            stack.enter_context(output_lock(folder, folder))
        lists = stack.enter_context(
            open_lists(config.source, config.service.kowalski, catalog=config.catalog, page=config.page)
        )
        options = {
            "catalog": lists.name,
            "edition": lists.edition,
            "min_obs": config.min_obs,
            "skip": config.skip,
            "limit": config.limit,
        }
        if config.skip or config.limit is not None:
            # Sources of a whole field that are cut off are not those that are cut off of each quadrant.
            options["whole_field"] = config.whole_field
        metas = {number: Meta.open(folder, options) for number, folder in folders.items()}
        work = _Work(config=config, layout=layout, lists=lists, metas=metas, progress=progress)
        work.make(files)
        return work.report(files, seconds=time.perf_counter() - began)


def _files(config: GetQuadIds, layout: FolderLayout) -> list[SourceFile]:
    if not config.whole_field:
        return [layout.quadrant(one) for one in config.quadrants]
    of_field: dict[int, list[Quadrant]] = {}
    for one in config.quadrants:
        of_field.setdefault(one.field, []).append(one)
    return [layout.whole(number, quadrants) for number, quadrants in of_field.items()]


@dataclass(kw_only=True)
class _Work:
    """The files of one run, and what became of them."""

    config: GetQuadIds
    layout: FolderLayout
    lists: SourceLists
    metas: Mapping[int, Meta]
    progress: Progress
    entries: list[Mapping[str, Any]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    remade: list[str] = field(default_factory=list)
    n_finished: int = 0

    def make(self, files: Sequence[SourceFile]) -> None:
        """Make the files that are not finished."""
        todo: list[tuple[SourceFile, str]] = []
        for file in files:
            made_with = self._made_with(file)
            entry = None if self.config.refresh else self.metas[file.field].finished(file, made_with)
            if entry is None:
                todo.append((file, made_with))
            else:
                self.entries.append(entry)
        self.n_finished = len(self.entries)
        jobs = [quadrant for file, _ in todo for quadrant in file.quadrants]
        self.progress.start(f"listing sources of {self.lists.name}", len(jobs))
        # Local files are read by one thread at a time: their readers have threads of their own.
        workers = self.config.service.kowalski.connections if self.config.source.kind == "kowalski" else 1
        answers = WaitingThreads(workers=workers).map(self._listing, jobs)
        outage = Outage()
        for file, made_with in todo:
            self._make(file, made_with, answers, outage)
        self.progress.finish()

    def report(self, files: Sequence[SourceFile], *, seconds: float) -> Report:
        """Return the counts over all files, made now or before."""
        counted = sum(entry["counted"] for entry in self.entries)
        written = sum(entry["n_sources"] for entry in self.entries)
        n_empty = sum(not entry["n_sources"] for entry in self.entries)
        facts = {
            "n_files": len(self.entries),
            "n_files_finished_before": self.n_finished,
            "n_files_without_sources": n_empty,
            "n_failed": len(self.failed),
            "failed": self.failed,
        }
        return Report(
            stage="get_quad_ids",
            n_in=counted,
            n_out=written,
            dropped={"not_listed": counted - written} if counted > written else {},
            seconds=seconds,
            warnings=tuple(self._warnings(files, n_empty)),
            outputs={"sources": str(self.layout.folder)},
            facts=facts,
        )

    def _made_with(self, file: SourceFile) -> str:
        versions = [[*quadrant, self.lists.version(quadrant.selection)] for quadrant in file.quadrants]
        config = self.config
        return digest_json([FILES_VERSION, self.lists.name, versions, config.min_obs, config.skip, config.limit])

    def _listing(self, quadrant: Quadrant) -> Listing | ScopeError:
        config = self.config
        skip, limit = config.skip, config.limit
        if config.whole_field:
            # What is skipped is known only once all quadrants are there; more than this of one is never needed.
            skip, limit = 0, None if limit is None else skip + limit
        try:
            return self.lists.listing(quadrant.selection, min_obs=config.min_obs, skip=skip, limit=limit)
        except OF_ALL:
            raise
        except OF_ONE_QUADRANT as error:
            return error

    def _make(self, file: SourceFile, made_with: str, answers: Iterator[Listing | ScopeError], outage: Outage) -> None:
        listings: list[Listing] = []
        errors: list[ScopeError] = []
        for _ in file.quadrants:
            answer = next(answers)
            self.progress.advance()
            if isinstance(answer, Listing):
                listings.append(answer)
                outage.answered()
            else:
                errors.append(answer)
                outage.failed(answer)
        if errors:
            which = f"{len(errors)} of its quadrants: " if len(file.quadrants) > 1 else ""
            self.failed.append(f"{file.name}: {which}{errors[0]}")
            return
        self._write(file, made_with, self._joined(listings))

    def _joined(self, listings: Sequence[Listing]) -> Listing:
        if not self.config.whole_field:
            return listings[0]
        skip, limit = self.config.skip, self.config.limit
        sources = pa.concat_tables([one.sources for one in listings]).sort_by("id").slice(skip, limit)
        counted = max(sum(one.counted for one in listings) - skip, 0)
        return Listing(sources=sources, counted=counted if limit is None else min(counted, limit))

    def _write(self, file: SourceFile, made_with: str, listing: Listing) -> None:
        meta = self.metas[file.field]
        if any(path.exists() for path in file.paths):
            self.remade.append(file.name)
        meta.begin(file)
        entry = {
            "made_with": None if listing.missing else made_with,
            "n_sources": listing.sources.num_rows,
            "counted": listing.counted,
            "quadrants": _counts(file, listing.sources),
        }
        self.layout.write(file, listing.sources, self._record(file, listing, made_with))
        meta.add(file, entry)
        self.entries.append(entry)
        if listing.missing:
            self.failed.append(
                f"{file.name}: {listing.missing} of {listing.counted} sources are counted but not listed"
            )

    def _record(self, file: SourceFile, listing: Listing, made_with: str) -> TableMetadata:
        facts = {
            **self.metas[file.field].options,
            "quadrants": [list(quadrant) for quadrant in file.quadrants],
            "counted": listing.counted,
            "made_with": made_with,
        }
        version = digest_json([self.lists.version(quadrant.selection) for quadrant in file.quadrants])
        return TableMetadata(
            kind="sources",
            config_digest=science_digest(self.config),
            inputs=(Input(name=self.lists.name, digest=version),),
            facts=facts,
        )

    def _warnings(self, files: Sequence[SourceFile], n_empty: int) -> Iterator[str]:
        n_all = len(self.entries)
        if n_empty and n_empty == n_all:
            others = f" and {len(files) - 1} others" if len(files) > 1 else ""
            enough = f" with {self.config.min_obs} observations or more" if self.config.min_obs else ""
            behind = f" behind the first {self.config.skip}" if self.config.skip else ""
            yield f"{self.lists.name} has no sources{enough}{behind} in {files[0].name}{others}"
        if self.remade and not self.config.refresh:
            yield f"{len(self.remade)} files had been made with other options or data and were made again: {_named(self.remade)}"
        others_of = {number: meta.others for number, meta in self.metas.items()}
        n_others = sum(map(len, others_of.values()))
        if n_others:
            number = next(number for number, names in others_of.items() if names)
            yield (
                f"{n_others} files of other options or data stay beside them, such as"
                f" {self.metas[number].path.parent / others_of[number][0]}; meta.json counts them apart"
            )
        if self.failed:
            yield from (f"failed: {line}" for line in self.failed[:NAMED_FAILURES])
            yield f"{len(self.failed)} of {len(files)} files are not complete; type the same command again"


def _counts(file: SourceFile, sources: pa.Table) -> list[list[int]]:
    """Return [ccd, quad, sources] of each quadrant of a file."""
    found = {
        (group["ccd"], group["quad"]): group["count_all"]
        for group in sources.group_by(["ccd", "quad"]).aggregate([([], "count_all")]).to_pylist()
    }
    if len(file.quadrants) == 1:
        # What was asked for counts: a catalogue need not repeat it in each source.
        return [[file.quadrants[0].ccd, file.quadrants[0].quad, sources.num_rows]]
    return [[one.ccd, one.quad, found.get((one.ccd, one.quad), 0)] for one in file.quadrants]


def _named(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED_FAILURES]) + (", ..." if len(names) > NAMED_FAILURES else "")
