"""A worker process of a training sweep: takes units, makes their models, says what became of them.

Started by `sweep_workers` with one end of a pipe, over which both sides send JSON. It ends with the pipe: when the sweep
ends or is killed, nothing goes on writing. May import compute and below.
"""

from __future__ import annotations

import json
from pathlib import Path

from scope_ml.compute.processes import READY, open_inbox
from scope_ml.stages.sweep_shelf import MappedData, load_prepared
from scope_ml.stages.sweep_units import Unit, work

__all__ = ["main"]


def main(descriptor: int, folder: str, n_threads: str) -> None:
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
    connection, inbox = open_inbox(descriptor)
    shelves: dict[str, MappedData] = {}
    connection.send_bytes(READY)
    while True:
        unit = Unit.from_json(inbox.get())
        if unit.prepared not in shelves:
            shelves[unit.prepared] = load_prepared(Path(folder) / unit.prepared)
        outcomes = work(unit, shelves[unit.prepared], n_threads=int(n_threads))
        connection.send_bytes(json.dumps([outcome.to_json() for outcome in outcomes], allow_nan=False).encode())
