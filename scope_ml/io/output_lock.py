"""One process at a time writes an output: a lock that dies with its holder.

The lock is the kernel's on an open file (`flock`), so that a killed process leaves no obstacle; the file says who
holds it. May import core and errors only.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from scope_ml.errors import JobError, OutputError

__all__ = ["output_lock"]

LOCK_FILE = "lock"

#: What file systems without locks answer; there the work goes on unguarded, as everywhere else with such a disk.
NO_LOCKS = frozenset({errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL})


@contextmanager
def output_lock(folder: Path, output: Path, *, wait: bool = False) -> Iterator[int]:
    """Hold the right to write `output` while the block runs.

    Parameters
    ----------
    folder
        Where the lock file stands, such as ``<output>.parts``; made if need be, and removed at the end if empty.
    output
        What is written, for the message.
    wait
        Wait for who holds it, instead of an error.

    Yields
    ------
    int
        The open file; a process that inherits it holds the lock too, also when this one is killed.

    Raises
    ------
    JobError
        If another process holds it, which is named.
    OutputError
        If `folder` cannot be written.
    """
    path = folder / LOCK_FILE
    descriptor = _held(path, output, wait)
    try:
        yield descriptor
    finally:
        # Removed while held: who has opened it meanwhile finds out that it is not the one at this path any more.
        with suppress(OSError):
            path.unlink()
        os.close(descriptor)
        with suppress(OSError):
            folder.rmdir()


def _held(path: Path, output: Path, wait: bool) -> int:
    """Return the descriptor of the lock file, locked and signed."""
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = _opened(path)
        except OSError as error:
            raise OutputError(
                f"cannot write {output}: {error.strerror or error} ({path.parent}); choose another output path"
            ) from error
        if descriptor is None:
            continue  # its last holder has just removed the folder
        with ExitStack() as unless_held:
            unless_held.callback(os.close, descriptor)
            if _locked(descriptor, output, wait) and _is_at(descriptor, path):
                _sign(descriptor, path)
                unless_held.pop_all()
                return descriptor


def _opened(path: Path) -> int | None:
    """Return the descriptor of the lock file, or None if its folder is gone again."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except FileNotFoundError:
        return None


def _locked(descriptor: int, output: Path, wait: bool) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip() or "another process"
        raise JobError(
            f"{output} is being written by {holder}; wait for it to end, or choose another output path"
        ) from error
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    """Return whether the open file still stands at `path`."""
    try:
        at_path = path.stat()
    except FileNotFoundError:
        return False
    opened = os.fstat(descriptor)
    return (opened.st_dev, opened.st_ino) == (at_path.st_dev, at_path.st_ino)


def _sign(descriptor: int, path: Path) -> None:
    """Write who holds the lock."""
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
