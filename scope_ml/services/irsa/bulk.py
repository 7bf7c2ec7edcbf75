"""IRSA's bulk files as a source of light curves: what a selection needs is fetched into a mirror, and read from there.

Beside each file stands a hidden record of the version it is of, or that the archive has no such file; what has a record
is not asked for again. May import io, core, errors and what lies beside.
"""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from scope_ml.core.protocols import NullProgress, Progress
from scope_ml.errors import (
    ConfigError,
    DataError,
    EmptySelectionError,
    OutputError,
    QueryRefusedError,
    ScopeError,
    ServiceError,
    ServiceUnavailableError,
)
from scope_ml.io.irsa_tree import parse_name
from scope_ml.io.lightcurves import ParquetLightCurves, open_irsa_tree
from scope_ml.io.output_lock import output_lock
from scope_ml.io.parquet_files import open_parquet
from scope_ml.io.selection import Selection
from scope_ml.services.irsa.connection import NOT_FOUND, Connection
from scope_ml.services.irsa.download import Download, NoSuchFileError, Version, check_file, head
from scope_ml.services.irsa.records import read_record, record_path, write_record
from scope_ml.services.irsa.release import BulkFile, Release, open_release
from scope_ml.services.irsa.replies import BANDS
from scope_ml.services.irsa.settings import IrsaConfig
from scope_ml.services.waiting import WaitingThreads

__all__ = ["BulkMirror", "Plan"]

_log = logging.getLogger(__name__)

#: Folder of unfinished files, hidden from readers of the tree.
UNFINISHED = ".parts"

#: Room that is left on the disk [bytes].
SPARE_BYTES = 1 << 28

