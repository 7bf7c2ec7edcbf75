"""The plan of a run of many shards: what is to be done, by whom it can be done, kept in a folder.

A shard is a unit of work with a table (or a folder) of its own: a quadrant, a slice of ids, a class and algorithm. Its
key is its name in plan, ledger and outputs alike. The plan says with what configuration it is made: another one in the
same folder is refused. May import core, io and errors.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from scope_ml.compute.ledger import BEGUN, DONE, FAILED
from scope_ml.core.provenance import digest_json
from scope_ml.errors import ConfigError, DataError, FormatError
from scope_ml.io.atomic import atomic_path

__all__ = ["PLAN_FILE", "SHARDS_FILE", "Shard", "WorkPlan", "check_plan", "earlier_shards", "open_plan", "read_plan"]

PLAN_FILE = "plan.json"
SHARDS_FILE = "shards.parquet"

#: Shards of earlier plans of the same run that are not in the present one: tasks that wait in a queue may hold them.
EARLIER_FILE = "earlier_shards.parquet"

#: Version of the two files.
FILES_VERSION = 1

#: Differences that a refusal names.
N_NAMED = 5

SCHEMA = pa.schema([("key", pa.string()), ("title", pa.string()), ("n_sources", pa.int64()), ("payload", pa.string())])


@dataclass(frozen=True, kw_only=True)
class Shard:
    """A unit of work.

    Attributes
    ----------
    key
        Its name, unique in a plan: words of letters, digits, ``._-`` joined by slashes, such as
        ``field_000296/ccd_01_quad_2``.
    title
        For people: ``field 296 ccd 1 quad 2``.
    n_sources
        Light curves, or rows, in it; None where that is not known before.
    payload
        What its door needs to know, JSON-able.
    """

    key: str
    title: str
    n_sources: int | None = None
    payload: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class WorkPlan:
    """What is to be done.

    Attributes
    ----------
    folder
        Where the plan lies.
    door
        Whose work it is: ``generate_features``, ``infer``, ``train``.
    config
        The configuration of the door, as `core.configuration.to_plain` gives it; `build` takes it back.
    identity
        What decides the outcome, by name: values of the configuration, digests of code and models. Plans of equal identity
        go on with one another's shards.
    shards
        In the order in which they are to be done.
    workdir, python
        Where it was planned, from which paths of the configuration count, and by which interpreter.
    """

    folder: Path
    door: str
    config: Mapping[str, Any]
    identity: Mapping[str, Any]
    shards: tuple[Shard, ...]
    workdir: Path = field(default_factory=Path.cwd)
    python: str = sys.executable

    def __len__(self) -> int:
        """Return the number of shards."""
        return len(self.shards)

    def __iter__(self) -> Iterator[Shard]:
        """Go through the shards in order."""
        return iter(self.shards)

    @property
    def digest(self) -> str:
        """Return the digest of what decides the outcome."""
        return digest_json([self.door, dict(self.identity)])

    @property
    def n_sources(self) -> int | None:
        """Return the light curves of all shards; None if those of one are not known."""
        known = [shard.n_sources for shard in self.shards]
        return None if None in known else sum(count for count in known if count is not None)

    def by_key(self) -> dict[str, Shard]:
        """Return the shards by their keys."""
        return {shard.key: shard for shard in self.shards}

    def write(self) -> None:
        """Write the plan into its folder.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        _write_shards(self.folder / SHARDS_FILE, self.shards)
        values = {
            "version": FILES_VERSION,
            "door": self.door,
            "identity": dict(self.identity),
            "config": dict(self.config),
            "workdir": str(self.workdir),
            "python": self.python,
            "n_shards": len(self.shards),
        }
        # The plan comes last: where it stands, its shards stand beside it.
        with atomic_path(self.folder / PLAN_FILE) as temporary:
            temporary.write_text(json.dumps(values, indent=1, sort_keys=True), encoding="utf-8")


def open_plan(plan: WorkPlan, *, anew: bool = False) -> WorkPlan:
    """Write a plan; one of the same identity that stands there is gone on with, whatever its shards.

    Parameters
    ----------
    plan
        The plan.
    anew
        Whether it takes the place of a plan of another configuration, whose ledger is forgotten; else that is refused.

    Raises
    ------
    ConfigError
        If a plan of another configuration stands there; the message names what differs.
    DataError
        If two shards have one key.
    OutputError
        If the plan cannot be written.
    """
    check_plan(plan, anew=anew)
    known = read_plan(plan.folder) if (plan.folder / PLAN_FILE).is_file() else None
    if known is not None and known.digest != plan.digest:
        # The plan goes first: killed here, the folder holds none, and the next start begins anew.
        (plan.folder / PLAN_FILE).unlink(missing_ok=True)
        (plan.folder / EARLIER_FILE).unlink(missing_ok=True)
        for name in (BEGUN, DONE, FAILED):
            shutil.rmtree(plan.folder / name, ignore_errors=True)
    elif known is not None:
        there = plan.by_key()
        earlier = {**earlier_shards(plan.folder), **known.by_key()}
        if left := [shard for key, shard in earlier.items() if key not in there]:
            _write_shards(plan.folder / EARLIER_FILE, left)
    plan.write()
    return plan


