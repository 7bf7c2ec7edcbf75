"""A worker process of a training sweep: takes units, makes their models, says what became of them.

Started by `sweep_workers` with one end of a pipe, over which both sides send JSON. It ends with the pipe: when the sweep
ends or is killed, nothing goes on writing. May import `models` and below.
"""

from __future__ import annotations

import json
import os
import signal
import threading
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue

from scope_ml.stages.sweep_shelf import MappedData, load_prepared
from scope_ml.stages.sweep_units import Unit, work

__all__ = ["READY", "main"]

#: First message of a worker: all is imported.
READY = b"ready"


def main(descriptor: int, folder: str, n_threads: int) -> None:
    """Work until the pipe is closed.

    Parameters
    ----------
    descriptor
        Open file of this end of the pipe.
    folder
        Folder of the prepared data.
    n_threads
        Threads that a training may use.
    """
    # Ctrl-C on the terminal reaches all processes of the command; what happens then is for the first of them to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection = Connection(descriptor)
    inbox: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_listen, args=(connection, inbox), daemon=True).start()
    shelves: dict[str, MappedData] = {}
    connection.send_bytes(READY)
    while True:
        unit = Unit.from_json(inbox.get())
        if unit.prepared not in shelves:
            shelves[unit.prepared] = load_prepared(Path(folder) / unit.prepared)
        outcomes = work(unit, shelves[unit.prepared], n_threads=n_threads)
        connection.send_bytes(json.dumps([outcome.to_json() for outcome in outcomes], allow_nan=False).encode())


def _listen(connection: Connection, inbox: SimpleQueue[bytes]) -> None:
    """Put what comes into the inbox; end the process at once when the other side is gone, in the middle of a training too."""
    while True:
        try:
            inbox.put(connection.recv_bytes())
        except (EOFError, OSError):
            os._exit(0)