#: Failures that an error names.
NAMED = 3


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a selection needs.

    Attributes
    ----------
    there
        Files that stand in the mirror.
    wanted
        Files to fetch, with the version that the archive has.
    n_absent
        Files that the archive does not have, of those that its names allow; 0 where a list says what exists.
    """

    there: tuple[BulkFile, ...]
    wanted: tuple[tuple[BulkFile, Version], ...]
    n_absent: int

    @property
    def n_bytes(self) -> int:
        """Bytes to fetch, of files whose size is known."""
        return sum(version.size or 0 for _, version in self.wanted)

    def __str__(self) -> str:
        unknown = sum(version.size is None for _, version in self.wanted)
        size = f"{self.n_bytes / 1e6:.1f} MB" + (f" and {unknown} of unknown size" if unknown else "")
        absent = f", {self.n_absent} do not exist" if self.n_absent else ""
        return f"{len(self.wanted)} files to fetch, {size}; {len(self.there)} are there already{absent}"


class BulkMirror:
    """Bulk files of one release; nothing is asked before the first of its methods is called.

    Parameters
    ----------
    url
        Root of a release, such as ``https://irsa.ipac.caltech.edu/data/ZTF/lc/lc_dr23``.
    config
        How IRSA is asked, and where files are kept.
    bands
        Bands to take, of g, r, i; all if empty.
    progress
        Told of the bytes.

    Raises
    ------
    ConfigError
        If a band is none of IRSA's.
    """

    def __init__(
        self, url: str, config: IrsaConfig, *, bands: Sequence[str] = (), progress: Progress | None = None
    ) -> None:
        unknown = [band for band in bands if band not in BANDS]
        if unknown:
            raise ConfigError(
                f"band '{unknown[0]}' is none of IRSA's; give any of {', '.join(BANDS)}", key="band", choices=BANDS
            )
        self._url, self._config, self._bands = url, config, tuple(bands)
        self._progress = progress or NullProgress()
        self._release: Release | None = None
        self._versions: dict[Path, Version | None] = {}
        self._fresh: set[Path] = set()
        self._told_float32 = False
        self.n_requests = 0

    def announce(self, selections: Iterable[Selection]) -> Plan:
        """Say in the log how many files and bytes the selections need, before any of them is fetched.

        Raises
        ------
        ScopeError
            As `open`; also if the disk has no room for all.
        """
        with self._connected() as connection:
            files = [file for one in selections for file in self._files(one, connection)]
            plan = self._plan(files, connection)
        self._make_room(plan)
        return plan

    def open(self, selection: Selection) -> ParquetLightCurves:
        """Fetch what a selection needs and is not in the mirror, and open it.

        Raises
        ------
        ConfigError
            If the selection has no field: which files hold a position or an id is not known.
        EmptySelectionError
            If the release has nothing at all of the field.
        ServiceError
            If a file cannot be fetched; what has come is kept.
        OutputError
            If the mirror cannot be written or the disk is full.
        DataError, FormatError
            If the mirror holds what it should not, such as files of another release.
        """
        with self._connected() as connection:
            files = self._files(selection, connection)
            plan = self._plan(files, connection)
            if not plan.there and not plan.wanted:
                self._check_field(selection, connection)
            if plan.wanted:
                self._make_room(plan)
                self._fetch(plan, connection)
        return self._opened(selection)

    def _connected(self) -> Connection:
        return Connection(self._config, on_close=self._count)

    def _count(self, n_requests: int) -> None:
        self.n_requests += n_requests

    def _files(self, selection: Selection, connection: Connection) -> list[BulkFile]:
        if selection.field is None:
            why = (
                "all of it would be terabytes"
                if selection.everything
                else f"which of its files hold {selection} is not known"
            )
            raise ConfigError(
                f"source.path={self._url}: {why}; give a field (target=field or target=quadrant), or ask for single stars:"
                " source=irsa_stars target=source_ids",
                key="target",
            )
        if self._release is None:
            self._release = open_release(self._url, self._config, connection)
        return self._release.files(selection, self._bands)

    def _plan(self, files: Sequence[BulkFile], connection: Connection) -> Plan:
        unknown = [file for file in files if self._kept(file) is None and file.local not in self._versions]
        if unknown:
            self._progress.start("asking IRSA for sizes (files)", len(unknown))
            for file, version in self._each(lambda one: self._look(one, connection), unknown, connection):
                self._versions[file.local] = version
                self._progress.advance()
            self._progress.finish()
        there, wanted, n_absent = [], [], 0
        for file in files:
            state = self._kept(file)
            version = self._versions.get(file.local)
            if state == "there":
                there.append(file)
            elif state == "absent" or version is None:
                n_absent += 1
            else:
                wanted.append((file, version))
        return Plan(there=tuple(there), wanted=tuple(wanted), n_absent=n_absent)

    def _kept(self, file: BulkFile) -> str | None:
        """Return ``there``, ``absent``, or None where the archive has to be asked."""
        if self._config.refresh and file.local not in self._fresh:
            return None
        record = read_record(record_path(file.local))
        if record is None:
            return None
        if record.get("absent"):
            return "absent"
        there = file.local.is_file() and file.local.stat().st_size == record.get("size")
        return "there" if there else None

    def _look(self, file: BulkFile, connection: Connection) -> Version | None:
        """Ask for the version of a file; note what does not exist, and what stands in the mirror as it is."""
        for address in file.addresses:
            version = head(connection, address)
            if version is not None:
                break
        else:
            if file.md5 is not None:
                raise ServiceError(f"{file.addresses[0]} does not exist, though the release lists it; try again later")
            self._note(file, {"url": file.addresses[0], "absent": True})
            return None
        assert self._release is not None
        self._release = self._release.settled(version.url)
        record = read_record(record_path(file.local))
        if record is not None and not record.get("absent") and file.local.is_file():
            before = Version(**{name: record.get(name) for name in ("url", "size", "etag", "modified")})  # type: ignore[arg-type]
            if version.same_as(before) and file.local.stat().st_size == version.size:
                self._fresh.add(file.local)
        elif record is None and file.local.is_file() and file.local.stat().st_size == version.size:
            self._adopt(file, version)
        return version

    def _adopt(self, file: BulkFile, version: Version) -> None:
        """Take a file that somebody else has put into the mirror, if it is whole."""
        try:
            check_file(file.local, file.md5)
        except ScopeError as error:
            _log.warning("%s is fetched again: %s", file.local, error)
            return
        self._note(file, asdict(version))

    def _note(self, file: BulkFile, facts: dict[str, Any]) -> None:
        write_record(record_path(file.local), facts)
        self._fresh.add(file.local)

    def _check_field(self, selection: Selection, connection: Connection) -> None:
        """Refuse a field of which the release has nothing; a quadrant without light curves is no error."""
        assert self._release is not None and selection.field is not None
        known = self._release.has_field(selection.field)
        if known is None:
            folders = self._release.folders(selection.field)
            answers = [_exists(connection, folder) for folder in folders]
            known = True if any(answers) else None if None in answers else False
        if known is False:
            raise EmptySelectionError(
                f"{self._url} has nothing of field {selection.field}: no such file or folder; check source.path and the field"
            )
        if known is None:
            _log.warning("%s has no file of %s; whether it has the field at all it does not say", self._url, selection)

    def _make_room(self, plan: Plan) -> None:
        if not plan.wanted:
            return
        assert self._release is not None
        root = self._release.root
        _log.info("IRSA's release %d, into %s: %s", self._release.number, root, plan)
        free = shutil.disk_usage(root).free
        begun = sum(part.stat().st_size for part in (root / UNFINISHED).glob("*.parquet"))
        if plan.n_bytes - begun > free - SPARE_BYTES:
            raise OutputError(
                f"{root} has {free / 1e9:.1f} GB free, and {plan.n_bytes / 1e9:.1f} GB are to be fetched; make room, give"
                " service.irsa.mirror=ANOTHER_FOLDER, or ask for fewer quadrants or bands"
            )

    def _fetch(self, plan: Plan, connection: Connection) -> None:
        lock = threading.Lock()

        def on_bytes(amount: int) -> None:
            with lock:
                self._progress.advance(amount)

        def fetch(wanted: tuple[BulkFile, Version]) -> ScopeError | None:
            try:
                self._fetch_one(*wanted, connection, on_bytes)
            except (ServiceError, DataError) as error:
                return error
            return None

        self._progress.start(f"fetching {len(plan.wanted)} files of IRSA (bytes)", plan.n_bytes or None)
        try:
            failed = [error for _, error in self._each(fetch, plan.wanted, connection) if error is not None]
        finally:
            self._progress.finish()
        if failed:
            named = "; ".join(str(error) for error in failed[:NAMED])
            raise ServiceError(
                f"{len(failed)} of {len(plan.wanted)} files could not be fetched: {named}; what came is kept, type the same"
                " command again"
            )

    def _fetch_one(
        self, file: BulkFile, version: Version, connection: Connection, on_bytes: Callable[[int], None]
    ) -> None:
        assert self._release is not None
        part = self._release.root / UNFINISHED / file.local.name
        # Another run may be fetching it: then it is there once that has ended.
        with output_lock(part.with_name(f".{part.name}.lock"), file.local, wait=True):
            if self._kept(file) == "there":
                return
            download = Download(connection=connection, url=version.url, part=part, md5=file.md5, on_bytes=on_bytes)
            try:
                got = download.run(retries=self._config.retries)
            except NoSuchFileError:
                self._note(file, {"url": version.url, "absent": True})
                return
            file.local.parent.mkdir(parents=True, exist_ok=True)
            # The record goes first: without one, a file that stands there is looked at anew.
            record_path(file.local).unlink(missing_ok=True)
            part.replace(file.local)
            download.discard()
            self._note(file, asdict(replace(got, size=file.local.stat().st_size)))

    def _opened(self, selection: Selection) -> ParquetLightCurves:
        assert self._release is not None and selection.field is not None
        folder = self._release.root / str(selection.field // 1000) / f"field{selection.field:06d}"
        if not any(folder.glob("ztf_*.parquet")):
            return ParquetLightCurves(
                files=(),
                layouts=(),
                groups=(),
                selection=selection,
                bands=self._bands,
                chunk_sources=2048,
                n_rows=0,
                n_chunks=0,
            )
        source = open_irsa_tree(folder, bands=self._bands, selection=selection)
        for path in source.files:
            name = parse_name(path.name)
            if name is not None and name.release != self._release.number:
                raise DataError(f"{path} is of another release than {self._url}; move it out of the mirror")
        self._tell_float32(source)
        return source

    def _tell_float32(self, source: ParquetLightCurves) -> None:
        if self._told_float32 or not source.files:
            return
        with open_parquet(source.files[0]) as file:
            dtype = file.schema_arrow.field("hmjd").type.value_type
        if pa.types.is_float32(dtype):
            self._told_float32 = True
            _log.warning(
                "the times of %s are float32, in steps of 0.004 d: periods below about an hour mean little; later releases"
                " have float64",
                self._url,
            )

    def _each(
        self, action: Callable[[Any], Any], items: Sequence[Any], connection: Connection
    ) -> Iterable[tuple[Any, Any]]:
        """Yield each item with what `action` returns for it, in order, a few at a time."""
        results = WaitingThreads(workers=self._config.connections).map(action, items)
        with ExitStack() as unless_all_came:
            unless_all_came.callback(connection.stop)
            yield from zip(items, results, strict=True)
            unless_all_came.pop_all()


def _exists(connection: Connection, folder: str) -> bool | None:
    """Return whether there is a folder; None where the archive does not say, as many show no folders."""
    try:
        with connection.stream(folder, {}) as response:
            return int(response.status_code) != NOT_FOUND
    except (QueryRefusedError, ServiceUnavailableError):
        return None
