"""Waves: which shards stand at which place of which array, and what was asked of sbatch, kept so that a kill loses nothing.

A wave is one array. ``waves/0003.json`` says which shards each of its tasks does, so that any set of shards makes an array
without holes. ``jobs.jsonl`` has a line before and a line after each sbatch: what was intended, and the number of the job or
the refusal. May import core, io and errors.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from scope_ml.errors import FormatError, OutputError
from scope_ml.io.atomic import atomic_path

__all__ = ["Journal", "Submitted", "divided", "read_wave", "write_wave"]

JOURNAL_FILE = "jobs.jsonl"

#: A job does shards (``wave``), or adds up what the others made.
Kind = Literal["wave", "collect"]
Fate = Literal["intended", "submitted", "refused", "never"]


def divided(keys: Sequence[str], *, shards_per_task: int, max_tasks: int) -> Iterator[list[list[str]]]:
    """Yield waves: for each task its shards, in order; no wave has more than `max_tasks` tasks."""
    per_wave = shards_per_task * max_tasks
    for first in range(0, len(keys), per_wave):
        part = keys[first : first + per_wave]
        yield [list(part[start : start + shards_per_task]) for start in range(0, len(part), shards_per_task)]


def wave_path(folder: Path, number: int) -> Path:
    """Return where a wave is written."""
    return Path(folder) / "waves" / f"{number:04d}.json"


def write_wave(folder: Path, number: int, tasks: Sequence[Sequence[str]]) -> None:
    """Write which shards the tasks of a wave do.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    with atomic_path(wave_path(folder, number)) as temporary:
        temporary.write_text(json.dumps({"wave": number, "tasks": [list(task) for task in tasks]}), encoding="utf-8")


def read_wave(folder: Path, number: int) -> list[list[str]]:
    """Return the shards of each task of a wave.

    Raises
    ------
    FormatError
        If there is none, or it is broken.
    """
    path = wave_path(folder, number)
    try:
        tasks: list[list[str]] = json.loads(path.read_text(encoding="utf-8"))["tasks"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FormatError(f"{path} is not there or broken ({error}); submit the run again") from error
    return tasks


@dataclass(frozen=True, kw_only=True)
class Submitted:
    """One sbatch, and what became of it.

    Attributes
    ----------
    token
        Its comment in Slurm, by which it is found again.
    kind, wave
        What it does; the number of its wave, 0 for what adds up.
    n_tasks
        Of its array; 0: no array.
    fate
        ``intended``: nobody knows yet; ``submitted``; ``refused`` by sbatch; ``never``: it did not come to it.
    job
        Number in Slurm, "" before.
    why
        Of a refusal: sbatch's words.
    asked
        Resources, for people: hours, memory, ...
    time
        When it was intended [s since 1970].
    """

    token: str
    kind: Kind
    wave: int
    n_tasks: int
    fate: Fate = "intended"
    job: str = ""
    why: str = ""
    asked: Mapping[str, Any] | None = None
    time: float = 0.0


class Journal:
    """The journal of a run's jobs.

    Parameters
    ----------
    folder
        Of the run.
    """

    def __init__(self, folder: Path) -> None:
        self.path = Path(folder) / JOURNAL_FILE

    def intend(self, kind: Kind, wave: int, n_tasks: int, asked: Mapping[str, Any]) -> Submitted:
        """Say that sbatch is about to be run.

        Raises
        ------
        OutputError
            If the journal cannot be written; nothing may be submitted then.
        """
        one = Submitted(
            token=f"scope-{secrets.token_hex(8)}", kind=kind, wave=wave, n_tasks=n_tasks, asked=asked, time=time.time()
        )
        self._append(asdict(one))
        return one

    def settle(self, one: Submitted, fate: Fate, job: str = "", why: str = "") -> Submitted:
        """Say what became of it.

        Raises
        ------
        OutputError
            If the journal cannot be written.
        """
        settled = replace(one, fate=fate, job=job, why=why)
        # All of it once more: either line is enough to know what stands in the queue.
        self._append(asdict(settled))
        return settled

    def read(self) -> list[Submitted]:
        """Return all that was intended, in order, with what is known of it.

        Raises
        ------
        FormatError
            If a line within it is broken; the last may be torn by a kill, and says nothing then.
        """
        known: dict[str, Submitted] = {}
        for values in self._lines():
            known[values["token"]] = Submitted(**values)
        return list(known.values())

    def _lines(self) -> Iterator[dict[str, Any]]:
        try:
            lines = self.path.read_text(encoding="utf-8").split("\n")
        except FileNotFoundError:
            return
        for number, line in enumerate(lines, start=1):
            if not line:
                continue
            try:
                yield json.loads(line)
            except ValueError as error:
                if number == len(lines):
                    return
                raise FormatError(f"{self.path} is broken in line {number} ({error}); remove that line") from error

    def _append(self, values: Mapping[str, Any]) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab+") as stream:
                # A line that a kill or a full disk tore is ended first, else it would swallow this one.
                self._end_torn_line(stream)
                stream.write(json.dumps(dict(values), sort_keys=True).encode() + b"\n")
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise OutputError(f"cannot write {self.path}: {error.strerror or error}") from error

    @staticmethod
    def _end_torn_line(stream: Any) -> None:
        size = stream.seek(0, os.SEEK_END)
        if size == 0:
            return
        stream.seek(size - 1)
        if stream.read(1) != b"\n":
            stream.seek(0)
            whole = stream.read().rfind(b"\n") + 1
            stream.truncate(whole)
            stream.seek(whole)
