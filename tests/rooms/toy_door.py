"""A door whose shards do what they are told: work, fail, die; imported by tests and by the processes that they start."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scope_ml.compute.ledger import ShardState
from scope_ml.compute.plan import Shard, WorkPlan
from scope_ml.compute.settings import ExecutorConfig
from scope_ml.core.configuration import build, to_plain
from scope_ml.core.protocols import Progress
from scope_ml.core.report import Report
from scope_ml.errors import CredentialError, DataError, OutputError, ServiceUnavailableError
from scope_ml.stages import distribution, shard_dask, shard_worker

DOORS = {"toy": "toy_door:TOY"}

#: Light curves of a shard.
N = 10


class Toy:
    """Each shard writes its number into a file of its own, and into a log each time that it is tried."""

    door = "toy"
    unit = "light curves"

    def to_values(self, config: Any) -> Mapping[str, Any]:
        return {**config, "executor": to_plain(config["executor"])}

    def from_values(self, values: Mapping[str, Any]) -> Any:
        return {**values, "executor": build(ExecutorConfig, values["executor"])}

    def executor(self, config: Any) -> ExecutorConfig:
        found: ExecutorConfig = config["executor"]
        return found

    def output(self, config: Any) -> Path:
        return Path(config["output"])

    def shards(self, config: Any) -> tuple[Sequence[Shard], tuple[str, ...]]:
        n_sources = config.get("n_sources", N)
        return [
            Shard(key=f"s/{n}", title=f"shard {n}", n_sources=n_sources, payload={"n": n, "what": what})
            for n, what in enumerate(config["what"])
        ], ("a line stood twice",)

    def identity(self, config: Any) -> Mapping[str, Any]:
        return {"version": config.get("version", 1)}

    @contextmanager
    def open(self, config: Any, *, threads: int, progress: Progress) -> Iterator[Callable[[Shard], Report]]:
        if config.get("broken"):
            raise OutputError("no space left on the disk")
        output = Path(config["output"])
        output.mkdir(parents=True, exist_ok=True)
        (output / f"opened-{os.getpid()}").write_text(f"{threads} {os.environ.get('OMP_NUM_THREADS')}")

        def work(shard: Shard) -> Report:
            n = shard.payload["n"]
            with (output / "log").open("a") as stream:
                stream.write(f"{n}\n")
            progress.advance(4)
            _misbehave(shard.payload["what"], output / f"tried-{n}")
            if not (output / f"{n}.txt").exists():
                time.sleep(config.get("sleep", 0.0))
                (output / f"{n}.txt").write_text(str(n))
            return Report(stage="toy", n_in=N, n_out=N, seconds=0.5)

        yield work

    def collect(self, config: Any, plan: WorkPlan, states: Mapping[str, ShardState], *, progress: Progress) -> Report:
        failed = {key: (state.record or {})["error"] for key, state in states.items() if state.state == "failed"}
        n_done = N * sum(state.state == "done" for state in states.values())
        return Report(stage="toy", n_in=n_done, n_out=n_done, facts={"n_failed": len(failed), "failed": failed})


def _misbehave(what: str, tried: Path) -> None:
    if what == "kill" or (what == "kill once" and not tried.exists()):
        tried.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "stop":
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)
    errors = {
        "fail": DataError("bad data"),
        "bug": KeyError("a bug"),
        "full": OutputError("the disk is full"),
        "password": CredentialError("the token is wrong"),
        "down": ServiceUnavailableError("the service is down"),
        "file": FileNotFoundError(2, "No such file or directory", "/gone"),
    }
    if what in errors:
        raise errors[what]


TOY = Toy()


def install() -> None:
    distribution.DISTRIBUTED = {**distribution.DISTRIBUTED, **DOORS}


def main(descriptor: int, *words: str) -> None:
    """What a process of this machine runs in the place of `shard_worker.main`."""
    install()
    shard_worker.main(descriptor, *words)


def do_shard(run: Any, key: str) -> dict[str, Any]:
    """What a Dask worker runs in the place of `shard_dask.do_shard`."""
    install()
    return shard_dask.do_shard(run, key)
