"""`registry backup` and `restore`: a registry as a folder or one ZIP archive, and back, every byte checked."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scope_ml.core.protocols import Progress
from scope_ml.core.report import Report
from scope_ml.errors import ConfigError, ModelNotFoundError, OutputError
from scope_ml.io.archives import Member, unpack_archive, write_archive
from scope_ml.io.atomic import atomic_path
from scope_ml.io.checksums import relative_files, sum_of
from scope_ml.tracking.backup import BackupRecord, back_up_database, read_backup, restore_database
from scope_ml.tracking.server_backup import back_up_server
from scope_ml.tracking.settings import TrackingConfig, checked_uri, database_path

__all__ = ["back_up", "restore"]

ARCHIVE = ".zip"


def back_up(tracking: TrackingConfig, output: Path, *, dry_run: bool, progress: Progress) -> Report:
    """Back a registry up into a new folder, or into one archive if `output` ends in ``.zip``.

    Raises
    ------
    ModelNotFoundError
        If there is no registry.
    OutputError
        If something is at `output`, or the disk is full.
    ScopeError
        As the copying raises.
    """
    uri = _checked(tracking)
    if output.exists() and (output.is_file() or any(output.iterdir())):
        raise OutputError(f"cannot write the backup {output}: something is there; give each backup a name of its own")
    if dry_run:
        text = f"{tracking.uri} would be backed up into {output}; nothing was written"
        return Report(stage="registry", facts={"text": text})
    progress.start("backing up")
    if output.suffix.lower() == ARCHIVE:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as scratch:
            folder = Path(scratch, "backup")
            record = _into_folder(uri, tracking, folder, progress)
            files = relative_files(folder, hidden=True)
            members = {name: Member(path=path, sum=sum_of(path)) for name, path in files.items()}
            with atomic_path(output) as temporary:
                write_archive(temporary, members)
    else:
        record = _into_folder(uri, tracking, output, progress)
    progress.finish()
    return _report(record, output, f"{_counted(record)} backed up in {output}")


def restore(tracking: TrackingConfig, path: Path, *, dry_run: bool, progress: Progress) -> Report:
    """Put a backup back at the address of `tracking`, where there must be nothing.

    Raises
    ------
    ConfigError
        If the address is a server's.
    OutputError
        If there is a database already.
    ScopeError
        As the reading of the backup raises.
    """
    database = database_path(_checked(tracking))
    if database is None:
        raise ConfigError(
            f"a backup is restored into a database file, not into {tracking.uri}; give tracking.uri=sqlite:///FILE, or"
            f" import its models: python -m scope_ml.registry import path={path}/models/champion",
            key="tracking.uri",
        )
    with _as_folder(path, database.parent) as folder:
        progress.start("restoring")
        if dry_run:
            record = read_backup(folder)
            text = f"{_counted(record)} of {path} would be restored to {database}; nothing was written"
            return Report(stage="registry", facts={"text": text})
        record = restore_database(folder, database, progress.advance)
        progress.finish()
    return _report(record, database, f"{_counted(record)} restored to {database}")


def _into_folder(uri: str, tracking: TrackingConfig, folder: Path, progress: Progress) -> BackupRecord:
    database = database_path(uri)
    if database is None:
        return back_up_server(uri, tracking.experiment, folder, progress.advance)
    return back_up_database(database, folder, progress.advance)


@contextmanager
def _as_folder(path: Path, near: Path) -> Iterator[Path]:
    """Yield a backup as a folder; an archive is unpacked beside where it will be restored."""
    if path.is_dir() or path.suffix.lower() != ARCHIVE:
        yield path
        return
    near.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=near, prefix=".scope-restore-") as scratch:
        unpack_archive(path, Path(scratch))
        yield Path(scratch)


def _checked(tracking: TrackingConfig) -> str:
    if not tracking.enabled:
        raise ModelNotFoundError("there is no registry with tracking=off; leave it out")
    return checked_uri(tracking.uri)


def _counted(record: BackupRecord) -> str:
    counts = record.counts
    return f"{counts['runs']} run(s), {counts['models']} model(s) with {counts['versions']} version(s)"


def _report(record: BackupRecord, output: Path, text: str) -> Report:
    size = sum(one.bytes for one in record.files.values())
    lines = [f"{text}; {len(record.files)} files, {size / 1e6:,.1f} MB", *(f"  note: {note}" for note in record.notes)]
    facts = {**record.counts, "n_files": len(record.files), "bytes": size, "of": record.of}
    return Report(stage="registry", outputs={"registry": str(output)}, facts={**facts, "text": "\n".join(lines)})
