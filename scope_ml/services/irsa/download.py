"""One bulk file: fetched, gone on with where it broke off, checked, and only then given its name.

May import io, core, errors and what lies beside.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scope_ml.errors import DataError, OutputError, QueryRefusedError, SchemaError, ServiceError
from scope_ml.io.atomic import DISK_ERRORS
from scope_ml.io.lightcurves import open_irsa_tree
from scope_ml.io.parquet_files import open_parquet, read_errors
from scope_ml.services.irsa.connection import NOT_FOUND, OK, Connection, NotNowError
from scope_ml.services.irsa.records import read_record, record_path, write_record
from scope_ml.services.irsa.replies import html_title

if TYPE_CHECKING:
    import requests

__all__ = ["Download", "NoSuchFileError", "Version", "check_file", "head"]

BLOCK_BYTES = 1 << 20

#: Rows decoded at a time where a whole file is read to see whether it can be.
ROWS_AT_A_TIME = 2048

#: How often a file may come whole and be broken; it is then the archive's, and not the way's.
TIMES_BROKEN = 2

#: New bytes after which failures are counted from the start.
PROGRESS_BYTES = 1 << 20

#: How a Parquet file begins.
MAGIC = b"PAR1"

CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


#: Answers of servers that know no HEAD.
NO_HEAD = (405, 501)


class NoSuchFileError(ServiceError):
    """The archive has no such file."""


@dataclass(frozen=True, kw_only=True)
class Version:
    """Which version of a file the archive has.

    Attributes
    ----------
    url
        Where it is.
    size
        Bytes; None if the archive does not say.
    etag, modified
        As the archive writes them; "" if it does not.
    """

    url: str
    size: int | None
    etag: str = ""
    modified: str = ""

    @classmethod
    def of(cls, url: str, headers: Mapping[str, str]) -> Version:
        """Return what the headers of an answer to GET or HEAD say."""
        length = headers.get("content-length", "")
        return cls(
            url=url,
            size=int(length) if length.isdigit() and "content-encoding" not in headers else None,
            etag=headers.get("etag", ""),
            modified=headers.get("last-modified", ""),
        )

    @property
    def validator(self) -> str:
        """What says that a file is byte for byte the same; "" if nothing does."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.modified

    def same_as(self, other: Version) -> bool:
        """Return whether both are the same file, as far as the archive says."""
        return bool(self.validator) and self.validator == other.validator and self.size == other.size


def head(connection: Connection, url: str) -> Version | None:
    """Return the version of a file, or None if there is none; a size is unknown where HEAD is not answered.

    Raises
    ------
    ServiceError
        If the archive is in trouble or refuses.
    """
    reply = connection.ask(url, method="HEAD")
    if reply.status == NOT_FOUND:
        return None
    if reply.status in NO_HEAD:
        return Version(url=url, size=None)
    if reply.status != OK:
        raise QueryRefusedError(f"{url} is refused (status {reply.status}); check source.path")
    return Version.of(url, reply.headers)


