"""An MLflow database file: a consistent copy while others write, the folders that it names, and who else names them.

MLflow writes the place of every artifact as an absolute path; a database that moves has them rewritten. Plain SQLite,
no MLflow. May import `settings`, core and errors.
"""

from __future__ import annotations

import fcntl
import sqlite3
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from scope_ml.errors import FormatError, JobError, OutputError, ServiceError
from scope_ml.tracking.settings import SQLITE_MAGIC, local_folder

__all__ = [
    "artifact_folders",
    "copies_beside",
    "copy_database",
    "count_rows",
    "move_artifacts",
    "roots_of",
    "while_files_stay",
]

#: Columns that hold places of artifacts: table, column.
PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
    ("model_versions", "source"),
)

#: Columns whose folders hold files of their own, of which a copy is made.
OWN_FILES = (("runs", "artifact_uri"), ("logged_models", "artifact_location"), ("model_versions", "storage_location"))

#: What is counted: name -> table and condition.
COUNTS = {
    "experiments": ("experiments", "1"),
    "runs": ("runs", "1"),
    "runs_open": ("runs", "status = 'RUNNING' AND lifecycle_stage = 'active'"),
    "models": ("registered_models", "1"),
    "versions": ("model_versions", "1"),
    "aliases": ("registered_model_aliases", "1"),
}


@contextmanager
def while_files_stay(database: Path, *, removing: bool = False) -> Iterator[None]:
    """Keep clean-ups away while files are copied, and everybody else while a clean-up is `removing` them.

    Raises
    ------
    JobError
        If another process does what does not go together with it.
    OutputError
        If files are to be removed beside a database whose folder cannot be written.
    """
    lock = database.with_name(f"{database.name}.files.lock")
    try:
        stream = lock.open("a")
    except OSError as error:
        if removing:
            raise OutputError(f"cannot write {lock}: {error.strerror or error}; nothing was removed") from error
        # Who cannot write here cannot remove anything either.
        yield
        return
    with stream:
        try:
            fcntl.flock(stream, (fcntl.LOCK_EX if removing else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise JobError(
                f"another registry backup or clean of {database} is under way; wait for it to end, then type the same"
                " command again"
            ) from error
        except OSError:
            # A disk without locks.
            pass
        yield


def copies_beside(database: Path, runs: Collection[str]) -> tuple[Path, ...]:
    """Return other databases in the folder that know some of `runs`: copies, which name the same files."""
    wanted, found = set(runs), []
    for path in sorted(database.parent.iterdir()):
        if not path.is_file() or path.samefile(database):
            continue
        try:
            with path.open("rb") as stream:
                if stream.read(len(SQLITE_MAGIC)) != SQLITE_MAGIC:
                    continue
            with _reading(path) as connection:
                if any(run in wanted for (run,) in connection.execute("SELECT run_uuid FROM runs")):
                    found.append(path)
        except (OSError, FormatError):
            # Of something else.
            continue
    return tuple(found)


def copy_database(source: Path, target: Path) -> None:
    """Copy a database as it is at one moment, while others may write to it.

    Raises
    ------
    ServiceError
        If it stays locked.
    FormatError
        If it is no database, or its copy is not whole.
    """
    try:
        with (
            closing(sqlite3.connect(f"file:{quote(str(source))}?mode=ro", uri=True, timeout=60)) as old,
            closing(sqlite3.connect(target)) as new,
        ):
            # In one step: in several, a writer in between would start it again each time.
            old.backup(new, pages=-1)
            new.execute("PRAGMA journal_mode=DELETE")
            (state,) = new.execute("PRAGMA integrity_check").fetchone()
    except sqlite3.OperationalError as error:
        raise ServiceError(f"{source} cannot be copied ({error}); try again when nothing writes to it") from error
    except sqlite3.DatabaseError as error:
        raise FormatError(f"{source} is no MLflow database ({error})") from error
    if state != "ok":
        raise FormatError(f"{source} is damaged: {state}; repair it by sqlite3 {source} .recover")


def count_rows(database: Path) -> dict[str, int]:
    """Return how many experiments, runs, models, versions and aliases there are.

    Raises
    ------
    FormatError
        If it is no MLflow database.
    """
    with _reading(database) as connection:
        return {
            name: int(connection.execute(f"SELECT count(*) FROM {table} WHERE {condition}").fetchone()[0])
            for name, (table, condition) in COUNTS.items()
        }


def artifact_folders(database: Path) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """Return the folders with artifacts that a database names, and the places that are on no disk of this machine."""
    folders: set[Path] = set()
    remote: set[str] = set()
    with _reading(database) as connection:
        for table, column in OWN_FILES:
            for (place,) in connection.execute(f"SELECT DISTINCT {column} FROM {table}"):
                if not place or str(place).startswith("models:"):
                    continue
                local = local_folder(str(place))
                if local is None:
                    remote.add(str(place))
                else:
                    folders.add(local)
    return tuple(sorted(folders)), tuple(sorted(remote))


def roots_of(folders: tuple[Path, ...], main: Path) -> tuple[Path, ...]:
    """Return folders under which all of `folders` lie, `main` first: ``mlruns``, and what lies elsewhere."""
    roots = [main]
    for folder in folders:
        if not any(folder == root or root in folder.parents for root in roots):
            roots.append(folder)
    return tuple(roots)


def move_artifacts(database: Path, moved: Mapping[Path, Path]) -> int:
    """Rewrite the places of artifacts for folders that moved, and return how many were rewritten.

    Parameters
    ----------
    database
        The file; nothing else may have it open.
    moved
        Old folder -> new folder.
    """
    n_changed = 0
    with closing(sqlite3.connect(database)) as connection, connection:
        for table, column in PLACES:
            if column not in {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}:
                continue
            for (place,) in connection.execute(f"SELECT DISTINCT {column} FROM {table}").fetchall():
                new = _moved(str(place or ""), moved)
                if new is not None and new != place:
                    changed = connection.execute(
                        f"UPDATE {table} SET {column} = ? WHERE {column} = ?",
                        (new, place),
                    )
                    n_changed += changed.rowcount
    return n_changed


def _moved(place: str, moved: Mapping[Path, Path]) -> str | None:
    local = local_folder(place) if place else None
    if local is None:
        return None
    for old, new in moved.items():
        if local == old or old in local.parents:
            prefix = "file://" if place.startswith("file://") else ""
            return f"{prefix}{new / local.relative_to(old)}"
    return None


@contextmanager
def _reading(database: Path) -> Iterator[sqlite3.Connection]:
    try:
        with closing(sqlite3.connect(f"file:{quote(str(database))}?mode=ro", uri=True, timeout=60)) as connection:
            yield connection
    except sqlite3.DatabaseError as error:
        raise FormatError(f"{database} is no MLflow database that can be read ({error})") from error
