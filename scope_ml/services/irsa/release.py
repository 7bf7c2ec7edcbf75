"""A data release of IRSA's bulk files: its number, its folders, its list of checksums, found out once and kept.

IRSA describes the folders but promises neither the folder of 1000 fields nor the list; programs of its users find the list
as ``checksum.md5`` (``checksums.md5`` before release 6) at the root of a release, one line ``MD5  ./0/field000250/NAME`` a file.
Where it is there, it says what exists; where not, each file is asked for. May import io, core, errors and what lies beside.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from scope_ml.errors import ConfigError, ServiceError
from scope_ml.io.atomic import atomic_path
from scope_ml.io.irsa_tree import BulkName, parse_name
from scope_ml.io.selection import CCDS, QUADS, Selection
from scope_ml.services.irsa.connection import OK, Connection, check_address
from scope_ml.services.irsa.records import read_record, write_record
from scope_ml.services.irsa.replies import BANDS
from scope_ml.services.irsa.settings import IrsaConfig

__all__ = ["BulkFile", "Release", "open_release"]

#: What is kept at the root of a release's mirror.
RECORD = ".release.json"
LIST = ".checksums.md5"

#: What the list of checksums is called: since release 6, and before.
LISTS = ("checksum.md5", "checksums.md5")

#: One line of it.
LINE = re.compile(
    rb"^([0-9a-fA-F]{32})[ \t]+\*?(?:\./)?(\S*?ztf_\d{6}_z[a-z]_c\d\d_q[1-4]_dr\d+\.parquet)\s*$", re.MULTILINE
)

RELEASE = re.compile(r"dr(\d+)")


@dataclass(frozen=True, kw_only=True)
class BulkFile:
    """One file of a release.

    Attributes
    ----------
    name
        What its name says.
    addresses
        Where it may be, the likeliest first.
    local
        Where it lies in the mirror.
    md5
        Its checksum, where the release has a list.
    """

    name: BulkName
    addresses: tuple[str, ...]
    local: Path
    md5: str | None = None


@dataclass(frozen=True, kw_only=True)
class Release:
    """What is known of a release.

    Attributes
    ----------
    url
        Its root, without a slash at the end.
    number
        Of the release.
    root
        Folder of its mirror.
    nested
        Whether fields lie in folders of 1000; None where that is not known yet.
    listed
        Whether there is a list of checksums.
    """

    url: str
    number: int
    root: Path
    nested: bool | None
    listed: bool

    def files(self, selection: Selection, bands: tuple[str, ...]) -> list[BulkFile]:
        """Return the files of a selection with a field, in the order of their names: those that the list has, or all."""
        assert selection.field is not None
        if self.listed:
            return self._listed_files(selection, bands)
        names = [
            BulkName(field=selection.field, band=band, ccd=ccd, quad=quad, release=self.number)
            for ccd in CCDS
            for quad in QUADS
            for band in BANDS
        ]
        return [self._file(name, self._places(name)) for name in names if name.may_match(selection, bands)]

    def has_field(self, field: int) -> bool | None:
        """Return whether the release has a field; None where there is no list to tell."""
        return bool(_lines_of(self.root / LIST, field)) if self.listed else None

    def folders(self, field: int) -> tuple[str, ...]:
        """Return where the folder of a field may be."""
        flat, nested = f"{self.url}/field{field:06d}/", f"{self.url}/{field // 1000}/field{field:06d}/"
        return {True: (nested,), False: (flat,), None: (nested, flat)}[self.nested]

    def settled(self, address: str) -> Release:
        """Return the release with its layout known from the address of a file that exists, and keep that."""
        if self.nested is not None:
            return self
        relative = address.removeprefix(f"{self.url}/")
        found = replace(self, nested=not relative.startswith("field"))
        found.keep()
        return found

    def keep(self) -> None:
        """Keep the record in the mirror.

        Raises
        ------
        OutputError
            If the mirror cannot be written.
        """
        facts = {name: getattr(self, name) for name in ("url", "number", "nested", "listed")}
        write_record(self.root / RECORD, facts)

    def _listed_files(self, selection: Selection, bands: tuple[str, ...]) -> list[BulkFile]:
        files = []
        for md5, path in _lines_of(self.root / LIST, selection.field or 0):
            name = parse_name(path.rpartition("/")[2])
            if name is not None and name.release == self.number and name.may_match(selection, bands):
                files.append(self._file(name, (f"{self.url}/{path}",), md5))
        return sorted(files, key=lambda one: one.local)

    def _places(self, name: BulkName) -> tuple[str, ...]:
        return tuple(folder + _file_name(name) for folder in self.folders(name.field))

    def _file(self, name: BulkName, addresses: tuple[str, ...], md5: str | None = None) -> BulkFile:
        folder = self.root / str(name.field // 1000) / f"field{name.field:06d}"
        return BulkFile(name=name, addresses=addresses, local=folder / _file_name(name), md5=md5)


def open_release(url: str, config: IrsaConfig, connection: Connection) -> Release:
    """Return what is known of the release at an address, asked for once and then read from its mirror.

    Raises
    ------
    ConfigError
        If the address names no release, or the mirror's folder is that of another address.
    ServiceError
        If it does not answer.
    OutputError
        If the mirror cannot be written.
    """
    url = check_address(url, "source.path")
    found = RELEASE.findall(url)
    if not found:
        raise ConfigError(
            f"source.path={url} names no data release; give one such as https://irsa.ipac.caltech.edu/data/ZTF/lc/lc_dr23",
            key="source.path",
        )
    number = int(found[-1])
    root = Path(config.mirror) / f"lc_dr{number}"
    record = read_record(root / RECORD)
    if record is not None and not {"url", "listed", "nested"} <= record.keys():
        record = None
    if record is not None and record["url"] != url:
        raise ConfigError(
            f"{root} is the mirror of {record['url']}; give a folder of its own for {url}: service.irsa.mirror=FOLDER",
            key="service.irsa.mirror",
        )
    kept = record is not None and (not record["listed"] or (root / LIST).exists())
    if record is not None and kept and not config.refresh:
        return Release(url=url, number=number, root=root, nested=record["nested"], listed=record["listed"])
    listed, nested = _fetch_list(url, number, root, connection)
    if nested is None and record is not None:
        nested = record["nested"]
    release = Release(url=url, number=number, root=root, nested=nested, listed=listed)
    release.keep()
    return release


def _fetch_list(url: str, number: int, root: Path, connection: Connection) -> tuple[bool, bool | None]:
    """Fetch the list of checksums, and return whether there is one, and whether its fields lie in folders of 1000."""
    for name in LISTS if number >= 6 else reversed(LISTS):
        address = f"{url}/{name}"
        reply = connection.ask(address)
        first = LINE.search(reply.body) if reply.status == OK else None
        if first is None:
            continue
        other = parse_name(first[2].decode().rpartition("/")[2])
        if other is not None and other.release != number:
            raise ServiceError(f"{address} lists release {other.release}, not {number}; check source.path")
        with atomic_path(root / LIST) as temporary:
            temporary.write_bytes(reply.body)
        return True, not first[2].startswith(b"field")
    return False, None


@lru_cache(maxsize=2)
def _read_list(path: Path, _mtime_ns: int) -> bytes:
    return path.read_bytes()


def _lines_of(path: Path, field: int) -> list[tuple[str, str]]:
    """Return checksum and path of a field's files."""
    body = _read_list(path, path.stat().st_mtime_ns)
    wanted = b"ztf_%06d_" % field
    at, lines = body.find(wanted), []
    while at >= 0:
        end = body.find(b"\n", at)
        end = len(body) if end < 0 else end
        found = LINE.match(body[body.rfind(b"\n", 0, at) + 1 : end])
        if found:
            lines.append((found[1].decode().lower(), found[2].decode()))
        at = body.find(wanted, end)
    return lines


def _file_name(name: BulkName) -> str:
    return f"ztf_{name.field:06d}_z{name.band}_c{name.ccd:02d}_q{name.quad}_dr{name.release}.parquet"
