"""A folder that appears under its name whole, or not at all: what was there before stays until then.

May import `atomic`, core and errors.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scope_ml.errors import OutputError
from scope_ml.io.atomic import clear_leftovers, hidden_sibling

__all__ = ["new_folder", "swap_in"]


@contextmanager
def new_folder(final: Path) -> Iterator[Path]:
    """Yield an empty hidden folder beside `final`, which gets that name on success and is removed on failure.

    Raises
    ------
    OutputError
        If there is something at `final` already, or the folder cannot be written.
    """
    if os.path.lexists(final) and not (final.is_dir() and not any(final.iterdir())):
        raise OutputError(f"cannot write {final}: something is there; choose another name, or remove it first")
    clear_leftovers(final)
    temporary = hidden_sibling(final)
    try:
        temporary.mkdir(parents=True)
        yield temporary
        if final.is_dir():
            final.rmdir()
        temporary.rename(final)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"cannot write {final}: {error.strerror or error}; choose another output") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def swap_in(finished: Path, final: Path) -> None:
    """Give the folder `finished` the name `final`; what stood there goes when the new one stands.

    Killed in between, either the old folder or the finished new one is there to go on with.

    Raises
    ------
    OutputError
        If the folders cannot be renamed.
    """
    old = hidden_sibling(final, ".old")
    try:
        if final.exists():
            final.rename(old)
        try:
            finished.rename(final)
        except OSError:
            if old.exists():
                old.rename(final)
            raise
    except OSError as error:
        raise OutputError(f"cannot write {final}: {error.strerror or error}; choose another output") from error
    shutil.rmtree(old, ignore_errors=True)
    # And what a swap that was killed here left behind.
    clear_leftovers(final)
