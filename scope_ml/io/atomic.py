"""Writing that succeeds whole or leaves nothing under the final name; every writer of files goes through here."""

from __future__ import annotations

import errno
import glob
import os
import re
import secrets
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from scope_ml.core.machine import is_running
from scope_ml.errors import OutputError

__all__ = ["TEMPORARY_SUFFIX", "atomic_path", "check_writable", "clear_leftovers", "hidden_sibling"]

#: Ending of unfinished files; they are hidden too, so that no reader of a folder takes them for data.
TEMPORARY_SUFFIX = ".tmp"

#: Errors of the file system while writing that the user can mend, as against errors of the writing program.
DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO, errno.EACCES, errno.EPERM})


@contextmanager
def atomic_path(final: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of `final`, renamed to `final` on success and removed on failure.

    Parent folders are made. A file that already stands at `final` stays until the new one is whole.

    Raises
    ------
    OutputError
        If `final` is a folder, or its folder cannot be made or written, or the disk fills up.
    """
    final = Path(final)
    temporary = _reserved(final)
    try:
        yield temporary
        temporary.replace(final)
    except OSError as error:
        if error.errno in DISK_ERRORS:
            raise OutputError(f"cannot write {final}: {os.strerror(error.errno or 0)}") from error
        raise
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def check_writable(*finals: Path) -> None:
    """Find out before the work, not after it, that one of its outputs cannot be written; makes their folders.

    Raises
    ------
    OutputError
        As `atomic_path`.
    """
    for final in finals:
        _reserved(Path(final)).unlink()


def hidden_sibling(final: Path, ending: str = TEMPORARY_SUFFIX) -> Path:
    """Return a new hidden name beside `final` for what is not finished; it says which process of which machine writes it."""
    return final.parent / f".{final.name}.{_host()}.{os.getpid()}-{secrets.token_hex(4)}{ending}"


def clear_leftovers(final: Path) -> None:
    """Remove what killed processes of this machine left beside `final` under names of `hidden_sibling`.

    On a disk that machines share, only the other machine knows which of its processes are alive.
    """
    for path in final.parent.glob(f".{glob.escape(final.name)}.{_host()}.*-*"):
        pid = path.name.removeprefix(f".{final.name}.{_host()}.").partition("-")[0]
        if not pid.isdigit() or is_running(int(pid)):
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink(missing_ok=True)


def _host() -> str:
    """Return this machine's name as a part of a file's name: short, without dots."""
    return re.sub(r"\W", "_", socket.gethostname())[:24]


def _reserved(final: Path) -> Path:
    """Make an empty temporary file beside `final`."""
    if final.is_dir():
        raise OutputError(f"cannot write {final}: it is a folder; give the name of a file")
    clear_leftovers(final)
    temporary = hidden_sibling(final)
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        # Made here, so that an unwritable folder is found before hours of work go into the file.
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except OSError as error:
        raise OutputError(f"cannot write {final}: {_reason(final, error)}; choose another output path") from error
    return temporary


def _reason(final: Path, error: OSError) -> str:
    in_the_way = next((str(folder) for folder in final.parents if folder.exists() and not folder.is_dir()), None)
    return f"{in_the_way} is a file, not a folder" if in_the_way else error.strerror or str(error)
