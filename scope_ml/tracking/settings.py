"""Where runs are recorded: the tracking group of the configuration, and what follows from its address alone.

Knows MLflow's addresses but never imports MLflow. No address with a user name or password gets past this room.
May import `core` and `errors`.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from scope_ml.core.configuration import option
from scope_ml.errors import ConfigError, OutputError

__all__ = [
    "TrackingConfig",
    "artifact_root",
    "between_processes",
    "checked_uri",
    "database_path",
    "local_folder",
    "redact",
]

#: Addresses that MLflow's tracking and registry both understand.
SCHEMES = ("sqlite", "http", "https", "postgresql", "mysql", "mssql")

#: ``user:password@`` or ``token@`` of an address, and what may follow its ``?``.
_USERINFO = re.compile(r"(?P<scheme>[A-Za-z][\w+.-]*://)[^/\s]*@")
_QUERY = re.compile(r"(?P<address>[A-Za-z][\w+.-]*://[^\s?]*)\?\S*")


@dataclass(frozen=True, kw_only=True)
class TrackingConfig:
    """Where runs and models are recorded.

    Attributes
    ----------
    enabled
        False records nothing and never imports MLflow.
    uri
        MLflow's address of runs and registry: ``sqlite:///FILE`` (relative to where the command is typed, or
        ``sqlite:////ABSOLUTE``) or ``http(s)://HOST:PORT``.
    experiment
        MLflow's experiment.
    """

    enabled: bool = option(True, doc="false: record nothing", machine=True)
    uri: str = option("sqlite:///mlflow.db", doc="MLflow database sqlite:///FILE or server http://...", machine=True)
    experiment: str = option("scope", doc="MLflow experiment", machine=True)


def redact(text: str) -> str:
    """Return `text` without the user names, passwords and queries of the addresses in it."""
    return _QUERY.sub(r"\g<address>", _USERINFO.sub(r"\g<scheme>", text))


def checked_uri(uri: str) -> str:
    """Return the address in the form MLflow needs: a database file with its absolute path, no credentials.

    Raises
    ------
    ConfigError
        If it is no address that MLflow understands, or holds a user name, password or token.
    """
    scheme, separator, rest = uri.partition("://")
    if not separator:
        # What stands before an @ may be a password: it is not repeated.
        shown = uri.rpartition("@")[2]
        raise ConfigError(
            f"tracking.uri={shown!r} is not an address; for a database file give tracking.uri=sqlite:///{shown}",
            key="tracking.uri",
        )
    if redact(uri) != uri:
        raise ConfigError(
            f"tracking.uri of {redact(uri)} holds a user name, password or query, which would be written into logs;"
            " give the address alone and set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD or"
            " MLFLOW_TRACKING_TOKEN",
            key="tracking.uri",
        )
    if scheme.partition("+")[0] not in SCHEMES:
        raise ConfigError(
            f"tracking.uri={uri!r} is of no kind that holds runs and models; give sqlite:///FILE or http://HOST:PORT",
            key="tracking.uri",
        )
    if scheme != "sqlite":
        return uri
    if not rest.startswith("/") or rest in {"/", "//"}:
        raise ConfigError(
            f"tracking.uri={uri!r} names no database file; a relative path has three slashes: sqlite:///mlflow.db",
            key="tracking.uri",
        )
    return f"sqlite:///{Path(rest[1:]).expanduser().resolve()}"


#: First bytes of an SQLite database.
SQLITE_MAGIC = b"SQLite format 3\0"


def database_path(uri: str) -> Path | None:
    """Return the file of a checked ``sqlite:///`` address, or None for a server."""
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


def local_folder(location: str) -> Path | None:
    """Return the folder that an artifact location of MLflow's is on this machine; None if a server or store holds it."""
    path = location.removeprefix("file://")
    # A store's address has a scheme, not always with slashes: s3://bucket/..., mlflow-artifacts:/1/...
    return None if re.match(r"[A-Za-z][\w+.-]+:", path) else Path(path)


def artifact_root(uri: str) -> str | None:
    """Return the folder of artifacts: ``mlruns`` beside a database file; None leaves it to the server."""
    database = database_path(uri)
    return str(database.parent / "mlruns") if database is not None else None


def _refuse_other_files(database: Path) -> None:
    """Refuse a folder and a user's own file, which MLflow would wait for or write over."""
    if database.is_dir():
        raise OutputError(
            f"tracking.uri names the folder {database}; give a file in it: sqlite:///{database}/mlflow.db"
        )
    if database.is_file() and database.stat().st_size:
        with database.open("rb") as stream:
            if stream.read(len(SQLITE_MAGIC)) != SQLITE_MAGIC:
                raise OutputError(f"tracking.uri names {database}, which is no SQLite database; give another file")


@contextmanager
def between_processes(uri: str) -> Iterator[None]:
    """Let one process of this machine at a time do what must not be done twice (make the database, a parent run).

    Raises
    ------
    OutputError
        If the folder of the database cannot be made or written, or the file is no database.
    """
    import fcntl

    database = database_path(uri)
    if database is not None:
        _refuse_other_files(database)
        lock = database.with_name(f"{database.name}.lock")
    else:
        name = hashlib.sha256(uri.encode()).hexdigest()[:16]
        lock = Path(tempfile.gettempdir()) / f"scope-ml-{os.getuid()}-{name}.lock"
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        stream = lock.open("a")
    except OSError as error:
        raise OutputError(
            f"tracking.uri={redact(uri)}: {lock.parent} cannot be written ({error.strerror}); choose another tracking.uri"
        ) from error
    with stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
