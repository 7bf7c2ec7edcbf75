"""Slurm's commands as small programs in a folder, which note what they are told and answer as a test wants.

For what only asks and submits; what really runs is tested with a real Slurm (tests/slurm). May import the standard library.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["FakeSlurm"]

COMMANDS = ("sbatch", "squeue", "scancel", "scontrol", "sinfo", "sacct")

PROGRAM = """\
#!{python} -SE
import json, os, re, sys
here, name = {folder!r}, os.path.basename(sys.argv[0])
words = sys.argv[1:]
def read(path, otherwise):
    path = os.path.join(here, path)
    return open(path).read() if os.path.exists(path) else otherwise
def option(key):
    found = [word.split("=", 1)[1] for word in words if word.startswith(f"--{{key}}=")]
    return found[-1] if found else ""
with open(os.path.join(here, "calls.jsonl"), "a") as stream:
    stream.write(json.dumps({{"command": name, "words": words, "environment": dict(os.environ)}}) + "\\n")
refusal = read(f"{{name}}.refusal", None)
if refusal is not None:
    after, _, text = refusal.partition("\\n")
    told = sum(json.loads(line)["command"] == name for line in read("calls.jsonl", "").splitlines())
    if told > int(after):
        sys.exit(text)
if name == "sbatch":
    jobs = read("jobs.jsonl", "").splitlines()
    array = re.match(r"0-(\\d+)", option("array"))
    job = {{"job": 100 + len(jobs), "n_tasks": int(array[1]) + 1 if array else 0, "name": option("job-name"),
            "comment": option("comment")}}
    with open(os.path.join(here, "jobs.jsonl"), "a") as stream:
        stream.write(json.dumps(job) + "\\n")
    print(job["job"])
elif name == "squeue":
    said = json.loads(read("states.json", "{{}}"))
    otherwise = said.get("*", "PENDING|JobArrayTaskLimit")
    for line in read("jobs.jsonl", "").splitlines():
        job = json.loads(line)
        if job["name"] != option("name"):
            continue
        for index in range(job["n_tasks"]) if job["n_tasks"] else ["N/A"]:
            task = f"{{job['job']}}_{{index}}" if job["n_tasks"] else str(job["job"])
            state = said.get(task, said.get(str(job["job"]), otherwise))
            if state:
                start = said.get("start", "N/A")
                print("|".join([str(job["job"]), str(index), state, "", start, job["comment"]]))
else:
    print(read(f"{{name}}.answer", ""), end="")
"""


class FakeSlurm:
    """Commands that answer like Slurm's.

    Parameters
    ----------
    folder
        Where they and what they note lie; made if need be.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.bin = self.folder / "bin"
        self.bin.mkdir(parents=True, exist_ok=True)
        for name in COMMANDS:
            path = self.bin / name
            path.write_text(PROGRAM.format(python=sys.executable, folder=str(self.folder)), encoding="utf-8")
            path.chmod(0o755)

    @property
    def path(self) -> str:
        """Return the search path that finds these commands first."""
        return f"{self.bin}{os.pathsep}{os.environ.get('PATH', '')}"

    def calls(self, command: str) -> list[list[str]]:
        """Return the words of each call of a command, in order."""
        return [call["words"] for call in self._calls() if call["command"] == command]

    def environment(self, command: str) -> dict[str, str]:
        """Return the variables that the last call of a command saw."""
        return [dict(call["environment"]) for call in self._calls() if call["command"] == command][-1]

    def refuse(self, command: str, text: str, *, after: int = 0) -> None:
        """Let a command fail with a text, from its call number `after` + 1 on."""
        (self.folder / f"{command}.refusal").write_text(f"{after}\n{text}", encoding="utf-8")

    def accept(self, command: str) -> None:
        """Let a command do its work again."""
        (self.folder / f"{command}.refusal").unlink(missing_ok=True)

    def answer(self, command: str, text: str) -> None:
        """Let ``scontrol``, ``sinfo`` or ``sacct`` print a text."""
        (self.folder / f"{command}.answer").write_text(text, encoding="utf-8")

    def states(self, states: Mapping[str, str]) -> None:
        """Say how jobs or tasks stand: ``{"100_3": "RUNNING|None"}``; "" is in the queue no more, ``*`` all others, ``start`` when."""
        (self.folder / "states.json").write_text(json.dumps(dict(states)), encoding="utf-8")

    def _calls(self) -> list[dict[str, Any]]:
        path = self.folder / "calls.jsonl"
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