def earlier_shards(folder: Path) -> dict[str, Shard]:
    """Return the shards of earlier plans of a run that are not in the present one, by key.

    Raises
    ------
    FormatError
        If their file is broken.
    """
    path = Path(folder) / EARLIER_FILE
    if not path.is_file():
        return {}
    try:
        return {shard.key: shard for shard in _read_shards(path)}
    except (TypeError, ValueError, OSError) as error:
        raise FormatError(f"{path} is broken ({error}); remove it") from error


def check_plan(plan: WorkPlan, *, anew: bool = False) -> None:
    """Find out whether a plan can be written where it goes, without doing so.

    Parameters
    ----------
    plan
        The plan.
    anew
        Whether it may take the place of one of another configuration.

    Raises
    ------
    ConfigError
        If a plan of another configuration stands there; the message names what differs.
    DataError
        If two shards have one key.
    """
    twice = [key for key, count in Counter(shard.key for shard in plan.shards).items() if count > 1]
    if twice:
        raise DataError(f"two shards are called {twice[0]}; each stands in a plan once")
    if not (plan.folder / PLAN_FILE).is_file():
        return
    known = read_plan(plan.folder)
    if known.door != plan.door:
        raise ConfigError(f"{plan.folder} is a run of {known.door}, not of {plan.door}; give another output")
    if known.digest != plan.digest and not anew:
        raise ConfigError(
            f"{plan.folder} was planned with another configuration ({_differences(known.identity, plan.identity)});"
            " give another output, or remove that folder and what was made with it (generate_features, infer: stale=remake)"
        )


def read_plan(folder: Path) -> WorkPlan:
    """Read the plan in a folder.

    Raises
    ------
    FormatError
        If there is none, or it is broken.
    """
    folder = Path(folder)
    path = folder / PLAN_FILE
    if not path.is_file():
        raise FormatError(f"{folder} holds no plan of a run; give the folder OUTPUT.run that executor=... made")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        shards = _read_shards(folder / SHARDS_FILE)
        if values["version"] != FILES_VERSION or values["n_shards"] != len(shards):
            raise FormatError(f"{folder} was written by another version, or only in part; plan the run again")
        return WorkPlan(
            folder=folder,
            door=values["door"],
            config=values["config"],
            identity=values["identity"],
            shards=shards,
            workdir=Path(values["workdir"]),
            python=values["python"],
        )
    except (KeyError, TypeError, ValueError, OSError) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"{path} or {SHARDS_FILE} beside it is broken ({error}); plan the run again") from error


def _write_shards(path: Path, shards: Sequence[Shard]) -> None:
    rows = {
        "key": [shard.key for shard in shards],
        "title": [shard.title for shard in shards],
        "n_sources": [shard.n_sources for shard in shards],
        "payload": [json.dumps(dict(shard.payload), sort_keys=True) for shard in shards],
    }
    with atomic_path(path) as temporary:
        pq.write_table(pa.table(rows, schema=SCHEMA), temporary)


def _read_shards(path: Path) -> tuple[Shard, ...]:
    # A folder named field=296 is no column of it.
    rows = pq.read_table(path, schema=SCHEMA, partitioning=None).to_pylist()
    return tuple(Shard(**{**row, "payload": json.loads(row["payload"])}) for row in rows)


def _differences(known: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    before, now = _flat(known), _flat(given)
    names = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
    told = [f"{name} was {_short(before.get(name))}, is {_short(now.get(name))}" for name in names[:N_NAMED]]
    return "; ".join(told) + (f"; and {len(names) - N_NAMED} others" if len(names) > N_NAMED else "")


def _flat(values: Any, where: str = "") -> dict[str, Any]:
    if isinstance(values, Mapping):
        flat: dict[str, Any] = {}
        for name, value in values.items():
            flat |= _flat(value, f"{where}.{name}" if where else str(name))
        return flat
    return {where: list(values) if isinstance(values, Sequence) and not isinstance(values, str) else values}


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:16]}...{text[-8:]}"
