"""What servers of tests share as programs of their own: how one is started and ended, on loopback and for nobody else.

`Program` is held by the process that tests; `first_line` and `wait_for_parent` are for the program itself, which ends when
the other end of its standard input is gone, also if that was killed. May import errors.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

from scope_ml.errors import BackendUnavailableError, ConfigError

__all__ = ["SERVE_PARENT", "Program", "check_loopback", "first_line", "wait_for_parent"]

#: The word that makes a package of a server serve the process that started it.
SERVE_PARENT = "--serve-parent"

#: Longest that a program may take to end [s].
PATIENCE_S = 30.0


def check_loopback(host: str) -> str:
    """Return an address of loopback.

    Raises
    ------
    ConfigError
        Others could reach `host`.
    """
    name = "127.0.0.1" if host == "localhost" else host
    try:
        near = ipaddress.ip_address(name).is_loopback
    except ValueError:
        near = False
    if not near:
        raise ConfigError(f"the test server listens on loopback only, not on '{host}'; leave the host as 127.0.0.1")
    return name


class Program:
    """A server's process.

    Parameters
    ----------
    package
        Started as ``python -m package --serve-parent``.
    settings
        Sent through a pipe, since a list of processes would show secrets among the arguments; with ``host`` and ``port``.

    Attributes
    ----------
    begun
        What it said when it began, such as its ports.

    Raises
    ------
    BackendUnavailableError
        The program does not begin.
    """

    def __init__(self, package: str, settings: Mapping[str, Any]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", package, SERVE_PARENT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Ctrl-C on the terminal is for the process that holds this one.
            start_new_session=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(settings).encode() + b"\n")
            self._process.stdin.flush()
            said = self._process.stdout.readline()
        except BrokenPipeError:
            said = b""
        if not said:
            self.close()
            raise BackendUnavailableError(
                f"the test server did not begin on {settings['host']}:{settings['port']}; its error stands above"
            )
        self.begun: dict[str, Any] = json.loads(said)

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(PATIENCE_S)
        self._process.stdout.close()


def first_line() -> bytes:
    """Return what the parent sends first."""
    # Byte by byte: nothing of what follows may be taken into a buffer.
    said = b""
    while not said.endswith(b"\n"):
        one = os.read(0, 1)
        if not one:
            break
        said += one
    return said


def wait_for_parent(then: Callable[[], object]) -> None:
    """Wait until the parent is gone, and call `then`."""
    # Not through sys.stdin: a thread that waits in it would break the interpreter's end.
    while os.read(0, 4096):
        pass
    then()
