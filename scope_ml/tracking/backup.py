"""A registry as a folder that can be put back: a database file with its artifacts, or what a server tells of itself.

::

    backup.json         what it is, counts, the sum of every file, the folders it came from
    mlflow.db           of a database file: a copy of one moment
    artifacts/0/...     its folder mlruns; artifacts/1, ...: folders elsewhere that it names
    models/<alias>/     of a server: what `registry import` reads, for each alias
    runs.jsonl, versions.json   of a server: parameters, metrics, tags; every version with its tags and aliases

May import `database_copy`, `connection`, `settings` and below.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from scope_ml.core.provenance import code_version
from scope_ml.errors import FormatError, ModelError, ModelNotFoundError, OutputError
from scope_ml.io.checksums import FileSum, check_files, copy_checked, is_plain_name, relative_files, sum_of
from scope_ml.io.folder_swap import new_folder
from scope_ml.tracking.database_copy import (
    artifact_folders,
    copy_database,
    count_rows,
    move_artifacts,
    roots_of,
    while_files_stay,
)

__all__ = ["BACKUP_FILE", "BackupRecord", "back_up_database", "read_backup", "restore_database", "write_backup_record"]

#: What says that a folder is a backup, and the version of its layout.
BACKUP_FILE = "backup.json"
KIND, LAYOUT = "scope_ml registry backup", 1

DATABASE, ARTIFACTS = "mlflow.db", "artifacts"

#: Beside a database that is being restored: the artifacts are of this backup, the database is not there yet.
UNFINISHED = ".scope-restoring"


@dataclass(frozen=True, kw_only=True)
class BackupRecord:
    """What a backup says about itself.

    Attributes
    ----------
    of
        ``database`` or ``server``.
    files
        Sums of its files.
    counts
        Experiments, runs, versions, ...
    roots
        Of a database: folders of ``artifacts/0``, ``artifacts/1``, ... where they stood.
    notes
        What is not in it, one line each.
    """

    of: str
    files: Mapping[str, FileSum]
    counts: Mapping[str, int]
    roots: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    code_version: str = field(default_factory=code_version)


def back_up_database(database: Path, output: Path, advance: Callable[[int], None]) -> BackupRecord:
    """Copy a database file and its artifacts into a new folder, also while runs are recorded.

    The database comes first: what it names has been written by then.

    Raises
    ------
    ModelNotFoundError
        If there is no database.
    OutputError
        If something is at `output`, or the disk is full.
    ScopeError
        As `copy_database`.
    """
    if not database.is_file():
        raise ModelNotFoundError(f"there is no database {database}; give tracking.uri=sqlite:///FILE")
    with while_files_stay(database), new_folder(output) as temporary:
        copy_database(database, temporary / DATABASE)
        folders, remote = artifact_folders(temporary / DATABASE)
        roots = roots_of(folders, database.parent / "mlruns")
        notes = (
            [f"{len(remote)} place(s) of artifacts are on no disk of this machine, such as {remote[0]}"]
            if remote
            else []
        )
        n_gone = 0
        for folder in folders:
            place, root = next((n, one) for n, one in enumerate(roots) if folder == one or one in folder.parents)
            if folder.is_dir():
                _copy_folder(folder, temporary / ARTIFACTS / str(place) / folder.relative_to(root), advance)
            else:
                # A run that kept nothing has no folder.
                n_gone += 1
        counts = count_rows(temporary / DATABASE) | {"folders": len(folders) - n_gone, "folders_not_there": n_gone}
        if counts["runs_open"]:
            notes.append(f"{counts['runs_open']} run(s) were open: what they wrote later is not in it")
        files = {name: sum_of(path) for name, path in relative_files(temporary, hidden=True).items()}
        record = BackupRecord(
            of="database", files=files, counts=counts, roots=tuple(map(str, roots)), notes=tuple(notes)
        )
        write_backup_record(temporary, record)
    return record


def _copy_folder(source: Path, target: Path, advance: Callable[[int], None]) -> None:
    for name, path in relative_files(source, hidden=True).items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        if (target / name).exists():
            # Folders within folders: the outer one brought it.
            continue
        with (target / name).open("xb") as out:
            copy_checked(path, out)
        advance(1)


def write_backup_record(folder: Path, record: BackupRecord) -> None:
    """Write what a backup says about itself."""
    plain = {"kind": KIND, "layout": LAYOUT, **asdict(record)}
    plain["files"] = {name: [one.bytes, one.sha256] for name, one in sorted(record.files.items())}
    (folder / BACKUP_FILE).write_text(json.dumps(plain, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def read_backup(folder: Path, *, check: bool = True) -> BackupRecord:
    """Read what a backup says about itself, after a check of every file of it.

    Raises
    ------
    FormatError
        If it is no backup.
    ModelError
        If a file is missing or changed; names it.
    """
    path = folder / BACKUP_FILE
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(plain, dict) or plain.pop("kind") != KIND or plain.pop("layout") != LAYOUT:
            raise FormatError(f"{path} is of no backup that this scope_ml knows; update scope_ml")
        files = {name: FileSum(bytes=int(size), sha256=str(sha)) for name, (size, sha) in plain.pop("files").items()}
        lists: dict[str, Any] = {key: tuple(plain.pop(key)) for key in ("roots", "notes")}
        record = BackupRecord(files=files, **lists, **plain)
    except FileNotFoundError as error:
        raise FormatError(
            f"{folder} is no backup (no {BACKUP_FILE} in it); give path=FOLDER that registry backup wrote"
        ) from error
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"{path} cannot be read ({error}); fetch the backup again") from error
    if not all(map(is_plain_name, files)):
        raise FormatError(f"{path} names a path outside its folder")
    wrong = check_files(folder, files) if check else {}
    if wrong:
        name, what = next(iter(sorted(wrong.items())))
        more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise ModelError(f"{folder / name} is {what}{more}; nothing was restored: take another copy of the backup")
    return record


def restore_database(folder: Path, database: Path, advance: Callable[[int], None]) -> BackupRecord:
    """Put a backup of a database file back, at any place where there is none.

    The artifacts come first and the database last: a restoration that was killed is completed by typing it again.

    Raises
    ------
    OutputError
        If there is a database or a folder of artifacts already.
    ScopeError
        As `read_backup`; a server's backup is refused.
    """
    record = read_backup(folder)
    if record.of != "database":
        raise FormatError(
            f"{folder} is the backup of a server, whose models go into any registry by python -m scope_ml.registry import"
            f" path={folder}/models/champion; its database is restored by the server's own means"
        )
    if database.exists():
        raise OutputError(f"{database} exists; a backup is put back beside nothing: give another tracking.uri")
    main = database.parent / "mlruns"
    mark = main / UNFINISHED
    stamp = record.files[DATABASE].sha256
    is_begun = mark.is_file() and mark.read_text(encoding="utf-8") == stamp
    if main.exists() and any(main.iterdir()) and not is_begun:
        raise OutputError(f"{main} exists and is not empty; restore beside nothing: give another tracking.uri")
    try:
        main.mkdir(parents=True, exist_ok=True)
        mark.write_text(stamp, encoding="utf-8")
        moved = {}
        for place, root in enumerate(record.roots):
            target = main if place == 0 else main / "elsewhere" / str(place)
            moved[Path(root)] = target
            prefix = f"{ARTIFACTS}/{place}/"
            for name in sorted(name for name in record.files if name.startswith(prefix)):
                _restore_one(folder / name, target / name.removeprefix(prefix), record.files[name])
                advance(1)
        _restore_one(folder / DATABASE, main / f"{UNFINISHED}.db", record.files[DATABASE])
        move_artifacts(main / f"{UNFINISHED}.db", moved)
        (main / f"{UNFINISHED}.db").rename(database)
        mark.unlink()
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"cannot write {database}: {error.strerror or error}; choose another place") from error
    return record


def _restore_one(source: Path, target: Path, expected: FileSum) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as out:
        copy_checked(source, out, expected)