@dataclass(kw_only=True)
class Download:
    """A file on its way.

    Attributes
    ----------
    url, part
        Where it comes from, and the unfinished file; beside it stands which version it is of.
    md5
        Its checksum, where known.
    on_bytes
        Told of new bytes.
    """

    connection: Connection
    url: str
    part: Path
    md5: str | None
    on_bytes: Callable[[int], None]
    best: int = 0

    def run(self, *, retries: int) -> Version:
        """Fetch the file whole and check it; it lies at `part` then.

        Parameters
        ----------
        retries
            How often it is tried again without getting on.

        Raises
        ------
        NoSuchFileError
            If there is none.
        ServiceError
            If it cannot be fetched, or is broken whenever it comes.
        OutputError
            If the disk is full or cannot be written.
        """
        failures = broken = 0
        while True:
            before = self.best
            try:
                version = self._attempt()
                self._check()
            except (NotNowError, SchemaError, DataError) as error:
                failures = 0 if self.best >= before + PROGRESS_BYTES else failures + 1
                broken += not isinstance(error, NotNowError)
                if failures > retries or broken == TIMES_BROKEN or self.connection.stopped.is_set():
                    raise ServiceError(f"{self.url}: {error}") from error
                self.connection.pause(error, failures)
            else:
                return version

    def discard(self) -> None:
        """Remove what came."""
        self.part.unlink(missing_ok=True)
        self._record.unlink(missing_ok=True)

    @property
    def _record(self) -> Path:
        return record_path(self.part)

    def _attempt(self) -> Version:
        known = self._known()
        have = self.part.stat().st_size if known is not None else 0
        if known is not None and have == known.size:
            return known
        headers = {"Range": f"bytes={have}-", "If-Range": known.validator} if known is not None else {}
        with self.connection.stream(self.url, headers) as response:
            if response.status_code == NOT_FOUND:
                raise NoSuchFileError(f"{self.url} does not exist")
            if response.status_code == 206 and known is not None:
                version = self._going_on(response, known, have)
            elif response.status_code == OK:
                # The archive takes no ranges, or has another version now.
                have, version = 0, Version.of(self.url, response.headers)
                self._begin(version)
            else:
                self.discard()
                raise NotNowError(f"status {response.status_code} where a file was asked for")
            if response.headers.get("content-encoding", "identity") != "identity":
                raise NotNowError(f"it comes as {response.headers['content-encoding']}, which was not asked for")
            self._take(response, have)
        size = self.part.stat().st_size
        if version.size is not None and size != version.size:
            raise NotNowError(f"broke off after {size} of {version.size} bytes")
        return version

    def _known(self) -> Version | None:
        """Return the version of what has come before, if that can be gone on with."""
        try:
            version = Version(**(read_record(self._record) or {}))
            size = self.part.stat().st_size
        except (OSError, TypeError):
            return None
        fits = version.url == self.url and version.validator and size > 0
        return version if fits and (version.size is None or size <= version.size) else None

    def _going_on(self, response: requests.Response, known: Version, have: int) -> Version:
        found = CONTENT_RANGE.fullmatch(response.headers.get("content-range", ""))
        now = Version.of(self.url, response.headers)
        same = now.validator in ("", known.validator)
        if found is None or int(found[1]) != have or found[2] not in ("*", str(known.size)) or not same:
            self.discard()
            raise NotNowError(
                f"bytes from {have} on were asked for, and {response.headers.get('content-range', 'none')} of"
                f" {'the same' if same else 'another'} version came; it is fetched from the start"
            )
        return known

    def _begin(self, version: Version) -> None:
        self.discard()
        self.part.parent.mkdir(parents=True, exist_ok=True)
        self.part.touch()
        write_record(self._record, asdict(version), dated=False)

    def _take(self, response: requests.Response, have: int) -> None:
        """Append the body."""
        import urllib3.exceptions

        try:
            with self.part.open("ab") as stream:
                # read1 gives what has come: of a connection that breaks, nothing is lost but what was not sent.
                while block := response.raw.read1(BLOCK_BYTES):
                    if not have and not block.startswith(MAGIC[: len(block)]):
                        self._refuse(block)
                    stream.write(block)
                    have += len(block)
                    self._tell(have)
                    if self.connection.stopped.is_set():
                        raise NotNowError("the run was stopped")
                stream.flush()
                os.fsync(stream.fileno())
        except (urllib3.exceptions.HTTPError, ConnectionError, TimeoutError) as error:
            raise NotNowError(f"broke off after {have} bytes ({type(error).__name__})") from error
        except OSError as error:
            if error.errno in DISK_ERRORS:
                raise OutputError(
                    f"cannot write {self.part}: {os.strerror(error.errno or 0)}; make room, or give"
                    " service.irsa.mirror=ANOTHER_FOLDER"
                ) from error
            raise

    def _refuse(self, block: bytes) -> None:
        title = html_title(block)
        self.discard()
        what = f"a web page ('{title}')" if title is not None else f"{block[:16]!r}"
        raise NotNowError(f"it is no Parquet file, but begins as {what}")

    def _tell(self, size: int) -> None:
        if size > self.best:
            self.on_bytes(size - self.best)
            self.best = size

    def _check(self) -> None:
        try:
            check_file(self.part, self.md5)
        except (SchemaError, DataError):
            self.discard()
            raise


def check_file(path: Path, md5: str | None) -> None:
    """Check a bulk file: its checksum or, where there is none, every block; its footer, and that its rows are of its name.

    Raises
    ------
    FormatError, DataError
        Saying what is wrong.
    """
    if md5 is not None:
        hasher = hashlib.md5(usedforsecurity=False)
        with path.open("rb") as stream:
            while block := stream.read(BLOCK_BYTES):
                hasher.update(block)
        if hasher.hexdigest() != md5:
            raise DataError(f"its checksum is {hasher.hexdigest()}, and {md5} in the archive's list")
    source = open_irsa_tree(path)
    if md5 is None:
        with open_parquet(path) as file, read_errors(path, "Parquet"):
            columns = source.layouts[0].columns(file.schema_arrow)
            deque(file.iter_batches(batch_size=ROWS_AT_A_TIME, columns=columns), maxlen=0)
