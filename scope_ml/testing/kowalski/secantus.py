"""The Mongo-compatible store: SecantusDB as a program of its own on loopback, spoken to over its wire protocol.

It starts with the first query that needs it and ends with this process, also if that is killed. May import errors only.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from typing import Any

from scope_ml.errors import BackendUnavailableError

__all__ = ["Secantus"]

#: Runs the store until its standard input ends, which it does with the process that holds the other side.
PROGRAM = """
import os, runpy, signal, sys, threading
def wait():
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
threading.Thread(target=wait, daemon=True).start()
sys.argv[0] = "secantus"
runpy.run_module("secantus", run_name="__main__")
"""

#: Longest that it may take to begin or to stop [s].
PATIENCE_S = 60.0


class Secantus:
    """A running store.

    Raises
    ------
    BackendUnavailableError
        It is not installed or does not begin.
    """

    def __init__(self) -> None:
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            port = int(found.getsockname()[1])
        words = [sys.executable, "-c", PROGRAM, "--host", "127.0.0.1", "--port", str(port), "--standalone"]
        # A configuration of somebody's own, which it would look for, is none of ours.
        self._config = tempfile.NamedTemporaryFile(suffix=".toml")  # noqa: SIM115 - lives as long as the store
        words += ["--storage-path", ":memory:", "--log-level", "ERROR", "--config", self._config.name]
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the store
        self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=self._log, stderr=self._log, cwd=tempfile.gettempdir()
        )
        with ExitStack() as unless_it_begins:
            unless_it_begins.callback(self.stop)
            self._wait(port)
            unless_it_begins.pop_all()
        from pymongo import MongoClient

        self.client: Any = MongoClient("127.0.0.1", port, directConnection=True, serverSelectionTimeoutMS=10000)

    def _wait(self, port: int) -> None:
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            if self._process.poll() is not None:
                break
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
            except OSError:
                time.sleep(0.02)
            else:
                return
        self._log.seek(0)
        said = self._log.read().decode(errors="replace").strip().splitlines()
        raise BackendUnavailableError(f"the store of the test server did not begin: {said[-1] if said else 'no word'}")

    def stop(self) -> None:
        """End it."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(PATIENCE_S)
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._log.close()
        self._config.close()
