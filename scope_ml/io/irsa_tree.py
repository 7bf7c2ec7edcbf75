"""A local mirror of IRSA's bulk light curves: which files of the tree hold what is wanted, by their names.

One file holds one field, filter, ccd and quadrant, and says so: ``field000250/ztf_000250_zg_c01_q1_dr5.parquet``. The
folders may lie in others, such as one for each 1000 fields; where a folder is named after another field, nothing in it
is looked at. May import core and errors only.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from scope_ml.errors import DataError, FormatError
from scope_ml.io.parquet_files import require_file
from scope_ml.io.selection import Selection

__all__ = ["BulkName", "bulk_files", "parse_name"]

#: Names of bulk files, and of the folders of a field.
FILE_NAME = re.compile(
    r"ztf_(?P<field>\d{6})_z(?P<band>[a-z])_c(?P<ccd>\d\d)_q(?P<quad>[1-4])_dr(?P<release>\d+)\.parquet"
)
FIELD_FOLDER = re.compile(r"field(?P<field>\d{6})")

#: What else may lie in the tree and is no light curve.
OTHER_NAMES = re.compile(r"[._].*|labels.*|.*\.dropped\.parquet")


@dataclass(frozen=True, kw_only=True)
class BulkName:
    """What the name of a bulk file says of its rows.

    Attributes
    ----------
    band
        One letter: g, r or i.
    release
        Number of the data release.
    """

    field: int
    band: str
    ccd: int
    quad: int
    release: int

    @property
    def selection(self) -> Selection:
        """Return what all rows of the file are."""
        return Selection(field=self.field, ccd=self.ccd, quad=self.quad)

    def may_match(self, selection: Selection, bands: Sequence[str]) -> bool:
        """Return whether such a file can hold rows of `selection` in `bands` (all if none)."""
        same = all(getattr(self, name) == value for name, value in selection.constant.items())
        return same and (not bands or self.band in bands)


def parse_name(name: str) -> BulkName | None:
    """Return what a file's name says, or None if it is not that of a bulk file."""
    found = FILE_NAME.fullmatch(name)
    if found is None:
        return None
    numbers = {part: int(found[part]) for part in ("field", "ccd", "quad", "release")}
    return BulkName(band=found["band"], **numbers) if 1 <= numbers["ccd"] <= 16 else None


def bulk_files(root: Path, selection: Selection, bands: Sequence[str] = ()) -> tuple[Path, ...]:
    """Return the files of a tree that can hold wanted light curves, in the order of their paths; maybe none.

    Files ``*.parquet`` with other names are taken too, since their rows may match. `root` may be any folder of the
    tree, or one file.

    Raises
    ------
    FormatError
        If there is no such folder or file, a folder cannot be read, or the tree has no bulk file at all.
    DataError
        If two releases of the same quadrant and filter are among the files: each light curve would come twice.
    """
    if not root.is_dir():
        require_file(root)
        return (root,)
    chosen = []
    for path in _walk(root, selection.field):
        name = parse_name(path.name)
        if name is None or name.may_match(selection, bands):
            chosen.append(path)
    if not chosen and next(_walk(root, None), None) is None:
        raise FormatError(
            f"{root} holds no bulk file of IRSA, such as field000250/ztf_000250_zg_c01_q1_dr5.parquet; check source.path"
        )
    _refuse_two_releases(root, chosen)
    return tuple(sorted(chosen))


def _walk(root: Path, field: int | None) -> Iterator[Path]:
    """Yield the Parquet files of a tree, without folders that are named after a field other than `field`."""
    seen = set()
    for folder, below, names in os.walk(root, followlinks=True, onerror=_unreadable):
        # A link may lead back up; each folder is looked at once.
        status = Path(folder).stat()
        if (status.st_dev, status.st_ino) in seen:
            below.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        below[:] = sorted(name for name in below if not name.startswith(".") and _may_hold(name, field))
        for name in names:
            if name.endswith(".parquet") and not OTHER_NAMES.fullmatch(name):
                yield Path(folder) / name


def _may_hold(folder: str, field: int | None) -> bool:
    named = FIELD_FOLDER.fullmatch(folder)
    return field is None or named is None or int(named["field"]) == field


def _unreadable(error: OSError) -> NoReturn:
    raise FormatError(f"{error.filename} cannot be read ({error.strerror}); check its permissions") from error


def _refuse_two_releases(root: Path, files: Sequence[Path]) -> None:
    first: dict[tuple[int, str, int, int], Path] = {}
    for path in files:
        name = parse_name(path.name)
        if name is None:
            continue
        other = first.setdefault((name.field, name.band, name.ccd, name.quad), path)
        if other != path:
            raise DataError(
                f"{root} holds the same light curves twice: {other.relative_to(root)} and {path.relative_to(root)}; give"
                " source.path=... of one release"
            )
